"""Options that several commands share, and how a command ends."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from results.sheet import Format, Sheet
from workloads.errors import MissingPathError
from workloads.lease import Busy
from workloads.printed_text import say
from workloads.storage import Folder

FormOption = Annotated[
    Format,
    typer.Option("--format", help="md, latex and html to read; csv and json have every number in long form."),
]
AddressOption = Annotated[
    str | None, typer.Option(help="Ray cluster to use: `auto` on its head node. Default: this machine.")
]
WorkersOption = Annotated[
    str | None,
    typer.Option(
        help="Workers of a run: 4, or the least and the most, 2-8. Default: the GPUs of one node; without GPUs, 2."
    ),
]
CpuOption = Annotated[bool, typer.Option("--cpu", help="Leave GPUs alone.")]
GpuKindOption = Annotated[
    str | None, typer.Option(help="Of several kinds of GPU this one, such as A100. Default: that with most on a node.")
]
WaitOption = Annotated[
    str | None, typer.Option(help="Wait for machines no longer than this: 90s, 30m, 2h. Default: without end.")
]
RunsOption = Annotated[str, typer.Option(help="Folder of runs, as `clibd-sweep --runs` was given.")]


StrictOption = Annotated[
    bool, typer.Option("--strict", help="Exit with 1 where a run is damaged, and list the cells that it would fill.")
]
BusyOption = Annotated[
    Busy,
    typer.Option(help="Where another process writes there: refuse, wait for its end, or wait and show how far it is."),
]


def print_sheets(sheets: Iterable[Sheet], form: Format) -> None:
    """Print sheets one below the other, as one text."""
    from results.render import render_sheets

    say(render_sheets(list(sheets), form))


def end_with_damage(sheets: Sequence[Sheet], where: str, strict: bool) -> None:
    """Say on stderr in a line what of runs is damaged, if anything; where it is not to be, which cells lack it.

    Raises:
        typer.Exit: with 1, where it is strict.
    """
    from results.damage import damage_words, missing_for_damage

    if (words := damage_words(sheets, where)) is None:
        return
    for line in missing_for_damage(sheets) if strict else ():
        typer.echo(line, err=True)
    typer.echo(words, err=True)
    if strict:
        raise typer.Exit(1)


def existing_runs(runs: str) -> Folder:
    """The folder of runs.

    Raises:
        MissingPathError: there are none in it.
    """
    folder = Folder(runs)
    if not folder.folders():
        raise MissingPathError(runs, "runs", "Run a sweep first, such as `clibd-sweep batch-size --demo`.")
    return folder


def _say_version(wanted: bool) -> None:
    if wanted:
        from workloads.record import provenance

        made = provenance()
        packages = ", ".join(f"{name} {made['packages'][name] or 'missing'}" for name in ("torch", "ray"))
        say(f"clibd-ray {made['clibd']}, Python {made['python']}, {packages}")
        raise typer.Exit


def with_version(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say the versions of this, Python, torch and Ray."
        ),
    ] = False,
) -> None:
    """What each program does before its commands: nothing, unless it is asked for its version."""
