"""Lineages of species: the published table with its mistakes, and tables of one's own."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from workloads.data.sources.insect import INSECT_ORDERS, read_lineages
from workloads.errors import SourceError


def test_three_lineages_of_the_published_table_are_impossible(real: Callable[[str], Path]) -> None:
    path = real("insect_taxonomy") / "insect_species_lineage.tsv"
    lineages = read_lineages(path)
    rows = list(csv.DictReader(path.open(), delimiter="\t"))
    assert len(rows) == 1213
    found = {row["species"]: lineages.of(row["species"]) for row in rows}
    assert found["Sericoides lineolata"] == {"order": None, "family": None, "genus": None}
    assert found["Caenorhinus pauxillus"]["genus"] == "Neocoenorrhinus"
    assert {ranks["order"] for ranks in found.values()} == {"Coleoptera", "Hymenoptera", "Diptera", None}
    assert sum(ranks["order"] is None for ranks in found.values()) == 35 + 3
    impossible, moved, absent = lineages.notes()
    assert impossible.endswith(
        "Rhimphoctona teredo (Myida), Roptrocerus mirus (Stylommatophora), Sericoides lineolata (Lineolatales)"
    )
    assert "puts 23 species into a genus" in moved  # of the 26 in all, 3 have no genus
    assert moved.endswith("and 18 more")
    assert "no lineage of 35 species" in absent


def test_the_orders_of_real_insects_are_orders_of_insects(real: Callable[[str], Path]) -> None:
    photographed = {path.stem for path in real("bioscan1m_order_images").glob("*.jpg")}
    assert len(photographed) == 19
    assert photographed <= INSECT_ORDERS
    assert len(INSECT_ORDERS) == 28 + 12


def test_a_genus_survives_an_impossible_order_only_if_the_name_says_the_same(tmp_path: Path) -> None:
    header, rows = "order\tfamily\tgenus\tspecies\n", ["Myida\tX\tTeredo\tTeredo alba", "Myida\tX\tMya\tApis alba"]
    (tmp_path / "t.tsv").write_text(header + "\n".join(rows) + "\n")
    lineages = read_lineages(tmp_path / "t.tsv")
    assert lineages.of("Teredo alba") == {"order": None, "family": None, "genus": "Teredo"}
    assert lineages.of("Apis alba") == {"order": None, "family": None, "genus": None}


def test_lineages_are_read_from_json_and_csv_alike(tmp_path: Path) -> None:
    ranks = {"order": "Diptera", "family": "not_classified", "genus": "Musca"}
    (tmp_path / "a.json").write_text(json.dumps({"Musca domestica": ranks}))
    (tmp_path / "a.csv").write_text("Order,Family,Genus,Scientific_name\nDiptera,,Musca,Musca domestica\n")
    expected = {"order": "Diptera", "family": None, "genus": "Musca"}
    assert read_lineages(tmp_path / "a.json").of("Musca domestica") == expected
    assert read_lineages(tmp_path / "a.csv").of("Musca domestica") == expected


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.tsv", "order\tspecies\nDiptera\tA b\nHemiptera\tA b\n", "line 3: .* lineage of A b"),
        ("t.tsv", "order\tspecies\nDiptera\t\n", "line 2: no species"),
        ("t.tsv", "order\tspecies\nDiptera\n", "line 2: 1 columns"),
        ("t.tsv", "a\tb\n1\t2\n", "the columns species"),
        ("t.tsv", "order\tspecies\n", "it is empty"),
        ("t.json", "[1]", "not an object of species"),
        ("t.json", '{"A b": 1}', "not an object of names"),
        ("t.json", "[" * 100_000, "not JSON"),
        ("t.json", "{", "not JSON"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path: Path, name: str, content: str, reason: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=reason):
        read_lineages(tmp_path / name)
