from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.identification.small_database import INSECTS, BySimilarity, changed, insects, known, made
from workloads.errors import UsageError
from workloads.identification import identifying
from workloads.identification.answers import ANSWERS, BELOW, NO_CALIBRATION, OFF_THE_LIST, ONE_KEY, SEVERAL_BINS
from workloads.identification.database import Database
from workloads.identification.identifying import Asking, Identifier, identify, in_parts
from workloads.identification.query import Query
from workloads.spec import RANKS

BARCODES = [str(one["barcode"]) for one in INSECTS]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return made(tmp_path_factory.mktemp("db") / "small", insects())


def asked(database: Database, queries: Sequence[Query], **asking: Any) -> list[dict[str, Any]]:
    """The rows of some queries, where a name is as sure as its key is similar."""
    identifier = Identifier(database, Asking(**asking))
    identifier._calibration = BySimilarity()  # type: ignore[assignment]
    rows: list[dict[str, Any]] = identifier.answer(queries).select(ANSWERS.names).to_pylist()
    return rows


def test_a_specimen_is_named_to_the_deepest_rank_that_holds(database: Database) -> None:
    named = next(one for one in INSECTS if one["species"])
    query = Query("q", barcode=changed(str(named["barcode"]), 3, 0), where="f.fasta, line 1")
    [row] = asked(database, [query], confidence=0.9)
    assert [row[rank] for rank in RANKS] == [named[rank] for rank in RANKS]
    assert (row["rank"], row["evidence"], row["file_name"]) == ("species", "dna", "f.fasta, line 1")
    assert row["score"] == pytest.approx(row["similarity"])
    assert row["species"].split(" ", 1)[1] == row["species_epithet"]
    assert row["identity"] == pytest.approx(1 - 3 / 658, abs=2e-3)
    assert row["bin"].startswith("BOLD:")
    assert row["synthetic"] is True
    assert [row[name] for name in ("kingdom", "phylum", "class", "common_name", "error")] == [None] * 5


def test_where_nothing_holds_there_is_no_name_but_the_nearest_key(database: Database) -> None:
    [row] = asked(database, [Query("q", barcode=changed(BARCODES[0], 200, 0))], confidence=0.99)
    assert [row[name] for name in (*RANKS, "rank", "score", "num_keys", "runner_up")] == [None] * 8
    assert row["nearest_id"]
    assert row["bin"]
    assert 0 < row["similarity"] < 0.99


def test_a_rank_names_no_deeper_and_all_ranks_have_a_row_each(database: Database) -> None:
    named = next(one for one in INSECTS if one["species"])
    query = Query("q", barcode=str(named["barcode"]))
    [row] = asked(database, [query], rank="family")
    assert (row["rank"], row["family"], row["genus"], row["species"]) == ("family", named["family"], None, None)
    rows = asked(database, [Query("q", barcode=changed(BARCODES[0], 90, 0))], all_ranks=True, confidence=0.99)
    assert [row["rank"] for row in rows] == list(RANKS)
    assert all(BELOW in row["flags"] for row in rows if row["score"] < 0.99)


def test_k_lists_the_nearest_keys(database: Database) -> None:
    rows = asked(database, [Query("q", barcode=BARCODES[4])], k=3)
    assert len(rows) == 3
    assert rows[0]["nearest_id"] == INSECTS[4]["specimen_id"]
    assert rows[0]["identity"] == 1.0
    assert [row["similarity"] for row in rows] == sorted((row["similarity"] for row in rows), reverse=True)
    assert {row["score"] for row in rows} == {None}


def test_a_list_of_taxa_decides_which_keys_are_searched(database: Database) -> None:
    listed = sorted({str(one["species"]) for one in INSECTS if one["species"]})
    query = Query("q", barcode=str(next(one["barcode"] for one in INSECTS if one["species"] == listed[0])))
    [row] = asked(database, [query], within=[listed[1], "Nobody"], confidence=0.01)
    assert row["species"] == listed[1]
    assert OFF_THE_LIST in row["flags"]
    assert Identifier(database, Asking(within=[listed[1], "Nobody"])).unknown_taxa == ["Nobody"]
    with pytest.raises(UsageError, match=r"no key .* is of Nobody"):
        Identifier(database, Asking(within=["Nobody"]))


def test_flags_and_reasons_stand_with_those_they_are_about(tmp_path: Path) -> None:
    first, second = BARCODES[0], BARCODES[1]
    specimens = [
        known("a", first, ("O", "F", "G", "G one"), "BOLD:AAA0001"),
        known("b", changed(first, 2, 0), ("O", "F", "G", "G one"), "BOLD:AAA0002"),
        known("c", second, ("O", "F", "H", "H two"), "BOLD:AAA0003"),
    ]
    database = made(tmp_path / "db", specimens)
    queries = [
        Query("q", barcode=first),
        Query("r", barcode=second, flags=("barcode turned",)),
        Query("s", problem="it is no FASTA"),
        Query("t", image=b"\xff\xd8\xff"),
        Query("u", barcode="ACGN"),
    ]
    one, two, lost, picture, short = asked(database, queries)
    assert one["flags"] == [SEVERAL_BINS]
    assert one["num_keys"] == 2
    assert (one["runner_up"], one["bin"]) == ("H two", "BOLD:AAA0001")
    assert two["flags"] == ["barcode turned", ONE_KEY]
    assert lost["error"] == "it is no FASTA"
    assert picture["error"] == "the database has no keys of images"
    assert "five certain bases" in short["error"]
    without = identify(queries[:1], database, Asking())
    assert NO_CALIBRATION in next(without)["flags"][0].as_py()


def test_names_that_contradict_each_other_end_at_the_rank_above(tmp_path: Path) -> None:
    specimens = [
        known("a", BARCODES[0], ("O", "F", None, None)),
        known("b", changed(BARCODES[0], 4, 0), ("P", "E", "G", "G one")),
    ]
    [row] = asked(made(tmp_path / "db", specimens), [Query("q", barcode=BARCODES[0])], confidence=0.5)
    assert (row["rank"], row["order"], row["family"], row["species"]) == ("family", "O", "F", None)


def test_answers_come_in_order_the_first_after_few_queries(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identifying, "FIRST", 2)
    monkeypatch.setattr(identifying, "TOGETHER", 3)
    taken = []

    def queries() -> Any:
        for number, barcode in enumerate(BARCODES[:9]):
            taken.append(number)
            yield Query(str(number), barcode=barcode)

    parts = identify(queries(), database, Asking())
    assert next(parts).schema.equals(ANSWERS)
    assert taken == [0, 1]
    assert [name for part in parts for name in part["specimen_id"].to_pylist()] == list("2345678")
    monkeypatch.setattr(identifying, "_MOST_BYTES", 5)
    pictures = [Query(str(number), image=b"123") for number in range(5)]
    assert [len(part) for part in in_parts(pictures)] == [2, 2, 1]


@pytest.mark.parametrize("asking", [{"confidence": 1.0}, {"k": 0}, {"k": 1, "all_ranks": True}, {"rank": "class"}])
def test_what_means_nothing_is_refused(asking: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Asking(**asking)
