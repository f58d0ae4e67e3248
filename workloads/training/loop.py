"""The training loop: one process, or any process group; no Ray.

Every step is a pure function of the state before it, the spec and the step's number: its batch is drawn from (seed,
epoch), its random numbers from (seed, step, rank). So a run can be taken up after any step.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam, AdamW
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from torch.utils.data import DataLoader

from workloads.data.inputs.batches import EpochBatches, Specimens, check_batch
from workloads.errors import NonFiniteLossError, UsageError
from workloads.execution import Execution
from workloads.models.clibd import Classifier, Clibd, checkpoint_blocks
from workloads.placement import Placement, kernels, least_of_workers, matrix_products, share_buffers
from workloads.recipes import learning_rate_factor
from workloads.spec import ExperimentSpec
from workloads.training.checkpoint import CheckpointStore, restore_training, training_tensors
from workloads.training.gradient_cache import Kernels, LossFunction, accumulate_gradients
from workloads.training.loss import classification_loss, contrastive_loss, two_view_loss
from workloads.training.micro_batch import largest_micro_batch
from workloads.training.report import EpochReport, Listener, StepReport

_RISING_SHARE = 0.3
"""Share of a one-cycle schedule's steps in which the learning rate grows (OneCycleLR's default, and the authors')."""
_LOGGED_STEPS = 20  # points of the loss curve per epoch, at most but for the last

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
        self.micro_batch = execution.micro_batch
        self._compiled = False
        if execution.checkpoint_blocks:
            checkpoint_blocks(model)
        self._wrapped: nn.Module = DistributedDataParallel(model) if placement.num_workers > 1 else model

    @property
    def epoch(self) -> int:
        """The epoch that the next step belongs to."""
        return self.step // self.steps_per_epoch

    def take_step(self, batch: dict[str, Tensor]) -> None:
        """One optimiser step on this worker's share of a global batch.

        Raises:
            NonFiniteLossError: loss or gradient is not finite; the weights are as before the step.
        """
        _seed(self.spec.seed, self.step, self.placement.rank)
        inputs = {name: values.to(self.placement.device, non_blocking=True) for name, values in batch.items()}
        loss_function = _loss_of(self.spec, inputs.pop("label", None))
        context = partial(kernels, self.placement.device, self.spec.precision)
        self.optimizer.zero_grad(set_to_none=True)
        # Blocks that are computed again in the backward pass have to meet the attention of the forward pass there.
        with matrix_products(self.spec.precision), kernels(self.placement.device, "fp32"):
            size = self._fitting(inputs, loss_function, context)
            if size < self.spec.batch_size // self.placement.num_workers:
                loss = accumulate_gradients(self._wrapped, inputs, loss_function, micro_batch=size, kernels=context)
            else:
                with context():
                    embedded, scale = self._wrapped(inputs)
                loss = loss_function(embedded, scale)
                loss.backward()
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

    def _fitting(self, inputs: dict[str, Tensor], loss: LossFunction, context: Kernels) -> int:
        """The micro-batch, found before the first step; only then are towers compiled, for one size."""
        if self.micro_batch is None:
            share = self.spec.batch_size // self.placement.num_workers
            self.micro_batch = largest_micro_batch(self._wrapped, inputs, loss, context, share=share)
        if self.execution.compile and not self._compiled:
            for tower in self.model.towers.values():
                tower.compile()
            self._compiled = True
        return self.micro_batch

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and progress from which `resume` goes on to the bit."""
        tensors, progress = training_tensors(self.model, self.optimizer, self.schedule)
        own = {"step": self.step, "best": self.best, "micro_batch": self.micro_batch, "tally": asdict(self.tally)}
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
            # It decides which random numbers a specimen's dropout gets, so what was found once is kept.
            self.micro_batch = self.execution.micro_batch or newest.progress["micro_batch"]
        device = self.placement.device
        if least_of_workers(self.step, device) != -least_of_workers(-self.step, device):
            raise UsageError(f"{store.folder} is not the same for all workers; keep runs where all can reach them")


def fit(
    training: Training,
    specimens: Specimens,
    listeners: Sequence[Listener] = (),
    store: CheckpointStore | None = None,
    score: Callable[[], float] | None = None,
) -> None:
    """Train to the last epoch.

    Args:
        training: new, or resumed.
        specimens: those that train.
        listeners: told of logged steps and epochs, on every worker alike.
        store: where the first worker keeps checkpoints; None keeps none.
        score: of the model as it is, on validation, by the spec's rule of selection; called on every worker. None: the
            last epoch's weights are kept.

    Raises:
        NonFiniteLossError: training diverged; the newest checkpoint is of before.
        OSError: a checkpoint could not be written.
    """
    writes = store if training.placement.rank == 0 else None
    try:
        while training.epoch < training.spec.epochs:
            epoch, tally = training.epoch, training.tally
            training.model.train()
            saved = logged = now = time.perf_counter()
            counted = len(tally.losses)
            for batch in _loader(training, specimens):
                arrived = time.perf_counter()
                training.take_step(batch)
                tally.waited += arrived - now
                before, now = now, time.perf_counter()
                tally.seconds += now - before
                if _is_logged(training):
                    rate = (len(tally.losses) - counted) * training.spec.batch_size / (now - logged)
                    for listener in listeners:
                        listener(_step_report(training, epoch, rate))
                    logged, counted = now, len(tally.losses)
                if writes and training.epoch == epoch and now - saved >= training.execution.checkpoint_seconds:
                    writes.save(*training.checkpoint())
                    saved = now = time.perf_counter()
            share_buffers(training.model, training.placement)
            result = _select(training, epoch, score, writes)
            for listener in listeners:
                listener(_epoch_report(training, epoch, result))
            training.tally = Tally()
            if writes:
                writes.save(*training.checkpoint())
    finally:
        if writes:
            writes.wait()
    if training.placement.num_workers > 1:
        dist.barrier()  # what the first worker wrote may now be read by all


def _select(
    training: Training, epoch: int, score: Callable[[], float] | None, store: CheckpointStore | None
) -> float | None:
    """The epoch's score; its weights are kept if no earlier one is as good."""
    if score is None or epoch < training.spec.first_selected_epoch:
        return None
    result = score()
    if training.best is None or result > training.best[0]:
        training.best = (result, epoch)
        if store:
            store.save_best(training.model.state_dict(), result, epoch)
    return result


def build_optimizer(spec: ExperimentSpec, model: nn.Module) -> Adam:
    """AdamW or Adam over what is not frozen, fused into one kernel.

    With `decayed` "weights" the temperature, biases and norms do not decay; with "everything" they do, as in the
    authors' code.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    everything = spec.decayed == "everything"
    groups = [
        {"params": [p for p in trained if p.ndim >= 2 or everything], "weight_decay": spec.weight_decay},
        {"params": [p for p in trained if p.ndim < 2 and not everything], "weight_decay": 0.0},
    ]
    kind = AdamW if spec.optimizer == "adamw" else Adam
    return kind([group for group in groups if group["params"]], lr=max_learning_rate(spec), fused=True)


def build_schedule(spec: ExperimentSpec, optimizer: Adam, total_steps: int) -> LRScheduler:
    """One cycle from the initial to the maximal learning rate and down to a 10,000th of the initial one, or constant.

    The paper (section 4.1) gives 1e-6 to 5e-5; the authors' code starts at a 25th of a maximum that grows with the
    batch. Both are fields of the spec.
    """
    if spec.schedule == "constant":
        return LambdaLR(optimizer, lambda step: 1.0)
    return OneCycleLR(
        optimizer,
        max_lr=max_learning_rate(spec),
        total_steps=max(total_steps, 2),
        pct_start=_RISING_SHARE,
        div_factor=spec.max_learning_rate / spec.initial_learning_rate,
        cycle_momentum=False,
    )


def max_learning_rate(spec: ExperimentSpec) -> float:
    """The top of the schedule that is really used: the spec's, scaled with the batch as it says."""
    return spec.max_learning_rate * learning_rate_factor(spec)


def _loss_of(spec: ExperimentSpec, labels: Tensor | None) -> LossFunction:
    """The loss of a spec's objective for one batch."""
    if spec.objective == "simclr":
        return two_view_loss
    if spec.objective == "classify":
        assert labels is not None
        return partial(classification_loss, labels=labels)
    return partial(contrastive_loss, bind_to=spec.bind_to)


def _temperature(model: _Model) -> float:
    return math.exp(-model.log_scale.item())


def _is_logged(training: Training) -> bool:
    """Whether the step that is done is: some of an epoch, evenly, and its last."""
    number = (training.step - 1) % training.steps_per_epoch
    every = math.ceil(training.steps_per_epoch / _LOGGED_STEPS)
    return number % every == 0 or number == training.steps_per_epoch - 1


def _step_report(training: Training, epoch: int, rate: float) -> StepReport:
    return StepReport(
        epoch=epoch,
        step=training.step - 1,
        loss=training.tally.losses[-1],
        temperature=_temperature(training.model),
        learning_rate=training.tally.learning_rate,
        gradient_norm=training.tally.gradient_norm,
        specimens_per_second=rate,
    )


def _epoch_report(training: Training, epoch: int, score: float | None) -> EpochReport:
    device, tally = training.placement.device, training.tally
    on_gpu = device.type == "cuda"
    held = torch.cuda.memory_allocated(device) + torch.cuda.memory_reserved(device) if on_gpu else 0
    return EpochReport(
        epoch=epoch,
        step=training.step - 1,
        loss=sum(tally.losses) / len(tally.losses),
        learning_rate=tally.learning_rate,
        temperature=_temperature(training.model),
        gradient_norm=tally.gradient_norm,
        seconds=tally.seconds,
        specimens_per_second=len(tally.losses) * training.spec.batch_size / tally.seconds,
        waited=tally.waited / tally.seconds,
        allocated_gb=torch.cuda.max_memory_allocated(device) / 1e9 if on_gpu else 0.0,
        reserved_gb=torch.cuda.max_memory_reserved(device) / 1e9 if on_gpu else 0.0,
        papers_memory_gb=held / 1e9,
        score=score,
    )


def _loader(training: Training, specimens: Specimens) -> DataLoader[dict[str, Tensor]]:
    """The epoch's batches that are left, in order, prepared by other processes where the machine has them."""
    placement, done = training.placement, training.step % training.steps_per_epoch
    batches = EpochBatches(
        specimens, training.spec, training.epoch, placement.rank, placement.num_workers, first_step=done
    )
    pinned = placement.device.type == "cuda"
    return DataLoader(batches, batch_size=None, num_workers=placement.loader_processes, pin_memory=pinned)


def _seed(seed: int, step: int, rank: int) -> None:
    """Seed dropout for one step of one worker, so that a resumed step is the same step."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))


def _culprit(model: nn.Module) -> str:
    """Which parameter is not finite, and of which tower: its weights if they are not, else its gradient."""
    for what in ("weights", "gradient"):
        for name, parameter in model.named_parameters():
            values = parameter if what == "weights" else parameter.grad
            if values is not None and not values.isfinite().all():
                return f"the {what} of {name}"
    return "no parameter, only the loss"
