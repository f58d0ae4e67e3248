"""Figure 10: which queries are laid out, and that a seed lays them out alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from results.evaluated import EvaluatedFolder
from results.figures.embedding_map import _badge_place, choose_queries, draw_embedding_map
from results.figures.picture import FigureChoice, Picture
from tests.results.figures.made_up import Row, made_up_rows, overlaps, write_evaluated
from workloads.errors import UsageError
from workloads.spec import RANKS, Rank


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> EvaluatedFolder:
    """The same specimens in other embeddings."""
    return write_evaluated(tmp_path_factory.mktemp("runs") / "before", rows[::-1], seed=9)


@pytest.fixture(scope="session")
def drawn(made_up: EvaluatedFolder, before: EvaluatedFolder) -> Picture:
    """The figure by family, before and after."""
    return draw_embedding_map(made_up, FigureChoice(before=str(before.folder), rank="family"))


def _chosen_by_hand(rows: list[Row]) -> dict[str | None, str | None]:
    """Family of the queries of seen species."""
    return {row["specimen_id"]: row["family"] for row in rows if row["split"] == "val_seen" and row["family"]}


def test_queries_are_of_seen_species_and_texts_of_one_label_each(made_up: EvaluatedFolder, rows: list[Row]) -> None:
    chosen = choose_queries(made_up.embeddings("val")[0], "family")
    assert dict(zip(chosen["specimen_id"], chosen["taxon"], strict=True)) == _chosen_by_hand(rows)
    labels = {row["specimen_id"]: tuple(row[rank] for rank in RANKS) for row in rows}
    texts = [labels[name] for name in chosen.loc[chosen["first_of_text"], "specimen_id"]]
    assert len(texts) == len(set(texts)) == len({labels[name] for name in chosen["specimen_id"]}) < len(chosen)


def test_the_ten_commonest_taxa_are_kept_ties_by_name_and_may_lie_within_a_higher_one() -> None:
    rows = [
        {"specimen_id": f"{number}-{copy}", "split": "test_seen", "order": f"order {number % 2}", "family": None}
        | {"genus": f"genus {number:02}", "species": None}
        for number in range(13)
        for copy in range(1 if number > 3 else 5 - number)
    ]
    table = pa.Table.from_pylist(rows)
    assert set(choose_queries(table, "genus")["taxon"]) == {f"genus {number:02}" for number in range(10)}
    within = choose_queries(table, "genus", "order 1")
    assert set(within["taxon"]) == {f"genus {number:02}" for number in range(1, 13, 2)}
    nowhere: list[tuple[Rank, str | None]] = [("family", None), ("genus", "order 7"), ("order", "order 1")]
    for rank, where in nowhere:
        with pytest.raises(UsageError, match="choose another"):
            choose_queries(table, rank, where)


def test_every_point_is_in_the_csv_in_both_panels_and_a_seed_gives_the_same_places(
    drawn: Picture, made_up: EvaluatedFolder, before: EvaluatedFolder, rows: list[Row]
) -> None:
    choice = FigureChoice(before=str(before.folder), rank="family")
    again = draw_embedding_map(made_up, choice)
    assert again.records == drawn.records
    other = draw_embedding_map(made_up, replace(choice, seed=1))
    assert other.records != drawn.records
    queries = _chosen_by_hand(rows)
    for panel in ("before", "after"):
        for modality in ("image", "dna"):
            own = [r for r in drawn.records if (r["panel"], r["modality"]) == (panel, modality)]
            assert {r["specimen_id"]: r["taxon"] for r in own} == queries
    after = [(r["x"], r["y"]) for r in drawn.records if r["panel"] == "after"]
    assert np.isfinite(np.array(after)).all()
    assert np.ptp(np.array(after), axis=0).min() > 1


def test_specimens_are_matched_by_id_whatever_their_order(drawn: Picture) -> None:
    for modality in ("image", "dna", "text"):
        panels = [
            [r["specimen_id"] for r in drawn.records if (r["panel"], r["modality"]) == (panel, modality)]
            for panel in ("before", "after")
        ]
        assert panels[0] == panels[1] != []


def test_no_text_of_the_figure_covers_another_but_numbers_within_a_panel(drawn: Picture) -> None:
    assert [pair for pair in overlaps(drawn.figure) if not (pair[0].isdigit() and pair[1].isdigit())] == []
    words = [text.get_text() for text in drawn.figure.texts]
    assert "UMAP by family, before and after alignment" in words
    titles = [axes.get_title(loc="left") for axes in drawn.figure.axes]
    assert titles == ["Before alignment", "After alignment"]


def test_without_a_run_from_before_only_the_aligned_one_is_drawn_and_the_title_says_so(
    made_up: EvaluatedFolder,
) -> None:
    picture = draw_embedding_map(made_up, FigureChoice())
    assert {record["panel"] for record in picture.records} == {"after"}
    assert any("after alignment only" in text.get_text() for text in picture.figure.texts)


def test_other_specimens_before_and_too_few_points_are_refused(made_up: EvaluatedFolder, tmp_path: Path) -> None:
    few = write_evaluated(tmp_path / "few", made_up_rows(30))
    with pytest.raises(UsageError, match="other specimens"):
        draw_embedding_map(made_up, FigureChoice(before=str(few.folder)))
    species = choose_queries(few.embeddings("test")[0], "species")["taxon"].value_counts().index[-1]
    rows = [{**row, "order": "Diptera" if row["species"] == species else None} for row in made_up_rows(30)]
    with pytest.raises(UsageError, match="too few"):
        draw_embedding_map(write_evaluated(tmp_path / "fewer", rows), FigureChoice(partition="test"))


def test_a_number_stands_among_its_own_taxon_even_where_that_is_in_two_places() -> None:
    chance = np.random.default_rng(1)
    middles = {"split": [(-5.0, 0.0), (5.0, 0.0)], "between": [(0.0, 0.0)]}
    points = pd.concat(
        pd.DataFrame(chance.normal(middle, 0.5, (30, 2)), columns=["x", "y"]).assign(taxon=name)
        for name, places in middles.items()
        for middle in places
    )
    stray = pd.DataFrame({"x": [0.0], "y": [0.0], "taxon": ["split"]})  # the nearest one to its median
    points = pd.concat([points, stray], ignore_index=True)
    assert abs(_badge_place(points, "split")[0]) > 3
    assert abs(_badge_place(points, "between")[0]) < 2
