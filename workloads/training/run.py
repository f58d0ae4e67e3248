"""One run from a spec to a finished run folder: train, select, measure. One process, or any process group; no Ray."""

import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from itertools import combinations
from time import perf_counter
from typing import Any

import numpy as np

from workloads import circumstances
from workloads.command_line import Counting, unseen
from workloads.data.inputs.batches import Specimens
from workloads.data.inputs.positive_codes import positive_words
from workloads.data.inputs.who_trains import num_trained
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import DamagedError, DriftError, UsageError, WeightsError
from workloads.evaluation.fusion_gate import learn_gate
from workloads.evaluation.measure import measure
from workloads.evaluation.selection import check_selection, validation_score
from workloads.evaluation.trained_on import of_training
from workloads.execution import Execution
from workloads.experiments import Data, Experiment, Scale, experiment_spec, starting_from
from workloads.lease import Lease, held
from workloads.models.loaded import open_untrained, write_inputs
from workloads.models.places import NOWHERE, Addresses, name_of, reading, weights_of, with_settings
from workloads.models.weights import save_weights
from workloads.placement import Placement, device_name
from workloads.printed_text import remark
from workloads.record import RunFolder, command_line, provenance
from workloads.spec import ExperimentSpec, Recipe, first_difference
from workloads.stopping import Stop, never
from workloads.storage import Folder
from workloads.training.checkpoint import CheckpointStore
from workloads.training.disk_room import little_room
from workloads.training.loop import fit
from workloads.training.loss import loss_of_alike
from workloads.training.optimization import max_learning_rate
from workloads.training.report import LeaseTeller, Listener, ProgressBar, event_log
from workloads.training.step import Training
from workloads.training.torchrun import process_group, stopping_together
from workloads.training.wandb_log import WandbMode, wandb_log
from workloads.training.watch import Watch


def asked_spec(
    data: Data,
    experiment: Experiment,
    scale: Scale,
    recipe: Recipe,
    seed: int,
    batch_size: int | None = None,
    epochs: int | None = None,
    start_from: str | None = None,
    settings: Sequence[str] = (),
) -> tuple[ExperimentSpec, Addresses]:
    """The spec that a command asks for, and where the weights lie that it names.

    Args:
        data: the prepared data set.
        experiment: by its name.
        scale: of its encoders.
        recipe: the reading of the paper.
        seed: of weights, order and dropout.
        batch_size: None: the scale's.
        epochs: None: the experiment's.
        start_from: finished run, or converted model, whose towers it begins with.
        settings: fields of the spec, NAME=VALUE, which hold whatever else is asked.

    Raises:
        UsageError: it contradicts itself or the data set.
        WeightsError: there are no such weights.
    """
    spec = experiment_spec(experiment, scale, data, recipe, seed)
    places: dict[str, str] = {}
    if start_from:
        with reading(start_from):
            run = RunFolder(Folder(start_from))
            if not run.folder.has("spec.json"):
                raise UsageError(f"{start_from}: no run there to start from; name a run folder, RUNS/SWEEP/RUN")
            name, places[name] = name_of(start_from)
            spec = starting_from(spec, name, run.spec())
    epochs = epochs or spec.epochs
    first = min(spec.first_selected_epoch, epochs - 1)
    spec = replace(spec, batch_size=batch_size or spec.batch_size, epochs=epochs, first_selected_epoch=first)
    spec, more = with_settings(spec, settings)
    return spec, {**places, **more}


def is_finished(run: RunFolder, spec: ExperimentSpec, places: Addresses) -> bool:
    """Whether the run is finished already; checkpoints that a process left which was killed at its very end then go.

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
    with suppress(OSError):  # of a folder that cannot be written, or that another process is clearing
        run.folder.remove_folder("checkpoints")
    return True


def train_here(
    run: RunFolder,
    spec: ExperimentSpec,
    point: Mapping[str, Any],
    dataset: PreparedDataset,
    execution: Execution,
    places: Addresses = NOWHERE,
    wandb: WandbMode = "off",
    cpu_only: bool = False,
) -> None:
    """Train a run in this process, or in this process group when torchrun started it.

    Raises:
        StoppedError: a signal asked for it; the run has a checkpoint.
        ClibdError: the run failed; its status says so too.
    """
    with process_group(cpu_only) as placement, _lease(run, placement) as lease:
        first = placement.rank == 0
        if first:
            run.begin(spec, point, provenance(command_line()))
        num_steps = spec.epochs * (num_trained(spec, dataset.facts) // spec.batch_size)
        with (
            run.ending(writes=first) as details,
            wandb_log(run, wandb if first else "off"),
            ProgressBar(num_steps) if first else nullcontext() as bar,
        ):
            listeners: list[Listener] = [bar] if bar else []
            listeners = [*listeners, LeaseTeller(lease, spec.epochs, num_steps)] if lease else listeners
            stopping = stopping_together(placement)
            watch = Watch(f"worker {placement.rank} on {socket.gethostname()}") if placement.num_workers > 1 else None
            counting = bar.counting if bar else unseen
            details |= train_run(spec, run, dataset, placement, execution, listeners, places, stopping, watch, counting)
            if lease:
                lease.check()  # else how it ends is not for this process to say


def _lease(run: RunFolder, placement: Placement) -> AbstractContextManager[Lease | None]:
    """The first worker's; it is the one that writes."""
    return held(run.folder) if placement.rank == 0 else nullcontext()


def train_run(
    spec: ExperimentSpec,
    run: RunFolder,
    dataset: PreparedDataset,
    placement: Placement,
    execution: Execution,
    listeners: Sequence[Listener] = (),
    places: Addresses = NOWHERE,
    stopping: AbstractContextManager[Stop] | None = None,
    watch: Watch | None = None,
    counting: Counting = unseen,
) -> dict[str, Any]:
    """Train a run from its newest good checkpoint on, measure it, and write everything but its status.

    Args:
        spec: the experiment.
        run: where it is kept; the first worker writes.
        dataset: prepared.
        placement: this worker's.
        execution: how its share fits the machine.
        listeners: told of steps and epochs beside the log, on every worker.
        places: where weights lie that the spec names, beside the folders of runs.
        stopping: lasts while there is a step to stop after, and gives what says on the first worker whether to stop.
        watch: notices when a step of this worker stands still.
        counting: shows how far the evaluation is.

    Returns:
        What the status says about a finished run.

    Raises:
        StoppedError: it was to stop; everything is in the checkpoint.
        ClibdError: as the parts say; every worker meets it alike.
    """
    check_selection(spec, dataset.facts)
    experiment = open_untrained(spec, dataset, places, run.folder)
    specimens = experiment.specimens(dataset, dataset.facts.splits.training)
    if spec.objective == "masked":
        specimens.check_kmers()
    training = Training(spec, experiment.model, len(specimens.trained), placement, execution)
    store = CheckpointStore(run.folder / "checkpoints")
    training.resume(store, partial(print, file=sys.stderr))
    first = placement.rank == 0
    if first:
        write_inputs(run, experiment)
        of_training(spec, dataset, experiment.began_with, specimens.trained).write(run)
        circumstances.keep(run, training.step, circumstances.of_training(placement, execution, spec.precision))
        training_splits = dataset.facts.splits.training
        if words := positive_words(spec, specimens.label, dataset, training_splits, specimens.trained):
            remark(words)
        if words := little_room(run.folder, experiment.model, spec.selection != "last"):
            remark(f"warning: {words}")
    score = None
    if spec.selection != "last":
        score = partial(validation_score, experiment, dataset, placement)
    told = [*([event_log(run, training.step)] if first else []), *listeners]
    with stopping or nullcontext(never) as stop, watch or nullcontext():
        fit(training, specimens, told, store, score, stop, watch)
    take_the_selected(training, store)
    started = perf_counter()
    if first:
        save_weights(run.folder, experiment.model)
    if spec.fusion == "gate":
        learn_gate(experiment, dataset, placement, run)
    measure(experiment, dataset, placement, run, counting)
    parameters = list(training.model.parameters())
    return {
        "num_parameters": sum(p.numel() for p in parameters),
        "num_trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "training_seconds": sum(event["seconds"] for event in run.events() if event["event"] == "epoch"),
        "evaluation_seconds": perf_counter() - started,
        "device": device_name(placement.device),
        "num_workers": placement.num_workers,
        "num_chunks": training.shares.num_chunks if training.shares else None,
        "max_learning_rate": max_learning_rate(spec),
        "selected_epoch": training.best[1] if training.best else spec.epochs - 1,
        "selected_score": training.best[0] if training.best else None,
        **_alike(spec, specimens),
    }


def _alike(spec: ExperimentSpec, specimens: Specimens) -> dict[str, float]:
    """The loss of embeddings that are all alike, where some lack modalities; else it is the logarithm of the batch."""
    if spec.objective != "align" or not specimens.lacked:
        return {}
    everyone = np.ones(len(specimens), dtype=bool)
    have = {name: everyone if (own := specimens.there(name)) is None else own for name in spec.modalities}
    pairs = [pair for pair in combinations(spec.modalities, 2) if spec.bind_to is None or spec.bind_to in pair]
    shares = [float((have[a] & have[b])[specimens.trained].mean()) for a, b in pairs]
    return {"loss_of_alike": loss_of_alike(spec.batch_size, shares)}


def take_the_selected(training: Training, store: CheckpointStore) -> None:
    """The weights of the epoch that the spec's rule selects; without a rule the last ones, which are there.

    Raises:
        DamagedError: they are not what was kept.
    """
    if training.best is None:
        return
    selected = store.best(wanted=training.best)
    if selected is None:
        raise DamagedError(str(store.folder), f"the weights of epoch {training.best[1]}, the best, are not there")
    training.model.load_state_dict(selected[0])
