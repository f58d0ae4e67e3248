"""Carries out `clibd open-set`: from stored embeddings to Tables 3, 15 and 16."""

import math
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from orchestrator.progress import stderr_console
from results.open_set_table import NUMBERS, render_open_set_tables
from results.render import Format
from workloads.errors import MissingPathError
from workloads.evaluation.accuracy import KS
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.open_set import NUM_POINTS, OpenSet, open_set
from workloads.evaluation.open_set_outcomes import open_set_answers
from workloads.evaluation.stored import KEYS, queries_of, read_embedded, stored_parts
from workloads.evaluation.thresholds import Threshold
from workloads.intervals import with_intervals
from workloads.predictions import MISSING_RANK
from workloads.record import measurements_to_table, read_evaluation
from workloads.spec import Recipe
from workloads.storage import Folder


def open_set_command(run: str, classifier: str | None, recipe: Recipe | None, form: Format) -> None:
    """Choose thresholds, answer every query, measure; tables on stdout, and what they are made of in the folder.

    Raises:
        MissingPathError: the folder is not an evaluated one, or the classifier has not seen its queries.
        UsageError: there are not the queries, keys and modalities that it takes (`open_set`).
    """
    console, folder = stderr_console(), Folder(run)
    settings = read_evaluation(folder)
    queries, keys = _embedded(folder)
    chosen: Recipe = recipe or settings["recipe"]
    predicted = None if classifier is None else _classified(Folder(classifier))
    console.print(f"Answering {sum(map(len, queries.values())):,} images of {settings['dataset']}")
    found = open_set(queries, keys, chosen, predicted)
    _write(folder, found, chosen, {**settings, "classifier": classifier})
    print(render_open_set_tables(NUMBERS, folder, form))
    console.print(f"open_set.json and its tables: {folder}")


def _embedded(folder: Folder) -> tuple[dict[str, Embedded], Embedded]:
    parts = stored_parts(folder)
    if KEYS not in parts:
        raise MissingPathError(
            str(folder), "stored embeddings", "Name an evaluated folder: a run, or what `clibd evaluate` wrote."
        )
    found = {part: read_embedded(folder, part) for part in parts}
    return queries_of(found), found[KEYS]


def _classified(folder: Folder) -> pa.Table:
    if not folder.has("classifier.parquet"):
        raise MissingPathError(
            str(folder), "classifier.parquet", "Name a run of `clibd train classify`, or its evaluation of this data."
        )
    return folder.read_table("classifier.parquet")


def _write(folder: Folder, found: OpenSet, recipe: Recipe, settings: dict[str, Any]) -> None:
    missing = MISSING_RANK[recipe]
    answers = open_set_answers(found.outcomes, found.specimens)
    measurements = with_intervals(found.measurements, answers, missing, KS)
    folder.remove("open_set.json")  # written last, so that it stands for files that belong together
    folder.write_table("open_set.parquet", found.outcomes)
    folder.write_table("open_set_specimens.parquet", found.specimens)
    folder.write_table("open_set_measurements.parquet", measurements_to_table(measurements))
    folder.write_json(
        "open_set.json",
        {
            "dataset": settings["dataset"],
            "synthetic": settings["synthetic"],
            "recipe": recipe,
            "missing_rank": missing,
            "classifier": settings["classifier"],
            "chosen_on": "val",
            "thresholds": {name: _threshold(name, chosen, recipe) for name, chosen in found.thresholds.items()},
        },
    )


def _threshold(method: str, chosen: Threshold, recipe: Recipe) -> dict[str, Any]:
    """As JSON, which has no infinity: null calls every query seen."""
    rule = "grid" if method in NUM_POINTS[recipe] else "exact"
    return {**asdict(chosen), "value": chosen.value if math.isfinite(chosen.value) else None, "rule": rule}
