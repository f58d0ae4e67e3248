"""The public packages that hold the paper's data: where they are, what they weigh and how to tell that they are whole.

`published.json` beside lists them. A checksum stands there only if it has been published; `bioscan-dataset` 1.3.0, the
BIOSCAN authors' own loader, is where most of these are from.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from workloads.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One file to download."""

    name: str
    """What `clibd data download` calls it."""
    file_name: str
    urls: tuple[str, ...]
    """Where the same bytes are, best first."""
    content: str
    licence: str
    checksum: str | None = None
    """Such as `md5:fc08...`, where one has been published."""
    size: int | None = None
    """Exact number of bytes, where it has been published."""
    about: str = ""
    """Rough size for people, such as `1.2 GB`."""
    kind: str = "auto"
    """What `clibd data import --kind` calls the data set; said, because several may lie in one folder."""
    beside: str | None = None
    """The package with the table that this one belongs beside; None for such a table itself."""
    is_lists: bool = False
    """Whether it holds split lists, which specimens that are imported already can be given too."""

    def next_steps(self, folder: Path) -> tuple[str, ...]:
        """What to do when it has arrived, in sentences with commands to copy.

        Args:
            folder: where it lies.
        """
        place, steps = shlex.quote(str(folder)), []
        if self.beside is not None:
            table = PACKAGES[self.beside]
            steps.append(f"It is read in place, from the folder that holds {table.file_name} too.")
            if not (folder / table.file_name).is_file():
                steps.append(f"Next: clibd data download {table.name} --to {shlex.quote(str(place))}")
        elif companions := [other.name for other in PACKAGES.values() if other.beside == self.name]:
            steps.append(f"Put into the same folder first, if wanted: {', '.join(companions)}.")
        word = "Then" if steps and steps[-1].startswith("Next") else "Next"
        steps.append(f"{word}: clibd data import {place} --kind {self.kind} --to specimens.parquet")
        if self.is_lists:
            lists = shlex.quote(str(folder / self.file_name))
            steps.append(f"Or, for specimens imported before: clibd data partition specimens.parquet --lists {lists}")
        return tuple(steps)


PACKAGES: Mapping[str, Package] = {
    entry["name"]: Package(**entry | {"urls": tuple(entry["urls"])})
    for entry in json.loads(files(__package__).joinpath("published.json").read_bytes())
}
"""Every package by its name."""


def find_package(name: str) -> Package:
    """The package of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in PACKAGES:
        raise UsageError(f"there is no package '{name}'; choose one of {', '.join(PACKAGES)}")
    return PACKAGES[name]
