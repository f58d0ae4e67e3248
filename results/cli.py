"""`clibd-results`: regenerated tables and the report, from finished run folders alone."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from workloads.command_line import run_command
from workloads.errors import MissingPathError
from workloads.spec import RANKS
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


class Partitions(StrEnum):
    """Whose queries are compared."""

    VAL = "val"
    TEST = "test"


class Ranks(StrEnum):
    """At which rank an answer is right."""

    ORDER = "order"
    FAMILY = "family"
    GENUS = "genus"
    SPECIES = "species"


@app.command()
def table(
    number: Annotated[int, typer.Argument(help="Number in the paper: 1 to 3, or 8 to 20.")],
    runs: Runs = "runs",
    run: Annotated[
        list[str] | None,
        typer.Option(help="Evaluated folder, for the tables that no sweep makes (1 to 3, 8 to 13, 15, 16). Repeat it."),
    ] = None,
    form: Annotated[
        Formats, typer.Option("--format", help="md to read; csv and json are long form.")
    ] = Formats.MARKDOWN,
) -> None:
    """Print one table: published, ours, difference.

    Example: clibd-results table 20                            from the runs of a sweep

    Example: clibd-results table 1 --run RUN --run OTHER       from runs that `clibd train` and `clibd evaluate` left

    Example: clibd-results table 3 --run RUN                   after `clibd open-set RUN`
    """
    from results.any_table import render_any_table

    folders = [Folder(address) for address in run or []]
    typer.echo(render_any_table(number, Folder(runs) if not folders else None, folders, form.value))


@app.command()
def report(
    runs: Runs = "runs",
    out: Annotated[Path | None, typer.Option(help="File to write. Default: report.html in the folder of runs.")] = None,
) -> None:
    """Write one HTML page with all tables, curves and the runs behind each number; it opens without a network."""
    from results.report import write_report

    typer.echo(str(write_report(_existing(runs), out)))


@app.command()
def compare(
    run_a: Annotated[str, typer.Argument(help="An evaluated run, or an evaluation in it.")],
    run_b: Annotated[str, typer.Argument(help="Another one, of the same queries.")],
    partition: Annotated[Partitions | None, typer.Option(help="Default: both, if both were evaluated.")] = None,
    rank: Annotated[list[Ranks] | None, typer.Option(help="May be given several times. Default: species.")] = None,
    every: Annotated[
        bool, typer.Option("--every", help="All retrievals. Default: DNA to DNA, and image to image, DNA and text.")
    ] = False,
    form: Annotated[
        Formats, typer.Option("--format", help="md to read; csv and json are long form.")
    ] = Formats.MARKDOWN,
) -> None:
    """Print where run B is better or worse than run A: differences, their intervals, tests with Holm's correction."""
    from results.comparison_table import render_comparison

    ranks = [name for name in RANKS if name in (rank or [Ranks.SPECIES])]
    part = partition.value if partition else None
    typer.echo(render_comparison(Folder(run_a), Folder(run_b), part, ranks, form.value, every))


@app.command()
def figure(
    name: Annotated[str, typer.Argument(help="Number in the paper: 3, 4, 5 or 9 to 13; or confusion.")],
    runs: Annotated[list[str], typer.Argument(help="Evaluated run folder; figure 9 takes several, or a sweep's.")],
    data: Annotated[str | None, typer.Option(help="Prepared data set, where pictures or barcodes are drawn.")] = None,
    before: Annotated[str | None, typer.Option(help="Evaluation before alignment, to draw beside (10).")] = None,
    partition: Annotated[Partitions, typer.Option(help="Whose queries.")] = Partitions.VAL,
    rank: Annotated[Ranks | None, typer.Option(help="Whose names. Default: as in the paper.")] = None,
    within: Annotated[str | None, typer.Option(help="Only queries of this higher taxon (10).")] = None,
    query: Annotated[str, typer.Option(help="Feature that asks (3, confusion).")] = "image",
    key: Annotated[str, typer.Option(help="Feature that answers (confusion).")] = "dna",
    subset: Annotated[str | None, typer.Option(help="Only seen or unseen queries (3, confusion).")] = None,
    only_errors: Annotated[bool, typer.Option("--only-errors", help="Only wrong nearest keys (3).")] = False,
    seed: Annotated[int, typer.Option(help="Of what is drawn by chance, and of UMAP.")] = 413,
    out: Annotated[str | None, typer.Option(help="Folder for the files. Default: figures/ in the run folder.")] = None,
) -> None:
    """Draw a figure of finished runs: PNG, SVG, and its numbers as CSV."""
    from results.figure_command import Asked, draw_figure

    asked = Asked(
        runs=tuple(runs),
        data=data,
        before=before,
        partition=partition.value,
        rank=rank.value if rank else None,
        within=within,
        query=query,
        key=key,
        subset=subset,
        only_errors=only_errors,
        seed=seed,
    )
    for file in draw_figure(name, asked, out):
        typer.echo(file)


def _existing(runs: str) -> Folder:
    folder = Folder(runs)
    if not folder.folders():
        raise MissingPathError(runs, "runs", "Run a sweep first, such as `clibd-sweep batch-size --demo`.")
    return folder


def main() -> None:
    """Entry point of `clibd-results`."""
    run_command(app)
