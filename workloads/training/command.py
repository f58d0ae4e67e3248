"""Trains one named experiment in this process, or in those that torchrun started. No Ray."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import torch
import torch.distributed as dist

from workloads.data.inputs.batches import num_trained
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import ClibdError, DriftError, UsageError, WeightsError
from workloads.execution import Execution
from workloads.experiments import Experiment, Scale, experiment_spec, starting_from
from workloads.models.places import Places, name_of, reading, weights_of, with_settings
from workloads.placement import Placement
from workloads.record import RunFolder, provenance
from workloads.spec import ExperimentSpec, Recipe, first_difference
from workloads.storage import Folder
from workloads.training.progress import ProgressBar
from workloads.training.report import Listener, WandbMode
from workloads.training.result_words import result_words
from workloads.training.run import train_run
from workloads.training.wandb_log import WandbLog

_PATIENCE = timedelta(minutes=30)
"""For the slowest process, which may be copying the data set to its disk."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A training run as a command asks for it: its options in their order."""

    experiment: Experiment
    data: str
    runs: str
    scale: Scale
    recipe: Recipe
    seed: int
    batch_size: int | None = None
    epochs: int | None = None
    start_from: str | None = None
    """Finished run, or converted model, whose towers it begins with."""
    settings: tuple[str, ...] = ()
    """Fields of the spec, NAME=VALUE, which hold whatever else is asked."""


def spec_of(asked: Asked, dataset: PreparedDataset) -> tuple[ExperimentSpec, Places]:
    """The spec that is asked for, and where the weights lie that it names.

    Raises:
        UsageError: it contradicts itself or the data set.
        WeightsError: there are no such weights.
    """
    spec = experiment_spec(asked.experiment, asked.scale, dataset.facts.data, asked.recipe, asked.seed)
    places: dict[str, str] = {}
    if asked.start_from:
        with reading(asked.start_from):
            run = RunFolder(Folder(asked.start_from))
            if not run.folder.has("spec.json"):
                raise UsageError(f"{asked.start_from}: no run there to start from; name a run folder, RUNS/SWEEP/RUN")
            name, places[name] = name_of(asked.start_from)
            spec = starting_from(spec, name, run.spec())
    epochs = asked.epochs or spec.epochs
    first = min(spec.first_selected_epoch, epochs - 1)
    spec = replace(spec, batch_size=asked.batch_size or spec.batch_size, epochs=epochs, first_selected_epoch=first)
    spec, more = with_settings(spec, asked.settings)
    return spec, {**places, **more}


def run_folder(asked: Asked, spec: ExperimentSpec) -> RunFolder:
    """Where the run is kept: RUNS/train/ID."""
    return RunFolder(Folder(asked.runs) / "train" / spec.id)


def is_finished(run: RunFolder, spec: ExperimentSpec, places: Places) -> bool:
    """Whether the run is finished already.

    Raises:
        DriftError: a finished run of this id was another experiment.
        WeightsDriftError: it began with other weights than those that have the same name now.
    """
    if run.state() != "finished":
        return False
    if difference := first_difference(run.spec(), spec):
        raise DriftError(run.id, *difference)
    with suppress(WeightsError):  # what is finished needs them no more
        weights_of(spec, places, run.folder)
    return True


def begin(asked: Asked, run: RunFolder, spec: ExperimentSpec) -> None:
    """Write what is known before training."""
    point = {"sweep": "train", "row": {}, "label": asked.experiment, "scale": asked.scale}
    run.begin(spec, point, provenance([os.path.basename(sys.argv[0]), *sys.argv[1:]]))


def train_here(asked: Asked, execution: Execution, wandb: WandbMode, cpu_only: bool) -> RunFolder:
    """Train in this process, or in this process group when torchrun started it; returns the finished run.

    Raises:
        ClibdError: the run failed; its status says so too.
    """
    dataset = PreparedDataset(Folder(asked.data))
    spec, places = spec_of(asked, dataset)
    run = run_folder(asked, spec)
    if is_finished(run, spec, places):
        print(f"{run.folder} is finished already", file=sys.stderr)
        return run
    with _process_group(cpu_only) as placement, ExitStack() as open_listeners:
        listeners: list[Listener] = []
        if placement.rank == 0:
            begin(asked, run, spec)
            num_steps = spec.epochs * (num_trained(spec, dataset.facts) // spec.batch_size)
            listeners.append(open_listeners.enter_context(ProgressBar(num_steps)))
            if wandb != "off":
                listeners.append(open_listeners.enter_context(WandbLog(spec, run, wandb)))
        try:
            details = train_run(spec, run, dataset, placement, execution, listeners, places)
        except ClibdError as error:
            if placement.rank == 0:
                run.finish("failed", reason=str(error))
            raise
        if placement.rank == 0:
            run.finish("finished", **details)
            run.folder.remove_folder("checkpoints")
            print(result_words(run), file=sys.stderr)
    return run


@contextmanager
def _process_group(cpu_only: bool) -> Iterator[Placement]:
    """This process's place; joins the others where torchrun started several."""
    gpu = torch.cuda.is_available() and not cpu_only
    device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if gpu else "cpu")
    if gpu:
        torch.cuda.set_device(device)
    loaders = max(0, min(6, (os.cpu_count() or 1) // max(1, torch.cuda.device_count()) - 2)) if gpu else 0
    if "RANK" not in os.environ:
        yield Placement(device, loader_processes=loaders)
        return
    dist.init_process_group("nccl" if gpu else "gloo", timeout=_PATIENCE)
    try:
        yield Placement.here(device, loaders)
    finally:
        dist.destroy_process_group()
