"""`clibd verify`: whether what lies in a folder is what was written there."""

import json
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from workloads.command_line import counting, stderr_console
from workloads.storage import Folder
from workloads.verify import Verdict, things_in


def verify(
    folder: Annotated[
        str,
        typer.Argument(
            help="Prepared data set, database, run, evaluation, folder of runs, weights, or a folder with a specimen "
            "table; a path, or an s3:// or gs:// address."
        ),
    ],
    form: Annotated[Literal["text", "json"], typer.Option("--format", help="For people or for programs.")] = "text",
) -> None:
    """Compare every file with its digest; say what is damaged and what to do. Nothing is changed.

    The exit code is 0 where all is whole, or of an earlier version without digests; 1 where something is damaged; 2
    where nothing of ours is there.

    Example: clibd verify runs                        every run of every sweep

    Example: clibd verify DATA                        a prepared data set, shards included
    """
    console, verdicts = stderr_console(), []
    for address, check in things_in(Folder(folder)):
        with counting(console, f"Verifying {address}", "files") as tell:
            verdicts.append(check(tell))
        if form == "text":
            print(_words(verdicts[-1]), flush=True)
    if form == "json":
        print(json.dumps([asdict(verdict) for verdict in verdicts], indent=1))
    if any(verdict.state == "damaged" for verdict in verdicts):
        raise typer.Exit(1)


def _words(verdict: Verdict) -> str:
    note = f". {verdict.note[:1].upper()}{verdict.note[1:]}" if verdict.note else ""
    compared = f"{verdict.num_files:,} file{'' if verdict.num_files == 1 else 's'} compared"
    lines = [f"{verdict.state}: {verdict.address} ({verdict.kind}, {compared}){note}"]
    for problem in verdict.problems:
        lines += [f"  {problem.file}: {problem.reason}", f"    {problem.remedy}"]
    if verdict.strangers:
        listed = ", ".join(verdict.strangers[:5]) + ("…" if len(verdict.strangers) > 5 else "")
        lines.append(f"  not sealed, which is no damage: {listed}")
    return "\n".join(lines)
