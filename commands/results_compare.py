"""`clibd-results compare`: two runs on the same queries."""

from enum import StrEnum
from typing import Annotated, Literal

import typer

from commands.options import FormOption


class Ranks(StrEnum):
    """At which rank an answer is right; typer takes no list of literals."""

    ORDER = "order"
    FAMILY = "family"
    GENUS = "genus"
    SPECIES = "species"


def compare(
    run_a: Annotated[str, typer.Argument(help="An evaluated run, or an evaluation in it.")],
    run_b: Annotated[str, typer.Argument(help="Another one, of the same queries.")],
    partition: Annotated[Literal["val", "test"] | None, typer.Option(help="Default: both, if evaluated.")] = None,
    rank: Annotated[list[Ranks] | None, typer.Option(help="May be given several times. Default: species.")] = None,
    every: Annotated[
        bool, typer.Option("--every", help="All retrievals. Default: DNA to DNA, and image to image, DNA and text.")
    ] = False,
    form: FormOption = "md",
) -> None:
    """Print where run B is better or worse than run A: differences, their intervals, tests with Holm's correction."""
    from results.comparison.sheet import comparison_sheet
    from results.render import render_sheets
    from workloads.spec import RANKS
    from workloads.storage import Folder

    ranks = [name for name in RANKS if name in (rank or [Ranks.SPECIES])]
    typer.echo(render_sheets([comparison_sheet(Folder(run_a), Folder(run_b), partition, ranks, every)], form))
