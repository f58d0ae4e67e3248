"""`read_table`, `partition`, `score` and `bzsl` on tables of any kind; the formulas have tests of their own."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import clibd
from workloads.data.specimens.partition import partition
from workloads.errors import SourceError, UsageError, ZeroShotError

BASES = "ACGTT" * 30


@pytest.mark.usefixtures("desk")
def test_a_table_is_read_as_an_import_reads_it_and_says_what_it_lost(desk: Path) -> None:
    (desk / "mixed.csv").write_text(f"id,species,barcode\na,Apis mellifera,{BASES}\nb,Apis cerana,\n")
    found = clibd.read_table("mixed.csv")
    assert found.table["specimen_id"].to_pylist() == ["a"]
    assert [name for name, _ in found.rejects] == ["b"]
    assert "1 records could not be used" in found._repr_html_()
    (desk / "none.csv").write_text("id,species,barcode\nb,Apis cerana,\n")
    with pytest.raises(SourceError, match="no record can be used"):
        clibd.read_table("none.csv")


def test_any_table_is_divided_by_the_rules_of_the_command() -> None:
    species = [f"Apis a{n % 5}" for n in range(60)]
    expected = partition(species, "paper", 7).to_pylist()
    for table in (pa.table({"species": species}), pd.DataFrame({"species": species}), {"species": species}):
        assert clibd.partition(table, seed=7).table["split"].to_pylist() == expected
    small = clibd.partition({"species": species}, "small", shares=(0.6, 0.2, 0.2), seen=1).table["split"].to_pylist()
    assert small.count("train_seen") == 36  # 0.6 of 60 exactly, though 0.6 in binary is less
    assert clibd.partition({"species": species}, min_records=2, shares=[Fraction(1, 2), 0.2, 0.1]).protocol == "clibd"
    for wrong, said in (
        ({"recipe": "best"}, "there are paper, authors, small"),
        ({"recipe": "authors", "seen": 0.5}, "take paper or small"),
        ({"min_records": 1}, "a query and its key are 2"),
        ({"seen": 2}, "between 0 and 1"),
    ):
        with pytest.raises(UsageError, match=said):
            clibd.partition({"species": species}, **wrong)
    with pytest.raises(UsageError, match="no column species, only genus"):
        clibd.partition({"genus": species})


def test_answers_are_brought_beside_the_truth_by_their_ids() -> None:
    truth = pa.table({"specimen_id": ["a", "b", "c"], "genus": ["X", "Y", "X"], "species": ["X x", None, "X z"]})
    answers = pd.DataFrame({"specimen_id": ["c", "a"], "species": ["X z", "X q"], "genus": ["X", np.nan]})
    scores = clibd.score(truth, answers)
    assert scores.num_without_answer == 1
    assert scores.of("species", average="micro") == 0.5
    assert scores.of("genus", average="micro") == pytest.approx(1 / 3)
    assert scores.of("genus", "answered", "micro") == pytest.approx(1 / 3)
    assert {row["name"] for row in scores.classes.table.to_pylist()} == {"X", "Y", "X x", "X z", "X q"}
    twice = pa.table({"specimen_id": ["a", "a"], "species": ["X x", "X z"]})
    with pytest.raises(UsageError, match="a has two answers"):
        clibd.score(truth, twice)
    with pytest.raises(UsageError, match="no rank is in both"):
        clibd.score({"order": ["A"]}, {"family": ["B"]})
    with pytest.raises(UsageError, match="there is no macro accuracy of family"):
        scores.of("family")


def test_kinds_of_species_are_told_by_their_names_or_one_by_one() -> None:
    truth, given = ["a", "a", "b", "c"], ["a", "b", "b", None]
    by_name = clibd.score(truth, given, seen={"a"})
    one_by_one = clibd.score(truth, given, seen=[True, True, False, False])
    assert by_name.numbers.table.equals(one_by_one.numbers.table)
    assert (by_name.of("species", species="seen"), by_name.of("species", species="unseen")) == (0.5, 0.5)
    with pytest.raises(UsageError, match="say it of each"):
        clibd.score(truth, given, seen=[True])
    with pytest.raises(UsageError, match="give true species"):
        clibd.score(truth, given, rank="genus", seen={"a"})


def test_zero_shot_learning_of_features_refuses_what_cannot_be_learned_from() -> None:
    random = np.random.default_rng(0)
    species = np.repeat([f"Genus species{n}" for n in range(12)], 6)
    images = random.normal(size=(72, 80))
    with pytest.raises(ZeroShotError, match="directions for 80 components"):
        clibd.bzsl(images, species, random.normal(size=(72, 3)))
    with pytest.raises(ZeroShotError, match="71 of dna and 72 species"):
        clibd.bzsl(images, species, random.normal(size=(71, 3)))
    learned = clibd.bzsl(images, species, random.normal(size=(72, 3)), components=5)
    assert set(learned.predictions.table["subset"].to_pylist()) == {"seen", "unseen"}
    assert "validation, seen" in learned._repr_html_()
