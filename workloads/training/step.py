"""A model in training, and one step of it: in one process, or in any process group.

Every step is a pure function of the state before it, the spec and the step's number: its batch is drawn from (seed,
epoch), its random numbers from (seed, step, chunk). So a run can be taken up after any step, by as many workers as it
has chunks, up to the rounding of sums and the running statistics of batch normalisation, which are the first worker's.
"""

import math
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from workloads.data.inputs.batches import THERE, EpochBatches, Specimens, View
from workloads.data.inputs.who_trains import check_batch
from workloads.errors import NonFiniteLossError, UsageError
from workloads.evaluation.embed import BATCH_SIZE
from workloads.execution import Execution
from workloads.models.build import checkpoint_blocks
from workloads.models.clibd import Classifier, Clibd
from workloads.models.dnabert2 import PAD_ID
from workloads.placement import Placement, kernels, least_of_workers, matrix_products
from workloads.printed_text import remark
from workloads.run_errors import MemoryRanOutError
from workloads.shares import Shares
from workloads.spec import ExperimentSpec
from workloads.training.checkpoint import CheckpointStore, restore_training, training_tensors
from workloads.training.chunking import Chunking
from workloads.training.gradient_cache import Chunks, LossFunction, accumulate_gradients, embed_at_once, kept_buffers
from workloads.training.loss import classification_loss, contrastive_loss, masked_loss, two_view_loss
from workloads.training.micro_batch import NoRoomError, all_fit, is_out_of_memory, largest_micro_batch
from workloads.training.optimization import build_optimizer, build_schedule
from workloads.training.positives import Positives

_TRIED = 8
"""Specimens with which it is tried how many fit into memory; their rows are repeated as often as needed."""
_MEASURED = 4096
"""Barcodes that are tokenised at a time to find the longest."""

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
        self.chunking = Chunking(spec.batch_size, placement, execution)
        if execution.checkpoint_blocks:
            checkpoint_blocks(model)
        self._wrapped: nn.Module = model
        if placement.num_workers > 1:
            self._wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)
            # No step depends on buffers that it changes, and those of the first worker are given to all where they
            # count (`share_buffers`). So a forward pass waits for no other worker.
            self._wrapped.broadcast_buffers = False

    @property
    def epoch(self) -> int:
        """The epoch that the next step belongs to."""
        return self.step // self.steps_per_epoch

    @property
    def shares(self) -> Shares | None:
        """Of every batch; None until it is cut."""
        return self.chunking.shares

    def cut(self, specimens: Specimens) -> None:
        """Cut the batches into chunks, before the first step and on every worker alike.

        Args:
            specimens: those that train, some of which are tried.
        """
        self.model.train()
        self.chunking.cut(partial(self._room, specimens))
        self._compile()  # only now, when no more sizes are tried

    def _compile(self) -> None:
        if self.execution.compile:
            self.model.compile_towers(self.chunking.chunk, BATCH_SIZE)

    def _room(self, specimens: Specimens, share: int) -> int:
        """How many specimens of a share fit into memory at a time."""
        some = EpochBatches(specimens, self.spec, 0, slice(0, min(_TRIED, self.spec.batch_size)))[0]
        some = {name: values for name, values in some.items() if not name.endswith(THERE)}  # as if all had everything
        if "dna" in some and self.spec.dna.kind == "dnabert2":
            wide = self._widest(specimens)
            some |= {n: F.pad(v, (0, wide - v.shape[1]), value=PAD_ID) for n, v in some.items() if n.startswith("dna")}
        inputs = {name: values.to(self.placement.device) for name, values in some.items()}
        labels = inputs.pop("label", None)
        loss = _loss_of(self.spec, None if labels is None else labels[torch.arange(share) % len(labels)])
        context = partial(kernels, self.placement.device, self.spec.precision)
        with matrix_products(self.spec.precision), kernels(self.placement.device, "fp32"):
            return largest_micro_batch(self._wrapped, inputs, loss, context, share=share)

    def _widest(self, specimens: Specimens) -> int:
        """Byte pairs of the longest barcode, or of the longest view in the first epoch; each worker reads a part."""
        rows = specimens.trained if self.spec.objective == "simclr" else specimens.groups("dna")[0]
        own, view = rows[self.placement.rank :: self.placement.num_workers], View(self.spec.seed, 0)
        widths = [
            specimens.inputs("dna", own[start : start + _MEASURED], view).shape[1]
            for start in range(0, len(own), _MEASURED)
        ]
        return -least_of_workers(-max(widths, default=0))

    def take_step(self, batch: dict[str, Tensor]) -> bool:
        """One optimiser step on this worker's share of a global batch.

        Where memory runs out before a collective has begun, all workers embed fewer specimens at a time, and take the
        step again: chunk by chunk with the same dropout, or, where that is done already, in smaller chunks.

        Returns:
            Whether it was taken. If not, the batch is cut anew, and this worker's share of it is another.

        Raises:
            NonFiniteLossError: loss or gradient is not finite; the weights are as before the step.
            MemoryRanOutError: memory ran out where other workers are in a collective, or the weights had moved.
            OutOfMemoryError: not even one specimen fits.
        """
        assert self.shares is not None, "the batch is not cut yet"
        device, several = self.placement.device, self.placement.num_workers > 1
        with self._for_good():
            inputs = {name: values.to(device, non_blocking=True) for name, values in batch.items()}
            put_back = kept_buffers(self.model)
        labels = inputs.pop("label", None)
        there = {name.removesuffix(THERE): mask for name, mask in inputs.items() if name.endswith(THERE)}
        while True:
            loss_function = _loss_of(self.spec, labels, self.shares.sizes, there)
            how = (self._chunks(), partial(kernels, device, self.spec.precision), all_fit if several else nullcontext)
            self.optimizer.zero_grad(set_to_none=True)
            # Blocks that are computed again in the backward pass have to meet the attention of the forward pass there.
            with self._fitting() as worker, matrix_products(self.spec.precision), kernels(device, "fp32"):
                if self.chunking.at_once:
                    loss = loss_function(*embed_at_once(self._wrapped, inputs, *how))
                    loss.backward()
                else:
                    loss = accumulate_gradients(self._wrapped, inputs, loss_function, *how)
                break
            loss = torch.empty(0)  # lets go of what led to it
            put_back()
            if not self._embed_fewer(*worker):
                return False
        self._move(loss.detach())
        return True

    def _chunks(self) -> Chunks:
        """This worker's, each with the dropout of this step."""
        assert self.shares is not None
        rank = self.placement.rank
        first = self.shares.chunks(rank).start
        return Chunks(self.shares.chunk_sizes(rank), lambda number: _seed(self.spec.seed, self.step, first + number))

    def _move(self, loss: Tensor) -> None:
        """Take the step for which the gradients are there."""
        norm = nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        # The one place where the processor waits for the device: what is not finite must not reach the weights.
        value, self.tally.gradient_norm = torch.stack([loss.float(), norm.float()]).tolist()
        if not (math.isfinite(value) and math.isfinite(self.tally.gradient_norm)):
            raise NonFiniteLossError(self.step, value, _culprit(self.model))
        self.tally.learning_rate = float(self.optimizer.param_groups[0]["lr"])
        with self._for_good():
            self.optimizer.step()
        self.schedule.step()
        self.tally.losses.append(value)
        self.step += 1

    @contextmanager
    def _fitting(self) -> Iterator[list[int]]:
        """Goes on behind the block where memory ran out and the step can be taken again; gives the worker of which."""
        without = list[int]()
        try:
            with self._for_good(self.placement.num_workers > 1):
                yield without
        except NoRoomError as error:
            without.append(error.worker)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            without.append(self.placement.rank)

    @contextmanager
    def _for_good(self, ends: bool = True) -> Iterator[None]:
        """Where memory runs out in it a step cannot be taken again, unless it can."""
        try:
            yield
        except RuntimeError as error:
            if not (ends and is_out_of_memory(error)):
                raise
            where = f"worker {self.placement.rank} on {socket.gethostname()}"
            fewer = self.chunking.fewer(self.step, where)
            raise MemoryRanOutError(self.step, where, self.chunking.at_a_time, fewer) from error

    def _embed_fewer(self, worker: int) -> bool:
        """Embed fewer specimens at a time from now on, as a worker's memory has run out.

        Returns:
            Whether the shares of the workers are still the same.
        """
        fewer = self.chunking.fewer(self.step, f"worker {worker}")
        before, after = self.chunking.embed_fewer(fewer)
        self._compile()
        self.optimizer.zero_grad(set_to_none=True)
        if self.placement.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.placement.rank == 0:
            cut = f"The batch is cut anew, into {after.num_chunks} chunks, and dropout is drawn otherwise from here on."
            remark(
                f"step {self.step}: memory ran out on worker {worker}; the step is taken again with {fewer} specimens "
                f"at a time. {cut if before != after else 'Dropout is as it was.'}"
            )
        return before.sizes == after.sizes

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
        noted = store.noted_size()
        self.chunking.at_most = min(filter(None, (self.chunking.at_most, noted)), default=None)
        if newest := store.newest(warn):
            restore_training(newest, self.model, self.optimizer, self.schedule)
            self.step = int(newest.progress["step"])
            best = newest.progress["best"]
            self.best = (float(best[0]), int(best[1])) if best else None
            self.tally = Tally(**newest.progress["tally"])
            self.chunking.keep(newest.progress, self.step, warn)
        if least_of_workers(self.step) != -least_of_workers(-self.step):
            raise UsageError(f"{store.folder} is not the same for all workers; keep runs where all can reach them")


def _loss_of(
    spec: ExperimentSpec,
    labels: Tensor | None,
    sizes: Sequence[int] | None = None,
    there: Mapping[str, Tensor] | None = None,
) -> LossFunction:
    """The loss of a spec's objective for one batch.

    Args:
        spec: the experiment.
        labels: for a classifier; genera for a masked model; or the names that decide positives.
        sizes: of the workers' shares.
        there: by modality which specimens have it, where some lack it.
    """
    if spec.objective == "simclr":
        return partial(two_view_loss, sizes=sizes)
    if spec.objective == "masked":
        return partial(masked_loss, genera=labels, genus_weight=spec.genus_weight, sizes=sizes)
    if spec.objective == "classify":
        assert labels is not None
        return partial(classification_loss, labels=labels, sizes=sizes)
    positives = None if labels is None else Positives(labels, spec.rank_weights[: labels.shape[1]])
    aligned = partial(contrastive_loss, bind_to=spec.bind_to, positives=positives)
    return partial(aligned, sizes=sizes, there=there, known_unit=True)


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
