"""People's own data: a table or a file of sequences, or a folder or zip archive that holds them, with images beside.

A folder's table is `specimens`, `pairs`, `labels` or `metadata` (.parquet, .tsv, .csv, .xlsx, .jsonl), or else the
only one; several with the same columns are read one after another, also those of its subfolders, as Hugging Face
`datasets` lays them out. A table without barcodes gets those of the FASTA or FASTQ file beside it, by the specimens'
ids. A folder of images alone is read by the names of its folders. Which image belongs to whom is in `pictures`.
Features, row by row, may lie there as one `image_features*.npy` and one `dna_features*.npy`.
"""

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from workloads.data.files.image_source import IMAGE_SUFFIXES
from workloads.data.files.zip_members import TextFile, zipped_texts
from workloads.data.sources.beside import with_barcodes, with_features
from workloads.data.sources.class_folders import class_folders
from workloads.data.sources.darwin_core import META, darwin_core
from workloads.data.sources.fasta import FORMS, read_sequences
from workloads.data.sources.findings import Findings
from workloads.data.sources.parquet_tables import is_specimen_table
from workloads.data.sources.pictures import with_pictures
from workloads.data.sources.source import RawRecord, Refused, Source, each
from workloads.data.sources.table_files import (
    NAMED_TABLES,
    SEQUENCES,
    TABLES,
    TableFile,
    ending_of,
    open_table,
    with_places,
)
from workloads.errors import MissingPathError, SourceError, some_of
from workloads.plain_values import parsed

_TABLE_NAMES = ("specimens", "pairs", "labels", "metadata")
_HINTS = {
    **dict.fromkeys((".xls", ".ods", ".numbers"), "save the sheet as .csv or .xlsx"),
    **dict.fromkeys((".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst"), "unpack it"),
    ".qza": "export it with `qiime tools export`, and name the folder",
    ".json": "write it as .jsonl, one object a line, or as .csv",
}
_PACKAGE = "datapackage.json"
_LONGEST_PACKAGE = 2**24


def table_source(path: Path, given: Mapping[str, str], images: Path | None = None) -> Source:
    """Specimens of a table, of sequences, or of a folder or archive that holds them.

    Args:
        path: the file or folder.
        given: field of a specimen and the column that holds it, from `--map`.
        images: folder or zip archive of images, where they do not lie beside the table.

    Raises:
        MissingPathError: no such file or folder, or neither a table nor sequences nor images in it.
        SourceError: a file that is not what its name says, or several of them and no telling which is meant.
        UsageError: a column that is given does not exist, or images are named for a table that holds its own.
    """
    if not path.exists():
        raise MissingPathError(path, "table or FASTA file", "Name a file, or a folder that holds one.")
    if path.is_dir():
        source = _of_folder(path, given, images)
    elif path.name.lower().endswith(".zip"):
        source = _of_archive(path, given, images)
    else:
        source = _beside(_one(path, _checked(path), given), images)
    return replace(source, name=str(path))


def _beside(source: Source, images: Path | None) -> Source:
    """A source with the features and images that lie beside it."""
    return with_pictures(with_features(source), images)


def _checked(path: Path) -> Path:
    known = (*TABLES, *NAMED_TABLES, ".zip", *SEQUENCES)
    if not stat.S_ISREG(path.stat().st_mode):
        raise SourceError(path, "", "not a file that can be read twice, such as a pipe; write it to a file first")
    if ending_of(path.name, known) is None:
        hint = _HINTS.get(".tar" if path.name.lower().endswith(".tar.gz") else path.suffix.lower())
        raise SourceError(path, "", f"not one of {', '.join(known)}{f'; {hint}' if hint else ''}")
    return path


def _one(place: Path, file: TextFile, given: Mapping[str, str]) -> Source:
    """The source of a single table or file of sequences; its images are named relative to its folder."""
    folder = (place if place.is_dir() else place.parent).absolute()
    source = Source(name=str(file if isinstance(file, Path) else place), records=(), root=str(folder))
    return _filled(source, open_table(file, given, source.findings))


def _filled(source: Source, table: TableFile) -> Source:
    """A source with the records of a table; where nothing holds ids, the names of the images are taken for them."""
    source.records, source.total, source.reading = table.records, table.total, table.reading
    source.notes += table.notes
    if not table.header:
        source.remedy = FORMS
    elif "specimen_id" not in table.columns:
        if "image" not in table.columns:
            reason = "no column is known to hold the specimens' ids; say which with --map specimen_id=COLUMN"
            raise SourceError(table.path, "header", reason)
        source.notes.append(f"{table.path.name}: no column holds ids, and the names of the images are taken for them")
        source.records = each(source.records, lambda record: {**record, "specimen_id": record.get("image")})
    return source


def _of_folder(folder: Path, given: Mapping[str, str], images: Path | None) -> Source:
    """What lies in a folder: an archive laid out, a table with its companions, several tables, or images alone."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    if any(file.name == META for file in files):
        return with_pictures(darwin_core(folder, given), images)
    if packaged := _packaged(folder):
        files = packaged
    tables, fastas = _tables(files), [file for file in files if ending_of(file.name, SEQUENCES)]
    written = [file for file in tables if file.suffix.lower() == ".parquet" and is_specimen_table(file)]
    if fastas or len(written) < len(tables):  # what an earlier import left here is no source of the next one
        tables = [file for file in tables if file not in written]
    if not tables and not fastas:
        return _of_subfolders(folder, files, given, images)
    if not tables:
        return _beside(_several(folder, fastas, given), images)
    named = _named(folder, tables)
    source = _one(folder, named, given) if named else _several(folder, tables, given)
    if named and (others := [file.name for file in tables if _stem(file) != _stem(named)]):
        source.notes.append(
            f"{some_of(others, 5)}: not read, since {named.name} is the table here; name one to read it"
        )
    return _beside(_with_fastas(source, folder, named, tables, fastas, given), images)


def _tables(files: Sequence[Path]) -> list[Path]:
    return [file for file in files if ending_of(file.name, TABLES) and file.name != _PACKAGE]


def _named(folder: Path, tables: Sequence[Path]) -> Path | None:
    known = [folder / (name + suffix) for name in _TABLE_NAMES for suffix in TABLES]
    return next((file for file in known if file in tables), None)


def _with_fastas(
    source: Source, folder: Path, named: Path | None, tables: list[Path], fastas: list[Path], given: Mapping[str, str]
) -> Source:
    """A table with the barcodes of the sequences beside it, if it has none itself."""
    if not fastas:
        return source
    table = named or tables[0]
    columns = open_table(table, given, Findings()).columns
    if not {"barcode", "linked_sequences"} & {*columns, *given}:
        fasta = _only(folder, fastas)
        alone = replace(source)
        source.records = with_barcodes(alone, read_sequences(fasta, source.findings), fasta.name)
    elif named is None and {_stem(fasta) for fasta in fastas} != {_stem(table)}:
        _only(folder, [*tables, *fastas])
    else:
        source.notes.append(f"{', '.join(file.name for file in fastas)}: not read, since {table.name} holds barcodes")
    return source


def _only(folder: Path, files: Sequence[Path]) -> Path:
    """The first of several forms of one table; other tables beside it leave open which is meant."""
    if len({_stem(file) for file in files}) > 1:
        names = ", ".join(sorted(str(file.relative_to(folder)) for file in files))
        raise SourceError(folder, "", f"several tables ({names}); name one of them")
    return files[0]


def _several(folder: Path, files: Sequence[Path], given: Mapping[str, str]) -> Source:
    """Tables with the same columns, or several files of sequences, one after another.

    Raises:
        SourceError: their columns differ, which leaves open which is meant.
    """
    first = {str(file.relative_to(folder).parent / _stem(file)): file for file in reversed(files)}
    files = [file for file in files if file in first.values()]
    if len(files) == 1:
        return _one(folder, files[0], given)
    source = Source(name=str(folder), records=(), root=str(folder.absolute()))
    opened = []
    for file in files:
        below = "" if file.parent == folder else f"{file.parent.relative_to(folder)}/"
        opened.append(with_places(open_table(file, given, source.findings, below), f"{below}{file.name}", below))
    if len({frozenset(table.header) for table in opened}) > 1:
        names = ", ".join(sorted(str(file.relative_to(folder)) for file in files))
        raise SourceError(folder, "", f"several tables ({names}), whose columns differ; name one of them")
    names = some_of([str(file.relative_to(folder)) for file in files], 3)
    source.notes.append(f"{len(files)} {'tables of the same columns' if opened[0].header else 'files'}: {names}")

    def chained() -> Iterator[RawRecord | Refused]:
        for table in opened:
            yield from table.records

    return _filled(source, replace(opened[0], records=chained(), total=None))


def _of_subfolders(folder: Path, files: Sequence[Path], given: Mapping[str, str], images: Path | None) -> Source:
    """The tables of a folder's subfolders, or its images by the names of their folders.

    Raises:
        MissingPathError: neither is there; it says what is.
    """
    subfolders = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    below = [file for entry in subfolders for file in sorted(entry.iterdir()) if file.is_file()]
    if tables := _tables([file for file in below if not file.name.startswith(".")]):
        return _beside(_several(folder, tables, given), images)
    if images is None and not given and (source := class_folders(folder)) is not None:
        return source
    hdf5 = [file.name for file in files if file.name.lower().endswith((".hdf5", ".h5"))]
    zips = [file.name for file in files if file.name.lower().endswith(".zip")]
    remedy = "Name a file, or a folder that holds one; or write a table with the columns image and species."
    if hdf5 or zips:
        remedy = f"Name the file {(hdf5 or zips)[0]} itself."
    raise MissingPathError(folder, f"table ({', '.join(TABLES)}), FASTA file or folders of images", remedy)


def _packaged(folder: Path) -> list[Path]:
    """The tables that a folder's datapackage.json names, such as BOLD's; none where there is no such file.

    Raises:
        SourceError: it is no such description, or names a file that is not in the folder.
    """
    packages = sorted(folder.glob("*datapackage.json"))
    if not packages:
        return []
    try:
        with packages[0].open("rb") as stream:
            resources = parsed(stream.read(_LONGEST_PACKAGE))["resources"]
        paths = [path for resource in resources for path in _paths(resource["path"])]
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(packages[0], "", f"not a description of a data package ({error})") from error
    names = [path for path in paths if ending_of(path, (*TABLES, *SEQUENCES))]
    for name in names:
        if (
            "\0" in name
            or not (folder / name).is_file()
            or not (folder / name).resolve().is_relative_to(folder.resolve())
        ):
            raise SourceError(packages[0], "", f"it names {name[:80]!r}, which is not in the folder")
    return [folder / name for name in names]


def _paths(path: object) -> list[str]:
    return [str(part) for part in path] if isinstance(path, list) else [str(path)]


def _of_archive(path: Path, given: Mapping[str, str], images: Path | None) -> Source:
    """A zip file with a Darwin Core archive, or with a table in it and perhaps its images.

    Raises:
        SourceError: not a zip file, several tables in it, or none.
    """
    texts = [text for text in zipped_texts(path, "a table") if not text.name.startswith((".", "_"))]
    if any(text.name == META for text in texts):
        return with_pictures(darwin_core(path, given), images)
    meant = [text for text in texts if ending_of(text.name, (*TABLES, *SEQUENCES))]
    if len(meant) != 1:
        held = some_of([text.at for text in meant or texts], 3) or "nothing"
        raise SourceError(path, "", f"it holds {'several tables' if meant else 'no table'} ({held}); unpack it first")
    has_images = any(text.name.lower().endswith(IMAGE_SUFFIXES) for text in texts)
    return with_pictures(_one(path, meant[0], given), images or (path if has_images else None))


def _stem(file: Path) -> str:
    ending = ending_of(file.name, (*TABLES, *SEQUENCES))
    return file.name.lower().removesuffix(ending or "")
