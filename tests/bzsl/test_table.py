"""The table of zero-shot accuracies and the published rows beside."""

import csv
import io
import json
from dataclasses import replace

import pytest

from results.zero_shot_table import Line, published_rows, render_lines, table_lines
from workloads.record import Measurement

PUBLISHED = {
    ("insect", "insect"): [(0.383, 0.208, 0.270)],
    ("insect", "run_on_insect"): [(0.347, 0.213, 0.264), (0.328, 0.250, 0.284)],
    ("run_on_insect", "insect"): [(0.377, 0.160, 0.225)],
    ("run_on_insect", "run_on_insect"): [(0.342, 0.221, 0.269), (0.579, 0.251, 0.350)],
    ("run_on_bioscan_1m", "run_on_bioscan_1m"): [(0.626, 0.072, 0.129)],
    ("arrays", "arrays"): [],
    ("synthetic", "synthetic"): [],
}
"""As printed in Tables 4 and 3, at the rank of species."""


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


@pytest.mark.parametrize(("origins", "expected"), PUBLISHED.items())
def test_the_published_rows_are_those_of_the_same_features(
    origins: tuple[str, str], expected: list[tuple[float, float, float]]
) -> None:
    lines = table_lines(OURS, published_rows(*origins))
    own = [line for line in lines if (line.level, line.average) == ("species", "macro")]
    assert own[0] == Line("species", "macro", "BZSL, ours", 0.5, 0.25, 1 / 3)
    found = [(line.seen, line.unseen, line.harmonic_mean) for line in own if line.method.startswith("published")]
    assert found == expected
    assert own[-1] == Line("species", "macro", "random species", 0.001, None, None)


def test_tables_3_and_16_give_all_ranks_and_both_averages() -> None:
    lines = table_lines(OURS, published_rows("run_on_bioscan_1m", "run_on_bioscan_1m"))
    published = {(line.level, line.average): line.harmonic_mean for line in lines if "published" in line.method}
    assert len(published) == 8
    assert published["order", "macro"] == 0.744
    assert published["genus", "micro"] == 0.606


def test_numbers_with_an_interval_show_it() -> None:
    lines = table_lines([replace(row, low=row.value / 2, high=2 * row.value) for row in OURS], ())
    assert "50.0 [25.0, 100.0]" in render_lines(lines, {}, "md")
    assert "bootstrap intervals" in render_lines(lines, {}, "md")
    assert "bootstrap intervals" not in render_lines(table_lines(OURS, ()), {}, "md")
    row = next(csv.DictReader(io.StringIO(render_lines(lines, {}, "csv"))))
    assert (row["seen_low"], row["seen_high"]) == ("0.25", "1.0")


def test_a_table_renders_as_markdown_csv_and_json() -> None:
    lines = table_lines(OURS, published_rows("insect", "insect"))
    text = render_lines(lines, {}, "md")
    assert "| species | macro   | BZSL, ours " in text
    assert "50.0 |   25.0 | 33.3 |" in text
    assert "0.10 |" in text
    rows = list(csv.DictReader(io.StringIO(render_lines(lines, {}, "csv"))))
    assert [row["method"] for row in rows] == [line.method for line in lines]
    assert float(rows[0]["harmonic_mean"]) == 1 / 3
    assert rows[-1]["unseen"] == ""
    assert rows[0]["synthetic"] == "False"
    drawn = next(csv.DictReader(io.StringIO(render_lines(lines, {"synthetic": True}, "csv"))))
    assert drawn["synthetic"] == "True"
    shown = json.loads(render_lines(lines, {"num_settings": 144}, "json"))
    assert shown["num_settings"] == 144
    assert shown["accuracies"][0]["seen"] == 0.5
