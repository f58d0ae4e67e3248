"""One run under Ray Train: workers train and evaluate; the run folder is what they leave, and what they go on from.

Ray Train places the workers, joins them to a process group and starts them again when one is lost. Checkpoints are
those of `workloads.training`, in the run folder, so a run begun without Ray goes on with it, and the other way round.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from orchestrator.resources import Resources
from workloads.errors import ClibdError
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec, spec_from_dict, spec_to_dict
from workloads.storage import Folder
from workloads.training.report import WandbMode

MAX_FAILURES = 3
"""Lost workers that a run survives, each time going on from its newest checkpoint."""
_RAYS_OWN = "ray"
"""Folder of Ray Train's own bookkeeping inside a run, until the run ends."""


def train_worker(config: dict[str, Any]) -> None:
    """Body of every Ray Train worker."""
    import os

    if config["offline"]:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported, which comes next
    import ray.train
    import ray.train.torch
    import torch

    from workloads.data.prepared.dataset import PreparedDataset
    from workloads.execution import Execution
    from workloads.placement import Placement
    from workloads.training.report import EpochReport, Listener, StepReport
    from workloads.training.run import train_run
    from workloads.training.wandb_log import WandbLog

    class Reporter:
        """Tells Ray Train, and through it Tune, of every epoch."""

        def on_step(self, report: StepReport) -> None:
            pass

        def on_epoch(self, report: EpochReport) -> None:
            ray.train.report(report.event())

    torch.set_num_threads(config["threads"])
    run = RunFolder(Folder(config["run"]))
    placement = Placement.here(ray.train.torch.get_device(), config["loader_processes"])
    dataset = PreparedDataset(Folder(config["data"])).without(config["without"])
    spec, execution = spec_from_dict(config["spec"]), Execution(**config["execution"])
    listeners: list[Listener] = [Reporter()]
    try:
        with ExitStack() as stack:
            if config["wandb"] != "off" and placement.rank == 0:
                listeners.append(stack.enter_context(WandbLog(spec, run, config["wandb"])))
            details = train_run(spec, run, dataset, placement, execution, listeners, config["places"])
    except ClibdError as error:  # every worker meets it alike, and trying again would end the same way
        if placement.rank == 0:
            run.finish("failed", reason=str(error))
        return
    if placement.rank == 0:
        run.finish("finished", **details)


def run_training(
    spec: ExperimentSpec,
    run: RunFolder,
    data: str,
    resources: Resources,
    callbacks: Sequence[Any] = (),
    wandb: WandbMode = "off",
    places: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
) -> None:
    """Train one run to its end. Called again after an interruption, it goes on from the newest checkpoint.

    Ends with a status in the run folder, also when the run failed. `places` says where weights that the spec names lie
    (`workloads.models.places`), `without` which partitions' queries are not looked at.
    """
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    gpus = resources.gpus_per_worker
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={
            "spec": spec_to_dict(spec),
            "run": str(run.folder),
            "data": data,
            "threads": resources.threads,
            "loader_processes": resources.loader_processes,
            "offline": resources.offline,
            "wandb": wandb,
            "without": list(without),
            "places": dict(places or {}),
            "execution": asdict(resources.execution),
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
            failure_config=ray.train.FailureConfig(max_failures=MAX_FAILURES, controller_failure_limit=2),
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        run.finish("failed", reason=_reason(error))
    run.folder.remove_folder(_RAYS_OWN)


def _reason(error: BaseException) -> str:
    """The last telling line of a failure."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
