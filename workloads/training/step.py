"""A model in training, and one step of it: in one process, or in any process group.

Every step is a pure function of the state before it, the spec and the step's number: its batch is drawn from (seed,
epoch), its random numbers from (seed, step, chunk). So a run can be taken up after any step, by as many workers as it
has chunks, up to the rounding of sums and the running statistics of batch normalisation, which are the first worker's.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from workloads.data.inputs.batches import EpochBatches, Specimens, check_batch
from workloads.errors import NonFiniteLossError, UsageError
from workloads.execution import Execution
from workloads.models.clibd import Classifier, Clibd, checkpoint_blocks
from workloads.placement import Placement, kernels, least_of_workers, matrix_products
from workloads.shares import Shares, fewest_chunks
from workloads.spec import ExperimentSpec
from workloads.training.checkpoint import CheckpointStore, restore_training, training_tensors
from workloads.training.gradient_cache import Chunks, LossFunction, accumulate_gradients, embed_at_once
from workloads.training.loss import classification_loss, contrastive_loss, two_view_loss
from workloads.training.micro_batch import largest_micro_batch
from workloads.training.optimization import build_optimizer, build_schedule

_TRIED = 8
"""Specimens with which it is tried how many fit into memory; their rows are repeated as often as needed."""

_Model = Clibd | Classifier


@dataclass(slots=True)
class Tally:
    """What the present epoch has come to; part of every checkpoint, so that a resumed epoch reports all of it."""

    losses: list[float] = field(default_factory=list)
    gradient_norm: float = 0.0
    """The last step's, as is the learning rate."""
    learning_rate: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0


class Training:
    """A model in training, with everything that a step changes."""

    def __init__(
        self, spec: ExperimentSpec, model: _Model, num_specimens: int, placement: Placement, execution: Execution
    ) -> None:
        check_batch(spec, num_specimens, placement.num_workers)
        self.spec, self.placement, self.execution = spec, placement, execution
        self.model = model.to(placement.device)
        self.steps_per_epoch = num_specimens // spec.batch_size
        self.optimizer = build_optimizer(spec, model)
        self.schedule = build_schedule(spec, self.optimizer, spec.epochs * self.steps_per_epoch)
        self.step = 0
        self.best: tuple[float, int] | None = None
        """Score and number of the best epoch so far."""
        self.tally = Tally()
        self.shares: Shares | None = None
        """Of every batch; None until it is cut."""
        self._at_once = True
        """Whether all activations of a share fit into memory."""
        if execution.checkpoint_blocks:
            checkpoint_blocks(model)
        # It exchanges buffers before the first chunk of a step only, so workers may have unlike numbers of chunks.
        self._wrapped: nn.Module = DistributedDataParallel(model) if placement.num_workers > 1 else model

    @property
    def epoch(self) -> int:
        """The epoch that the next step belongs to."""
        return self.step // self.steps_per_epoch

    def cut(self, specimens: Specimens) -> None:
        """Cut the batches into chunks, unless the run has done so: as few as fit into memory, one at least a worker.

        Called before the first step, on every worker alike.

        Args:
            specimens: those that train, some of which are tried.
        """
        spec, asked = self.spec, self.execution.micro_batch
        most = min(max(self.placement.num_workers, self.execution.most_workers), spec.batch_size)
        self.model.train()
        if self.shares is None:
            chunks_each = -(-most // self.placement.num_workers)
            room = asked or self._room(specimens, min(spec.batch_size, chunks_each * -(-spec.batch_size // most)))
            self.shares = self._shares(fewest_chunks(spec.batch_size, most, room))
        elif self.shares.num_chunks > self.placement.num_workers:
            room = asked or self._room(specimens, max(self.shares.sizes))
        else:
            room = spec.batch_size
        self._at_once = room >= max(self.shares.sizes) or self.shares.num_chunks <= self.placement.num_workers
        if self.execution.compile:  # only now, when no more sizes are tried
            for tower in self.model.towers.values():
                tower.compile()

    def _room(self, specimens: Specimens, share: int) -> int:
        """How many specimens of a share fit into memory at a time."""
        some = EpochBatches(specimens, self.spec, 0, slice(0, min(_TRIED, self.spec.batch_size)))[0]
        inputs = {name: values.to(self.placement.device) for name, values in some.items()}
        labels = inputs.pop("label", None)
        loss = _loss_of(self.spec, None if labels is None else labels[torch.arange(share) % len(labels)])
        context = partial(kernels, self.placement.device, self.spec.precision)
        with matrix_products(self.spec.precision), kernels(self.placement.device, "fp32"):
            return largest_micro_batch(self._wrapped, inputs, loss, context, share=share)

    def _shares(self, num_chunks: int) -> Shares:
        return Shares(batch_size=self.spec.batch_size, num_chunks=num_chunks, num_workers=self.placement.num_workers)

    def take_step(self, batch: dict[str, Tensor]) -> None:
        """One optimiser step on this worker's share of a global batch.

        Raises:
            NonFiniteLossError: loss or gradient is not finite; the weights are as before the step.
        """
        assert self.shares is not None, "the batch is not cut yet"
        rank, device = self.placement.rank, self.placement.device
        first = self.shares.chunks(rank).start
        chunks = Chunks(self.shares.chunk_sizes(rank), lambda number: _seed(self.spec.seed, self.step, first + number))
        inputs = {name: values.to(device, non_blocking=True) for name, values in batch.items()}
        loss_function = _loss_of(self.spec, inputs.pop("label", None), self.shares.sizes)
        context = partial(kernels, device, self.spec.precision)
        self.optimizer.zero_grad(set_to_none=True)
        # Blocks that are computed again in the backward pass have to meet the attention of the forward pass there.
        with matrix_products(self.spec.precision), kernels(device, "fp32"):
            if self._at_once:
                loss = loss_function(*embed_at_once(self._wrapped, inputs, chunks, context))
                loss.backward()
            else:
                loss = accumulate_gradients(self._wrapped, inputs, loss_function, chunks, context)
        norm = nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        # The one place where the processor waits for the device: what is not finite must not reach the weights.
        value, self.tally.gradient_norm = torch.stack([loss.detach().float(), norm.float()]).tolist()
        if not (math.isfinite(value) and math.isfinite(self.tally.gradient_norm)):
            raise NonFiniteLossError(self.step, value, _culprit(self.model))
        self.tally.learning_rate = float(self.optimizer.param_groups[0]["lr"])
        self.optimizer.step()
        self.schedule.step()
        self.tally.losses.append(value)
        self.step += 1

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and progress from which `resume` goes on to the bit."""
        tensors, progress = training_tensors(self.model, self.optimizer, self.schedule)
        num_chunks = self.shares.num_chunks if self.shares else None
        own = {"step": self.step, "best": self.best, "num_chunks": num_chunks, "tally": asdict(self.tally)}
        return tensors, {**progress, **own}

    def resume(self, store: CheckpointStore, warn: Callable[[str], None]) -> None:
        """Go on from the newest good checkpoint, if there is one.

        Raises:
            DamagedError: the checkpoint is of another model.
            UsageError: the workers do not find the same one.
        """
        if newest := store.newest(warn):
            restore_training(newest, self.model, self.optimizer, self.schedule)
            self.step = int(newest.progress["step"])
            best = newest.progress["best"]
            self.best = (float(best[0]), int(best[1])) if best else None
            self.tally = Tally(**newest.progress["tally"])
            self.shares = self._kept(newest.progress, warn)
        device = self.placement.device
        if least_of_workers(self.step, device) != -least_of_workers(-self.step, device):
            raise UsageError(f"{store.folder} is not the same for all workers; keep runs where all can reach them")

    def _kept(self, progress: Mapping[str, Any], warn: Callable[[str], None]) -> Shares | None:
        """The chunks that the run began with, if they can be kept: they decide which dropout a specimen gets.

        A checkpoint of an earlier version has the most specimens of a share that were embedded at a time instead.
        """
        batch, workers, asked = self.spec.batch_size, self.placement.num_workers, self.execution.micro_batch
        num_chunks = progress.get("num_chunks") or fewest_chunks(batch, workers, progress.get("micro_batch") or batch)
        if num_chunks >= workers and (asked is None or batch <= asked * num_chunks):
            return self._shares(num_chunks)
        why = f"too few for {workers} workers" if num_chunks < workers else f"too large for --micro-batch {asked}"
        warn(
            f"the batch was cut into {num_chunks} chunk(s), {why}: it is cut anew, and dropout is drawn otherwise from "
            f"step {self.step} on. A run that may grow to N workers keeps its chunks if it begins with --workers 1-N."
        )
        return None


def _loss_of(spec: ExperimentSpec, labels: Tensor | None, sizes: Sequence[int] | None = None) -> LossFunction:
    """The loss of a spec's objective for one batch, of which the workers have shares of these sizes."""
    if spec.objective == "simclr":
        return partial(two_view_loss, sizes=sizes)
    if spec.objective == "classify":
        assert labels is not None
        return partial(classification_loss, labels=labels, sizes=sizes)
    return partial(contrastive_loss, bind_to=spec.bind_to, sizes=sizes)


def _seed(seed: int, step: int, chunk: int) -> None:
    """Seed dropout for one chunk of one step, so that it is the same on any worker, and in a resumed step."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, chunk]).generate_state(1)[0]))


def _culprit(model: nn.Module) -> str:
    """Which parameter is not finite, and of which tower: its weights if they are not, else its gradient."""
    for what in ("weights", "gradient"):
        for name, parameter in model.named_parameters():
            values = parameter if what == "weights" else parameter.grad
            if values is not None and not values.isfinite().all():
                return f"the {what} of {name}"
    return "no parameter, only the loss"
