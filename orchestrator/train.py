"""One run under Ray Train: workers train and evaluate, and rank 0 keeps the run folder."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.resources import Resources
from workloads.errors import ClibdError
from workloads.record import EventLog, RunFolder
from workloads.spec import ExperimentSpec, spec_from_dict, spec_to_dict
from workloads.storage import Folder

MAX_FAILURES = 3
"""Lost workers that a run survives, each time going on from its newest checkpoint."""


def train_worker(config: dict[str, Any]) -> None:
    """Body of every Ray Train worker."""
    import ray.train
    import ray.train.torch
    import torch

    from workloads.data.prepared import PreparedDataset
    from workloads.training.placement import Placement

    torch.set_num_threads(config["threads"])
    spec = spec_from_dict(config["spec"])
    run = RunFolder(Folder(config["run"]))
    dataset = PreparedDataset(Folder(config["data"]))
    placement = Placement.here(ray.train.torch.get_device(), config["loader_processes"])
    try:
        details = _train_and_evaluate(spec, run, dataset, placement)
    except ClibdError as error:  # every worker meets it alike, and trying again would end the same way
        if placement.rank == 0:
            run.finish("failed", reason=str(error))
        return
    if placement.rank == 0:
        run.finish("finished", **details)


def _train_and_evaluate(spec: ExperimentSpec, run: RunFolder, dataset: Any, placement: Any) -> dict[str, Any]:
    """Train from the newest checkpoint on, then measure; what the status says about it."""
    import ray.train

    from workloads.data.batches import Specimens
    from workloads.evaluation.evaluate import evaluate, write_evaluation
    from workloads.experiment import open_model
    from workloads.training.checkpoint import MODEL, save_weights
    from workloads.training.loop import EpochReport, Event, Save, fit

    if placement.rank == 0:  # with these a finished run can embed anything, wherever its data set went
        run.folder.write_json("inputs.json", {"feature_size": dataset.facts.feature_size})
        run.folder.write("tokenizer.json", dataset.tokenizer_json().encode())
    model, tokenizer = open_model(spec, dataset.facts.feature_size, dataset.tokenizer_json())
    specimens = Specimens(dataset, dataset.facts.splits.training, spec, tokenizer)
    checkpoint = ray.train.get_checkpoint()
    with tempfile.TemporaryDirectory() as scratch:
        resume = Path(checkpoint.to_directory(scratch)) if checkpoint else None
        log = EventLog(run, _next_epoch(resume))

        def on_epoch(report: EpochReport, steps: Sequence[Event], save: Save) -> None:
            saved = None
            with tempfile.TemporaryDirectory() as folder:
                if placement.rank == 0:
                    save(Path(folder))
                    saved = ray.train.Checkpoint.from_directory(folder)
                    for event in (*steps, report.event()):
                        log.add(event)
                    log.flush()
                ray.train.report(report.event(), checkpoint=saved)

        fit(spec, model, specimens, placement, resume=resume, on_epoch=on_epoch)
    started = time.perf_counter()
    evaluation = evaluate(spec, model, dataset, tokenizer, placement)
    if placement.rank == 0:
        write_evaluation(run, evaluation)
        with tempfile.TemporaryDirectory() as folder:
            save_weights(Path(folder), model)
            run.folder.write(MODEL, (Path(folder) / MODEL).read_bytes())
    trained = [event for event in run.events() if event["event"] == "epoch"]
    return {
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "num_trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "training_seconds": sum(event["seconds"] for event in trained),
        "evaluation_seconds": time.perf_counter() - started,
        "device": _device_name(placement.device),
        "num_workers": placement.num_workers,
    }


def _next_epoch(resume: Path | None) -> int:
    import json

    return int(json.loads((resume / "progress.json").read_text())["next_epoch"]) if resume else 0


def _device_name(device: Any) -> str:
    import platform

    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"


def run_training(
    spec: ExperimentSpec, run: RunFolder, data: str, resources: Resources, callbacks: Sequence[Any] = ()
) -> None:
    """Train one run to its end. Called again after an interruption, it goes on from the newest checkpoint.

    Ends with a status in the run folder, also when the run failed.
    """
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        train_worker,
        train_loop_config={
            "spec": spec_to_dict(spec),
            "run": str(run.folder),
            "data": data,
            "threads": resources.threads,
            "loader_processes": resources.loader_processes,
        },
        torch_config=TorchConfig(backend="nccl" if resources.gpus_per_worker else "gloo", timeout_s=1800),
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.num_workers,
            use_gpu=bool(resources.gpus_per_worker),
            resources_per_worker=_per_worker(resources),
        ),
        run_config=ray.train.RunConfig(
            name="checkpoints",  # a fixed name under the run folder is what makes Ray Train resume
            storage_path=str(run.folder),
            callbacks=list(callbacks),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            failure_config=ray.train.FailureConfig(max_failures=MAX_FAILURES, controller_failure_limit=2),
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        run.finish("failed", reason=_reason(error))


def _per_worker(resources: Resources) -> dict[str, float]:
    wanted: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        wanted["GPU"] = resources.gpus_per_worker
    return wanted


def _reason(error: BaseException) -> str:
    """The last telling line of a failure."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
