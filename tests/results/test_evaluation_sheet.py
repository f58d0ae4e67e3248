"""What `clibd evaluate` prints: a screen to read, everything where everything is asked for."""

from itertools import product
from typing import Any

import pytest

from results.measured import evaluation_sheet
from results.render import render_sheets
from workloads.predictions import PAPERS_PAIRS
from workloads.record import Measurement
from workloads.spec import RANKS

ABOUT = {
    "model": "CLIBD",
    "run": "insects-image+dna-s42",
    "dataset": "insects",
    "synthetic": False,
    "official_split": "bioscan_1m",
    "recipe": "corrected",
    "missing_rank": "left_out",
    "precision": "fp32",
    "left_out": {"text": "the run has no tower for it"},
    "contamination": {
        "val": {"unseen_species": 0, "num_unseen_species": 9, "specimens": 0, "barcodes": 0, "num_queries": 40},
        "test": {"unseen_species": 3, "num_unseen_species": 8, "specimens": 5, "barcodes": 7, "num_queries": 41},
    },
    "declared": ["BioCLIP was trained on BIOSCAN-1M"],
}
VALUES = {"clibd": 0.5, "random_key": 0.01, "majority": 0.02}


def measured(method: str, value: float, **place: Any) -> Measurement:
    return Measurement(method=method, value=value, count=20, low=value / 2, high=value * 1.5, **place)


@pytest.fixture
def measurements() -> list[Measurement]:
    """Everything that an evaluation measures of two modalities."""
    pairs = [*PAPERS_PAIRS, ("dna", "image"), ("averaged", "dna")]
    rows = [
        measured(
            method,
            value,
            partition=part,
            average=average,
            level=rank,
            query=query,
            key=key,
            species=species,
            metric=metric,
        )
        for (method, value), part, average, rank, (query, key), species, metric in product(
            VALUES.items(),
            ("val", "test"),
            ("micro", "macro"),
            RANKS,
            pairs,
            ("seen", "unseen", "harmonic_mean", "all"),
            ("top1", "top3"),
        )
    ]
    place = {"average": "macro", "level": "species", "key": "dna", "species": "harmonic_mean"}
    floors = [("kmer_nearest_neighbour", "dna", 0.31), ("linear_cca", "image", 0.11)]
    return rows + [measured(method, v, partition="val", query=query, **place) for method, query, v in floors]


def rows_of(text: str) -> list[dict[str, str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_what_is_printed_fits_a_screen_with_chance_majority_and_floors_beside(measurements: list[Measurement]) -> None:
    text = render_sheets([evaluation_sheet(ABOUT, measurements, full=False)], "md")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(text.splitlines()) <= 45
    assert max(map(len, table)) <= 125
    rows = {(row["Part"], row["Retrieval"], row["Average"]): row for row in rows_of(text)}
    assert set(rows) == {
        (part, f"{query} to {key}", average)
        for part, (query, key), average in product(("val", "test"), PAPERS_PAIRS, ("micro", "macro"))
    }
    assert all(row["H.M."] == "50.0 [25.0, 75.0]" for row in rows.values())
    assert {(row["chance"], row["majority"]) for row in rows.values()} == {("1.0", "2.0")}
    floors = {place: row["floor"] for place, row in rows.items() if row["floor"] != "–"}
    assert floors == {("val", "dna to dna", "macro"): "31.0", ("val", "image to dna", "macro"): "11.0"}


def test_a_reader_is_told_what_was_left_out_seen_in_training_and_declared(measurements: list[Measurement]) -> None:
    text = render_sheets([evaluation_sheet(ABOUT, measurements, full=False)], "md")
    assert "insects-image+dna-s42 on insects (specimens, the official split of bioscan_1m), recipe corrected" in text
    assert "text, the run has no tower for it" in text
    assert "3 of 8 unseen species" in text
    assert "of 9 unseen species" not in text
    assert "BioCLIP was trained on BIOSCAN-1M" in text
    drawn = {**ABOUT, "synthetic": True, "official_split": None, "contamination": {}, "declared": [], "left_out": {}}
    plain = render_sheets([evaluation_sheet(drawn, measurements, full=False)], "md")
    assert "SYNTHETIC" in plain
    assert not any(word in plain for word in ("trained on", "Left out", "official"))


def test_everything_is_printed_where_it_is_asked_for(measurements: list[Measurement]) -> None:
    sheet = evaluation_sheet(ABOUT, measurements, full=True)
    assert len(sheet.cells) == len(measurements)
    assert {(cell.rank, cell.k) for cell in sheet.cells} == set(product(RANKS, (1, 3)))
    text = render_sheets([sheet], "md")
    assert "averaged to dna" in text
    assert "## chance, top3" in text
