"""What a sweep ends with: statistics, the closing table, and where its results are looked at."""

import os
import shlex
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from workloads.command_line import stderr_console
from workloads.errors import ClibdError
from workloads.printed_text import say

if TYPE_CHECKING:
    from orchestrator.request import SweepRequest


def say_what_came_out(request: "SweepRequest", full: bool, demo: bool) -> None:
    """Statistics beside the whole paper, the closing table, and the dashboard; of a demo it is exported and opened.

    Args:
        request: what was run.
        full: whether every table is printed whole.
        demo: whether somebody tries all this, who is to see it at once.
    """
    from commands.statistics import statistics_of
    from results.paper.closing import closing_words

    console = stderr_console()
    if len(request.sweeps) > 1:
        statistics_of(str(request.data.folder), f"{request.runs}/statistics", console)
    say(closing_words(request.sweeps, request.runs, full))
    console.print(f"Runs: {request.runs}")
    if demo and request.runs.is_local:
        _export(request, console)
    words = ["clibd-dashboard", str(request.runs), "--data", str(request.data.folder)]
    console.print(f"Dashboard, live also while a sweep runs: {shlex.join(words)}")


def _export(request: "SweepRequest", console: Console) -> None:
    """The dashboard as a folder beside the runs, which another one there does not hinder."""
    from commands.dashboard import export_with_progress
    from results.dashboard.catalog import Catalog

    runs = Path(request.runs.path)
    try:
        first = export_with_progress(Catalog(request.runs, request.data.folder), runs.with_name(f"{runs.name}-pages"))
    except ClibdError as error:  # the runs are there all the same
        console.print(f"Not exported: {error}")
        return
    if _has_reader():
        webbrowser.open(first.as_uri())


def _has_reader() -> bool:
    """Whether somebody sits at a terminal beside a browser with windows; never in CI."""
    if os.environ.get("CI") or not (sys.stdout.isatty() and sys.stderr.isatty()):
        return False
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False  # a browser of the terminal itself would take it over
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True
