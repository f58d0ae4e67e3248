"""DNA as another model's features, from the source to the towers; alone, or beside barcodes."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.evaluation.measured import floors_of
from workloads.data.inputs.batches import EpochBatches, Specimens, View
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, Work, prepare
from workloads.data.prepared.shards import Shard, ShardReport
from workloads.data.prepared.taxon_text import TextTokenizer
from workloads.data.sources.collect import collect
from workloads.data.sources.tables import table_source
from workloads.data.specimens.partition import partition
from workloads.data.specimens.schema import PROTOCOLS
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import SpecError
from workloads.spec import ExperimentSpec
from workloads.storage import Folder
from workloads.tower_specs import DnaTower, ImageTower

PROTOCOL = PROTOCOLS["clibd"]
NUM_SPECIMENS, IMAGE_SIZE, DNA_SIZE = 120, 6, 5


def in_order(work: Work, shards: Sequence[Shard]) -> Iterable[ShardReport]:
    return map(work, shards)


def prepared(source: Path, target: Path) -> PreparedDataset:
    table = SpecimenTable.at(target / "specimens.parquet")
    collect(table_source(source, {}), table)
    table.with_splits(partition(table.column("species")), "paper, seed 42", table)
    prepare(table, Folder(target / "data"), DatasetOptions(name="features", image_size=32), in_order)
    return PreparedDataset(Folder(target / "data"))


def write_source(folder: Path, barcodes: bool) -> np.ndarray:
    """Specimens of six species with features of their images and their DNA; the latter, (specimens, 5)."""
    folder.mkdir()
    random = np.random.default_rng(0)
    columns: dict[str, list[str]] = {
        "id": [f"s{number:03d}" for number in range(NUM_SPECIMENS)],
        "order": ["Diptera"] * NUM_SPECIMENS,
        "species": [f"Zoro {'abcdef'[number % 6]}bus" for number in range(NUM_SPECIMENS)],
    }
    if barcodes:
        columns["barcode"] = ["".join(random.choice(list("ACGT"), 200)) for _ in range(NUM_SPECIMENS)]
    pq.write_table(pa.table(columns), folder / "specimens.parquet")
    np.save(folder / "image_features.npy", random.normal(size=(NUM_SPECIMENS, IMAGE_SIZE)).astype(np.float16))
    features = random.normal(size=(NUM_SPECIMENS, DNA_SIZE)).astype(np.float32)
    features[7] = features[1]
    np.save(folder / "dna_features.npy", features)
    return features


@pytest.fixture
def feature_spec(tiny_spec: ExperimentSpec) -> ExperimentSpec:
    """Towers over features of images and DNA."""
    return replace(
        tiny_spec,
        modalities=("image", "dna"),
        image=ImageTower(kind="features", width=8, depth=2),
        dna=DnaTower(kind="features", width=8, depth=2),
        batch_size=8,
    )


@pytest.mark.parametrize("barcodes", [True, False])
def test_towers_get_the_features_of_their_specimens(
    barcodes: bool, tmp_path: Path, feature_spec: ExperimentSpec
) -> None:
    features = write_source(tmp_path / "source", barcodes)
    dataset = prepared(tmp_path / "source", tmp_path)
    facts = dataset.facts
    assert facts.modalities == ("image", "dna", "text")
    assert (facts.image_feature_size, facts.dna_feature_size, facts.barcodes) == (IMAGE_SIZE, DNA_SIZE, barcodes)
    assert bool(facts.frame) == barcodes
    specimens = Specimens(dataset, PROTOCOL.keys, feature_spec, None)
    rows = np.arange(len(specimens))
    taken = specimens.inputs("dna", rows, View())
    assert taken.dtype == torch.float32
    wanted = features[[int(name[1:]) for name in specimens.ids]]
    assert np.array_equal(taken.numpy(), wanted)
    batch = EpochBatches(Specimens(dataset, PROTOCOL.training, feature_spec, None), feature_spec, 0)[0]
    assert (batch["image"].shape, batch["dna"].shape) == ((8, IMAGE_SIZE), (8, DNA_SIZE))


def test_specimens_of_the_same_features_are_one_group(tmp_path: Path, feature_spec: ExperimentSpec) -> None:
    write_source(tmp_path / "source", barcodes=True)
    dataset = prepared(tmp_path / "source", tmp_path)
    specimens = Specimens(dataset, dataset.facts.splits.splits, feature_spec, None)
    assert len(specimens) == NUM_SPECIMENS
    for modality, num_distinct in (("dna", NUM_SPECIMENS - 1), ("image", NUM_SPECIMENS)):
        first, which = specimens.groups(modality)
        inputs = specimens.inputs(modality, np.arange(NUM_SPECIMENS), View())
        assert torch.equal(inputs[first][which], inputs)
        assert len(first) == num_distinct


def test_two_views_of_features_are_equal(tmp_path: Path, feature_spec: ExperimentSpec) -> None:
    write_source(tmp_path / "source", barcodes=False)
    spec = replace(feature_spec, objective="simclr", modalities=("dna",))
    specimens = Specimens(prepared(tmp_path / "source", tmp_path), PROTOCOL.training, spec, None)
    batch = EpochBatches(specimens, spec, 0)[0]
    assert torch.equal(batch["dna"], batch["dna/other"])


def test_without_barcodes_only_towers_over_features_can_be_trained_and_there_are_no_floors(
    tmp_path: Path, feature_spec: ExperimentSpec
) -> None:
    write_source(tmp_path / "source", barcodes=False)
    dataset = prepared(tmp_path / "source", tmp_path)
    tokenizer = TextTokenizer.from_json(dataset.tokenizer_json())
    for kind in ("barcodebert", "cnn", "dnabert2"):
        spec = replace(feature_spec, dna=DnaTower(kind=kind))
        with pytest.raises(SpecError, match="no barcodes"):
            Specimens(dataset, PROTOCOL.keys, spec, tokenizer)
    assert floors_of(dataset) == []


def test_other_features_of_the_same_specimens_make_another_data_set(tmp_path: Path) -> None:
    write_source(tmp_path / "source", barcodes=True)
    before = prepared(tmp_path / "source", tmp_path / "one").facts
    np.save(tmp_path / "source" / "dna_features.npy", np.ones((NUM_SPECIMENS, DNA_SIZE)))
    after = prepared(tmp_path / "source", tmp_path / "other").facts
    assert before.fingerprint != after.fingerprint
    (tmp_path / "source" / "dna_features.npy").unlink()
    assert prepared(tmp_path / "source", tmp_path / "third").facts.dna_feature_size is None


def test_a_data_set_made_anew_in_its_place_is_not_read_from_the_copy_of_the_old_one(
    tmp_path: Path, feature_spec: ExperimentSpec
) -> None:
    write_source(tmp_path / "source", barcodes=True)
    Specimens(prepared(tmp_path / "source", tmp_path / "made"), PROTOCOL.keys, feature_spec, None)
    shutil.rmtree(tmp_path / "made")
    np.save(tmp_path / "source" / "dna_features.npy", np.ones((NUM_SPECIMENS, DNA_SIZE)))
    again = Specimens(prepared(tmp_path / "source", tmp_path / "made"), PROTOCOL.keys, feature_spec, None)
    assert (again.inputs("dna", np.arange(len(again)), View()) == 1).all()


def test_real_pairs_are_prepared_with_both_kinds_of_features(
    real: Callable[[str], Path], tmp_path: Path, feature_spec: ExperimentSpec
) -> None:
    whole, source = real("insect_bold_pairs"), tmp_path / "source"
    source.mkdir()
    pq.write_table(pq.read_table(whole / "pairs.parquet").slice(0, 400), source / "pairs.parquet")
    for name in ("image_features_vit768_f16.npy", "dna_features_nt512_f16.npy"):
        np.save(source / name, np.load(whole / name, mmap_mode="r")[:400])
    dataset = prepared(source, tmp_path)
    facts = dataset.facts
    assert (facts.image_feature_size, facts.dna_feature_size, facts.barcodes) == (768, 512, True)
    assert facts.num_rejects == 0
    places = {name: row for row, name in enumerate(pq.read_table(source / "pairs.parquet")["processid"].to_pylist())}
    for dna, size in ((DnaTower(kind="features"), 512), (DnaTower(), 133), (DnaTower(kind="cnn"), 660)):
        specimens = Specimens(dataset, PROTOCOL.keys, replace(feature_spec, dna=dna), None)
        assert specimens.inputs("dna", np.arange(3), View()).shape == (3, size)
    stored = np.load(source / "dna_features_nt512_f16.npy", mmap_mode="r")
    specimens = Specimens(dataset, PROTOCOL.keys, feature_spec, None)
    rows = np.arange(0, len(specimens), 7)
    wanted = np.stack([stored[places[name]] for name in specimens.ids[rows]]).astype(np.float32)
    assert np.array_equal(specimens.inputs("dna", rows, View()).numpy(), wanted)
