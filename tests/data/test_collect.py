"""Any source becomes a specimen table; a bad record costs itself, and a bad source leaves nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workloads.data.sources.collect import ImportReport, collect
from workloads.data.sources.source import RawRecord, Refused, Source
from workloads.data.specimens.barcode_rule import GAPS
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import SourceError

GOOD: dict[str, Any] = {"barcode": "ACGT", "order": "Diptera"}


def collected(folder: Path, *records: RawRecord | Refused, **about: Any) -> tuple[SpecimenTable, ImportReport]:
    table = SpecimenTable.at(folder / "specimens.parquet")
    return table, collect(Source(name="beetles.tsv", records=records, **about), table)


def test_good_records_become_rows_in_their_order_under_clean_names(tmp_path: Path) -> None:
    table, report = collected(
        tmp_path,
        {"specimen_id": " b ", "barcode": "ac-gt nn", "order": " True\tbugs ", "family": "not_classified"},
        {"specimen_id": "a", "image": "a.jpg", "order": "Diptera", "species": "Zoro  bus", "bin": "bold:aaa0001"},
    )
    rows = next(table.batches()).to_pylist()
    assert [row["specimen_id"] for row in rows] == ["b", "a"]
    assert (rows[0]["barcode"], rows[0]["order"], rows[0]["family"]) == ("ACNGT", "True bugs", None)
    assert (rows[0]["barcode_as_given"], rows[1]["barcode_as_given"]) == ("ac-gt nn", None)
    assert (rows[1]["species"], rows[1]["bin"], rows[1]["split"]) == ("Zoro bus", "BOLD:AAA0001", None)
    assert (report.num_specimens, report.modalities, report.rejects, report.notes) == (
        2,
        ("image", "dna", "text"),
        (),
        (),
    )
    assert report.findings.counts[GAPS] == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"specimen_id": None, **GOOD}, "no specimen id"),
        ({"specimen_id": "  ", **GOOD}, "no specimen id"),
        ({"specimen_id": " NA ", **GOOD}, "no specimen id"),
        ({"specimen_id": "unknown", **GOOD}, "no specimen id"),
        ({"specimen_id": "a\x00b", **GOOD}, "not printable"),
        ({"specimen_id": "a" * 201, **GOOD}, "longer than 200"),
        ({"specimen_id": "x", "order": "Diptera"}, "neither an image"),
        ({"specimen_id": "x", "order": "Diptera", "barcode": "NA", "image": "not_classified"}, "neither an image"),
        ({"specimen_id": "x", "order": "Diptera", "barcode": "ACXT"}, "no nucleotide"),
        ({"specimen_id": "x", "order": "Diptera", "barcode": "ACGT", "marker": "COX2"}, "of 'COX2', not of COI"),
        (
            {"specimen_id": "x", "order": "Diptera", "image_features": np.array([1.0, np.nan])},
            "the image features are not",
        ),
        (
            {"specimen_id": "x", "order": "Diptera", "dna_features": np.array([np.inf])},
            "the DNA features are not finite",
        ),
    ],
)
def test_a_bad_record_is_listed_with_its_place_and_the_others_go_on(
    record: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    first, last = {"specimen_id": "first", **GOOD}, {"specimen_id": "last", **GOOD}
    table, report = collected(tmp_path, first, {**record, "where": "line 3"}, last)
    assert table.column("specimen_id").to_pylist() == ["first", "last"]
    [(identifier, said)] = report.rejects
    assert reason in said
    assert said.startswith("line 3: ")
    assert identifier in ((record["specimen_id"] or "").strip(), "record 2")


def test_what_a_reader_refused_is_listed_as_it_said(tmp_path: Path) -> None:
    _, report = collected(tmp_path, {"specimen_id": "a", **GOOD}, Refused("line 3", "4 fields, not 5"))
    assert report.rejects == (("line 3", "4 fields, not 5"),)


def test_splits_of_the_source_are_kept_and_unknown_ones_refused(tmp_path: Path) -> None:
    table, report = collected(
        tmp_path,
        {"specimen_id": "a", **GOOD, "split": "val_seen"},
        {"specimen_id": "b", **GOOD, "split": "validation"},
        has_splits=True,
    )
    assert table.column("split").to_pylist() == ["val_seen"]
    assert table.facts.partition == "source"
    assert "validation" in report.rejects[0][1]


def test_a_source_that_breaks_off_leaves_no_table(tmp_path: Path) -> None:
    def records() -> Iterator[RawRecord]:
        yield {"specimen_id": "a", **GOOD}
        raise SourceError("beetles.tsv", "line 3", "the file ends here")

    with pytest.raises(SourceError, match="line 3"):
        collect(Source(name="beetles.tsv", records=records()), SpecimenTable.at(tmp_path / "specimens.parquet"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("records", [(), (Refused("line 2", "4 fields, not 5"),), ({"specimen_id": ""},)])
def test_a_source_without_a_usable_record_is_an_error(records: tuple[Any, ...], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no record"):
        collected(tmp_path, *records)
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_is_there_stays_when_a_new_import_fails(tmp_path: Path) -> None:
    collected(tmp_path, {"specimen_id": "a", **GOOD})
    with pytest.raises(SourceError):
        collected(tmp_path)
    assert SpecimenTable.at(tmp_path / "specimens.parquet").column("specimen_id").to_pylist() == ["a"]


def test_progress_counts_records(tmp_path: Path) -> None:
    told: list[int] = []
    records = ({"specimen_id": f"s{number}", **GOOD} for number in range(10_000))
    collect(Source(name="many", records=records), SpecimenTable.at(tmp_path / "s.parquet"), told.append)
    assert told == sorted(told)
    assert len(told) == 2


def test_what_was_refused_before_a_source_breaks_off_is_told(tmp_path: Path) -> None:
    def records() -> Iterator[RawRecord | Refused]:
        yield {"specimen_id": "a", **GOOD}
        yield Refused("line 3", "bad")
        raise SourceError("here", "after line 3", "it breaks off")

    told: list[str] = []
    with pytest.raises(SourceError, match="it breaks off"):
        collect(Source(name="here", records=records()), None, on_reject=lambda name, reason: told.append(name))
    assert told == ["line 3"]


def test_all_rejects_are_told_and_only_the_first_are_held(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    records = [Refused(f"line {number}", "bad") for number in range(3000)]
    source = Source(name="many", records=[{"specimen_id": "a", **GOOD}, *records])
    report = collect(source, SpecimenTable.at(tmp_path / "s.parquet"), on_reject=lambda *reject: told.append(reject))
    assert told == [(record.identifier, record.reason) for record in records]
    assert report.rejects == tuple(told[:1000])
