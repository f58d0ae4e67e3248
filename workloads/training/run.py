"""One run from a spec to a finished run folder: train, select, measure. One process, or any process group; no Ray."""

import json
import sys
from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Any

from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import DamagedError
from workloads.evaluation.measure import measure
from workloads.evaluation.selection import check_selection, validation_score
from workloads.evaluation.trained_on import of_training
from workloads.execution import Execution
from workloads.models.loaded import open_untrained, write_inputs
from workloads.models.places import NOWHERE, Places
from workloads.models.stored_weights import save_weights
from workloads.placement import Placement, device_name
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec
from workloads.training.checkpoint import CheckpointStore
from workloads.training.loop import Training, fit
from workloads.training.optimization import max_learning_rate
from workloads.training.report import EpochReport, Listener, StepReport


class Log:
    """Writes events.jsonl, whole at every report, so that no checkpoint is ever ahead of it."""

    def __init__(self, run: RunFolder, first_step: int) -> None:
        self._run = run
        # A resumed run repeats the steps since its checkpoint: what those had logged is dropped.
        self._events = [event for event in run.events() if event["step"] < first_step]

    def on_step(self, report: StepReport | EpochReport) -> None:
        """Log the step, or the epoch."""
        self._events.append(report.event())
        self._run.folder.write("events.jsonl", "".join(f"{json.dumps(event)}\n" for event in self._events).encode())

    on_epoch = on_step


def train_run(
    spec: ExperimentSpec,
    run: RunFolder,
    dataset: PreparedDataset,
    placement: Placement,
    execution: Execution,
    listeners: Sequence[Listener] = (),
    places: Places = NOWHERE,
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

    Returns:
        What the status says about a finished run.

    Raises:
        ClibdError: as the parts say; every worker meets it alike.
    """
    check_selection(spec, dataset.facts)
    experiment = open_untrained(spec, dataset, places, run.folder)
    specimens = experiment.specimens(dataset, dataset.facts.splits.training)
    training = Training(spec, experiment.model, len(specimens.trained), placement, execution)
    store = CheckpointStore(run.folder / "checkpoints")
    training.resume(store, partial(print, file=sys.stderr))
    first = placement.rank == 0
    if first:
        write_inputs(run, experiment)
        of_training(spec, dataset, experiment.began_with).write(run)
        run.keep_weights({modality: found.kept() for modality, found in experiment.weights.items()})
    score = None
    if spec.selection != "last":
        score = partial(validation_score, experiment, dataset, placement)
    fit(training, specimens, [*([Log(run, training.step)] if first else []), *listeners], store, score)
    take_the_selected(training, store)
    started = perf_counter()
    if first:
        save_weights(run.folder, experiment.model)
    measure(experiment, dataset, placement, run)
    return {
        **_costs(run, training),
        "evaluation_seconds": perf_counter() - started,
        "device": device_name(placement.device),
        "num_workers": placement.num_workers,
        "micro_batch": training.micro_batch,
        "max_learning_rate": max_learning_rate(spec),
        "selected_epoch": training.best[1] if training.best else spec.epochs - 1,
        "selected_score": training.best[0] if training.best else None,
    }


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


def _costs(run: RunFolder, training: Training) -> dict[str, Any]:
    parameters = list(training.model.parameters())
    epochs = [event for event in run.events() if event["event"] == "epoch"]
    return {
        "num_parameters": sum(p.numel() for p in parameters),
        "num_trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "training_seconds": sum(event["seconds"] for event in epochs),
    }
