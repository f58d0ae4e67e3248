"""Confusions between taxa: counted as the definition says, drawn without a lost query."""

from collections import Counter
from pathlib import Path

import pytest

from results.figures.confusion import Confusions, confusion_shares, confusions, draw_confusion
from results.figures.evaluated import Evaluated
from tests.results.figures.made_up import Row, overlaps, write_evaluated
from workloads.errors import UsageError
from workloads.spec import Rank


def _by_hand(
    evaluated: Evaluated, rows: list[Row], rank: Rank, subset: str | None
) -> tuple[Counter[tuple[str | None, str | None]], int]:
    """Pairs of names of queries by image and of their nearest barcodes, and how many had no name."""
    names = {row["specimen_id"]: row[rank] for row in rows}
    counts: Counter[tuple[str | None, str | None]] = Counter()
    nameless = 0
    for row in evaluated.folder.read_table("predictions.parquet").to_pylist():
        if (row["partition"], row["query"], row["key"]) == ("val", "image", "dna") and subset in (None, row["subset"]):
            pair = names[row["specimen_id"]], names[row["key_ids"][0]]
            if None in pair:
                nameless += 1
            else:
                counts[pair] += 1
    return counts, nameless


@pytest.mark.parametrize("subset", [None, "seen", "unseen"])
@pytest.mark.parametrize("rank", ["family", "species"])
def test_confusions_are_counted_over_queries_with_names_on_both_sides(
    made_up: Evaluated, rows: list[Row], rank: Rank, subset: str | None
) -> None:
    found = confusions(made_up, "val", "image", "dna", rank, subset)
    counts, nameless = _by_hand(made_up, rows, rank, subset)
    assert (dict(found.counts), found.num_without_name) == (dict(counts), nameless)
    assert nameless > 0 or subset is not None
    assert found.wrong == sorted(
        [(a, b, n) for (a, b), n in counts.items() if a != b], key=lambda row: (-row[2], row[0], row[1])
    )


def test_the_most_confused_taxa_have_the_most_wrong_queries_and_ties_go_by_name() -> None:
    found = Confusions(Counter({("b", "c"): 2, ("a", "c"): 1, ("a", "b"): 1, ("c", "c"): 9, ("d", "a"): 1}), 0)
    assert found.most_confused(9) == ["a", "b", "d"]
    assert found.most_confused(2) == ["a", "b"]
    assert found.commonest_answers(["a", "b"], 5) == ["c"]
    assert found.commonest_answers(["b", "d"], 5) == ["c", "a"]
    assert found.truths == {"a": 2, "b": 2, "c": 9, "d": 1}


def test_shares_are_of_each_rows_queries_and_nothing_is_lost(made_up: Evaluated) -> None:
    found = confusions(made_up, "val", "image", "dna", "species")
    taxa = found.most_confused(4)
    columns = [*taxa, *found.commonest_answers(taxa, 2)]
    shares = confusion_shares(found, taxa, columns)
    for row, truth in enumerate(taxa):
        total = sum(count for (name, _), count in found.counts.items() if name == truth)
        expected = [found.counts[truth, name] / total for name in columns]
        assert shares[row].tolist() == pytest.approx([*expected, 1 - sum(expected)], abs=1e-12)
    assert shares.shape == (4, len(columns) + 1)


def test_a_taxon_called_others_is_one_like_any_other() -> None:
    found = Confusions(Counter({("others", "others"): 1, ("others", "a"): 1, ("a", "b"): 2}), 0)
    shares = confusion_shares(found, ["a", "others"], ["a", "others"])
    assert shares.tolist() == [[0, 0, 1], [0.5, 0.5, 0]]


@pytest.mark.parametrize("rank", ["family", "species"])
def test_the_csv_holds_every_pair_and_no_text_covers_another(made_up: Evaluated, rank: Rank) -> None:
    picture = draw_confusion(made_up, rank=rank)
    found = confusions(made_up, "val", "image", "dna", rank)
    assert {(r["truth"], r["found"]): r["num_queries"] for r in picture.records} == found.counts
    assert [r["right"] for r in picture.records] == sorted(bool(r["right"]) for r in picture.records)
    assert overlaps(picture.figure) == []


def test_names_like_formulas_with_line_breaks_or_without_end_are_drawn(rows: list[Row], tmp_path: Path) -> None:
    strange = {"family 0": "$\\alpha_", "family 1": "<i>Muscidae\n&", "family 2": "Chironomidae " * 15}
    named = [{**row, "family": strange.get(str(row["family"]), row["family"])} for row in rows]
    picture = draw_confusion(write_evaluated(tmp_path / "run", named))
    assert overlaps(picture.figure) == []
    assert {str(record["truth"]) for record in picture.records} >= set(strange.values())


def test_when_every_answer_is_right_the_figure_says_so(rows: list[Row], tmp_path: Path) -> None:
    alike = [{**row, "order": "Diptera"} for row in rows]
    picture = draw_confusion(write_evaluated(tmp_path / "run", alike), rank="order")
    assert "Every answer is right" in " ".join(text.get_text() for text in picture.figure.texts)
    assert [record["share"] for record in picture.records] == [1.0]


def test_without_a_name_at_the_rank_there_is_nothing_to_count(rows: list[Row], tmp_path: Path) -> None:
    nameless = [{**row, "genus": None} for row in rows]
    evaluated = write_evaluated(tmp_path / "run", nameless)
    with pytest.raises(UsageError, match="choose another rank"):
        draw_confusion(evaluated, rank="genus")
    with pytest.raises(UsageError, match="no val queries by text to dna"):
        draw_confusion(evaluated, query="text")
