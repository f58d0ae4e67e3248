"""`clibd-results report`: everything on one page."""

from pathlib import Path
from typing import Annotated

import typer

from commands.options import RunsOption, existing_runs


def report(
    runs: RunsOption = "runs",
    out: Annotated[Path | None, typer.Option(help="File to write. Default: report.html in the folder of runs.")] = None,
) -> None:
    """Write one HTML page with all tables, curves and the runs behind each number; it opens without a network."""
    from results.report import write_report

    typer.echo(write_report(existing_runs(runs), out))
