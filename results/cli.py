"""`clibd-results`: regenerated tables and the report, from finished run folders alone."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from results.tables import TABLES
from workloads.command_line import run_command
from workloads.errors import MissingPathError, UsageError
from workloads.storage import Folder

app = typer.Typer(
    help="Regenerate the paper's tables from finished runs, beside the published numbers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Runs = Annotated[str, typer.Option(help="Folder of runs, as `clibd-sweep --runs` was given.")]


class Formats(StrEnum):
    """How a table is printed."""

    MARKDOWN = "md"
    CSV = "csv"
    JSON = "json"


@app.command()
def table(
    number: Annotated[int, typer.Argument(help=f"Number in the paper: {', '.join(map(str, TABLES))}.")],
    runs: Runs = "runs",
    form: Annotated[
        Formats, typer.Option("--format", help="md to read; csv and json are long form.")
    ] = Formats.MARKDOWN,
) -> None:
    """Print one table: published, ours, difference."""
    from results.sweep_table import render_sweep_table

    if number not in TABLES:
        raise UsageError(f"table {number} is not one that sweeps regenerate; there are {', '.join(map(str, TABLES))}")
    typer.echo(render_sweep_table(_existing(runs), number, form.value))


@app.command()
def report(
    runs: Runs = "runs",
    out: Annotated[Path | None, typer.Option(help="File to write. Default: report.html in the folder of runs.")] = None,
) -> None:
    """Write one HTML page with all tables, curves and the runs behind each number; it opens without a network."""
    from results.report import write_report

    typer.echo(str(write_report(_existing(runs), out)))


def _existing(runs: str) -> Folder:
    folder = Folder(runs)
    if not folder.folders():
        raise MissingPathError(runs, "runs", "Run a sweep first, such as `clibd-sweep batch-size --demo`.")
    return folder


def main() -> None:
    """Entry point of `clibd-results`."""
    run_command(app)
