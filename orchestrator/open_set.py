"""Open-set recognition as a function: from stored embeddings to what Tables 3, 15 and 16 are made of."""

import math
from dataclasses import asdict
from typing import Any

import pyarrow as pa
from rich.console import Console

from orchestrator.progress import stderr_console
from workloads.errors import MissingPathError
from workloads.evaluation.accuracy import KS
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.measure import write_evaluation
from workloads.evaluation.open_set import NUM_POINTS, open_set
from workloads.evaluation.open_set_outcomes import open_set_answers
from workloads.evaluation.stored import KEYS, queries_of, read_embedded, stored_parts
from workloads.evaluation.thresholds import Threshold
from workloads.intervals import with_intervals
from workloads.predictions import MISSING_RANK
from workloads.record import measurements_to_table, read_evaluation, seal_run
from workloads.spec import Recipe
from workloads.storage import Folder


def measure_open_set(
    run: Folder,
    classifier: Folder | None,
    target: Folder,
    recipe: Recipe | None = None,
    console: Console | None = None,
) -> None:
    """Choose thresholds, answer every query, measure; tables on stdout, and what they are made of in the folder.

    Args:
        run: an evaluated folder.
        classifier: a run that classifies, measured on the same queries; None leaves its rows out.
        target: where to write. In the run itself its own measurements stay: these are `open_set_measurements.parquet`.
        recipe: which thresholds are tried, and what a missing name does; None: the evaluation's.
        console: told of progress.

    Raises:
        MissingPathError: the folder is not an evaluated one, or the classifier has not seen its queries.
        UsageError: there are not the queries, keys and modalities that it takes (`open_set`).
    """
    settings = read_evaluation(run)
    queries, keys = _embedded(run)
    chosen: Recipe = recipe or settings["recipe"]
    predicted = None if classifier is None else _classified(classifier)
    count, console = sum(map(len, queries.values())), console or stderr_console()
    console.print(f"Answering {count:,} images of {settings['dataset']}")
    found, missing = open_set(queries, keys, chosen, predicted), MISSING_RANK[chosen]
    answers = open_set_answers(found.outcomes, found.specimens)
    measured = with_intervals(found.measurements, answers, missing, KS)
    target.remove("open_set.json")  # written last, so that it stands for files that belong together
    target.write_table("open_set.parquet", found.outcomes)
    target.write_table("open_set_specimens.parquet", found.specimens)
    if target.address == run.address:
        target.write_table("open_set_measurements.parquet", measurements_to_table(measured))
    else:
        write_evaluation(target, {**settings, "recipe": chosen}, measured)
    about = {name: settings[name] for name in ("dataset", "synthetic")} | {"recipe": chosen, "missing_rank": missing}
    about |= {"classifier": None if classifier is None else str(classifier), "chosen_on": "val"}
    thresholds = {name: _threshold(name, threshold, chosen) for name, threshold in found.thresholds.items()}
    target.write_json("open_set.json", {**about, "thresholds": thresholds})
    seal_run(target)


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


def _threshold(method: str, chosen: Threshold, recipe: Recipe) -> dict[str, Any]:
    """As JSON, which has no infinity: null calls every query seen."""
    rule = "grid" if method in NUM_POINTS[recipe] else "exact"
    return {**asdict(chosen), "value": chosen.value if math.isfinite(chosen.value) else None, "rule": rule}
