"""Lineages that contradict each other."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.specimens.lineages import Contradiction, Lineage, contradictions
from workloads.spec import RANKS

FLY: Lineage = ("Diptera", "Zoridae", "Zoro", "Zoro bus")


def found(*lineages: Lineage) -> list[str]:
    return [str(part) for part in contradictions(lineages)]


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
def test_lineages_that_agree_say_nothing(others: list[Lineage]) -> None:
    assert found(FLY, *others) == []


def test_a_genus_in_two_families_of_one_order_is_contradictory() -> None:
    assert found(FLY, FLY, ("Diptera", "Aridae", "Zoro", "Zoro bus")) == [
        "genus Zoro: contradictory lineage: family Zoridae (Diptera) 2x, family Aridae (Diptera) 1x"
    ]


def test_a_genus_in_two_orders_is_a_homonym() -> None:
    snail: Lineage = ("Stylommatophora", "Aridae", "Zoro", "Zoro lineolata")
    assert found(snail, FLY, FLY) == [
        "genus Zoro: homonym, or a contradictory lineage: "
        "family Zoridae (Diptera) 2x, family Aridae (Stylommatophora) 1x"
    ]


def test_a_homonym_is_seen_without_its_families() -> None:
    (part,) = contradictions([FLY, ("Myida", None, "Zoro", None)])
    assert part == Contradiction("homonym", "genus", "Zoro", (("order Diptera", 1), ("order Myida", 1)))


def test_a_family_in_two_orders_is_told_once_and_not_again_for_its_genera() -> None:
    assert found(FLY, ("Coleoptera", "Zoridae", "Zoro", "Zoro bus")) == [
        "family Zoridae: contradictory lineage: order Coleoptera 1x, order Diptera 1x"
    ]


def test_a_species_in_two_genera_is_contradictory_and_misnamed_in_one() -> None:
    assert found(FLY, ("Diptera", "Zoridae", "Ara", "Zoro bus")) == [
        "species Zoro bus: contradictory lineage: genus Ara (Diptera) 1x, genus Zoro (Diptera) 1x",
        "species Zoro bus: its name does not begin with its genus: genus Ara 1x",
    ]


def test_a_genus_must_be_the_whole_first_word_of_its_species() -> None:
    assert found(*[("Diptera", None, "Zor", "Zoro bus")] * 1200) == [
        "species Zoro bus: its name does not begin with its genus: genus Zor 1,200x"
    ]


def contradicts(one: Lineage, other: Lineage, rank: int) -> bool:
    """Whether two records with one name at a rank part at the lowest rank above it that both know."""
    shared = [(a, b) for a, b in zip(one[:rank], other[:rank], strict=True) if a is not None and b is not None]
    return bool(shared) and shared[-1][0] != shared[-1][1]


NAME = st.sampled_from([None, "a", "b"])


@settings(max_examples=200, deadline=None)
@given(lineages=st.lists(st.tuples(NAME, NAME, NAME, NAME), max_size=8))
def test_every_contradicting_pair_of_records_is_found_and_no_other(lineages: list[Lineage]) -> None:
    expected = {
        (RANKS[rank], one[rank])
        for one, other in product(lineages, lineages)
        for rank in range(1, 4)
        if one[rank] is not None and one[rank] == other[rank] and contradicts(one, other, rank)
    }
    parts = contradictions(lineages)
    assert {(part.rank, part.name) for part in parts if part.kind != "misnamed"} == expected
    assert {part.name for part in parts if part.kind == "misnamed"} == {
        species for _, _, genus, species in lineages if species and genus and species != genus
    }
    assert parts == contradictions(lineages[::-1])


def test_real_bioscan_labels_hold_a_misspelt_genus(real: Callable[[str], Path]) -> None:
    file = real("bioscan1m_metadata") / "bioscan1m_small_validation_metadata.parquet"
    table = pq.read_table(file, columns=list(RANKS))
    rows = zip(*([name or None for name in table[rank].to_pylist()] for rank in RANKS), strict=True)
    told = [str(part) for part in contradictions(rows)]
    assert "species Dalbominus Malaise5255: its name does not begin with its genus: genus Dahlbominus 2x" in told
    assert len(told) == 9
