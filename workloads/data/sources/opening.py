"""Which reader a source wants: told by name, or seen from what lies there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from workloads.data.sources.authors_hdf5 import authors_hdf5_source
from workloads.data.sources.bioscan import bioscan1m_source, bioscan5m_source, one_fifth
from workloads.data.sources.bioscan_files import LAYOUT_1M, LAYOUT_5M, is_published
from workloads.data.sources.insect import insect_source
from workloads.data.sources.insect_files import FEATURES_FILE, IMAGES_FILE, SPLITS_FILE, TABLE_FILE
from workloads.data.sources.source import Source
from workloads.data.sources.tables import table_source
from workloads.data.specimens.schema import FEATURES
from workloads.data.synthetic import insects as synthetic
from workloads.errors import MissingPathError, UsageError

SourceKind = Literal["auto", "table", "bioscan-1m", "bioscan-5m", "authors", "insect", "synthetic"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceOptions:
    """What can be said about a source."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Field of a specimen and the column of the table that holds it; in the authors' files only features have one."""
    images: Path | None = None
    """Folder or zip archive of a table's images, where they do not lie beside it."""
    taxonomy: Path | None = None
    """Lineages of INSECT's species."""
    one_fifth: bool = False
    """Only the fifth of BIOSCAN-5M's training records that the paper's authors compare with."""
    num_synthetic: int | None = None
    """Synthetic insects to draw; 3,000 if not said."""
    seed: int | None = None
    """Seed of the synthetic insects; 7 if not said."""


def open_source(place: str, kind: SourceKind, options: SourceOptions) -> Source:
    """The specimens of a place.

    Args:
        place: a file or folder, or `synthetic`.
        kind: how to read it; `auto` looks what lies there.
        options: what else was said.

    Raises:
        MissingPathError: there is nothing.
        UsageError: an option that means nothing for this kind of source, or no telling which kind it is.
        SourceError: not what it claims to be.
    """
    if kind == "synthetic" and place != "synthetic":
        raise UsageError(f"--kind synthetic draws insects and does not read {place}; name the source `synthetic`")
    if place == "synthetic" and kind in ("auto", "synthetic"):
        _check_options("synthetic", options)
        seed = 7 if options.seed is None else options.seed
        return synthetic_source(options.num_synthetic or 3000, seed)
    path = Path(place)
    if not path.exists():
        raise MissingPathError(place, "source", "Name a file, a folder, or `synthetic`.")
    kind = kind_of(path) if kind == "auto" else kind
    _check_options(kind, options)
    readers: Mapping[str, Callable[[], Source]] = {
        "table": lambda: table_source(path, options.columns, options.images),
        "bioscan-1m": lambda: bioscan1m_source(path),
        "bioscan-5m": lambda: bioscan5m_source(path),
        "authors": lambda: authors_hdf5_source(path, options.columns),
        "insect": lambda: insect_source(path, options.taxonomy),
    }
    source = readers[kind]()
    source = one_fifth(source) if options.one_fifth else source
    root = str(Path(source.root).absolute()) if source.root else ""
    return replace(source, root=root)


def synthetic_source(count: int, seed: int) -> Source:
    """The built-in synthetic insects, drawn one after another."""
    records = synthetic.specimens(count, seed)
    return Source(name="synthetic insects", records=records, total=count, synthetic_seed=seed, published=True)


def kind_of(path: Path) -> SourceKind:
    """The kind of source that a file or folder looks like; a table where nothing else fits.

    Raises:
        UsageError: it looks like BIOSCAN-1M and BIOSCAN-5M alike, as a folder does that both were downloaded into.
    """
    inside = {entry.name for entry in path.iterdir()} if path.is_dir() else {path.name}
    if inside & {FEATURES_FILE, SPLITS_FILE, TABLE_FILE, IMAGES_FILE}:
        return "insect"
    if path.is_file() and path.name.lower().endswith((".hdf5", ".h5")):
        return "authors"
    is_1m, is_5m = is_published(path, LAYOUT_1M), is_published(path, LAYOUT_5M)
    if is_1m and is_5m:
        raise UsageError(f"{path} holds BIOSCAN-1M and BIOSCAN-5M; say which with --kind bioscan-1m or bioscan-5m")
    if is_1m or is_5m:
        return "bioscan-1m" if is_1m else "bioscan-5m"
    return "table"


def _check_options(kind: SourceKind, options: SourceOptions) -> None:
    """Refuse options that would silently do nothing.

    Raises:
        UsageError: one of them does.
    """
    if kind == "authors" and options.columns and not set(options.columns) <= set(FEATURES):
        raise UsageError(f"--map names datasets of the authors' files only for {' and '.join(FEATURES)}")
    if options.columns and kind not in ("table", "authors"):
        raise UsageError(f"--map names columns of a table, and this source is read as {kind}; add --kind table")
    if options.images and kind != "table":
        raise UsageError(f"--images is for a table, and this source is read as {kind}; add --kind table")
    if options.taxonomy and kind != "insect":
        raise UsageError(f"--taxonomy is for INSECT, and this source is read as {kind}; add --kind insect")
    if options.one_fifth and kind not in ("bioscan-5m", "authors"):
        raise UsageError(f"--one-fifth is for BIOSCAN-5M, and this source is read as {kind}")
    if kind != "synthetic" and (options.num_synthetic, options.seed) != (None, None):
        raise UsageError(f"--specimens and --seed are for synthetic insects, and this source is read as {kind}")
