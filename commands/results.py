"""`clibd-results`: regenerated tables, figures and comparisons, from finished run folders alone."""

import typer

from commands.results_check import check
from commands.results_compare import compare
from commands.results_figure import figure
from commands.results_list import list_runs
from commands.results_report import report
from commands.results_table import table
from workloads.command_line import run_command

app = typer.Typer(
    help="Regenerate the paper's tables from finished runs, beside the published numbers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(table)
app.command()(check)
app.command("list")(list_runs)
app.command()(compare)
app.command()(figure)
app.command()(report)


def main() -> None:
    """Entry point of `clibd-results`."""
    run_command(app)
