"""Measures the promise of a confidence on named specimens that are not in the database.

A cell is one rank, one kind of evidence and one group: specimens whose species is in the database, and others. Tested
is what is promised (`workloads.identification.confidence`), by a one-sided exact binomial test for each cell, corrected
by Holm's method over all of them: a refuted promise is one that chance does not explain.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from scipy import stats

from workloads.arrays import Doubles, Mask, Names
from workloads.command_line import Tell
from workloads.errors import UsageError
from workloads.identification.calibration import GROUPS, Calibration, GroupName, with_those_above
from workloads.identification.confidence import FEWEST, USUAL
from workloads.identification.database import KEY_KINDS, Database, KeyKind
from workloads.identification.embedding import Embedder
from workloads.identification.evidence import RankEvidence, all_evidence
from workloads.identification.keys_at_hand import KeysAtHand
from workloads.identification.query import Evidence
from workloads.identification.writing import Known
from workloads.spec import RANKS, Rank

_SIGNIFICANT = 0.05
Verdict = Literal["holds", "refuted", "too few"]
NAMED = pa.schema(
    [
        ("specimen_id", pa.string()),
        ("evidence", pa.string()),  # image, dna or both
        ("rank", pa.string()),
        ("group", pa.string()),  # known: its species is in the database; other: its taxon of the rank; outside: neither
        ("truth", pa.string()),
        ("name", pa.string()),  # the best there is, whatever its confidence
        ("confidence", pa.float64()),
        ("right", pa.bool_()),
    ]
)
"""A row for each specimen, rank and kind of evidence."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What became of one rank, kind of evidence and group."""

    evidence: str
    rank: str
    group: str
    num_specimens: int
    num_given: int
    """Names with at least the asked confidence."""
    num_right: int
    asked: float
    """The confidence."""
    p: float | None = None
    """One-sided, exact, that so few names are right, or that so many are given, by chance; None of too few."""
    p_holm: float | None = None

    @property
    def strangers(self) -> bool:
        """Whether no name is right, so that the share which gets one is bounded."""
        return self.group == "outside" or (self.rank == RANKS[-1] and self.group == "other")

    @property
    def verdict(self) -> Verdict:
        """Of fewer than 50 names, or strangers, nothing is said."""
        if self.p_holm is None:
            return "too few"
        return "refuted" if self.p_holm < _SIGNIFICANT else "holds"


@dataclass(frozen=True, slots=True)
class Checked:
    """The promise on some specimens."""

    cells: tuple[Cell, ...]
    named: pa.Table
    """Of `NAMED`."""
    num_keys_themselves: int = 0
    """Specimens that are in the database by their id, which were not asked about."""
    num_without_species: int = 0

    @property
    def verdict(self) -> str:
        """All of it in words."""
        counts = {word: sum(cell.verdict == word for cell in self.cells) for word in ("holds", "refuted", "too few")}
        asked = f"{100 * self.cells[0].asked:g} %" if self.cells else "no confidence"
        if counts["refuted"]:
            where = "; ".join(f"{c.rank} by {c.evidence}, {c.group}" for c in self.cells if c.verdict == "refuted")
            return f"The promise of {asked} is refuted in {counts['refuted']} of {len(self.cells)} cells: {where}"
        if not counts["holds"]:
            return f"Nothing can be said of the promise of {asked}: every cell has fewer than {FEWEST} names"
        few = (
            f"; {counts['too few']} others have fewer than {FEWEST} names and say nothing" if counts["too few"] else ""
        )
        return f"The promise of {asked} is not refuted in any of {counts['holds']} cells{few}"

    def facts(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        cells = [{**asdict(cell), "verdict": cell.verdict} for cell in self.cells]
        counts = {"num_keys_themselves": self.num_keys_themselves, "num_without_species": self.num_without_species}
        return {"verdict": self.verdict, **counts, "cells": cells}


def check(
    database: Database,
    embedder: Embedder,
    known: Iterable[Sequence[Known]],
    confidence: float = USUAL,
    tell: Tell | None = None,
) -> Checked:
    """Name specimens and compare with what they are.

    Args:
        database: with a calibration.
        embedder: of its run, or of k-mers.
        known: specimens with their names, some at a time; of those with one id as a key, and of those without a
            species, only the number is kept.
        confidence: what is asked for, above 0 and below 1.
        tell: is told how many specimens are done.

    Raises:
        UsageError: the database has no calibration, or no specimen is left to ask about.
    """
    checker = _Checker(database, embedder)
    parts, themselves, nameless, done = list[pa.Table](), 0, 0, 0
    for some in known:
        named = [one for one in some if one.names.get(RANKS[-1]) is not None]
        fresh = [one for one in named if one.query.id not in checker.ids]
        nameless, themselves = nameless + len(some) - len(named), themselves + len(named) - len(fresh)
        parts += checker.named(fresh)
        done += len(some)
        if tell is not None:
            tell(done, None)
    if not sum(map(len, parts)):
        raise UsageError(
            f"of {done:,} specimens none can check {database.folder}: {nameless:,} have no species, "
            f"{themselves:,} are in the database themselves; give specimens that it does not hold, with their species"
        )
    table = pa.concat_tables(parts)
    return Checked(cells_of(table, confidence), table, themselves, nameless)


def cells_of(named: pa.Table, asked: float) -> tuple[Cell, ...]:
    """The promise by cell, tested and corrected.

    Args:
        named: rows of `NAMED`.
        asked: the confidence that is asked for.
    """
    frame = named.to_pandas()
    cells = []
    for (evidence, rank, group), rows in frame.groupby(["evidence", "rank", "group"], sort=False):
        given = rows["confidence"] >= asked
        cell = Cell(evidence, rank, group, len(rows), int(given.sum()), int((given & rows["right"]).sum()), asked)
        cells.append(replace(cell, p=_p_of(cell)))
    order = {word: place for place, word in enumerate(("image", "dna", "both", *RANKS, *GROUPS))}
    cells.sort(key=lambda cell: [order[word] for word in (cell.evidence, cell.rank, cell.group)])
    return tuple(_corrected(cells))


def _p_of(cell: Cell) -> float | None:
    if cell.strangers:
        if cell.num_specimens < FEWEST:
            return None
        return float(stats.binomtest(cell.num_given, cell.num_specimens, 1 - cell.asked, alternative="greater").pvalue)
    if cell.num_given < FEWEST:
        return None
    return float(stats.binomtest(cell.num_right, cell.num_given, cell.asked, alternative="less").pvalue)


def _corrected(cells: Sequence[Cell]) -> Iterator[Cell]:
    """Holm's correction over the cells that have a p-value."""
    from statsmodels.stats.multitest import multipletests  # a second of imports that identifying does not need

    tested = [cell.p for cell in cells if cell.p is not None]
    corrected = iter(multipletests(tested, method="holm")[1].tolist() if tested else ())
    for cell in cells:
        yield cell if cell.p is None else replace(cell, p_holm=float(next(corrected)))


class _Checker:
    """Names specimens at every rank by all that they bring."""

    def __init__(self, database: Database, embedder: Embedder) -> None:
        self._embedder = embedder
        self._calibration = Calibration.of(database)
        kinds = [kind for kind in KEY_KINDS if kind in database.facts.modalities and kind in embedder.kinds]
        self._keys = {kind: KeysAtHand(database, kind) for kind in kinds}
        self._names = {rank: frozenset(database.labels[rank]) for rank in RANKS}
        self.ids = frozenset(database.specimens["specimen_id"].to_pylist())

    def named(self, known: Sequence[Known]) -> Iterator[pa.Table]:
        """The rows of some specimens, by each kind of evidence that there is a calibration for."""
        found = {kind: self._found(kind, known) for kind in self._keys}
        for kind, (places, at) in found.items():
            if kind in self._calibration.evidences and len(places):
                sure = {rank: self._calibration.confidence(kind, rank, at[rank]) for rank in RANKS}
                names = {rank: at[rank].name for rank in RANKS}
                yield from self._at_ranks([known[place] for place in places], kind, names, sure)
        if "both" in self._calibration.evidences and len(found) == len(KEY_KINDS):
            (image, by_image), (dna, by_dna) = (found[kind] for kind in KEY_KINDS)
            shared, *own = np.intersect1d(image, dna, return_indices=True)
            if not len(shared):
                return
            parts = {rank: (by_image[rank].part(own[0]), by_dna[rank].part(own[1])) for rank in RANKS}
            joint = {rank: self._calibration.joint(rank, *part) for rank, part in parts.items()}
            names, sure = ({rank: getattr(one, what) for rank, one in joint.items()} for what in ("name", "confidence"))
            yield from self._at_ranks([known[place] for place in shared], "both", names, sure)

    def _at_ranks(
        self, some: Sequence[Known], evidence: Evidence, names: Mapping[Rank, Names], sure: Mapping[Rank, Doubles]
    ) -> Iterator[pa.Table]:
        lineage = self._keys["image" if evidence == "image" else "dna"].lineage
        sure = with_those_above(sure, names, lineage)
        for rank in RANKS:
            yield self._rows(some, evidence, rank, names[rank], sure[rank])

    def _found(self, kind: KeyKind, known: Sequence[Known]) -> tuple[list[int], Mapping[str, RankEvidence]]:
        """Which of some specimens can be embedded, and what the keys say of them."""
        brought = [one.query.image if kind == "image" else one.query.barcode for one in known]
        having = [place for place, value in enumerate(brought) if value is not None]
        if not having:
            return [], {}
        rows, problems = self._embedder.embed(kind, [known[place].query for place in having])
        good = [row for row, why in enumerate(problems) if why is None]
        places = [having[row] for row in good]
        if not places:
            return [], {}
        keys = self._keys[kind]
        barcodes = [known[place].query.barcode for place in places] if kind == "dna" else None
        return places, all_evidence(keys.labels, keys.neighbours(rows[good], 0), barcodes, keys.barcode)

    def _rows(self, some: Sequence[Known], evidence: Evidence, rank: Rank, names: Names, sure: Doubles) -> pa.Table:
        truth = [one.names.get(rank) for one in some]
        right: Mask = np.array([name is not None and name == true for name, true in zip(names, truth, strict=True)])
        groups: list[GroupName] = [self._group(one, rank) for one in some]
        columns = {
            "specimen_id": [one.query.id for one in some],
            "evidence": [evidence] * len(some),
            "rank": [rank] * len(some),
            "group": groups,
            "truth": truth,
            "name": names.tolist(),
            "confidence": sure,
            "right": right,
        }
        table = pa.table({name: pa.array(columns[name], NAMED.field(name).type) for name in NAMED.names})
        return table.filter(pa.array([true is not None for true in truth]))

    def _group(self, one: Known, rank: Rank) -> GroupName:
        if one.names[RANKS[-1]] in self._names[RANKS[-1]]:
            return "known"
        return "other" if rank == RANKS[-1] or one.names.get(rank) in self._names[rank] else "outside"
