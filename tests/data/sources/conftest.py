"""Specimens on disk as people and publishers lay them out, and what a source makes of them."""

import csv
import gzip
import itertools
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from workloads.data.files.image_source import ImageSource
from workloads.data.sources.collect import ImportReport, collect
from workloads.data.sources.source import RawRecord, Refused, Source
from workloads.data.sources.tables import table_source
from workloads.data.specimens.schema import PROTOCOLS
from workloads.data.specimens.specimen_table import SpecimenTable

BARCODE = "AACATTATATTTTATTTTTGGAGCTTGATCAGG" * 20
LINEAGE = "Arthropoda;Insecta;Diptera;Zoridae;Zoro;Zoro_bus"
ROWS = [
    {"specimen_id": "s1", "barcode": "ACGTAC", "order": "Diptera", "genus": "Zoro", "species": "Zoro bus"},
    {"specimen_id": "s2", "barcode": "acgnac", "order": "Diptera", "genus": "not_classified", "species": ""},
]


@pytest.fixture(scope="session")
def records_of() -> Callable[[Source], list[RawRecord]]:
    """The records of a source that refuses none."""

    def read(source: Source) -> list[RawRecord]:
        found = list(source.records)
        assert not [record for record in found if isinstance(record, Refused)]
        return [record for record in found if not isinstance(record, Refused)]

    return read


@pytest.fixture(scope="session")
def pictures(encode: Callable[..., bytes], noise: Callable[..., Image.Image]) -> list[bytes]:
    """Sixty small photographs, no two of them alike."""
    return [encode(noise(20, 12 + number % 9, number), "JPEG") for number in range(60)]


# Tables


@pytest.fixture(scope="session")
def write_specimens() -> Callable[..., Path]:
    """Writes a table of the two specimens s1 and s2, or of those whose ids are given, as the name of the file asks."""

    def write(path: Path, *ids: str) -> Path:
        rows = [row for row in ROWS if not ids or row["specimen_id"] in ids]
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
            return path
        if ".fa" in path.name:
            text = "".join(f">{row['specimen_id']}|{LINEAGE}\n{row['barcode']}\n" for row in rows)
        else:
            delimiter = "," if ".csv" in path.name else "\t"
            text = "".join(delimiter.join(line) + "\n" for line in [list(rows[0]), *(row.values() for row in rows)])
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
        return path

    return write


@pytest.fixture(scope="session")
def write_parquet() -> Callable[[Path, Mapping[str, Any]], Path]:
    """Writes columns as they are."""

    def write(path: Path, columns: Mapping[str, Any]) -> Path:
        pq.write_table(pa.table(dict(columns)), path)
        return path

    return write


class _Touching:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


@pytest.fixture(scope="session")
def touching() -> Callable[[Path], object]:
    """Makes an object whose pickle makes a file when it is read."""
    return _Touching


@pytest.fixture(scope="session")
def kept() -> list[dict[str, str]]:
    """What an import keeps of s1 and s2."""
    given = "acgnac"
    return [ROWS[0], {"specimen_id": "s2", "barcode": given.upper(), "barcode_as_given": given, "order": "Diptera"}]


@pytest.fixture
def imported(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., tuple[list[dict[str, Any]], ImportReport, Source]]:
    """Imports a table of one's own: the filled values of its rows, the report, and the source itself."""

    def run(path: Path, given: Mapping[str, str] | None = None) -> tuple[list[dict[str, Any]], ImportReport, Source]:
        source = table_source(path, given or {})
        table = SpecimenTable.at(tmp_path_factory.mktemp("table") / "specimens.parquet")
        report = collect(source, table)
        rows = [row for batch in table.batches() for row in batch.to_pylist()]
        return [{key: value for key, value in row.items() if value is not None} for row in rows], report, source

    return run


# BIOSCAN as published


@pytest.fixture(scope="session")
def write_metadata() -> Callable[..., Path]:
    """Writes a published metadata table: tab-separated or, with commas, with empty fields for what is missing."""

    def write(path: Path, columns: str, rows: Iterable[Mapping[str, str]]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            delimiter, missing = (",", "") if path.suffix == ".csv" else ("\t", "not_classified")
            table = csv.DictWriter(file, columns.split(), missing, "ignore", delimiter=delimiter, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
        return path

    return write


@pytest.fixture(scope="session")
def write_files() -> Callable[[Path, Iterable[str], Iterable[bytes]], None]:
    """Writes files into a folder, as many as there are contents and names."""

    def write(folder: Path, names: Iterable[str], contents: Iterable[bytes]) -> None:
        for name, content in zip(names, contents, strict=False):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    return write


@pytest.fixture(scope="session")
def write_zip() -> Callable[[Path, str, Iterable[str], Iterable[bytes]], None]:
    """Writes files into an archive, under a prefix."""

    def write(path: Path, prefix: str, names: Iterable[str], contents: Iterable[bytes]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in zip(names, contents, strict=False):
                archive.writestr(prefix + name, content)

    return write


@pytest.fixture(scope="session")
def images_of(records_of: Callable[[Source], list[RawRecord]]) -> Callable[[Source], list[bytes]]:
    """The bytes of the images that the records of a source refer to."""

    def read(source: Source) -> list[bytes]:
        with ImageSource(source.root) as images:
            return [images.read(record["image"]) for record in records_of(source)]

    return read


# The authors' HDF5 files

Specimens = dict[str, list[int]]
"""Numbers of the specimens of each split, by the name of its group."""


def _numbered(groups: Iterable[str], each: int = 4) -> Specimens:
    counter = itertools.count()
    return {group: list(itertools.islice(counter, each)) for group in groups}


@pytest.fixture(scope="session")
def numbered() -> Callable[..., Specimens]:
    """Gives each group the numbers of its specimens."""
    return _numbered


@pytest.fixture(scope="session")
def write_group(pictures: list[bytes]) -> Callable[..., None]:
    """Writes a group of the authors' layout; each row is a specimen's number and the split that it comes from."""

    def write(file: h5py.File, name: str, rows: Sequence[tuple[int, str]], of_5m: bool = False) -> None:
        images = np.zeros((len(rows), 2000), np.uint8)
        for row, (number, _) in zip(images, rows, strict=True):
            row[: len(pictures[number])] = np.frombuffer(pictures[number], np.uint8)
        group = file.create_group(name)
        group.create_dataset("image", data=images, maxshape=(None, 2000) if of_5m else None)
        group["image_mask"] = np.array([len(pictures[number]) for number, _ in rows], dtype=int)
        for column, values in _texts(rows, of_5m).items():
            # 5M has ranks of variable length, and everything else is of fixed length.
            variable = of_5m and column in ("order", "family", "genus", "species")
            group[column] = values if variable else np.array(values, "S")
        group["language_tokens_input_ids"] = np.zeros((len(rows), 20), np.int64)
        group["image_features"] = np.zeros((len(rows), 512), np.float32)

    return write


def _texts(rows: Sequence[tuple[int, str]], of_5m: bool) -> dict[str, list[str]]:
    process = [f"AACTA{number}-20" for number, _ in rows]
    unlabelled = ("no_split", "pretrain")
    species = ["not_classified" if split in unlabelled else f"Chironomus {split.split('_')[-1]}" for _, split in rows]
    return {
        "barcode": [BARCODE for _ in rows],
        "sampleid": [f"BIOUG{number:05d}-A01" for number, _ in rows],
        "processid": process,
        "image_file": [f"{name}.jpg" for name in process] if of_5m else [f"{4_000_000 + n}.jpg" for n, _ in rows],
        "order": ["Diptera" for _ in rows],
        "family": ["Chironomidae" for _ in rows],
        "genus": [name if name == "not_classified" else "Chironomus" for name in species],
        "species": species,
    }


@pytest.fixture(scope="session")
def write_authors_1m(write_group: Callable[..., None]) -> Callable[..., Path]:
    """Writes all groups of a BIOSCAN-1M file, the doubled ones included, or only some; the same specimens each time."""
    splits = PROTOCOLS["clibd"].splits
    doubled = {
        "all_keys": ("seen_keys", "val_unseen_keys", "test_unseen_keys"),
        "no_split_and_seen_train": ("no_split", "train_seen"),
    }

    def write(path: Path, groups: Sequence[str] = (), each: int = 4) -> Path:
        specimens = _numbered(splits, each)
        with h5py.File(path, "w") as file:
            for name in groups or (*splits, *doubled):
                write_group(file, name, [(n, part) for part in doubled.get(name, (name,)) for n in specimens[part]])
        return path

    return write
