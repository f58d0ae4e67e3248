"""`clibd identify`: names for specimens, from images, barcodes or both, with a confidence that holds."""

import os
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from commands.look import ImagesOption, MapOption
from workloads.command_line import counting, stderr_console
from workloads.errors import MissingPathError, UsageError, some_of
from workloads.record import command_line, provenance
from workloads.spec import Rank
from workloads.storage import Folder

if TYPE_CHECKING:
    from workloads.identification.answering import Tally
    from workloads.identification.database import Database
    from workloads.placement import Placement

FilesArgument = Annotated[
    list[str],
    typer.Argument(
        help="Images, folders, patterns, .zip, FASTA or FASTQ (.gz), tables with images and barcodes; - is stdin."
    ),
]
RecursiveOption = Annotated[bool, typer.Option("--recursive", help="Also the images in a folder's folders.")]
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="Where a run's towers embed. auto: the GPU, where there is one.")
]
_Form = Annotated[
    Literal["csv", "tsv", "json", "parquet", "xlsx", "dwc", "bcdm", "blast6"] | None,
    typer.Option("--format", help="Default: as --out ends, else csv. dwc is Darwin Core, bcdm BOLD's columns."),
]
_Within = Annotated[
    str | None,
    typer.Option(help="Taxa that come into question: a file with a name a line, or names between commas."),
]
_Out = Annotated[
    str | None, typer.Option(help="File to write; one that was broken off goes on. Default: stdout.", dir_okay=False)
]


def identify(
    files: FilesArgument,
    db: Annotated[str, typer.Option(help="Database: its folder, or hf-hub:OWNER/NAME.")],
    rank: Annotated[Rank | None, typer.Option(help="The deepest rank to name. Default: species.")] = None,
    k: Annotated[int | None, typer.Option(min=1, help="List this many nearest keys instead of a name.")] = None,
    within: _Within = None,
    confidence: Annotated[float, typer.Option(help="Least confidence of a name that is given.")] = 0.95,
    all_ranks: Annotated[bool, typer.Option("--all-ranks", help="A row for each rank, with its confidence.")] = False,
    form: _Form = None,
    out: _Out = None,
    columns: MapOption = None,
    images: ImagesOption = None,
    recursive: RecursiveOption = False,
    device: DeviceOption = "auto",
    log: Annotated[str | None, typer.Option(help="File (.json) for how the answers were made; never replaced.")] = None,
) -> None:
    """Name specimens, each at the deepest rank at which the confidence holds, with its nearest key and its BIN.

    A record that cannot be read has its reason in the column error; nothing stops. docs/identify.md describes columns.

    Example: clibd identify photos/ --db DB --out answers.csv

    Example: clibd identify barcodes.fasta.gz --db DB --within checklist.txt --format xlsx --out answers.xlsx

    Example: cat barcodes.fasta | clibd identify - --db DB | less
    """
    from workloads.data.sources.columns import parse_map
    from workloads.identification.answering import answer_into, answer_to
    from workloads.identification.asking import Files
    from workloads.identification.database import Database
    from workloads.identification.formats import BINARY, format_of
    from workloads.identification.identifying import Asking, Identifier

    written = format_of(form, out)
    if out is None and written in BINARY and sys.stdout.isatty():
        raise UsageError(f"{written} is no text; name a file with --out answers.{written}")
    if log is not None:
        check_log(log)
    asked = Files(names=files, columns=parse_map(columns or []), images=images, recursive=recursive)
    asked.paths()
    asking = Asking(confidence=confidence, rank=rank, k=k, within=_taxa(within), all_ranks=all_ranks)
    began, console, database = time.time(), stderr_console(), Database(db)
    identifier = Identifier(database, asking, placement_on(device))
    if unknown := identifier.unknown_taxa:
        console.print(f"--within: not in {database.folder}: {some_of(unknown, 20)}")
    with counting(console, "Identifying", "specimens") as told:
        if out is None:
            with quiet_where_nobody_reads():
                tally = answer_to(sys.stdout.buffer, asked, identifier, written, told)
        else:
            tally = answer_into(out, asked, identifier, written, told)
    if log is not None:
        settings = {**asdict(asking), "within": within, "format": written, "map": columns or [], "device": device}
        _write_log(log, began, database, settings, files, out, tally)
    if not tally.num_queries:
        console.print(f"{some_of(files, 3)}: not one record in it, so that the answer has no row")
    else:
        console.print(f"{tally.words()}{'' if out is None else f': {out}'}")
        if database.facts.calibrated:
            console.print(f"Next: clibd db check {quote(db)} --data YOURS, for what the confidence is worth on yours")


@contextmanager
def quiet_where_nobody_reads() -> Iterator[None]:
    """Ends the command without a word where who reads its output has had enough, as `head` has.

    Raises:
        typer.Exit: then, with the code that a shell knows for it.
    """
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None


def placement_on(device: str) -> "Placement":
    """Where towers embed.

    Raises:
        UsageError: a GPU is wanted, and there is none.
    """
    from workloads.placement import Placement, this_device

    found = this_device(cpu_only=device == "cpu")
    if device == "cuda" and found.type != "cuda":
        raise UsageError(
            "--device cuda: torch finds no GPU here; `clibd doctor` says why, and --device cpu does without"
        )
    return Placement(found)


def check_log(log: str) -> None:
    """Refuse a log that is there, or that could not be written.

    Raises:
        UsageError: it is.
    """
    if Path(log).exists():
        raise UsageError(f"--log {log} is there, and is not replaced; name another file")
    if not (folder := Path(log).absolute().parent).is_dir():
        raise MissingPathError(Path(log).parent, "folder", "Make it, or name another file with --log.")
    if not os.access(folder, os.W_OK):  # else it would be known when all is answered
        raise UsageError(f"--log {log}: this user may not write in {folder}; name another file")


def _taxa(within: str | None) -> Collection[str] | None:
    """The names of a file, one a line, or between commas.

    Raises:
        UsageError: not one name.
    """
    if within is None:
        return None
    parts = Path(within).read_text().splitlines() if Path(within).is_file() else within.split(",")
    names = {" ".join(part.split()) for part in parts if part.strip() and not part.startswith("#")}
    if not names:
        raise UsageError(f"--within {within}: not one name in it; write a name a line")
    return names


def _write_log(
    log: str, began: float, database: "Database", settings: Any, files: list[str], out: str | None, tally: "Tally"
) -> None:
    """How the answers were made, as pybioclip's log has it."""
    from workloads.identification.database import FACTS

    made = provenance()
    facts = {
        "version": made["clibd"],
        "start": _moment(began),
        "end": _moment(time.time()),
        "command_line": command_line(),
        "database": {
            "folder": str(database.folder),
            "name": database.facts.name,
            "model": database.facts.model,
            "sha256": database.folder.digest(FACTS),
        },
        "settings": settings,
        "files": files,
        "out": out,
        "counts": tally.facts(),
        "made_with": {name: made[name] for name in ("python", "packages", "platform", "commit", "code")},
    }
    target = Path(log).absolute()
    Folder(target.parent).write_json(target.name, facts)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
