"""What may lie beside a table of specimens: precomputed features, and their barcodes; images are in `pictures`."""

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workloads.data.sources.naming import ROW, Naming, as_ids
from workloads.data.sources.source import RawRecord, Records, Refused, Source
from workloads.data.specimens.schema import FEATURES
from workloads.errors import SourceError


def with_features(source: Source) -> Source:
    """The records of a table with the features that lie beside it.

    Raises:
        SourceError: at once or while reading, features that do not fit.
    """
    root, table, records, total = Path(source.root), Path(source.name).name, source.records, source.total
    for field, what in FEATURES.items():
        if (beside := features_beside(root, field)) is None:
            continue
        file, features = beside
        if total is not None and total != len(features):
            raise SourceError(file, "", f"shape {features.shape} does not fit the {total} rows of {table}")
        records, total = _joined(records, field, file, features, table), len(features)
        source.notes.append(f"{what}: {file.name}, {len(features):,} x {features.shape[1]}")
    return replace(source, records=records, total=total)


def features_beside(folder: Path, field: str) -> tuple[Path, npt.NDArray[np.generic]] | None:
    """Precomputed features, (specimens, dim), as they lie on the disk, or None where there are none.

    Args:
        folder: where the table lies.
        field: what they are of, `image_features` or `dna_features`; the file's name begins with it.

    Raises:
        SourceError: several such files, or one that is no matrix of numbers.
    """
    files = sorted(folder.glob(f"{field}*.npy"))
    if not files:
        return None
    if len(files) > 1:
        raise SourceError(folder, "", f"several feature files ({', '.join(p.name for p in files)}); keep one")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's remark on files of Python 2
            features = np.load(files[0], mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is read with Python's own parsers, which raise a dozen kinds of errors
        reason = f"not readable as an array of numbers ({' '.join(str(error).split())})"
        raise SourceError(files[0], "", reason) from error
    if features.ndim != 2 or features.dtype.kind not in "fiu":
        raise SourceError(files[0], "", f"not a matrix of numbers, but {features.dtype} of shape {features.shape}")
    return files[0], features


def _joined(
    records: Records, field: str, file: Path, features: npt.NDArray[np.generic], table: str
) -> Iterator[RawRecord | Refused]:
    """Records with the features of their row; refused ones have a row too.

    Raises:
        SourceError: there are more or fewer rows of features than records.
    """
    num_records = 0
    misfit = f"shape {features.shape} does not fit the"
    for record in records:
        if num_records == len(features):
            raise SourceError(file, "", f"{misfit} more than {num_records} rows of {table}")
        row = features[num_records]
        num_records += 1
        if isinstance(record, Refused):
            yield record
            continue
        if record.get(field) is not None:
            raise SourceError(file, "", f"{table} holds {FEATURES[field]} as well; keep one of them")
        with np.errstate(over="ignore"):  # infinite ones are refused when the record is cleaned
            yield {**record, field: np.asarray(row, dtype=np.float32)}
    if num_records != len(features):
        raise SourceError(file, "", f"{misfit} {num_records} rows of {table}")


def with_barcodes(source: Source, barcodes: Records, fasta: str) -> Iterator[RawRecord | Refused]:
    """Records with the barcode of their id, or of another of their ids, and what is refused among the barcodes.

    The barcodes are held in memory, some 0.8 GB a million.
    """
    by_id: dict[str, str] = {}
    for barcode in barcodes:
        if isinstance(barcode, Refused):
            yield Refused(barcode.identifier, f"{fasta}: {barcode.reason}")
        elif barcode["specimen_id"] in by_id:
            yield Refused(barcode["specimen_id"], f"{fasta}, {barcode['where']}: a second barcode with this id")
        else:
            by_id[barcode["specimen_id"]] = barcode["barcode"]
    used: set[str] = set()
    naming, counts = Naming(), Counter[str]()
    for record in source.records:
        if isinstance(record, Refused):
            yield record
            continue
        naming.see(record)
        others, values = record.get(ROW, ((), {}))
        names = {"": record.get("specimen_id"), **{other: values[other] for other in others}}
        stripped = ((column, str(name or "").strip()) for column, name in names.items())
        column, found = next(((column, name) for column, name in stripped if name in by_id), ("no id", ""))
        counts[column] += 1
        used.add(found)
        yield {**record, "barcode": by_id.get(found)}
    notes = source.notes
    notes += [
        f"{counts[name]:,} barcodes of {fasta} are those of '{name}'" for name in counts if name not in ("", "no id")
    ]
    if counts["no id"]:
        notes.append(f"{counts['no id']:,} specimens have no barcode in {fasta}")
    if left := [name for name in by_id if name not in used]:
        column = naming.column_of(left[:500])
        hint = f"; '{column}' has such ids: {as_ids(column)}" if column else ""
        notes.append(
            f"{len(left):,} barcodes of {fasta} belong to no specimen of the table (such as {left[0]!r}){hint}"
        )
