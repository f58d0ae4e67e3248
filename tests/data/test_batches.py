"""Which specimens form a batch, and that the number of workers changes nothing."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workloads.data.inputs.batches import EpochBatches, Specimens, View, global_batches
from workloads.data.inputs.tower_inputs import Rows
from workloads.data.inputs.who_trains import check_batch, num_trained, training_classes
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.taxon_text import TextTokenizer
from workloads.data.specimens.schema import PROTOCOLS
from workloads.errors import MissingPathError, SpecError, TooFewSpecimensError, UsageError
from workloads.shares import Shares
from workloads.spec import ExperimentSpec, Modality

PROTOCOL = PROTOCOLS["clibd"]


@pytest.fixture(scope="module")
def specimens(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec) -> Specimens:
    tokenizer = TextTokenizer.from_json(tiny_dataset.tokenizer_json())
    return Specimens(tiny_dataset, PROTOCOL.training, tiny_spec, tokenizer)


@given(
    num_specimens=st.integers(0, 60),
    batch_size=st.integers(1, 20),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 50),
)
def test_an_epoch_shows_each_specimen_once_but_for_the_last_incomplete_batch(
    num_specimens: int, batch_size: int, seed: int, epoch: int
) -> None:
    batches = list(global_batches(num_specimens, batch_size, seed, epoch))
    assert len(batches) == num_specimens // batch_size
    assert all(len(rows) == batch_size for rows in batches)
    shown = np.concatenate(batches) if batches else np.array([], dtype=int)
    assert len(set(shown.tolist())) == len(shown)
    assert set(shown.tolist()) <= set(range(num_specimens))


def order(seed: int, epoch: int) -> list[int]:
    return [int(row) for rows in global_batches(40, 8, seed, epoch) for row in rows]


def test_the_order_is_fresh_each_epoch_and_a_pure_function_of_seed_and_epoch() -> None:
    np.random.seed(0)  # noqa: NPY002 - the global stream is what must not matter
    first = order(seed=1, epoch=0)
    np.random.seed(1)  # noqa: NPY002
    assert order(seed=1, epoch=0) == first
    assert sorted(first) == list(range(40))
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6


@pytest.mark.parametrize("num_workers", [2, 3, 4])
def test_workers_see_together_what_one_sees_to_the_bit(
    num_workers: int, specimens: Specimens, tiny_spec: ExperimentSpec
) -> None:
    alone = EpochBatches(specimens, tiny_spec, 2)
    parts = Shares(batch_size=tiny_spec.batch_size, num_chunks=num_workers, num_workers=num_workers)
    workers = [EpochBatches(specimens, tiny_spec, 2, parts.rows(rank)) for rank in range(num_workers)]
    assert {len(worker) for worker in workers} == {len(alone)} == {len(specimens) // tiny_spec.batch_size}
    for step in range(len(alone)):
        whole, shares = alone[step], [worker[step] for worker in workers]
        assert set(whole) == {"image", "dna", "text"}
        for name, values in whole.items():
            assert [len(share[name]) for share in shares] == parts.sizes
            assert torch.equal(torch.cat([share[name] for share in shares]), values)


@pytest.mark.parametrize("first_step", [1, 3])
def test_an_epoch_goes_on_from_its_middle_with_the_same_next_batches(
    first_step: int, specimens: Specimens, tiny_spec: ExperimentSpec
) -> None:
    spec = replace(tiny_spec, batch_size=8)
    whole = EpochBatches(specimens, spec, 1, slice(4))
    resumed = EpochBatches(specimens, spec, 1, slice(4), first_step)
    assert len(resumed) == len(whole) - first_step
    for step in range(8):
        for name, values in resumed[step].items():
            assert torch.equal(values, whole[first_step + step][name])


def test_any_rows_are_had_across_the_chunks_of_a_column() -> None:
    values = np.arange(60, dtype=np.int16).reshape(20, 3)
    chunks = [values[:7], values[7:7], values[7:8], values[8:]]
    column = pa.chunked_array([pa.FixedSizeListArray.from_arrays(pa.array(c.ravel()), 3) for c in chunks])
    rows = np.array([19, 0, 7, 7, 6, 8])
    taken = Rows(column).take(rows)
    assert taken.dtype == np.int16
    assert np.array_equal(taken, values[rows])
    assert Rows(column).take(np.array([], dtype=np.int64)).shape == (0, 3)


def test_towers_get_bytes_of_pixels_and_ids_of_tokens(specimens: Specimens, tiny_spec: ExperimentSpec) -> None:
    batch = EpochBatches(specimens, tiny_spec, 0)[0]
    side = tiny_spec.image.image_size
    assert batch["image"].shape == (16, 3, side, side)
    assert batch["image"].dtype == torch.uint8
    assert batch["dna"].shape == (16, 133)
    assert batch["dna"].dtype == batch["text"].dtype == torch.int64


def test_rows_of_a_batch_are_one_specimen_in_every_modality(specimens: Specimens, tiny_spec: ExperimentSpec) -> None:
    rows = next(global_batches(len(specimens), tiny_spec.batch_size, tiny_spec.seed, 1))
    batch = EpochBatches(specimens, tiny_spec, 1)[0]
    for name in ("image", "dna", "text"):
        singly = [specimens.inputs(name, np.array([row]), View(tiny_spec.seed, 1)) for row in rows]
        assert torch.equal(batch[name], torch.cat(singly))


def test_pictures_change_with_the_epoch_and_the_seed_only_in_training(specimens: Specimens) -> None:
    rows = np.arange(3)
    views = [View(1, 0), View(1, 1), View(2, 0)]
    augmented = [specimens.inputs("image", rows, view) for view in views]
    assert not torch.equal(augmented[0], augmented[1])
    assert not torch.equal(augmented[0], augmented[2])
    assert torch.equal(augmented[0], specimens.inputs("image", rows, View(1, 0)))
    assert torch.equal(specimens.inputs("image", rows, View()), specimens.inputs("image", rows, View(7)))


@pytest.mark.parametrize("modality", ["image", "dna", "text"])
def test_groups_point_each_row_at_an_equal_input(specimens: Specimens, modality: str) -> None:
    first, which = specimens.groups(modality)
    inputs = specimens.inputs(modality, np.arange(len(specimens)), View())
    assert torch.equal(inputs[first][which], inputs)
    assert len(torch.unique(inputs[first].flatten(1), dim=0)) == len(first)


def test_identical_barcodes_and_labels_form_one_group(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec) -> None:
    table = tiny_dataset.load(PROTOCOL.keys)
    tokenizer = TextTokenizer.from_json(tiny_dataset.tokenizer_json())
    twice = Specimens(tiny_dataset, [*PROTOCOL.keys, *PROTOCOL.keys], tiny_spec, tokenizer)
    for modality, column in (("dna", "dna_ids"), ("text", "text")):
        distinct = {str(value) for value in table[column].to_pylist()}
        first, which = twice.groups(modality)
        assert len(first) == len(distinct)
        assert which[: len(table)].tolist() == which[len(table) :].tolist()


def test_a_batch_larger_than_the_specimens_or_smaller_than_the_group_is_refused(tiny_spec: ExperimentSpec) -> None:
    for count in (1, 5, 16):
        check_batch(tiny_spec, num_specimens=16, num_workers=count)
    with pytest.raises(TooFewSpecimensError, match="tiny: 15 training"):
        check_batch(tiny_spec, num_specimens=15, num_workers=4)
    with pytest.raises(UsageError, match=r"among 17 workers.*--workers 16\)"):
        check_batch(tiny_spec, num_specimens=16, num_workers=17)


def test_text_needs_a_tokeniser_and_splits_must_exist(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec) -> None:
    with pytest.raises(SpecError, match="tokeniser"):
        Specimens(tiny_dataset, PROTOCOL.keys, tiny_spec, None)
    with pytest.raises(MissingPathError):
        Specimens(tiny_dataset, ["no_such_split"], replace(tiny_spec, modalities=("image", "dna")), None)


def every(batches: EpochBatches) -> list[dict[str, torch.Tensor]]:
    return [batches[step] for step in range(len(batches))]


def rows_of_epochs(specimens: Specimens, spec: ExperimentSpec) -> list[list[bytes]]:
    """Labels' ids of the specimens of each of three epochs, in order."""
    texts = replace(spec, modalities=("dna", "text"))
    return [
        [row.numpy().tobytes() for batch in every(EpochBatches(specimens, texts, epoch)) for row in batch["text"]]
        for epoch in range(3)
    ]


def test_epochs_are_shuffled_anew_or_repeat_the_first_while_pictures_vary_in_both(
    specimens: Specimens, tiny_spec: ExperimentSpec
) -> None:
    fresh, same = tiny_spec, replace(tiny_spec, epoch_order="same")
    first, second, third = rows_of_epochs(specimens, fresh)
    assert first not in (second, third)
    assert second != third
    assert rows_of_epochs(specimens, same) == [first] * 3
    one, other = (EpochBatches(specimens, same, epoch)[0] for epoch in (0, 1))
    assert torch.equal(one["dna"], other["dna"])
    assert not torch.equal(one["image"], other["image"])


@pytest.mark.parametrize("modality", ["image", "dna", "text"])
def test_one_tower_on_its_own_gets_two_views_that_repeat(
    modality: Modality, tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    spec = replace(tiny_spec, objective="simclr", modalities=(modality,), augmentation="simclr")
    tokenizer = TextTokenizer.from_json(tiny_dataset.tokenizer_json())
    specimens = Specimens(tiny_dataset, PROTOCOL.training, spec, tokenizer)
    whole, again = (EpochBatches(specimens, spec, 1)[0] for _ in range(2))
    share = EpochBatches(specimens, spec, 1, slice(8, None))[0]
    other = f"{modality}/other"
    assert set(whole) == {modality, other}
    assert whole[modality].shape == whole[other].shape
    for name, values in whole.items():
        assert torch.equal(values, again[name])
        assert torch.equal(values[8:], share[name])
    if modality == "text":  # labels have no views; the tower's dropout tells the two apart
        assert torch.equal(whole[modality], whole[other])
    else:
        changed = (whole[modality] != whole[other]).flatten(1).any(dim=1)
        assert changed.all()
        next_epoch = EpochBatches(specimens, replace(spec, epoch_order="same"), 0)[0]
        same_rows = EpochBatches(specimens, replace(spec, epoch_order="same"), 1)[0]
        assert (next_epoch[modality] != same_rows[modality]).flatten(1).any(dim=1).all()


def test_views_do_not_reach_evaluation(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec) -> None:
    spec = replace(tiny_spec, objective="simclr", modalities=("dna",))
    masked, plain = (Specimens(tiny_dataset, PROTOCOL.keys, each, None, ("dna",)) for each in (spec, tiny_spec))
    rows = np.arange(10)
    assert torch.equal(masked.inputs("dna", rows, View()), plain.inputs("dna", rows, View()))
    assert not torch.equal(masked.inputs("dna", rows, View(0, 0)), plain.inputs("dna", rows, View(0, 0)))


def test_a_classifier_trains_on_the_named_specimens_and_their_places_in_the_sorted_species(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    spec = replace(tiny_spec, objective="classify", modalities=("dna",), batch_size=4)
    specimens = Specimens(tiny_dataset, PROTOCOL.training, spec, None)
    names = specimens.labels["species"].tolist()
    classes = training_classes(spec, tiny_dataset)
    assert list(classes) == sorted({name for name in names if name is not None})
    assert None in names
    batches = EpochBatches(specimens, spec, 0)
    assert len(batches) == num_trained(spec, tiny_dataset.facts) // 4 == len(specimens.trained) // 4
    ids = {
        row.numpy().tobytes(): name
        for row, name in zip(specimens.inputs("dna", np.arange(len(names)), View()), names, strict=True)
    }
    for batch in every(batches):
        assert set(batch) == {"dna", "label"}
        assert batch["label"].dtype == torch.int64
        assert [classes[label] for label in batch["label"]] == [ids[row.numpy().tobytes()] for row in batch["dna"]]


def test_a_species_that_is_not_trained_has_no_class(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec) -> None:
    spec = replace(tiny_spec, objective="classify", modalities=("dna",))
    unseen = Specimens(tiny_dataset, ["test_unseen"], spec, None)
    assert (unseen.class_of == -1).all()
    seen = Specimens(tiny_dataset, ["test_seen"], spec, None)
    classes = training_classes(spec, tiny_dataset)
    assert [classes[place] for place in seen.class_of] == seen.labels["species"].tolist()


def test_the_batch_is_checked_against_what_trains(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec) -> None:
    facts = tiny_dataset.facts
    classify = replace(tiny_spec, objective="classify", modalities=("image",))
    assert num_trained(tiny_spec, facts) == facts.num_training
    labelled = num_trained(classify, facts)
    assert 0 < labelled < facts.num_training
    assert labelled == facts.num_labelled["train_seen"]["species"]
    with pytest.raises(TooFewSpecimensError, match=f"{labelled} training"):
        check_batch(replace(classify, batch_size=labelled + 1), labelled, 1)


def test_nothing_to_classify_is_said(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    unnamed = replace(PROTOCOL, training=("no_split",))
    monkeypatch.setitem(PROTOCOLS, "clibd", unnamed)
    with pytest.raises(SpecError, match="tiny: "):
        training_classes(replace(tiny_spec, objective="classify", modalities=("image",)), tiny_dataset)
