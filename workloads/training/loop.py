"""The training loop: one process, or any process group; no Ray."""

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice

import torch
import torch.distributed as dist

from workloads.data.inputs.batches import Asked, Batch, EpochBatches, Specimens
from workloads.data.inputs.loading import loaded
from workloads.models.clibd import Clibd
from workloads.placement import share_buffers
from workloads.run_errors import MemoryRanOutError, StoppedError
from workloads.stopping import Stop, never
from workloads.training.checkpoint import CheckpointStore
from workloads.training.report import EpochReport, Listener, StepReport
from workloads.training.step import Tally, Training
from workloads.training.watch import Watch

_LOGGED_STEPS = 20  # points of the loss curve per epoch, at most but for the last


def fit(
    training: Training,
    specimens: Specimens,
    listeners: Sequence[Listener] = (),
    store: CheckpointStore | None = None,
    score: Callable[[], float] | None = None,
    stop: Stop = never,
    watch: Watch | None = None,
) -> None:
    """Train to the last epoch, or until it is to stop.

    Args:
        training: new, or resumed.
        specimens: those that train.
        listeners: told of logged steps and epochs, on every worker alike.
        store: where the first worker keeps checkpoints; None keeps none.
        score: of the model as it is, on validation, by the spec's rule of selection; called on every worker. None: the
            last epoch's weights are kept.
        stop: asked after every step, on the first worker only, whose state is that of all; at an epoch's end after its
            score and reports.
        watch: of this worker; told of every step.

    Raises:
        StoppedError: it is to stop; everything up to the present step is in the checkpoint.
        NonFiniteLossError: training diverged; the newest checkpoint is of before.
        MemoryRanOutError: memory ran out where a step cannot be taken again; the next start embeds fewer at a time.
        OutOfMemoryError: not even one specimen fits.
        OSError: a checkpoint could not be written.
    """
    first = training.placement.rank == 0
    writes, stop, watch = (store if first else None), (stop if first else never), watch or Watch()
    training.cut(specimens)
    left = _all_batches(training, specimens)
    try:
        while training.epoch < training.spec.epochs:
            epoch, tally = training.epoch, training.tally
            training.model.train()
            saved = logged = now = time.perf_counter()
            counted = len(tally.losses)
            with closing(_batches(training, left, watch)) as batches:
                for batch in batches:
                    arrived = time.perf_counter()
                    if not training.take_step(batch):
                        break
                    tally.waited += arrived - now
                    before, now = now, time.perf_counter()
                    tally.seconds += now - before
                    if _is_logged(training):
                        rate = (len(tally.losses) - counted) * training.spec.batch_size / (now - logged)
                        for listener in listeners:
                            listener(_step_report(training, epoch, rate))
                        logged, counted = now, len(tally.losses)
                    if training.epoch == epoch:  # the epoch's last step is saved with its score
                        _stop_if_asked(training, writes, stop, watch)
                        if writes and now - saved >= training.execution.checkpoint_seconds:
                            writes.save(*training.checkpoint())
                            saved = now = time.perf_counter()
            if training.epoch == epoch:  # cut anew: the step that was not taken needs other shares of its batch
                left.close()
                left = _all_batches(training, specimens)
                continue
            share_buffers(training.model, training.placement)
            result = _select(training, epoch, score, writes)
            for listener in listeners:
                listener(_epoch_report(training, epoch, result))
            training.tally = Tally()
            _stop_if_asked(training, writes, stop, watch)
            if writes:
                writes.save(*training.checkpoint())
            if training.placement.num_workers > 1:
                dist.barrier()  # no other's next step takes as long as the first worker's writing
    except MemoryRanOutError as error:
        if store:
            store.note_size(error.args[-1])  # by whichever worker it is; else the next start would come to the same
        raise
    finally:
        left.close()
        if writes:
            writes.wait()
    if training.placement.num_workers > 1:
        dist.barrier()  # what the first worker wrote may now be read by all


def _stop_if_asked(training: Training, store: CheckpointStore | None, stop: Stop, watch: Watch) -> None:
    if reason := stop():
        watch.rests()  # this is the last step, and its writing takes its time
        if store:
            store.save(*training.checkpoint())
            store.wait()
        raise StoppedError(reason, training.step)


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


def _temperature(model: Clibd) -> float:
    return math.exp(min(-model.log_scale.item(), 709.0))  # of more it overflows; the next loss says what is wrong


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


def _batches(training: Training, left: Generator[Batch], watch: Watch) -> Generator[Batch]:
    """The epoch's batches that are left, in order."""
    try:
        watch.begins(training.step)
        for batch in islice(left, training.steps_per_epoch - training.step % training.steps_per_epoch):
            watch.arrived()
            yield batch
            batch.clear()  # the epoch's last one is not to lie on the device while it is measured
            watch.ends()
            watch.begins(training.step)
    finally:
        watch.rests()


def _all_batches(training: Training, specimens: Specimens) -> Generator[Batch]:
    """This worker's shares of all batches that are left, prepared by other processes where the machine has them.

    These are the same from the first epoch to the last, and end with the generator.
    """
    placement = training.placement
    return loaded(specimens, _asked(training, specimens), placement.device, placement.loader_processes)


def _asked(training: Training, specimens: Specimens) -> Iterator[Asked]:
    assert training.shares is not None
    spec, share = training.spec, training.shares.rows(training.placement.rank)
    first, done = divmod(training.step, training.steps_per_epoch)
    for epoch in range(first, spec.epochs):
        yield from EpochBatches(specimens, spec, epoch, share, first_step=done if epoch == first else 0).asked()
