"""What each kind of tower takes of a specimen, against the columns of the shards."""

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.sealed import say_otherwise
from workloads.data.inputs.barcode_inputs import MAX_BYTE_PAIRS
from workloads.data.inputs.batches import EpochBatches, Specimens, View
from workloads.data.inputs.image_views import evaluation_view
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.taxon_text import TextTokenizer
from workloads.data.specimens.schema import PROTOCOLS
from workloads.errors import DamagedError, SpecError
from workloads.spec import ExperimentSpec
from workloads.storage import Folder
from workloads.tower_specs import DnaTower

PROTOCOL = PROTOCOLS["clibd"]
Open = Callable[..., Specimens]


@pytest.fixture(scope="module")
def open_keys(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, byte_pairs: TextTokenizer) -> Open:
    """Opens the keys for a DNA tower."""

    def make(dna: DnaTower) -> Specimens:
        spec = replace(tiny_spec, dna=dna)
        return Specimens(tiny_dataset, PROTOCOL.keys, spec, None, ("dna",), byte_pairs)

    return make


def test_a_dna_tower_gets_the_ids_of_its_tokenisation(tiny_dataset: PreparedDataset, open_keys: Open) -> None:
    stored, rows = tiny_dataset.load(PROTOCOL.keys), np.array([5, 0, 3])
    for tower, column in (
        (DnaTower(), "dna_ids"),
        (DnaTower(tokens="authors", pooling="softmax_mean"), "authors_dna_ids"),
    ):
        ids = open_keys(tower).inputs("dna", rows, View())
        assert ids.dtype == torch.int64
        assert ids.tolist() == [stored[column][int(row)].as_py() for row in rows]


def test_the_cnn_gets_bases_in_their_places(tiny_dataset: PreparedDataset, open_keys: Open) -> None:
    barcodes, rows = tiny_dataset.load(PROTOCOL.keys, ["barcode"])["barcode"].to_pylist(), np.array([1, 4])
    codes = open_keys(DnaTower(kind="cnn")).inputs("dna", rows, View())
    assert (codes.dtype, codes.shape) == (torch.int64, (2, 660))
    for row, code in zip(rows, codes.tolist(), strict=True):
        wanted = ["ACGT".find(letter) for letter in barcodes[row]][:660]
        assert [4 if place < 0 else place for place in wanted] == code[: len(wanted)]
        assert set(code[len(wanted) :]) <= {5}


def test_a_tower_over_counts_gets_each_5_mer_at_any_offset(tiny_dataset: PreparedDataset, open_keys: Open) -> None:
    barcodes, rows = tiny_dataset.load(PROTOCOL.keys, ["barcode"])["barcode"].to_pylist(), np.array([1, 4])
    specimens = open_keys(DnaTower(kind="kmers"))
    counts = specimens.inputs("dna", rows, View())
    assert (counts.dtype, counts.shape) == (torch.float32, (2, 1024))
    kmers = ["".join(letters) for letters in product("ACGT", repeat=5)]
    for row, found in zip(rows, counts.tolist(), strict=True):
        windows = Counter(barcodes[row][start : start + 5] for start in range(len(barcodes[row]) - 4))
        assert found == [windows[kmer] for kmer in kmers]
    first, which = specimens.groups("dna")
    assert [barcodes[first[group]] for group in which] == barcodes


def test_byte_pairs_are_padded_to_the_longest_of_the_batch_and_spell_the_barcode(
    tiny_dataset: PreparedDataset, open_keys: Open, byte_pairs: TextTokenizer
) -> None:
    barcodes = tiny_dataset.load(PROTOCOL.keys, ["barcode"])["barcode"].to_pylist()
    lengths = byte_pairs.ids(barcodes, MAX_BYTE_PAIRS, whole_length=False)
    lengths = (lengths != byte_pairs.pad_id).sum(axis=1)
    rows = np.array([int(lengths.argmin()), int(lengths.argmax())])
    specimens = open_keys(DnaTower(kind="dnabert2"))
    ids = specimens.inputs("dna", rows, View())
    assert ids.shape == (2, lengths.max())
    assert (ids != byte_pairs.pad_id).sum(dim=1).tolist() == lengths[rows].tolist()
    assert specimens.inputs("dna", rows[:1], View()).shape == (1, lengths.min())


@pytest.mark.parametrize("kind", ["barcodebert", "cnn", "dnabert2"])
def test_identical_barcodes_are_one_group_for_every_dna_tower(kind: str, open_keys: Open) -> None:
    specimens = open_keys(DnaTower(kind=kind))  # type: ignore[arg-type]  # any of the three
    first, which = specimens.groups("dna")
    inputs = specimens.inputs("dna", np.arange(len(specimens)), View())
    assert torch.equal(inputs[first][which], inputs)
    assert len(torch.unique(inputs[first], dim=0)) == len(first) < len(specimens)


@pytest.mark.parametrize("kind", ["barcodebert", "cnn", "dnabert2"])
def test_every_dna_tower_can_be_shown_two_views(
    kind: str, tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, byte_pairs: TextTokenizer
) -> None:
    dna = DnaTower(kind=kind)  # type: ignore[arg-type]  # any of the three
    spec = replace(tiny_spec, dna=dna, objective="simclr", modalities=("dna",))
    specimens = Specimens(tiny_dataset, PROTOCOL.training, spec, None, dna_tokenizer=byte_pairs)
    rows = np.arange(6)
    one, other = (specimens.inputs("dna", rows, View(0, 0, number)) for number in (0, 1))
    assert torch.equal(one, specimens.inputs("dna", rows, View(0, 0, 0)))
    for row in rows:  # byte pairs have other lengths
        assert one[row].tolist() != other[row].tolist()


def test_byte_pairs_need_their_tokeniser(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec) -> None:
    spec = replace(tiny_spec, dna=DnaTower(kind="dnabert2"))
    with pytest.raises(SpecError, match="DNABERT-2 "):
        Specimens(tiny_dataset, PROTOCOL.keys, spec, None, ("dna",))


def test_features_that_a_data_set_does_not_have_are_missed_when_it_is_opened(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    for spec, what in (
        (replace(tiny_spec, image=replace(tiny_spec.image, kind="features")), "no image features"),
        (replace(tiny_spec, dna=DnaTower(kind="features")), "no DNA features"),
    ):
        with pytest.raises(SpecError, match=what):
            Specimens(tiny_dataset, PROTOCOL.keys, spec, None, ("image", "dna"))


def texts_of(dataset: PreparedDataset, spec: ExperimentSpec) -> tuple[TextTokenizer, Specimens]:
    tokenizer = TextTokenizer.from_json(dataset.tokenizer_json())
    return tokenizer, Specimens(dataset, PROTOCOL.training, spec, tokenizer, ("text",))


def test_missing_ranks_are_left_out_or_written_as_not_classified(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    rows = tiny_dataset.load(PROTOCOL.training, ["order", "family", "genus", "species", "text"]).to_pylist()
    named = [
        " ".join(row[rank] or "not_classified" for rank in ("order", "family", "genus", "species")) for row in rows
    ]
    assert any("not_classified" in name for name in named)
    assert any("not_classified" not in name for name in named)
    choices: list[tuple[Literal["left_out", "not_classified"], list[str]]] = [
        ("left_out", [row["text"] for row in rows]),
        ("not_classified", named),
    ]
    for missing_rank, wanted in choices:
        spec = replace(tiny_spec, text=replace(tiny_spec.text, missing_rank=missing_rank))
        tokenizer, specimens = texts_of(tiny_dataset, spec)
        ids = specimens.inputs("text", np.arange(len(rows)), View()).numpy()
        assert np.array_equal(ids, tokenizer.ids(wanted, spec.text.max_tokens, whole_length=False))


def test_the_mean_over_all_positions_is_of_labels_of_the_whole_length(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    authors = replace(tiny_spec, text=replace(tiny_spec.text, pooling="mean", max_tokens=20))
    tokenizer, specimens = texts_of(tiny_dataset, authors)
    ids = specimens.inputs("text", np.arange(len(specimens)), View())
    assert ids.shape[1] == 20
    masked = replace(tiny_spec, text=replace(tiny_spec.text, max_tokens=20))
    shorter = texts_of(tiny_dataset, masked)[1].inputs("text", np.arange(len(specimens)), View())
    width = shorter.shape[1]
    assert width < 20
    assert torch.equal(ids[:, :width], shorter)
    assert (ids[:, width:] == tokenizer.pad_id).all()


def test_labels_are_cut_where_the_tower_says(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec) -> None:
    spec = replace(tiny_spec, text=replace(tiny_spec.text, max_tokens=4))
    tokenizer, specimens = texts_of(tiny_dataset, spec)
    ids = specimens.inputs("text", np.arange(len(specimens)), View())
    whole = tokenizer.ids(tiny_dataset.load(PROTOCOL.training, ["text"])["text"].to_pylist(), 48, whole_length=False)
    assert ids.shape[1] == 4
    assert torch.equal(ids[:, :3], torch.from_numpy(whole[:, :3]))


def test_without_augmentation_training_sees_what_evaluation_sees(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    spec = replace(tiny_spec, augmentation="none", objective="classify", modalities=("image",), batch_size=4)
    specimens = Specimens(tiny_dataset, PROTOCOL.training, spec, None)
    images = tiny_dataset.load(PROTOCOL.training, ["image"])["image"]
    rows = specimens.trained[:3]
    shown = specimens.inputs("image", rows, View(0, 3)).permute(0, 2, 3, 1).numpy()
    for row, picture in zip(rows, shown, strict=True):
        assert np.array_equal(picture, evaluation_view(images[int(row)].as_py(), spec.image.image_size))
    one, other = (EpochBatches(specimens, replace(spec, epoch_order="same"), epoch)[0] for epoch in (0, 1))
    assert torch.equal(one["image"], other["image"])


def test_the_three_augmentations_show_different_pictures(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    pictures = []
    for augmentation in ("crop_and_turn", "simclr", "none"):
        spec = replace(tiny_spec, augmentation=augmentation)
        specimens = Specimens(tiny_dataset, PROTOCOL.keys, spec, None, ("image",))
        pictures.append(specimens.inputs("image", np.arange(4), View(1, 2)))
        plain = specimens.inputs("image", np.arange(4), View())
        assert torch.equal(plain, pictures[-1]) == (augmentation == "none")
    assert all((a != b).flatten(1).any(dim=1).all() for a, b in pairwise(pictures))


def test_what_is_drawn_for_a_view_depends_on_nothing_else() -> None:
    drawn = [
        View(seed, epoch, number).random(row).random()
        for seed in (0, 1)
        for epoch in (0, 1)
        for row in (0, 1)
        for number in (0, 1)
    ]
    assert len(set(drawn)) == 16
    assert View(1, 1, 1).random(1).random() == drawn[-1]


def test_an_image_that_does_not_decode_names_its_specimen_and_its_shard(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path: Path
) -> None:
    shutil.copytree(tiny_dataset.folder.address, tmp_path / "data")
    dataset = PreparedDataset(Folder(tmp_path / "data"))
    place = sorted(tmp_path.glob("data/split=train_seen/*.parquet"))[-1]
    shard = pq.read_table(place)
    images, spoiled = shard["image"].to_pylist(), len(shard) - 1
    images[spoiled] = images[spoiled][: len(images[spoiled]) // 2]
    pq.write_table(shard.set_column(shard.column_names.index("image"), "image", pa.array(images, pa.binary())), place)
    name = str(place.relative_to(tmp_path / "data"))
    # As if it had been written so: the digests agree, and no checksum is wrong.
    files = {**dataset.files, name: dataset.folder.digest(name)}
    say_otherwise(dataset.folder, "dataset.json", files=files, content="another")
    specimens = Specimens(PreparedDataset(dataset.folder), ["train_seen"], tiny_spec, None, ("image",))
    specimen = shard["specimen_id"][spoiled].as_py()
    with pytest.raises(DamagedError, match=rf"{place}: of specimen {specimen} "):
        specimens.inputs("image", np.arange(len(specimens)), View())
