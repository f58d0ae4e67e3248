"""The pipeline of an identification: queries are embedded, searched for and named, some at a time.

    queries ─▶ unit vectors ─▶ nearest keys ─▶ evidence at each rank ─▶ confidence ─▶ rows of `ANSWERS`

Held at a time are some queries and the blocks of keys that stay ready, however many queries there are.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, get_args

import pyarrow as pa

from workloads.arrays import Doubles
from workloads.errors import UsageError, some_of
from workloads.identification.answers import ANSWERS, table_of
from workloads.identification.calibration import Calibration, with_those_above
from workloads.identification.cases import Case, Found, JointOf
from workloads.identification.confidence import USUAL
from workloads.identification.database import KEY_KINDS, KEY_WORDS, Database, KeyKind
from workloads.identification.embedding import embedder_of
from workloads.identification.evidence import RankEvidence, all_evidence
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

    confidence: float = USUAL
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


class Identifier:
    """Names queries by a database that is read once."""

    def __init__(self, database: Database, asking: Asking, placement: Placement | None = None) -> None:
        """Read names and models; keys are read with the first queries.

        Args:
            database: whose keys are searched.
            asking: what is asked of every query.
            placement: where a run's towers embed; this machine's processor if not said.

        Raises:
            UsageError: no key is of a taxon that `within` names.
            DamagedError: the database is not what was written.
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
        unknown = set(self.asking.within or ())
        for rank in RANKS if unknown else ():
            unknown -= set(self.database.labels[rank])
        return sorted(unknown)

    def answer(self, queries: Sequence[Query]) -> pa.Table:
        """The answers to some queries, which are searched together; a table of `WITH_ALIGNMENT`."""
        return self.answers(queries, [self.asking])[0]

    def answers(self, queries: Sequence[Query], askings: Sequence[Asking]) -> list[pa.Table]:
        """The same to several questions about queries that are embedded and searched for once.

        Args:
            queries: as many as can be held.
            askings: the questions; they are `within` the taxa of the identifier's own.
        """
        asked, found = list(queries), dict[KeyKind, Found]()
        for kind in KEY_KINDS:
            has = [number for number, query in enumerate(asked) if _brings(query, kind)]
            if has and kind not in self._keys:
                for number in has:
                    asked[number] = asked[number].without(kind, f"the database has no keys of {KEY_WORDS[kind]}")
            elif has and (one := self._found(kind, asked, has, max(asking.k or 0 for asking in askings))) is not None:
                found[kind] = one
        joint = self._joint(found)
        return [self._table(asking, asked, found, joint) for asking in askings]

    def _table(
        self, asking: Asking, asked: Sequence[Query], found: Mapping[KeyKind, Found], joint: JointOf | None
    ) -> pa.Table:
        rows = list[dict[str, Any]]()
        for number, query in enumerate(asked):
            own = {kind: one for kind, one in found.items() if number in one.place}
            said: dict[str, Any] = {"file_name": query.where or query.id, "specimen_id": query.id}
            said["synthetic"] = self.database.facts.synthetic
            case = Case(query, number, own, joint if len(own) == len(KEY_KINDS) else None, asking)
            rows += [{**said, **row} for row in case.rows()]
        return table_of(rows)

    def _found(self, kind: KeyKind, queries: list[Query], has: list[int], num_listed: int) -> Found | None:
        """Embed and search; what cannot be embedded loses this modality."""
        vectors, problems = self._embedder.embed(kind, [queries[number] for number in has])
        good = [row for row, why in enumerate(problems) if why is None]
        for number, why in zip(has, problems, strict=True):
            query = queries[number]
            if why is not None:
                queries[number] = query.without(kind, why)
            elif kind == "image" and isinstance(query.image, bytes):
                queries[number] = replace(query, flags=(*query.flags, *faults_of(query.image)))
        keys = self._keys[kind]
        if not good or not keys.num_chosen:
            return None
        neighbours = keys.neighbours(vectors[good], num_listed)
        compares = kind == "dna" and self._calibration is not None
        barcodes = [queries[has[row]].barcode for row in good] if compares else None
        at = all_evidence(keys.labels, neighbours, barcodes, keys.barcode)
        place = {has[row]: number for number, row in enumerate(good)}
        off = keys.nearer_off_the_list(vectors[good], neighbours)
        return Found(keys, place, neighbours, at, self._confidence(kind, at), off)

    def _confidence(self, kind: KeyKind, at: Mapping[str, RankEvidence]) -> dict[str, Doubles] | None:
        if self._calibration is None:
            return None
        try:
            sure = {rank: self._calibration.confidence(kind, rank, at[rank]) for rank in RANKS}
        except UsageError:  # calibrated for another modality alone; each answer says so
            return None
        sure = with_those_above(sure, {rank: at[rank].name for rank in RANKS}, self._keys[kind].lineage)
        return {rank: sure[rank] for rank in RANKS}

    def _joint(self, found: Mapping[KeyKind, Found]) -> JointOf | None:
        """By rank what image and barcode say together, and the row of each query that has both; None where the
        database was not calibrated for both."""
        if len(found) < len(KEY_KINDS) or self._calibration is None:
            return None
        both = [number for number in found["image"].place if number in found["dna"].place]
        place = {number: row for row, number in enumerate(both)}
        try:
            joint = {
                rank: self._calibration.joint(rank, *(found[kind].part(both, rank) for kind in KEY_KINDS))
                for rank in RANKS
            }
        except UsageError:
            return None
        sure = with_those_above(
            {rank: one.confidence for rank, one in joint.items()},
            {rank: one.name for rank, one in joint.items()},
            self._keys["dna"].lineage,
        )
        return {rank: (replace(one, confidence=sure[rank]), place) for rank, one in joint.items()}


def _brings(query: Query, kind: KeyKind) -> bool:
    return (query.image if kind == "image" else query.barcode) is not None


def _calibration_of(database: Database) -> Calibration | None:
    """None where the database has none, which each of its answers says."""
    try:
        return Calibration.of(database)
    except UsageError:
        return None
