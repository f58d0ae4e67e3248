"""`clibd costs`: Appendix D.4."""

from typing import Annotated, Literal

import typer


def costs(
    run: Annotated[str | None, typer.Argument(help="Folder of a run. Default: the paper's towers.")] = None,
    data: Annotated[str | None, typer.Option(help="Prepared data set whose labels are measured for storage.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Samples of a timed batch. Default: 500 on a GPU, 4 without one.")
    ] = None,
    form: Annotated[Literal["md", "csv", "json"], typer.Option("--format", help="On stdout.")] = "md",
) -> None:
    """Print what the towers cost, beside the paper's Appendix D.4: tokens, parameters, operations, bytes, time.

    Operations are counted on shapes, without weights or a GPU; times are measured here.
    """
    from orchestrator.costs_command import costs_command

    costs_command(run, data, batch, form)
