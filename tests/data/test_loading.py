"""Batches that other processes make in pieces: the same to the bit, few at a time, and no process stays behind."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from torch import Tensor

from benchmarks.feeding import LARGE, MOST_BYTES, Squares, asked_for, in_flight
from workloads.data.inputs import loading
from workloads.data.inputs.batches import Asked, Batch, EpochBatches, Specimens, View
from workloads.data.inputs.loading import loaded
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.taxon_text import TextTokenizer
from workloads.data.specimens.schema import PROTOCOLS
from workloads.spec import ExperimentSpec
from workloads.tower_specs import DnaTower

PROTOCOL = PROTOCOLS["clibd"]
HERE = torch.device("cpu")
# What is forked here runs numpy and Pillow alone.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "PIECE", 5)  # a batch of 16 is four of them


@pytest.fixture
def _another_start() -> Iterator[None]:
    """How Python 3.14 starts processes by itself: nothing of this one is there but what is pickled."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("forkserver", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


def byte_pairs() -> TextTokenizer:
    """Of barcodes, whose numbers of tokens differ; what fills them up is not 0."""
    pairs = [("A", "A"), ("T", "T"), ("AA", "T"), ("TT", "A"), ("G", "C"), ("GC", "TTA")]
    words = [*"ACGTN", *("".join(pair) for pair in pairs)]
    return TextTokenizer(Tokenizer(BPE({word: place for place, word in enumerate(words)}, pairs)), pad_id=9)


def opened(dataset: PreparedDataset, spec: ExperimentSpec) -> Specimens:
    words = TextTokenizer.from_json(dataset.tokenizer_json())
    return Specimens(dataset, PROTOCOL.training, spec, words, dna_tokenizer=byte_pairs())


CASES: dict[str, dict[str, object]] = {
    "aligned": {},
    "byte pairs": {"dna": DnaTower(kind="dnabert2")},
    "two views of pictures": {"objective": "simclr", "modalities": ("image",), "augmentation": "simclr"},
    "two views of byte pairs": {"objective": "simclr", "modalities": ("dna",), "dna": DnaTower(kind="dnabert2")},
    "classes": {"objective": "classify", "modalities": ("image",), "batch_size": 8},
    "a piece a batch": {"batch_size": 5},
}


def copied(batches: Iterator[Batch]) -> list[Batch]:
    """All of them; a batch is emptied when the next one is asked for."""
    return [dict(batch) for batch in batches]


def check_same(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for batch, whole in zip(found, expected, strict=True):
        assert list(batch) == list(whole)  # towers are run in this order, and dropout is drawn in it
        for name, values in whole.items():
            assert (batch[name].dtype, batch[name].shape) == (values.dtype, values.shape)
            assert batch[name].stride() == values.stride()  # how it lies decides how it is summed
            assert torch.equal(batch[name], values), name


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("piece", "beside"), [(5, 2**30), (5, 0), (1, 2**30)])
def test_batches_in_pieces_are_the_same_to_the_bit(
    case: str,
    piece: int,
    beside: int,
    tiny_dataset: PreparedDataset,
    tiny_spec: ExperimentSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loading, "PIECE", piece)
    monkeypatch.setattr(loading, "_BESIDE", beside)
    spec = replace(tiny_spec, **CASES[case])  # type: ignore[arg-type]  # by the names of its fields
    specimens = opened(tiny_dataset, spec)
    batches = EpochBatches(specimens, spec, 1, slice(1, None), first_step=1)
    expected = [batches[step] for step in range(len(batches))]
    assert len(expected) >= 2
    check_same(copied(loaded(specimens, batches.asked(), HERE, processes=2)), expected)
    check_same(copied(loaded(specimens, batches.asked(), HERE)), expected)


def test_byte_pairs_of_pieces_are_unlike_in_width(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec) -> None:
    """Else the case above would show nothing."""
    spec = replace(tiny_spec, dna=DnaTower(kind="dnabert2"))
    specimens = opened(tiny_dataset, spec)
    widths = [
        {specimens.made(part)["dna"].shape[1] for part in asked.pieces(5)}
        for asked in EpochBatches(specimens, spec, 1).asked()
    ]
    assert all(len(several) > 1 for several in widths)


@pytest.mark.usefixtures("_another_start")
def test_processes_that_are_not_forked_open_the_data_again(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec
) -> None:
    specimens = opened(tiny_dataset, tiny_spec)
    batches = EpochBatches(specimens, tiny_spec, 1)
    expected = [batches[step] for step in range(len(batches))]
    check_same(copied(loaded(specimens, batches.asked(), HERE, processes=1)), expected)


def test_specimens_pickle_as_an_address(tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec) -> None:
    specimens = opened(tiny_dataset.without(["val"]), tiny_spec)
    pickled = pickle.dumps(specimens)
    columns = tiny_dataset.open(PROTOCOL.training)
    assert len(pickle.dumps(columns)) > 200_000  # the pictures of some hundred insects, of 64 pixels
    assert (
        len(pickled) - len(pickle.dumps(specimens._opened_with[3])) < 8_000
    )  # beside the tokeniser, with a digest for each file
    again, rows, view = pickle.loads(pickled), np.arange(len(specimens)), View(3, 1)
    for name in specimens.modalities:
        assert torch.equal(again.inputs(name, rows, view), specimens.inputs(name, rows, view))
    assert again._dataset.facts == tiny_dataset.without(["val"]).facts != tiny_dataset.facts


def test_what_is_in_flight_does_not_grow_with_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """32,768 pictures of 224 pixels, 4.9 GB, of two processes; all memory beyond the batch is counted."""
    monkeypatch.setattr(loading, "PIECE", 128)
    held = in_flight(LARGE, processes=2)
    assert held["batch_bytes"] == LARGE * 3 * 224 * 224
    assert held["bytes_beyond"] <= MOST_BYTES / 4  # eight processes hold four times as many pieces


def test_pieces_take_no_room_in_dev_shm() -> None:
    batches = loaded(Squares(), asked_for(5, 3), HERE, processes=1)
    image = next(batches)["image"]  # a single piece, as it came
    [lies_in] = [place for start, stop, place in mapped_files() if start <= image.data_ptr() < stop]
    assert lies_in.startswith("/memfd:piece")
    assert not any("/dev/shm/torch" in place for _, _, place in mapped_files())
    batches.close()


def mapped_files() -> list[tuple[int, int, str]]:
    """From which to which address this process has mapped which file."""
    lines = (line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines())
    return [(*(int(end, 16) for end in words[0].split("-")), words[5]) for words in lines if len(words) == 6]


@pytest.mark.parametrize("taken", [1, 2])
def test_no_process_and_no_thread_outlives_the_batches(taken: int) -> None:
    batches = loaded(Squares(), asked_for(50, 40), HERE, processes=2)
    for _ in range(taken):
        next(batches)
    processes = multiprocessing.active_children()
    assert len(processes) == 2
    batches.close()  # while a batch is put together
    assert multiprocessing.active_children() == []
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())


def test_a_batch_is_emptied_when_the_next_one_is_asked_for() -> None:
    batches = loaded(Squares(), asked_for(10, 2), HERE, processes=1)
    first = next(batches)
    assert set(first) == {"image"}
    second = next(batches)
    assert first == {}
    assert [int(values) for values in second["image"][:, 0, 0, 0]] == list(range(10, 20))
    batches.close()


class Fails(Squares):
    """One specimen cannot be read, or ends the process that reads it."""

    def __init__(self, dies: bool) -> None:
        super().__init__()
        self._dies = dies

    def made(self, asked: Asked) -> Batch:
        if 17 in asked.rows:
            if self._dies:
                os._exit(1)
            raise pa.ArrowInvalid("its page is broken")
        return super().made(asked)


@pytest.mark.parametrize(("dies", "said"), [(False, "its page is broken"), (True, "exited unexpectedly")])
def test_what_a_process_meets_is_met_here(dies: bool, said: str) -> None:
    batches = loaded(Fails(dies), asked_for(10, 3), HERE, processes=1)
    with pytest.raises((pa.ArrowInvalid, OSError), match=said):  # at the second batch, or at the first: it is ahead
        for _ in batches:
            pass


def test_a_process_that_dies_interrupts_nothing_else() -> None:
    """Torch would raise wherever the main thread is, as it did in the runner of these tests."""
    batches = loaded(Fails(True), asked_for(10, 3), HERE, processes=1)
    with suppress(OSError):
        next(batches)
    [process] = multiprocessing.active_children() or [None]
    if process:
        process.join(10)
    assert signal.getsignal(signal.SIGCHLD) in {signal.SIG_DFL, signal.SIG_IGN}
    with pytest.raises(OSError, match="exited unexpectedly"):
        list(batches)


def test_random_numbers_of_the_towers_are_left_alone() -> None:
    torch.manual_seed(1)
    before: Tensor = torch.get_rng_state()
    copied(loaded(Squares(), asked_for(5, 2), HERE, processes=1))
    assert torch.equal(torch.get_rng_state(), before)
