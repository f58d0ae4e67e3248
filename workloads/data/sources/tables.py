"""People's own data: a table, a FASTA file, or a folder that holds one or both, with images and features beside them.

A folder's table is `specimens`, `pairs`, `labels` or `metadata` (.parquet, .tsv, .csv, also .gz), or else the only one.
A table without barcodes gets those of the FASTA file beside it, by the specimens' ids. Images are found by the ids if
no column says where they are. Features, row by row, may lie there as one `image_features*.npy` and one
`dna_features*.npy`.
"""

from collections.abc import Mapping
from pathlib import Path

from workloads.data.sources.beside import features_beside, with_barcodes, with_features, with_images
from workloads.data.sources.columns import Columns, OpenedTable, choose_columns
from workloads.data.sources.delimited import read_delimited
from workloads.data.sources.fasta import read_fasta
from workloads.data.sources.parquet import is_specimen_table, read_parquet
from workloads.data.sources.source import Source, each
from workloads.data.specimens.schema import FEATURES
from workloads.errors import MissingPathError, SourceError

_TABLE_NAMES = ("specimens", "pairs", "labels", "metadata")
# What GBIF calls CSV has tabs, and Excel writes semicolons.
_DELIMITERS = {".tsv": "\t", ".csv": ",\t;", ".txt": "\t,;"}
_TABLES = (".parquet", ".tsv.gz", ".csv.gz", ".tsv", ".csv")
_NAMED_TABLES = (".txt", ".txt.gz")  # read when named, but not looked for: a folder holds notes under such names
_HINTS = {
    ".zip": "name the folder in which it lies beside its table, or, for split lists, `clibd data partition --lists`",
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as .csv"),
}
_FASTAS = tuple(suffix + packed for suffix in (".fasta", ".fas", ".fna", ".fa") for packed in ("", ".gz"))


def table_source(path: Path, given: Mapping[str, str]) -> Source:
    """Specimens of a table, of a FASTA file, or of a folder that holds one or both.

    Args:
        path: the file or folder.
        given: field of a specimen and the column that holds it, from `--map`.

    Raises:
        MissingPathError: no such file or folder, or neither a table nor a FASTA file in it.
        SourceError: a file that is not what its name says, or several of them and no telling which is meant.
        UsageError: a column that is given does not exist.
    """
    found = _of_folder(path, given) if path.is_dir() else _opened(_file(path), given)
    records, root, total = found.records, found.path.absolute().parent, found.total
    for field_name, what in FEATURES.items():
        beside = features_beside(root, field_name)
        if beside is None:
            continue
        file, features = beside
        if total is not None and total != len(features):
            reason = f"shape {features.shape} does not fit the {total} rows of {found.path.name}"
            raise SourceError(str(file), "", reason)
        records, total = with_features(records, field_name, file, features, found.path.name), len(features)
        found.notes.append(f"{what}: {file.name}, {len(features):,} x {features.shape[1]}")
    return Source(
        name=str(path), records=with_images(records, root, found.notes), root=str(root), total=total, notes=found.notes
    )


def _file(path: Path) -> Path:
    known = (*_TABLES, *_NAMED_TABLES, *_FASTAS)
    if not path.exists():
        raise MissingPathError(str(path), "table or FASTA file", "Name a file, or a folder that holds one.")
    if not path.name.lower().endswith(known):
        hint = _HINTS.get(path.suffix.lower())
        raise SourceError(str(path), "", f"not one of {', '.join(known)}{f'; {hint}' if hint else ''}")
    return path


def _of_folder(folder: Path, given: Mapping[str, str]) -> OpenedTable:
    """The table of a folder, with the barcodes of a FASTA file if it has none itself."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    tables = [file for file in files if file.name.lower().endswith(_TABLES)]
    fastas = [file for file in files if file.name.lower().endswith(_FASTAS)]
    written = [file for file in tables if file.suffix.lower() == ".parquet" and is_specimen_table(file)]
    if fastas or len(written) < len(tables):  # what an earlier import left here is no source of the next one
        tables = [file for file in tables if file not in written]
    known = [folder / (name + suffix) for name in _TABLE_NAMES for suffix in _TABLES]
    named = next((file for file in known if file in tables), None)
    if not tables and not fastas:
        hdf5 = [file.name for file in files if file.name.lower().endswith((".hdf5", ".h5"))]
        remedy = f"Name the file {hdf5[0]} itself." if hdf5 else "Name a file, or a folder that holds one."
        raise MissingPathError(str(folder), "table (.parquet, .tsv, .csv) or FASTA file", remedy)
    if not tables:
        return _opened(_only(folder, fastas), given)
    table = named or _only(folder, tables)
    found = _opened(table, given)
    if not fastas:
        return found
    if "barcode" not in found.columns and "linked_sequences" not in found.columns and "barcode" not in given:
        fasta = _only(folder, fastas)
        found.records = with_barcodes(found.records, read_fasta(fasta), fasta.name, found.notes)
    elif named is None and {_stem(fasta) for fasta in fastas} != {_stem(table)}:
        _only(folder, [table, *fastas])
    else:
        found.notes.append(f"{', '.join(file.name for file in fastas)}: not read, since {table.name} holds barcodes")
    return found


def _only(folder: Path, files: list[Path]) -> Path:
    """The first of several forms of one table; other tables beside it leave open which is meant."""
    if len({_stem(file) for file in files}) > 1:
        names = ", ".join(sorted(file.name for file in files))
        raise SourceError(str(folder), "", f"several tables ({names}); name one of them")
    return files[0]


def _stem(file: Path) -> str:
    name = file.name.lower()
    return next(name.removesuffix(suffix) for suffix in (*_TABLES, *_FASTAS) if name.endswith(suffix))


def _opened(path: Path, given: Mapping[str, str]) -> OpenedTable:
    """Open a file by its ending."""
    name = path.name.lower()
    if name.endswith(_FASTAS):
        return OpenedTable(path, Columns({}), read_fasta(path), [])
    if name.endswith(".parquet"):
        found = read_parquet(path, given)
    else:
        delimiters = _DELIMITERS[Path(name.removesuffix(".gz")).suffix]
        header, lines = read_delimited(path, delimiters)
        columns = choose_columns(header, given)
        records = each(lines, lambda line: columns.record(line[1], f"line {line[0]}"))
        found = OpenedTable(path, columns, records, [])
        for field_name, what in FEATURES.items():
            if field_name in columns:
                reason = f"{what} are read from Parquet or from an .npy file beside the table, not from text"
                raise SourceError(str(path), f"column '{header[columns.places[field_name]]}'", reason)
    if "specimen_id" not in found.columns:
        if "image" not in found.columns:
            reason = "no column is known to hold the specimens' ids; say which with --map specimen_id=COLUMN"
            raise SourceError(str(path), "header", reason)
        found.notes.append(f"{path.name}: no column holds ids, and the names of the images are taken for them")
        found.records = each(found.records, lambda record: {**record, "specimen_id": record.get("image")})
    return found
