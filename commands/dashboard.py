"""`clibd-dashboard`, which is `clibd dashboard` too: results in a browser, while sweeps run and afterwards."""

import os
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from workloads.command_line import run_program
from workloads.errors import MissingPathError
from workloads.printed_text import remark, say

if TYPE_CHECKING:
    from results.dashboard.catalog import Catalog

TOKEN = "CLIBD_DASHBOARD_TOKEN"
_PORT = 8300
DataOption = Annotated[
    str | None, typer.Option(help="Prepared data set: pictures, barcodes, and the page about the data.")
]


def serve(
    runs: Annotated[str, typer.Argument(help="Folder of runs: a path, or an s3:// or gs:// address.")] = "runs",
    data: DataOption = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where it is taken, the next free one.")] = _PORT,
    host: Annotated[str, typer.Option(help="To listen at; one that others reach needs a token.")] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(help=f"Without which nobody reads. Better in ${TOKEN}, which `ps` does not show.")
    ] = None,
    opens: Annotated[bool, typer.Option("--open/--no-open", help="Open it in a browser.")] = False,
) -> None:
    """Serve the results of a folder of runs as pages, live while sweeps run.

    Example: clibd-dashboard runs --data DIR
    """
    from results.dashboard.site.serving import served

    catalog = _catalog(runs, data)
    with served(catalog, host, port, token or os.environ.get(TOKEN) or None) as server:
        if port not in (0, server.port):
            remark(f"Port {port} is taken.")
        say(f"{server.address} shows {catalog.folder}. Ctrl-C ends it.")
        if opens:
            webbrowser.open(server.address)
        server.wait()


def _catalog(runs: str, data: str | None) -> "Catalog":
    """The runs and their data.

    Raises:
        MissingPathError: the data set is not there; runs may come later.
    """
    from results.dashboard.catalog import Catalog
    from workloads.storage import Folder

    folder = None if data is None else Folder(data)
    if folder is not None and not folder.has("dataset.json"):
        raise MissingPathError(str(folder), "prepared data set", "`clibd data prepare specimens.parquet` makes one.")
    return Catalog(Folder(runs), folder)


app = typer.Typer(pretty_exceptions_enable=False)
app.command()(serve)


def main() -> None:
    """Entry point of `clibd-dashboard`."""
    run_program(app)
