"""`clibd evaluate`: retrieval accuracies of a run, or of an OpenCLIP model."""

import os
from enum import StrEnum
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from commands.options import AddressOption, BusyOption, CpuOption, FormOption, GpuKindOption, WaitOption, print_sheets
from workloads.command_line import stderr_console
from workloads.errors import UsageError
from workloads.spec import Fusion, Recipe

if TYPE_CHECKING:
    from workloads.measuring.evaluation_folder import Embed

OtherKeys = StrEnum("OtherKeys", ("seen", "unseen", "own", "calibrated", "csls", "inverted_softmax"))
"""What may be searched beside the nearest of all keys; typer takes no list of literals."""

_Data = Annotated[
    str | None, typer.Option(help="Prepared data set. Default: the run's own, from its stored embeddings.")
]
_Keys = Annotated[
    list[OtherKeys] | None,
    typer.Option(
        help="Search so too, beside all keys. own: keys of each query's kind; calibrated: a constant, chosen on "
        "validation, off those of seen species; csls, inverted_softmax: against keys that answer everybody. Repeat it."
    ),
]
_Fusion = Annotated[
    Fusion | None,
    typer.Option(help="Ask by image and DNA of a specimen together too, and of such keys. Default: the run's own way."),
]
_Recipe = Annotated[Recipe | None, typer.Option(help="Decides what a missing name at a rank does. Default: the run's.")]
_Prompts = Annotated[
    Literal["openai", "photo", "plain"], typer.Option(help="OpenCLIP: 80 sentences around a label, one, or none.")
]
_Training = Annotated[bool, typer.Option("--training", help="Embed named training specimens too, for `clibd bzsl`.")]
_Workers = Annotated[
    str | None, typer.Option(help="Embed on this many Ray actors: 4, or from 2-8. Default: in this process.")
]


def evaluate(
    model: Annotated[str, typer.Argument(help="Folder of a finished run; hf-hub:OWNER/NAME, NAME:TAG or a folder.")],
    data: _Data = None,
    out: Annotated[str | None, typer.Option(help="Folder to write. Default: evaluation-NAME in the run.")] = None,
    keys: _Keys = None,
    fusion: _Fusion = None,
    recipe: _Recipe = None,
    prompts: _Prompts = "openai",
    untrained: Annotated[bool, typer.Option("--untrained", help="Measure the run as it was before training.")] = False,
    training: _Training = False,
    again: Annotated[bool, typer.Option("--again", help="Embed anew, whatever is stored.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Print all ranks, retrievals and baselines.")] = False,
    workers: _Workers = None,
    address: AddressOption = None,
    cpu: CpuOption = False,
    gpu_kind: GpuKindOption = None,
    wait: WaitOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Weights from this machine only.")] = False,
    form: FormOption = "md",
    busy: BusyOption = "refuse",
) -> None:
    """Embed keys and queries once, search, and measure with 95 % intervals, beside chance and majority.

    All 21 pairs of query and key features are measured at k = 1, 3, 5 and four ranks. What was embedded is kept and
    used again. Text keys are searched record by record (`text`) and as one string a species (`species_text`).

    Example: clibd evaluate RUN --data DIR

    Example: clibd evaluate RUN --keys own              the run's own data again, each query among keys of its kind

    Example: clibd evaluate RUN --keys calibrated       and the constant taken off keys of seen species, with its area

    Example: clibd evaluate RUN --fusion mean            image, barcode, or both, as queries and as keys

    Example: clibd evaluate hf-hub:imageomics/bioclip --data DIR --prompts photo
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported, which comes next
    from clibd.evaluating import evaluate as measured
    from results.measured import evaluation_sheet

    made = measured(
        model,
        data,
        out=out,
        keys=keys or [],
        fusion=fusion,
        recipe=recipe,
        prompts=prompts,
        untrained=untrained,
        training=training,
        again=again,
        cpu=cpu,
        busy=busy,
        embed=_embedding(workers, address, cpu, gpu_kind, wait),
    )
    sheet = evaluation_sheet(made.about, made.measurements, full or form in ("csv", "json"))
    print_sheets([sheet], form)
    console = stderr_console()
    console.print(f"Predictions and measurements: {made.folder}")
    console.print(f"Next: clibd-results table 1 --run {quote(str(made.folder))}, beside the published numbers")


def _embedding(
    workers: str | None, address: str | None, cpu: bool, gpu_kind: str | None, wait: str | None
) -> "Embed | None":
    """Embeds on Ray where that was asked for; None: nobody did.

    Raises:
        UsageError: an option means nothing, or means something only on Ray.
    """
    if workers is None and address is None:
        if gpu_kind or wait:
            raise UsageError("--gpu-kind and --wait choose among Ray's machines; add --workers or --address")
        return None
    from orchestrator.embedding import embed_on_ray
    from orchestrator.workers import Wanted

    return partial(embed_on_ray, wanted=Wanted.of(workers, cpu, gpu_kind, wait), address=address)
