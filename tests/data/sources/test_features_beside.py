"""Features of images and of DNA that a table holds or that lie beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from workloads.data.sources.collect import ImportReport
from workloads.data.sources.source import Source
from workloads.data.sources.tables import table_source
from workloads.errors import SourceError

Import = Callable[..., tuple[list[dict[str, Any]], ImportReport, Source]]
Write = Callable[..., Path]
Touching = Callable[[Path], object]

NOTHING_LEFT = "neither an image nor a barcode, nor features of one"


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float16()), pa.large_list(pa.float64()), pa.list_(pa.int32()), pa.list_(pa.float32(), 2)],
    ids=str,
)
def test_a_parquet_column_may_hold_the_features(
    kind: pa.DataType, tmp_path: Path, imported: Import, write_parquet: Write
) -> None:
    features = pa.array([[1, 2], [3, 4], None], kind)
    columns = {"id": ["a", "b", "c"], "order": ["Diptera"] * 3, "image_features": features, "barcode": ["ACGT"] * 3}
    rows, report, _ = imported(write_parquet(tmp_path / "s.parquet", columns))
    assert [row.get("image_features") for row in rows] == [[1.0, 2.0], [3.0, 4.0], None]
    assert report.rejects == ()


def test_features_of_another_length_or_with_a_gap_refuse_their_specimen(
    tmp_path: Path, imported: Import, write_parquet: Write
) -> None:
    features = [[1.0, 2.0], [3.0], [1.0, None], [], [1e300, 1.0]]
    columns = {"id": list("abcde"), "order": ["Diptera"] * 5, "image_features": features}
    rows, report, _ = imported(write_parquet(tmp_path / "s.parquet", columns))
    assert [row["specimen_id"] for row in rows] == ["a"]
    assert dict(report.rejects) == {
        "b": f"row 2: {NOTHING_LEFT} (1 image features, and the first specimen has 2)",
        "c": f"row 3: {NOTHING_LEFT} (the image features are not finite)",
        "d": "row 4: neither an image nor a barcode, nor features of one",
        "e": f"row 5: {NOTHING_LEFT} (the image features are not finite)",
    }


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int32])
@pytest.mark.parametrize("name", ["specimens.tsv", "specimens.parquet", "s.fasta"])
def test_features_beside_a_table_belong_to_its_rows(
    name: str, kind: type, tmp_path: Path, imported: Import, write_specimens: Write
) -> None:
    write_specimens(tmp_path / name)
    np.save(tmp_path / "image_features_vit.npy", np.array([[1, 2, 3], [4, 5, 6]], dtype=kind))
    rows, _, source = imported(tmp_path)
    assert [row["image_features"] for row in rows] == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert source.total == 2


def test_features_stay_with_their_rows_when_lines_are_refused_or_blank(tmp_path: Path, imported: Import) -> None:
    lines = [b"id\torder", b"a\tDiptera", b"b\tDiptera\t", b"", b"\tDiptera", b"c", b"d\tDiptera", b""]
    (tmp_path / "specimens.tsv").write_bytes(b"\n".join(lines))
    np.save(tmp_path / "image_features.npy", np.arange(5)[:, None])
    rows, report, _ = imported(tmp_path)
    assert [(row["specimen_id"], row["image_features"]) for row in rows] == [("a", [0.0]), ("d", [4.0])]
    assert len(report.rejects) == 3


def test_features_that_are_not_finite_are_left_out_and_counted(
    tmp_path: Path, imported: Import, write_specimens: Write
) -> None:
    write_specimens(tmp_path / "specimens.tsv")
    np.save(tmp_path / "image_features.npy", np.array([[1.0, 1e300], [1.0, 2.0]]))
    rows, report, _ = imported(tmp_path)
    assert [row.get("image_features") for row in rows] == [None, [1.0, 2.0]]
    assert report.findings.counts["image features that cannot be used, left out"] == 1


@pytest.mark.parametrize("table", ["specimens.tsv", "specimens.parquet"])
@pytest.mark.parametrize("num_rows", [0, 1, 3])
def test_more_or_fewer_features_than_rows_are_an_error(
    num_rows: int, table: str, tmp_path: Path, imported: Import, write_specimens: Write
) -> None:
    write_specimens(tmp_path / "specimens.tsv")
    write_specimens(tmp_path / table)
    np.save(tmp_path / "image_features.npy", np.zeros((num_rows, 4)))
    with pytest.raises(SourceError, match=rf"features\.npy: shape .*\d rows of {table}"):
        imported(tmp_path / table)


@pytest.mark.parametrize(
    "features",
    [np.zeros(2), np.zeros((2, 3, 4)), np.zeros((2, 1), dtype="U3"), np.zeros((2, 1), dtype=complex)],
    ids=["vector", "cube", "text", "complex"],
)
def test_features_that_are_no_matrix_of_numbers_are_an_error(
    features: np.ndarray, tmp_path: Path, write_specimens: Write
) -> None:
    write_specimens(tmp_path / "specimens.tsv")
    np.save(tmp_path / "image_features.npy", features)
    with pytest.raises(SourceError, match=r"image_features\.npy: not a matrix"):
        table_source(tmp_path, {})


def test_features_that_are_pickled_objects_are_not_unpickled(
    tmp_path: Path, write_specimens: Write, touching: Touching
) -> None:
    write_specimens(tmp_path / "specimens.tsv")
    objects = np.array([[touching(tmp_path / "canary")]] * 2, dtype=object)
    np.save(tmp_path / "image_features.npy", objects, allow_pickle=True)
    with pytest.raises(SourceError, match=r"image_features\.npy: not readable"):
        table_source(tmp_path, {})
    assert not (tmp_path / "canary").exists()


def test_two_feature_files_are_an_error(tmp_path: Path, write_specimens: Write) -> None:
    write_specimens(tmp_path / "specimens.tsv")
    for name in ("image_features_a.npy", "image_features_b.npy"):
        np.save(tmp_path / name, np.ones((2, 2)))
    with pytest.raises(SourceError, match="several feature files"):
        table_source(tmp_path, {})


def test_features_in_the_table_and_beside_it_are_an_error(
    tmp_path: Path, imported: Import, write_parquet: Write
) -> None:
    write_parquet(tmp_path / "s.parquet", {"id": ["a"], "order": ["Diptera"], "image_features": [[1.0]]})
    np.save(tmp_path / "image_features.npy", np.ones((1, 2)))
    with pytest.raises(SourceError, match=r"s\.parquet holds image features"):
        imported(tmp_path)


def test_a_specimen_may_have_features_of_both_its_image_and_its_dna(
    tmp_path: Path, imported: Import, write_specimens: Write
) -> None:
    write_specimens(tmp_path / "specimens.tsv")
    np.save(tmp_path / "image_features_vit.npy", np.array([[1, 2], [3, 4]], dtype=np.float16))
    np.save(tmp_path / "dna_features_nt.npy", np.array([[5], [6]], dtype=np.float32))
    rows, report, source = imported(tmp_path)
    assert [(row["image_features"], row["dna_features"]) for row in rows] == [([1.0, 2.0], [5.0]), ([3.0, 4.0], [6.0])]
    assert "dna" in report.modalities
    assert {"image features: image_features_vit.npy, 2 x 2", "DNA features: dna_features_nt.npy, 2 x 1"} <= {
        *source.notes
    }


def test_features_of_dna_alone_make_a_specimen(tmp_path: Path, imported: Import, write_parquet: Write) -> None:
    columns = {"id": list("abcd"), "order": ["Diptera"] * 4, "DNA features": [[1.0, 2.0], [3.0], None, [1.0, np.nan]]}
    rows, report, _ = imported(write_parquet(tmp_path / "s.parquet", columns))
    assert [(row["specimen_id"], row["dna_features"], row.get("barcode")) for row in rows] == [("a", [1.0, 2.0], None)]
    assert report.modalities == ("dna", "text")
    assert dict(report.rejects) == {
        "b": f"row 2: {NOTHING_LEFT} (1 DNA features, and the first specimen has 2)",
        "c": "row 3: neither an image nor a barcode, nor features of one",
        "d": f"row 4: {NOTHING_LEFT} (the DNA features are not finite)",
    }


def test_each_kind_of_features_has_a_length_of_its_own(tmp_path: Path, imported: Import, write_parquet: Write) -> None:
    columns = {
        "id": ["a", "b"],
        "order": ["Diptera"] * 2,
        "image_features": [[1.0, 2.0], [3.0, 4.0]],
        "dna_features": [[1.0], [2.0]],
    }
    rows, report, _ = imported(write_parquet(tmp_path / "s.parquet", columns))
    assert [row["dna_features"] for row in rows] == [[1.0], [2.0]]
    assert report.rejects == ()


@pytest.mark.parametrize("field", ["image_features", "dna_features"])
def test_features_are_not_read_from_text(field: str, tmp_path: Path) -> None:
    (tmp_path / "s.tsv").write_text(f"id\torder\t{field}\na\tDiptera\t1 2\n")
    with pytest.raises(SourceError, match=rf"column '{field}': .* read from Parquet"):
        table_source(tmp_path / "s.tsv", {})


def test_two_files_of_dna_features_are_an_error(tmp_path: Path, write_specimens: Write) -> None:
    write_specimens(tmp_path / "specimens.tsv")
    for name in ("dna_features_a.npy", "dna_features_b.npy"):
        np.save(tmp_path / name, np.ones((2, 2)))
    with pytest.raises(SourceError, match="several feature files"):
        table_source(tmp_path, {})
