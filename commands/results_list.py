"""`clibd-results list`: every run under a folder of runs."""

import re
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from commands.options import RunsOption, existing_runs

if TYPE_CHECKING:
    from results.runs import Run

_KEY_NUMBER = {"partition": "val", "level": "species", "average": "macro", "species": "harmonic_mean"}
_HEADERS = ("sweep", "run", "state", "data", "recipe", "scale", "image to DNA", "age")


def list_runs(
    runs: RunsOption = "runs",
    form: Annotated[Literal["md", "csv", "json"], typer.Option("--format", help="md to read; csv, json.")] = "md",
) -> None:
    """List all runs: state, data set, recipe, scale, age, and one number of each.

    The number is the top-1 accuracy from image to DNA, species, macro, harmonic mean of seen and unseen, validation, in
    percent.
    """
    from results.render import grid, records_text
    from results.runs import Runs

    known = Runs(existing_runs(runs))
    found = known.read(sorted(known.places, key=_naturally))
    rows = [
        _row(known.places[name].address.split("/")[-2], run) for name, run in found.items() if run.spec or run.point
    ]
    rows.sort(key=lambda row: _naturally(row["sweep"]))
    if form == "md":
        typer.echo(
            grid(_HEADERS, [["–" if row[name] is None else str(row[name]) for name in _HEADERS] for row in rows])
        )
    else:
        typer.echo(records_text(rows, form))


def _naturally(name: str) -> list[tuple[int, str]]:
    """A batch of 100 comes behind one of 50."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _row(sweep: str, run: "Run") -> dict[str, Any]:
    number = run.find({"method": "clibd", "metric": "top1", "query": "image", "key": "dna", **_KEY_NUMBER})
    told = run.facts or ({"dataset": run.spec.dataset, "synthetic": run.spec.synthetic} if run.spec else {})
    data = f"{told['dataset']}{' (SYNTHETIC)' if told.get('synthetic') else ''}" if "dataset" in told else None
    state = run.state if run.problem is None or run.state != "finished" else "not measured"
    state = "not ended" if state == "missing" else state
    values = (sweep, run.name, state, data, run.recipe or None, run.point.get("scale"))
    return dict(zip(_HEADERS, (*values, round(100 * number.value, 1) if number else None, _age(run)), strict=True))


def _age(run: "Run") -> str | None:
    """Since it was begun, in the largest unit that fits."""
    try:
        begun = time.strptime(str(run.source["started"]), "%Y-%m-%dT%H:%M:%SZ")
    except (KeyError, ValueError):
        return None
    seconds = time.time() - (time.mktime(begun) - time.timezone)
    units = {"d": 86_400, "h": 3600, "min": 60, "s": 1}
    unit = next((unit for unit, size in units.items() if seconds >= size), "s")
    return f"{seconds / units[unit]:.0f} {unit}"
