"""The command that compares: a table to read, the same as CSV and JSON, and what its reader is told."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from commands.results import app
from results.comparison.compare import comparison_sheet
from results.render import render_sheets
from workloads.predictions import Place
from workloads.record import Measurement, measurements_to_table
from workloads.storage import Folder

COLUMNS = ("A", "B", "B − A", "p", "p (Holm)")
IMAGE_DNA, DNA_DNA = Place("val", "image", "dna"), Place("test", "dna", "dna", keys="own")
Write = Callable[..., Folder]
Queries = Callable[..., list[Any]]


@pytest.fixture
def folders(evaluated: Write, asked: Queries) -> tuple[Folder, Folder]:
    first = evaluated("a", {IMAGE_DNA: asked(1, 0.2), DNA_DNA: asked(2, 0.9)}, synthetic=True)
    second = evaluated("b", {IMAGE_DNA: asked(3, 0.8), DNA_DNA: asked(2, 0.9)}, synthetic=True)
    return first, second


def command(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["compare", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def words(first: Folder, second: Folder, partition: str | None, every: bool = False) -> str:
    return render_sheets([comparison_sheet(first, second, partition, ("species",), every)], "md")


def test_a_reader_sees_values_difference_interval_test_and_winner(folders: tuple[Folder, Folder]) -> None:
    text = command(*folders, "--partition", "val")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    table = [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]
    assert len(table) == 6
    row = table[1]
    assert (row["Queries"], row["Retrieval"], row["Taxa"]) == ("val", "image to dna", "species")
    assert (row["Average"], row["Species"], row["n"], row["Test"]) == ("micro", "unseen", "40", "McNemar")
    difference, _, interval = row["B − A"].partition(" ")
    assert float(row["B"]) - float(row["A"]) == pytest.approx(float(difference), abs=0.11)
    low, high = (float(end.replace("−", "-")) for end in interval.strip("[]").split(", "))
    assert low < float(difference) < high
    assert float(row["p (Holm)"].lstrip("<")) < 0.05
    assert row["Better"] == "B"
    assert f"A: {folders[0]}" in text
    assert "SYNTHETIC" in text
    assert "paired percentile bootstrap with 1,000 resamples" in text
    assert "after Holm's correction over the 6 rows above" in text
    assert "choose a partition" not in text
    assert "Queries without a name at a rank are left out there." in text


def test_nothing_that_one_run_lacks_is_left_out_silently(evaluated: Write, asked: Queries) -> None:
    first = evaluated("a", {IMAGE_DNA: asked(1), DNA_DNA: asked(2)})
    second = evaluated("b", {IMAGE_DNA: asked(3)})
    line = "Not compared, as only {} has them: dna to dna, own keys (test)."
    assert line.format("A") in words(first, second, None, every=True)
    assert line.format("B") in words(second, first, None, every=True)
    assert "Not compared" not in words(first, second, "val")
    assert "SYNTHETIC" not in words(first, second, "val")


def test_csv_and_json_hold_the_same_rows(folders: tuple[Folder, Folder]) -> None:
    arguments = (*folders, "--rank", "species", "--rank", "genus", "--every", "--format")
    from_json = json.loads(command(*arguments, "json"))
    from_csv = list(csv.DictReader(io.StringIO(command(*arguments, "csv"))))
    assert len(from_json) == len(from_csv) == 2 * 2 * 6 * len(COLUMNS)
    for record, line in zip(from_json, from_csv, strict=True):
        assert (line["column"], float(line["ours"]), line["unit"]) == (record["column"], record["ours"], record["unit"])
    rows = [from_json[start : start + len(COLUMNS)] for start in range(0, len(from_json), len(COLUMNS))]
    found = [{record["column"]: record["ours"] for record in row} for row in rows]
    assert all(tuple(row) == COLUMNS for row in found)
    assert all(row["B − A"] == pytest.approx(row["B"] - row["A"], abs=1e-3) for row in found)
    assert {record["unit"] for record in from_json} == {"percent", "percentage points", "p"}
    assert {(record["partition"], record["row"]["retrieval"], record["rank"]) for record in from_json} == {
        (partition, retrieval, rank)
        for partition, retrieval in (("val", "image to dna"), ("test", "dna to dna, own keys"))
        for rank in ("genus", "species")
    }
    equal = [values for values, (record, *_) in zip(found, rows, strict=True) if record["partition"] == "test"]
    assert {(values["B − A"], values["p"]) for values in equal} == {(0, 1)}
    assert {record["row"]["better"] for record in from_json if record["partition"] == "test"} == {"–"}


def test_chance_majority_and_floors_stand_beside_both_runs(folders: tuple[Folder, Folder]) -> None:
    methods = {"clibd": 0.5, "random_key": 0.01, "majority": 0.02, "linear_cca": 0.03}
    place = {"partition": "val", "average": "micro", "level": "species", "query": "image", "key": "dna"}
    rows = [Measurement(**place, species="seen", method=name, value=v, count=20) for name, v in methods.items()]
    folders[0].write_table("measurements.parquet", measurements_to_table(rows))
    text = command(*folders, "--partition", "val")
    line = next(line for line in text.splitlines() if "| micro   | seen" in line)
    assert [cell.strip() for cell in line.split("|")][-6:-3] == ["1.0", "2.0", "3.0"]
    assert "Floor: nearest neighbour of 5-mer counts" in text


def test_a_table_too_long_for_the_permutations_says_so(evaluated: Write, asked: Queries) -> None:
    keys = ("image", "dna", "text", "image+dna", "image+text", "dna+text", "image+dna+text")
    answers = {Place("val", query, key): asked(1) for query in keys[:3] for key in keys[:4]}
    run = evaluated("a", answers)
    ranks = ("order", "family", "genus", "species")
    assert "With 288 rows a permutation test, whose p is never below 0.0002" in command(
        run, run, "--every", *(word for rank in ranks for word in ("--rank", rank))
    )


def test_retrievals_of_the_paper_s_tables_are_compared_unless_every_one_is_asked_for(
    evaluated: Write, asked: Queries
) -> None:
    text_text = Place("val", "text", "text")
    run = evaluated("a", {IMAGE_DNA: asked(1), DNA_DNA: asked(2), text_text: asked(3)})
    own = json.loads(command(run, run, "--format", "json"))
    every = json.loads(command(run, run, "--every", "--format", "json"))
    assert {record["row"]["retrieval"] for record in own} == {"image to dna"}
    assert {(record["query"], record["key"]) for record in every} == {
        ("image", "dna"),
        ("dna", "dna"),
        ("text", "text"),
    }


def test_small_p_values_do_not_move_their_column_to_the_left(folders: tuple[Folder, Folder]) -> None:
    text = command(*folders, "--partition", "val")
    assert "<0.0001" in text
    rule = next(line for line in text.splitlines() if line.startswith("| ---"))
    assert [cell.strip().endswith(":") for cell in rule.strip("|").split("|")][-6:] == [False, *[True] * 5]


def test_shares_are_points_with_a_sign(folders: tuple[Folder, Folder]) -> None:
    forth, back = (command(*runs, "--partition", "val") for runs in (folders, folders[::-1]))
    assert "−" not in forth.partition("Interval:")[0].partition("| val")[2]
    assert "| −" in back


def test_evaluations_of_different_versions_of_the_data_are_not_compared_without_a_word(
    folders: tuple[Folder, Folder],
) -> None:
    assert "keys may differ" not in command(*folders)
    second = folders[1]
    second.write_json("evaluation.json", {**second.read_json("evaluation.json"), "data_fingerprint": "another"})
    assert "A and B were evaluated on different versions of the data: their keys may differ." in command(*folders)
