"""Figure 3: which queries are drawn, what their keys share with them, and how it looks."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results.figures.evaluated import Evaluated
from results.figures.example_tiles import FRAMES, barcode_stripes, draw_retrieval_examples, key_features
from results.figures.retrieval_examples import Example, example_records, lowest_name, retrieval_examples
from tests.results.figures.made_up import Row, overlaps, write_evaluated
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import MissingPathError, UsageError
from workloads.spec import RANKS, Rank

KEYS = ("image", "dna", "text")


def _draw(evaluated: Evaluated, rank: Rank = "family", seed: int = 413, **only: object) -> list[Example]:
    return retrieval_examples(evaluated, "val", "image", KEYS, rank, seed, **only)  # type: ignore[arg-type]


def test_keys_share_the_lowest_rank_at_which_the_names_are_equal(made_up: Evaluated, rows: list[Row]) -> None:
    lineages = {row["specimen_id"]: row for row in rows}
    table = made_up.folder.read_table("predictions.parquet").to_pylist()
    found = {(row["query"], row["key"], row["specimen_id"]): row for row in table if row["partition"] == "val"}
    shared: set[str | None] = set()
    for seed in range(20):
        for example in _draw(made_up, seed=seed):
            for key in KEYS:
                row = found["image", key, example.specimen_id]
                assert [near.specimen_id for near in example.found[key]] == row["key_ids"][:3]
                assert [near.cosine for near in example.found[key]] == row["cosines"][:3]
                for near in example.found[key]:
                    expected = None
                    for rank in RANKS:  # from order down: the last that fits is the lowest
                        name = lineages[example.specimen_id][rank]
                        if name is not None and name == lineages[near.specimen_id][rank]:
                            expected = rank
                    assert near.shared == expected
                    shared.add(expected)
    assert shared == set(FRAMES)


def test_taxa_take_turns_and_a_seed_draws_the_same_queries(made_up: Evaluated) -> None:
    drawn = _draw(made_up, "species")
    assert drawn == _draw(made_up, "species")
    assert len({example.lineage["species"] for example in drawn}) == 5
    assert len({example.specimen_id for example in _draw(made_up, "order")}) == 5  # of three orders
    assert len({example.lineage["order"] for example in _draw(made_up, "order")}) == 3
    assert {tuple(e.specimen_id for e in _draw(made_up, seed=seed)) for seed in range(5)} != {
        tuple(e.specimen_id for e in drawn)
    }


def test_rare_taxa_are_drawn_as_often_as_common_ones(made_up: Evaluated) -> None:
    first = [str(_draw(made_up, "species", seed)[0].lineage["species"]) for seed in range(120)]
    asked = {example.lineage["species"] for seed in range(120) for example in _draw(made_up, "species", seed)}
    assert max(first.count(name) for name in set(first)) < 4 * 120 / len(asked)


def test_only_errors_and_only_one_subset(made_up: Evaluated) -> None:
    for example in _draw(made_up, "species", subset="unseen", only_errors=True):
        assert example.subset == "unseen"
        assert any(near[0].shared != "species" for near in example.found.values())


def test_what_no_query_fits_is_refused(rows: list[Row], tmp_path: Path) -> None:
    alike = [{**row, "species": "Musca domestica"} for row in rows]
    evaluated = write_evaluated(tmp_path / "run", alike)
    with pytest.raises(UsageError, match="drop --subset and --only-errors"):
        _draw(evaluated, only_errors=True)
    with pytest.raises(UsageError, match="no val queries by text"):
        retrieval_examples(evaluated, "val", "text", KEYS, "order", 1)


def test_of_texts_one_a_species_is_shown_where_it_was_searched(rows: list[Row], tmp_path: Path) -> None:
    pairs = [("image", "text"), ("image", "species_text"), ("image", "dna"), ("dna", "text")]
    evaluated = write_evaluated(tmp_path / "run", rows, pairs=pairs)
    assert key_features(evaluated, "val", "image") == ["dna", "species_text"]
    assert key_features(evaluated, "val", "dna") == ["text"]
    with pytest.raises(UsageError, match="no val queries by text"):
        key_features(evaluated, "val", "text")


def test_the_csv_names_query_and_keys(made_up: Evaluated) -> None:
    examples = _draw(made_up)
    records = example_records(examples, "val", "image")
    assert len(records) == 5 * 3 * 3
    assert [record["place"] for record in records[:4]] == [1, 2, 3, 1]
    assert records[0]["query_id"] == examples[0].specimen_id
    assert {record["shared"] for record in records} <= {*RANKS, "none"}


def test_the_lowest_name_is_the_most_precise_one() -> None:
    lineage = {"order": "Diptera", "family": None, "genus": "Aedes", "species": None}
    assert lowest_name(lineage) == "Aedes"
    assert lowest_name(dict.fromkeys(RANKS)) is None


def test_a_barcode_is_drawn_base_by_base() -> None:
    stripes = barcode_stripes("ACGU" + "T" * 200 + "N")
    assert stripes.shape == (2, 110, 3)
    flat = stripes.reshape(-1, 3)
    assert len({tuple(colour) for colour in flat[:4]}) == 4
    assert np.array_equal(flat[3], flat[100])  # U is T
    assert tuple(flat[204]) not in {tuple(colour) for colour in flat[:4]}
    assert (flat[205:] == 255).all()
    assert barcode_stripes("A" * 5000).shape == (6, 110, 3)


def test_the_figure_shows_pictures_letters_and_words(tiny_evaluated: Evaluated, tiny_dataset: PreparedDataset) -> None:
    picture = draw_retrieval_examples(tiny_evaluated, str(tiny_dataset.folder))
    texts = [text.get_text() for axes in [*picture.figure.axes] for text in axes.texts]
    letters = {FRAMES[None if shared == "none" else shared][1] for shared in {r["shared"] for r in picture.records}}  # type: ignore[index]
    assert letters <= set(texts)
    images = [axes.images[0].get_array() for axes in picture.figure.axes if axes.images]
    assert len(images) == 5 * (1 + 3 + 3)  # queries, image keys, DNA keys; texts are written
    assert all(np.asarray(image).std() > 5 for image in images)
    words = " ".join(text.get_text() for text in picture.figure.texts)
    assert {"SYNTHETIC", "species", "cosine"} <= set(words.replace(":", "").split())
    assert overlaps(picture.figure) == []


def test_without_pictures_names_are_drawn_and_the_small_print_says_so(
    tiny_evaluated: Evaluated, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    shutil.copytree(tiny_dataset.folder.path, tmp_path / "features")
    for shard in (tmp_path / "features").rglob("part-*.parquet"):
        table = pq.read_table(shard, partitioning=None)
        place = table.column_names.index("image")
        pq.write_table(table.set_column(place, table.field(place), pa.nulls(len(table), pa.binary())), shard)
    picture = draw_retrieval_examples(tiny_evaluated, str(tmp_path / "features"))
    assert "the data set has no pictures" in " ".join(text.get_text() for text in picture.figure.texts)
    assert overlaps(picture.figure) == []


def test_the_pictures_come_from_the_data_set_that_was_evaluated(
    made_up: Evaluated, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="evaluation is of other data"):
        draw_retrieval_examples(made_up, str(tiny_dataset.folder))
    with pytest.raises(MissingPathError, match="clibd data prepare"):
        draw_retrieval_examples(made_up, str(tmp_path))


def test_strange_names_do_not_break_the_figure(tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    protocol = tiny_dataset.facts.splits
    splits = [split for split in protocol.splits if split not in (*protocol.training, *protocol.unused)]
    table = tiny_dataset.load(splits, ["specimen_id", *RANKS]).to_pylist()
    named = [{**row, "species": f"$x_{row['species']} <b>&\n{'long ' * 30}{row['species']}"} for row in table]
    evaluated = write_evaluated(tmp_path / "run", named)
    assert overlaps(draw_retrieval_examples(evaluated, str(tiny_dataset.folder)).figure) == []
