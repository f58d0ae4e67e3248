"""How the accuracy of taxa goes with their number of keys: Figure 4 as numbers, for drawing and for the dashboard."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from results.evaluated import EvaluatedFolder
from workloads.arrays import Doubles
from workloads.data.specimens.schema import PROTOCOLS, subset_of
from workloads.predictions import MISSING, Answers, KeyChoice
from workloads.spec import Rank

_ASKING = {split for protocol in PROTOCOLS.values() for split in protocol.asking()}


def taxa_by_keys(evaluated: EvaluatedFolder, answers: Answers, rank: Rank) -> pd.DataFrame:
    """The taxa that were asked for. Queries without a name are left out.

    Args:
        evaluated: whose answers these are.
        answers: one retrieval.
        rank: whose names.

    Returns:
        A row for each taxon of a subset: `subset`, `name`, `num_keys` that were searched, `num_queries`, and
        `accuracy`, the share of its queries that were answered rightly.
    """
    names = evaluated.predictions.names(rank)
    counts = _keys_per_taxon(evaluated.predictions.specimens, rank, answers.place.keys)
    asked = pd.DataFrame({"subset": answers.subset, "code": answers.truth[rank], "hit": answers.hits(rank)})
    taxa = asked[asked["code"] != MISSING].groupby(["subset", "code"])["hit"].agg(["mean", "size"]).reset_index()
    taxa = taxa.rename(columns={"mean": "accuracy", "size": "num_queries"})
    taxa["name"] = names[taxa["code"]]
    taxa["num_keys"] = [counts.get(name, 0) for name in taxa["name"]]
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


def _keys_per_taxon(specimens: pa.Table, rank: Rank, keys: KeyChoice) -> Mapping[str, int]:
    """How many of the searched keys have each name.

    Args:
        specimens: every query and key of an evaluation.
        rank: whose names.
        keys: which keys were searched. Those of a species' own kind are all of its keys.
    """
    searched = pa.array(searched_splits(specimens["split"].unique().to_pylist(), keys), pa.string())
    names = specimens[rank].filter(pc.is_in(specimens["split"], value_set=searched))
    counted = names.drop_null().value_counts()
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def searched_splits(splits: Iterable[str], keys: KeyChoice) -> list[str]:
    """Those of the splits of an evaluation whose specimens were searched as keys."""
    return [split for split in splits if split not in _ASKING and keys in ("all", "own", subset_of(split))]
