"""One run under Ray Train, by itself or as a trial of Tune; the run folder is what it leaves, and what it goes on from.

A run is a sequence of groups of workers (`orchestrator.group`), and what comes after a group is decided here: Ray's own
retries count what is no failure, and end a run that only waits. Checkpoints are those of `workloads.training`, in the
run folder, so a run begun without Ray goes on with it, and the other way round.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from orchestrator.doctor import Needs, watching_hosts
from orchestrator.fleet import Resources, check_placeable
from orchestrator.group import GRACE, Ending, run_group
from orchestrator.inventory import resources_at
from orchestrator.messages import asked_to_stop
from orchestrator.readiness import Task
from orchestrator.room import wait_for_room
from orchestrator.session import has_ended, ray_session
from orchestrator.workers import Wanted
from workloads.attempts import saved_step
from workloads.command_line import stderr_console
from workloads.errors import ClibdError
from workloads.execution import Execution
from workloads.lease import Lease, held
from workloads.printed_text import say
from workloads.record import RunFolder, command_line, provenance
from workloads.run_errors import LostWorkersError, MemoryRanOutError, RunBusyError, StoppedError
from workloads.shared_places import data_place, runs_place
from workloads.spec import ExperimentSpec, spec_from_dict
from workloads.stopping import Stop, stop_by_signals
from workloads.storage import Folder
from workloads.training.wandb_log import WandbMode

_MAX_FAILURES = 3
"""Groups in a row that may fail or be lost without a newer checkpoint, before the run does."""

Told = Callable[[Mapping[str, Any]], None]
"""Is told of every epoch, in the thread of the caller."""


def _nobody(*_: Any, **facts: Any) -> None:
    """Is told, and says nothing."""


def trainer_on_ray(
    *,
    cpu_only: bool,
    workers: str | None,
    gpu_kind: str | None,
    wait: str | None,
    address: str | None,
    offline: bool,
    execution: Execution,
) -> Callable[..., None]:
    """What trains a run under Ray Train, once the machines are looked at; all as the command's options have it.

    Raises:
        UsageError: an option means nothing, no cluster answers, or no machine has room for a run.
    """
    wanted = Wanted.of(workers, cpu_only, gpu_kind, wait)
    resources, _ = resources_at(address, wanted, offline=offline, execution=execution)
    check_placeable(resources)
    return partial(_train_on_ray, resources, address)


def _train_on_ray(
    resources: Resources,
    address: str | None,
    run: RunFolder,
    spec: ExperimentSpec,
    point: Mapping[str, Any],
    data: str,
    places: Mapping[str, str],
    wandb: WandbMode,
    lease: Lease | None,
) -> None:
    """Train a run under Ray Train, in a session of its own.

    Raises:
        ClibdError: the run failed.
        StoppedError: a signal asked for it; the run has a checkpoint.
    """
    resources, console = resources.for_batch(spec.batch_size), stderr_console()
    task = Task(spec=spec, run=str(run.folder), data=data, resources=resources, places=dict(places))
    run.begin(spec, point, provenance(command_line()))
    console.print(
        f"Training {spec.id} on {resources.describe}, each with {resources.each}; its log is {run.folder}/events.jsonl"
    )

    def tell(state: str, waiting_for: str | None = None, **facts: Any) -> None:
        if lease:
            lease.tell(state=state, waiting_for=waiting_for, **facts)
        if state == "waiting":
            console.print(f"waiting for {waiting_for}")

    needs = Needs(places=[data_place(data), runs_place(run.folder.address.rsplit("/", 2)[0])])
    with (
        ray_session(address),
        watching_hosts(address, needs, console.print),
        stop_by_signals(has_ended, GRACE + 5) as stop,
    ):
        run_to_its_end(task, wandb, tell=tell, stop=stop)


def make_point(config: Mapping[str, Any]) -> None:
    """Body of a Tune trial: makes one point's folder, unless another command does, or has done so by now."""
    from ray import tune

    job = config["job"]
    run = RunFolder(Folder(job["run"]))
    try:
        with held(run.folder, "refuse", job["owner"], argv=job["argv"]) as lease:
            if run.state() != "finished":
                _make(job, run, lease.tell)
                return
    except RunBusyError:
        pass
    tune.report({"made": "elsewhere"})  # without any result Tune prints a line of its own


def _make(job: Mapping[str, Any], run: RunFolder, tell: Callable[..., None]) -> None:
    """Whole, or with the reason why not."""
    from ray import tune

    spec, resources = spec_from_dict(job["spec"]), resources_of(job["resources"])
    run.begin(spec if job["kind"] in ("train", "untrained") else None, job["point"], provenance(job["argv"]))
    if job["kind"] != "train":
        from orchestrator.measure import measure_on_ray

        tell(state="measuring")
        measure_on_ray(job, spec)
        tune.report({"measured": True})
        return
    fitted = resources.for_batch(spec.batch_size)
    task = Task(spec=spec, run=job["run"], data=job["data"], resources=fitted, places=job["places"])
    train_as_trial(task, tune.report, tell, job["wandb"])


def train_as_trial(task: Task, told: Told, tell: Callable[..., None] = _nobody, wandb: WandbMode = "off") -> None:
    """`run_to_its_end` in a trial of Tune, which would try again what raises: how the run ended, its folder says."""
    try:
        run_to_its_end(task, wandb, told=told, tell=tell)
    except (ClibdError, StoppedError) as error:
        say(error)


def run_to_its_end(
    task: Task,
    wandb: WandbMode = "off",
    *,
    told: Told = _nobody,
    tell: Callable[..., None] = _nobody,
    stop: Stop = asked_to_stop,
) -> None:
    """Train a run, inside a Ray session, with as many groups of workers as it takes.

    Args:
        task: of a run that is begun.
        wandb: whether to log to Weights & Biases.
        told: of every epoch.
        tell: told what the run is doing, as facts of its lease (`workloads.lease`).
        stop: why to stop; None not to. By default as `messages.ask_to_stop` says.

    Raises:
        ClibdError: the run failed; its status says so too.
        StoppedError: it was asked to stop; it has a checkpoint, and no status.
    """
    run = RunFolder(Folder(task.run))
    try:
        _groups(task, run, wandb, told, tell, stop)
    except ClibdError as error:
        run.finish("failed", reason=str(error))
        raise


def _groups(task: Task, run: RunFolder, wandb: WandbMode, told: Told, tell: Callable[..., None], stop: Stop) -> None:
    step, failures, size, restarts = saved_step(run), 0, 0, -1

    def tell_epoch(epoch: Mapping[str, Any]) -> None:
        done, of = int(epoch["epoch"]) + 1, task.spec.epochs
        state = "training" if done < of else "measuring"
        left = epoch["seconds"] * (of - done)
        tell(state=state, epoch=done, epochs=of, specimens_per_second=epoch["specimens_per_second"], seconds_left=left)
        told(epoch)

    while True:
        size = wait_for_room(task.run, task.resources, size, tell, stop)
        restarts += 1
        tell(state="starting", waiting_for=None, since=None, workers=size, restarts=restarts)
        ending = run_group(task, size, wandb, tell_epoch, stop)
        if ending.outcome == "finished":
            return
        final = isinstance(ending.error, ClibdError) and not isinstance(ending.error, MemoryRanOutError)
        if ending.outcome == "stopped" or final:
            assert ending.error is not None
            raise ending.error
        before, step = step, saved_step(run)
        failures = failures_in_a_row(failures, ending, progress=step > before)
        if failures > _MAX_FAILURES:
            raise LostWorkersError(str(run.folder), failures, ending.reason) from ending.error


def failures_in_a_row(before: int, ending: Ending, progress: bool) -> int:
    """How many groups have failed or been lost one after another without a newer checkpoint, this one included.

    Args:
        before: as of the group before.
        ending: of this one. Not to get the machines, to lose them by notice and to grow are no failures.
        progress: whether it left a newer checkpoint than it began with.
    """
    if progress:
        before = 0
    return before + (ending.outcome in ("failed", "lost"))


def resources_of(plain: Mapping[str, Any]) -> Resources:
    """What `asdict` made plain."""
    return Resources(**{**plain, "execution": Execution(**plain["execution"])})
