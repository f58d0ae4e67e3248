"""Bayesian zero-shot learning as a function: reads features, tunes on validation, measures the test once, keeps all."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from rich.console import Console

from orchestrator.progress import counting, stderr_console
from results.render import percent
from workloads.arrays import Indices
from workloads.bzsl.features import Features
from workloads.bzsl.model import Model
from workloads.bzsl.partitions import features_of
from workloads.bzsl.reading import Source, read_source
from workloads.bzsl.scoring import Score, measurements, nearest_mean, query_images
from workloads.bzsl.search import TellTrial, Tuned, tune_freely, tune_on_grid
from workloads.bzsl.settings import GRID, PUBLISHED_DEFAULTS, Form, Setting
from workloads.errors import UsageError
from workloads.evaluation.measure import write_evaluation
from workloads.predictions import MISSING_RANK
from workloads.record import provenance, read_evaluation, seal_run
from workloads.spec import Recipe
from workloads.storage import Folder

Search = Literal["grid", "optuna", "published-defaults"]

PUBLISHED_COMPONENTS = 500


def measure_zero_shot(
    images: str,
    dna: str | None = None,
    target: Folder | None = None,
    recipe: Recipe = "corrected",
    seed: int = 42,
    form: Form | None = None,
    search: Search = "grid",
    trials: int | None = None,
    hours: float | None = None,
    num_components: int | None = PUBLISHED_COMPONENTS,
    console: Console | None = None,
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
        num_components: principal components of the images; None: the published 500, or what few specimens allow.
        console: told of progress.

    Returns:
        The folder.

    Raises:
        UsageError: a limit of the free search without one.
        MissingPathError, SourceError, EmbeddingsError, DamagedError, ZeroShotError: as the parts say.
    """
    if search != "optuna" and (trials is not None or hours is not None):
        raise UsageError(f"--trials and --hours belong to --search optuna, not to {search}")
    form, console = form or ("corrected" if recipe == "corrected" else "published"), console or stderr_console()
    source = read_source(images, seed)
    beside = read_source(dna, seed) if dna else source
    features, notes = features_of(source.pool, beside.side_information(recipe), recipe, seed, source.order)
    for note in notes:
        console.print(f"note: {note}")
    num_components = num_components or _allowed_components(features)
    default = _published_default(recipe, source)
    if search == "optuna":
        tell = _trial_teller(console)
        tuned = tune_freely(features, num_components, form, seed, trials, hours, [default], tell=tell)
    else:
        settings = GRID if search == "grid" else (default,)
        with counting(console, f"Trying {len(settings)} setting(s) on validation", "queries") as tell_queries:
            tuned = tune_on_grid(features, settings, num_components, form, tell_queries)
    console.print("Measuring the test with the chosen setting")
    model = Model(features, features.test, num_components, form)
    batches = model.batches(query_images(features, features.test))
    predicted = model.predict(batches, [tuned.settings[tuned.best]])[0]
    baseline = nearest_mean(features, features.test, model, min(3, len(model.species.numbers)))
    found = [
        row
        for method, named in (("bzsl", predicted), ("nearest_class_mean", baseline))
        for row in measurements(features, features.test, model.candidates, named, MISSING_RANK[recipe], method)
    ]
    asked: dict[str, Any] = {"source": images, "dna": dna, "recipe": recipe, "form": form, "search": search}
    asked |= {"trials": trials} | {"hours": hours, "num_components": num_components, "seed": seed}
    about = {
        "asked": asked,
        "origins": {"images": _origin(source), "dna": _origin(beside)},
        "synthetic": source.synthetic or beside.synthetic,
        **_about(features, model, tuned),
        "notes": notes,
        "provenance": provenance(),
    }
    target = target or (Folder(images) / "bzsl" if source.kind == "run" else Folder("bzsl"))
    target.remove("bzsl.json")  # written last, so that it stands for files that belong together
    _write_predictions(target, features, tuned, predicted)
    write_evaluation(target, {**_data_of(source), "recipe": recipe, "synthetic": about["synthetic"]}, found)
    target.write_json("bzsl.json", about)
    seal_run(target)
    return target


def _allowed_components(features: Features) -> int:
    """The published number, or half of the directions that specimens of one species span, so that none is flat."""
    spans = [np.maximum(np.bincount(features.labels[part.train]) - 1, 0) for part in (features.tuning, features.test)]
    freedom = min(int(span.sum()) for span in spans)
    wanted = min(PUBLISHED_COMPONENTS, features.images.shape[1])
    return wanted if freedom >= wanted else max(1, freedom // 2)


def _trial_teller(console: Console) -> TellTrial:
    """Tells of a trial when the best so far is another."""
    last = [""]

    def tell(done: int, score: Score, best: Score) -> None:
        line = f"best H {percent(best.harmonic_mean)} (seen {percent(best.seen)}, unseen {percent(best.unseen)})"
        if line != last[0]:
            console.print(f"trial {done:,}: {line}")
        last[0] = line

    return tell


def _published_default(recipe: Recipe, source: Source) -> Setting:
    if not _origin(source).endswith("insect"):
        return PUBLISHED_DEFAULTS["bioscan_1m"]
    return PUBLISHED_DEFAULTS["insect_clibd" if recipe == "authors" else "insect"]


def _origin(source: Source) -> str:
    """What the paper's rows are told apart by."""
    if source.kind != "run" or source.synthetic:
        return source.kind if not source.synthetic else "synthetic"
    if source.pool.within("val_classes").any():
        alone = source.pool.images is None or source.pool.dna is None
        return "tower_on_insect" if alone else "run_on_insect"
    return "run_on_bioscan_1m" if "bioscan_1m" in source.dataset else "run"


def _data_of(source: Source) -> dict[str, Any]:
    """What evaluation.json says of the specimens: a run's own words, or where the features lie."""
    if source.kind == "run":
        return read_evaluation(Folder(source.address))
    named = {"dataset": Path(source.address).absolute().name, "data_fingerprint": ""}
    return {"model": "BZSL", **named, **source.about}


def _about(features: Features, model: Model, tuned: Tuned) -> dict[str, Any]:
    best = tuned.scores[tuned.best]
    return {
        "num_components": model.species.size,
        "chosen": asdict(tuned.settings[tuned.best]),
        "validation": {"seen": best.seen, "unseen": best.unseen, "harmonic_mean": best.harmonic_mean},
        "num_settings": len(tuned.settings),
        "search_seconds": round(tuned.seconds, 3),
        "num_train": len(features.test.train),
        "num_seen_species": len(model.species.numbers),
        "num_unseen_species": len(features.test.unseen_classes),
        "num_queries": {"seen": len(features.test.seen), "unseen": len(features.test.unseen)},
    }


def _write_predictions(target: Folder, features: Features, tuned: Tuned, predicted: Indices) -> None:
    rows = [
        {**asdict(setting), "seen": score.seen, "unseen": score.unseen, "harmonic_mean": score.harmonic_mean}
        for setting, score in zip(tuned.settings, tuned.scores, strict=True)
    ]
    target.write_table("bzsl_search.parquet", pa.Table.from_pylist(rows))
    asked = np.concatenate([features.test.seen, features.test.unseen])
    names = features.names("species")
    predictions = {
        "specimen_id": features.ids[asked].tolist(),
        "subset": ["seen"] * len(features.test.seen) + ["unseen"] * len(features.test.unseen),
        "species": names[features.labels[asked]].tolist(),
        "predicted": names[predicted].tolist(),
    }
    target.write_table("bzsl_predictions.parquet", pa.table(predictions))
