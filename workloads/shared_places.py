"""Folders that several hosts have to see alike: what one writes or holds there, the others read."""

import hashlib
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from workloads.errors import first_line
from workloads.storage import Folder

_MARK = ".clibd-seen-"
"""How the files begin that hosts leave for each other, and that are removed at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A folder or an address, and what tells that others see the same."""

    option: str
    """Of the command, such as `--runs`."""
    address: str
    written: bool
    """Whether runs write there, and not only read."""
    file: str = ""
    """What all have to see; of a place that is written this is made."""
    digest: str = ""
    """SHA-256 of the file as the first host sees it; empty where it is not there yet."""
    refused: str = ""
    """Why the first host cannot use it itself."""

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk, which other hosts may or may not share."""
        return "://" not in self.address or self.address.startswith("file://")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """What one host sees at a place."""

    digest: str = ""
    """Of the file; empty where it is not there."""
    mark: str = ""
    """The file that the host has left in turn."""
    refused: str = ""
    """Why it could neither read nor write."""
    free: int | None = None
    """Bytes that are left there; None where nothing is written, or there is no end."""


def data_place(address: str, option: str = "--data") -> Place:
    """A prepared data set, which is the same where its dataset.json is."""
    return Place(option=option, address=Folder(address).address, written=False, file="dataset.json")


def run_place(address: str, option: str = "RUN") -> Place:
    """The folder of a run that is read, which is the same where its spec is."""
    return Place(option=option, address=address, written=False, file="spec.json")


def runs_place(address: str, option: str = "--runs") -> Place:
    """A folder to which every host writes."""
    return Place(option=option, address=Folder(address).address, written=True)


@contextmanager
def held_up(places: Sequence[Place]) -> Iterator[list[Place]]:
    """The places with what other hosts are to see there; marks are removed at the end, theirs too."""
    folders = [Path(Folder(place.address).path) for place in places if place.written and place.is_local]
    made = [folder for folder in folders if not folder.exists()]
    shown = [_shown(place) for place in places]
    try:
        yield shown
    finally:
        for place in shown:
            if place.written and place.file and not place.refused:
                folder = Folder(place.address)
                for name in (name for name in folder.files() if name.startswith(place.file)):
                    folder.remove(name)
        for path in made:
            with suppress(OSError):  # something else was written there
                path.rmdir()


def _shown(place: Place) -> Place:
    """The place as this host sees it, with a mark of its own where it may write."""
    try:
        folder, file = Folder(place.address), place.file
        if place.written:
            content, file = uuid.uuid4().bytes, f"{_MARK}{uuid.uuid4().hex[:8]}"
            folder.write(file, content)
            return replace(place, file=file, digest=hashlib.sha256(content).hexdigest())
        return replace(place, digest=folder.digest(file) if folder.has(file) else "")
    except (OSError, ValueError) as error:  # Arrow's own errors are of these kinds
        return replace(place, refused=first_line(error))


def look(place: Place) -> Sight:
    """What this host sees; where it sees what was shown, and is to write, it leaves a mark beside it."""
    try:
        folder = Folder(place.address)
        digest = folder.digest(place.file) if folder.has(place.file) else ""
        mark, free = "", None
        if place.written and digest and digest == place.digest:
            mark = f"{place.file}-{uuid.uuid4().hex[:8]}"
            folder.write(mark, b"seen")
            free = shutil.disk_usage(folder.path).free if folder.is_local else None
        return Sight(digest=digest, mark=mark, free=free)
    except (OSError, ValueError) as error:
        return Sight(refused=first_line(error))


def sees_mark(place: Place, sight: Sight) -> bool:
    """Whether the first host sees the mark that another left."""
    return bool(sight.mark) and Folder(place.address).has(sight.mark)
