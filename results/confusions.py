"""Which taxa are taken for which: counted once, for the figure and for the pages."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from workloads.arrays import Codes, Doubles, Names


def confusion_table(truth: Codes, found: Codes, names: Names) -> pd.DataFrame:
    """Queries by the name they have, `truth`, and the name of their nearest key, `found`.

    Args:
        truth: codes of the queries' names, (queries,).
        found: codes of the names of their nearest keys, (queries,).
        names: of the codes, (codes,).

    Returns:
        `truth`, `found`, `right`, `num_queries`, `num_queries_of_truth` and `share`, which is of all queries of the
        truth: every confusion, the commonest first; then the right answers.
    """
    pairs, counts = np.unique(truth.astype(np.int64) * len(names) + found, return_counts=True)
    frame = pd.DataFrame({"truth": names[pairs // len(names)], "found": names[pairs % len(names)]})
    frame["right"], frame["num_queries"] = frame["truth"] == frame["found"], counts
    frame["num_queries_of_truth"] = frame.groupby("truth")["num_queries"].transform("sum")
    frame["share"] = (frame["num_queries"] / frame["num_queries_of_truth"]).round(6)
    order = frame.assign(rare=np.where(frame["right"], 0, -frame["num_queries"]))
    return frame.loc[order.sort_values(["right", "rare", "truth", "found"]).index]


def most_confused(confusions: pd.DataFrame, num_taxa: int, num_more: int) -> tuple[list[str], list[str]]:
    """The taxa whose queries were answered wrongly most often, and what they are taken for.

    The commonest confusion is always among them: its taxon may have fewer wrong answers in all than others, and what it
    is taken for may be a rare answer elsewhere.

    Returns:
        The taxa; and these again, with the others that they are taken for most often. By name where equally often.
    """
    wrong = confusions[~confusions["right"]]
    taxa = _most(wrong, "truth", num_taxa)
    others = wrong[wrong["truth"].isin(taxa) & ~wrong["found"].isin(taxa)]
    return taxa, [*taxa, *_most(others, "found", num_more)]


def _most(wrong: pd.DataFrame, column: str, at_most: int) -> list[str]:
    """The names with most queries, of which one is that of the first row."""
    names = commonest(wrong.groupby(column)["num_queries"].sum().to_dict(), at_most)
    return names if wrong.empty or wrong[column].iloc[0] in names else [*names[:-1], wrong[column].iloc[0]]


def confusion_shares(confusions: pd.DataFrame, taxa: Sequence[str], columns: Sequence[str]) -> Doubles:
    """What the queries of some taxa were taken for: a row a taxon, a column for each that was found, then all others.

    Rows sum to 1, shape (taxa, columns + 1).
    """
    shares = np.zeros((len(taxa), len(columns) + 1))
    rows, places = ({name: place for place, name in enumerate(each)} for each in (taxa, columns))
    for one in confusions[confusions["truth"].isin(taxa)].itertuples():
        shares[rows[one.truth], places.get(one.found, -1)] += one.num_queries
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def commonest(counts: Mapping[str, int], at_most: int) -> list[str]:
    """The names that are counted most often, in alphabetical order where equally often."""
    return sorted(counts, key=lambda name: (-counts[name], name))[:at_most]
