"""The pipeline of an identification: queries are embedded, searched for and named, some at a time.

    queries ─▶ unit vectors ─▶ nearest keys ─▶ evidence at each rank ─▶ confidence ─▶ rows of `ANSWERS`

Held at a time are some queries and the blocks of keys that stay ready, however many queries there are.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import Any, get_args

import pyarrow as pa

from workloads.arrays import Doubles, Mask
from workloads.errors import UsageError, some_of
from workloads.identification.alignment import aligned
from workloads.identification.answers import (
    ANSWERS,
    BELOW,
    DISAGREE,
    NAMELESS,
    NO_CALIBRATION,
    OFF_THE_LIST,
    ONE_KEY,
    SEVERAL_BINS,
    UNTRAINED,
    epithet,
    table_of,
)
from workloads.identification.calibration import Calibration
from workloads.identification.database import KEY_KINDS, Database, KeyKind
from workloads.identification.embedding import embedder_of
from workloads.identification.evidence import Neighbours, RankEvidence, all_evidence
from workloads.identification.keys_at_hand import KeysAtHand
from workloads.identification.picture_faults import faults_of
from workloads.identification.query import Query
from workloads.placement import Placement
from workloads.spec import RANKS, Rank

FIRST, TOGETHER = 64, 1024
"""Queries that are answered at a time: the first ones, and those after them."""
_MOST_BYTES = 64 << 20
"""Of the pictures of queries that are answered at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """What is asked of every query."""

    confidence: float = 0.95
    """Least confidence of a name that is given, above 0 and below 1."""
    rank: Rank | None = None
    """The deepest rank that is named; None: species."""
    k: int | None = None
    """Neighbours to list instead of a name."""
    within: Collection[str] | None = None
    """Taxa of any rank; keys of no other taxon are searched."""
    all_ranks: bool = False
    """Whether each rank has its row, with its confidence, whatever was asked."""

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise UsageError(f"--confidence {self.confidence:g}: it is a share, such as 0.95")
        if self.k is not None and self.k < 1:
            raise UsageError(f"--k {self.k}: list one neighbour at least")
        if self.k is not None and self.all_ranks:
            raise UsageError("--k lists neighbours and --all-ranks names; ask for one of them")
        if self.rank is not None and self.rank not in get_args(Rank):
            raise UsageError(f"--rank {self.rank}: it is one of {', '.join(RANKS)}")

    @property
    def ranks(self) -> tuple[Rank, ...]:
        """The ranks that are named, from the order down."""
        return RANKS if self.rank is None else RANKS[: RANKS.index(self.rank) + 1]


def identify(queries: Iterable[Query], database: Database, asking: Asking) -> Iterator[pa.Table]:
    """Answers to queries in their order, some at a time, the first after at most 64 of them.

    Args:
        queries: read as they are needed.
        database: whose keys they are compared with.
        asking: what is asked.

    Yields:
        Tables with the columns of `workloads.identification.answers.ANSWERS`.

    Raises:
        UsageError: no key is of a taxon that `within` names.
        DamagedError: the database is not what was written.
    """
    identifier = Identifier(database, asking)
    for some in in_parts(queries):
        yield identifier.answer(some).select(ANSWERS.names)


def in_parts(queries: Iterable[Query]) -> Iterator[list[Query]]:
    """Queries as they are answered together; where the cuts are is decided by the queries alone."""
    some: list[Query] = []
    most, size = FIRST, 0
    for query in queries:
        some.append(query)
        size += len(query.image) if isinstance(query.image, bytes) else 0
        if len(some) == most or size >= _MOST_BYTES:
            yield some
            some, most, size = [], TOGETHER, 0
    if some:
        yield some


@dataclass(frozen=True, slots=True)
class _Found:
    """What the keys of one modality say of those queries that have it."""

    kind: KeyKind
    place: Mapping[int, int]
    """Number of a query, and its row below."""
    neighbours: Neighbours
    at: Mapping[str, RankEvidence]
    """By rank."""
    confidence: Mapping[str, Doubles] | None
    """By rank; None without a calibration."""
    off_the_list: Mask
    """Whether a key that is not on the list of taxa is nearer, (rows,)."""


class Identifier:
    """Names queries by a database that is read once."""

    def __init__(self, database: Database, asking: Asking, placement: Placement | None = None) -> None:
        """Read names and models; keys are read with the first queries.

        Args:
            database: whose keys are searched.
            asking: what is asked of every query.
            placement: where a run's towers embed; this machine's processor if not said.
        """
        self.database, self.asking = database, asking
        self._embedder = embedder_of(database, placement)
        self._calibration = _calibration_of(database)
        kinds = [kind for kind in KEY_KINDS if kind in database.facts.modalities]
        self._keys = {kind: KeysAtHand(database, kind, asking.within) for kind in kinds}
        if not any(keys.num_chosen for keys in self._keys.values()):
            listed = some_of(sorted(asking.within or ()), 3)
            raise UsageError(f"no key of {database.folder} is of {listed}; `clibd db taxa` lists its names")

    @cached_property
    def unknown_taxa(self) -> list[str]:
        """Names of `within` that no specimen of the database has, sorted."""
        known = {name for rank in RANKS for name in self.database.labels[rank] if name is not None}
        return sorted(set(self.asking.within or ()) - known)

    def answer(self, queries: Sequence[Query]) -> pa.Table:
        """The answers to some queries, which are searched together; a table of `WITH_ALIGNMENT`."""
        return self.answers(queries, [self.asking])[0]

    def answers(self, queries: Sequence[Query], askings: Sequence[Asking]) -> list[pa.Table]:
        """The same to several questions about queries that are embedded and searched for once; their `within` is that
        of the identifier."""
        queries, found = list(queries), list[_Found]()
        for kind in KEY_KINDS:
            has = [
                n for n, query in enumerate(queries) if (query.image if kind == "image" else query.barcode) is not None
            ]
            if has and kind not in self._keys:
                for number in has:
                    queries[number] = queries[number].without(kind, f"the database has no keys of {_WORDS[kind]}")
            elif has and (one := self._found(kind, queries, has, max(asking.k or 0 for asking in askings))) is not None:
                found.append(one)
        return [
            table_of(
                [{**self._about(query), **row} for n, query in enumerate(queries) for row in rows(n, query, found)]
            )
            for rows in (partial(self._rows, asking) for asking in askings)
        ]

    def _found(self, kind: KeyKind, queries: list[Query], has: list[int], num_listed: int) -> _Found | None:
        """Embed and search; what cannot be embedded loses this modality."""
        vectors, problems = self._embedder.embed(kind, [queries[number] for number in has])
        good = [row for row, why in enumerate(problems) if why is None]
        for number, why in zip(has, problems, strict=True):
            query = queries[number]
            if why is not None:
                queries[number] = query.without(kind, why)
            elif isinstance(query.image, bytes) and kind == "image":
                queries[number] = replace(query, flags=(*query.flags, *faults_of(query.image)))
        keys = self._keys[kind]
        if not good or not keys.num_chosen:
            return None
        neighbours = keys.neighbours(vectors[good], num_listed)
        at = all_evidence(keys.labels, neighbours)
        off = keys.nearer_off_the_list(vectors[good], neighbours)
        place = {has[row]: number for number, row in enumerate(good)}
        return _Found(kind, place, neighbours, at, self._confidence(kind, at), off)

    def _confidence(self, kind: KeyKind, at: Mapping[str, RankEvidence]) -> Mapping[str, Doubles] | None:
        if self._calibration is None:
            return None
        try:
            return {rank: self._calibration.confidence(kind, rank, at[rank]) for rank in RANKS}
        except UsageError:  # calibrated for another modality alone; each answer says so
            return None

    def _about(self, query: Query) -> dict[str, Any]:
        synthetic = self.database.facts.synthetic
        return {"file_name": query.where or query.id, "specimen_id": query.id, "synthetic": synthetic}

    def _rows(self, asking: Asking, number: int, query: Query, found: Sequence[_Found]) -> Iterator[dict[str, Any]]:
        """The rows of one query."""
        having = [one for one in found if number in one.place]
        if not having:
            why = query.problem or "it has neither an image nor a barcode that can be compared"
            yield {"error": why, "flags": list(query.flags)}
            return
        best = having[-1]  # where there are both, barcodes tell species apart better
        flags = [*query.flags, *([DISAGREE] if self._disagree(asking, number, having) else [])]
        if asking.k is not None:
            yield from self._neighbour_rows(asking, number, query, best, flags)
            return
        asked = asking.ranks if asking.all_ranks else [self._holding(asking, number, best)]
        for rank in asked:
            yield self._named_row(asking, number, query, best, rank, flags)

    def _named(self, number: int, found: _Found, rank: Rank) -> tuple[str | None, float]:
        """Name and confidence of a query at a rank; a confidence of 1 stands in where there is no calibration."""
        row = found.place[number]
        sure = 1.0 if found.confidence is None else float(found.confidence[rank][row])
        return found.at[rank].name[row], sure

    def _holding(self, asking: Asking, number: int, found: _Found) -> Rank | None:
        """The deepest rank at which the confidence holds and that contradicts no name above it; None: no rank."""
        held: Rank | None = None
        above: dict[str, str] = {}
        for rank in asking.ranks:
            name, sure = self._named(number, found, rank)
            if name is None or sure < asking.confidence:
                continue
            lineage = self._keys[found.kind].lineage(rank, name)
            if any(lineage.get(upper) not in (None, other) for upper, other in above.items()):
                break
            held, above[rank] = rank, name
        return held

    def _disagree(self, asking: Asking, number: int, having: Sequence[_Found]) -> bool:
        """Whether the image and the barcode have different names at a rank at which both hold."""
        if len(having) < 2:
            return False
        ranks = RANKS if all(one.confidence is not None for one in having) else RANKS[:1]
        for rank in ranks:
            (one, sure), (other, as_sure) = (self._named(number, found, rank) for found in having)
            if None not in (one, other) and one != other and min(sure, as_sure) >= asking.confidence:
                return True
        return False

    def _named_row(
        self, asking: Asking, number: int, query: Query, found: _Found, rank: Rank | None, flags: Sequence[str]
    ) -> dict[str, Any]:
        """The row of a rank; with None that of a query of which no rank holds, with its nearest key all the same."""
        keys, row = self._keys[found.kind], found.place[number]
        name, sure = (None, 0.0) if rank is None else self._named(number, found, rank)
        nearest = found.neighbours.keys[row]
        key = int(nearest[0]) if rank is None or name is None else keys.first_of(nearest, rank, name)
        similarity = float(found.neighbours.cosines[row][nearest == key][0])
        answer: dict[str, Any] = {"evidence": found.kind, "rank": rank, "similarity": similarity}
        said = list(flags)
        if rank is not None and name is not None:
            evidence = found.at[rank]
            answer |= {**keys.lineage(rank, name), rank: name, "num_keys": keys.num_keys(rank, name)}
            answer |= {"score": None if found.confidence is None else sure, "runner_up": evidence.runner_up[row]}
            if answer["runner_up"] is not None:
                answer["runner_up_score"] = float(evidence.rival[row])
            answer["species_epithet"] = epithet(answer.get("species"))
            said += [ONE_KEY] if answer["num_keys"] == 1 else []
            said += [BELOW] if sure < asking.confidence else []
            said += [SEVERAL_BINS] if rank == RANKS[-1] and keys.num_bins(rank, name) > 1 else []
        elif rank is None and not any(found.at[each].name[row] is not None for each in RANKS):
            said.append(NAMELESS)
        said += [NO_CALIBRATION] if found.confidence is None else []
        said += [OFF_THE_LIST] if found.off_the_list[row] else []
        said += [UNTRAINED] if keys.untrained(int(nearest[0])) else []
        beside = self._beside(query, found.kind, key)
        return {**answer, **beside, "bin": keys.bin(int(nearest[0])), "flags": said}

    def _neighbour_rows(
        self, asking: Asking, number: int, query: Query, found: _Found, flags: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        """A row for each of the nearest keys, with the names that most of its specimens have."""
        keys, row = self._keys[found.kind], found.place[number]
        nearest, cosines = found.neighbours.keys[row], found.neighbours.cosines[row]
        for key, cosine in zip(nearest[: asking.k].tolist(), cosines.tolist(), strict=False):
            names = {rank: keys.labels[rank][key] for rank in asking.ranks}
            said = [*flags, *([UNTRAINED] if keys.untrained(key) else [])]
            answer = {"evidence": found.kind, **names, "species_epithet": epithet(names.get("species"))}
            beside = self._beside(query, found.kind, key)
            yield {**answer, **beside, "similarity": cosine, "bin": keys.bin(key), "flags": said}

    def _beside(self, query: Query, kind: KeyKind, key: int) -> dict[str, Any]:
        """The first specimen of a key, and how the query's barcode lies beside its own."""
        specimen = self._keys[kind].specimen(key)
        barcode = self.database.specimens["barcode"][specimen].as_py()
        nearest = {"nearest_id": self.database.specimens["specimen_id"][specimen].as_py()}
        if not query.barcode or not barcode:
            return nearest
        alignment = aligned(query.barcode, barcode)
        identity = alignment.identity if alignment.length else None
        return {**nearest, "identity": identity, "alignment": asdict(alignment)}


def _calibration_of(database: Database) -> Calibration | None:
    """None where the database has none, which each of its answers says."""
    try:
        return Calibration.of(database)
    except UsageError:
        return None


_WORDS: Mapping[KeyKind, str] = {"image": "images", "dna": "barcodes"}
