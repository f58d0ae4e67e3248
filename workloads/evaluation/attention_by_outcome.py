"""Attention of chosen queries, by whether models before and after alignment named their species (Figures 5, 11 to 13).

Several models are asked for the same images: the nearest image among the keys decides whether each names the species.
An outcome is the list of these verdicts, such as `wrong right`: the first model failed, the last succeeded.

    attention-test.parquet   a row for each chosen test query and model: specimen_id, partition, subset, outcome, model,
                             run, right, truth, key_id, found (the species of that key), grid_side, values (by row)
    attention-test.json      the models, the settings, and how many queries had each outcome
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from workloads.arrays import Floats, Mask, Names
from workloads.data.inputs.pictures import Extent, find_pictures, square
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import EmbeddingsError, UsageError
from workloads.evaluation.attention import ROLLOUTS, attention_masks
from workloads.predictions import Answers
from workloads.spec import Recipe
from workloads.storage import Folder

EXTENTS: dict[Recipe, Extent] = {"paper": "whole", "authors": "whole", "corrected": "middle"}
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


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What one model answered to images, by the nearest image among the keys."""

    name: str
    """Of the model, as figures print it."""
    ids: Names
    """Queries whose species is known, (queries,)."""
    subset: Names
    """`seen` or `unseen`, (queries,)."""
    right: Mask
    """(queries,)."""
    key_ids: Names
    """(queries,)."""

    @staticmethod
    def of(name: str, answers: Answers) -> "Verdicts":
        """The verdicts of a retrieval, by specimen id.

        Raises:
            EmbeddingsError: not one query has a species.
        """
        known = np.flatnonzero(answers.counted("species", "left_out"))
        if not len(known):
            raise EmbeddingsError(f"no query of {answers.place.partition} has a species to be right about", name)
        order = known[np.argsort(answers.ids[known].astype(str), kind="stable")]
        right, nearest = answers.hits("species")[order], answers.key_ids[order, 0]
        return Verdicts(name, answers.ids[order], answers.subset[order], right, nearest)


@dataclass(frozen=True, slots=True)
class Onlooker:
    """A model whose attention is asked for."""

    verdicts: Verdicts
    tower: Callable[[], tuple[nn.Module, int]]
    """Opens its image tower, and says which side of images that takes; called when its turn comes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which attention to store."""

    partition: str = "val"
    number: int = 6
    """Queries of each outcome and subset, or all where there are fewer."""
    recipe: Recipe = "corrected"
    seed: int = 42
    """Of the choice among queries of one outcome."""


def outcomes(models: Sequence[Verdicts]) -> list[str]:
    """Of every query the verdicts on all models, such as `wrong right`, in the order of the ids.

    Raises:
        UsageError: the models were not asked the same queries.
    """
    for model in models[1:]:
        if not np.array_equal(model.ids, models[0].ids):
            both = f"{models[0].name} and {model.name}"
            raise UsageError(f"{both} were not asked the same queries; evaluate both on one data set")
    rights = np.stack([model.right for model in models], axis=1)
    return [" ".join("right" if right else "wrong" for right in row) for row in rights.tolist()]


def count_outcomes(models: Sequence[Verdicts]) -> dict[tuple[str, str], int]:
    """How many queries had each outcome, by subset and outcome, in alphabetical order."""
    return dict(sorted(Counter(zip(models[0].subset.tolist(), outcomes(models), strict=True)).items()))


def choose(models: Sequence[Verdicts], number: int, seed: int) -> list[int]:
    """Rows of the queries to show: of each subset and outcome so many, drawn evenly, then in the order of their ids."""
    places: dict[tuple[str, str], list[int]] = {}
    for row, place in enumerate(zip(models[0].subset.tolist(), outcomes(models), strict=True)):
        places.setdefault(place, []).append(row)
    random = np.random.default_rng(seed)
    chosen: list[int] = []
    for _, rows in sorted(places.items()):
        chosen += sorted(random.permutation(rows)[:number].tolist())
    return chosen


def store_attention(
    models: Sequence[Onlooker],
    dataset: PreparedDataset,
    species_of: Mapping[str, str | None],
    wanted: Wanted,
    target: Folder,
    about: Mapping[str, Any],
    device: torch.device,
) -> pa.Table:
    """Choose queries by outcome, look at them with every model, and write both files.

    Args:
        models: in the order of the figure, what came before first.
        dataset: with the partition's queries.
        species_of: species of queries and keys by specimen id.
        wanted: which and how many.
        target: the evaluated folder.
        about: what else the JSON file says, of the data set and the runs.
        device: where the towers run.

    Returns:
        What the Parquet file holds.
    """
    verdicts = [model.verdicts for model in models]
    names = outcomes(verdicts)
    rows = choose(verdicts, wanted.number, wanted.seed)
    queries = list(dataset.facts.splits.queries[wanted.partition].values())
    pictures = find_pictures(dataset, queries, verdicts[0].ids[rows].tolist())
    columns: list[pa.Table] = []
    for number, model in enumerate(models):
        ids = model.verdicts.ids[rows].tolist()
        masks = _masks(model, pictures, ids, wanted.recipe, device)
        keys = model.verdicts.key_ids[rows].tolist()
        columns.append(
            pa.table(
                {
                    "specimen_id": ids,
                    "partition": [wanted.partition] * len(ids),
                    "subset": model.verdicts.subset[rows].tolist(),
                    "outcome": [names[row] for row in rows],
                    "model": [number] * len(ids),
                    "run": [model.verdicts.name] * len(ids),
                    "right": model.verdicts.right[rows].tolist(),
                    "truth": [species_of[specimen] for specimen in ids],
                    "key_id": keys,
                    "found": [species_of.get(key) for key in keys],
                    "grid_side": [len(mask) for mask in masks],
                    "values": [mask.ravel() for mask in masks],
                },
                schema=SCHEMA,
            )
        )
    table = pa.concat_tables(columns)
    counts = [{"subset": of[0], "outcome": of[1], "queries": n} for of, n in count_outcomes(verdicts).items()]
    said = {
        **about,
        "models": [verdict.name for verdict in verdicts],
        **asdict(wanted),
        "rollout": asdict(ROLLOUTS[wanted.recipe]),
        "extent": EXTENTS[wanted.recipe],
        "outcomes": counts,
    }
    name = f"attention-{wanted.partition}"
    target.remove(f"{name}.json")  # written last, so that it stands for the table beside
    target.write_table(f"{name}.parquet", table)
    target.write_json(f"{name}.json", said)
    return table


def _masks(
    model: Onlooker, pictures: Mapping[str, bytes], ids: Sequence[str], recipe: Recipe, device: torch.device
) -> list[Floats]:
    """Where one model looks in some pictures, (side, side) each; the tower is let go afterwards."""
    tower, side = model.tower()
    tower.to(device)
    masks: list[Floats] = []
    for start in range(0, len(ids), _BATCH):
        squares = [square(pictures[specimen], side, EXTENTS[recipe]) for specimen in ids[start : start + _BATCH]]
        images = torch.from_numpy(np.stack(squares)).to(device).permute(0, 3, 1, 2)
        masks += list(attention_masks(tower, images, ROLLOUTS[recipe]).cpu().numpy())
    return masks
