"""Where BIOSCAN's metadata table, its images and its split lists lie: in folders, or in archives as published.

A package of images is a way they were cut: cropped to the specimen or not, at full size or with a shorter side of 256
pixels. It is found by its name, as a folder (`cropped_256/`, also under `images/`) or as one or more archives
(`cropped_256.zip`, `BIOSCAN_5M_cropped_256_train.zip`), and indexed in place; nothing is extracted.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workloads.data.files.image_index import ImageIndex, image_files
from workloads.data.files.image_source import IMAGE_SUFFIXES
from workloads.data.files.zip_members import Member, TextFile, zip_members, zipped_text
from workloads.errors import MissingPathError, SourceError, some_of

SPLITS_5M: Mapping[str, str] = {
    "pretrain": "no_split",
    "train": "train_seen",
    "val": "val_seen",
    "validation": "val_seen",
    "test": "test_seen",
    "key_unseen": "unseen_keys",
    "val_unseen": "val_unseen",
    "test_unseen": "test_unseen",
    "other_heldout": "other_heldout",
}
"""Splits of the protocol `bioscan_5m` by BIOSCAN-5M's names."""
IMAGE_PACKAGES = ("cropped_256", "original_256", "cropped", "original_full")
"""Best first: the paper trains on crops with a shorter side of 256 pixels, and preparation makes that size of any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BioscanLayout:
    """How a data set is laid out where it was published, or by the `bioscan-dataset` package."""

    table: str
    """The published name of the metadata table."""
    delimiter: str
    columns: Mapping[str, str]
    """Columns of the table that are not called as in a specimen table."""
    needed: tuple[str, ...]
    """Columns that the table must have."""
    inner: tuple[str, ...]
    """Folders that the package makes in its root; the first is named after the data set and after no other."""
    below: tuple[str, ...]
    """Folders that the table may lie in, under the root or an inner folder; the empty name is that folder itself."""
    chunks: re.Pattern[str]
    """Names of folders that hold images."""
    key_parts: int
    """How many of the last parts of its path identify an image."""
    not_ours: str
    """Archives with this in their names belong to the other data set; both may lie in one folder."""


LAYOUT_1M = BioscanLayout(
    table="BIOSCAN_Insect_Dataset_metadata.tsv",
    delimiter="\t",
    columns={"specimen_id": "sampleid", "barcode": "nucraw", "bin": "uri"},
    needed=("sampleid", "image_file"),
    inner=("bioscan1m", "bioscan"),
    below=("",),
    chunks=re.compile(r"part\d+"),
    key_parts=2,  # part18/5351601.jpg
    not_ours="bioscan_5m",
)
LAYOUT_5M = BioscanLayout(
    table="BIOSCAN_5M_Insect_Dataset_metadata.csv",
    delimiter=",",
    columns={"specimen_id": "processid", "barcode": "dna_barcode", "bin": "dna_bin"},
    needed=("processid", "split"),
    inner=("bioscan5m",),
    below=("", "metadata/csv", "metadata"),
    chunks=re.compile("|".join(SPLITS_5M)),
    key_parts=1,  # AACTA1040-20.jpg
    not_ours="bioscan_1m",
)


@dataclass(frozen=True, slots=True)
class Bioscan:
    """A data set as it lies there: its metadata table, and the folders around it."""

    layout: BioscanLayout
    table: TextFile
    root: Path
    folders: tuple[Path, ...]
    """Where images and lists may lie, all inside the root."""

    def images(self) -> "BioscanImages | None":
        """The best package of images, indexed; None when there is none.

        Folders come before archives of the same package. Without a package's name, folders of images that lie directly
        in one of the folders, or in its `images/`, are taken.

        Raises:
            SourceError: an archive is not what it claims to be, or a folder of images is a link out of the root.
        """
        around = [place for folder in self.folders for place in (folder, folder / "images") if place.is_dir()]
        zips = [file for place in around for file in sorted(place.glob("*.zip"))]
        zips = [file for file in zips if self.layout.not_ours not in file.name.lower()]
        there: dict[str, list[Path]] = {}
        for name in IMAGE_PACKAGES:
            archives = [file for file in zips if _package_of(file.stem) == name]
            there[name] = [place / name for place in around if (place / name).is_dir()] + archives
        entries = [entry for place in around for entry in sorted(place.iterdir()) if entry.is_dir()]
        there["loose folders"] = [entry for entry in entries if self.layout.chunks.fullmatch(entry.name)]
        chosen, *passed_over = [name for name, places in there.items() if places] or [""]
        if not chosen:
            return None
        places = dict.fromkeys(there[chosen])
        index = ImageIndex(
            (image for place in places for image in self._in_place(place)),
            lambda name: "/".join(name.split("/")[-self.layout.key_parts :]),
        )
        names = some_of([os.path.relpath(place, self.root) for place in there[chosen]], 3)
        note = f"images: {len(index):,} of {chosen} ({names})"
        return BioscanImages(chosen, index, note + (f"; not used: {', '.join(passed_over)}" if passed_over else ""))

    def _in_place(self, place: Path) -> Iterator[tuple[str | None, Member]]:
        """The images of a folder or an archive, as an index takes them."""
        if not place.resolve().is_relative_to(self.root.resolve()):
            reason = f"a link out of {self.root}; images are only read inside it, so move them there"
            raise SourceError(place, "", reason)
        relative = os.path.relpath(place, self.root).replace(os.sep, "/")
        if place.is_dir():
            yield from ((None, Member(f"{relative}/{name}", 0, 0)) for name in image_files(place))
        else:
            yield from ((relative, m) for m in zip_members(place) if m.name.lower().endswith(IMAGE_SUFFIXES))


@dataclass(frozen=True, slots=True)
class BioscanImages:
    """The images of a data set."""

    package: str
    index: ImageIndex
    note: str
    """What was found where, and what was passed over."""


def find_bioscan(path: Path, layout: BioscanLayout) -> Bioscan:
    """The metadata table that a path stands for.

    Args:
        path: a table, a zip archive that holds it, or a folder with one of these.
        layout: of the data set.

    Raises:
        MissingPathError: there is no metadata table.
        SourceError: several tables and no telling which is meant, or an archive that is not what its name says.
    """
    table, root = path, path
    if path.is_file():
        root = path.parent
        for folder in filter(None, layout.below):  # .../bioscan5m/metadata/csv/TABLE belongs to .../bioscan5m
            if path.parent.as_posix().endswith(f"/{folder}"):
                root = path.parent.parents[folder.count("/")]
        if root.name in layout.inner:
            root = root.parent  # the package keeps its archives here
    else:
        table = _published(_folders(root, layout), layout) or _only_table(path, layout)
    text = zipped_text(table, layout.table) if table.suffix.lower() == ".zip" else table
    return Bioscan(layout, text, root, _folders(root, layout))


def is_published(path: Path, layout: BioscanLayout) -> bool:
    """Whether a path is the published metadata table of a data set, or a folder that holds it where it belongs.

    A folder with the name that the `bioscan-dataset` package gives it counts, too, even if its table is missing.
    """
    if path.is_dir():
        own = {path.name, *(folder.name for folder in path.iterdir() if folder.is_dir())}
        return bool(own & set(layout.inner[:1])) or _published(_folders(path, layout), layout) is not None
    stem, suffix = Path(layout.table).stem, Path(layout.table).suffix
    return path.name.startswith(stem) and path.name.lower().endswith((suffix, f"{suffix}.gz", ".zip"))


def _folders(root: Path, layout: BioscanLayout) -> tuple[Path, ...]:
    return root, *(root / name for name in layout.inner if (root / name).is_dir())


def _published(folders: Sequence[Path], layout: BioscanLayout) -> Path | None:
    """The table under its published name, plain before packed, or the archive that it is published in."""
    places = [folder / name for folder in folders for name in layout.below]
    names = (layout.table, f"{layout.table}.gz")
    plain = (place / name for place in places for name in names)
    packed = (file for place in places for file in sorted(place.glob(f"{Path(layout.table).stem}*.zip")))
    return next((file for file in (*plain, *packed) if file.is_file()), None)


def _only_table(folder: Path, layout: BioscanLayout) -> Path:
    """A table under a name of its own."""
    suffix = Path(layout.table).suffix
    tables = sorted([*folder.glob(f"*{suffix}"), *folder.glob(f"*{suffix}.gz")])
    if not tables:
        wanted = f"metadata table such as {layout.table}"
        raise MissingPathError(folder, wanted, "Name it, or the folder that holds it.")
    if len(tables) > 1:
        raise SourceError(folder, "", f"several tables ({', '.join(p.name for p in tables)}); name one of them")
    return tables[0]


def _package_of(stem: str) -> str | None:
    """The package that an archive's name stands for; `cropped_256` also holds the word `cropped`, and comes first."""
    return next((name for name in IMAGE_PACKAGES if name in stem.lower()), None)
