"""Carries out `clibd data download`."""

from pathlib import Path

from orchestrator.progress import counting, stderr_console
from results.render import grid
from workloads.data.download import download
from workloads.data.packages import PACKAGES, find_package


def list_packages() -> None:
    """What there is, on stdout."""
    rows = [[p.name, p.about or "", p.licence, p.content] for p in PACKAGES.values()]
    print(grid(["Package", "Size", "Licence", "What it is"], rows))


def download_command(name: str, to: Path, unverified: bool) -> None:
    """Fetch one package, or find that it is there."""
    package = find_package(name)
    console = stderr_console()
    with counting(console, f"Fetching {package.file_name}", "bytes") as told:
        arrival = download(package, to, told, allow_unverified=unverified)
    if not arrival.is_verified:
        console.print(f"No checksum of it is published; its {arrival.algorithm} is {arrival.checksum}")
    for step in package.next_steps(arrival.path.parent):
        console.print(step)
    print(arrival.path)
