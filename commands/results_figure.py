"""`clibd-results figure`: a figure of finished runs."""

from typing import Annotated, Literal

import typer

from workloads.spec import Rank


def figure(
    name: Annotated[str, typer.Argument(help="Number in the paper: 3, 4, 5 or 9 to 13; or confusion.")],
    runs: Annotated[list[str], typer.Argument(help="Evaluated run folder; figure 9 takes several, or a sweep's.")],
    data: Annotated[str | None, typer.Option(help="Prepared data set, where pictures or barcodes are drawn.")] = None,
    before: Annotated[str | None, typer.Option(help="Evaluation before alignment, to draw beside (10).")] = None,
    partition: Annotated[Literal["val", "test"], typer.Option(help="Whose queries.")] = "val",
    rank: Annotated[Rank | None, typer.Option(help="Whose names. Default: as in the paper.")] = None,
    within: Annotated[str | None, typer.Option(help="Only queries of this higher taxon (10).")] = None,
    query: Annotated[str, typer.Option(help="Feature that asks (3, confusion).")] = "image",
    key: Annotated[str, typer.Option(help="Feature that answers (confusion).")] = "dna",
    subset: Annotated[str | None, typer.Option(help="Only seen or unseen queries (3, confusion).")] = None,
    only_errors: Annotated[bool, typer.Option("--only-errors", help="Only wrong nearest keys (3).")] = False,
    seed: Annotated[int, typer.Option(help="Of what is drawn by chance, and of UMAP.")] = 413,
    out: Annotated[str | None, typer.Option(help="Folder for the files. Default: figures/ in the run folder.")] = None,
) -> None:
    """Draw a figure of finished runs: PNG, SVG, and its numbers as CSV."""
    from results.figures.drawing import Asked, draw_figure

    asked = Asked(
        tuple(runs), data, before, partition, rank, within, query, key, subset, only_errors=only_errors, seed=seed
    )
    for file in draw_figure(name, asked, out):
        typer.echo(file)
