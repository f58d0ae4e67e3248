"""Where BIOSCAN's metadata table lies, and the folders around it that may hold its images and split lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workloads.data.files.zipped_text import ZippedText, find_zipped
from workloads.data.sources.split_lists import LISTS_NAME
from workloads.errors import MissingPathError, SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a data set is laid out where it was published, or by the `bioscan-dataset` package."""

    table: str
    """The published name of the metadata table."""
    inner: tuple[str, ...]
    """Folders that the package makes in its root; the first is named after the data set and after no other."""
    below: tuple[str, ...]
    """Folders that the table may lie in, under the root or an inner folder; the empty name is that folder itself."""


LAYOUT_1M = Layout(table="BIOSCAN_Insect_Dataset_metadata.tsv", inner=("bioscan1m", "bioscan"), below=("",))
LAYOUT_5M = Layout(
    table="BIOSCAN_5M_Insect_Dataset_metadata.csv", inner=("bioscan5m",), below=("", "metadata/csv", "metadata")
)


@dataclass(frozen=True, slots=True)
class Place:
    """A metadata table, and the folders around it."""

    table: Path | ZippedText
    root: Path
    folders: tuple[Path, ...]
    """Where images and lists may lie, all inside the root."""

    def lists(self) -> Path | None:
        """The published split lists, a folder before an archive."""
        places = [folder / name for folder in self.folders for name in (LISTS_NAME, f"{LISTS_NAME}.zip")]
        return next((place for place in places if place.exists()), None)


def find_place(path: Path, layout: Layout) -> Place:
    """The metadata table that a path stands for.

    Args:
        path: a table, a zip archive that holds it, or a folder with one of these.
        layout: of the data set.

    Raises:
        MissingPathError: there is no metadata table.
        SourceError: several tables and no telling which is meant, or an archive that is not what its name says.
    """
    if path.is_file():
        root = path.parent
        for folder in filter(None, layout.below):  # .../bioscan5m/metadata/csv/TABLE belongs to .../bioscan5m
            if path.parent.as_posix().endswith(f"/{folder}"):
                root = path.parent.parents[folder.count("/")]
        if root.name in layout.inner:
            root = root.parent  # the package keeps its archives here
        return Place(_table(path, layout), root, _folders(root, layout))
    folders = _folders(path, layout)
    found = _published(folders, layout)
    return Place(_table(found or _only_table(path, layout), layout), path, folders)


def is_published(path: Path, layout: Layout) -> bool:
    """Whether a path is the published metadata table of a data set, or a folder that holds it where it belongs.

    A folder with the name that the `bioscan-dataset` package gives it counts, too, even if its table is missing.
    """
    if path.is_dir():
        own = {path.name, *(folder.name for folder in path.iterdir() if folder.is_dir())}
        return bool(own & set(layout.inner[:1])) or _published(_folders(path, layout), layout) is not None
    stem, suffix = Path(layout.table).stem, Path(layout.table).suffix
    return path.name.startswith(stem) and path.name.lower().endswith((suffix, f"{suffix}.gz", ".zip"))


def _table(file: Path, layout: Layout) -> Path | ZippedText:
    return find_zipped(file, layout.table) if file.suffix.lower() == ".zip" else file


def _folders(root: Path, layout: Layout) -> tuple[Path, ...]:
    return root, *(root / name for name in layout.inner if (root / name).is_dir())


def _published(folders: Sequence[Path], layout: Layout) -> Path | None:
    """The table under its published name, plain before packed, or the archive that it is published in."""
    places = [folder / name for folder in folders for name in layout.below]
    names = (layout.table, f"{layout.table}.gz")
    plain = (place / name for place in places for name in names)
    packed = (file for place in places for file in sorted(place.glob(f"{Path(layout.table).stem}*.zip")))
    return next((file for file in (*plain, *packed) if file.is_file()), None)


def _only_table(folder: Path, layout: Layout) -> Path:
    """A table under a name of its own."""
    suffix = Path(layout.table).suffix
    tables = sorted([*folder.glob(f"*{suffix}"), *folder.glob(f"*{suffix}.gz")])
    if not tables:
        wanted = f"metadata table such as {layout.table}"
        raise MissingPathError(str(folder), wanted, "Name it, or the folder that holds it.")
    if len(tables) > 1:
        raise SourceError(str(folder), "", f"several tables ({', '.join(p.name for p in tables)}); name one of them")
    return tables[0]
