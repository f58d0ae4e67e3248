"""`clibd evaluate`: retrieval accuracies of a run, or of an OpenCLIP model."""

from enum import StrEnum
from typing import Annotated, Literal

import typer

from workloads.spec import Recipe


class OtherKeys(StrEnum):
    """Keys that may be searched beside all of them."""

    SEEN = "seen"
    UNSEEN = "unseen"
    OWN = "own"


def evaluate(
    model: Annotated[str, typer.Argument(help="Folder of a finished run; hf-hub:OWNER/NAME, NAME:TAG or a folder.")],
    data: Annotated[
        str | None, typer.Option(help="Prepared data set. Default: the run's own, from its stored embeddings.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Folder to write. Default: evaluation-NAME in the run.")] = None,
    keys: Annotated[
        list[OtherKeys] | None,
        typer.Option(help="Search these keys too, beside all of them; own: of each query's kind. Repeat it."),
    ] = None,
    recipe: Annotated[
        Recipe | None, typer.Option(help="Decides what a missing name at a rank does. Default: the run's.")
    ] = None,
    prompts: Annotated[
        Literal["openai", "photo", "plain"], typer.Option(help="OpenCLIP: 80 sentences around a label, one, or none.")
    ] = "openai",
    untrained: Annotated[bool, typer.Option("--untrained", help="Measure the run as it was before training.")] = False,
    training: Annotated[
        bool, typer.Option("--training", help="Embed named training specimens too, for `clibd bzsl`.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Embed anew, whatever is stored.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Embed on this many Ray actors. Default: in this process.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Embed on this Ray cluster: `auto` on its head node.")] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave GPUs alone.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Weights from this machine only.")] = False,
    form: Annotated[
        Literal["md", "csv", "json"], typer.Option("--format", help="md to read; csv and json have every number.")
    ] = "md",
) -> None:
    """Embed keys and queries once, search, and measure with 95 % intervals, beside chance and majority.

    All 21 pairs of query and key features are measured at k = 1, 3, 5 and four ranks. What was embedded is kept and
    used again. Text keys are searched record by record (`text`) and as one string a species (`species_text`).

    Example: clibd evaluate RUN --data DIR

    Example: clibd evaluate RUN --keys own              the run's own data again, each query among keys of its kind

    Example: clibd evaluate hf-hub:imageomics/bioclip --data DIR --prompts photo
    """
    import os

    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported, which comes next
    from orchestrator.evaluate_command import Asked, evaluate_command

    asked = Asked(
        model=model,
        data=data,
        out=out,
        keys=tuple(choice.value for choice in keys or ()),
        recipe=recipe,
        prompts=prompts,
        untrained=untrained,
        with_rest=training,
        again=again,
        workers=workers,
        address=address,
        cpu_only=cpu,
    )
    evaluate_command(asked, form)
