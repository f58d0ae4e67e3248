"""Bayesian zero-shot learning on any features, as they are: no principal components unless they are asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from clibd.showing import Rows, facts_html
from clibd.specimens import names_of
from workloads.arrays import Floats, Names
from workloads.bzsl.feature_source import FeatureSource
from workloads.bzsl.model import SurrogateModel
from workloads.bzsl.scoring import Score, zero_shot_accuracies
from workloads.bzsl.settings import GRID, ScaleForm, Setting
from workloads.bzsl.task import zero_shot_task
from workloads.bzsl.tuning import tune_on_grid
from workloads.command_line import Tell
from workloads.data.specimens.partition import drawn_splits
from workloads.errors import ZeroShotError
from workloads.predictions import MISSING_RANK
from workloads.record import measurements_to_table
from workloads.spec import RANKS, Recipe


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """What zero-shot learning came to; the test was asked once."""

    setting: Setting
    """Chosen on validation."""
    validation: Score
    """Of that setting."""
    measurements: Rows
    """Top-1 accuracies of the test with 95 % intervals, and those of a species chosen at random."""
    predictions: Rows
    """specimen_id, subset, species, predicted: a row a test query."""
    notes: tuple[str, ...]

    def _repr_html_(self) -> str:
        chosen = {"seen": self.validation.seen, "unseen": self.validation.unseen}
        facts = {**asdict(self.setting), **{f"validation, {name}": value for name, value in chosen.items()}}
        return facts_html("Chosen on validation", facts) + self.measurements._repr_html_()


def bzsl(
    images: "np.ndarray[Any, Any]",
    species: Sequence[str | None],
    dna: "np.ndarray[Any, Any] | Mapping[str, Any]",
    *,
    splits: Sequence[str] | None = None,
    labels: Mapping[str, Sequence[str | None]] | None = None,
    ids: Sequence[str] | None = None,
    components: int = 0,
    settings: Sequence[Setting] = GRID,
    form: ScaleForm | None = None,
    recipe: Recipe = "corrected",
    seed: int = 42,
    progress: Tell = lambda done, total: None,
) -> ZeroShot:
    """Tell species apart by image features, unseen ones by the DNA that they have in common with seen ones.

    Args:
        images: features of any model, (specimens, size).
        species: of each specimen; those without one are left out.
        dna: features of each specimen's DNA, (specimens, other size), or of each species by its name.
        splits: of each specimen: train_seen, val_seen, val_unseen, and so on (docs/data.md); None: drawn as INSECT's.
        labels: names at other ranks, by rank, for accuracies there.
        ids: of the specimens; None: their places.
        components: principal components of the images; 0: the features as they are.
        settings: tried on validation; the best is measured on the test.
        form: of a seen species' covariance; None: the recipe's.
        recipe: how species' DNA is put together, and what a missing name does.
        seed: of drawn splits.
        progress: told how many of how many validation queries are done.

    Raises:
        ZeroShotError: lengths differ, a part is missing, a species has no DNA, or too few specimens for the features;
            fewer principal components need fewer specimens.
    """
    source, form = _source(images, species, dna, splits, labels or {}, ids, seed), form or _FORMS[recipe]
    task, notes = zero_shot_task(source, source, recipe, seed)
    tuned = tune_on_grid(task, settings, components, form, progress)
    model = SurrogateModel(task, task.test, components, form)
    predicted = model.predict([tuned.settings[tuned.best]])[0]
    rows = zero_shot_accuracies(task, model.candidates, predicted, MISSING_RANK[recipe])
    asked, names = np.concatenate([task.test.seen, task.test.unseen]), task.names["species"]
    answers = pa.table(
        {
            "specimen_id": pa.array(task.ids[asked].tolist(), pa.string()),
            "subset": ["seen"] * len(task.test.seen) + ["unseen"] * len(task.test.unseen),
            "species": pa.array(names[task.labels[asked]].tolist(), pa.string()),
            "predicted": pa.array(names[predicted].tolist(), pa.string()),
        }
    )
    measured = Rows(measurements_to_table(rows), "Accuracies of the test")
    chosen = tuned.settings[tuned.best], tuned.scores[tuned.best]
    return ZeroShot(*chosen, measured, Rows(answers, "Test queries"), tuple(notes))


_FORMS: Mapping[Recipe, ScaleForm] = {"paper": "published", "authors": "published", "corrected": "corrected"}


def _source(
    images: "np.ndarray[Any, Any]",
    species: Sequence[str | None],
    dna: "np.ndarray[Any, Any] | Mapping[str, Any]",
    splits: Sequence[str] | None,
    labels: Mapping[str, Sequence[str | None]],
    ids: Sequence[str] | None,
    seed: int,
) -> FeatureSource:
    """Specimens with features, those without a species left out."""
    rows, count = _matrix("images", images), len(species)
    own = None if isinstance(dna, Mapping) else _matrix("dna", dna)
    lengths = {"images": rows, "dna": own, "splits": splits, "ids": ids, **labels}
    for what, given in lengths.items():
        if given is not None and len(given) != count:
            raise ZeroShotError(f"{len(given):,} of {what} and {count:,} species", "Give one of each a specimen.")
    by_rank: dict[str, Names] = {rank: names_of(labels.get(rank, [None] * count)) for rank in RANKS}
    by_rank["species"] = names_of(species)
    known = np.array([name is not None for name in by_rank["species"]], dtype=bool)
    source = FeatureSource(
        kind="arrays",
        address="",
        ids=names_of(list(map(str, range(count))) if ids is None else ids),
        split=names_of([None] * count if splits is None else splits),
        labels=by_rank,
        images=rows,
        dna=own,
        class_dna={name: _vector(name, own) for name, own in dna.items()} if isinstance(dna, Mapping) else None,
    ).take(known)
    if splits is not None:
        return source
    return replace(source, split=drawn_splits(source.species, seed))


def _matrix(what: str, given: Any) -> Floats:
    rows = np.asarray(given, dtype=np.float32)
    if rows.ndim != 2:
        raise ZeroShotError(f"{what} has the shape {rows.shape}", "Give a row of features a specimen.")
    return rows


def _vector(name: str, given: Any) -> Floats:
    row = np.asarray(given, dtype=np.float32)
    if row.ndim != 1:
        raise ZeroShotError(f"the DNA of {name} has the shape {row.shape}", "Give a row of features a species.")
    return row
