"""The specimen table: names, labels, and its fingerprint."""

import pyarrow as pa
import pytest

from workloads.data.specimens.schema import (
    PROTOCOLS,
    SPECIMEN_SCHEMA,
    clean_name,
    even_batches,
    evenly_spaced,
    lineage_text,
    offered,
    part_of,
    subsets_of,
    table_fingerprint,
)
from workloads.errors import RecordError
from workloads.spec import RANKS


def specimen(**values: object) -> dict[str, object]:
    return {**dict.fromkeys(SPECIMEN_SCHEMA.names), **values}


def table(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SPECIMEN_SCHEMA)


ROWS = [specimen(specimen_id=f"s{i}", barcode="ACGT" * i if i % 3 else None, order="Diptera") for i in range(1, 40)]


@pytest.mark.parametrize("word", ["", "  ", "not_classified", "not classified", "NaN", "None", "NULL", "Unknown", "[]"])
def test_words_for_a_missing_name_are_none(word: str) -> None:
    assert clean_name(word) is None


def test_a_name_keeps_single_blanks_and_its_case() -> None:
    assert clean_name("  Zoro \t bus\n") == "Zoro bus"
    assert clean_name("geleBioLep01 BioLep1169") == "geleBioLep01 BioLep1169"
    assert clean_name("Noneus") == "Noneus"
    assert clean_name(None) is None


@pytest.mark.parametrize("name", ["Zoro\x00bus", "Zoro \x1b[31mbus", "Zoro\u202ebus"])
def test_a_name_with_control_characters_is_refused(name: str) -> None:
    with pytest.raises(RecordError, match="control characters"):
        clean_name(name)


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (("Diptera", "Zoridae", "Zoro", "Zoro bus"), "Diptera Zoridae Zoro bus"),
        (("Diptera", "Zoridae", "Zoro", None), "Diptera Zoridae Zoro"),
        (("Diptera", None, None, None), "Diptera"),
        ((None, None, None, "Zoro bus"), "Zoro bus"),
        (("Diptera", "Zoridae", None, "Zoro bus"), "Diptera Zoridae Zoro bus"),
        ((None, None, None, None), ""),
    ],
)
def test_the_label_names_known_ranks_and_the_genus_once(known: tuple[str | None, ...], text: str) -> None:
    assert lineage_text(dict(zip(RANKS, known, strict=True))) == text


def test_modalities_are_those_whose_columns_are_filled() -> None:
    assert offered(["specimen_id", "order", "barcode"]) == offered(["dna_features", "order"]) == ("dna", "text")
    assert offered(["image"]) == offered(["image_features", "bin"]) == ("image",)
    assert offered(["species", "barcode", "image", "split"]) == ("image", "dna", "text")
    assert offered(["species"]) == ("text",)
    assert offered(["specimen_id"]) == ()


def test_the_fingerprint_of_a_table_does_not_depend_on_how_it_is_stored() -> None:
    whole = table(*ROWS)
    chunked = pa.concat_tables([table(*ROWS[:5]), table(*ROWS[5:6]), table(*ROWS[6:])])
    cut = pa.concat_tables([table(*ROWS[:7]), whole]).slice(7)
    reordered = whole.select(SPECIMEN_SCHEMA.names[::-1])
    assert {table_fingerprint(t.to_batches()) for t in (whole, chunked, cut, reordered)} == {
        table_fingerprint(whole.to_batches())
    }


def test_the_fingerprint_of_a_table_is_pinned() -> None:
    assert table_fingerprint(table(*ROWS).to_batches()) == "da9bf1d2"


@pytest.mark.parametrize(
    "change",
    [
        {"barcode": "A"},
        {"species": "Zoro bus"},
        {"split": "no_split"},
        {"image_features": [0.5]},
        {"dna_features": [0.5]},
        {"order": None},
    ],
)
def test_any_changed_value_changes_the_fingerprint(change: dict[str, object]) -> None:
    changed = [*ROWS[:-1], {**ROWS[-1], **change}]
    assert table_fingerprint(table(*changed).to_batches()) != table_fingerprint(table(*ROWS).to_batches())


def test_the_order_of_rows_changes_the_fingerprint() -> None:
    assert table_fingerprint(table(*ROWS[::-1]).to_batches()) != table_fingerprint(table(*ROWS).to_batches())


@pytest.mark.parametrize("sizes", [(), (1,), (39,), (10, 10, 19), (5, 0, 34), (13, 13, 13)])
@pytest.mark.parametrize("size", [1, 13, 39, 100])
def test_even_batches_hold_the_same_rows_in_order(sizes: tuple[int, ...], size: int) -> None:
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    batches = [
        table(*ROWS).slice(start, length).combine_chunks().to_batches()
        for start, length in zip(starts, sizes, strict=True)
    ]
    even = list(even_batches([batch for found in batches for batch in found], size))
    assert all(len(batch) == size for batch in even[:-1])
    assert [row for batch in even for row in batch.to_pylist()] == table(*ROWS).to_pylist()[: sum(sizes)]


@pytest.mark.parametrize(("count", "step"), [(10, 1), (11, 2), (19, 2), (20, 2), (21, 3), (39, 4)])
@pytest.mark.parametrize("size", [1, 5, 100])
def test_evenly_spaced_rows_are_never_more_than_asked_for(count: int, step: int, size: int) -> None:
    chosen = list(evenly_spaced(table(*ROWS[:count]).to_batches(max_chunksize=size), count, 10))
    assert [row for batch in chosen for row in batch.to_pylist()] == ROWS[:count:step]


def test_every_split_of_the_paper_has_exactly_one_use() -> None:
    paper = PROTOCOLS["clibd"]
    queries = [split for kinds in paper.queries.values() for split in kinds.values()]
    used = [*paper.training, *paper.keys, *queries, *paper.unused]
    assert sorted(used) == sorted(set(used)) == sorted(paper.splits)


def test_the_protocol_says_which_splits_ask_and_whose_species_they_hold() -> None:
    paper, insect = PROTOCOLS["clibd"], PROTOCOLS["insect"]
    assert paper.asking() == ("val_seen", "val_unseen", "test_seen", "test_unseen")
    assert paper.asking("val") == ("val_seen", "val_unseen")
    assert paper.asking(subset="unseen") == ("val_unseen", "test_unseen")
    assert insect.asking("test", "unseen") == insect.asking("val") == ()
    assert insect.splits_of("unseen") == ("test_unseen",)
    assert subsets_of(["train_seen", "unseen_keys", "no_split"]).tolist() == ["seen", "unseen", "seen"]
    assert [part_of(split) for split in ("val_unseen_keys", "test_seen", "seen_keys")] == ["val", "test", None]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_is_asked_for_is_never_trained_on_and_a_split_is_listed_once(name: str) -> None:
    protocol = PROTOCOLS[name]
    asking = {split for kinds in protocol.queries.values() for split in kinds.values()}
    assert not asking & {*protocol.training, *protocol.keys, *protocol.unused}
    assert not set(protocol.unused) & {*protocol.training, *protocol.keys}
    assert len(set(protocol.splits)) == len(protocol.splits)


def test_a_name_is_the_same_however_its_accents_are_spelled() -> None:
    assert clean_name("Zoë́") == clean_name("Zoë́") == "Zoë́"
    assert clean_name("Mülleria") == "Mülleria"


def test_a_name_longer_than_any_is_refused() -> None:
    with pytest.raises(RecordError, match="10000 characters"):
        clean_name("a" * 10_000)
