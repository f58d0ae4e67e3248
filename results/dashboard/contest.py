"""Two evaluations of the same queries, compared once and kept: differences with their tests, and names won and lost."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from results.dashboard.accuracies import SUBSETS
from results.dashboard.catalog import Catalog
from results.dashboard.summaries import summaries
from results.evaluated import EvaluatedFolder, PairedAnswers, paired
from results.sweep_status import Standing
from workloads.arrays import Codes, Indices
from workloads.arrays import Names as Taxa
from workloads.errors import IncomparableError
from workloads.spec import RANKS, Rank

if TYPE_CHECKING:
    from results.comparison.compare import Comparison

_BESIDE = ("random_key", "majority")
_TURN = threading.Lock()
"""One comparison at a time, as each takes a core for seconds."""


@dataclass(frozen=True, slots=True)
class Names:
    """How many names of a rank were answered better by either."""

    first: int = 0
    second: int = 0
    alike: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Name:
    """One name, such as a species: how many of its queries either answered rightly."""

    name: str
    subset: str
    queries: int
    first: int
    second: int


@dataclass(frozen=True, slots=True)
class ByName:
    """Right answers by name of a rank, in the order of the codes that have queries."""

    names: Sequence[str]
    subset: Sequence[str]
    queries: Indices
    first: Indices
    second: Indices

    def at(self, places: Indices) -> tuple[Name, ...]:
        """Some of them."""
        return tuple(
            Name(
                name=self.names[n],
                subset=self.subset[n],
                queries=int(self.queries[n]),
                first=int(self.first[n]),
                second=int(self.second[n]),
            )
            for n in places
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Contest:
    """The second evaluation against the first, in one retrieval of one partition."""

    rows: "tuple[Comparison, ...]"
    """By rank, average and subset, corrected over all of them."""
    by_name: Mapping[Rank, ByName]
    beside: Mapping[tuple[str, str, str], Mapping[str, float]]
    """By rank, average and subset, what chance and majority reach."""
    num_queries: int
    same_data: bool
    """Whether both were evaluated on the same version of the data set."""

    def won(self, rank: Rank, most: int) -> tuple[Name, ...]:
        """Names of whose queries the second answered more, most of all first."""
        return self._best(rank, most, 1)

    def lost(self, rank: Rank, most: int) -> tuple[Name, ...]:
        """Names of whose queries the first answered more, most of all first."""
        return self._best(rank, most, -1)

    def tally(self, rank: Rank) -> Names:
        """How many names there are of each kind."""
        difference = self.by_name[rank].second - self.by_name[rank].first
        return Names(int((difference < 0).sum()), int((difference > 0).sum()), int((difference == 0).sum()))

    def _best(self, rank: Rank, most: int, sign: int) -> tuple[Name, ...]:
        own = self.by_name[rank]
        gained = sign * (own.second - own.first)
        order = np.lexsort((-gained / own.queries, -gained))[:most]
        return own.at(order[gained[order] > 0])


def best_two(catalog: Catalog, standings: Sequence[Standing]) -> tuple[str, str] | None:
    """The two best runs among some points, of one data set; None where there are no two."""
    there = {*catalog.finished()}
    own = summaries(catalog, [one for one in standings if one.run in there])
    known = [one for one in own.values() if one.chief and catalog.evaluations(one.run)]
    known.sort(key=lambda one: one.chief.value if one.chief else 0.0, reverse=True)
    others = [one for one in known[1:] if one.dataset == known[0].dataset]
    return (known[0].run, others[0].run) if others else None


def contest(catalog: Catalog, first: str, second: str, partition: str, pair: tuple[str, str]) -> Future[Contest]:
    """Compare two evaluations in one retrieval, at every rank, in a thread: ten thousand permutations take seconds.

    Its result raises `IncomparableError` where they were not asked the same.

    Raises:
        NotThereError: one of them is not there.
    """
    versions = [catalog.now.version(catalog.place(name.partition("/")[0])) for name in (first, second)]
    one, other = catalog.evaluated(first), catalog.evaluated(second)

    def begun() -> Future[Contest]:
        beside = _beside(catalog, first, partition, pair)
        return _in_a_thread(lambda: _contest(one, other, partition, pair, beside))

    return catalog.kept(("contest", first, second, partition, pair, *versions), begun)


def _in_a_thread(make: Callable[[], Contest]) -> Future[Contest]:
    """What is being made; the thread ends with the process, which an executor's would hold up."""
    made: Future[Contest] = Future()

    def work() -> None:
        try:
            with _TURN:
                made.set_result(make())
        except Exception as error:  # raised for whoever asks for the result
            made.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return made


def _contest(
    one: EvaluatedFolder,
    other: EvaluatedFolder,
    partition: str,
    pair: tuple[str, str],
    beside: Mapping[tuple[str, str, str], Mapping[str, float]],
) -> Contest:
    from results.comparison.compare import compare  # statsmodels and scipy take a second

    pairing = paired(one, other, partition, [pair])
    [both] = pairing.pairs
    missing = pairing.facts["missing_rank"]
    rows = compare([both], missing, RANKS)
    if not rows:
        raise IncomparableError(str(one.folder), str(other.folder), "no query has a name at any rank")
    return Contest(
        rows=tuple(rows),
        by_name={rank: _by_name(both, rank, one.predictions.names(rank)) for rank in RANKS},
        beside=beside,
        num_queries=len(both[0]),
        same_data=pairing.same_data,
    )


def _by_name(both: PairedAnswers, rank: Rank, names: Taxa) -> ByName:
    first = both[0]
    counted = first.counted(rank, "left_out")
    truth: Codes = first.truth[rank][counted]
    codes, begin, place, queries = np.unique(truth, return_index=True, return_inverse=True, return_counts=True)
    right = [np.bincount(place, own.hits(rank)[counted], len(codes)).astype(int) for own in both]
    subset = first.subset[counted][begin]
    return ByName([str(names[code]) for code in codes], [str(each) for each in subset], queries, right[0], right[1])


def _beside(
    catalog: Catalog, evaluation: str, partition: str, pair: tuple[str, str]
) -> dict[tuple[str, str, str], dict[str, float]]:
    """What has learned nothing, where the run has measured it; both have the same queries and keys."""
    run = catalog.run(evaluation.partition("/")[0])
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    usual = {"partition": partition, "query": pair[0], "key": pair[1], "metric": "top1"}
    for rank, average, subset, method in product(RANKS, ("macro", "micro"), SUBSETS, _BESIDE):
        where = {"method": method, "average": average, "level": rank, "species": subset, **usual}
        if measured := run.find(where):
            found.setdefault((rank, average, subset), {})[method] = measured.value
    return found
