"""`clibd serve`: a page and an HTTP interface that name what people send, from one database."""

import os
import webbrowser
from typing import Annotated

import typer

from commands.identify import DeviceOption, placement_on
from workloads.printed_text import remark, say

TOKEN = "CLIBD_SERVE_TOKEN"
_PORT = 8400


def serve(
    db: Annotated[str, typer.Argument(help="Database, as `clibd db build` makes it.")],
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where it is taken, the next free one.")] = _PORT,
    host: Annotated[str, typer.Option(help="To listen at; one that others reach needs a token.")] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(help=f"Without which nobody asks. Better in {TOKEN}, which `ps` does not show.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact-port", help="End where the port is taken.")] = False,
    opens: Annotated[bool, typer.Option("--open/--no-open", help="Open it in a browser.")] = False,
    device: DeviceOption = "auto",
) -> None:
    """Serve a page to drop photographs on and paste barcodes into, and the same as an HTTP interface.

    What people send stays in memory until it is answered. docs/serve.md describes both.

    Example: clibd serve DB --open

    Example: curl -F files=@barcodes.fasta http://127.0.0.1:8400/identify
    """
    from clibd.serving.running import served
    from workloads.identification.database import Database
    from workloads.identification.identifying import Asking, Identifier

    identifier = Identifier(Database(db), Asking(), placement_on(device))
    with served(identifier, host, port, token or os.environ.get(TOKEN) or None, exact=exact) as server:
        if port not in (0, server.port):
            remark(f"Port {port} is taken, so it is {server.port}.")
        facts = identifier.database.facts
        say(f"{server.address} names specimens by {facts.name}, {facts.num_specimens:,} specimens. Ctrl-C ends it.")
        if not facts.calibrated:
            remark("The database has no calibration, so names come without a confidence: `clibd db build` makes one.")
        if opens:
            webbrowser.open(server.address)
        server.wait()
