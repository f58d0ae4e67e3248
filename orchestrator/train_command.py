"""Carries out `clibd train`: in this process, or under Ray Train with several workers."""

from orchestrator.progress import stderr_console
from orchestrator.resources import Resources
from orchestrator.session import ray_session
from orchestrator.train import run_training
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import ClibdError
from workloads.record import RunFolder
from workloads.storage import Folder
from workloads.training.command import Asked, begin, is_finished, run_folder, spec_of
from workloads.training.report import WandbMode
from workloads.training.result_words import result_words


def train_on_ray(asked: Asked, resources: Resources, address: str | None, wandb: WandbMode) -> RunFolder:
    """Train under Ray Train; returns the finished run.

    Raises:
        ClibdError: the run failed.
        UsageError: as `spec_of`.
    """
    data = Folder(asked.data)  # with its whole path: workers have another working directory
    spec, places = spec_of(asked, PreparedDataset(data))
    run = run_folder(asked, spec)
    console = stderr_console()
    if is_finished(run, spec, places):
        console.print(f"{run.folder} is finished already")
        return run
    begin(asked, run, spec)
    console.print(f"Training {spec.id} on {resources.describe}; its log is {run.folder}/events.jsonl")
    with ray_session(address):
        run_training(spec, run, str(data), resources, wandb=wandb, places=places)
    if run.state() != "finished":
        reason = run.status()["reason"] if run.state() == "failed" else "it never ended; start it again to go on"
        raise ClibdError(f"{spec.id}: {reason}")
    run.folder.remove_folder("checkpoints")
    console.print(result_words(run))
    return run
