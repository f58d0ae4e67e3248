"""Training for tests: begun on a data set, listened to, and interrupted."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from torch import Tensor

from workloads.data.inputs.batches import Specimens
from workloads.data.prepared.dataset import PreparedDataset
from workloads.execution import Execution
from workloads.models.loaded import LoadedModel, open_untrained
from workloads.placement import Placement
from workloads.spec import ExperimentSpec
from workloads.training.checkpoint import CheckpointStore
from workloads.training.loop import fit
from workloads.training.report import EpochReport, Listener, Report, StepReport
from workloads.training.step import Training

AT_EVERY_STEP = Execution(checkpoint_seconds=0.0)


@dataclass
class Watcher:
    """Keeps what the loop reports."""

    steps: list[StepReport] = field(default_factory=list)
    epochs: list[EpochReport] = field(default_factory=list)

    def __call__(self, report: Report) -> None:
        if isinstance(report, StepReport):
            self.steps.append(report)
        else:
            self.epochs.append(report)


class StopHereError(Exception):
    """An interruption."""


def interruption(after: int) -> Listener:
    """Ends the run after a step, as a lost machine would."""

    def listener(report: Report) -> None:
        if isinstance(report, StepReport) and report.step == after:
            raise StopHereError

    return listener


@dataclass
class Trained:
    """A run that has come to its end, or to an interruption."""

    weights: dict[str, Tensor]
    watcher: Watcher
    training: Training


def begun(
    spec: ExperimentSpec,
    dataset: PreparedDataset,
    execution: Execution = AT_EVERY_STEP,
    placement: Placement | None = None,
) -> tuple[Training, Specimens, LoadedModel]:
    experiment = open_untrained(spec, dataset)
    specimens = experiment.specimens(dataset, dataset.facts.splits.training)
    placement = placement or Placement()
    return Training(spec, experiment.model, len(specimens.trained), placement, execution), specimens, experiment


def train(
    spec: ExperimentSpec,
    dataset: PreparedDataset,
    *,
    execution: Execution = AT_EVERY_STEP,
    store: CheckpointStore | None = None,
    stop_after: int | None = None,
    score: Callable[[LoadedModel], float] | None = None,
) -> Trained:
    training, specimens, experiment = begun(spec, dataset, execution)
    if store:
        training.resume(store, pytest.fail)
    watcher = Watcher()
    listeners = [watcher, *([interruption(stop_after)] if stop_after is not None else [])]
    scored = (lambda: score(experiment)) if score else None
    try:
        fit(training, specimens, listeners, store, scored)
    except StopHereError:
        assert store is not None
        store.wait()
    return Trained({n: v.clone() for n, v in experiment.model.state_dict().items()}, watcher, training)
