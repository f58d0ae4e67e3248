"""One query and what the keys say of it: its name at each rank, the deepest rank that holds, flags, and its rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.arrays import Doubles, Mask
from workloads.identification.alignment import aligned
from workloads.identification.answers import (
    BELOW,
    DISAGREE,
    NAMELESS,
    NO_CALIBRATION,
    OFF_THE_LIST,
    ONE_KEY,
    SEVERAL_BINS,
    UNTRAINED,
    epithet,
)
from workloads.identification.calibration import Joint
from workloads.identification.database import KeyKind
from workloads.identification.evidence import Neighbours, RankEvidence
from workloads.identification.keys_at_hand import KeysAtHand
from workloads.identification.query import Evidence, Query
from workloads.spec import RANKS, Rank

if TYPE_CHECKING:
    from workloads.identification.identifying import Asking
JointOf = Mapping[str, tuple[Joint, Mapping[int, int]]]
"""By rank what image and barcode say together, and the row of each query that has both."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the keys of one modality say of those queries that have it."""

    keys: KeysAtHand
    place: Mapping[int, int]
    """Number of a query, and its row below."""
    neighbours: Neighbours
    at: Mapping[str, RankEvidence]
    """By rank."""
    confidence: Mapping[str, Doubles] | None
    """By rank; None without a calibration."""
    off_the_list: Mask
    """Whether a key that is not on the list of taxa is nearer, (rows,)."""

    def part(self, queries: Sequence[int], rank: str) -> RankEvidence:
        """The evidence at a rank of some queries."""
        return self.at[rank].part(np.array([self.place[number] for number in queries], dtype=np.int64))


@dataclass(frozen=True, slots=True)
class _Name:
    """A name at one rank."""

    name: str | None
    confidence: float | None
    """None without a calibration, where every name counts as sure."""
    found: Found
    """By whose keys it was given."""

    def holds(self, asked: float) -> bool:
        """Whether it may be given."""
        return self.name is not None and (self.confidence is None or self.confidence >= asked)


class Case:
    """One query."""

    def __init__(
        self,
        query: Query,
        number: int,
        found: Mapping[KeyKind, Found],
        joint: JointOf | None,
        asking: "Asking",
    ) -> None:
        """Take what was found.

        Args:
            query: what was asked.
            number: of it among those that were searched together.
            found: by the modalities that it has.
            joint: what both say together, by rank; None where that is not known.
            asking: what is asked.
        """
        self._query, self._number, self._found, self._joint, self._asking = query, number, found, joint, asking
        calibrated = [kind for kind, one in found.items() if one.confidence is not None]
        self._by: KeyKind | None = (calibrated or list(found))[-1] if found else None  # barcodes tell more apart
        evidence: Evidence | None = self._by if joint is None else "both"
        self._evidence = evidence

    def rows(self) -> Iterator[dict[str, Any]]:
        """Its rows."""
        if self._by is None:
            why = self._query.problem or "it has neither an image nor a barcode that can be compared"
            yield {"error": why, "flags": list(self._query.flags)}
            return
        flags = [*self._query.flags, *([DISAGREE] if self._disagree() else [])]
        if self._asking.k is not None:
            yield from self._neighbours(self._found[self._by], flags)
        elif self._asking.all_ranks:
            for rank in self._asking.ranks:
                yield self._named(rank, self._at(rank), flags)
        elif (held := self._holding()) is None:
            yield self._nameless(self._found[self._by], flags)
        else:
            yield self._named(held, self._at(held), flags)

    def _at(self, rank: Rank) -> _Name:
        assert self._by is not None, "a query without evidence has no name"
        if self._joint is None:
            return self._of(self._found[self._by], rank)
        joint, place = self._joint[rank]
        row = place[self._number]
        found = self._found["dna" if joint.by_dna[row] else "image"]
        return _Name(joint.name[row], float(joint.confidence[row]), found)

    def _of(self, found: Found, rank: Rank) -> _Name:
        row = found.place[self._number]
        sure = None if found.confidence is None else float(found.confidence[rank][row])
        return _Name(found.at[rank].name[row], sure, found)

    def _holding(self) -> Rank | None:
        """The deepest rank at which the confidence holds and that contradicts no name above it; None: no rank."""
        held: Rank | None = None
        above: dict[str, str] = {}
        for rank in self._asking.ranks:
            given = self._at(rank)
            if given.name is None or not given.holds(self._asking.confidence):
                continue
            lineage = given.found.keys.lineage(rank, given.name)
            if any(lineage.get(upper) not in (None, other) for upper, other in above.items()):
                break
            held, above[rank] = rank, given.name
        return held

    def _disagree(self) -> bool:
        """Whether the image and the barcode have different names at a rank at which both hold."""
        if len(self._found) < 2:
            return False
        calibrated = all(one.confidence is not None for one in self._found.values())
        for rank in RANKS if calibrated else RANKS[:1]:  # without a calibration every name holds, also wrong ones
            names = [self._of(found, rank) for found in self._found.values()]
            if all(each.holds(self._asking.confidence) for each in names) and names[0].name != names[1].name:
                return True
        return False

    def _named(self, rank: Rank, given: _Name, flags: Sequence[str]) -> dict[str, Any]:
        """The row of a rank; with its confidence where one is known, held or not."""
        if given.name is None:
            return {**self._nameless(given.found, [*flags, BELOW]), "rank": rank}
        keys, row, name = given.found.keys, given.found.place[self._number], given.name
        nearest, evidence = given.found.neighbours.keys[row], given.found.at[rank]
        key, num_keys = keys.first_of(nearest, rank, name), keys.num_keys(rank, name)
        answer: dict[str, Any] = {"rank": rank, **keys.lineage(rank, name), rank: name, "score": given.confidence}
        answer |= {"num_keys": num_keys, "similarity": float(given.found.neighbours.cosines[row][nearest == key][0])}
        answer |= {"species_epithet": epithet(answer.get("species"))}
        if (rival := evidence.runner_up[row]) is not None and rival != name:
            answer |= {"runner_up": rival, "runner_up_score": float(evidence.rival[row])}
        said = [ONE_KEY] if num_keys == 1 else []
        said += [SEVERAL_BINS] if rank == RANKS[-1] and keys.num_bins(rank, name) > 1 else []
        said += [] if given.holds(self._asking.confidence) else [BELOW]
        return {**answer, **self._common(given.found, key, [*flags, *said])}

    def _nameless(self, found: Found, flags: Sequence[str]) -> dict[str, Any]:
        """The row of a query of which no rank holds, with its nearest key all the same."""
        row = found.place[self._number]
        said = [] if any(found.at[rank].name[row] is not None for rank in RANKS) else [NAMELESS]
        similarity = float(found.neighbours.cosines[row, 0])
        key = int(found.neighbours.keys[row, 0])
        return {"similarity": similarity, **self._common(found, key, [*flags, *said])}

    def _common(self, found: Found, key: int, flags: Sequence[str]) -> dict[str, Any]:
        """What every row says, beside a key."""
        row = found.place[self._number]
        first = int(found.neighbours.keys[row, 0])
        said = [NO_CALIBRATION] if found.confidence is None else []
        said += [OFF_THE_LIST] if found.off_the_list[row] else []
        said += [UNTRAINED] if found.keys.untrained(first) else []
        beside = self._beside(found.keys, key)
        return {"evidence": self._evidence, "bin": found.keys.bin(first), "flags": [*flags, *said], **beside}

    def _neighbours(self, found: Found, flags: Sequence[str]) -> Iterator[dict[str, Any]]:
        """A row for each of the nearest keys, with the names that most of its specimens have."""
        row, keys = found.place[self._number], found.keys
        nearest, cosines = found.neighbours.keys[row], found.neighbours.cosines[row]
        for key, cosine in zip(nearest[: self._asking.k].tolist(), cosines.tolist(), strict=False):
            names: dict[str, Any] = {rank: keys.labels[rank][key] for rank in self._asking.ranks}
            said = [*flags, *([UNTRAINED] if keys.untrained(key) else [])]
            answer: dict[str, Any] = {**names, "species_epithet": epithet(names.get("species")), "similarity": cosine}
            answer |= {"evidence": self._by, "bin": keys.bin(key), "flags": said}
            yield {**answer, **self._beside(keys, key)}

    def _beside(self, keys: KeysAtHand, key: int) -> dict[str, Any]:
        """The first specimen of a key, and how the query's barcode lies beside its own."""
        barcode = keys.barcode(key)
        nearest = {"nearest_id": keys.specimen_id(key)}
        if not self._query.barcode or not barcode:
            return nearest
        alignment = aligned(self._query.barcode, barcode)
        identity = alignment.identity if alignment.length else None
        return {**nearest, "identity": identity, "alignment": asdict(alignment)}
