"""Tables 3, 15 and 16 from the files of an evaluated folder."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from results.open_set_table import render_open_set_table, render_open_set_tables
from results.published import published_table
from workloads.errors import MissingPathError, UsageError
from workloads.record import Measurement, measurements_to_table
from workloads.storage import Folder

SETTINGS = {
    "dataset": "insects",
    "synthetic": True,
    "recipe": "corrected",
    "thresholds": {
        "nn_is_du": {"value": 0.7123456, "rule": "exact", "num_tried": 11_831, "harmonic_mean": 0.39},
        "linear_is_du": {"value": None, "rule": "grid", "num_tried": 1_001, "harmonic_mean": 0.0},
    },
}


def measurement(method: str, species: str, value: float, **place: Any) -> Measurement:
    place = {"partition": "test", "average": "micro", "level": "species", "metric": "top1", **place}
    return Measurement(method=method, query="image", key="dna", species=species, value=value, count=10, **place)


MEASURED = [
    measurement("nn_dna", "seen", 0.75, low=0.7, high=0.8),
    measurement("nn_is_du", "unseen", 0.3),
    measurement("nn_is_du", "unseen", 0.9, partition="val"),
    measurement("nn_is_du", "unseen", 0.8, metric="top5"),
    measurement("nn_is_du", "harmonic_mean", 0.5, average="macro", level="order"),
    measurement("nn_is_du_oracle", "seen", 0.95),
    measurement("nn_is_du", "seen", 0.8, metric="seen_unseen_accuracy"),
    measurement("nn_is_du", "all", 0.91, metric="auroc"),
    measurement("nn_is_du", "all", 0.345, metric="fpr_at_95_tpr"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    evaluated = Folder(tmp_path)
    evaluated.write_table("open_set_measurements.parquet", measurements_to_table(MEASURED))
    evaluated.write_json("open_set.json", SETTINGS)
    return evaluated


def records(folder: Folder, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(render_open_set_table(number, folder, "json"))
    return found


def one(folder: Folder, number: int, **where: str) -> Mapping[str, Any]:
    [record] = [r for r in records(folder, number) if all(r[name] == value for name, value in where.items())]
    return record


@pytest.mark.parametrize(("number", "count"), [(3, 48), (15, 9), (16, 48)])
def test_every_published_number_has_its_place(folder: Folder, number: int, count: int) -> None:
    printed = sorted(round(100 * entry.value, 4) for entry in published_table(number))
    assert len(printed) == count
    assert sorted(r["published"] for r in records(folder, number) if r["published"] is not None) == printed


def test_ours_stands_beside_the_published_number_with_interval_and_difference(folder: Folder) -> None:
    place = {"level": "species", "average": "micro", "species": "seen", "strategy": "DNA"}
    record = one(folder, 3, method="NN", **place)
    assert (record["published"], record["ours"], record["difference"]) == (74.2, 75.0, 0.8)
    assert (record["low"], record["high"]) == (70.0, 80.0)
    assert record["synthetic"] is True
    assert "75.0 [70.0, 80.0]" in render_open_set_table(3, folder, "md")


def test_only_top_1_on_test_is_shown(folder: Folder) -> None:
    place = {"level": "species", "average": "micro", "species": "unseen", "strategy": "IS+DU"}
    assert one(folder, 3, method="NN", **place)["ours"] == 30.0


def test_order_and_family_are_in_table_16(folder: Folder) -> None:
    assert {record["level"] for record in records(folder, 16)} == {"order", "family"}
    place = {"level": "order", "average": "macro", "species": "harmonic_mean", "strategy": "IS+DU"}
    record = one(folder, 16, method="NN", **place)
    assert (record["published"], record["ours"], record["difference"]) == (94.1, 50.0, -44.1)


def test_detection_is_in_table_15_with_what_the_paper_does_not_have(folder: Folder) -> None:
    mine = {"method": "NN", "strategy": "IS+DU"}
    assert one(folder, 15, species="seen", **mine)["difference"] == pytest.approx(80 - 83.29)
    assert one(folder, 15, metric="auroc", **mine)["ours"] == 91.0
    assert one(folder, 15, metric="fpr_at_95_tpr", **mine)["published"] is None
    assert one(folder, 15, species="seen", method="NN (oracle)")["published"] == 82.16
    assert "BZSL" not in {record["method"] for record in records(folder, 15)}


def test_what_is_not_measured_is_a_dash_and_what_is_not_published_a_row_of_its_own(folder: Folder) -> None:
    text = render_open_set_table(3, folder, "md")
    [bzsl] = [line for line in text.splitlines() if line.startswith("| species | BZSL") and "76.1" in line]
    assert [cell.strip() for cell in bzsl.split("|")[4:7]] == ["76.1", "–", "–"]
    [told] = [line for line in text.splitlines() if line.startswith("| species | NN, told") and "95.0" in line]
    assert [cell.strip() for cell in told.split("|")[4:7]] == ["–", "95.0", "–"]
    assert "genus   | NN, told" not in text


def test_bzsl_is_read_where_it_was_measured_by_the_same_recipe(folder: Folder) -> None:
    def ours() -> float | None:
        record = one(folder, 3, level="genus", average="macro", species="seen", method="BZSL")
        assert record["published"] == 75.7
        found: float | None = record["ours"]
        return found

    bzsl, asked = folder / "bzsl", {"recipe": "corrected", "dna": None}
    rows = [measurement("bzsl", "seen", 0.6, average="macro", level="genus")]
    bzsl.write_table("measurements.parquet", measurements_to_table(rows))
    assert ours() is None  # without bzsl.json it is not whole
    bzsl.write_json("bzsl.json", {"asked": asked})
    assert ours() == 60.0
    bzsl.write_json("bzsl.json", {"asked": {**asked, "dna": "elsewhere"}})
    assert "BZSL has the DNA of elsewhere." in render_open_set_table(3, folder, "md")
    bzsl.write_json("bzsl.json", {"asked": {**asked, "recipe": "authors"}})
    assert ours() is None
    assert "BZSL was measured by the recipe authors" in render_open_set_table(3, folder, "md")


def test_numbers_without_their_rules_are_no_table(folder: Folder) -> None:
    folder.remove("open_set.json")  # as if the command had been interrupted
    with pytest.raises(MissingPathError, match=r"open_set\.json.*clibd open-set"):
        render_open_set_table(3, folder, "md")


def test_the_page_says_where_thresholds_and_numbers_come_from(folder: Folder) -> None:
    text = render_open_set_table(15, folder, "md")
    assert "insects, recipe corrected" in text
    assert "SYNTHETIC" in text
    assert "nn_is_du: 0.7123; chosen among 11,831 (all that differ), with a harmonic mean of 39.0" in text
    assert "linear_is_du: every query is called seen; chosen among 1,001 (evenly from 0 to 1), of which none" in text


def test_several_tables_are_one_csv(folder: Folder) -> None:
    rows = list(csv.DictReader(io.StringIO(render_open_set_tables((3, 15, 16), folder, "csv"))))
    assert {row["table"] for row in rows} == {"3", "15", "16"}
    assert len(rows) == sum(len(records(folder, number)) for number in (3, 15, 16))


def test_other_tables_and_other_folders_are_refused(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3, 15 and 16"):
        render_open_set_table(4, folder, "md")
    with pytest.raises(MissingPathError, match="clibd open-set"):
        render_open_set_table(3, Folder(tmp_path / "elsewhere"), "md")
