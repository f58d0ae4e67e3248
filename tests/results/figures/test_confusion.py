"""Confusions between taxa: counted as the definition says, drawn without a lost query."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results.confusions import confusion_shares, confusion_table, most_confused
from results.evaluated import EvaluatedFolder
from results.figures.confusion import draw_confusion
from results.figures.picture import FigureChoice
from tests.results.figures.made_up import Row, overlaps, write_evaluated
from workloads.errors import UsageError
from workloads.spec import Rank


def _counted(truth: Sequence[str], found: Sequence[str]) -> pd.DataFrame:
    """A table of confusions between names."""
    codes, names = pd.factorize(np.array([*truth, *found], dtype=object))
    return confusion_table(codes[: len(truth)].astype(np.int32), codes[len(truth) :].astype(np.int32), names)


def _by_hand(
    evaluated: EvaluatedFolder, rows: list[Row], rank: Rank, subset: str | None
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
    made_up: EvaluatedFolder, rows: list[Row], rank: Rank, subset: str | None
) -> None:
    picture = draw_confusion(made_up, FigureChoice(rank=rank, subset=subset))
    counts, nameless = _by_hand(made_up, rows, rank, subset)
    triples = [(record["truth"], record["found"], record["num_queries"]) for record in picture.records]
    assert {(a, b): n for a, b, n in triples} == dict(counts)
    small_print = " ".join(text.get_text() for text in picture.figure.texts)
    assert (f" {nameless} left out without a name" in small_print) == bool(nameless)
    assert nameless > 0 or subset is not None
    wrong = sorted([(a, b, n) for (a, b), n in counts.items() if a != b], key=lambda row: (-row[2], row[0], row[1]))
    assert triples[: len(wrong)] == wrong
    assert triples[len(wrong) :] == sorted((a, b, n) for (a, b), n in counts.items() if a == b)


def test_the_most_confused_taxa_have_the_most_wrong_queries_and_ties_go_by_name() -> None:
    found = _counted([*"bbaad", *9 * "c"], [*"cccba", *9 * "c"])
    assert most_confused(found, 9, 5) == (["a", "b", "d"], ["a", "b", "d", "c"])
    assert most_confused(found, 2, 5) == (["a", "b"], ["a", "b", "c"])
    assert most_confused(found, 1, 1) == (["b"], ["b", "c"])
    totals = dict(zip(found["truth"], found["num_queries_of_truth"], strict=True))
    assert totals == {"a": 2, "b": 2, "c": 9, "d": 1}


def test_the_commonest_confusion_is_in_the_matrix_however_its_names_count_elsewhere() -> None:
    truth, found = [*"aaabbbb", "a", "b"], [*"xxxyzuv", "y", "y"]
    counted = _counted(truth, found)
    assert most_confused(counted, 1, 1) == (["a"], ["a", "x"])
    assert most_confused(counted, 2, 1) == (["b", "a"], ["b", "a", "x"])


def test_shares_are_of_each_rows_queries_and_nothing_is_lost(made_up: EvaluatedFolder) -> None:
    found = pd.DataFrame(draw_confusion(made_up, FigureChoice(rank="species")).records)
    counts = Counter({(row.truth, row.found): row.num_queries for row in found.itertuples()})
    taxa, columns = most_confused(found, 4, 2)
    shares = confusion_shares(found, taxa, columns)
    for row, truth in enumerate(taxa):
        total = sum(count for (name, _), count in counts.items() if name == truth)
        expected = [counts[truth, name] / total for name in columns]
        assert shares[row].tolist() == pytest.approx([*expected, 1 - sum(expected)], abs=1e-12)
    assert shares.shape == (4, len(columns) + 1)


def test_a_taxon_called_others_is_one_like_any_other() -> None:
    found = _counted(["others", "others", "a", "a"], ["others", "a", "b", "b"])
    shares = confusion_shares(found, ["a", "others"], ["a", "others"])
    assert shares.tolist() == [[0, 0, 1], [0.5, 0.5, 0]]


@pytest.mark.parametrize("rank", ["family", "species"])
def test_the_csv_holds_every_pair_and_no_text_covers_another(made_up: EvaluatedFolder, rank: Rank) -> None:
    picture = draw_confusion(made_up, FigureChoice(rank=rank))
    assert [r["right"] for r in picture.records] == sorted(bool(r["right"]) for r in picture.records)
    assert overlaps(picture.figure) == []


def test_names_like_formulas_with_line_breaks_or_without_end_are_drawn(rows: list[Row], tmp_path: Path) -> None:
    strange = {"family 0": "$\\alpha_", "family 1": "<i>Muscidae\n&", "family 2": "Chironomidae " * 15}
    named = [{**row, "family": strange.get(str(row["family"]), row["family"])} for row in rows]
    picture = draw_confusion(write_evaluated(tmp_path / "run", named), FigureChoice())
    assert overlaps(picture.figure) == []
    assert {str(record["truth"]) for record in picture.records} >= set(strange.values())


def test_when_every_answer_is_right_the_figure_says_so(rows: list[Row], tmp_path: Path) -> None:
    alike = [{**row, "order": "Diptera"} for row in rows]
    picture = draw_confusion(write_evaluated(tmp_path / "run", alike), FigureChoice(rank="order"))
    assert "Every answer is right" in " ".join(text.get_text() for text in picture.figure.texts)
    assert [record["share"] for record in picture.records] == [1.0]


def test_without_a_name_at_the_rank_there_is_nothing_to_count(rows: list[Row], tmp_path: Path) -> None:
    nameless = [{**row, "genus": None} for row in rows]
    evaluated = write_evaluated(tmp_path / "run", nameless)
    with pytest.raises(UsageError, match="another rank"):
        draw_confusion(evaluated, FigureChoice(rank="genus"))
    with pytest.raises(UsageError, match="val queries by text to dna"):
        draw_confusion(evaluated, FigureChoice(query="text"))
