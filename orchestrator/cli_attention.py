"""`clibd attention`: data of Figures 5 and 11 to 13."""

from typing import Annotated, Literal

import typer

from workloads.spec import Recipe


def attention(
    run: Annotated[str, typer.Argument(help="Folder of a finished run that was evaluated on the data set.")],
    data: Annotated[str, typer.Option(help="Prepared data set, for its images.")],
    before: Annotated[
        list[str] | None, typer.Option(help="Another evaluated run to compare with; repeat it for several.")
    ] = None,
    untrained: Annotated[
        bool,
        typer.Option("--untrained", help="Compare with the same towers before training too; it embeds all images."),
    ] = False,
    partition: Annotated[Literal["val", "test"], typer.Option(help="Whose queries.")] = "val",
    number: Annotated[int, typer.Option(min=1, help="Queries of each outcome, of seen and of unseen species.")] = 6,
    recipe: Annotated[Recipe | None, typer.Option(help="How attention is rolled out. Default: the run's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice among queries of one outcome.")] = 42,
) -> None:
    """Store where the vision tower looks, for queries whose species it names or misses, before and after.

    Figure 5: clibd attention RUN --data DIR --untrained
    Figures 11 to 13: … --untrained --before IMAGE_TEXT_RUN --before IMAGE_DNA_RUN

    Then clibd-results figure 5 RUN --data DIR, or 11, 12, 13.
    """
    from orchestrator.attention_command import attention_command

    attention_command(run, data, before or [], untrained, partition, number, recipe, seed)
