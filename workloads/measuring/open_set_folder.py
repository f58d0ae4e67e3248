"""Measures open-set recognition: from stored embeddings to what Tables 3, 15 and 16 are made of."""

from dataclasses import asdict
from typing import Any

from workloads.calibration import finite
from workloads.command_line import stderr_console
from workloads.errors import MissingPathError
from workloads.evaluation.embedded import KEYS, queries_of
from workloads.evaluation.measure import write_evaluation
from workloads.evaluation.open_set import NUM_POINTS, open_set, open_set_measurements
from workloads.evaluation.stored import read_parts
from workloads.predictions import MISSING_RANK
from workloads.record import measurements_to_table, read_evaluation
from workloads.seals import seal_run, sealed_folder, unseal_run
from workloads.spec import Recipe
from workloads.storage import Folder
from workloads.threshold import Threshold

_WRITTEN = ("open_set.json", "open_set.parquet", "open_set_specimens.parquet", "open_set_measurements.parquet")


def measure_open_set(run: Folder, classifier: Folder | None, target: Folder, recipe: Recipe | None = None) -> None:
    """Choose thresholds, answer every query, measure, and leave what the tables are made of in the folder.

    Args:
        run: an evaluated folder.
        classifier: a run that classifies, measured on the same queries; None leaves its rows out.
        target: where to write. In the run itself its own measurements stay: these are `open_set_measurements.parquet`.
        recipe: which thresholds are tried, and what a missing name does; None: the evaluation's.

    Raises:
        MissingPathError: the folder is not an evaluated one, or the classifier has not seen its queries.
        UsageError: there are not the queries, keys and modalities that it takes (`open_set`).
    """
    settings = read_evaluation(run)
    parts = read_parts(run)
    if KEYS not in parts:
        remedy = "Name an evaluated folder: a run, or what `clibd evaluate` wrote."
        raise MissingPathError(str(run), "stored embeddings", remedy)
    queries = queries_of(parts)
    chosen: Recipe = recipe or settings["recipe"]
    classified = None if classifier is None else sealed_folder(classifier)
    if classified is not None and not classified.has("classifier.parquet"):
        remedy = "Name a run of `clibd train classify`, or its evaluation of this data."
        raise MissingPathError(str(classifier), "classifier.parquet", remedy)
    predicted = None if classified is None else classified.read_table("classifier.parquet")
    count = sum(map(len, queries.values()))
    stderr_console().print(f"Answering {count:,} images of {settings['dataset']}")
    found, missing = open_set(queries, parts[KEYS], chosen, predicted), MISSING_RANK[chosen]
    measured = open_set_measurements(found.outcomes, found.specimens, missing)
    unseal_run(target, *_WRITTEN)
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


def _threshold(method: str, chosen: Threshold, recipe: Recipe) -> dict[str, Any]:
    """As JSON."""
    rule = "grid" if method in NUM_POINTS[recipe] else "exact"
    return {**asdict(chosen), "value": finite(chosen.value), "rule": rule}
