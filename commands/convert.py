"""`clibd convert`: a released checkpoint as safetensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from commands.options import BusyOption
from workloads.errors import UsageError
from workloads.printed_text import say

if TYPE_CHECKING:
    from workloads.conversion.convert import Conversion

_SHOWN = 5
"""Leftovers that are named; all of them are in provenance.json."""


def convert(
    source: Annotated[str, typer.Argument(help="Checkpoint (.pth), or a published name such as barcodebert-5mer.")],
    to: Annotated[str | None, typer.Option(help="Folder to write. Published names have a default.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Word pieces of a text tower: Hugging Face id or folder. Default: BERT's.")
    ] = None,
    dna_pooling: Annotated[
        Literal["softmax_mean", "logits_mean", "hidden_mean", "cls_token"] | None,
        typer.Option(help="How a model pools DNA, which its tensors do not tell. Default: what a published name says."),
    ] = None,
    head_width: Annotated[
        int | None,
        typer.Option(
            min=1, help="Width of each attention head, which tensors do not tell. Default: 64 of what was released."
        ),
    ] = None,
    busy: BusyOption = "refuse",
) -> None:
    """Turn a released checkpoint into safetensors with JSON beside; every tensor in it is accounted for.

    Published names: barcodebert-5mer, clibd-image-dna, clibd-image-dna-text, clibd-image-text, and clibd-5m-… of each.

    Example: clibd convert best.pth --to released --dna-pooling softmax_mean, then clibd evaluate released --data DIR
    """
    from workloads.command_line import stderr_console
    from workloads.conversion import convert as conversion
    from workloads.conversion.foreign_checkpoint import read_checkpoint
    from workloads.conversion.released import PUBLISHED, PUBLISHED_AT
    from workloads.lease import held
    from workloads.storage import Folder

    console = stderr_console()
    target = to or _default_target(source)
    with held(Folder(target), busy):
        conversion.check_target(Folder(target))
        if source in PUBLISHED and not Path(source).is_file():
            console.print(f"Fetching {PUBLISHED_AT}{PUBLISHED[source].file}")
            path = conversion.fetch(source, target)
        else:
            path = Path(source)
        console.print(f"Reading {path}")
        checkpoint = read_checkpoint(path)
        words = tokenizer or conversion.TOKENIZER
        done = conversion.convert(checkpoint, Folder(target), words, dna_pooling, head_width)
    for line in _account(done, checkpoint.beside):
        console.print(line)
    say(target)


def _default_target(source: str) -> str:
    """Where a published file goes.

    Raises:
        UsageError: it is none, so that its folder has to be named.
    """
    from workloads.conversion.released import PUBLISHED
    from workloads.models.bert import CONVERTED_WEIGHTS
    from workloads.storage import cache_folder

    if source not in PUBLISHED:
        names = ", ".join(PUBLISHED)
        raise UsageError(f"--to is missing: the folder to write. Published names, which need none: {names}")
    return str(cache_folder() / "weights" / source) if source == CONVERTED_WEIGHTS else source


def _account(done: "Conversion", beside: Sequence[str]) -> list[str]:
    """What was made and what became of every tensor."""
    named = ", ".join(done.leftovers[:_SHOWN]) + (", …" if len(done.leftovers) > _SHOWN else "")
    lines = [
        f"{done.what}: {done.num_tensors:,} tensors, {done.num_merged} adapters merged into their layers",
        f"{len(done.leftovers)} leftovers dropped{f': {named}' if named else ''}",
    ]
    if done.dna_pooling:
        lines.append(f"DNA is pooled as {done.dna_pooling}; --dna-pooling names another way")
    if beside:
        lines.append(f"Not looked at: {', '.join(beside)}")
    return [*lines, done.use]
