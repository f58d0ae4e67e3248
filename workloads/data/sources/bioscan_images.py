"""Where the images of BIOSCAN lie: folders or published zip packages, indexed in place, nothing extracted.

A package is a way the images were cut: cropped to the specimen or not, at full size or with a shorter side of 256
pixels. It is found by its name, as a folder (`cropped_256/`, also under `images/`) or as one or more archives
(`cropped_256.zip`, `BIOSCAN_5M_cropped_256_train.zip`).
"""

import os
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workloads.arrays import Indices
from workloads.data.files.image_source import zip_reference
from workloads.data.files.zip_members import Member, zip_members
from workloads.errors import SourceError

PACKAGES = ("cropped_256", "original_256", "cropped", "original_full")
"""Best first: the paper trains on crops with a shorter side of 256 pixels, and preparation makes that size of any."""
_SUFFIXES = (".jpg", ".jpeg", ".png")

KeyOf = Callable[[str], str]
"""What identifies an image, from its path in a package: an ending of that path."""


def last_two_names(path: str) -> str:
    """`part18/5351601.jpg` of `bioscan/images/cropped_256/part18/5351601.jpg`: BIOSCAN-1M."""
    return "/".join(path.split("/")[-2:])


def last_name(path: str) -> str:
    """`AACTA1040-20.jpg` of `bioscan5m/images/cropped_256/pretrain/00/AACTA1040-20.jpg`: BIOSCAN-5M."""
    return path.rpartition("/")[2]


class ImageIndex:
    """References of images by their keys, in some 30 bytes an image."""

    def __init__(self) -> None:
        self._hashes, self._offsets, self._sizes, self._places = array("q"), array("q"), array("q"), array("l")
        self._numbers: dict[tuple[str | None, str], int] = {}
        self._lookup: tuple[Indices, Indices, list[tuple[str | None, str]]] | None = None
        """Hashes in rising order, which image each is of, and the places by their numbers; None until asked for."""

    def __len__(self) -> int:
        """How many images there are, of different keys."""
        return len(np.unique(np.array(self._hashes, dtype=np.int64)))

    def add(self, key: str, archive: str | None, member: Member) -> None:
        """Note an image of a folder (no archive) or of an archive; of two with one key, the first counts."""
        self._lookup = None
        place = (archive, member.name.removesuffix(key))
        self._hashes.append(hash(key))
        self._offsets.append(member.offset)
        self._sizes.append(member.size)
        self._places.append(self._numbers.setdefault(place, len(self._numbers)))

    def reference(self, key: str) -> str | None:
        """What an ImageSource reads the image by, or None if there is none."""
        if self._lookup is None:
            hashes = np.array(self._hashes, dtype=np.int64)
            order = np.argsort(hashes, kind="stable")
            self._lookup = hashes[order], order, list(self._numbers)
        rising, order, places = self._lookup
        wanted = hash(key)
        found = int(np.searchsorted(rising, wanted))
        if found == len(rising) or rising[found] != wanted:
            return None
        row = int(order[found])
        archive, prefix = places[self._places[row]]
        # Should two keys share a hash, the name made here is not the indexed one, and reading refuses it.
        if archive is None:
            return prefix + key
        return zip_reference(archive, Member(prefix + key, self._offsets[row], self._sizes[row]))


@dataclass(frozen=True, slots=True)
class FoundImages:
    """The images of a source."""

    package: str
    index: ImageIndex
    note: str
    """What was found where, and what was passed over."""


def find_images(
    root: Path, folders: Sequence[Path], is_chunk: Callable[[str], object], key_of: KeyOf, not_ours: str
) -> FoundImages | None:
    """The best package of images in some folders, indexed; None when there is none.

    Folders come before archives of the same package. Without a package's name, folders of images that lie directly in
    one of the folders, or in its `images/`, are taken.

    Args:
        root: the source's folder; references are relative to it.
        folders: where to look, all of them inside the root.
        is_chunk: whether a folder of this name holds images of the data set (`part18`, `pretrain`).
        key_of: what identifies an image.
        not_ours: archives with this in their names belong to another data set.

    Raises:
        SourceError: an archive is not what it claims to be, or a folder of images is a link out of the root.
    """
    around = [place for folder in folders for place in (folder, folder / "images") if place.is_dir()]
    found: dict[str, list[Path]] = {}
    for name in PACKAGES:
        zips = [file for place in around for file in sorted(place.glob("*.zip")) if not_ours not in file.name.lower()]
        archives = [file for file in zips if _package_of(file.stem) == name]
        found[name] = [place / name for place in around if (place / name).is_dir()] + archives
    chunks = [entry for place in around for entry in sorted(place.iterdir()) if entry.is_dir() and is_chunk(entry.name)]
    there = {name: places for name, places in (found | {"loose folders": chunks}).items() if places}
    if not there:
        return None
    chosen = next(iter(there))
    index = ImageIndex()
    for place in dict.fromkeys(there[chosen]):
        _index_place(index, root, place, key_of)
    names = ", ".join(os.path.relpath(place, root) for place in there[chosen][:3])
    more = f" and {len(there[chosen]) - 3} more" if len(there[chosen]) > 3 else ""
    note = f"images: {len(index):,} of {chosen} ({names}{more})"
    passed_over = [name for name in there if name != chosen]
    return FoundImages(chosen, index, note + (f"; not used: {', '.join(passed_over)}" if passed_over else ""))


def _package_of(stem: str) -> str | None:
    """The package that an archive's name stands for; `cropped_256` also holds the word `cropped`, and comes first."""
    return next((name for name in PACKAGES if name in stem.lower()), None)


def _index_place(index: ImageIndex, root: Path, place: Path, key_of: KeyOf) -> None:
    if not place.resolve().is_relative_to(root.resolve()):
        raise SourceError(str(place), "", f"a link out of {root}; images are only read inside it, so move them there")
    relative = os.path.relpath(place, root).replace(os.sep, "/")
    if place.is_dir():
        for folder, _, names in os.walk(place):
            here = os.path.relpath(folder, root).replace(os.sep, "/")
            for name in names:
                if name.lower().endswith(_SUFFIXES):
                    path = f"{here}/{name}"
                    index.add(key_of(path), None, Member(path, 0, 0))
        return
    for member in zip_members(place):
        if member.name.lower().endswith(_SUFFIXES):
            index.add(key_of(member.name), relative, member)
