"""Figures 2, 7 and 8 of any data set: what they say, and that it can be read."""

import io
from collections.abc import Callable

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from results.figures.picture import drawn_files
from results.figures.record_counts import figure_8
from results.figures.splits import figure_2, figure_7, partition_flow
from tests.results.figures.made_up import overlaps
from workloads.data.specimens.schema import PROTOCOLS
from workloads.data.specimens.statistics import TaxonCounts

Drawn = Callable[[str], TaxonCounts]


def pictures(counts: TaxonCounts, dataset: str = "a data set") -> dict[str, Figure]:
    return {
        "2": figure_2(counts, dataset),
        "7": figure_7(partition_flow(counts, "authors, seed 42"), counts.protocol, dataset),
        "8": figure_8(counts, dataset)[0],
    }


def texts(figure: Figure) -> list[Text]:
    """Every text that is drawn, each once."""
    found = {id(text): text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()}
    return list(found.values())


@pytest.mark.parametrize("kind", ["official", *PROTOCOLS])
def test_no_text_of_a_figure_covers_another(kind: str, official: TaxonCounts, drawn: Drawn) -> None:
    counts = official if kind == "official" else drawn(kind)
    for figure in pictures(counts).values():
        assert overlaps(figure) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_figures_2_and_7_name_every_split_with_its_records(protocol: str, drawn: Drawn) -> None:
    counts = drawn(protocol)
    for number in ("2", "7"):
        words = [text.get_text() for text in texts(pictures(counts)[number])]
        for split in PROTOCOLS[protocol].splits:
            assert any(word.startswith(split) for word in words), split
            assert f"{counts.num_records[split]:,} records" in words


def test_a_name_like_a_formula_or_without_end_is_drawn_as_it_is(drawn: Drawn) -> None:
    for dataset in ("$x_", "a/" * 400):
        for figure in pictures(drawn("clibd"), dataset).values():
            assert overlaps(figure) == []
            files = drawn_files(figure)
            assert files["svg"].startswith(b"<?xml")
            assert Image.open(io.BytesIO(files["png"])).width > 1000


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_lost_on_the_way_through_figure_7(protocol: str, drawn: Drawn) -> None:
    counts = drawn(protocol)
    flow = partition_flow(counts, None)
    inner = [name for stage in flow.stages[1:-1] for name in stage]
    for name in inner:
        into = sum(step.num_records for step in flow.steps if step.target == name)
        assert into == sum(step.num_records for step in flow.steps if step.source == name) > 0
    for split in counts.protocol.splits:
        assert sum(s.num_records for s in flow.steps if s.target == split) == counts.num_records[split]


def test_figure_7_of_the_official_counts_has_the_papers_stages(official: TaxonCounts) -> None:
    flow = partition_flow(official, "lists CLIBD_partitioning.zip")
    assert flow.stages[1] == ("Species known", "Species unknown")
    assert flow.stages[3] == ("Seen", "Unseen in val", "Unseen in test")
    arrows = {(step.source, step.target): (step.num_records, step.num_species) for step in flow.steps}
    assert arrows["All records", "Species known"] == (84_450, 8_356)
    assert arrows["Species unknown", "no_split"] == (1_043_863, 0)
    assert arrows["1 record", "single_species"] == (3_897, 3_897)
    assert arrows["Seen", "seen_keys"] == (6_350, 916)


@pytest.mark.parametrize(
    ("partition", "stages"), [("paper, seed 1", "9 records or more"), ("authors, seed 1", "10 records or more")]
)
def test_figure_7_says_from_how_many_records_the_recipe_calls_a_species_common(
    partition: str, stages: str, drawn: Drawn
) -> None:
    assert stages in partition_flow(drawn("clibd"), partition).stages[2]


def test_the_numbers_of_figure_8_add_up_to_the_records_and_species_of_the_split(official: TaxonCounts) -> None:
    counts = official
    rows = [row for row in figure_8(counts, "a data set")[1] if row["role"] == "test_query_unseen"]
    assert sum(int(row["num_species"]) for row in rows) == 1_772
    assert sum(int(row["num_species"]) * int(row["num_records"]) for row in rows) == 6_448
