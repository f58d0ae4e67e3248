"""How the accuracy of taxa goes with their number of keys: Figure 4 as numbers, for drawing and for the dashboard."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from workloads.arrays import Codes, Doubles, Mask, Names
from workloads.data.specimens.schema import PROTOCOLS, subset_of
from workloads.predictions import CORRECTED, MISSING, KeyChoice

_ASKING = {split for protocol in PROTOCOLS.values() for split in protocol.asking()}


def taxa_by_keys(names: Names, truth: Codes, hits: Mask, subset: Names, keys: Codes) -> pd.DataFrame:
    """The taxa of a rank that were asked for in a retrieval. Queries without a name are left out.

    Args:
        names: of each code, (codes,).
        truth: codes of the queries' names, (queries,).
        hits: whether each was answered rightly, (queries,).
        subset: `seen` or `unseen`, (queries,).
        keys: codes of the names of the keys that were searched, (keys,).

    Returns:
        A row for each taxon of a subset: `subset`, `name`, `num_keys`, `num_queries`, and `accuracy`, the share of its
        queries that were answered rightly.
    """
    counts = np.bincount(keys[keys != MISSING], minlength=len(names))
    asked = pd.DataFrame({"subset": subset, "code": truth, "hit": hits})
    taxa = asked[asked["code"] != MISSING].groupby(["subset", "code"])["hit"].agg(["mean", "size"]).reset_index()
    taxa = taxa.rename(columns={"mean": "accuracy", "size": "num_queries"})
    taxa["name"], taxa["num_keys"] = names[taxa["code"]], counts[taxa["code"]]
    return taxa[["subset", "name", "num_keys", "num_queries", "accuracy"]]


def accuracy_by(taxa: pd.DataFrame, group: str) -> pd.DataFrame:
    """Mean accuracies of the taxa that are alike, by subset.

    Args:
        taxa: as `taxa_by_keys` gives them.
        group: a column, by which they are alike.

    Returns:
        A row for each: `num_taxa`, `num_queries`, `accuracy`, the mean over the taxa, and the ends of its 95 %
        interval, `low` and `high`, by bootstrap over the taxa; null of a taxon alone, which tells nothing of spread.
    """
    rows = []
    for (subset, value), own in taxa.groupby(["subset", group]):
        accuracy = own["accuracy"].to_numpy(np.float64)
        low, high = _interval(accuracy)
        about = {"num_taxa": len(own), "num_queries": int(own["num_queries"].sum()), "accuracy": accuracy.mean()}
        rows.append({"subset": subset, group: value, **about, "low": low, "high": high})
    columns = ["subset", group, "num_taxa", "num_queries", "accuracy", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def doubling(num_keys: pd.Series) -> pd.Series:
    """The fewest keys of each one's class: 0, 1, 2 to 3, 4 to 7, and so on, equally wide on a logarithmic axis."""
    return np.exp2(np.floor(np.log2(num_keys.clip(1)))).astype(int).where(num_keys > 0, 0)


def _interval(values: Doubles) -> tuple[float | None, float | None]:
    if len(values) < 2:
        return None, None
    from workloads.intervals import bootstrapped

    low, high = bootstrapped([values], lambda drawn, axis: drawn.mean(axis=axis))
    return float(low), float(high)


def searched_splits(splits: Iterable[str], keys: KeyChoice) -> list[str]:
    """Those of the splits of an evaluation whose specimens were searched as keys."""
    return [split for split in splits if split not in _ASKING and keys in ("all", "own", *CORRECTED, subset_of(split))]
