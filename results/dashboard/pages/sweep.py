"""A sweep: its trials by state, its fields against what came out, and two of its runs to be compared."""

from collections.abc import Iterable

from results.dashboard.catalog import Catalog
from results.dashboard.charts import SCRIPTS
from results.dashboard.contest import best_two
from results.dashboard.page import Asked, Kind, NotThereError, Page
from results.dashboard.progress import price_of, sweep_progress
from results.dashboard.summaries import CHIEF_WORDS, summaries
from results.dashboard.trials import (
    NUMBERS,
    SORTS,
    field_chart,
    in_order,
    parallel_chart,
    pareto_chart,
    trials,
    varying,
)
from results.sweep_status import LIVE

_HEADS = (
    ("trial", "Trial", ""),
    ("state", "State", ""),
    ("accuracy", "Accuracy (%)", "n"),
    ("loss", "Last loss", "n"),
    ("epoch", "Epoch", "n"),
    ("rate", "Specimens/s", "n"),
    ("memory", "Memory (GB)", "n"),
    ("hours", "Hours an epoch", "n"),
    ("restarts", "Restarts", "n"),
)


def _sweep(catalog: Catalog, asked: Asked) -> Page:
    standings = [one for one in catalog.standings if one.sweep == asked.of]
    if not standings:
        there = ", ".join(dict.fromkeys(one.sweep for one in catalog.standings)) or "none yet"
        raise NotThereError(f"There is no sweep '{asked.of}' under {catalog.address}; there are: {there}.")
    known = summaries(catalog, standings)
    shown = trials(catalog, standings, known)
    sort, down = asked.option("sort"), asked.option("order") == "down"
    fields = varying(shown)
    field = asked.option("x") if asked.option("x") in fields else next(iter(fields), None)
    number = asked.option("y") if asked.option("y") in NUMBERS else "accuracy"
    fronts = [chart for name in ("memory", "hours") if (chart := pareto_chart(shown, name))]
    return Page(
        title=f"Sweep {asked.of}",
        template="sweep.html.j2",
        told={
            "sweep": asked.of,
            "progress": sweep_progress(asked.of, standings, known),
            "price": price_of(asked),
            "trials": in_order(shown, sort, down),
            "heads": _HEADS,
            "live": LIVE,
            "sort": sort if sort in SORTS else "",
            "down": down,
            "chief": CHIEF_WORDS,
            "fields": fields,
            "field": field,
            "number": number,
            "numbers": {name: title for name, (title, _) in NUMBERS.items()},
            "field_chart": field_chart(shown, field, number) if field else None,
            "parallel": parallel_chart(shown),
            "fronts": fronts,
            "best": best_two(catalog, standings),
        },
        scripts=SCRIPTS,
        synthetic=any(one.synthetic for one in known.values()),
    )


def _listed(catalog: Catalog) -> Iterable[Asked]:
    return [Asked("sweep", sweep) for sweep in dict.fromkeys(one.sweep for one in catalog.standings)]


_OPTIONS = {"sort": "", "order": "up", "x": "", "y": "accuracy", "price": ""}
KINDS = (Kind(name="sweep", make=_sweep, options=_OPTIONS, listed=_listed),)
