"""One run under Ray Train, by itself or as a trial of Tune; the run folder is what it leaves, and what it goes on from.

Ray Train places the workers, joins them to a process group and starts them again when one is lost. Checkpoints are
those of `workloads.training`, in the run folder, so a run begun without Ray goes on with it, and the other way round.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from orchestrator.session import Resources, fitting, ray_session, resources_here
from workloads.command_line import stderr_console
from workloads.errors import ClibdError
from workloads.execution import Execution
from workloads.record import RunFolder, command_line, provenance
from workloads.spec import ExperimentSpec, spec_from_dict
from workloads.storage import Folder
from workloads.training.report import Report, WandbMode, result_words, wandb_log

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

_MAX_FAILURES = 3
"""Lost workers that a run survives, each time going on from its newest checkpoint."""
_RAYS_OWN = "ray"
"""Folder of Ray Train's own bookkeeping inside a run, until the run ends."""


def train_on_ray(
    run: RunFolder,
    spec: ExperimentSpec,
    point: Mapping[str, Any],
    data: str,
    execution: Execution,
    places: Mapping[str, str],
    wandb: WandbMode,
    cpu_only: bool,
    workers: int | None,
    address: str | None,
    offline: bool,
) -> None:
    """Train a run under Ray Train, in a session of its own.

    Raises:
        ClibdError: the run failed.
    """
    resources = replace(resources_here(workers, address, cpu_only), offline=offline, execution=execution)
    console = stderr_console()
    run.begin(spec, point, provenance(command_line()))
    console.print(f"Training {spec.id} on {resources.describe}; its log is {run.folder}/events.jsonl")
    with ray_session(address), trainer_of(run, spec, data, resources, places, wandb=wandb) as trainer:
        trainer.fit()
    if run.state() != "finished":
        reason = run.status()["reason"] if run.state() == "failed" else "it never ended; start it again to go on"
        raise ClibdError(f"{spec.id}: {reason}")
    console.print(result_words(run))


def make_point(config: Mapping[str, Any]) -> None:
    """Body of a Tune trial: makes one point's folder, whole or with the reason why not."""
    from ray.tune.integration.ray_train import TuneReportCallback

    job = config["job"]
    spec, resources = spec_from_dict(job["spec"]), resources_of(job["resources"])
    run = RunFolder(Folder(job["run"]))
    run.begin(spec if job["kind"] in ("train", "untrained") else None, job["point"], provenance(job["argv"]))
    if job["kind"] != "train":
        _measure(job, spec, run, resources)
        return
    callbacks = [TuneReportCallback()]
    with trainer_of(run, spec, job["data"], fitting(resources, spec.batch_size), job["places"], callbacks) as trainer:
        trainer.fit()


@contextmanager
def trainer_of(
    run: RunFolder,
    spec: ExperimentSpec,
    data: str,
    resources: Resources,
    places: Mapping[str, str],
    callbacks: Sequence[Any] = (),
    *,
    wandb: WandbMode = "off",
    without: Sequence[str] = (),
) -> Iterator["TorchTrainer"]:
    """A trainer whose `fit` brings a run to its end; interrupted, another one goes on from the newest checkpoint.

    There is a status in the run folder then, also when the run failed.

    Args:
        run: begun.
        spec: of the run.
        data: address of the prepared data set.
        resources: of the run.
        places: where weights lie that the spec names (`workloads.models.places`).
        callbacks: of Ray Train.
        wandb: whether to log to Weights & Biases.
        without: partitions whose queries are not looked at.
    """
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    gpus = resources.gpus_per_worker
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={
            "spec": spec,
            "run": str(run.folder),
            "data": data,
            "resources": resources,
            "wandb": wandb,
            "without": list(without),
            "places": dict(places),
        },
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=1800),
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.num_workers,
            use_gpu=bool(gpus),
            resources_per_worker={"CPU": resources.cpus_per_worker, **({"GPU": gpus} if gpus else {})},
        ),
        run_config=ray.train.RunConfig(
            name=_RAYS_OWN,
            storage_path=str(run.folder),
            callbacks=list(callbacks),
            failure_config=ray.train.FailureConfig(max_failures=_MAX_FAILURES, controller_failure_limit=2),
        ),
    )
    try:
        yield trainer
    except ray.train.TrainingFailedError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        run.finish("failed", reason=lines[-1] if lines else type(error).__name__)
    run.folder.remove_folder(_RAYS_OWN)


def _train_worker(config: Mapping[str, Any]) -> None:
    """Body of every Ray Train worker."""
    spec, resources, run = config["spec"], config["resources"], RunFolder(Folder(config["run"]))
    if resources.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported, which comes next
    import ray.train.torch
    import torch

    from workloads.data.prepared.dataset import PreparedDataset
    from workloads.placement import Placement
    from workloads.training.run import train_run

    if run.state() == "finished":  # and then another worker was lost
        return
    torch.set_num_threads(resources.threads)
    placement = Placement.here(ray.train.torch.get_device(), resources.loader_processes)
    dataset = PreparedDataset(Folder(config["data"])).without(config["without"])
    first = placement.rank == 0
    with (
        suppress(ClibdError),  # every worker meets it alike, and trying again would end the same way
        run.ending(writes=first) as details,
        wandb_log(run, config["wandb"] if first else "off") as listeners,
    ):
        told = [_tell_ray, *listeners]
        details |= train_run(spec, run, dataset, placement, resources.execution, told, config["places"])


def _tell_ray(report: Report) -> None:
    """Tells Ray Train, and through it Tune, of every epoch."""
    import ray.train

    if report.event == "epoch":
        ray.train.report(asdict(report))


def _measure(job: Mapping[str, Any], spec: ExperimentSpec, run: RunFolder, resources: Resources) -> None:
    """Measure in this process, and end with a status also where it cannot be done."""
    if resources.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported, which comes next
    import torch
    from ray import tune
    from threadpoolctl import threadpool_limits

    from workloads.measuring.points import measure_point

    if not resources.gpus_per_worker:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a GPU that is to be left alone is not even seen
    threads = resources.num_workers * resources.threads  # Ray gave one to a process that takes next to no processor
    torch.set_num_threads(threads)
    try:
        with run.ending(Exception), threadpool_limits(threads):
            measure_point(job["kind"], spec, run, Folder(job["data"]), job["uses"], job["model"])
    except Exception:
        if run.state() != "failed":  # if it is, trying again would end the same way, and the others go on
            raise
    tune.report({"measured": True})  # without any result Tune prints a line of its own


def resources_of(plain: Mapping[str, Any]) -> Resources:
    """What `asdict` made plain."""
    return Resources(**{**plain, "execution": Execution(**plain["execution"])})
