"""Measures attention: where the vision towers of some runs look, by who named the species (Figures 5, 11 to 13).

Several models are asked for the same images: the nearest image among the keys decides whether each names the species.
An outcome is the list of these verdicts, such as `wrong right`: the first model failed, the last succeeded.

    attention-test.parquet   a row for each chosen test query and model: specimen_id, partition, subset, outcome, model,
                             run, right, truth, key_id, found (the species of that key), grid_side, values (by row)
    attention-test.json      the models, the settings, and how many queries had each outcome
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from workloads.arrays import Floats
from workloads.command_line import stderr_console
from workloads.data.inputs.image_views import Extent, evaluation_view
from workloads.data.prepared.dataset import DatasetFacts, PreparedDataset
from workloads.errors import EmbeddingsError, MissingPathError, SpecError, UsageError
from workloads.evaluation.attention import ROLLOUTS, attention_masks
from workloads.evaluation.embed import embed_all
from workloads.evaluation.evaluate import Questions, find_answers
from workloads.evaluation.measure import about_data, write_evaluation
from workloads.models.loaded import LoadedModel, open_run, open_untrained
from workloads.naming import slug
from workloads.placement import Placement, loaders_beside, this_device
from workloads.predictions import PREDICTIONS, Answers, Place, Predictions
from workloads.record import EVALUATION, RunFolder, read_evaluation
from workloads.seals import seal_run, unseal_run
from workloads.spec import ExperimentSpec, Recipe
from workloads.storage import Folder

UNTRAINED = "No align"
"""What the figures call the towers before alignment."""
_EXTENTS: dict[Recipe, Extent] = {"paper": "whole", "authors": "whole", "corrected": "middle"}
"""The authors' script squeezes the whole image into the square; `corrected` shows what was embedded and answered."""
_BATCH = 8  # five blocks of 12 heads and 197 tokens take 9 MB an image

SCHEMA = pa.schema(
    {
        **dict.fromkeys(("specimen_id", "partition", "subset", "outcome"), pa.string()),
        "model": pa.int64(),
        "run": pa.string(),
        "right": pa.bool_(),
        **dict.fromkeys(("truth", "key_id", "found"), pa.string()),
        "grid_side": pa.int64(),
        "values": pa.list_(pa.float32()),
    }
)

_OpenTower = Callable[[], tuple[nn.Module, int]]
"""Opens an image tower, and says which side of images it takes; called when its turn comes."""


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
) -> Folder:
    """Look with every model at queries of every outcome, and store the maps.

    Args:
        run: finished and evaluated on the data set.
        data: prepared data set, for its images.
        target: where to write; None: where the run was evaluated on the data set.
        before: other evaluated runs to compare with.
        untrained: whether to compare with the run's towers before training too; it embeds all images.
        partition: whose queries.
        number: queries of each outcome, of seen and of unseen species, or all where there are fewer.
        recipe: how attention is rolled out; None: the run's.
        seed: of the choice among queries of one outcome.

    Returns:
        The folder, with `attention-PARTITION.parquet`, and `.json` written last.

    Raises:
        MissingPathError: a run is not finished, or not evaluated on the data set.
        UsageError: a classifier, or a partition that the data set does not have.
        SpecError: a tower has no attention to show.
    """
    dataset = PreparedDataset(data)
    if partition not in dataset.facts.splits.queries:
        raise UsageError(f"{dataset.facts.name} has no partition '{partition}'; choose --partition val or test")
    runs = [_finished(folder) for folder in (*before, run)]
    specs = [each.spec() for each in runs]
    evaluated = [evaluated_folder(each, spec, dataset.facts) for each, spec in zip(runs, specs, strict=True)]
    read = [Predictions.read(folder) for folder in evaluated]
    place, names = Place(partition, "image", "image"), _model_names(specs)
    answers = {name: to_known(own.answers(place), name) for name, own in zip(names, read, strict=True)}
    towers: dict[str, _OpenTower] = {name: partial(_tower_of, each) for name, each in zip(names, runs, strict=True)}
    if untrained:
        own, towers[UNTRAINED] = _untrained(specs[-1], dataset, partition, runs[-1].id)
        answers = {UNTRAINED: own, **answers}
    recipe = recipe or specs[-1].recipe
    outcomes = by_outcome(answers)
    said = {
        "runs": [each.id for each in runs],
        **about_data(dataset.facts),
        "models": list(answers),
        **{"partition": partition, "number": number, "recipe": recipe, "seed": seed},
        **{"rollout": asdict(ROLLOUTS[recipe]), "extent": _EXTENTS[recipe]},
        "outcomes": [{"subset": of[0], "outcome": of[1], "queries": len(rows)} for of, rows in outcomes.items()],
    }
    looked = _looked(answers, towers, choose(outcomes, number, seed), dataset, read[-1].specimens, recipe)
    if target is not None:
        write_evaluation(target, {**about_data(dataset.facts), "recipe": recipe}, [])
    return _stored(target or evaluated[-1], said, looked)


def evaluated_folder(run: RunFolder, spec: ExperimentSpec, facts: DatasetFacts) -> Folder:
    """Where a run's predictions for a data set are: of another one in `evaluation-NAME`, of its own in the run itself.

    Raises:
        MissingPathError: it was not evaluated on this data set.
    """
    evaluation = run.folder / f"evaluation-{slug(facts.name)}"
    measured = evaluation.has(PREDICTIONS) and evaluation.has(EVALUATION)  # the latter last
    if measured and read_evaluation(evaluation)["data_fingerprint"] == facts.fingerprint:
        return evaluation
    own = (spec.dataset, spec.data_fingerprint) == (facts.name, facts.fingerprint)
    if own and run.folder.has(PREDICTIONS):
        return run.folder
    raise MissingPathError(
        str(run.folder), f"evaluation on {facts.name}", f"Run `clibd evaluate {run.folder} --data DIR` first."
    )


def _model_names(specs: Sequence[ExperimentSpec]) -> list[str]:
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
    return image_tower(open_run(run))


def image_tower(experiment: LoadedModel) -> tuple[nn.Module, int]:
    """The image tower of a model, and the side of the images that it takes.

    Raises:
        SpecError: it has none.
    """
    if "image" not in experiment.model.towers:
        raise SpecError(f"{experiment.spec.id} has no image tower whose attention could be shown")
    return experiment.model.towers["image"], experiment.spec.image.image_size


def _untrained(spec: ExperimentSpec, dataset: PreparedDataset, partition: str, run: str) -> tuple[Answers, _OpenTower]:
    """The towers of a run with the weights that they begin with; their heads are as drawn."""
    told = f"Embedding {dataset.facts.name} ({partition}) with the towers of {run} before training"
    stderr_console().print(told)
    experiment, device = open_untrained(spec, dataset), this_device()
    experiment.model.to(device)
    predictions = image_predictions(experiment, dataset, partition, Placement.here(device, loaders_beside(device)))
    answers = predictions.answers(Place(partition, "image", "image"))
    return to_known(answers, UNTRAINED), partial(image_tower, experiment)


def image_predictions(
    experiment: LoadedModel, dataset: PreparedDataset, partition: str, placement: Placement
) -> Predictions:
    """What a model that was never evaluated answers: embeds a partition's images and those of all keys, and searches.

    Args:
        experiment: with a model on `placement.device`.
        dataset: with pixels as images.
        partition: `val` or `test`.
        placement: this process.

    Raises:
        MissingPathError: the data set has no keys, or no queries in the partition.
    """
    splits = dataset.facts.splits
    asking = experiment.specimens(dataset, list(splits.queries.get(partition, {}).values()), ["image"])
    answering = experiment.specimens(dataset, splits.keys, ["image"])
    queries, keys = (embed_all(experiment, specimens, placement) for specimens in (asking, answering))
    return find_answers(keys, {partition: queries}, Questions(pairs=[("image", "image")]))


def to_known(answers: Answers, name: str) -> Answers:
    """The answers of a model of this name to queries whose species is known, by specimen id.

    Raises:
        EmbeddingsError: not one query has a species.
    """
    known = np.flatnonzero(answers.counted("species", "left_out"))
    if not len(known):
        raise EmbeddingsError(f"no query of {answers.place.partition} has a species to be right about", name)
    return answers.take(known[np.argsort(answers.ids[known].astype(str), kind="stable")])


def by_outcome(models: Mapping[str, Answers]) -> dict[tuple[str, str], list[int]]:
    """Rows of the queries by subset and by the verdicts on all models, such as `wrong right`; both in the alphabet.

    Args:
        models: what each answered (`to_known`), by its name.

    Raises:
        UsageError: the models were not asked the same queries.
    """
    (first, asked), *others = models.items()
    for name, answers in others:
        if not np.array_equal(answers.ids, asked.ids):
            raise UsageError(f"{first} and {name} were not asked the same queries; evaluate both on one data set")
    verdicts = [np.where(answers.hits("species"), "right", "wrong").tolist() for answers in models.values()]
    rows: dict[tuple[str, str], list[int]] = {}
    for row, (subset, *outcome) in enumerate(zip(asked.subset, *verdicts, strict=True)):
        rows.setdefault((subset, " ".join(outcome)), []).append(row)
    return dict(sorted(rows.items()))


def choose(rows: Mapping[tuple[str, str], Sequence[int]], number: int, seed: int) -> dict[tuple[str, str], list[int]]:
    """So many queries of each subset and outcome, or all where there are fewer, drawn evenly, then in order."""
    random = np.random.default_rng(seed)
    return {place: sorted(random.permutation(own)[:number].tolist()) for place, own in rows.items()}


def _stored(target: Folder, said: Mapping[str, Any], looked: pa.Table) -> Folder:
    name = f"attention-{said['partition']}"
    unseal_run(target, f"{name}.json", f"{name}.parquet")
    target.remove(f"{name}.json")  # written last, so that it stands for the table beside
    target.write_table(f"{name}.parquet", looked)
    target.write_json(f"{name}.json", said)
    seal_run(target)
    return target


def _looked(
    models: Mapping[str, Answers],
    towers: Mapping[str, _OpenTower],
    chosen: Mapping[tuple[str, str], Sequence[int]],
    dataset: PreparedDataset,
    specimens: pa.Table,
    recipe: Recipe,
) -> pa.Table:
    """Look at the chosen queries with every model.

    Args:
        models: their answers, in the order of the figure, what came before first.
        towers: of each.
        chosen: rows of the queries, by subset and outcome.
        dataset: with their images.
        specimens: names of queries and keys.
        recipe: how attention is rolled out.
    """
    queries = [(*place, row) for place, own in chosen.items() for row in own]
    asked = next(iter(models.values()))
    partition, ids = asked.place.partition, asked.ids[[row for *_, row in queries]].tolist()
    pictures = dataset.images(dataset.facts.splits.asking(partition), ids)
    species = dict(zip(specimens["specimen_id"].to_pylist(), specimens["species"].to_pylist(), strict=True))
    looked = []
    for place, (name, answers) in enumerate(models.items()):
        right, keys = answers.hits("species"), answers.key_ids[:, 0]
        looks = masks(towers[name], [pictures[specimen] for specimen in ids], recipe)
        looked += [
            {
                "specimen_id": specimen,
                "partition": partition,
                "subset": subset,
                "outcome": outcome,
                "model": place,
                "run": name,
                "right": bool(right[row]),
                "truth": species[specimen],
                "key_id": keys[row],
                "found": species.get(keys[row]),
                "grid_side": len(mask),
                "values": mask.ravel(),
            }
            for (subset, outcome, row), specimen, mask in zip(queries, ids, looks, strict=True)
        ]
    return pa.Table.from_pylist(looked, schema=SCHEMA)


def masks(open_tower: _OpenTower, pictures: Sequence[bytes], recipe: Recipe) -> list[Floats]:
    """Where one model looks in some pictures, (rows, columns) each; the tower is let go afterwards.

    Raises:
        RecordError: a picture does not decode.
        SpecError: the attention of the tower cannot be followed.
    """
    (tower, side), device = open_tower(), this_device()
    tower.to(device)
    found: list[Floats] = []
    for start in range(0, len(pictures), _BATCH):
        squares = [evaluation_view(content, side, _EXTENTS[recipe]) for content in pictures[start : start + _BATCH]]
        images = torch.from_numpy(np.stack(squares)).to(device).permute(0, 3, 1, 2)
        found += list(attention_masks(tower, images, ROLLOUTS[recipe]).cpu().numpy())
    return found
