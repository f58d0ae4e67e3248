"""Attention as a function: where the vision towers of some runs look, by who named the species."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from rich.console import Console
from torch import nn

from orchestrator.evaluating import this_device
from orchestrator.progress import stderr_console
from workloads.data.prepared.dataset import DatasetFacts, PreparedDataset
from workloads.errors import MissingPathError, SpecError, UsageError
from workloads.evaluation.attention_by_outcome import Onlooker, Verdicts, Wanted, store_attention
from workloads.evaluation.image_predictions import image_predictions
from workloads.evaluation.measure import write_evaluation
from workloads.models.loaded import LoadedModel, open_run, open_untrained
from workloads.placement import Placement
from workloads.predictions import PREDICTIONS, Place, Predictions
from workloads.record import EVALUATION, RunFolder, read_evaluation, seal_run
from workloads.spec import ExperimentSpec, Recipe
from workloads.storage import Folder

UNTRAINED = "No align"
"""What the figures call the towers before alignment."""


def measure_attention(
    run: Folder,
    data: Folder,
    target: Folder | None = None,
    before: Sequence[Folder] = (),
    untrained: bool = True,
    partition: str = "val",
    number: int = 6,
    recipe: Recipe | None = None,
    seed: int = 42,
    console: Console | None = None,
) -> Folder:
    """Look with every model at queries of every outcome, and store the maps.

    Args:
        run: finished and evaluated on the data set.
        data: prepared data set, for its images.
        target: where to write; None: where the run was evaluated on the data set.
        before: other evaluated runs to compare with.
        untrained: whether to compare with the run's towers before training too; it embeds all images.
        partition: whose queries.
        number: queries of each outcome, of seen and of unseen species.
        recipe: how attention is rolled out; None: the run's.
        seed: of the choice among queries of one outcome.
        console: told of progress.

    Returns:
        The folder, with `attention-PARTITION.parquet`, and `.json` written last.

    Raises:
        MissingPathError: a run is not finished, or not evaluated on the data set.
        UsageError: a classifier, or a partition that the data set does not have.
        SpecError: a tower has no attention to show.
    """
    console = console or stderr_console()
    dataset = PreparedDataset(data)
    if partition not in dataset.facts.splits.queries:
        raise UsageError(f"{dataset.facts.name} has no partition '{partition}'; choose --partition val or test")
    runs = [_finished(folder) for folder in (*before, run)]
    specs = [each.spec() for each in runs]
    evaluated = [evaluated_folder(each, spec, dataset.facts) for each, spec in zip(runs, specs, strict=True)]
    read = [Predictions.read(folder) for folder in evaluated]
    place = Place(partition, "image", "image")
    device = this_device()
    models = [
        Onlooker(Verdicts.of(name, predictions.answers(place)), partial(_tower_of, each))
        for name, predictions, each in zip(model_names(specs), read, runs, strict=True)
    ]
    if untrained:
        console.print(f"Embedding {dataset.facts.name} ({partition}) with the towers of {runs[-1].id} before training")
        models.insert(0, _untrained(specs[-1], dataset, partition, device))
    specimens = read[-1].specimens
    species = dict(zip(specimens["specimen_id"].to_pylist(), specimens["species"].to_pylist(), strict=True))
    wanted = Wanted(partition=partition, number=number, recipe=recipe or specs[-1].recipe, seed=seed)
    if target is not None:
        write_evaluation(target, {**_about(dataset.facts), "recipe": wanted.recipe}, [])
    about = {"runs": [each.id for each in runs], **_about(dataset.facts)}
    target = target or evaluated[-1]
    store_attention(models, dataset, species, wanted, target, about, device)
    seal_run(target)
    return target


def evaluated_folder(run: RunFolder, spec: ExperimentSpec, facts: DatasetFacts) -> Folder:
    """Where a run's predictions for a data set are: of another one in `evaluation-NAME`, of its own in the run itself.

    Raises:
        MissingPathError: it was not evaluated on this data set.
    """
    evaluation = run.folder / f"evaluation-{facts.name}"
    measured = evaluation.has(PREDICTIONS) and evaluation.has(EVALUATION)  # the latter last
    if measured and read_evaluation(evaluation)["data_fingerprint"] == facts.fingerprint:
        return evaluation
    own = (spec.dataset, spec.data_fingerprint) == (facts.name, facts.fingerprint)
    if own and run.folder.has(PREDICTIONS):
        return run.folder
    raise MissingPathError(
        str(run.folder), f"evaluation on {facts.name}", f"Run `clibd evaluate {run.folder} --data DIR` first."
    )


def model_names(specs: Sequence[ExperimentSpec]) -> list[str]:
    """What each model aligned, such as I+D+T; with a number where two aligned the same."""
    names = ["+".join(modality[0].upper() for modality in spec.modalities) for spec in specs]
    places = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [f"{name} ({at})" if names.count(name) > 1 else name for name, at in zip(names, places, strict=True)]


def _finished(folder: Folder) -> RunFolder:
    run = RunFolder(folder)
    if run.state() != "finished":
        raise MissingPathError(str(folder), "finished run", "Name a run folder of a sweep, RUNS/SWEEP/RUN.")
    if run.spec().objective == "classify":
        raise UsageError(f"{run.id} is a classifier, which is not asked for the nearest image; name an aligned run")
    return run


def _tower_of(run: RunFolder) -> tuple[nn.Module, int]:
    return _image_tower(open_run(run))


def _image_tower(experiment: LoadedModel) -> tuple[nn.Module, int]:
    if "image" not in experiment.model.towers:
        raise SpecError(f"{experiment.spec.id} has no image tower whose attention could be shown")
    return experiment.model.towers["image"], experiment.spec.image.image_size


def _untrained(spec: ExperimentSpec, dataset: PreparedDataset, partition: str, device: torch.device) -> Onlooker:
    """The towers of a spec with the weights that they begin with; their heads are as drawn."""
    experiment = open_untrained(spec, dataset)
    experiment.model.to(device)
    predictions = image_predictions(experiment, dataset, partition, Placement.here(device))
    answers = predictions.answers(Place(partition, "image", "image"))
    return Onlooker(Verdicts.of(UNTRAINED, answers), lambda: _image_tower(experiment))


def _about(facts: DatasetFacts) -> dict[str, Any]:
    return {"dataset": facts.name, "data_fingerprint": facts.fingerprint, "synthetic": facts.synthetic}
