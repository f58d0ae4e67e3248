"""One HTML page with every table, the training curves and the runs behind each number; opens from disk, offline."""

import html
from importlib import resources
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from results.cells import Cell, table_rows
from results.collect import FinishedRun, Group, collect
from results.floors import floor_rows
from results.render import (
    caveats,
    floor_headers,
    floor_texts,
    interval_note,
    number_text,
    ours_text,
    published_text,
    row_headers,
    row_names,
)
from results.tables import TABLES, Table
from workloads.errors import MissingRunsError
from workloads.spec import spec_to_dict
from workloads.storage import Folder

_CURVES = (
    ("loss", "Training loss"),
    ("temperature", "Temperature"),
    ("specimens_per_second", "Specimens per second"),
)


def write_report(runs: Folder, out: Path | None = None) -> str:
    """Write the page; returns where it is.

    Args:
        runs: folder of runs.
        out: file to write; None for report.html among the runs.

    Raises:
        MissingRunsError: no run of any sweep is finished.
    """
    sections = []
    for table in TABLES.values():
        try:
            sections += [_section(table, group) for group in collect(runs, table)]
        except MissingRunsError:
            continue  # the sweep has not been run; the page says which tables it has
    if not sections:
        raise MissingRunsError("The report", next(iter(TABLES.values())).sweep, str(runs))
    template = resources.files("results").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(template).render(sections=sections, plotly=Markup(get_plotlyjs()))
    if out is None:
        runs.write("report.html", page.encode())
        return f"{runs}/report.html"
    Folder(out.absolute().parent).write(out.name, page.encode())
    return str(out)


def _section(table: Table, group: Group) -> dict[str, Any]:
    """Everything the template shows of one table."""
    rows = table_rows(table, group)
    blocks, offset = [], 0
    for block in table.blocks:
        columns = slice(offset, offset + len(block.columns))
        offset += len(block.columns)
        body = [
            {
                "names": row_names(table, row),
                "label": row.label,
                "cells": [_cell(cell) for cell in row.cells[columns]],
            }
            for row in rows
        ]
        headers = [column.header for column in block.columns]
        blocks.append({"title": block.title, "headers": headers, "rows": body})
    floors = [floor_texts(row) for row in floor_rows(table, group)]
    return {
        "number": table.number,
        "caption": table.caption,
        "title": group.title,
        "synthetic": group.synthetic,
        "caveats": [*caveats(group), *interval_note(rows)],
        "row_headers": row_headers(table),
        "blocks": blocks,
        "floor_headers": floor_headers(),
        "floors": floors,
        "curves": [Markup(_curve(group.runs, field, title)) for field, title in _CURVES],
        "runs": [_run(run) for run in group.runs],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "published": published_text(cell),
        "note": cell.note,
        "ours": ours_text(cell),
        "difference": number_text(cell, cell.difference, sign=True),
        "runs": list(cell.ours.runs) if cell.ours else [],
    }


def _run(run: FinishedRun) -> dict[str, Any]:
    status, source = run.status, run.provenance
    return {
        "id": run.id,
        "label": run.label,
        "seconds": f"{status['training_seconds']:.0f} s training, {status['evaluation_seconds']:.0f} s evaluation",
        "device": f"{status['num_workers']} × {status['device']}",
        "parameters": f"{status['num_trained_parameters']:,} of {status['num_parameters']:,} trained",
        "made": f"{source['started']}, commit {source['commit'] or 'unknown'}, clibd {source['clibd']}",
        "command": " ".join(source["argv"]),
        "spec": _flat(spec_to_dict(run.spec)),
    }


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested fields as dotted names."""
    lines: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines += _flat(value, f"{prefix}{name}.")
        else:
            lines.append((prefix + name, str(value)))
    return lines


def _curve(runs: tuple[FinishedRun, ...], field: str, title: str) -> str:
    """One figure, a line for each run; plotly's own script is in the page once."""
    figure = go.Figure()
    for run in runs:
        epochs = run.epochs()
        name = html.escape(f"{run.label}, seed {run.spec.seed}")
        figure.add_scatter(
            x=[event["epoch"] + 1 for event in epochs],
            y=[event[field] for event in epochs],
            name=name,
            mode="lines",
        )
    figure.update_layout(
        title=title,
        xaxis_title="epoch",
        height=320,
        margin={"l": 50, "r": 10, "t": 40, "b": 40},
        template="plotly_white",
    )
    return str(pio.to_html(figure, include_plotlyjs=False, full_html=False))
