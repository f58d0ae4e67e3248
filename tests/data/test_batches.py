"""Which specimens form a batch, and that the number of workers changes nothing."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workloads.data.batches import EpochBatches, Rows, Specimens, View, check_batch, global_batches
from workloads.data.prepared import PreparedDataset
from workloads.data.schema import PROTOCOLS
from workloads.data.taxon_text import TextTokenizer
from workloads.errors import MissingPathError, SpecError, TooFewSpecimensError
from workloads.spec import ExperimentSpec

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


@pytest.mark.parametrize("num_workers", [2, 4])
def test_workers_see_together_what_one_sees_to_the_bit(
    num_workers: int, specimens: Specimens, tiny_spec: ExperimentSpec
) -> None:
    alone = EpochBatches(specimens, tiny_spec, 2, 0, 1)
    workers = [EpochBatches(specimens, tiny_spec, 2, rank, num_workers) for rank in range(num_workers)]
    assert {len(worker) for worker in workers} == {len(alone)} == {len(specimens) // tiny_spec.batch_size}
    for step in range(len(alone)):
        whole, shares = alone[step], [worker[step] for worker in workers]
        assert set(whole) == {"image", "dna", "text"}
        for name, values in whole.items():
            assert len(shares[0][name]) == tiny_spec.batch_size // num_workers
            assert torch.equal(torch.cat([share[name] for share in shares]), values)


@pytest.mark.parametrize("first_step", [1, 3])
def test_an_epoch_goes_on_from_its_middle_with_the_same_next_batches(
    first_step: int, specimens: Specimens, tiny_spec: ExperimentSpec
) -> None:
    spec = replace(tiny_spec, batch_size=8)
    whole = EpochBatches(specimens, spec, 1, 0, 2)
    resumed = EpochBatches(specimens, spec, 1, 0, 2, first_step)
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
    batch = EpochBatches(specimens, tiny_spec, 0, 0, 1)[0]
    side = tiny_spec.image.image_size
    assert batch["image"].shape == (16, 3, side, side)
    assert batch["image"].dtype == torch.uint8
    assert batch["dna"].shape == (16, 133)
    assert batch["dna"].dtype == batch["text"].dtype == torch.int64


def test_rows_of_a_batch_are_one_specimen_in_every_modality(specimens: Specimens, tiny_spec: ExperimentSpec) -> None:
    rows = next(global_batches(len(specimens), tiny_spec.batch_size, tiny_spec.seed, 1))
    batch = EpochBatches(specimens, tiny_spec, 1, 0, 1)[0]
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


def test_a_batch_larger_than_the_specimens_or_not_divisible_is_refused(tiny_spec: ExperimentSpec) -> None:
    check_batch(tiny_spec, num_specimens=16, num_workers=4)
    with pytest.raises(TooFewSpecimensError, match="tiny: 15 training"):
        check_batch(tiny_spec, num_specimens=15, num_workers=4)
    with pytest.raises(SpecError, match="among 5 workers"):
        check_batch(tiny_spec, num_specimens=16, num_workers=5)


def test_text_needs_a_tokeniser_and_splits_must_exist(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec) -> None:
    with pytest.raises(SpecError, match="tokeniser"):
        Specimens(tiny_dataset, PROTOCOL.keys, tiny_spec, None)
    with pytest.raises(MissingPathError):
        Specimens(tiny_dataset, ["no_such_split"], replace(tiny_spec, modalities=("image", "dna")), None)
