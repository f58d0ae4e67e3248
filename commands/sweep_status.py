"""`clibd-sweep status` and `clibd-sweep logs`: what runs where, and what went wrong, from run folders alone."""

import json
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from commands.options import RunsOption
from workloads.command_line import PlainConsole, clock
from workloads.printed_text import in_a_line, say
from workloads.storage import Folder

if TYPE_CHECKING:
    from rich.console import Console

    from results.sweep_status import Standing

_HEADERS = ("point", "state", "epoch", "specimens/s", "time left", "restarts", "host", "last error")
_EVERY = 5.0
"""Seconds between two looks of --watch."""
_SILENT = 30.0
"""Seconds without a beat that are worth a word."""
_ERROR_SHOWN = 100
"""Letters of an error in a line; `logs` has the rest."""
_LONG = ("state", "host", "last error")
"""What goes into further lines where a terminal is narrow."""
_WIDE = 10_000
"""Columns of what is no terminal."""


def status(
    name: Annotated[str | None, typer.Argument(help="Of a sweep, or `train`. Default: all that is there.")] = None,
    runs: RunsOption = "runs",
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until nothing is left to do.")] = False,
    form: Annotated[Literal["md", "json"], typer.Option("--format", help="md to read; json.")] = "md",
) -> None:
    """Say how far the points of sweeps are: state, epoch, speed, time left, restarts, hosts and the last error.

    It reads run folders alone, so any machine that reaches them will do, also while their cluster is gone. A point is
    interrupted when it has begun and nobody is at it: the process that held it has not been heard of for a minute.
    With --watch a terminal shows each look, and a file or a program gets those in which something has changed.

    Example: clibd-sweep status --watch

    Example: clibd-sweep status batch-size --runs s3://bucket/runs --format json
    """
    from results.sweep_status import OVER, Statuses

    statuses, before, console = Statuses(Folder(runs), name), list[object](), PlainConsole()
    if not console.is_terminal:
        console.width = _WIDE
    while True:
        found = statuses.read()
        known: list[object] = [(one.state, one.epoch, one.restarts, one.waiting_for, one.error) for one in found]
        if watch and console.is_terminal and form == "md":
            console.clear()
            _show(found, runs, console)
        elif known != before and form == "json":
            said = {"points": [asdict(one) for one in found], "totals": _totals(found), "next": _next(found, runs)}
            say(json.dumps(said, indent=None if watch else 1))
        elif known != before:
            _show(found, runs, console)
        if not watch or all(one.state in OVER for one in found):
            return
        before = known
        time.sleep(_EVERY)


def _show(found: "Sequence[Standing]", runs: str, console: "Console") -> None:
    """A table for each sweep, as wide as the terminal; elsewhere each point is a line."""
    from rich.box import MARKDOWN
    from rich.table import Table
    from rich.text import Text

    for sweep in dict.fromkeys(one.sweep for one in found):
        rows = [_cells(one) for one in found if one.sweep == sweep]
        used = [number for number in range(len(_HEADERS)) if any(row[number] for row in rows)]
        table = Table(box=MARKDOWN, title=in_a_line(sweep), title_justify="left", title_style="bold")
        for number in used:
            table.add_column(_HEADERS[number], no_wrap=_HEADERS[number] not in _LONG, overflow="fold")
        for row in rows:
            table.add_row(*(Text(in_a_line(row[number])) for number in used))
        console.print(table)
    counted = ", ".join(f"{count} {state}" for state, count in _totals(found).most_common())
    console.print(f"{len(found)} points: {counted}\nnext: {_next(found, runs)}", soft_wrap=True)


def _totals(found: "Sequence[Standing]") -> Counter[str]:
    return Counter(one.state for one in found)


def _cells(standing: "Standing") -> list[str]:
    rate, left = standing.specimens_per_second, standing.seconds_left
    error = standing.error or ""
    hosts = ", ".join(standing.hosts[:2]) + (f" and {len(standing.hosts) - 2} more" if len(standing.hosts) > 2 else "")
    return [
        standing.label,
        _state(standing),
        f"{standing.epoch} of {standing.epochs or '?'}" if standing.epoch else "",
        f"{rate:,.0f}" if rate else "",
        clock(left) if left else "",
        str(standing.restarts or ""),
        hosts,
        error if len(error) <= _ERROR_SHOWN else f"{error[: _ERROR_SHOWN - 1]}…",
    ]


def _state(standing: "Standing") -> str:
    words = standing.state
    if standing.state == "waiting":
        words += f" for {standing.waiting_for}" if standing.waiting_for else ""
        words += f", {clock(standing.waited)} so far" if standing.waited else ""
    if standing.silence is not None and standing.silence > _SILENT:
        words += f", no beat for {clock(standing.silence)}"
    return words


def _next(found: "Sequence[Standing]", runs: str) -> str:
    """What the user does next, as a command where there is one."""
    from results.sweep_status import LIVE

    at = f" --runs {shlex.quote(runs)}" if runs != "runs" else ""
    if any(standing.state in LIVE for standing in found):
        return f"clibd-sweep status{at} --watch"
    failed = next((standing for standing in found if standing.state == "failed"), None)
    begun = next((standing for standing in found if standing.state in ("failed", "interrupted")), None)
    reason = f"clibd-sweep logs {failed.run}{at} has the reason; then " if failed else ""
    if begun is not None and begun.command:
        return f"{reason}the same command goes on: {begun.command}"
    sweep = next((standing.sweep for standing in found if standing.state not in ("finished", "impossible")), None)
    if sweep is not None:
        return f"{reason}start the sweep again, as it was started: clibd-sweep {sweep} …{at}"
    return f"clibd-dashboard {shlex.quote(runs)}"


def logs(
    run: Annotated[str, typer.Argument(help="Id of a run, the beginning of one, or a point's label.")],
    runs: RunsOption = "runs",
    attempt: Annotated[int | None, typer.Option(min=1, help="Only this one. Default: all, the last one whole.")] = None,
    worker: Annotated[int | None, typer.Option(min=0, help="Only what this worker printed. Default: all.")] = None,
) -> None:
    """Print how the attempts at a run ended, with tracebacks, and what the workers of the last one printed.

    Example: clibd-sweep logs bioscan_1m-image+dna-s42-9d814901

    Example: clibd-sweep logs "batch 500" --attempt 2 --worker 1
    """
    from results.run_logs import found_run, log_text

    say(log_text(found_run(Folder(runs), run), attempt, worker))
