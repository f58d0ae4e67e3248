"""Memory that runs out within a step: the step is taken again with fewer specimens at a time, by all workers alike."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor

from tests.processes import run_together
from tests.training.scarce_memory import CASES, WORDS, scarce
from tests.training.training import AT_EVERY_STEP, Watcher, begun, train
from workloads.data.inputs.barcode_inputs import MAX_BYTE_PAIRS
from workloads.data.inputs.batches import Specimens, global_batches
from workloads.data.inputs.who_trains import training_classes
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.taxon_text import TextTokenizer
from workloads.execution import Execution
from workloads.models.build import TowerInputs, build_model
from workloads.models.dnabert2 import PAD_ID
from workloads.placement import Placement
from workloads.run_errors import MemoryRanOutError, OutOfMemoryError
from workloads.spec import ExperimentSpec, spec_to_dict
from workloads.storage import Folder
from workloads.tower_specs import DnaTower
from workloads.training import step
from workloads.training.checkpoint import CheckpointStore
from workloads.training.loop import fit
from workloads.training.micro_batch import is_out_of_memory
from workloads.training.step import Training

PROGRAM = Path(__file__).with_name("scarce_memory.py")


@pytest.fixture(scope="module")
def two(tiny_spec: ExperimentSpec) -> ExperimentSpec:
    """Two towers, one with dropout and one with batch normalisation."""
    text = replace(tiny_spec.text, dropout=0.3)
    return replace(tiny_spec, modalities=("dna", "text"), dna=DnaTower(kind="cnn"), text=text, epochs=1)


def train_scarcely(
    spec: ExperimentSpec, dataset: PreparedDataset, execution: Execution, most: int | None, **limit: Any
) -> tuple[dict[str, Tensor], list[float], int]:
    """Weights and buffers, losses, and the number of chunks in the end."""
    training, specimens, experiment = begun(spec, dataset, execution)
    scarce(training, most, **limit)
    watcher = Watcher()
    fit(training, specimens, [watcher])
    assert training.shares is not None
    return dict(experiment.model.state_dict()), [report.loss for report in watcher.steps], training.shares.num_chunks


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_memory_that_runs_out_is_known_by_whatever_is_said_of_it() -> None:
    assert all(is_out_of_memory(RuntimeError(words)) for words in WORDS)
    assert is_out_of_memory(torch.OutOfMemoryError("Allocation on device 0 would exceed allowed memory."))
    for error in (ValueError(WORDS[0]), RuntimeError("CUDA error: misaligned address"), KeyError("memory")):
        assert not is_out_of_memory(error)


@pytest.mark.parametrize(("backward", "words"), [(False, WORDS[0]), (True, WORDS[2])])
def test_a_step_without_memory_is_taken_again_in_smaller_chunks(
    words: str, backward: bool, two: ExperimentSpec, tiny_dataset: PreparedDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = train(two, tiny_dataset, execution=Execution(micro_batch=4))
    found, losses, chunks = train_scarcely(two, tiny_dataset, AT_EVERY_STEP, 4, backward=backward, words=words)
    assert chunks == 4
    assert same(found, expected.weights)
    assert losses == [report.loss for report in expected.watcher.steps]
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(";")[0] for line in said] == ["step 0: memory ran out on worker 0"] * 2  # 16, 8, 4 at a time
    assert "cut anew, into 4 chunks" in said[1]


@pytest.mark.parametrize("backward", [False, True])
def test_where_chunks_need_not_be_smaller_dropout_is_as_it_was(
    backward: bool, two: ExperimentSpec, tiny_dataset: PreparedDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = train(two, tiny_dataset, execution=Execution(micro_batch=4, most_workers=4))
    found, losses, chunks = train_scarcely(two, tiny_dataset, Execution(most_workers=4), None, backward=backward)
    assert chunks == 4
    assert same(found, expected.weights)
    assert losses == [report.loss for report in expected.watcher.steps]
    assert capsys.readouterr().err.endswith("with 4 specimens at a time. Dropout is as it was.\n")


def test_memory_that_runs_out_in_the_middle_goes_on_as_a_run_that_is_asked_for_less_from_there(
    two: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    store, warned = CheckpointStore(Folder(tmp_path)), list[str]()
    train(two, tiny_dataset, store=store, stop_after=3)
    training, specimens, experiment = begun(two, tiny_dataset, Execution(micro_batch=8))
    training.resume(store, warned.append)
    fit(training, specimens)
    assert ["cut anew" in warning for warning in warned] == [True]
    found, _, chunks = train_scarcely(two, tiny_dataset, AT_EVERY_STEP, 8, step=3)
    assert chunks == 2
    assert same(found, dict(experiment.model.state_dict()))


def test_where_not_one_specimen_fits_it_says_so(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    with pytest.raises(OutOfMemoryError, match=r"step 1: worker 0 has no memory for even one .* --checkpoint-blocks"):
        train_scarcely(tiny_spec, tiny_dataset, Execution(), 0, step=1)


def test_memory_that_runs_out_while_the_weights_move_ends_the_run_and_the_next_start_embeds_fewer(
    two: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(Folder(tmp_path))
    training, specimens, _ = begun(two, tiny_dataset)

    def fail() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(training.optimizer, "step", fail)
    with pytest.raises(MemoryRanOutError, match=r"with 16 specimens .* Start the same command again: .* with 8 at a"):
        fit(training, specimens, store=store)
    again, specimens, _ = begun(two, tiny_dataset)
    again.resume(store, pytest.fail)
    fit(again, specimens)
    assert again.shares is not None
    assert again.shares.num_chunks == 2


def test_other_errors_pass(two: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    with pytest.raises(RuntimeError, match="misaligned address"):
        train_scarcely(two, tiny_dataset, Execution(), 4, words="CUDA error: misaligned address")


def test_byte_pairs_are_tried_as_wide_as_the_widest_of_all(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dna = DnaTower(kind="dnabert2", width=8, num_heads=2, depth=1)
    spec = replace(tiny_spec, objective="classify", modalities=("dna",), dna=dna, seed=2)
    splits, tried = tiny_dataset.facts.splits.training, list[int]()
    barcodes = tiny_dataset.load(splits, ["barcode"])["barcode"].to_pylist()
    pairs, special = Tokenizer(BPE(unk_token="[UNK]")), ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    pairs.train_from_iterator(barcodes[:5], BpeTrainer(vocab_size=200, special_tokens=special, show_progress=False))
    specimens = Specimens(tiny_dataset, splits, spec, None, dna_tokenizer=TextTokenizer(pairs, PAD_ID))
    model = build_model(spec, TowerInputs(num_classes=len(training_classes(spec, tiny_dataset))))
    training = Training(spec, model, len(specimens), Placement(), Execution())
    monkeypatch.setattr(step, "_MEASURED", 7)
    monkeypatch.setattr(
        step, "largest_micro_batch", lambda _, inputs, *__, share: (tried.append(inputs["dna"].shape[1]), share)[1]
    )
    training.cut(specimens)
    widths = [len(pairs.encode(barcode).ids) for barcode in barcodes]
    first = [widths[row] for row in next(global_batches(len(specimens.trained), spec.batch_size, spec.seed, 0))[:8]]
    assert max(first) < max(widths) < MAX_BYTE_PAIRS
    assert tried == [max(widths)]


@pytest.fixture(scope="module")
def of_ten(two: ExperimentSpec, tiny_spec: ExperimentSpec) -> ExperimentSpec:
    """A batch that is shared otherwise by more chunks; without batch normalisation, which takes no single specimen."""
    return replace(two, dna=tiny_spec.dna, batch_size=10)


@pytest.fixture(scope="module")
def found(
    of_ten: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[dict[str, Any]]]:
    """What two workers come to, of which the second has little memory."""
    folder = tmp_path_factory.mktemp("scarce")
    asked = {"data": str(tiny_dataset.folder), "spec": spec_to_dict(of_ten)}
    (folder / "asked.json").write_text(json.dumps(asked))
    for case in CASES:
        run_together(PROGRAM, [(rank, folder, case) for rank in range(2)])
    return {case: [json.loads((folder / f"{case}-{rank}.json").read_text()) for rank in range(2)] for case in CASES}


@pytest.mark.parametrize(
    ("case", "alone", "limit", "chunks"),
    [
        # Chunks of 2, 2, 2 and 2, 1, 1 instead of 5 and 5: other shares, for which the batch is read again.
        ("forward, at once", Execution(most_workers=2), {"most": 4}, 6),
        ("forward, chunks kept", Execution(most_workers=3), {"most": None}, 3),
        ("backward, cached", Execution(most_workers=2, micro_batch=3), {"most": 1}, 10),
    ],
)
def test_workers_agree_and_take_the_step_again_as_one_process_would(
    case: str,
    alone: Execution,
    limit: dict[str, Any],
    chunks: int,
    found: dict[str, list[dict[str, Any]]],
    of_ten: ExperimentSpec,
    tiny_dataset: PreparedDataset,
) -> None:
    _, losses, num_chunks = train_scarcely(of_ten, tiny_dataset, alone, step=3, **limit)
    assert num_chunks == chunks
    for worker in found[case]:
        assert worker["ended"] == ""
        assert worker["chunks"] == chunks
        assert list(worker["losses"].values()) == pytest.approx(losses, rel=1e-5)
    assert found[case][0]["weights"] == found[case][1]["weights"]


def test_where_other_workers_are_in_a_collective_the_worker_ends_by_name_and_the_next_start_embeds_fewer(
    found: dict[str, list[dict[str, Any]]],
) -> None:
    first, second = found["backward, at once"]
    assert second["ended"].startswith("MemoryRanOutError: step 3: memory ran out on worker 1 on ")
    assert first["ended"] != ""  # its connection is gone
    for worker in found["next start"]:
        assert worker["ended"] == ""
        assert worker["chunks"] == 6
        assert min(map(int, worker["losses"])) == 3
