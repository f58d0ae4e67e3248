"""Carries out `clibd convert`."""

from pathlib import Path

from orchestrator.progress import stderr_console
from workloads.errors import UsageError
from workloads.models.conversion import TOKENIZER, Conversion, check_target, convert
from workloads.models.conversion_published import BARCODEBERT, PUBLISHED, fetch
from workloads.models.conversion_reading import read_checkpoint
from workloads.storage import Folder, cache_folder

_SHOWN = 5
"""Leftovers that are named; all of them are in provenance.json."""


def convert_command(source: str, to: str | None, tokenizer: str | None) -> None:
    """Convert a file, or a published one that is fetched first; the folder is printed."""
    console = stderr_console()
    target = to or _default_target(source)
    check_target(Folder(target))
    if source in PUBLISHED and not Path(source).is_file():
        console.print(f"Fetching {PUBLISHED[source].address}")
        path = fetch(source, target)
    else:
        path = Path(source)
    console.print(f"Reading {path}")
    done = convert(read_checkpoint(path), Folder(target), tokenizer or TOKENIZER)
    for line in _account(done):
        console.print(line)
    print(target)


def _default_target(source: str) -> str:
    """Where a published file goes.

    Raises:
        UsageError: it is none, so that its folder has to be named.
    """
    if source not in PUBLISHED:
        raise UsageError(f"--to is missing: the folder to write. Published names, which need none: {_names()}")
    return str(cache_folder() / "weights" / source) if source == BARCODEBERT else source


def _names() -> str:
    return ", ".join(PUBLISHED)


def _account(done: Conversion) -> list[str]:
    """What was made and what became of every tensor."""
    named = ", ".join(done.leftovers[:_SHOWN]) + (", …" if len(done.leftovers) > _SHOWN else "")
    lines = [
        f"{done.what}: {done.num_tensors:,} tensors, {done.num_merged} adapters merged into their layers",
        f"{len(done.leftovers)} leftovers dropped{f': {named}' if named else ''}",
    ]
    if done.beside:
        lines.append(f"Not looked at: {', '.join(done.beside)}")
    return [*lines, done.use]
