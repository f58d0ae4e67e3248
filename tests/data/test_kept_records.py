"""A field that cannot be used is null and counted; the record goes on, and later ones of its id complete it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workloads.data.sources import cleaning, repeats
from workloads.data.sources.collect import ImportReport, collect
from workloads.data.sources.source import RawRecord, Source
from workloads.data.specimens import barcode_rule
from workloads.data.specimens.specimen_table import SpecimenTable

WHOLE: dict[str, Any] = {
    "image": "a.jpg",
    "barcode": "ACGT",
    "bin": "BOLD:AAA0001",
    "order": "Diptera",
    "species": "Aedes vexans",
}
UNUSABLE = [
    ({"bin": "https://observations.example.org/" + "x" * 300}, "bin", cleaning.NO_BIN),
    ({"bin": "BIN 7"}, "bin", cleaning.NO_BIN),
    ({"barcode": "ACXT"}, "barcode", barcode_rule.NO_BASES),
    ({"barcode": "NNNN"}, "barcode", barcode_rule.EMPTY),
    ({"barcode": "ACGT", "marker": "COI-3P"}, "barcode", cleaning.OTHER_MARKER),
    ({"order": "Dip\x07tera"}, "order", "names: unreadable name"),
    ({"species": "Aedes sp."}, "species", "names: open name"),
    ({"image_features": np.array([np.nan])}, "image_features", "image features that cannot be used, left out"),
]


def rows_of(folder: Path, *records: RawRecord, **about: Any) -> tuple[list[dict[str, Any]], ImportReport]:
    table = SpecimenTable.at(folder / "specimens.parquet")
    report = collect(Source(name="beetles.tsv", records=records, **about), table)
    return [row for batch in table.batches() for row in batch.to_pylist()], report


@pytest.mark.parametrize(("values", "field", "kind"), UNUSABLE)
def test_a_field_that_cannot_be_used_costs_that_field_and_is_counted(
    values: dict[str, Any], field: str, kind: str, tmp_path: Path
) -> None:
    [row], report = rows_of(tmp_path, {"specimen_id": "x", **WHOLE, **values})
    assert row[field] is None
    assert all(row[name] for name in WHOLE if name != field)
    assert report.findings.counts[kind] == 1
    assert report.findings.examples[kind]
    assert report.rejects == ()


def test_a_record_of_which_nothing_is_left_says_what_was_wrong(tmp_path: Path) -> None:
    good = {"specimen_id": "good", **WHOLE}
    _, report = rows_of(tmp_path, good, {"specimen_id": "x", "species": "Aedes vexans", "barcode": "NNN"})
    reason = "neither an image nor a barcode, nor features of one (the barcode is empty)"
    assert report.rejects == (("x", reason),)


def test_specimens_without_a_name_are_kept_and_counted(tmp_path: Path) -> None:
    given = {"specimen_id": "x", "barcode": "ACGT"}, {"specimen_id": "y", "image": "y.jpg", "species": "unidentified"}
    rows, report = rows_of(tmp_path, *given)
    assert [row["specimen_id"] for row in rows] == ["x", "y"]
    assert report.findings.counts[cleaning.UNNAMED] == 2
    assert report.survey.facts()["without_a_name"] == 2


def test_a_bin_is_taken_out_of_the_address_of_its_page(tmp_path: Path) -> None:
    [row], _ = rows_of(tmp_path, {"specimen_id": "x", **WHOLE, "bin": "https://example.org/bin?uri=BOLD:AAB1234"})
    assert row["bin"] == "BOLD:AAB1234"


def test_a_published_source_keeps_names_and_bins_and_one_record_an_id(tmp_path: Path) -> None:
    published = {"specimen_id": "x", **WHOLE, "species": "Aedes sp. BOLD:AAA0001", "bin": "7"}
    [row], report = rows_of(tmp_path, published, {**published, "image": "b.jpg"}, published=True)
    assert (row["species"], row["genus"], row["bin"]) == ("Aedes sp. BOLD:AAA0001", None, "7")
    assert report.rejects == (("x", "a second record with this id"),)


def test_names_stay_as_they_are_written_where_that_is_asked_for(tmp_path: Path) -> None:
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    source = Source(name="beetles.tsv", records=[{"specimen_id": "x", **WHOLE, "species": "Aedes sp. 3"}])
    collect(source, table, rules=cleaning.Rules(names_as_given=True))
    assert table.column("species").to_pylist() == ["Aedes sp. 3"]


SHORT, LONG = "ACGTACGT", "ACGTACGTACGT"


@pytest.mark.parametrize(
    ("first", "later", "barcode", "kind"),
    [
        ({"barcode": SHORT, "marker": "COI-3P"}, {"barcode": LONG, "marker": "COI-5P"}, LONG, repeats.COMPLETED),
        ({"barcode": LONG, "marker": "COI"}, {"barcode": SHORT, "marker": "COI-5P"}, SHORT, repeats.COI_5P_KEPT),
        ({"barcode": SHORT, "marker": "COI-5P"}, {"barcode": LONG, "marker": "COI"}, SHORT, repeats.COI_5P_KEPT),
        ({"barcode": SHORT}, {"barcode": LONG}, LONG, repeats.LONGER_KEPT),
        ({"barcode": SHORT}, {"barcode": "ACGTNNNNNNACG"}, SHORT, repeats.FIRST_KEPT),
        ({"barcode": SHORT}, {"barcode": SHORT}, SHORT, repeats.EQUAL),
    ],
)
def test_of_two_barcodes_the_better_one_is_kept_and_the_reason_is_said(
    first: dict[str, Any], later: dict[str, Any], barcode: str, kind: str, tmp_path: Path
) -> None:
    between = [{"specimen_id": f"s{number}", **WHOLE} for number in range(5000)]
    same = {"specimen_id": "x", "image": "a.jpg", "order": "Diptera"}
    rows, report = rows_of(tmp_path, {**same, **first}, *between, {**same, **later})
    assert [row["barcode"] for row in rows if row["specimen_id"] == "x"] == [barcode]
    assert len(rows) == 5001
    seconds = [name for name in vars(repeats).values() if isinstance(name, str) and name in report.findings.counts]
    assert seconds == [kind]
    assert report.findings.examples[kind] == ["x"]


def test_later_records_fill_what_the_first_one_lacks(tmp_path: Path) -> None:
    records = [
        {"specimen_id": "x", "barcode": "ACGT"},
        {"specimen_id": "x", "image": "a.jpg", "order": "Diptera", "species": "Aedes vexans"},
        {"specimen_id": "x", "image": "b.jpg", "bin": "BOLD:AAA0001", "species": "Aedes cinereus"},
    ]
    [row], report = rows_of(tmp_path, *records)
    assert (row["image"], row["barcode"], row["bin"]) == ("a.jpg\nb.jpg", "ACGT", "BOLD:AAA0001")
    assert (row["order"], row["genus"], row["species"]) == ("Diptera", "Aedes", "Aedes vexans")
    assert report.findings.counts[repeats.COMPLETED] == 2
    assert report.findings.counts[repeats.OTHER_NAMES] == report.findings.counts[repeats.MORE_IMAGES] == 1
    assert report.num_specimens == 1


def test_what_was_found_crosses_processes_as_plain_json(tmp_path: Path) -> None:
    import json
    import pickle

    _, report = rows_of(tmp_path, {"specimen_id": "x", **WHOLE, "species": "Aedes sp."})
    assert json.loads(json.dumps(report.findings.as_json()))["names: open name"] == {
        "count": 1,
        "examples": ["'Aedes sp.' -> Aedes"],
    }
    assert pickle.loads(pickle.dumps(report.findings)) == report.findings
