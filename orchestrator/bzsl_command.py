"""Carries out `clibd bzsl`: reads features, tunes on validation, measures the test once, and keeps all of it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from rich.console import Console

from orchestrator.progress import counting, stderr_console
from results.render import Format, percent
from results.zero_shot_table import published_rows, render_lines, table_lines
from workloads.bzsl.features import Features, Indices
from workloads.bzsl.model import Model
from workloads.bzsl.partitions import features_of
from workloads.bzsl.reading import Source, read_source
from workloads.bzsl.scoring import Score, measurements, nearest_mean, query_images
from workloads.bzsl.search import Tuned, tune_freely, tune_on_grid
from workloads.bzsl.settings import GRID, PUBLISHED_DEFAULTS, Form, Setting
from workloads.errors import UsageError
from workloads.predictions import MISSING_RANK
from workloads.record import Measurement, measurements_to_table, provenance
from workloads.spec import Recipe
from workloads.storage import Folder

Search = Literal["grid", "optuna", "published-defaults"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What the command line chose."""

    source: str
    dna: str | None
    recipe: Recipe
    form: Form
    search: Search
    trials: int | None
    hours: float | None
    num_components: int
    seed: int
    out: str | None


def bzsl_command(asked: Asked, output: Format) -> None:
    """Print the table of accuracies; leave bzsl.json, the search, predictions and measurements in a folder."""
    if asked.search != "optuna" and (asked.trials is not None or asked.hours is not None):
        raise UsageError(f"--trials and --hours belong to --search optuna, not to {asked.search}")
    console = stderr_console()
    source = read_source(asked.source, asked.seed)
    target = _target(asked, source)  # refused before the search, not after it
    beside = read_source(asked.dna, asked.seed) if asked.dna else source
    features, notes = features_of(
        source.pool, beside.side_information(asked.recipe), asked.recipe, asked.seed, source.order
    )
    for note in notes:
        console.print(f"note: {note}")
    tuned = _tune(asked, source, features, console)
    setting = tuned.settings[tuned.best]
    console.print("Measuring the test with the chosen setting")
    model = Model(features, features.test, asked.num_components, asked.form)
    predicted = model.predict(model.batches(query_images(features, features.test)), [setting])[0]
    missing = MISSING_RANK[asked.recipe]
    found = measurements(features, features.test, model.candidates, predicted, missing)
    baseline = nearest_mean(features, features.test, model, min(3, len(model.species.numbers)))
    found += measurements(features, features.test, model.candidates, baseline, missing, "nearest_class_mean")
    about = {"synthetic": source.synthetic or beside.synthetic, **_about(asked, features, model, tuned, notes)}
    _write(target, features, tuned, predicted, found, about)
    lines = table_lines(found, published_rows(_origin(source), _origin(beside)))
    if output == "md":
        print(_heading(asked, features, model, tuned, about["synthetic"]), end="\n\n")
    print(render_lines(lines, about, output))
    console.print(f"Settings, predictions and measurements: {target}")


def _tune(asked: Asked, source: Source, features: Features, console: Console) -> Tuned:
    default = _published_default(asked, source)
    if asked.search == "optuna":
        last = [""]

        def tell(done: int, score: Score, best: Score) -> None:
            line = f"best H {percent(best.harmonic_mean)} (seen {percent(best.seen)}, unseen {percent(best.unseen)})"
            if line != last[0]:
                console.print(f"trial {done:,}: {line}")
            last[0] = line

        return tune_freely(
            features, asked.num_components, asked.form, asked.seed, asked.trials, asked.hours, [default], tell=tell
        )
    settings = GRID if asked.search == "grid" else (default,)
    with counting(console, f"Trying {len(settings)} setting(s) on validation", "queries") as tell_queries:
        return tune_on_grid(features, settings, asked.num_components, asked.form, tell_queries)


def _published_default(asked: Asked, source: Source) -> Setting:
    if _origin(source) not in ("insect", "run_on_insect"):
        return PUBLISHED_DEFAULTS["bioscan_1m"]
    return PUBLISHED_DEFAULTS["insect_clibd" if asked.recipe == "authors" else "insect"]


def _origin(source: Source) -> str:
    """What the paper's rows are told apart by."""
    if source.kind != "run" or source.synthetic:
        return source.kind if not source.synthetic else "synthetic"
    if source.pool.within("val_classes").any():
        return "run_on_insect"
    return "run_on_bioscan_1m" if "bioscan_1m" in source.dataset else "run"


def _target(asked: Asked, source: Source) -> Folder:
    if asked.out:
        target = Folder(asked.out)
        if target.has("spec.json") or target.has("evaluation.json"):
            raise UsageError(f"--out {asked.out} holds a run or an evaluation, whose measurements would be lost")
        return target
    return Folder(source.address) / "bzsl" if source.kind == "run" else Folder(Path("bzsl"))


def _about(asked: Asked, features: Features, model: Model, tuned: Tuned, notes: list[str]) -> dict[str, Any]:
    """What bzsl.json says."""
    best = tuned.scores[tuned.best]
    return {
        "asked": asdict(asked),
        "num_components": model.species.size,
        "chosen": asdict(tuned.settings[tuned.best]),
        "validation": {"seen": best.seen, "unseen": best.unseen, "harmonic_mean": best.harmonic_mean},
        "num_settings": len(tuned.settings),
        "search_seconds": round(tuned.seconds, 3),
        "num_train": len(features.test.train),
        "num_seen_species": len(model.species.numbers),
        "num_unseen_species": len(features.test.unseen_classes),
        "num_queries": {"seen": len(features.test.seen), "unseen": len(features.test.unseen)},
        "notes": notes,
    }


def _heading(asked: Asked, features: Features, model: Model, tuned: Tuned, synthetic: bool) -> str:
    setting, best = tuned.settings[tuned.best], tuned.scores[tuned.best]
    return (
        f"Bayesian zero-shot learning, top-1 accuracy in percent; recipe {asked.recipe}, {asked.form} form\n\n"
        f"{'SYNTHETIC specimens. ' if synthetic else ''}"
        f"{len(features.test.train):,} training images of {len(model.species.numbers):,} seen species, "
        f"{len(features.test.unseen_classes):,} unseen species, "
        f"{len(features.test.seen) + len(features.test.unseen):,} queries, {model.species.size} components\n"
        f"Chosen among {len(tuned.settings):,} setting(s) in {tuned.seconds:.1f} s: "
        f"kappa0 {setting.kappa0:.4g}, kappa1 {setting.kappa1:.4g}, m {setting.m:.4g} x {model.species.size}, "
        f"s {setting.s:.4g}, K {setting.num_surrogates}; "
        f"on validation {percent(best.seen)} seen, {percent(best.unseen)} unseen, H {percent(best.harmonic_mean)}"
    )


def _write(
    target: Folder,
    features: Features,
    tuned: Tuned,
    predicted: Indices,
    found: list[Measurement],
    about: dict[str, Any],
) -> None:
    rows = [
        {**asdict(setting), "seen": score.seen, "unseen": score.unseen, "harmonic_mean": score.harmonic_mean}
        for setting, score in zip(tuned.settings, tuned.scores, strict=True)
    ]
    target.remove("bzsl.json")  # written last, so that it stands for files that belong together
    target.write_table("bzsl_search.parquet", pa.Table.from_pylist(rows))
    asked = np.concatenate([features.test.seen, features.test.unseen])
    names = features.names("species")
    subset = ["seen"] * len(features.test.seen) + ["unseen"] * len(features.test.unseen)
    predictions = {
        "specimen_id": features.ids[asked].tolist(),
        "subset": subset,
        "species": names[features.labels[asked]].tolist(),
        "predicted": names[predicted].tolist(),
    }
    target.write_table("bzsl_predictions.parquet", pa.table(predictions))
    target.write_table("measurements.parquet", measurements_to_table(found))
    target.write_json("bzsl.json", {**about, "provenance": provenance()})
