import csv
import io
import json
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest

from tests.identification.small_database import INSECTS, BySimilarity, changed, known, made
from workloads.errors import UsageError
from workloads.identification.answers import ANSWERS
from workloads.identification.database import Database
from workloads.identification.formats import FORMATS, Format, format_of, writing
from workloads.identification.identifying import Asking, Identifier
from workloads.identification.query import Query

FIRST, SECOND = str(INSECTS[0]["barcode"]), str(INSECTS[1]["barcode"])
FORMULA = '=HYPERLINK("http://x","y")'


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    names = ("Order", "Family", "Genus", "Genus one")
    return made(
        tmp_path_factory.mktemp("db") / "small",
        [known("key 1", FIRST, names, "BOLD:AAA0001"), known("k2", SECOND, ("Order", "Family", "Genus", FORMULA))],
        made_with="1.2",
    )


def written(database: Database, form: Format) -> bytes:
    """Three answers: a name, a formula for a name, and a record that could not be read."""
    identifier = Identifier(database, Asking(confidence=0.8))
    identifier._calibration = BySimilarity()  # type: ignore[assignment]
    queries = [Query("a b", barcode=changed(FIRST, 2, 0)), Query(FORMULA, barcode=SECOND), Query("c", problem="bad")]
    sink = io.BytesIO()
    with writing(form, sink, database.facts) as write:
        write(identifier.answer(queries[:2]))
        write(identifier.answer(queries[2:]))
    return sink.getvalue()


@pytest.mark.parametrize(("form", "mark"), [("csv", ","), ("tsv", "\t")])
def test_text_has_the_columns_of_the_answers_and_no_formula(database: Database, form: Format, mark: str) -> None:
    rows = list(csv.DictReader(io.StringIO(written(database, form).decode()), delimiter=mark))
    assert list(rows[0]) == ANSWERS.names
    assert [row["species"] for row in rows] == ["Genus one", f"'{FORMULA}", ""]
    assert rows[0]["flags"] == "one key only"
    assert rows[2]["error"] == "bad"


def test_json_is_one_array_without_nulls(database: Database) -> None:
    rows = json.loads(written(database, "json"))
    assert [row["specimen_id"] for row in rows] == ["a b", FORMULA, "c"]
    assert rows[2] == {"file_name": "c", "specimen_id": "c", "flags": [], "error": "bad", "synthetic": True}
    sink = io.BytesIO()
    with writing("json", sink, database.facts):
        pass
    assert json.loads(sink.getvalue()) == []


def test_parquet_is_the_table(database: Database) -> None:
    table = pq.read_table(io.BytesIO(written(database, "parquet")))
    assert table.schema.equals(ANSWERS)
    assert table["species"].to_pylist() == ["Genus one", FORMULA, None]


def test_a_workbook_keeps_text_as_text_and_numbers_as_numbers(database: Database) -> None:
    book = openpyxl.load_workbook(io.BytesIO(written(database, "xlsx")), data_only=False)
    header, *rows = book.active.iter_rows(values_only=False)
    assert [cell.value for cell in header] == ANSWERS.names
    species = rows[1][ANSWERS.names.index("species")]
    assert (species.value, species.data_type) == (FORMULA, "s")
    assert rows[0][ANSWERS.names.index("score")].data_type == "n"


def test_darwin_core_says_that_a_machine_named_it_and_how_sure_it_is(database: Database) -> None:
    row, _, bad = csv.DictReader(io.StringIO(written(database, "dwc").decode()), delimiter="\t")
    assert (row["scientificName"], row["taxonRank"], row["specificEpithet"]) == ("Genus one", "species", "one")
    assert (row["identifiedBy"], row["identificationVerificationStatus"]) == ("clibd-ray 1.2", "PredictedByMachine")
    assert row["identificationRemarks"].startswith("confidence 0.9")
    assert row["identificationReferences"] == "small: key 1"
    assert (bad["scientificName"], bad["identificationVerificationStatus"]) == ("", "")
    assert "error: bad" in bad["identificationRemarks"]


def test_bcdm_has_the_names_of_bold(database: Database) -> None:
    row, *_ = csv.DictReader(io.StringIO(written(database, "bcdm").decode()), delimiter="\t")
    wanted = {"sampleid": "a b", "identification": "Genus one", "identification_rank": "species"}
    wanted |= {"bin_uri": "BOLD:AAA0001", "nearest_processid": "key 1", "identification_method": "BARCODE"}
    assert {name: row[name] for name in wanted} == wanted


def test_blast6_has_twelve_columns_without_a_header_of_real_alignments(database: Database) -> None:
    rows = [line.split("\t") for line in written(database, "blast6").decode().splitlines()]
    assert [len(row) for row in rows] == [12, 12]
    query, key, identity, length, mismatches, gaps, *places, expected, bits = rows[0]
    assert (query, key) == ("a_b", "key_1")
    assert float(identity) == pytest.approx(100 * (int(length) - 2) / int(length), abs=1e-3)
    assert (mismatches, gaps, places) == ("2", "0", ["1", "658", "1", "658"])
    assert float(expected) < 1e-100
    assert float(bits) > 1000


@pytest.mark.parametrize(
    ("wanted", "out", "form"),
    [
        (None, None, "csv"),
        (None, "x.TSV", "tsv"),
        (None, "x.b6", "blast6"),
        ("dwc", "x.csv", "dwc"),
        (None, "x", "csv"),
    ],
)
def test_the_format_is_that_asked_for_or_that_of_the_ending(wanted: str | None, out: str | None, form: str) -> None:
    assert format_of(wanted, out) == form


def test_an_unknown_format_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=", ".join(FORMATS)):
        format_of("xml", None)


def test_rows_beyond_a_sheet_go_to_the_next(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workloads.identification.formats._MOST_ROWS", 2)
    book: Any = openpyxl.load_workbook(io.BytesIO(written(database, "xlsx")))
    assert [sheet.max_row for sheet in book.worksheets] == [2, 2, 2]
