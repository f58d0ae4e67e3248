"""`clibd open-set`: Tables 3, 15 and 16 of an evaluated run."""

from typing import Annotated, Literal

import typer

from workloads.spec import Recipe


def open_set(
    run: Annotated[str, typer.Argument(help="Evaluated folder: a run, or evaluation-NAME in one.")],
    classifier: Annotated[
        str | None, typer.Option(help="Run of `clibd train classify` on the same data, or its evaluation.")
    ] = None,
    recipe: Annotated[
        Recipe | None,
        typer.Option(help="Thresholds: all that differ (corrected), or a grid. Default: the evaluation's."),
    ] = None,
    form: Annotated[
        Literal["md", "csv", "json"], typer.Option("--format", help="md to read; others long form.")
    ] = "md",
) -> None:
    """Tell seen from unseen species by a threshold, and name both: seen ones by images, unseen ones by barcodes.

    The threshold is chosen on validation and applied once to test. Prints Tables 3, 15 and 16 beside the published
    numbers, and leaves open_set.json and three tables in the folder.

    Example: clibd open-set RUN --classifier CLASSIFIER_RUN
    """
    from orchestrator.open_set_command import open_set_command

    open_set_command(run, classifier, recipe, form)
