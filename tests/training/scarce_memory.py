"""Memory that runs out for tests; and one of two workers whose memory does, run by test_scarce_memory.py for each rank.

python scarce_memory.py RANK FOLDER CASE

FOLDER holds `asked.json`, and takes `CASE-RANK.json`: the losses, or what ended the worker.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.training.training import Watcher
from workloads.data.prepared.dataset import PreparedDataset
from workloads.execution import Execution
from workloads.models.loaded import open_untrained
from workloads.placement import Placement
from workloads.spec import spec_from_dict
from workloads.storage import Folder
from workloads.training.checkpoint import CheckpointStore
from workloads.training.loop import fit
from workloads.training.step import Training

WORDS = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 GiB",
    "CUDA error: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 "
    "bytes. Error code 12 (Cannot allocate memory)",
)


def scarce(
    training: Training, most: int | None, *, step: int = 0, backward: bool = False, words: str = WORDS[0]
) -> None:
    """From a step on have no memory for the activations of a chunk of more specimens; None: for all chunks at once."""

    def fail(_: Tensor | None = None) -> None:
        raise torch.OutOfMemoryError(words) if words == WORDS[0] else RuntimeError(words)

    def hook(_: nn.Module, given: tuple[Tensor], embedded: Tensor) -> None:
        too_much = training.chunking.at_once if most is None else len(given[0]) > most
        if training.shares and training.step >= step and too_much and embedded.requires_grad:
            embedded.register_hook(fail) if backward else fail()

    training.model.towers["text"].register_forward_hook(hook)


CASES: dict[str, tuple[Execution, dict[str, Any]]] = {
    "forward, at once": (Execution(), {"most": 4, "step": 3}),
    "forward, chunks kept": (Execution(most_workers=3), {"most": None, "step": 3}),
    "backward, cached": (Execution(micro_batch=3), {"most": 1, "step": 3, "backward": True}),
    "backward, at once": (Execution(checkpoint_seconds=0), {"most": 4, "step": 3, "backward": True}),
    "next start": (Execution(checkpoint_seconds=0), {"most": 4, "backward": True}),
}
"""How the batch is embedded, and when the memory of the second worker runs out."""


def main(rank: int, folder: Path, case: str) -> None:
    """One case."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=(folder / f"meeting of {case}").as_uri(), rank=rank, world_size=2)
    asked = json.loads((folder / "asked.json").read_text())
    spec, dataset = spec_from_dict(asked["spec"]), PreparedDataset(Folder(asked["data"]))
    execution, limit = CASES[case]
    experiment = open_untrained(spec, dataset)
    specimens = experiment.specimens(dataset, dataset.facts.splits.training)
    training = Training(spec, experiment.model, len(specimens), Placement.here(torch.device("cpu")), execution)
    store = CheckpointStore(Folder(folder / "checkpoints")) if execution.checkpoint_seconds == 0 else None
    if store:
        training.resume(store, print)
    if rank == 1:
        scarce(training, **limit)
    watcher = Watcher()
    found: dict[str, Any] = {"ended": ""}
    try:
        fit(training, specimens, [watcher], store)
        dist.destroy_process_group()
    except Exception as error:  # of the other worker: its connection is gone
        found["ended"] = f"{type(error).__name__}: {error}"
    losses = {report.step: report.loss for report in watcher.steps}
    weights = sum(float(p.detach().double().sum()) for p in training.model.parameters())
    chunks = training.shares.num_chunks if training.shares else None
    found |= {"losses": losses, "chunks": chunks, "weights": weights}
    (folder / f"{case}-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
