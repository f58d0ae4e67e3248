"""One HTML page with every table, the training curves and the runs behind them; opens from disk, offline."""

import html
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from results.damage import damage_words
from results.paper.tables import declared, table_sheets
from results.render import render_sheets
from results.run import Run
from results.runs import Runs
from results.sheet import Sheet
from workloads.continued import told
from workloads.errors import MissingRunsError
from workloads.printed_text import escaped
from workloads.spec import spec_to_dict
from workloads.storage import Folder

_CURVES = {"loss": "Training loss", "temperature": "Temperature", "specimens_per_second": "Specimens per second"}


def write_report(runs: Folder, out: Path | None = None) -> tuple[str, list[Sheet]]:
    """Write the page; returns where it is, and every sheet that was looked at.

    Args:
        runs: folder of runs.
        out: file to write; None for report.html among the runs.

    Raises:
        MissingRunsError: no run of any sweep is finished.
    """
    known = Runs(runs)
    every = [sheet for number in declared() for sheet in table_sheets(number, known)]
    sheets = [sheet for sheet in every if sheet.has_ours]
    if not sheets:
        raise MissingRunsError("The report", declared()[20][0], str(runs))
    labels = {asked.id: f"{asked.sweep}: {asked.label}, seed {asked.seed}" for asked in known.asked if asked.id}
    listed = [(labels[name], run) for name, run in known.read(list(labels)).items() if run.problem is None]
    template = resources.files("results.paper").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: escaped(value) if type(value) is str else value,  # what is markup is ours
    )
    page = environment.from_string(template).render(
        titles=[sheet.title for sheet in sheets],
        sheets=Markup(render_sheets(sheets, "html")),
        curves=[Markup(_curve(listed, field, title)) for field, title in _CURVES.items()],
        runs=[_run(label, run) for label, run in listed],
        damaged=damage_words(every, str(runs)),
        plotly=Markup(get_plotlyjs()),
    )
    place, name = (runs, "report.html") if out is None else (Folder(out.absolute().parent), out.name)
    place.write(name, page.encode())
    return str(out) if out else f"{runs}/{name}", every


def _run(label: str, run: Run) -> dict[str, Any]:
    made = f"{run.source.get('started')}, commit {run.source.get('commit') or 'unknown'}"
    said = {name: str(value) for name, value in run.status.items() if name != "state"}
    said |= {"continued": words} if (words := told(run.source)) else {}
    fields = _flat(spec_to_dict(run.spec)) if run.spec else []
    command = " ".join(run.source.get("argv", []))
    return {"id": run.name, "label": label, "made": made, "command": command, "fields": [*said.items(), *fields]}


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested fields as dotted names."""
    lines: list[tuple[str, str]] = []
    for name, value in values.items():
        lines += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, str(value))]
    return lines


def _curve(runs: Sequence[tuple[str, Run]], field: str, title: str) -> str:
    """One figure, a line for each run; plotly's own script is in the page once."""
    figure = go.Figure()
    for label, run in runs:
        epochs = [event for event in run.epochs if field in event]
        x, y = [event["epoch"] + 1 for event in epochs], [event[field] for event in epochs]
        figure.add_scatter(x=x, y=y, name=html.escape(escaped(label)), mode="lines")
    margin = {"l": 50, "r": 10, "t": 40, "b": 40}
    figure.update_layout(title=title, xaxis_title="epoch", height=320, margin=margin, template="plotly_white")
    return str(pio.to_html(figure, include_plotlyjs=False, full_html=False))
