"""`clibd attention`: data of Figures 5 and 11 to 13."""

from typing import Annotated, Literal

import typer

from commands.options import BusyOption, FormOption, print_sheets
from results.sheet import Cell, Sheet
from workloads.command_line import stderr_console
from workloads.lease import held
from workloads.seals import run_of
from workloads.spec import Recipe
from workloads.storage import Folder


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
    form: FormOption = "md",
    busy: BusyOption = "refuse",
) -> None:
    """Store where the vision tower looks, for queries whose species it names or misses, before and after.

    Figure 5: clibd attention RUN --data DIR --untrained
    Figures 11 to 13: … --untrained --before IMAGE_TEXT_RUN --before IMAGE_DNA_RUN

    Then clibd-results figure 5 RUN --data DIR, or 11, 12, 13.
    """
    from workloads.measuring.attention_folder import measure_attention

    others = [Folder(address) for address in before or []]
    with held(run_of(Folder(run)), busy):
        folder = measure_attention(Folder(run), Folder(data), None, others, untrained, partition, number, recipe, seed)
    about = folder.read_json(f"attention-{partition}.json")
    kind = " (SYNTHETIC specimens)" if about["synthetic"] else ""
    cells = [
        Cell(
            table="attention",
            row={"Species": found["subset"], **dict(zip(about["models"], found["outcome"].split(), strict=True))},
            column="queries",
            partition=partition,
            subset=found["subset"],
            unit="count",
            ours=found["queries"],
            recipe=about["recipe"],
            dataset=about["dataset"],
            synthetic=about["synthetic"],
            runs=tuple(about["runs"]),
        )
        for found in about["outcomes"]
    ]
    title = f"Species named by the nearest image, {partition} queries{kind}"
    headers = {name: name for name in about["models"]}
    print_sheets([Sheet(title=title, cells=tuple(cells), headers=headers)], form)
    stderr_console().print(f"Maps (recipe {about['recipe']}): {folder}/attention-{partition}.parquet")
