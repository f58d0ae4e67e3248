"""`clibd-dashboard`, which is `clibd dashboard` too: results in a browser, while sweeps run and afterwards."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import psutil
import typer
from typer.core import TyperGroup

from commands.options import existing_runs, with_version
from workloads.command_line import counting, run_program, stderr_console
from workloads.errors import ClibdError, MissingPathError, UsageError
from workloads.printed_text import remark, say
from workloads.stopping import end_with

if TYPE_CHECKING:
    from results.dashboard.catalog import Catalog

TOKEN = "CLIBD_DASHBOARD_TOKEN"
_SERVE = "serve"
_PORT = 8300
_UNTIL_IT_ANSWERS = 60.0
"""Seconds in which a server on a cluster is to begin, for a browser to be opened then."""
RunsArgument = Annotated[str, typer.Argument(help="Folder of runs: a path, or an s3:// or gs:// address.")]
DataOption = Annotated[
    str | None, typer.Option(help="Prepared data set: pictures, barcodes, and the page about the data.")
]


class _ClusterCommandError(ClibdError):
    """A dashboard on a cluster's head that ended by itself."""

    sentence = (
        "the dashboard on the head of {0} ended with exit code {1}; what it said stands above. "
        "`ray exec {0} 'clibd-dashboard --help'` shows whether the head is there and has it."
    )

    def __init__(self, cluster: str, code: int, /) -> None: ...


class _Dashboard(TyperGroup):
    """`clibd-dashboard RUNS` is `clibd-dashboard serve RUNS`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """What begins with no command and asks for no help is for `serve`; a shell that completes asks for commands."""
        completing = ctx.resilient_parsing and not args
        if not completing and (not args or args[0] not in (*self.list_commands(ctx), "--help", "--version")):
            args = [_SERVE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Dashboard,
    help="Look at results in a browser, from folders of runs alone: live while sweeps run, or as a folder to mail.\n\n"
    "`clibd-dashboard RUNS` is short for `clibd-dashboard serve RUNS`.",
    pretty_exceptions_enable=False,
    callback=with_version,
    rich_markup_mode="markdown",
)


@app.command(_SERVE)
def _serve(
    runs: RunsArgument = "runs",
    data: DataOption = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where it is taken, the next free one.")] = _PORT,
    host: Annotated[str, typer.Option(help="To listen at; one that others reach needs a token.")] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(help=f"Without which nobody reads. Better in {TOKEN}, which `ps` does not show.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact-port", help="End where the port is taken.")] = False,
    opens: Annotated[bool, typer.Option("--open/--no-open", help="Open it in a browser.")] = False,
    cluster: Annotated[
        str | None, typer.Option(help="Ray's file of a cluster: serve on its head, and forward the port to here.")
    ] = None,
) -> None:
    """Serve the results of a folder of runs, live while sweeps run.

    Example: clibd-dashboard runs --data DIR

    Example: clibd-dashboard --cluster cluster.yaml gs://BUCKET/runs
    """
    if cluster is not None and (token is not None or host != "127.0.0.1"):
        raise UsageError("--cluster serves on the head's own loopback, through ssh: leave out --host and --token")
    end_with("the dashboard has ended, and the runs are as they were.")
    if cluster is not None:
        _serve_on_head(cluster, runs, data, port, opens)
    else:
        _serve_here(runs, data, (host, port), token or os.environ.get(TOKEN) or None, exact, opens)


def _serve_here(
    runs: str, data: str | None, place: tuple[str, int], token: str | None, exact: bool, opens: bool
) -> None:
    import pyarrow as pa

    from results.dashboard.site.warming import begin_warming

    # Arrow's own pool keeps what reading an evaluation took for a moment: 30 MB of a quarter of a million answers.
    pa.set_memory_pool(pa.system_memory_pool())
    catalog = _catalog(runs, data)
    begin_warming(catalog)
    from results.dashboard.site.serving import served  # while runs are read

    with served(catalog, *place, token, exact=exact) as server:
        if place[1] not in (0, server.port):
            remark(f"Port {place[1]} is taken, so it is {server.port}.")
        say(f"{server.address} shows {catalog.address}. Ctrl-C ends it.")
        if opens:
            webbrowser.open(server.address)
        server.wait()


@app.command("export")
def _export(
    runs: RunsArgument = "runs",
    out: Annotated[Path, typer.Option(help="Folder to write; an earlier export there is replaced.")] = Path("site"),
    data: DataOption = None,
) -> None:
    """Write all pages as a folder that opens by double click, without a network, and can be mailed.

    Example: clibd-dashboard export runs --out site/ --data DIR
    """
    existing_runs(runs)  # what is exported does not come later, as it may where pages are served
    export_with_progress(_catalog(runs, data), out)


def export_with_progress(catalog: "Catalog", out: Path) -> Path:
    """Write the pages, and say where they are; gives the page to open.

    Raises:
        TakenFolderError: the folder holds something else.
    """
    from results.dashboard.site.export import export

    with counting(stderr_console(), "Exporting the dashboard", "pages") as tell:
        made = export(catalog, out, tell)
    size = f"{made.num_pages:,} pages, {made.num_bytes / 1e6:,.1f} MB"
    say(f"Exported: {made.first} ({size}). It opens in a browser without a network; mail the folder {out}.")
    return made.first


def _catalog(runs: str, data: str | None) -> "Catalog":
    """The runs, which may come later, and their data.

    Raises:
        MissingPathError: the data set is not there.
    """
    from results.dashboard.catalog import Catalog
    from workloads.storage import Folder

    folder = None if data is None else Folder(data)
    if folder is not None and not folder.has("dataset.json"):
        raise MissingPathError(str(folder), "prepared data set", "`clibd data prepare specimens.parquet` makes one.")
    return Catalog(Folder(runs), folder)


# --- On a cluster -------------------------------------------------------------------------------------------------


def _serve_on_head(cluster: str, runs: str, data: str | None, port: int, opens: bool) -> None:
    """Serve on the head until it is ended here; ssh forwards the port, which is the same on both sides.

    Raises:
        UsageError: there is no such file, or no `ray` command.
        _ClusterCommandError: it ended there.
    """
    if not Path(cluster).is_file():
        raise MissingPathError(cluster, "file of a cluster", "`ray up` was given one, such as cluster.yaml.")
    beside = os.pathsep.join((os.environ.get("PATH", ""), str(Path(sys.executable).parent)))
    if (ray := shutil.which("ray", path=beside)) is None:
        raise UsageError("there is no `ray` command here, which reaches the cluster: pip install 'ray[default]'")
    port = _free_port(port)
    words = ["clibd-dashboard", _SERVE, runs, f"--port={port}", "--exact-port", *([f"--data={data}"] if data else [])]
    command = [ray, "exec", cluster, "--port-forward", str(port), shlex.join(words)]
    if opens:
        threading.Thread(target=_open_when_it_answers, args=(f"http://127.0.0.1:{port}/",), daemon=True).start()
    # Of a terminal ssh would take Ctrl-C for the head's, and this command would end as if it had failed there.
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as forwarding:
        try:
            code = forwarding.wait()
        except BaseException:
            _end(forwarding.pid)
            raise
    if code:
        raise _ClusterCommandError(cluster, code)


def _end(pid: int) -> None:
    """End a process and what it has started: with its ssh a command on a head ends, which else would go on there."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (*process.children(recursive=True), process):
            with suppress(psutil.NoSuchProcess):
                each.terminate()


def _free_port(wanted: int) -> int:
    """The first port of this machine from one on that nobody listens at."""
    for port in (*range(wanted, min(wanted + 50, 65_536)), 0):
        with socket.socket() as asked, suppress(OSError):
            asked.bind(("127.0.0.1", port))
            return int(asked.getsockname()[1])
    raise UsageError(f"no port is free from {wanted} on; give another one with --port")


def _open_when_it_answers(address: str) -> None:
    """ssh takes connections before anything listens behind it, so the server itself is asked."""
    import urllib.request

    until = time.monotonic() + _UNTIL_IT_ANSWERS
    while time.monotonic() < until:
        with suppress(OSError), urllib.request.urlopen(address, timeout=2):
            webbrowser.open(address)
            return
        time.sleep(0.5)


def main() -> None:
    """Entry point of `clibd-dashboard`."""
    run_program(app)
