"""`clibd open-set`: Tables 3, 15 and 16 of an evaluated run."""

from typing import Annotated

import typer

from commands.options import BusyOption, FormOption, print_sheets
from workloads.command_line import stderr_console
from workloads.lease import held
from workloads.seals import run_of
from workloads.spec import Recipe
from workloads.storage import Folder


def open_set(
    run: Annotated[str, typer.Argument(help="Evaluated folder: a run, or evaluation-NAME in one.")],
    classifier: Annotated[
        str | None, typer.Option(help="Run of `clibd train classify` on the same data, or its evaluation.")
    ] = None,
    recipe: Annotated[
        Recipe | None,
        typer.Option(help="Thresholds: all that differ (corrected), or a grid. Default: the evaluation's."),
    ] = None,
    form: FormOption = "md",
    busy: BusyOption = "refuse",
) -> None:
    """Tell seen from unseen species by a threshold, and name both: seen ones by images, unseen ones by barcodes.

    The threshold is chosen on validation and applied once to test. Prints Tables 3, 15 and 16 beside the published
    numbers, and leaves open_set.json and three tables in the folder.

    Example: clibd open-set RUN --classifier CLASSIFIER_RUN
    """
    from results.paper.tables import table_sheets
    from workloads.measuring.open_set_folder import measure_open_set

    folder = Folder(run)
    with held(run_of(folder), busy):
        measure_open_set(folder, None if classifier is None else Folder(classifier), folder, recipe)
    print_sheets([sheet for number in (3, 15, 16) for sheet in table_sheets(number, None, [folder])], form)
    stderr_console().print(f"open_set.json and its tables: {folder}")
