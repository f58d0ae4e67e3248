"""Figure 3: which queries are drawn, what their keys share with them, and how it looks."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.evaluated import EvaluatedFolder
from results.figures.picture import FigureChoice
from results.figures.retrieval_examples import (
    FRAMES,
    barcode_stripes,
    draw_retrieval_examples,
    retrieval_examples,
)
from tests.results.figures.made_up import Row, overlaps, write_evaluated
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import MissingPathError, UsageError
from workloads.spec import RANKS, Rank


def _draw(evaluated: EvaluatedFolder, rank: Rank = "family", seed: int = 413, **only: Any) -> list[dict[str, Any]]:
    return retrieval_examples(evaluated, FigureChoice(rank=rank, seed=seed, **only))


def test_keys_share_the_lowest_rank_at_which_the_names_are_equal(made_up: EvaluatedFolder, rows: list[Row]) -> None:
    lineages = {row["specimen_id"]: row for row in rows}
    table = made_up.folder.read_table("predictions.parquet").to_pylist()
    found = {(row["query"], row["key"], row["specimen_id"]): row for row in table if row["partition"] == "val"}
    shared: set[str] = set()
    for seed in range(20):
        records = _draw(made_up, seed=seed)
        assert len(records) == 5 * 3 * 3
        for near in records:
            row, place = found["image", near["key"], near["query_id"]], near["place"] - 1
            assert near["key_id"] == row["key_ids"][place]
            assert near["cosine"] == pytest.approx(row["cosines"][place], abs=1e-6)
            expected = "none"
            for rank in RANKS:  # from order down: the last that fits is the lowest
                name = lineages[near["query_id"]][rank]
                assert (near[f"query_{rank}"], near[f"key_{rank}"]) == (name, lineages[near["key_id"]][rank])
                if name is not None and name == near[f"key_{rank}"]:
                    expected = rank
            assert near["shared"] == expected
            shared.add(expected)
    assert shared == set(FRAMES)


def test_taxa_take_turns_and_a_seed_draws_the_same_queries(made_up: EvaluatedFolder) -> None:
    drawn = _draw(made_up, "species")
    assert drawn == _draw(made_up, "species")
    assert len({near["query_species"] for near in drawn}) == 5
    assert len({near["query_id"] for near in _draw(made_up, "order")}) == 5  # of three orders
    assert len({near["query_order"] for near in _draw(made_up, "order")}) == 3
    assert {tuple(near["query_id"] for near in _draw(made_up, seed=seed)) for seed in range(5)} != {
        tuple(near["query_id"] for near in drawn)
    }


def test_rare_taxa_are_drawn_as_often_as_common_ones(made_up: EvaluatedFolder) -> None:
    first = [str(_draw(made_up, "species", seed)[0]["query_species"]) for seed in range(120)]
    asked = {near["query_species"] for seed in range(120) for near in _draw(made_up, "species", seed)}
    assert max(first.count(name) for name in set(first)) < 4 * 120 / len(asked)


def test_only_errors_and_only_one_subset(made_up: EvaluatedFolder) -> None:
    nearest = [near for near in _draw(made_up, "species", subset="unseen", only_errors=True) if near["place"] == 1]
    assert {near["subset"] for near in nearest} == {"unseen"}
    wrong = {near["query_id"] for near in nearest if near["shared"] != "species"}
    assert wrong == {near["query_id"] for near in nearest}


def test_what_no_query_fits_is_refused(rows: list[Row], tmp_path: Path) -> None:
    alike = [{**row, "species": "Musca domestica"} for row in rows]
    evaluated = write_evaluated(tmp_path / "run", alike)
    with pytest.raises(UsageError, match="drop --subset and --only-errors"):
        _draw(evaluated, only_errors=True)


def test_of_texts_one_a_species_is_shown_where_it_was_searched(rows: list[Row], tmp_path: Path) -> None:
    pairs = [("image", "text"), ("image", "species_text"), ("image", "dna"), ("dna", "text")]
    evaluated = write_evaluated(tmp_path / "run", rows, pairs=pairs)
    for query, keys in (("image", {"dna", "species_text"}), ("dna", {"text"})):
        assert {near["key"] for near in retrieval_examples(evaluated, FigureChoice(query=query))} == keys
    with pytest.raises(UsageError, match="no val queries by text"):
        retrieval_examples(evaluated, FigureChoice(query="text"))


def test_the_most_precise_name_stands_beneath_a_specimen(tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    protocol = tiny_dataset.facts.splits
    table = tiny_dataset.load([*protocol.keys, "val_seen"], ["specimen_id", *RANKS]).to_pylist()
    named = [{**row, "family": None, "genus": "Aedes", "species": None} for row in table]
    evaluated = write_evaluated(tmp_path / "run", named)
    figure = draw_retrieval_examples(evaluated, FigureChoice(data=str(tiny_dataset.folder))).figure
    assert [text.get_text() for text in figure.texts].count("Aedes") == 5 * (1 + 3 + 3 + 3)


def test_a_barcode_is_drawn_base_by_base() -> None:
    stripes = barcode_stripes("ACGU" + "T" * 200 + "N")
    assert stripes.shape == (2, 110, 3)
    flat = stripes.reshape(-1, 3)
    assert len({tuple(colour) for colour in flat[:4]}) == 4
    assert np.array_equal(flat[3], flat[100])  # U is T
    assert tuple(flat[204]) not in {tuple(colour) for colour in flat[:4]}
    assert (flat[205:] == 255).all()
    assert barcode_stripes("A" * 5000).shape == (6, 110, 3)


def test_the_figure_shows_pictures_letters_and_words(
    tiny_evaluated: EvaluatedFolder, tiny_dataset: PreparedDataset
) -> None:
    picture = draw_retrieval_examples(tiny_evaluated, FigureChoice(data=str(tiny_dataset.folder)))
    texts = [text.get_text() for axes in [*picture.figure.axes] for text in axes.texts]
    letters = {FRAMES[str(shared)][1] for shared in {r["shared"] for r in picture.records}}
    assert letters <= set(texts)
    images = [axes.images[0].get_array() for axes in picture.figure.axes if axes.images]
    assert len(images) == 5 * (1 + 3 + 3)  # queries, image keys, DNA keys; texts are written
    assert all(np.asarray(image).std() > 5 for image in images)
    words = " ".join(text.get_text() for text in picture.figure.texts)
    assert {"SYNTHETIC", "species", "cosine"} <= set(words.replace(":", "").split())
    assert overlaps(picture.figure) == []


def test_without_pictures_names_are_drawn_and_the_small_print_says_so(
    tiny_evaluated: EvaluatedFolder, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    shutil.copytree(tiny_dataset.folder.path, tmp_path / "features")
    for shard in (tmp_path / "features").rglob("part-*.parquet"):
        table = pq.read_table(shard, partitioning=None)
        place = table.column_names.index("image")
        pq.write_table(table.set_column(place, table.field(place), pa.nulls(len(table), pa.binary())), shard)
    picture = draw_retrieval_examples(tiny_evaluated, FigureChoice(data=str(tmp_path / "features")))
    assert "the data set has no pictures" in " ".join(text.get_text() for text in picture.figure.texts)
    assert overlaps(picture.figure) == []


def test_the_pictures_come_from_the_data_set_that_was_evaluated(
    made_up: EvaluatedFolder, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="other data"):
        draw_retrieval_examples(made_up, FigureChoice(data=str(tiny_dataset.folder)))
    with pytest.raises(MissingPathError, match="clibd data prepare"):
        draw_retrieval_examples(made_up, FigureChoice(data=str(tmp_path)))


def test_strange_names_do_not_break_the_figure(tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    protocol = tiny_dataset.facts.splits
    splits = [split for split in protocol.splits if split not in (*protocol.training, *protocol.unused)]
    table = tiny_dataset.load(splits, ["specimen_id", *RANKS]).to_pylist()
    named = [{**row, "species": f"$x_{row['species']} <b>&\n{'long ' * 30}{row['species']}"} for row in table]
    evaluated = write_evaluated(tmp_path / "run", named)
    assert overlaps(draw_retrieval_examples(evaluated, FigureChoice(data=str(tiny_dataset.folder))).figure) == []
