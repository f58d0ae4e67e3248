"""The sheet of zero-shot accuracies and the published rows beside."""

import csv
import io
import json
from dataclasses import replace
from tempfile import TemporaryDirectory

import pytest

from results.measured import zero_shot_sheet
from results.render import render_sheets
from results.sheet import Cell, Sheet
from workloads.record import Measurement, measurements_to_table
from workloads.storage import Folder

PUBLISHED = {
    ("insect", "insect"): [(0.383, 0.208, 0.270)],
    ("insect", "run_on_insect"): [(0.347, 0.213, 0.264), (0.328, 0.250, 0.284)],
    ("insect", "tower_on_insect"): [(0.384, 0.165, 0.231), (0.373, 0.208, 0.267)],
    ("tower_on_insect", "tower_on_insect"): [(0.424, 0.235, 0.302), (0.541, 0.201, 0.293)],
    ("run_on_insect", "tower_on_insect"): [(0.520, 0.216, 0.306)],
    ("run_on_insect", "insect"): [(0.377, 0.160, 0.225)],
    ("run_on_insect", "run_on_insect"): [(0.342, 0.221, 0.269), (0.579, 0.251, 0.350)],
    ("run_on_bioscan_1m", "run_on_bioscan_1m"): [(0.626, 0.072, 0.129)],
    ("arrays", "arrays"): [],
    ("synthetic", "synthetic"): [],
}
"""As printed in Tables 4 and 3, at the rank of species."""
SEARCH = {
    "asked": {"recipe": "paper", "form": "corrected"},
    "synthetic": True,
    "validation": {"seen": 0.5, "unseen": 0.25, "harmonic_mean": 1 / 3},
    "chosen": {"kappa0": 0.1, "kappa1": 10.0, "m": 5, "s": 0.5, "num_surrogates": 2},
    "num_queries": {"seen": 3, "unseen": 3},
    **{"num_train": 9, "num_seen_species": 3, "num_unseen_species": 3, "num_components": 4},
    **{"num_settings": 1, "search_seconds": 0.5},
}
ABOUT = {"dataset": "insects", "synthetic": True, "recipe": "paper", "missing_rank": "left_out"}


def measured(method: str, species: str, value: float, level: str = "species") -> Measurement:
    return Measurement(
        method=method,
        partition="test",
        average="macro",
        level=level,
        query="image",
        key="classes",
        species=species,
        value=value,
        count=3,
    )


OURS = [
    measured("bzsl", "seen", 0.5),
    measured("bzsl", "unseen", 0.25),
    measured("bzsl", "harmonic_mean", 1 / 3),
    measured("random_key", "seen", 0.001),
]


def cells(images: str = "arrays", dna: str = "arrays", ours: list[Measurement] = OURS) -> list[Cell]:
    with TemporaryDirectory() as place:
        folder = Folder(place)
        folder.write_json("bzsl.json", {**SEARCH, "origins": {"images": images, "dna": dna}})
        folder.write_json("evaluation.json", ABOUT)
        folder.write_table("measurements.parquet", measurements_to_table(ours))
        return list(zero_shot_sheet(folder).cells)


def shown(found: list[Cell]) -> Sheet:
    return Sheet(title="zero-shot", cells=tuple(found), show_rank=True)


@pytest.mark.parametrize(("origins", "expected"), PUBLISHED.items())
def test_the_published_rows_are_those_of_the_same_features(
    origins: tuple[str, str], expected: list[tuple[float, float, float]]
) -> None:
    own = [cell for cell in cells(*origins) if (cell.rank, cell.average) == ("species", "macro")]
    assert [(cell.row["method"], cell.ours) for cell in own[:3]] == [("BZSL, ours", v) for v in (0.5, 0.25, 1 / 3)]
    printed = [cell.published for cell in own if cell.method == "published"]
    found = [tuple(printed[first : first + 3]) for first in range(0, len(printed), 3)]
    assert found == [pytest.approx(row) for row in expected]
    assert (own[-1].row["method"], own[-1].subset, own[-1].ours) == ("random species", "seen", 0.001)


def test_tables_3_and_16_give_all_ranks_and_both_averages() -> None:
    found = cells("run_on_bioscan_1m", "run_on_bioscan_1m")
    published = {(c.rank, c.average): c.published for c in found if c.method == "published" and c.column == "H.M."}
    assert len(published) == 8
    assert published["order", "macro"] == pytest.approx(0.744)
    assert published["genus", "micro"] == pytest.approx(0.606)


def test_numbers_with_an_interval_show_it() -> None:
    spread = [replace(row, low=row.value / 2, high=2 * row.value) for row in OURS]
    text = render_sheets([shown(cells(ours=spread))], "md")
    assert "50.0 [25.0, 100.0]" in text
    assert "bootstrap intervals" in text
    assert "bootstrap intervals" not in render_sheets([shown(cells())], "md")


def test_a_sheet_renders_as_markdown_csv_and_json() -> None:
    found = cells("insect", "insect")
    text = render_sheets([shown(found)], "md")
    assert "| species | macro   | BZSL, ours " in text
    rows = list(csv.DictReader(io.StringIO(render_sheets([shown(found)], "csv"))))
    assert [row["ours"] for row in rows] == ["50.0", "25.0", "33.3333", "", "", "", "0.1"]
    assert {row["synthetic"] for row in rows if row["ours"]} == {"True"}
    assert json.loads(render_sheets([shown(found)], "json"))[0]["ours"] == 50.0
