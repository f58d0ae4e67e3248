"""The training loop: one process, or any process group; no Ray.

for every epoch: seed, batches of this epoch, step by step, then report and offer a checkpoint
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from workloads.data.batches import EpochBatches, Specimens, check_batch
from workloads.errors import NonFiniteLossError
from workloads.models.clibd import Clibd
from workloads.spec import ExperimentSpec
from workloads.training.checkpoint import load_checkpoint, save_checkpoint
from workloads.training.loss import contrastive_loss
from workloads.training.placement import Placement, kernels

_LOGGED_STEPS = 20
"""Points of the loss curve per epoch, at most."""

Event = dict[str, Any]
Save = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch came to."""

    epoch: int
    loss: float
    """Mean over the epoch's steps."""
    learning_rate: float
    """After the last step."""
    temperature: float
    gradient_norm: float
    """Of the last step."""
    seconds: float
    specimens_per_second: float
    """Of all workers together."""
    waited: float
    """Share of the time that was spent waiting for batches."""
    allocated_gb: float
    """torch.cuda.max_memory_allocated, GB; 0 without a GPU."""
    reserved_gb: float
    """torch.cuda.max_memory_reserved, GB; 0 without a GPU."""

    def event(self) -> Event:
        """The report as a line of events.jsonl."""
        return {"event": "epoch", **asdict(self)}


def fit(
    spec: ExperimentSpec,
    model: Clibd,
    specimens: Specimens,
    placement: Placement,
    *,
    resume: Path | None,
    on_epoch: Callable[[EpochReport, Sequence[Event], Save], None],
) -> None:
    """Train a model in place.

    Args:
        spec: the experiment.
        model: built from the spec, on any device; it ends on `placement.device`.
        specimens: those that train.
        placement: this worker's.
        resume: folder of a checkpoint to go on from, or None.
        on_epoch: called on every worker after each epoch with its report, the logged steps, and a function that
            writes a checkpoint into a folder.

    Raises:
        TooFewSpecimensError: fewer specimens than a batch.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    check_batch(spec, len(specimens), placement.num_workers)
    model.to(placement.device)
    steps_per_epoch = len(specimens) // spec.batch_size
    optimizer = build_optimizer(spec, model)
    schedule = build_schedule(spec, optimizer, spec.epochs * steps_per_epoch)
    first_epoch = load_checkpoint(resume, model, optimizer, schedule) if resume else 0
    wrapped: nn.Module = DistributedDataParallel(model) if placement.num_workers > 1 else model
    for epoch in range(first_epoch, spec.epochs):
        batches = EpochBatches(specimens, spec, epoch, placement.rank, placement.num_workers)
        report, steps = _train_epoch(spec, model, wrapped, optimizer, schedule, batches, epoch, placement)
        save = partial(_save, model, optimizer, schedule, epoch + 1)
        on_epoch(report, steps, save)


def _save(model: Clibd, optimizer: AdamW, schedule: OneCycleLR, next_epoch: int, folder: Path) -> None:
    save_checkpoint(folder, model, optimizer, schedule, next_epoch)


def build_optimizer(spec: ExperimentSpec, model: nn.Module) -> AdamW:
    """AdamW over what is not frozen; temperature, biases and norms do not decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=spec.max_learning_rate, fused=True)


def build_schedule(spec: ExperimentSpec, optimizer: AdamW, total_steps: int) -> OneCycleLR:
    """One cycle from the initial to the maximal learning rate and down again (paper, section 4.1)."""
    return OneCycleLR(
        optimizer,
        max_lr=spec.max_learning_rate,
        total_steps=max(total_steps, 2),
        pct_start=0.3,
        div_factor=spec.max_learning_rate / spec.initial_learning_rate,
        cycle_momentum=False,
    )


def _train_epoch(
    spec: ExperimentSpec,
    model: Clibd,
    wrapped: nn.Module,
    optimizer: AdamW,
    schedule: OneCycleLR,
    batches: EpochBatches,
    epoch: int,
    placement: Placement,
) -> tuple[EpochReport, list[Event]]:
    """One pass over the specimens."""
    _seed(spec.seed, epoch, placement.rank)
    wrapped.train()
    started, waited = time.perf_counter(), 0.0
    losses: list[Tensor] = []
    events: list[Event] = []
    norm = torch.zeros(())
    every = math.ceil(len(batches) / _LOGGED_STEPS)
    asked = time.perf_counter()
    for step, batch in enumerate(_loader(batches, placement)):
        waited += time.perf_counter() - asked
        inputs = {name: values.to(placement.device, non_blocking=True) for name, values in batch.items()}
        with kernels(placement.device, spec.precision):
            embedded, scale = wrapped(inputs)
        loss = contrastive_loss(embedded, scale)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        if step % every == 0 or step == len(batches) - 1:  # reading the loss waits for the device, so not at each step
            number = epoch * len(batches) + step
            events.append({"event": "step", "epoch": epoch, "step": number, "loss": _finite(loss.item(), number)})
        asked = time.perf_counter()
    seconds = time.perf_counter() - started
    return _report(epoch, losses, norm, schedule, model, seconds, waited, spec.batch_size, placement), events


def _report(
    epoch: int,
    losses: list[Tensor],
    norm: Tensor,
    schedule: OneCycleLR,
    model: Clibd,
    seconds: float,
    waited: float,
    batch_size: int,
    placement: Placement,
) -> EpochReport:
    on_gpu = placement.device.type == "cuda"
    return EpochReport(
        epoch=epoch,
        loss=torch.stack(losses).mean().item(),
        learning_rate=float(schedule.get_last_lr()[0]),
        temperature=math.exp(-model.log_scale.item()),
        gradient_norm=norm.item(),
        seconds=seconds,
        specimens_per_second=len(losses) * batch_size / seconds,
        waited=waited / seconds,
        allocated_gb=torch.cuda.max_memory_allocated(placement.device) / 1e9 if on_gpu else 0.0,
        reserved_gb=torch.cuda.max_memory_reserved(placement.device) / 1e9 if on_gpu else 0.0,
    )


def _loader(batches: EpochBatches, placement: Placement) -> DataLoader[dict[str, Tensor]]:
    """Ready-made batches in order, prepared by other processes where the machine has them."""
    return DataLoader(
        batches,
        batch_size=None,
        shuffle=False,
        num_workers=placement.loader_processes,
        pin_memory=placement.device.type == "cuda",
    )


def _seed(seed: int, epoch: int, rank: int) -> None:
    """Seed dropout for one epoch of one worker, so that a resumed epoch is the same epoch."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0]))


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise NonFiniteLossError(step, loss)
    return loss
