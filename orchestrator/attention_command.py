"""Carries out `clibd attention`: where the vision towers of some runs look, by who named the species."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from orchestrator.progress import stderr_console
from results.render import grid
from workloads.data.prepared import DatasetFacts, PreparedDataset
from workloads.errors import MissingPathError, SpecError, UsageError
from workloads.evaluation.attention_by_outcome import (
    Onlooker,
    Verdicts,
    Wanted,
    count_outcomes,
    store_attention,
)
from workloads.evaluation.image_predictions import image_predictions
from workloads.experiment import Experiment, open_experiment, open_run
from workloads.predictions import PREDICTIONS, Place, Predictions
from workloads.record import EVALUATION, RunFolder, read_evaluation
from workloads.spec import ExperimentSpec, Recipe
from workloads.storage import Folder
from workloads.training.placement import Placement

UNTRAINED = "No align"
"""What the figures call the towers before alignment."""


def attention_command(
    run_address: str,
    data: str,
    before: Sequence[str],
    untrained: bool,
    partition: str,
    number: int,
    recipe: Recipe | None,
    seed: int,
) -> None:
    """Look with every model at queries of every outcome; print how many queries had which."""
    console = stderr_console()
    dataset = PreparedDataset(Folder(data))
    if partition not in dataset.facts.splits.queries:
        raise UsageError(f"{dataset.facts.name} has no partition '{partition}'; choose --partition val or test")
    runs = [_finished(address) for address in (*before, run_address)]
    specs = [run.spec() for run in runs]
    evaluated = [evaluated_folder(run, spec, dataset.facts) for run, spec in zip(runs, specs, strict=True)]
    read = [Predictions.read(folder) for folder in evaluated]
    place = Place(partition, "image", "image")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    models = [
        Onlooker(Verdicts.of(name, predictions.answers(place)), _tower_of(run))
        for name, predictions, run in zip(model_names(specs), read, runs, strict=True)
    ]
    if untrained:
        console.print(f"Embedding {dataset.facts.name} ({partition}) with the towers of {runs[-1].id} before training")
        models.insert(0, _untrained(specs[-1], dataset, partition, device))
    specimens = read[-1].specimens
    species = dict(zip(specimens["specimen_id"].to_pylist(), specimens["species"].to_pylist(), strict=True))
    wanted = Wanted(partition=partition, number=number, recipe=recipe or specs[-1].recipe, seed=seed)
    about = {"runs": [run.id for run in runs], **_about(dataset.facts)}
    table = store_attention(models, dataset, species, wanted, evaluated[-1], about, device)
    print(_counts([model.verdicts for model in models], partition, dataset.facts.synthetic))
    console.print(f"{len(table):,} maps (recipe {wanted.recipe}): {evaluated[-1]}/attention-{partition}.parquet")


def evaluated_folder(run: RunFolder, spec: ExperimentSpec, facts: DatasetFacts) -> Folder:
    """Where a run's predictions for a data set are: of another one in `evaluation-NAME`, of its own in the run itself.

    Raises:
        MissingPathError: it was not evaluated on this data set.
    """
    evaluation = run.folder / f"evaluation-{facts.name}"
    if evaluation.has(PREDICTIONS) and _was_of(evaluation) == facts.fingerprint:
        return evaluation
    own = (spec.dataset, spec.data_fingerprint) == (facts.name, facts.fingerprint)
    if own and run.folder.has(PREDICTIONS):
        return run.folder
    raise MissingPathError(
        str(run.folder), f"evaluation on {facts.name}", f"Run `clibd evaluate {run.folder} --data DIR` first."
    )


def _was_of(evaluation: Folder) -> str | None:
    """The fingerprint of the data set that was evaluated; None where measuring was interrupted."""
    return str(read_evaluation(evaluation)["data_fingerprint"]) if evaluation.has(EVALUATION) else None


def model_names(specs: Sequence[ExperimentSpec]) -> list[str]:
    """What each model aligned, such as I+D+T; with a number where two aligned the same."""
    names = ["+".join(modality[0].upper() for modality in spec.modalities) for spec in specs]
    return [
        f"{name} ({names[: place + 1].count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def _finished(address: str) -> RunFolder:
    run = RunFolder(Folder(address))
    if run.state() != "finished":
        raise MissingPathError(address, "finished run", "Name a run folder of a sweep, RUNS/SWEEP/RUN.")
    if run.spec().objective == "classify":
        raise UsageError(f"{run.id} is a classifier, which is not asked for the nearest image; name an aligned run")
    return run


def _tower_of(run: RunFolder) -> Callable[[], tuple[nn.Module, int]]:
    return lambda: _image_tower(open_run(run))


def _image_tower(experiment: Experiment) -> tuple[nn.Module, int]:
    if "image" not in experiment.model.towers:
        raise SpecError(f"{experiment.spec.id} has no image tower whose attention could be shown")
    return experiment.model.towers["image"], experiment.spec.image.image_size


def _untrained(spec: ExperimentSpec, dataset: PreparedDataset, partition: str, device: torch.device) -> Onlooker:
    """The towers of a spec with the weights that they begin with; their heads are as drawn."""
    experiment = open_experiment(spec, dataset)
    experiment.model.to(device)
    predictions = image_predictions(experiment, dataset, partition, Placement.here(device))
    answers = predictions.answers(Place(partition, "image", "image"))
    return Onlooker(Verdicts.of(UNTRAINED, answers), lambda: _image_tower(experiment))


def _about(facts: DatasetFacts) -> dict[str, Any]:
    return {"dataset": facts.name, "data_fingerprint": facts.fingerprint, "synthetic": facts.synthetic}


def _counts(models: Sequence[Verdicts], partition: str, synthetic: bool) -> str:
    """A line for each subset and outcome."""
    body = [[subset, *outcome.split(), f"{count}"] for (subset, outcome), count in count_outcomes(models).items()]
    title = f"Species named by the nearest image, {partition} queries{' (SYNTHETIC specimens)' if synthetic else ''}"
    return f"{title}\n\n{grid(['Species', *(model.name for model in models), 'queries'], body)}"
