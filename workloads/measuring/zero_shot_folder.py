"""Measures Bayesian zero-shot learning: reads features, tunes on validation, measures the test once, keeps all."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from workloads.arrays import Indices
from workloads.bzsl.feature_source import FeatureSource, read_source
from workloads.bzsl.model import SurrogateModel
from workloads.bzsl.scoring import Score, nearest_mean, zero_shot_accuracies
from workloads.bzsl.settings import (
    GRID,
    PUBLISHED_COMPONENTS,
    PUBLISHED_DEFAULTS,
    ScaleForm,
    Setting,
    SettingSearch,
)
from workloads.bzsl.task import ZeroShotTask, zero_shot_task
from workloads.bzsl.tuning import Tuned, tune_freely, tune_on_grid
from workloads.command_line import counting, stderr_console
from workloads.errors import UsageError
from workloads.evaluation.measure import write_evaluation
from workloads.evaluation.stored import stored_parts
from workloads.predictions import MISSING_RANK
from workloads.record import provenance
from workloads.seals import seal_run, unseal_run
from workloads.spec import Recipe
from workloads.storage import Folder


def measure_zero_shot(
    images: str,
    dna: str | None = None,
    target: Folder | None = None,
    recipe: Recipe = "corrected",
    seed: int = 42,
    form: ScaleForm | None = None,
    search: SettingSearch = "grid",
    trials: int | None = None,
    hours: float | None = None,
    num_components: int | None = PUBLISHED_COMPONENTS,
    made: Mapping[str, Any] | None = None,
) -> Folder:
    """Tune the surrogate-species model on validation and measure the test once, with the chosen setting.

    Args:
        images: INSECT's folder, an evaluated run's address, or a folder of arrays (`read_source`).
        dna: takes the DNA of each species from this one; None: from the same.
        target: where to write; None: `bzsl` in the run, or in the working directory.
        recipe: how species' DNA is put together, and what a missing name does.
        seed: of drawn partitions and of the search.
        form: of a seen species' covariance; None: the recipe's.
        search: over the paper's grid, freely, or not at all.
        trials: settings that a free search tries.
        hours: that it may take.
        num_components: principal components of the images; 0: the features as they are; None: the published 500, or
            what few specimens allow.
        made: provenance of the folder, where a process that is not the user's command measures; None: of this process.

    Returns:
        The folder.

    Raises:
        UsageError: a limit of the free search without one.
        MissingPathError, SourceError, EmbeddingsError, DamagedError, ZeroShotError: as the parts say.
    """
    if search != "optuna" and (trials is not None or hours is not None):
        raise UsageError(f"--trials and --hours belong to --search optuna, not to {search}")
    form, console = form or ("corrected" if recipe == "corrected" else "published"), stderr_console()
    source = read_source(images, seed)
    beside = read_source(dna, seed) if dna else source
    task, notes = zero_shot_task(source, beside, recipe, seed)
    for note in notes:
        console.print(f"note: {note}")
    num_components = _allowed_components(task) if num_components is None else num_components
    default = _published_default(recipe, source)
    if search == "optuna":
        tuned = tune_freely(task, num_components, form, seed, trials, hours, [default], _trial_teller(console))
    else:
        settings = GRID if search == "grid" else (default,)
        with counting(console, f"Trying {len(settings)} setting(s) on validation", "queries") as tell:
            tuned = tune_on_grid(task, settings, num_components, form, tell)
    asked: dict[str, Any] = {"source": images, "dna": dna, "recipe": recipe, "form": form, "search": search}
    asked |= {"trials": trials, "hours": hours, "num_components": num_components, "seed": seed}
    about: dict[str, Any] = {"asked": asked, "origins": {"images": _origin(source), "dna": _origin(beside)}}
    about |= {"synthetic": source.synthetic or beside.synthetic, "notes": notes, "provenance": made or provenance()}
    console.print("Measuring the test with the chosen setting")
    model = SurrogateModel(task, task.test, num_components, form)
    target = target or default_target(images)
    _measure_test(target, task, model, tuned, {**_data_of(source), "recipe": recipe}, about)
    return target


def default_target(images: str) -> Folder:
    """Where features are measured unless another folder is named: in their run, or in the working directory."""
    return Folder(images) / "bzsl" if stored_parts(Folder(images)) else Folder("bzsl")


def _measure_test(
    target: Folder,
    task: ZeroShotTask,
    model: SurrogateModel,
    tuned: Tuned,
    evaluated: dict[str, Any],
    about: dict[str, Any],
) -> None:
    """Ask the test once and write everything.

    Args:
        target: where.
        task: of which the test is asked.
        model: fitted to it.
        tuned: what was tried, and the chosen setting.
        evaluated: what evaluation.json says.
        about: what bzsl.json says of the source beside.
    """
    predicted = model.predict([tuned.settings[tuned.best]])[0]
    baseline, missing = nearest_mean(model, min(3, len(model.species.numbers))), MISSING_RANK[evaluated["recipe"]]
    rows = zero_shot_accuracies(task, model.candidates, predicted, missing)
    rows += zero_shot_accuracies(task, model.candidates, baseline, missing, "nearest_class_mean")
    best = tuned.scores[tuned.best]
    unseal_run(target, "bzsl.json", "bzsl_search.parquet", "bzsl_predictions.parquet")
    target.remove("bzsl.json")  # written last, so that it stands for files that belong together
    _write_predictions(target, task, tuned, predicted)
    write_evaluation(target, {**evaluated, "synthetic": about["synthetic"]}, rows)
    learned = {
        "num_components": model.species.size,
        "chosen": asdict(tuned.settings[tuned.best]),
        "validation": {"seen": best.seen, "unseen": best.unseen, "harmonic_mean": best.harmonic_mean},
        "num_settings": len(tuned.settings),
        "search_seconds": round(tuned.seconds, 3),
        "num_train": len(task.test.train),
        "num_seen_species": len(model.species.numbers),
        "num_unseen_species": len(task.test.unseen_classes),
        "num_queries": {"seen": len(task.test.seen), "unseen": len(task.test.unseen)},
    }
    target.write_json("bzsl.json", {**about, **learned})
    seal_run(target)


def _allowed_components(task: ZeroShotTask) -> int:
    """The published number, or half of the directions that specimens of one species span, so that none is flat."""
    spans = [np.maximum(np.bincount(task.labels[part.train]) - 1, 0) for part in (task.tuning, task.test)]
    freedom = min(int(span.sum()) for span in spans)
    wanted = min(PUBLISHED_COMPONENTS, task.images.shape[1])
    return wanted if freedom >= wanted else max(1, freedom // 2)


def _trial_teller(console: Console) -> Callable[[int, Score], None]:
    """Tells of a trial when the best so far is another."""
    last = [""]

    def tell(done: int, best: Score) -> None:
        shares = (best.harmonic_mean, best.seen, best.unseen)
        line = "best H {} (seen {}, unseen {})".format(*(f"{100 * x:.{1 if x >= 0.01 else 2}f}" for x in shares))
        if line != last[0]:
            console.print(f"trial {done:,}: {line}")
        last[0] = line

    return tell


def _published_default(recipe: Recipe, source: FeatureSource) -> Setting:
    if not _origin(source).endswith("insect"):
        return PUBLISHED_DEFAULTS["bioscan_1m"]
    return PUBLISHED_DEFAULTS["insect_clibd" if recipe == "authors" else "insect"]


def _origin(source: FeatureSource) -> str:
    """What the paper's rows are told apart by."""
    if source.kind != "run" or source.synthetic:
        return source.kind if not source.synthetic else "synthetic"
    if source.within("val_classes").any():
        return "tower_on_insect" if source.images is None or source.dna is None else "run_on_insect"
    return "run_on_bioscan_1m" if "bioscan_1m" in source.about["dataset"] else "run"


def _data_of(source: FeatureSource) -> dict[str, Any]:
    """What evaluation.json says of the specimens: a run's own words, or where the features lie."""
    named = {"model": "BZSL", "dataset": Path(source.address).absolute().name, "data_fingerprint": ""}
    return dict(source.about) if source.kind == "run" else {**named, **source.about}


def _write_predictions(target: Folder, task: ZeroShotTask, tuned: Tuned, predicted: Indices) -> None:
    rows = [
        {**asdict(setting), "seen": score.seen, "unseen": score.unseen, "harmonic_mean": score.harmonic_mean}
        for setting, score in zip(tuned.settings, tuned.scores, strict=True)
    ]
    target.write_table("bzsl_search.parquet", pa.Table.from_pylist(rows))
    asked, names = np.concatenate([task.test.seen, task.test.unseen]), task.names["species"]
    predictions = {
        "specimen_id": task.ids[asked].tolist(),
        "subset": ["seen"] * len(task.test.seen) + ["unseen"] * len(task.test.unseen),
        "species": names[task.labels[asked]].tolist(),
        "predicted": names[predicted].tolist(),
    }
    target.write_table("bzsl_predictions.parquet", pa.table(predictions))
