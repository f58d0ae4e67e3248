"""Figure 4: accuracy by number of keys, against plain loops."""

from collections.abc import Iterator

import pytest

from results.figures.evaluated import Evaluated
from results.figures.key_counts import draw_key_counts, key_count_bins, keys_per_taxon
from tests.results.figures.made_up import Row, made_up_rows, overlaps, write_evaluated
from workloads.errors import UsageError
from workloads.predictions import KeyChoice
from workloads.spec import Rank


def _by_hand(evaluated: Evaluated, rows: list[Row], rank: Rank, query: str, key: str) -> Iterator[tuple[object, ...]]:
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
        yield subset, count, len(accuracies), num_queries, pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("rank", ["species", "family"])
def test_bins_are_means_over_taxa_with_the_same_number_of_keys(made_up: Evaluated, rows: list[Row], rank: Rank) -> None:
    bins = key_count_bins(made_up, "val", rank)
    assert {(one.query, one.key) for one in bins} == {(a, b) for a in ("image", "dna") for b in ("image", "dna")}
    for query, key in (("image", "dna"), ("dna", "dna")):
        found = [one for one in bins if (one.query, one.key) == (query, key)]
        expected = list(_by_hand(made_up, rows, rank, query, key))
        assert [(o.subset, o.num_keys, o.num_taxa, o.num_queries, o.accuracy) for o in found] == expected
    if rank == "species":
        assert any(one.num_keys == 0 and one.accuracy == 0 for one in bins)
        assert len({one.num_keys for one in bins}) > 4


@pytest.mark.parametrize(
    ("keys", "kinds"),
    [("all", ("seen", "unseen")), ("own", ("seen", "unseen")), ("seen", ("seen",)), ("unseen", ("unseen",))],
)
def test_only_keys_that_were_searched_are_counted(
    made_up: Evaluated, rows: list[Row], keys: KeyChoice, kinds: tuple[str, ...]
) -> None:
    counts = keys_per_taxon(made_up.predictions.specimens, "order", keys)
    splits = [{"seen": "seen_keys", "unseen": "val_unseen_keys"}[kind] for kind in kinds]
    for name in {row["order"] for row in rows} - {None}:
        assert counts[str(name)] == sum(row["order"] == name and row["split"] in splits for row in rows)


def test_the_figure_shows_every_bin_and_no_text_covers_another(made_up: Evaluated) -> None:
    picture = draw_key_counts(made_up)
    assert len(picture.records) == len(key_count_bins(made_up, "val", "species"))
    assert overlaps(picture.figure) == []
    panels = [axes for axes in picture.figure.axes if axes.get_title(loc="left")]
    assert sum(len(axes.collections) for axes in panels) == len(picture.records)


def test_a_rank_without_names_is_refused(made_up: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = [{**row, "genus": None} for row in made_up_rows(60)]
    evaluated = write_evaluated(tmp_path_factory.mktemp("nameless"), rows)
    with pytest.raises(UsageError, match="rank of genus"):
        draw_key_counts(evaluated, rank="genus")
