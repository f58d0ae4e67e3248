"""One Tune trial: it drives one Ray Train run.

A module of its own because the trial's process imports it, and should not import what only the sweep needs.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.resources import Resources
from orchestrator.train import run_training
from workloads.execution import Execution
from workloads.record import RunFolder, provenance
from workloads.spec import spec_from_dict
from workloads.storage import Folder


def drive_run(config: Mapping[str, Any]) -> None:
    """Body of a Tune trial: drives one Ray Train run."""
    from ray.tune.integration.ray_train import TuneReportCallback

    job = config["job"]
    spec = spec_from_dict(job["spec"])
    run = RunFolder(Folder(job["run"]))
    run.folder.remove("status.json")  # of an earlier attempt that failed
    run.begin(spec, job["point"], provenance(job["argv"]))
    run_training(spec, run, job["data"], _resources(job["resources"]), [TuneReportCallback()])
    if run.state() == "finished":
        run.folder.remove_folder("checkpoints")


def _resources(plain: Mapping[str, Any]) -> Resources:
    return Resources(**{**plain, "execution": Execution(**plain["execution"])})
