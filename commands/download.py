"""`clibd data download`: published packages."""

from pathlib import Path
from typing import Annotated

import typer


def download(
    name: Annotated[str | None, typer.Argument(help="Package; none lists them.")] = None,
    to: Annotated[Path, typer.Option(help="Folder to put it into.")] = Path("."),
    unverified: Annotated[bool, typer.Option(help="Also where no checksum is published.")] = False,
) -> None:
    """Fetch a published package: resumes what broke off, and checks what arrived. Nothing is unpacked.

    Example: clibd data download                      lists the packages with their sizes and licences
    """
    from orchestrator.progress import counting, stderr_console
    from results.render import grid
    from workloads.data.packages.download import download as fetch
    from workloads.data.packages.published import PACKAGES, find_package

    if name is None:
        rows = [[p.name, p.about or "", p.licence, p.content] for p in PACKAGES.values()]
        print(grid(["Package", "Size", "Licence", "What it is"], rows))
        return
    package, console = find_package(name), stderr_console()
    with counting(console, f"Fetching {package.file_name}", "bytes") as told:
        arrival = fetch(package, to, told, allow_unverified=unverified)
    if not arrival.is_verified:
        console.print(f"No checksum of it is published; its {arrival.algorithm} is {arrival.checksum}")
    for step in package.next_steps(arrival.path.parent):
        console.print(step)
    print(arrival.path)
