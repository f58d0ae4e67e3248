"""`clibd-results table`: one table of the paper."""

from typing import Annotated

import typer

from commands.options import FormOption, RunsOption, existing_runs


def table(
    number: Annotated[str, typer.Argument(help="Number in the paper, 1 to 20; or the name of a table of our own.")],
    runs: RunsOption = "runs",
    run: Annotated[
        list[str] | None, typer.Option(help="Evaluated folder to set beside those of --runs. Repeat it.")
    ] = None,
    form: FormOption = "md",
) -> None:
    """Print one table: published and ours, and the difference where the two can be compared.

    Example: clibd-results table 20                            from the runs of a sweep

    Example: clibd-results table 1 --run RUN --run OTHER       from runs that `clibd train` and `clibd evaluate` left

    Example: clibd-results table 3 --run RUN                   after `clibd open-set RUN`
    """
    from results.render import render_sheets
    from results.tables import table_sheets
    from workloads.storage import Folder

    folders = [Folder(address) for address in run or []]
    known = existing_runs(runs) if not folders or Folder(runs).folders() else None
    typer.echo(render_sheets(table_sheets(int(number) if number.isdigit() else number, known, folders), form))
