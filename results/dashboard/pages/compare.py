"""Two evaluations: the fields in which they differ, their difference by rank, what each won and lost, their curves.

An export holds a few such pages; of any other two its first page lays fields and accuracies side by side.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from results.dashboard.accuracies import SUBSETS, accuracies
from results.dashboard.catalog import Catalog
from results.dashboard.charts import SCRIPTS, Axis, Chart, Series, bars
from results.dashboard.columns import column_file
from results.dashboard.contest import Contest, Names, best_two, contest
from results.dashboard.names import PARTITIONS
from results.dashboard.page import Asked, File, Kind, NotThereError, Page
from results.dashboard.summaries import is_synthetic, summaries
from results.dashboard.training_log import curves, training_log
from results.differing import differing_fields, flat_fields
from results.run import UNREADABLE
from workloads.errors import IncomparableError, UsageError
from workloads.predictions import PAPERS_PAIRS
from workloads.spec import RANKS, Rank, spec_to_dict

_PAIRS = {f"{query}-{key}": (query, key) for query, key in PAPERS_PAIRS}
_SHOWN = 15
"""Species that are listed on either side."""
_LISTED = 4
"""Pairs of runs that an export holds; each takes seconds."""
_SIDES = "compare-sides"
_PATIENCE = 0.15
"""Seconds in which a comparison may be made before the page comes without it, and asks for it again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of both."""

    evaluation: str
    run: str
    label: str


def _compare(catalog: Catalog, asked: Asked) -> Page:
    chosen = asked.option("a"), asked.option("b")
    choices = catalog.kept(("choices", catalog.now.number), lambda: _choices(catalog))
    told: dict[str, Any] = {
        "a": None,
        "b": None,
        "choices": choices,
        "partition": asked.option("partition") if asked.option("partition") in PARTITIONS else "val",
        "pair": asked.option("pair") if asked.option("pair") in _PAIRS else "image-dna",
        "rank": asked.option("rank") if asked.option("rank") in RANKS else "species",
        "partitions": PARTITIONS,
        "pairs": _PAIRS,
        "ranks": RANKS,
        "subsets": SUBSETS,
    }
    if not all(chosen):
        told |= {"held": partial(_held, catalog), "sides": Asked(_SIDES), "sides_name": _SIDES}
        drawn = any(one.synthetic for one in summaries(catalog, catalog.standings).values())
        scripts = ("compare.js",)
        return Page(title="Compare two runs", template="compare.html.j2", told=told, scripts=scripts, synthetic=drawn)
    a, b = (_side(catalog, name, choices) for name in chosen)
    told |= {"a": a, "b": b, "same": a.evaluation == b.evaluation} | _compared(catalog, a, b, told)
    both = f"{a.label} and {b.label}"
    synthetic = any(is_synthetic(catalog.run(side.run)) for side in (a, b))
    return Page(
        title=f"Compare {both}",
        template="compare.html.j2",
        told=told,
        scripts=SCRIPTS,
        synthetic=synthetic,
        passing=told["pending"],
    )


def _compared(catalog: Catalog, a: Side, b: Side, told: dict[str, Any]) -> dict[str, Any]:
    """What is told of two that both are there."""
    runs = [catalog.run(side.run) for side in (a, b)]
    specs = [run.spec for run in runs if run.spec]
    logs = {"A": training_log(catalog, a.run), "B": training_log(catalog, b.run)}
    found: Contest | None = None
    reason: str | None = None
    pending = False
    try:
        making = contest(catalog, a.evaluation, b.evaluation, told["partition"], _PAIRS[told["pair"]])
        found = making.result(_PATIENCE)
    except TimeoutError:
        pending = True
    except (IncomparableError, UsageError) as error:
        reason = str(error)
    rank: Rank = told["rank"]
    return {
        "fields": differing_fields(specs) if len(specs) == 2 else {},
        "lack_spec": len(specs) < 2,
        "curves": curves(logs) if a.run != b.run else [],
        "reason": reason,
        "pending": pending,
        "contest": found,
        "by_rank": _chart(found) if found else None,
        "won": found.won(rank, _SHOWN) if found else (),
        "lost": found.lost(rank, _SHOWN) if found else (),
        "tally": found.tally(rank) if found else Names(),
        "rows": found.rows if found else (),
    }


def _side(catalog: Catalog, evaluation: str, choices: Mapping[str, str]) -> Side:
    run = evaluation.partition("/")[0]
    if evaluation not in catalog.evaluations(run):
        raise NotThereError(f"'{evaluation}' is not evaluated yet: `clibd evaluate RUN --data DIR` does that.")
    return Side(evaluation=evaluation, run=run, label=choices.get(evaluation, evaluation))


def _choices(catalog: Catalog) -> dict[str, str]:
    """Every evaluation that may be chosen, with what it is called."""
    labels = {one.run: f"{one.sweep}: {one.label}" for one in reversed(catalog.standings) if one.run}
    seeds = {run: known.fields.get("seed") for run, known in summaries(catalog, catalog.standings).items()}
    found: dict[str, str] = {}
    for run in catalog.finished():
        for evaluation in catalog.evaluations(run):
            name = evaluation.partition("/")[2]
            seed = f", seed {seeds[run]}" if seeds.get(run) is not None else ""
            found[evaluation] = f"{labels.get(run, run)}{seed}{f', {name}' if name else ''}"
    return found


def _chart(found: Contest) -> Chart | None:
    """The difference by rank, macro, with its intervals."""
    series = []
    for subset, head in SUBSETS.items():
        rows = [row for row in found.rows if row.first.average == "macro" and row.first.species == subset]
        ends = all(row.low is not None and row.high is not None for row in rows)
        if rows:
            series.append(
                Series(
                    name=head,
                    x=[row.first.level for row in rows],
                    y=[row.difference for row in rows],
                    low=[row.low for row in rows] if ends else (),
                    high=[row.high for row in rows] if ends else (),
                )
            )
    if not series:
        return None
    axis = Axis(title="B − A (percentage points)", share=True)
    note = "Macro top-1 accuracy; 95 % intervals by paired bootstrap over species. Above 0 B is better."
    return bars("Difference by rank", Axis(title="Rank"), axis, series, note)


# --- The export -----------------------------------------------------------------------------------------------------


def _sides(catalog: Catalog, asked: Asked) -> File:
    """Of every evaluation its folder as a shell takes it, the fields of its spec, and its first accuracies, as text."""
    choices = _choices(catalog)
    told = {evaluation: dict(_side_of(catalog, evaluation)) for evaluation in choices}
    names = dict.fromkeys(name for side in told.values() for name in side)
    columns: dict[str, Sequence[str | None]] = {"id": list(choices)}
    return column_file(_SIDES, columns | {name: [side.get(name) for side in told.values()] for name in names})


def _side_of(catalog: Catalog, evaluation: str) -> Iterator[tuple[str, str]]:
    run, _, name = evaluation.partition("/")
    yield "folder", shlex.quote("/".join(filter(None, (catalog.address, catalog.place(run), name))))
    spec = catalog.run(run).spec
    for field, value in (flat_fields(spec_to_dict(spec)) if spec else {}).items():
        yield f"field {field}", value
    with suppress(NotThereError):  # a damaged one has no accuracies, as its own page says
        for first in accuracies(catalog, evaluation).retrievals[:1]:
            for row in first.rows:
                place = f"accuracy {first.name}, {row.partition}, {row.average}, {row.rank}"
                for head, text in zip((*first.subsets, "n"), (*row.values, row.n), strict=True):
                    yield f"{place}: {head}", text


def _held(catalog: Catalog) -> list[tuple[str, str]]:
    """The two best runs of the first sweeps that have two."""
    sweeps = dict.fromkeys(one.sweep for one in catalog.standings)
    pairs = (best_two(catalog, [one for one in catalog.standings if one.sweep == sweep]) for sweep in sweeps)
    return list(dict.fromkeys(filter(None, pairs)))[:_LISTED]


def _listed(catalog: Catalog) -> Iterable[Asked]:
    for a, b in _held(catalog):
        with suppress(*UNREADABLE):
            contest(catalog, a, b, "val", _PAIRS["image-dna"]).result()  # made before the page is
        yield Asked.to("compare", "", {"a": a, "b": b})
    yield Asked("compare")


_OPTIONS = {"a": "", "b": "", "rank": "species", "partition": "val", "pair": "image-dna"}
KINDS = (
    Kind(name="compare", make=_compare, options=_OPTIONS, listed=_listed),
    Kind(name=_SIDES, make=_sides, suffix=".js"),
)
