"""Sources of specimens: tables, FASTA files, and the built-in synthetic insects, as rows of one specimen table.

A reader yields raw rows; `import_specimens` cleans them, puts bad ones on the reject list, and decides nothing else.
"""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from workloads.data import synthetic
from workloads.data.barcode import clean_barcode
from workloads.data.fasta import read_fasta
from workloads.data.schema import SPECIMEN_SCHEMA, clean_name
from workloads.errors import MissingPathError, RecordError, SourceError
from workloads.spec import RANKS

COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    "specimen_id": ("specimen_id", "processid", "sampleid", "id", "occurrenceid"),
    "barcode": ("barcode", "sequence", "nucraw", "nuc", "dna_barcode", "nucleotides"),
    "image": ("image", "image_file", "image_path"),
    "image_features": ("image_features",),
    "bin": ("bin", "bin_uri", "uri", "dna_bin"),
    **{rank: (rank,) for rank in RANKS},
}
"""Column names understood for each field of a specimen, best first."""

_TABLE_NAMES = ("specimens", "pairs", "labels", "metadata")
_SUFFIXES = (".parquet", ".tsv.gz", ".csv.gz", ".tsv", ".csv")
_FASTA_SUFFIXES = (".fasta", ".fa", ".fas", ".fasta.gz", ".fa.gz")


@dataclass
class Imported:
    """A specimen table and what was kept out of it."""

    table: pa.Table
    root: str
    """Folder that the image references are relative to."""
    synthetic: bool = False
    rejects: list[tuple[str, str]] = field(default_factory=list)
    """(specimen, reason) of each refused record."""


def import_specimens(source: Path, on_record: Callable[[int], None] = lambda done: None) -> Imported:
    """The specimens of a table, a FASTA file, or a folder that holds one of them.

    A folder's table is `specimens`, `pairs`, `labels` or `metadata` (.parquet, .tsv, .csv, also .gz), or else the only
    table or FASTA file in it. Features of its specimens, row by row, may lie beside it as one `image_features*.npy`.

    Raises:
        MissingPathError: no such source, or nothing in it.
        SourceError: a file that is not what its name says.
    """
    path = _find_table(source)
    if path.name.lower().endswith(_FASTA_SUFFIXES):
        return _collect(read_fasta(path), str(path.parent), str(path), on_record)
    return _collect(_table_rows(path), str(path.parent), str(path), on_record)


def import_synthetic(count: int, seed: int, on_record: Callable[[int], None] = lambda done: None) -> Imported:
    """The built-in synthetic insects."""
    imported = _collect(synthetic.specimens(count, seed), "", "synthetic insects", on_record)
    imported.synthetic = True
    return imported


def _find_table(source: Path) -> Path:
    if source.is_file():
        if not source.name.lower().endswith((*_SUFFIXES, *_FASTA_SUFFIXES)):
            raise SourceError(str(source), "", f"not one of {', '.join((*_SUFFIXES, *_FASTA_SUFFIXES))}")
        return source
    wanted = "table (.parquet, .tsv, .csv) or FASTA file"
    remedy = "Name a file, or a folder that holds one."
    if not source.is_dir():
        raise MissingPathError(str(source), wanted, remedy)
    for name in (stem + suffix for stem in _TABLE_NAMES for suffix in _SUFFIXES):
        if (source / name).is_file():
            return source / name
    others = [p for p in sorted(source.iterdir()) if p.name.lower().endswith((*_SUFFIXES, *_FASTA_SUFFIXES))]
    if not others:
        raise MissingPathError(str(source), wanted, remedy)
    if len({path.name.split(".")[0] for path in others}) > 1:
        raise SourceError(str(source), "", f"several tables ({', '.join(p.name for p in others)}); name one of them")
    return others[0]


def _table_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a table under our names; columns that mean nothing to us are left out."""
    table = _read_table(path)
    lower = {name.lower(): name for name in table.column_names}
    chosen = {
        ours: lower[theirs]
        for ours, candidates in COLUMN_NAMES.items()
        if (theirs := next((name for name in candidates if name in lower), None))
    }
    if "specimen_id" not in chosen:
        raise SourceError(str(path), "first line", f"no column is one of {', '.join(COLUMN_NAMES['specimen_id'])}")
    table = _typed(path, table, chosen)
    features = _features_beside(path, len(table))
    start = 0
    for batch in table.to_batches(max_chunksize=4096):
        for offset, row in enumerate(batch.to_pylist()):
            if features is not None:
                row["image_features"] = np.asarray(features[start + offset], dtype=np.float32)
            yield row
        start += len(batch)


def _typed(path: Path, table: pa.Table, chosen: Mapping[str, str]) -> pa.Table:
    """The chosen columns under our names, all of them text but the features.

    Raises:
        SourceError: two columns of one name, or a column that holds something else.
    """
    columns = {}
    for ours, theirs in chosen.items():
        if table.column_names.count(theirs) > 1:
            raise SourceError(str(path), "", f"several columns are called '{theirs}'")
        wanted = pa.list_(pa.float32()) if ours == "image_features" else pa.string()
        try:
            columns[ours] = table[theirs].cast(wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SourceError(str(path), f"column '{theirs}'", f"{table[theirs].type}, not {wanted}") from error
    return pa.table(columns)


def _read_table(path: Path) -> pa.Table:
    name = path.name.lower()
    try:
        if name.endswith(".parquet"):
            return pq.read_table(path)
        delimiter = "\t" if ".tsv" in name else ","
        with gzip.open(path) if name.endswith(".gz") else open(path, "rb") as stream:
            header = stream.readline().decode("utf-8-sig").rstrip("\r\n").split(delimiter)
            columns = [column.strip('"') for column in header]
            table = pacsv.read_csv(
                stream,
                read_options=pacsv.ReadOptions(column_names=columns),
                parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=False),
                convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string())),
            )
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise SourceError(str(path), "", f"not readable as a table ({' '.join(str(error).split())})") from error
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pc.any(pc.match_substring(column, "\n")).as_py():  # such a value has swallowed whole records
            raise SourceError(str(path), f"column '{name}'", "a value spans lines; is a quotation mark not closed?")
    return table


def _features_beside(path: Path, num_rows: int) -> Any | None:
    """Image features that lie beside a table, row by row, or None."""
    found = sorted(path.parent.glob("image_features*.npy"))
    if not found:
        return None
    if len(found) > 1:
        raise SourceError(str(path.parent), "", f"several feature files ({', '.join(p.name for p in found)}); keep one")
    try:
        features = np.load(found[0], mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise SourceError(str(found[0]), "", f"not readable as an array of numbers ({error})") from error
    if features.ndim != 2 or len(features) != num_rows:
        raise SourceError(str(found[0]), "", f"shape {features.shape} does not fit the {num_rows} rows of {path.name}")
    return features


def _collect(rows: Iterable[Mapping[str, Any]], root: str, source: str, on_record: Callable[[int], None]) -> Imported:
    """Clean rows into the specimen table; each refused one leaves its reason."""
    imported = Imported(table=SPECIMEN_SCHEMA.empty_table(), root=root)
    kept: list[dict[str, Any]] = []
    batches: list[pa.RecordBatch] = []
    seen_ids: set[str] = set()
    for number, raw in enumerate(rows, start=1):
        identifier = str(raw.get("specimen_id") or "").strip()
        try:
            kept.append(_clean(identifier, raw, seen_ids))
        except RecordError as error:
            imported.rejects.append((identifier or f"record {number}", str(error)))
        if len(kept) == 8192:
            batches.append(pa.RecordBatch.from_pylist(kept, schema=SPECIMEN_SCHEMA))
            kept = []
            on_record(number)
    batches.append(pa.RecordBatch.from_pylist(kept, schema=SPECIMEN_SCHEMA))
    imported.table = pa.Table.from_batches(batches, schema=SPECIMEN_SCHEMA)
    if len(imported.table) == 0:
        first = imported.rejects[0][1] if imported.rejects else "it is empty"
        raise SourceError(source, "", f"no record can be used ({first})")
    return imported


def _clean(identifier: str, raw: Mapping[str, Any], seen_ids: set[str]) -> dict[str, Any]:
    """One row of the specimen table.

    Raises:
        RecordError: no or a repeated id, a barcode or name that is none, no label at any rank, features with NaN.
    """
    if not identifier:
        raise RecordError("no specimen id")
    if identifier in seen_ids:
        raise RecordError("a second record with this id")
    row: dict[str, Any] = {rank: clean_name(raw.get(rank)) for rank in RANKS}
    if not any(row.values()):
        raise RecordError("no label at any rank")
    barcode = raw.get("barcode")
    features = raw.get("image_features")
    if features is not None and not np.isfinite(features).all():
        raise RecordError("the image features are not finite")
    row |= {
        "specimen_id": identifier,
        "image": raw.get("image") or None,
        "image_features": features,
        "barcode": clean_barcode(barcode) if barcode else None,
        "bin": clean_name(raw.get("bin")),
        "split": None,
    }
    if row["image"] is None and features is None and row["barcode"] is None:
        raise RecordError("neither an image, nor image features, nor a barcode")
    seen_ids.add(identifier)
    return row
