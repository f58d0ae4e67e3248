"""Lineages that contradict each other, and barcodes that splits share."""

import random
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.specimens.caveats import RankNames, contradictions, shared_barcodes
from workloads.data.specimens.partition import partition
from workloads.data.specimens.schema import PROTOCOLS, SPECIMEN_SCHEMA
from workloads.data.specimens.specimen_table import SpecimenTable, TableFacts
from workloads.spec import RANKS

FLY: RankNames = ("Diptera", "Zoridae", "Zoro", "Zoro bus")


@pytest.mark.parametrize(
    "others",
    [
        [],
        [FLY],
        [("Diptera", "Zoridae", "Zoro", "Zoro albus")],
        [
            ("Diptera", None, "Zoro", "Zoro bus"),
            ("Diptera", "Zoridae", None, "Zoro bus"),
            (None, None, None, "Zoro bus"),
        ],
        [("Coleoptera", "Aridae", "Ara", "Ara bus")],
        [(None, None, None, None), ("Diptera", None, None, None)],
        [("Diptera", "Diptera", "Diptera", None)],
    ],
    ids=["one", "twice", "sister", "ranks missing", "another", "nothing known", "one name at several ranks"],
)
def test_lineages_that_agree_say_nothing(others: list[RankNames]) -> None:
    assert contradictions([FLY, *others]) == []


def test_a_genus_in_two_families_of_one_order_is_contradictory() -> None:
    assert contradictions([FLY, FLY, ("Diptera", "Aridae", "Zoro", "Zoro bus")]) == [
        "genus Zoro: contradictory lineage: family Zoridae (Diptera) 2x, family Aridae (Diptera) 1x"
    ]


def test_a_genus_in_two_orders_is_a_homonym() -> None:
    snail: RankNames = ("Stylommatophora", "Aridae", "Zoro", "Zoro lineolata")
    assert contradictions([snail, FLY, FLY]) == [
        "genus Zoro: homonym, or a contradictory lineage: "
        "family Zoridae (Diptera) 2x, family Aridae (Stylommatophora) 1x"
    ]


def test_a_homonym_is_seen_without_its_families() -> None:
    assert contradictions([FLY, ("Myida", None, "Zoro", None)]) == [
        "genus Zoro: homonym, or a contradictory lineage: order Diptera 1x, order Myida 1x"
    ]


def test_a_family_in_two_orders_is_told_once_and_not_again_for_its_genera() -> None:
    assert contradictions([FLY, ("Coleoptera", "Zoridae", "Zoro", "Zoro bus")]) == [
        "family Zoridae: contradictory lineage: order Coleoptera 1x, order Diptera 1x"
    ]


def test_a_species_in_two_genera_is_contradictory_and_misnamed_in_one() -> None:
    assert contradictions([FLY, ("Diptera", "Zoridae", "Ara", "Zoro bus")]) == [
        "species Zoro bus: contradictory lineage: genus Ara (Diptera) 1x, genus Zoro (Diptera) 1x",
        "species Zoro bus: its name does not begin with its genus: genus Ara 1x",
    ]


def test_a_genus_must_be_the_whole_first_word_of_its_species() -> None:
    assert contradictions([("Diptera", None, "Zor", "Zoro bus")] * 1200) == [
        "species Zoro bus: its name does not begin with its genus: genus Zor 1,200x"
    ]


def contradicts(one: RankNames, other: RankNames, rank: int) -> bool:
    """Whether two records with one name at a rank part at the lowest rank above it that both know."""
    shared = [(a, b) for a, b in zip(one[:rank], other[:rank], strict=True) if a is not None and b is not None]
    return bool(shared) and shared[-1][0] != shared[-1][1]


NAME = st.sampled_from([None, "a", "b"])


@settings(max_examples=200, deadline=None)
@given(lineages=st.lists(st.tuples(NAME, NAME, NAME, NAME), max_size=8))
def test_every_contradicting_pair_of_records_is_found_and_no_other(lineages: list[RankNames]) -> None:
    expected = {
        (RANKS[rank], one[rank])
        for one, other in product(lineages, lineages)
        for rank in range(1, 4)
        if one[rank] is not None and one[rank] == other[rank] and contradicts(one, other, rank)
    }
    sentences = contradictions(lineages)
    told = [(*sentence.split(": ")[0].split(), "does not begin" in sentence) for sentence in sentences]
    assert {(rank, name) for rank, name, misnamed in told if not misnamed} == expected
    assert {name for _, name, misnamed in told if misnamed} == {
        species for _, _, genus, species in lineages if species and genus and species != genus
    }
    assert sentences == contradictions(lineages[::-1])


def test_real_bioscan_labels_hold_a_misspelt_genus(real: Callable[[str], Path]) -> None:
    file = real("bioscan1m_metadata") / "bioscan1m_small_validation_metadata.parquet"
    table = pq.read_table(file, columns=list(RANKS))
    rows = zip(*([name or None for name in table[rank].to_pylist()] for rank in RANKS), strict=True)
    told = contradictions(rows)
    assert "species Dalbominus Malaise5255: its name does not begin with its genus: genus Dahlbominus 2x" in told
    assert len(told) == 9


# --- Barcodes -----------------------------------------------------------------------------------------------------


def written(folder: Path, rows: list[dict[str, str | None]], protocol: str = "clibd") -> SpecimenTable:
    """A specimen table of these rows, in batches of 100."""
    table = SpecimenTable.at(folder / "specimens.parquet")
    with table.writer(TableFacts(source="test", protocol=protocol)) as write:
        for start in range(0, len(rows), 100):
            write(pa.RecordBatch.from_pylist(rows[start : start + 100], schema=SPECIMEN_SCHEMA))
    return table


def specimens(count: int, seed: int) -> list[dict[str, str | None]]:
    """Specimens of few barcodes, partitioned; some have no barcode and some no species."""
    chance = random.Random(seed)
    rows: list[dict[str, str | None]] = []
    for number in range(count):
        species = chance.randrange(count // 12)
        barcode = "".join(random.Random(species * 3 + chance.randrange(3)).choices("ACGT", k=40))
        rows.append(
            {
                "specimen_id": str(number),
                "order": "Diptera",
                "species": None if chance.random() < 0.4 else f"species {species}",
                "barcode": None if chance.random() < 0.1 else barcode,
            }
        )
    splits = partition([row["species"] for row in rows], "paper", seed).to_pylist()
    return [{**row, "split": split} for row, split in zip(rows, splits, strict=True)]


def counted_in_loops(rows: list[dict[str, str | None]], split: str, others: tuple[str, ...]) -> int:
    """Specimens of a split whose exact barcode any specimen of the other splits has."""
    return sum(
        row["split"] == split
        and row["barcode"] is not None
        and any(other["split"] in others and other["barcode"] == row["barcode"] for other in rows)
        for row in rows
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_shared_barcodes_are_counted_as_loops_count_them(tmp_path: Path, seed: int) -> None:
    rows = specimens(600, seed)
    protocol = PROTOCOLS["clibd"]
    asking = ("val_seen", "val_unseen", "test_seen", "test_unseen")
    expected = []
    for split in (*asking, *protocol.keys):
        present = sum(row["split"] == split and row["barcode"] is not None for row in rows)
        training, keys = (counted_in_loops(rows, split, others) for others in (protocol.training, protocol.keys))
        among = f", {keys} among the keys" if split in asking else ""
        expected.append(f"{split}: {present} barcodes, {training} also in training{among}.")
    assert any(f"{number} also in training" in sentence for number in range(1, 100) for sentence in expected)
    unseen = {row["barcode"] for row in rows if "unseen" in str(row["split"])}
    unlabelled = [row["barcode"] for row in rows if row["split"] == "no_split" and row["barcode"] is not None]
    known = sum(barcode in unseen for barcode in unlabelled)
    assert known > 10
    share = f"{known} of {len(unlabelled)} unlabelled training records ({known / len(unlabelled):.2%})"
    assert shared_barcodes(written(tmp_path, rows)) == [*expected, f"{share} have the barcode of an unseen species."]


def test_what_is_shared_is_said_in_words(tmp_path: Path) -> None:
    kinds = [
        (None, "no_split", "AC"),
        (None, "no_split", "GT"),
        ("s", "val_unseen", "AC"),
        ("s", "val_unseen_keys", "TT"),
    ]
    rows: list[dict[str, str | None]] = [
        {"specimen_id": str(n), "order": "Diptera", "species": s, "split": split, "barcode": barcode}
        for n, (s, split, barcode) in enumerate(kinds)
    ]
    lines = shared_barcodes(written(tmp_path, rows))
    assert "val_unseen: 1 barcodes, 1 also in training, 0 among the keys." in lines
    assert "val_unseen_keys: 1 barcodes, 0 also in training." in lines
    assert "1 of 2 unlabelled training records (50.00%) have the barcode of an unseen species." in lines


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_said_of_a_table_without_barcodes_or_splits(tmp_path: Path, protocol: str) -> None:
    rows: list[dict[str, str | None]] = [
        {"specimen_id": "a", "order": "Diptera", "split": "train_seen"},
        {"specimen_id": "b", "order": "Diptera", "barcode": "ACGT"},
    ]
    assert shared_barcodes(written(tmp_path, rows, protocol)) == []


def test_keys_that_train_are_not_reported_as_leaking_into_training(tmp_path: Path) -> None:
    rows: list[dict[str, str | None]] = [
        {"specimen_id": str(n), "order": "Diptera", "species": "s", "split": split, "barcode": "ACGT"}
        for n, split in enumerate(("train_seen", "val_seen"))
    ]
    sentences = shared_barcodes(written(tmp_path, rows, "bioscan_5m"))
    assert sentences == ["val_seen: 1 barcodes, 1 also in training, 1 among the keys."]
