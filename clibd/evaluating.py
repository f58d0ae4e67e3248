"""How good a model is, and how right any names are."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from clibd.runs import Run
from clibd.showing import Rows, table_html
from clibd.specimens import names_of, table_of
from results.measured import evaluation_sheet
from results.render import render_sheets
from workloads.arrays import Names
from workloads.errors import UsageError
from workloads.evaluation.openclip_row import Prompts
from workloads.evaluation.scores import class_table, score_table
from workloads.lease import Busy, held
from workloads.measuring.chunks import embed_here
from workloads.measuring.evaluation_folder import (
    Embed,
    MeasuredFolder,
    is_openclip,
    measure_again,
    measure_openclip,
    measure_run,
    openclip_folder,
)
from workloads.record import Measurement, RunFolder, measurements_to_table
from workloads.seals import run_of
from workloads.spec import Recipe
from workloads.storage import Folder

_LINEAGE = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
"""Ranks by which columns of a table are known, the last of them the deepest."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured of a model, and where it lies."""

    folder: str
    """With predictions, measurements and embeddings (docs/files.md)."""
    measurements: tuple[Measurement, ...]
    about: Mapping[str, Any]
    """By which rules it was measured (evaluation.json)."""

    @property
    def table(self) -> pa.Table:
        """A row a number, with its 95 % interval."""
        return measurements_to_table(self.measurements)

    def _repr_html_(self) -> str:
        return render_sheets([evaluation_sheet(self.about, self.measurements, full=False)], "html")


def evaluate(
    run: "Run | str | os.PathLike[str]",
    data: "str | os.PathLike[str] | None" = None,
    *,
    out: "str | os.PathLike[str] | None" = None,
    keys: Collection[str] = (),
    recipe: Recipe | None = None,
    prompts: Prompts = "openai",
    untrained: bool = False,
    training: bool = False,
    again: bool = False,
    cpu: bool = False,
    busy: Busy = "refuse",
    embed: Embed | None = None,
) -> Evaluation:
    """Embed keys and queries once, search exactly, and measure with 95 % intervals, beside chance and floors.

    Args:
        run: a run, the folder of one, or an OpenCLIP model: `hf-hub:…`, `NAME:TAG`, or a folder in its layout.
        data: prepared data set; None: the run's own embeddings are measured again.
        out: folder to write; None: in the run, or of an OpenCLIP model in the working directory.
        keys: choices beside all keys: `seen`, `unseen`, `own`.
        recipe: decides what a missing name does; None: the run's, of an OpenCLIP model `corrected`.
        prompts: the sentences around a label, of an OpenCLIP model.
        untrained: the run as it was before training.
        training: whether named specimens that train are embedded too.
        again: whether stored embeddings are of no interest.
        cpu: whether GPUs are left alone.
        busy: what to do where another process writes there.
        embed: makes the embeddings of a run, elsewhere; None: in this process.

    Raises:
        UsageError: what is asked means nothing for this model.
        MissingPathError: the run is not finished, or there is no data set.
        EmbeddingsError: the folder holds embeddings of something else.
    """
    model = str(run.folder.folder) if isinstance(run, Run) else os.fspath(run)
    target = None if out is None else Folder(os.fspath(out))
    if target is not None and target.has("spec.json"):
        raise UsageError(f"{target} is the folder of a run, whose own measurements would be lost; name another")
    if is_openclip(model):
        if data is None or untrained or training:
            raise UsageError("an OpenCLIP model needs data, and is measured as it is, on keys and queries alone")
        where = Folder(os.fspath(data))
        target = target or openclip_folder(model, where)
        with held(run_of(target), busy):
            made = measure_openclip(model, where, target, recipe or "corrected", prompts, keys, cpu, again)
        return _evaluation(made)
    folder = RunFolder(Folder(model))
    if data is None and (untrained or again or training):
        raise UsageError("without data a run's own embeddings are measured; name a data set to embed it")
    embed = embed or partial(embed_here, cpu_only=cpu)
    with held(run_of(target or folder.folder), busy):
        if data is None:
            return _evaluation(measure_again(folder, target, recipe, keys))
        where = Folder(os.fspath(data))
        return _evaluation(measure_run(folder, where, target, recipe, keys, untrained, training, embed, cpu, again))


def _evaluation(made: MeasuredFolder) -> Evaluation:
    return Evaluation(str(made.folder), tuple(made.measurements), made.about)


@dataclass(frozen=True, slots=True)
class Scores:
    """How right names are: numbers by rank, and every class by itself."""

    numbers: Rows
    """rank, average (micro, macro), species (seen, unseen, harmonic_mean, all), metric, value, low, high, counts."""
    classes: Rows
    """rank, name, num_queries, num_right, num_named, recall and precision with their intervals, f1."""
    num_without_answer: int
    """Specimens that have no row among the answers; they count as not named."""

    def of(self, rank: str, metric: str = "accuracy", average: str = "macro", species: str = "all") -> float:
        """One of the numbers, in [0, 1].

        Raises:
            UsageError: there is no such number.
        """
        rows = self.numbers.table.to_pylist()
        wanted = {"rank": rank, "metric": metric, "average": average, "species": species}
        for row in rows:
            if all(row[name] == value for name, value in wanted.items()):
                return float(row["value"])
        have = ", ".join(sorted({f"{row['rank']} {row['species']}" for row in rows}))
        raise UsageError(f"there is no {average} {metric} of {rank}, {species}; there are {have}")

    def _repr_html_(self) -> str:
        return table_html(self.numbers.table, self.numbers.title)


def score(
    truth: Any,
    predicted: Any,
    *,
    rank: str = "species",
    seen: "Collection[str] | Sequence[bool] | None" = None,
) -> Scores:
    """How right names are: at any rank, micro and macro with 95 % intervals, and class by class.

    A specimen without a true name at a rank is left out there; one that was given no name has no right one.

    Args:
        truth: names of one rank, a specimen each; or columns by rank: a table, or a mapping. With a column
            `specimen_id` rows of both tables are brought together by it.
        predicted: likewise, such as the table of `identify`; a list of names for a list.
        rank: what names are of, where they are lists.
        seen: the species that were seen in training, or for each specimen whether its species was; None: no number
            tells seen from unseen species.

    Raises:
        UsageError: lengths differ, ids stand twice, no rank is in both, or no specimen has a true name.
    """
    true, given, lost = _beside(_columns(truth, rank), _columns(predicted, rank))
    ranks = [name for name in true if name in given and name != "specimen_id"]
    if not ranks:
        raise UsageError(f"no rank is in both: truth has {', '.join(true)}, and what was predicted {', '.join(given)}")
    true, given = {name: true[name] for name in _ordered(true)}, {name: given[name] for name in ranks}
    numbers = score_table(true, given, _subset(seen, true))
    return Scores(
        Rows(numbers, f"Scores of {len(true[ranks[0]]):,} specimens"),
        Rows(class_table(true, given), "Every class"),
        lost,
    )


def _columns(given: Any, rank: str) -> dict[str, Names]:
    """Names by rank, and `specimen_id` where there is one."""
    if isinstance(given, Mapping) or hasattr(given, "columns") or isinstance(getattr(given, "table", None), pa.Table):
        table = table_of(given)
        names = [name for name in table.column_names if name in ("specimen_id", *_LINEAGE)]
        return {name: names_of(table[name].to_pylist()) for name in names}
    return {rank: names_of(list(given))}


def _ordered(columns: Mapping[str, Names]) -> list[str]:
    return [name for name in columns if name != "specimen_id"]


def _beside(true: dict[str, Names], given: dict[str, Names]) -> tuple[dict[str, Names], dict[str, Names], int]:
    """Both in the order of the truth, and how many of it have no row among the others."""
    if "specimen_id" not in true or "specimen_id" not in given:
        return true, given, 0
    place: dict[str, int] = {}
    for number, identifier in enumerate(given["specimen_id"].tolist()):
        if identifier in place:
            raise UsageError(f"{identifier} has two answers; ask for one row a specimen, without k= and all_ranks=")
        place[identifier] = number
    rows = [place.get(identifier, -1) for identifier in true["specimen_id"].tolist()]
    brought = {
        name: names_of([None if row < 0 else column[row] for row in rows])
        for name, column in given.items()
        if name != "specimen_id"
    }
    return true, brought, sum(row < 0 for row in rows)


def _subset(seen: "Collection[str] | Sequence[bool] | None", true: Mapping[str, Names]) -> Names | None:
    """`seen` or `unseen` for each specimen."""
    if seen is None:
        return None
    count = len(next(iter(true.values())))
    told = list(seen)
    if told and all(isinstance(value, bool | np.bool_) for value in told):
        if len(told) != count:
            raise UsageError(f"seen tells of {len(told):,} specimens, and there are {count:,}; say it of each")
        return names_of(["seen" if value else "unseen" for value in told])
    if "species" not in true:
        raise UsageError(
            "which specimens are of seen species is told by their species; give true species, or say it "
            "of each specimen: seen=[True, False, …]"
        )
    known = set(map(str, told))
    return names_of(["seen" if name in known else "unseen" for name in true["species"]])
