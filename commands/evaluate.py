"""`clibd evaluate`: retrieval accuracies of a run, or of an OpenCLIP model."""

import os
from enum import StrEnum
from typing import Annotated, Literal, get_args

import typer

from commands.options import FormOption
from workloads.spec import Recipe


class OtherKeys(StrEnum):
    """Keys that may be searched beside all of them; typer takes no list of literals."""

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
    full: Annotated[bool, typer.Option("--full", help="Print all ranks, retrievals and baselines.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Embed on this many Ray actors. Default: in this process.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Embed on this Ray cluster: `auto` on its head node.")] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave GPUs alone.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Weights from this machine only.")] = False,
    form: FormOption = "md",
) -> None:
    """Embed keys and queries once, search, and measure with 95 % intervals, beside chance and majority.

    All 21 pairs of query and key features are measured at k = 1, 3, 5 and four ranks. What was embedded is kept and
    used again. Text keys are searched record by record (`text`) and as one string a species (`species_text`).

    Example: clibd evaluate RUN --data DIR

    Example: clibd evaluate RUN --keys own              the run's own data again, each query among keys of its kind

    Example: clibd evaluate hf-hub:imageomics/bioclip --data DIR --prompts photo
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported, which comes next
    from orchestrator import evaluating
    from orchestrator.progress import stderr_console
    from orchestrator.session import resources_here
    from results.measured.evaluation import evaluation_sheet
    from results.render import render_sheets
    from workloads.errors import UsageError
    from workloads.predictions import KeyChoice
    from workloads.record import RunFolder
    from workloads.storage import Folder

    target = None if out is None else Folder(out)
    if target is not None and target.has("spec.json"):
        raise UsageError(f"--out {out} is the folder of a run, whose own measurements would be lost")
    on_ray = workers is not None or address is not None
    where = evaluating.Embedding(
        resources=resources_here(workers, address, cpu) if on_ray else None,
        address=address,
        device=evaluating.this_device(cpu),
        again=again,
    )
    run = None if evaluating.is_openclip(model) else RunFolder(Folder(model))
    asked = [name for name in get_args(KeyChoice) if name in (keys or ())]
    if run is None:
        if data is None or untrained or training:
            raise UsageError("an OpenCLIP model needs --data, and is measured as it is, on keys and queries alone")
        found = evaluating.evaluate_openclip(model, Folder(data), target, recipe or "corrected", prompts, asked, where)
    elif data is None:
        if untrained or again or training:
            raise UsageError("without --data a run's own embeddings are measured; name a data set to embed it")
        found = evaluating.evaluate_again(run, target, recipe, asked)
    else:
        found = evaluating.evaluate_run(run, Folder(data), target, recipe, asked, untrained, training, where)
    sheet = evaluation_sheet(found.about, found.measurements, full or form in ("csv", "json"))
    print(render_sheets([sheet], form))
    console = stderr_console()
    console.print(f"Predictions and measurements: {found.folder}")
    console.print(f"Next: clibd-results table 1 --run {found.folder}, beside the published numbers")
