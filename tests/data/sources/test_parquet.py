"""Parquet files of any column types, crafted ones and damaged ones."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workloads.data.sources.collect import ImportReport
from workloads.data.sources.source import Source
from workloads.data.sources.tables import table_source
from workloads.errors import SourceError

Import = Callable[..., tuple[list[dict[str, Any]], ImportReport, Source]]
Write = Callable[..., Path]
Touching = Callable[[Path], object]


def test_numbers_and_dictionaries_of_a_parquet_file_are_read_as_text(
    tmp_path: Path, imported: Import, write_parquet: Write
) -> None:
    columns = {
        "id": pa.array([1, 2, None], pa.int64()),
        "bin": pa.array([7.0, None, float("nan")]),
        "order": pa.array(["Diptera", "Diptera", "Ara"]).dictionary_encode(),
        "family": pa.nulls(3),
        "genus": pa.array([float("nan")] * 3),
        "species": pa.array(["Zoro bus", None, None], pa.large_string()),
        "barcode": pa.array(["ACGT"] * 3, pa.string_view()),
        "ignored": pa.array([{"a": 1}] * 3),
    }
    rows, report, _ = imported(write_parquet(tmp_path / "s.parquet", columns))
    assert rows == [
        {"specimen_id": "1", "order": "Diptera", "genus": "Zoro", "species": "Zoro bus", "barcode": "ACGT"},
        {"specimen_id": "2", "order": "Diptera", "barcode": "ACGT"},
    ]
    assert report.rejects == (("record 3", "row 3: no specimen id"),)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("image", pa.array([{"pixels": b"x"}])),
        ("order", pa.array([True])),
        ("barcode", pa.array([b"ACGT"])),
        ("barcode", pa.array([["ACGT"]])),
        ("image_features", pa.array(["1 2"])),
        ("image_features", pa.array([["1"]])),
        ("image_features", pa.array([1.0])),
    ],
)
def test_a_parquet_column_of_another_type_is_named(
    column: str, values: pa.Array, tmp_path: Path, write_parquet: Write
) -> None:
    path = write_parquet(tmp_path / "s.parquet", {"id": ["a"], "genus": ["Zoro"], column: values})
    with pytest.raises(SourceError, match=rf"column '{column}': .*, not "):
        table_source(path, {})


def test_two_parquet_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["x"]), pa.array(["y"])], names=["id", "order", "order"])
    pq.write_table(table, tmp_path / "s.parquet")
    with pytest.raises(SourceError, match="called 'order'"):
        table_source(tmp_path / "s.parquet", {})


class _Canary(pa.ExtensionType):  # type: ignore[misc]  # pyarrow ships no types
    """A type whose metadata is a pickle that writes a file when it is read."""

    def __init__(self, payload: bytes = b"") -> None:
        self._payload = payload
        super().__init__(pa.string(), "canary")

    def __arrow_ext_serialize__(self) -> bytes:
        return self._payload

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> "_Canary":
        pickle.loads(serialized)
        return cls()


def test_a_parquet_file_with_extension_types_is_refused_before_they_can_run_code(
    tmp_path: Path, write_parquet: Write, touching: Touching
) -> None:
    canary = tmp_path / "canary"
    kind = _Canary(pickle.dumps(touching(canary)))
    column = pa.ExtensionArray.from_storage(kind, pa.array(["a"]))
    pa.register_extension_type(kind)
    try:
        path = write_parquet(tmp_path / "s.parquet", {"id": ["a"], "order": ["Diptera"], "barcode": column})
        canary.unlink(missing_ok=True)
        with pytest.raises(SourceError, match="extension types"):
            table_source(path, {})
        assert not canary.exists()
        pq.read_schema(path)  # the canary is one: reading the schema sets it off
        assert canary.exists()
    finally:
        pa.unregister_extension_type("canary")


@pytest.mark.parametrize("shift", range(12))
def test_extension_types_are_seen_wherever_they_stand_in_the_footer(shift: int, tmp_path: Path) -> None:
    pickled = {
        b"pad": b"p" * shift,
        b"ARROW:extension:name": b"ray.data.arrow_tensor",
        b"ARROW:extension:metadata": b".",
    }
    schema = pa.schema([pa.field("id", pa.string()), pa.field("x", pa.string(), metadata=pickled)])
    path = tmp_path / "s.parquet"
    pq.write_table(pa.table({"id": ["a"], "x": ["b"]}).cast(schema), path)
    with pytest.raises(SourceError, match="extension types"):
        table_source(path, {})


def test_parquet_with_damaged_pages_is_an_error(tmp_path: Path, imported: Import) -> None:
    barcodes = ["".join(np.random.default_rng(row).choice(list("ACGT"), 200)) for row in range(50)]
    path = tmp_path / "s.parquet"
    table = pa.table({"id": [str(row) for row in range(50)], "order": ["Diptera"] * 50, "barcode": barcodes})
    pq.write_table(table, path, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"s\.parquet, after row 0:"):
        imported(path)
