"""`clibd.Database`: nearest keys against brute force, taxa as they are counted, and what is shown escaped."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import clibd
from clibd.databases import NEAREST
from workloads.errors import MissingPathError, UsageError
from workloads.identification.keys import counted, hellinger
from workloads.spec import RANKS


@pytest.fixture(scope="module")
def database(database_folder: Path) -> clibd.Database:
    return clibd.Database(database_folder)


def test_the_nearest_are_those_of_brute_force(database: clibd.Database, whole: pa.Table) -> None:
    rows = [row for row in whole.to_pylist() if row["barcode"]]
    keys, asked = rows[::2], {row["specimen_id"]: row["barcode"] for row in rows[1:40:2]}
    found = database.nearest(barcodes=asked, k=3)
    assert found.table.schema == NEAREST
    cosines = hellinger(counted([*asked.values()])) @ hellinger(counted([row["barcode"] for row in keys])).T
    barcodes = {row["specimen_id"]: row["barcode"] for row in keys}
    for number, identifier in enumerate(asked):
        own = [row for row in found.table.to_pylist() if row["specimen_id"] == identifier]
        assert [row["place"] for row in own] == [1, 2, 3]
        distinct = {row["barcode"]: cosine for row, cosine in zip(keys, cosines[number], strict=True)}
        expected = sorted(distinct.values(), reverse=True)[:3]
        np.testing.assert_allclose([row["similarity"] for row in own], expected, atol=1e-6)
        shared = Counter(row["barcode"] for row in keys)
        assert [row["num_specimens"] for row in own] == [shared[barcodes[row["nearest_id"]]] for row in own]


def test_what_has_no_neighbours_says_why(database: clibd.Database) -> None:
    rows = database.nearest(barcodes=["NNNN", None, "ACG"], k=2).table.to_pylist()
    assert [row["place"] for row in rows] == [None, None, None]
    assert "without a known base" in rows[0]["error"]
    assert rows[1]["error"] == "it has no barcode"
    assert "five certain bases" in rows[2]["error"]
    with pytest.raises(UsageError, match="no keys of images"):
        database.nearest(images=[b""])
    with pytest.raises(UsageError, match="k is 0"):
        database.nearest(barcodes=["ACGT"], k=0)


def test_taxa_are_counted_with_the_names_above_them(database: clibd.Database, whole: pa.Table) -> None:
    rows = [row for row in whole.to_pylist() if row["barcode"]][::2]
    counts = Counter(tuple(row[rank] for rank in RANKS) for row in rows if row["species"])
    found = database.taxa().table.to_pylist()
    assert {tuple(row[rank] for rank in RANKS): row["specimens"] for row in found} == counts
    with pytest.raises(UsageError, match="no rank 'kingdom'"):
        database.taxa("kingdom")  # type: ignore[arg-type]


def test_specimens_at_hand_and_in_files_have_the_same_answers(
    database: clibd.Database, whole: pa.Table, tmp_path: Path
) -> None:
    rows = [row for row in whole.to_pylist() if row["barcode"]][:6]
    (tmp_path / "some.fasta").write_text("".join(f">{row['specimen_id']}\n{row['barcode']}\n" for row in rows))
    at_hand = database.identify(barcodes={row["specimen_id"]: row["barcode"] for row in rows})
    in_file = database.identify(tmp_path / "some.fasta")
    for row, other in zip(at_hand.table.to_pylist(), in_file.table.to_pylist(), strict=True):
        assert {**row, "file_name": None} == {**other, "file_name": None}
    assert clibd.identify(database, tmp_path / "some.fasta", k=2).table.num_rows == 12
    assert set(at_hand.table["synthetic"].to_pylist()) == {True}
    with pytest.raises(UsageError, match="not both"):
        database.identify("some.fasta", barcodes=["ACGT"])


def test_what_is_shown_is_escaped_and_says_that_it_is_synthetic(database: clibd.Database) -> None:
    shown = database.nearest(barcodes={"<script>x</script>": "NNNN"})._repr_html_()
    assert "<script>" not in shown
    assert "SYNTHETIC" in shown
    assert "SYNTHETIC" in database._repr_html_()


def test_a_folder_without_a_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="clibd db build"):
        clibd.Database(tmp_path)
