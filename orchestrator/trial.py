"""One Tune trial: it drives one Ray Train run, or measures what is finished.

A module of its own because the trial's process imports it, and should not import what only the sweep needs.
"""

import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from orchestrator.resources import Resources, fitting
from orchestrator.train import run_training
from workloads.errors import ClibdError
from workloads.execution import Execution
from workloads.record import RunFolder, provenance
from workloads.spec import ExperimentSpec, spec_from_dict
from workloads.storage import Folder


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
    resources = fitting(resources, spec.batch_size)
    run_training(spec, run, job["data"], resources, [TuneReportCallback()], places=job["places"])
    if run.state() == "finished":
        run.folder.remove_folder("checkpoints")


def _measure(job: Mapping[str, Any], spec: ExperimentSpec, run: RunFolder, resources: Resources) -> None:
    """Measure in this process, and end with a status also where it cannot be done."""
    if resources.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported, which comes next
    import torch
    from ray import tune
    from threadpoolctl import threadpool_limits

    if not resources.gpus_per_worker:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a GPU that is to be left alone is not even seen
    threads = resources.num_workers * resources.threads  # Ray gave one to a process that takes next to no processor
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            _measured(job, spec, run)
    except Exception as error:  # whatever it is, trying again would end the same way, and the others go on
        known = isinstance(error, ClibdError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        run.finish("failed", reason=reason, traceback=None if known else traceback.format_exc())
    else:
        run.finish("finished")
    tune.report({"measured": True})  # without any result Tune prints a line of its own


def _measured(job: Mapping[str, Any], spec: ExperimentSpec, run: RunFolder) -> None:
    from orchestrator import attention, costs, evaluating, open_set, zero_shot

    data, uses = Folder(job["data"]), job["uses"]
    used = {what: Folder(place) for what, place in uses.items()}
    match job["kind"]:
        case "untrained":
            evaluating.evaluate_untrained(run, data)
        case "openclip":
            evaluating.evaluate_openclip(job["model"], data, run.folder, spec.recipe)
        case "open_set":
            open_set.measure_open_set(used["run"], used.get("classifier"), run.folder, spec.recipe)
        case "bzsl":
            zero_shot.measure_zero_shot(
                uses["images"], uses.get("dna"), run.folder, spec.recipe, spec.seed, num_components=None
            )
        case "attention":
            attention.measure_attention(used["run"], data, run.folder)
        case "costs":
            costs.measure_costs(used.get("run"), data, run.folder)


def command_line() -> list[str]:
    """The command as the user gave it, for the provenance."""
    return [sys.argv[0].rsplit("/", 1)[-1], *sys.argv[1:]]


def resources_of(plain: Mapping[str, Any]) -> Resources:
    """What `asdict` made plain."""
    return Resources(**{**plain, "execution": Execution(**plain["execution"])})
