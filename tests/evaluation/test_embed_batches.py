"""Who decodes the pictures, and in which chunks embedding is handed out, changes no bit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from workloads.data.inputs import loading
from workloads.data.inputs.batches import View
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.schema import PROTOCOLS
from workloads.evaluation.embed import GPU_BATCH_SIZE, batch_size_on, embed
from workloads.measuring import chunks
from workloads.measuring.chunks import Embedder, EmbeddingJob, embed_here
from workloads.models.loaded import open_untrained, write_inputs
from workloads.models.weights import save_weights
from workloads.placement import Placement
from workloads.record import RunFolder
from workloads.spec import MODALITIES, ExperimentSpec, Modality
from workloads.storage import Folder

# What is forked here runs numpy and Pillow alone.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "PIECE", 5)


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("processes", [0, 2])
def test_batches_are_embedded_as_by_definition_whoever_makes_them(
    modality: Modality, processes: int, tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    experiment = open_untrained(tiny_spec, tiny_dataset)
    specimens = experiment.specimens(tiny_dataset, PROTOCOLS["clibd"].keys)
    found = embed(experiment.model, specimens, modality, Placement(loader_processes=processes), batch_size=6)
    first, which = specimens.groups(modality)
    experiment.model.eval()
    with torch.inference_mode():
        rows = [
            experiment.model.embed({modality: specimens.inputs(modality, first[start : start + 6], View())})[modality]
            for start in range(0, len(first), 6)
        ]
    assert len(rows) > 1
    assert np.array_equal(found, torch.cat(rows).numpy()[which])


def test_a_gpu_has_batches_of_1024_and_a_cpu_those_that_its_numbers_were_made_with() -> None:
    """fp32 products group their sums by the batch, so other batches on CPUs would be other numbers."""
    assert (batch_size_on(torch.device("cpu")), batch_size_on(torch.device("cuda"))) == (256, 1024)


def test_chunks_may_be_embedded_some_at_a_time_and_in_any_order(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "BATCH_SIZE", 16)
    run, experiment = RunFolder(Folder(tmp_path / "run")), open_untrained(tiny_spec, tiny_dataset)
    run.begin(tiny_spec, {}, {})
    write_inputs(run, experiment)
    save_weights(run.folder, experiment.model)
    job = EmbeddingJob(run=str(run.folder), data=str(tiny_dataset.folder), modalities=MODALITIES)
    told: list[tuple[int, int | None]] = []
    here = embed_here(job, lambda done, of: told.append((done, of)), cpu_only=True)
    worker = Embedder(job, loader_processes=1)
    everything = worker.chunks()
    assert told == [(done, len(everything)) for done in range(1, len(everything) + 1)]
    tasks = [everything[start : start + 5] for start in range(0, len(everything), 5)]
    assert any(len({modality for modality, _, _ in task}) > 1 for task in tasks)
    embedded = [row for task in reversed(tasks) for row in worker.run(task)]
    there = worker.put_together(embedded, len(everything), lambda *_: None)
    assert list(here) == list(there)
    for name, part in here.items():
        assert part.rows.keys() == there[name].rows.keys()
        assert all(np.array_equal(rows, there[name].rows[modality]) for modality, rows in part.rows.items())
    assert {stop - start for _, start, stop in worker.chunks(on_gpu=True)} < set(range(1, GPU_BATCH_SIZE + 1))
