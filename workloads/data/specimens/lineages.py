"""Lineages that contradict each other: one taxon under two parents, homonyms, and species called after another genus.

Nothing is merged or mended here; what is found is told to the user.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from workloads.spec import RANKS

Lineage = tuple[str | None, str | None, str | None, str | None]
"""Order, family, genus and species; None where unknown."""

_Upper = tuple[str | None, ...]
_GENUS, _SPECIES = RANKS.index("genus"), RANKS.index("species")


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One taxon whose lineages cannot all be right."""

    kind: Literal["contradictory", "homonym", "misnamed"]
    """`contradictory`: a taxon under two parents; `homonym`: a genus under two orders, where two taxa probably share a
    name; `misnamed`: a species whose first word is another name than its genus."""
    rank: str
    name: str
    parents: tuple[tuple[str, int], ...]
    """What the taxon stands under, such as `family Carabidae (Coleoptera)`, and in how many records; the most frequent
    come first."""

    def __str__(self) -> str:
        said = {
            "contradictory": "contradictory lineage",
            "homonym": "homonym, or a contradictory lineage",
            "misnamed": "its name does not begin with its genus",
        }[self.kind]
        parents = ", ".join(f"{parent} {count:,}x" for parent, count in self.parents)
        return f"{self.rank} {self.name}: {said}: {parents}"


def contradictions(lineages: Iterable[Lineage]) -> list[Contradiction]:
    """What cannot be right about the lineages of a data set, by rank and name.

    Two lineages of a taxon contradict each other at the lowest rank above it that both of them know, if the names there
    differ. If these names agree, the taxon is in order, and what may differ further up is said of its parent. Missing
    ranks contradict nothing.

    Args:
        lineages: one a record, cleaned; only the distinct ones are held.
    """
    counts = Counter(lineages)
    found = []
    for rank in range(1, len(RANKS)):
        uppers: defaultdict[str, Counter[_Upper]] = defaultdict(Counter)
        for lineage, count in counts.items():
            name = lineage[rank]
            if name is not None:
                uppers[name][lineage[:rank]] += count
        found += [part for name in sorted(uppers) if (part := _parted(rank, name, uppers[name])) is not None]
    return found + _misnamed(counts)


def _parted(rank: int, name: str, uppers: Mapping[_Upper, int]) -> Contradiction | None:
    """A taxon under two parents, if it is one."""
    where: int | None = rank - 1
    if len({upper[-1] for upper in uppers if upper[-1] is not None}) < 2:
        partings = (_parting(one, other) for one, other in combinations(uppers, 2))
        where = max((parting for parting in partings if parting is not None), default=None)
    if where is None:
        return None
    orders = {upper[0] for upper in uppers if upper[where] is not None and upper[0] is not None}
    kind: Literal["homonym", "contradictory"] = "homonym" if rank == _GENUS and len(orders) > 1 else "contradictory"
    return Contradiction(kind, RANKS[rank], name, _parents(where, uppers))


def _parting(one: _Upper, other: _Upper) -> int | None:
    """The lowest rank that both know, if they differ there."""
    for rank in reversed(range(len(one))):
        if one[rank] is not None and other[rank] is not None:
            return rank if one[rank] != other[rank] else None
    return None


def _parents(rank: int, uppers: Mapping[_Upper, int]) -> tuple[tuple[str, int], ...]:
    """Parents at a rank with their order, and their numbers of records."""
    counts: Counter[str] = Counter()
    for upper, count in uppers.items():
        if upper[rank] is not None:
            order = f" ({upper[0]})" if rank > 0 and upper[0] is not None else ""
            counts[f"{RANKS[rank]} {upper[rank]}{order}"] += count
    return _by_count(counts)


def _misnamed(counts: Mapping[Lineage, int]) -> list[Contradiction]:
    """Species whose first word is not their genus."""
    genera: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for lineage, count in counts.items():
        genus, species = lineage[_GENUS], lineage[_SPECIES]
        if genus is not None and species is not None and species.split()[:1] != [genus]:
            genera[species][f"genus {genus}"] += count
    return [Contradiction("misnamed", "species", name, _by_count(genera[name])) for name in sorted(genera)]


def _by_count(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
