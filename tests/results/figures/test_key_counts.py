"""Figure 4: accuracy by number of keys, against plain loops."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from results.evaluated import EvaluatedFolder, read_evaluated
from results.figures.key_counts import draw_key_counts
from results.figures.keys_of_taxa import accuracy_by, doubling
from results.figures.picture import FigureChoice
from tests.results.figures.made_up import Row, made_up_rows, overlaps, write_evaluated
from workloads.errors import UsageError
from workloads.predictions import KeyChoice
from workloads.seals import unseal_run
from workloads.spec import Rank
from workloads.storage import Folder


def _by_hand(
    evaluated: EvaluatedFolder, rows: list[Row], rank: Rank, query: str, key: str
) -> Iterator[tuple[object, ...]]:
    """Subset, keys, taxa, queries and accuracy of every bin, as the definition says."""
    names = {row["specimen_id"]: row[rank] for row in rows}
    table = evaluated.folder.read_table("predictions.parquet").to_pylist()
    asked = [row for row in table if (row["partition"], row["query"], row["key"]) == ("val", query, key)]
    keys = [row[rank] for row in rows if str(row["split"]).endswith("keys")]
    taxa = {(row["subset"], names[row["specimen_id"]]) for row in asked if names[row["specimen_id"]] is not None}
    for subset, count in sorted({(subset, keys.count(name)) for subset, name in taxa}):
        accuracies, num_queries = [], 0
        for other, name in taxa:
            if (other, keys.count(name)) == (subset, count):
                own = [row for row in asked if row["subset"] == subset and names[row["specimen_id"]] == name]
                accuracies.append(sum(names[row["key_ids"][0]] == name for row in own) / len(own))
                num_queries += len(own)
        mean = sum(accuracies) / len(accuracies)
        yield subset, count, len(accuracies), num_queries, pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("rank", ["species", "family"])
def test_bins_are_means_over_taxa_with_the_same_number_of_keys(
    made_up: EvaluatedFolder, rows: list[Row], rank: Rank
) -> None:
    bins = pd.DataFrame(draw_key_counts(made_up, FigureChoice(rank=rank)).records)
    assert (bins.pop("partition").unique(), bins.pop("rank").unique()) == ("val", rank)
    pairs = {(a, b) for a in ("image", "dna") for b in ("image", "dna")}
    assert set(zip(bins["query"], bins["key"], strict=True)) == pairs
    for query, key in (("image", "dna"), ("dna", "dna")):
        found = bins[(bins["query"] == query) & (bins["key"] == key)].drop(columns=["query", "key"])
        ends = [found.pop(name) for name in ("low", "high")]
        assert list(found.itertuples(index=False, name=None)) == list(_by_hand(made_up, rows, rank, query, key))
        for low, value, high, taxa in zip(ends[0], found["accuracy"], ends[1], found["num_taxa"], strict=True):
            assert pd.isna(low) and pd.isna(high) if taxa == 1 else low <= value <= high
    if rank == "species":
        assert set(bins.loc[bins["num_keys"] == 0, "accuracy"]) == {0}
        assert bins["num_keys"].nunique() > 4


@pytest.mark.parametrize(
    ("keys", "kinds"),
    [("all", ("seen", "unseen")), ("own", ("seen", "unseen")), ("seen", ("seen",)), ("unseen", ("unseen",))],
)
def test_only_keys_that_were_searched_are_counted(
    made_up: EvaluatedFolder, rows: list[Row], keys: KeyChoice, kinds: tuple[str, ...], tmp_path: Path
) -> None:
    shutil.copytree(made_up.folder.path, tmp_path / "run")
    folder = Folder(tmp_path / "run")
    table = folder.read_table("predictions.parquet")
    place = table.column_names.index("keys")
    unseal_run(folder, "predictions.parquet")
    folder.write_table("predictions.parquet", table.set_column(place, "keys", pa.array([keys] * len(table))))
    picture = draw_key_counts(read_evaluated(folder), FigureChoice(rank="order"))
    splits = [{"seen": "seen_keys", "unseen": "val_unseen_keys"}[kind] for kind in kinds]
    asked = {row["order"] for row in rows if str(row["split"]) in ("val_seen", "val_unseen")} - {None}
    counts = {sum(row["order"] == name and row["split"] in splits for row in rows) for name in asked}
    assert {record["num_keys"] for record in picture.records} == counts


def test_an_interval_is_that_of_means_of_resampled_taxa() -> None:
    accuracy = np.random.default_rng(3).random(40)
    taxa = pd.DataFrame({"subset": "seen", "num_keys": 5, "num_queries": 2, "accuracy": accuracy})
    [found] = accuracy_by(taxa, "num_keys").itertuples()
    chance = np.random.default_rng(0)
    means = [chance.choice(accuracy, len(accuracy)).mean() for _ in range(4000)]
    # Two bootstraps of some thousand resamples; their ends differ by less than a tenth of the interval.
    assert [found.low, found.high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.02)
    assert (found.num_taxa, found.num_queries) == (40, 80)


def test_classes_of_key_counts_double() -> None:
    assert doubling(pd.Series([0, 1, 2, 3, 4, 7, 8, 1000])).tolist() == [0, 1, 2, 2, 4, 4, 8, 512]


def test_the_figure_shows_every_bin_and_no_text_covers_another(made_up: EvaluatedFolder) -> None:
    picture = draw_key_counts(made_up, FigureChoice())
    assert overlaps(picture.figure) == []
    panels = [axes for axes in picture.figure.axes if axes.get_title(loc="left")]
    assert sum(len(axes.collections) for axes in panels) == len(picture.records)


def test_a_rank_without_names_is_refused(made_up: EvaluatedFolder, tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = [{**row, "genus": None} for row in made_up_rows(60)]
    evaluated = write_evaluated(tmp_path_factory.mktemp("nameless"), rows)
    with pytest.raises(UsageError, match="rank of genus"):
        draw_key_counts(evaluated, FigureChoice(rank="genus"))
