"""One group of workers of a run: a trainer of Ray Train of a fixed size, from its start to its end.

What comes after a group is not decided here, and not by Ray (`orchestrator.train`).
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.messages import epochs_told, forget, give_notice, places_told
from orchestrator.readiness import Task
from orchestrator.room import give_back
from orchestrator.trials import scratch_folder
from orchestrator.worker import printed, work
from workloads.attempts import Attempts, Outcome
from workloads.errors import ClibdError, first_line
from workloads.record import RunFolder
from workloads.run_errors import StoppedError
from workloads.stopping import Stop
from workloads.storage import Folder
from workloads.training.wandb_log import WandbMode

_LOOKED_EVERY = 0.5
"""Seconds between two looks at what a group tells."""
_FETCHING = 15.0
"""Seconds for what workers on other nodes printed to come here."""
GRACE = 30.0
"""Seconds for a group that is asked to stop, after which it is left to end with its driver."""
_BROKEN = re.compile(r"connection (was )?(reset|closed)|broken pipe|remote process exited", re.IGNORECASE)
"""What gloo and NCCL say on one worker when another is gone, often before Ray knows of it."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""Ray's errors have some."""
_OUTCOMES: Mapping[str, Outcome] = {"may grow": "grown", "preempted": "preempted"}
"""Of a group that was asked to stop, by the reason; for all others it is stopped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a group ended."""

    outcome: Outcome | None
    """None where it never began, because its room was taken by others."""
    reason: str = ""
    error: Exception | None = None
    """What a worker raised, as it was; of those that are ours it is the end of the run."""
    traceback: str = ""


def run_group(task: Task, size: int, wandb: WandbMode, told: Callable[[Mapping[str, Any]], None], stop: Stop) -> Ending:
    """Train with one group of workers until it ends, of itself or otherwise; its attempt is in the run's folder.

    Args:
        task: of the run.
        size: workers.
        wandb: whether to log to Weights & Biases.
        told: in this thread, of every epoch.
        stop: why to stop; None not to.
    """
    attempts = Attempts(Folder(task.run))
    number = attempts.begin(size)
    group = f"{task.spec.id}/{number}/{threading.get_native_id()}"
    try:
        error = _fitted(task, size, wandb, number, group, told, stop)
        ending = ending_of(error, RunFolder(Folder(task.run)).state() == "finished")
        if ending.outcome is None:
            attempts.drop(number)
        else:
            attempts.end(number, ending.outcome, ending.reason, ending.traceback)
            _fetch_logs(attempts, number, group)
        return ending
    finally:
        give_back(task.run)
        forget(group)


def _fitted(
    task: Task,
    size: int,
    wandb: WandbMode,
    number: int,
    group: str,
    told: Callable[[Mapping[str, Any]], None],
    stop: Stop,
) -> Exception | None:
    """Let Ray Train do its part, and pass on what either side says meanwhile. Gives what it raised."""
    heard, asked, reason = 0, 0.0, None
    with scratch_folder() as scratch:
        fit = _Fit(_trainer(task, size, wandb, number, group, str(scratch)))
        while fit.is_alive():
            fit.join(_LOOKED_EVERY)
            if not asked and (reason := stop()):
                give_notice(group, reason)
                asked = time.monotonic()
            if asked and time.monotonic() - asked > GRACE:
                return StoppedError(str(reason))
            for epoch in (epochs := epochs_told(group))[heard:]:
                told(epoch)
            heard = len(epochs)
    return fit.error


class _Fit(threading.Thread):
    """Ray Train's own call, in a thread of its own: it would take Ctrl-C for itself, and hears of nothing else."""

    def __init__(self, trainer: Any) -> None:
        super().__init__(name="group", daemon=True)
        self.error: Exception | None = None
        self._trainer = trainer
        self.start()

    def run(self) -> None:
        """Until the group has ended."""
        try:
            self._trainer.fit()
        except Exception as error:
            self.error = error


def _trainer(task: Task, size: int, wandb: WandbMode, number: int, group: str, scratch: str) -> Any:
    """Ray Train's trainer, which ends at the first failure and keeps nothing of its own where runs are."""
    import ray.train
    from ray.train.v2._internal.callbacks import DatasetsCallback
    from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer  # that for torch would import it here

    from orchestrator.joining import Joining

    class Trainer(DataParallelTrainer):  # type: ignore[misc] # Ray ships no types here
        def _create_default_callbacks(self) -> list[Any]:
            """Without two that start a process each, for Ray's data, and for room that we give back ourselves."""
            needless = (DatasetsCallback, PlacementGroupCleanerCallback)
            return [each for each in super()._create_default_callbacks() if not isinstance(each, needless)]

    return Trainer(
        work,
        train_loop_config={"task": task, "wandb": wandb, "attempt": number, "group": group},
        backend_config=Joining(task=task, attempt=number, group=group),
        scaling_config=ray.train.ScalingConfig(
            num_workers=size,
            use_gpu=bool(task.resources.gpus_per_worker),
            resources_per_worker=task.resources.per_worker,
            placement_strategy=task.resources.placement,
        ),
        run_config=ray.train.RunConfig(
            name="group",
            storage_path=scratch,
            failure_config=ray.train.FailureConfig(
                max_failures=0, controller_failure_limit=0, max_preemption_failures=0
            ),
        ),
    )


def ending_of(error: Exception | None, finished: bool) -> Ending:
    """What an end means: of several workers' errors the one that is the cause of the others.

    Args:
        error: that Ray Train raised, if any.
        finished: whether the run is.
    """
    from ray.exceptions import RayActorError, RayError
    from ray.train import ControllerError, WorkerGroupError
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

    if finished or error is None:
        return Ending(outcome="finished")
    causes: list[Exception] = [error]
    if isinstance(error, WorkerGroupError):
        causes = [error.worker_failures[rank] for rank in sorted(error.worker_failures)]
    if isinstance(error, ControllerError):
        causes = [_unwrapped(error.controller_failure)]
    if any(isinstance(cause, WorkerGroupStartupTimeoutError) for cause in causes):
        return Ending(outcome=None)
    for cause in causes:
        if isinstance(cause, StoppedError):
            return Ending(outcome=_OUTCOMES.get(cause.args[0], "stopped"), reason=cause.args[0], error=cause)
    for cause in causes:
        if isinstance(cause, ClibdError):
            return Ending(outcome="failed", reason=str(cause), error=cause, traceback=str(error))
    lost = [cause for cause in causes if _is_loss(cause)]
    for cause in lost:
        death = getattr(cause, "health_check_failure", cause)
        preempted = isinstance(death, RayActorError) and death.preempted
        reason = _why_lost(death)
        return Ending(outcome="preempted" if preempted else "lost", reason=reason, error=cause, traceback=str(error))
    cause = causes[0]
    if isinstance(error, WorkerGroupError) and all(_BROKEN.search(str(each)) for each in causes):
        reason = f"another worker is gone: {first_line(cause)}"
        return Ending(outcome="lost", reason=reason, error=cause, traceback=str(error))
    if isinstance(cause, RayError) and not isinstance(error, WorkerGroupError):
        return Ending(outcome="lost", reason=first_line(cause), error=cause, traceback=str(error))
    reason = f"{type(cause).__name__}: {first_line(cause)}"
    return Ending(outcome="failed", reason=reason, error=cause, traceback=str(error))


def _unwrapped(error: Exception) -> Exception:
    """What a task raised, and not what Ray made of it."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error


def _is_loss(cause: Exception) -> bool:
    from ray.exceptions import RayActorError
    from ray.train.v2._internal import exceptions

    kinds = ("WorkerHealthCheckTimeoutError", "WorkerHealthCheckFailedError", "WorkerGroupStartupFailedError")
    return isinstance(cause, (RayActorError, *(getattr(exceptions, kind) for kind in kinds)))


def _why_lost(death: Exception) -> str:
    """In one line; Ray says who died in the first, and why further down."""
    lines = [line.strip() for line in _COLOUR.sub("", str(death)).splitlines() if line.strip()]
    said = next((line for line in lines if "hanging" in line or "died" in line.lower()), first_line(death))
    return said if len(said) < 300 else f"{said[:297]}..."


def _fetch_logs(attempts: Attempts, number: int, group: str) -> None:
    """Keep what those workers printed that could not keep it themselves: they were killed, or ended for another."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = attempts.logs(number)
    missing = {rank: place for rank, place in enumerate(places_told(group)) if place and rank not in there}
    here, alive = ray.get_runtime_context().get_node_id(), {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    tasks = {}
    for rank, (node, files) in missing.items():
        if node == here:
            attempts.keep_log(number, rank, printed(files))
        elif node in alive:
            task = ray.remote(num_cpus=0, max_retries=0)(printed)
            tasks[task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(files)] = (
                rank
            )
    done, _ = ray.wait(list(tasks), num_returns=len(tasks), timeout=_FETCHING) if tasks else ([], [])
    for each in done:
        try:
            attempts.keep_log(number, tasks[each], ray.get(each))
        except ray.exceptions.RayError:  # the node has gone with it
            continue
