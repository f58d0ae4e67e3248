"""What became of the queries of each taxon: counts by retrieval, and shares with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from results.dashboard.catalog import Catalog
from results.dashboard.numbers import Answered, Retrieval
from results.run import UNREADABLE
from workloads.arrays import Codes, Indices
from workloads.data.prepared.dataset import SPECIMEN_TABLE
from workloads.predictions import MISSING, PAPERS_PAIRS
from workloads.spec import Rank

_Z = NormalDist().inv_cdf(0.975)
"""Standard deviations on either side of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many, with Wilson's 95 % interval."""

    right: int
    of: int
    low: float | None
    high: float | None

    @property
    def value(self) -> float | None:
        """In [0, 1]; None of nothing."""
        return self.right / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class Counted:
    """The taxa of a rank, by the codes of their names, (codes,) each."""

    rank: Rank
    num_searched: int
    """Keys in all, with this name or another or none."""
    num_keys: Indices
    num_queries: Indices
    """Of one partition, by whatever feature most of them were asked."""
    num_unseen: Indices
    """Of these, queries of unseen species."""
    asked: Mapping[str, Indices]
    """Queries of each pair that has been asked."""
    right: Mapping[str, Indices]
    """Of these, whose nearest key has the name."""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.num_keys, self.num_queries, self.num_unseen, *self.asked.values(), *self.right.values())
        return sum(each.nbytes for each in arrays)


def shares(right: Sequence[int] | Indices, of: Sequence[int] | Indices) -> list[Share]:
    """Shares, each with Wilson's 95 % interval: queries are taken to be independent of one another.

        (p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n)     (Wilson, 1927)

    statsmodels has the formula too; it takes a second and 95 MB to load, and the first reader waited for it.
    """
    hits, totals = np.asarray(right, dtype=np.int64), np.asarray(of, dtype=np.int64)
    n = np.maximum(totals, 1)
    p, squared = hits / n, _Z**2 / n
    middle, half = p + squared / 2, np.sqrt(squared * (p * (1 - p) + squared / 4))
    low, high = (np.clip(end / (1 + squared), 0, 1) for end in (middle - half, middle + half))
    rows = zip(hits.tolist(), totals.tolist(), low.tolist(), high.tolist(), strict=True)
    return [Share(hit, total, *(ends if total else (None, None))) for hit, total, *ends in rows]


def counted(catalog: Catalog, evaluation: Answered, partition: str, rank: Rank) -> Counted:
    """The taxa of a partition at a rank, counted once."""
    place = catalog.place(evaluation.name.partition("/")[0])
    key = ("taxa", evaluation.name, catalog.now.version(place), partition, rank)
    return catalog.kept(key, lambda: _counted(evaluation, evaluation.pairs(partition), rank))


def _counted(evaluation: Answered, retrievals: Sequence[Retrieval], rank: Rank) -> Counted:
    num = len(evaluation.names[rank])
    codes = evaluation.codes[rank]
    keys = codes[evaluation.searched(retrievals[0].place)]
    asked, right = {}, {}
    for one in retrievals:
        truth = evaluation.truth(one, rank)
        asked[one.words] = _bins(truth, num)
        right[one.words] = _bins(truth[evaluation.hits(one, rank)], num)
    most = max(retrievals, key=len)
    truth = evaluation.truth(most, rank)
    return Counted(rank, len(keys), _bins(keys, num), _bins(truth, num), _bins(truth[most.unseen], num), asked, right)


def _bins(codes: Codes, num: int) -> Indices:
    return np.bincount(codes[codes != MISSING], minlength=num)


def papers_first(words: Sequence[str]) -> list[str]:
    """Of the pairs, those of the paper; all where there are none of these."""
    papers = {f"{query}-{key}" for query, key in PAPERS_PAIRS}
    return [pair for pair in words if pair in papers] or list(words)


def training_counts(catalog: Catalog, evaluation: Answered, rank: Rank) -> Mapping[str, int] | None:
    """How many specimens of each taxon train; None where the data set of the evaluation is not at hand."""
    dataset = catalog.dataset
    if dataset is None:
        return None
    try:
        facts = dataset.facts
        if (facts.name, facts.fingerprint) != (evaluation.facts["dataset"], evaluation.facts["data_fingerprint"]):
            return None
        return catalog.kept(
            ("training", facts.fingerprint, rank),
            lambda: _training(catalog, rank),
        )
    except UNREADABLE:
        return None


def _training(catalog: Catalog, rank: Rank) -> Mapping[str, int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    assert catalog.dataset is not None
    table = catalog.dataset.folder.read_table(SPECIMEN_TABLE, ["split", rank])
    training = pa.array(catalog.dataset.facts.splits.training, pa.string())
    found = table[rank].filter(pc.is_in(table["split"].cast(pa.string()), value_set=training)).drop_null()
    names = found.value_counts()
    return dict(zip(names.field("values").to_pylist(), names.field("counts").to_pylist(), strict=True))
