"""Stored attention as figures see it: which queries each figure shows, and what every model made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from results.figures.evaluated import Evaluated
from results.figures.picture import Record
from workloads.data.inputs.pictures import Extent
from workloads.errors import DamagedError, MissingPathError, UsageError

SUBSETS = ("seen", "unseen")
_LEAST: Mapping[int, int] = {5: 1, 11: 2, 12: 3, 13: 2}
"""Models that each figure needs."""
ROWS_OF_GROUP, ROWS_OF_FIGURE = 2, 6
"""Queries that Figure 5 shows of each outcome, and the others in all, of seen and of unseen species."""

Verdicts = tuple[bool, ...]
"""Whether each model named the species, what came before first."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What one model saw in a query, and answered."""

    right: bool
    found: str | None
    """Species of the nearest key."""
    key_id: str
    mask: npt.NDArray[np.float32]
    """(side, side), in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Case:
    """A query and what every model saw in it."""

    specimen_id: str
    subset: str
    truth: str
    glances: tuple[Glance, ...]

    @property
    def verdicts(self) -> Verdicts:
        """Of every model."""
        return tuple(glance.right for glance in self.glances)


@dataclass(frozen=True, slots=True)
class Group:
    """Queries of one outcome."""

    title: str
    cases: Mapping[str, Sequence[Case]]
    """By subset, as many as are shown."""
    counts: Mapping[str, int]
    """How many queries had the outcome, by subset."""


@dataclass(frozen=True, slots=True)
class StoredAttention:
    """What `clibd attention` left for one partition."""

    models: tuple[str, ...]
    recipe: str
    extent: Extent
    cases: tuple[Case, ...]
    counts: Mapping[tuple[str, Verdicts], int]
    """Queries by subset and verdicts."""


def read_attention(evaluated: Evaluated, partition: str) -> StoredAttention:
    """The stored attention of an evaluation.

    Raises:
        MissingPathError: there is none for the partition.
        DamagedError: the files are not what was written.
    """
    folder, name = evaluated.folder, f"attention-{partition}"
    if not (folder.has(f"{name}.json") and folder.has(f"{name}.parquet")):
        # It is stored with the evaluation that the queries were answered in, which may be one inside the run.
        inside = [f"{folder}/{other}" for other in folder.folders() if (folder / other).has(f"{name}.json")]
        remedy = (
            f"There is some in {', '.join(inside)}."
            if inside
            else f"Store it with `clibd attention RUN --data DIR --partition {partition}`."
        )
        raise MissingPathError(f"{folder}/{name}.parquet", f"attention of {partition} queries", remedy)
    facts: dict[str, Any] = folder.read_json(f"{name}.json")
    rows = folder.read_table(f"{name}.parquet").to_pylist()
    try:
        counts = {(row["subset"], _verdicts(row["outcome"])): row["queries"] for row in facts["outcomes"]}
        models = tuple(facts["models"])
        return StoredAttention(models, facts["recipe"], facts["extent"], _cases(rows, len(models)), counts)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{folder}/{name}.parquet", f"not what `clibd attention` writes ({error})") from error


def _verdicts(outcome: str) -> Verdicts:
    return tuple(word == "right" for word in outcome.split())


def _cases(rows: Sequence[Mapping[str, Any]], num_models: int) -> tuple[Case, ...]:
    glances: dict[str, dict[int, Glance]] = {}
    about: dict[str, tuple[str, str]] = {}
    for row in rows:
        mask = np.array(row["values"], dtype=np.float32).reshape(row["grid_side"], row["grid_side"])
        glance = Glance(row["right"], row["found"], row["key_id"], mask)
        glances.setdefault(row["specimen_id"], {})[row["model"]] = glance
        about[row["specimen_id"]] = (row["subset"], row["truth"])
    return tuple(
        Case(specimen, *about[specimen], tuple(seen[number] for number in range(num_models)))
        for specimen, seen in glances.items()
    )


def groups_of_figure(figure: int, stored: StoredAttention) -> list[Group]:
    """What a figure shows, in its order; groups without a query are left out.

    Figure 5 compares the first model with the last; 11 to 13 ask which of the models named the species, of which the
    first is the one before alignment.

    Raises:
        UsageError: no such figure, fewer models than it compares, or no query fits.
    """
    if figure not in _LEAST:
        raise UsageError(f"figure {figure} does not show attention; {', '.join(map(str, _LEAST))} do")
    if len(stored.models) < (least := _LEAST[figure]):
        raise UsageError(
            f"figure {figure} compares {least} models at least, and attention was stored of "
            f"{', '.join(stored.models)}; use `clibd attention RUN --data DIR --untrained --before OTHER_RUN`"
        )
    groups = [_group(stored, title, fits, figure == 5) for title, fits in _wanted(figure, stored.models)]
    if not (shown := [group for group in groups if any(group.cases.values())]):
        raise UsageError(f"no query that was stored fits figure {figure} ({' '.join(groups[0].title.split())})")
    return shown


Fits = Callable[[Verdicts], bool]


def _wanted(figure: int, models: Sequence[str]) -> list[tuple[str, Fits]]:
    """The groups of a figure: what each is called, and which queries are in it."""
    if figure == 11:
        return [(f"Only {models[-1]}\nis right", lambda v: v[-1] and not any(v[:-1]))]
    if figure == 12:
        return [("Several aligned\nmodels are right", lambda v: sum(v[1:]) > 1)]
    if figure == 13:
        return [("No model\nis right", lambda v: not any(v))]
    if len(models) == 1:
        return [("Right", lambda v: v[0]), ("Wrong", lambda v: not v[0])]
    return [
        ("Wrong before,\nright after", lambda v: not v[0] and v[-1]),
        ("Right before,\nwrong after", lambda v: v[0] and not v[-1]),
        ("Right before\nand after", lambda v: v[0] and v[-1]),
        ("Wrong before\nand after", lambda v: not v[0] and not v[-1]),
    ]


def _group(stored: StoredAttention, title: str, fits: Fits, one_of_several: bool) -> Group:
    at_most = ROWS_OF_GROUP if one_of_several else ROWS_OF_FIGURE
    cases = {
        subset: _in_turns([case for case in stored.cases if case.subset == subset and fits(case.verdicts)])[:at_most]
        for subset in SUBSETS
    }
    counts = dict.fromkeys(SUBSETS, 0)
    for (subset, verdicts), count in stored.counts.items():
        counts[subset] += count if fits(verdicts) else 0
    return Group(title, cases, counts)


def _in_turns(cases: Sequence[Case]) -> list[Case]:
    """One of each pattern of verdicts, then a second of each, and so on."""
    met: dict[Verdicts, int] = {}
    turns: list[tuple[int, Verdicts, int, Case]] = []
    for case in cases:
        met[case.verdicts] = met.get(case.verdicts, 0) + 1
        turns.append((met[case.verdicts], case.verdicts, len(turns), case))
    return [case for *_, case in sorted(turns, key=lambda turn: turn[:3])]


def attention_records(groups: Sequence[Group], stored: StoredAttention, partition: str) -> list[Record]:
    """A record for each map that is shown; its values are in the order of rows, with three decimals."""
    return [
        {
            "partition": partition,
            "group": " ".join(group.title.split()),
            "subset": subset,
            "specimen_id": case.specimen_id,
            "species": case.truth,
            "model": model,
            "right": glance.right,
            "key_id": glance.key_id,
            "key_species": glance.found,
            "num_queries_of_group": group.counts[subset],
            "grid_side": len(glance.mask),
            "attention": " ".join(f"{value:.3f}" for value in glance.mask.ravel().tolist()),
        }
        for group in groups
        for subset, cases in group.cases.items()
        for case in cases
        for model, glance in zip(stored.models, case.glances, strict=True)
    ]
