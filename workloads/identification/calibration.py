"""What a database's names are worth: `calibration.parquet`, and the confidence that is made of it.

A row is what one calibrating specimen was named at one rank, by one kind of evidence, asked with its species among the
keys, without it, or without its taxon of that rank. Thresholds and figures can be made of it anew.
The rows of some of the species made the score (`workloads.identification.scoring`), whose weights are in the
table's metadata; those of the others say what a score is worth (`workloads.identification.confidence`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import expit

from workloads.arrays import Doubles, Mask, Names
from workloads.errors import AlteredError, UsageError
from workloads.identification.confidence import Group, Promise, Steps, confidence_steps
from workloads.identification.database import CALIBRATION, Database
from workloads.identification.evidence import RankEvidence
from workloads.identification.query import Evidence
from workloads.identification.scoring import features, joint_features, scores
from workloads.spec import RANKS, Rank

EVIDENCES: tuple[Evidence, ...] = ("image", "dna", "both")
CALIBRATED = pa.schema(
    [
        ("specimen_id", pa.string()),
        ("evidence", pa.string()),  # image, dna or both
        ("rank", pa.string()),
        ("group", pa.string()),  # known: asked with its species among the keys; other: without; outside: see below
        ("fits", pa.bool_()),  # whether it made the score; false: it says what the score is worth
        ("species", pa.string()),
        ("truth", pa.string()),
        ("name", pa.string()),  # null where no neighbour has one
        ("score", pa.float64()),  # null without a name
        ("similarity", pa.float32()),  # of the nearest key with that name, as those below of the evidence's own keys
        ("rival", pa.float32()),
        ("agreeing", pa.float32()),
        ("identity", pa.float64()),
        ("rival_identity", pa.float64()),
    ]
)
"""Columns of `calibration.parquet`."""
Weights = Mapping[str, Sequence[float]]
"""Of scores, by `key_of`."""
WEIGHTS = b"clibd.weights"
"""Key of the table's metadata that holds `Weights` as JSON."""
GroupName = Literal["known", "other", "outside"]
"""Specimens whose species is in the database; those whose species is not; and at ranks above the species those whose
taxon of that rank is not, so that no name is right there either."""
GROUPS: tuple[GroupName, ...] = ("known", "other", "outside")
_MOST_STEPS = 400
"""Thresholds that are tested: one more in ten specimens or so changes nothing that can be promised."""


def key_of(evidence: str, rank: str) -> str:
    """Under which the weights of a score stand."""
    return f"{evidence} {rank}"


@dataclass(frozen=True, slots=True)
class Joint:
    """What image and barcode together say at one rank."""

    by_dna: Mask
    """Whether the name is that of the barcode, else that of the image, (queries,)."""
    name: Names
    confidence: Doubles
    """(queries,), 0 where none holds."""


class Calibration:
    """Gives confidences by what calibrating specimens were named."""

    def __init__(self, table: pa.Table, weights: Weights, trained: Mapping[str, frozenset[str]] | None) -> None:
        """Take what was read; `Calibration.of` reads a database.

        Args:
            table: rows of `CALIBRATED`.
            weights: of the scores.
            trained: names by rank that the run learned from; None without a run.
        """
        self.table, self._weights, self._trained = table, weights, trained
        self.evidences = tuple(kind for kind in EVIDENCES if key_of(kind, RANKS[-1]) in weights)
        self._steps = cache(self._steps_of)

    @classmethod
    def of(cls, database: Database) -> "Calibration":
        """The calibration of a database.

        Raises:
            UsageError: it has none.
            AlteredError: it is not what was written.
        """
        if not database.facts.calibrated:
            raise UsageError(
                f"{database.folder} has no calibration, so that its names come without a confidence; it needs 50 "
                "specimens or more with a species, of several species: build it of more with `clibd db build`"
            )
        table, where = database.sealed.read_table(CALIBRATION), f"{database.folder}/{CALIBRATION}"
        if not table.schema.equals(CALIBRATED) or WEIGHTS not in (table.schema.metadata or {}):
            raise AlteredError(where, "its columns are not those of this version", str(database.folder))
        return cls(table, json.loads(table.schema.metadata[WEIGHTS]), trained_names(database))

    def confidence(self, evidence: Evidence, rank: str, found: RankEvidence) -> Doubles:
        """For each name the largest confidence for which the promise holds, 0 where none does, (queries,).

        Args:
            evidence: `image` or `dna`; for `both` see `joint`.
            rank: of the names.
            found: at that rank, of barcodes with their identities (`all_evidence`).

        Raises:
            UsageError: the database was not calibrated for this evidence.
        """
        return self.worth(evidence, rank, self.scores(evidence, rank, found))

    def worth(self, evidence: Evidence, rank: str, of: Doubles) -> Doubles:
        """The confidences of scores, (queries,)."""
        self._check(evidence)
        return self._steps(evidence, rank)(of)

    def highest(self, evidence: Evidence, rank: str) -> float:
        """The confidence that no name of a rank exceeds."""
        self._check(evidence)
        return float(self._steps(evidence, rank).confidences.max(initial=0.0))

    def num_strangers(self, evidence: Evidence) -> int:
        """How many species stand for new ones."""
        rows = pc.and_(pc.equal(self.table["evidence"], evidence), pc.equal(self.table["group"], "other"))
        return len(pc.unique(self.table["species"].filter(rows)))

    def scores(self, evidence: Evidence, rank: str, found: RankEvidence) -> Doubles:
        """The scores of names by one modality, -inf where there is none, (queries,)."""
        self._check(evidence)
        return single_scores(evidence, rank, found, self._trained, self._weights)

    def joint(self, rank: str, image: RankEvidence, dna: RankEvidence) -> Joint:
        """The name by image and barcode together: that of the modality that is surer of its own.

        Args:
            rank: of the names.
            image: what the images of some queries say.
            dna: what the barcodes of the same queries say.

        Raises:
            UsageError: the database was not calibrated for both together.
        """
        self._check("both")
        by_image, by_dna = self.scores("image", rank, image), self.scores("dna", rank, dna)
        by, name = by_dna >= by_image, np.where(by_dna >= by_image, dna.name, image.name)
        rows = joint_features(by_image, by_dna, np.equal(image.name, dna.name).astype(bool))
        of = weighed("both", rank, rows, name, self._weights)
        return Joint(by, name, self.worth("both", rank, of))

    def _check(self, evidence: Evidence) -> None:
        if evidence not in self.evidences:
            have = ", ".join(self.evidences)
            raise UsageError(
                f"the database has no calibration for specimens with {WORDS[evidence]}, only for {have}; build it of "
                f"more specimens that have {WORDS[evidence]}"
            )

    def _steps_of(self, evidence: str, rank: str) -> Steps:
        here = pc.and_(pc.equal(self.table["evidence"], evidence), pc.equal(self.table["rank"], rank))
        return steps_of(self.table.filter(pc.and_(here, pc.invert(self.table["fits"]))), rank)


def steps_of(table: pa.Table, rank: str) -> Steps:
    """What scores of one evidence and rank are worth.

    Args:
        table: rows of `CALIBRATED` that did not make the score.
        rank: their rank. At the species those whose species is not in the database have no right name. Above it what
            goes wrong outside goes wrong for whole taxa of the rank, which therefore are the clusters.
    """
    of = table["score"].fill_null(-np.inf).to_numpy().astype(np.float64)
    right = np.asarray(pc.fill_null(pc.equal(table["name"], table["truth"]), False).to_numpy(), dtype=bool)
    group = table["group"].to_numpy(zero_copy_only=False).astype(str)
    promises: Mapping[GroupName, Promise] = {
        "known": "names",
        "other": "strangers" if rank == RANKS[-1] else "names",
        **({} if rank == RANKS[-1] else {"outside": "strangers"}),
    }
    groups = []
    for name, promise in promises.items():
        rows = group == name
        cluster = table["truth" if name == "outside" else "species"].to_numpy(zero_copy_only=False)[rows].astype(str)
        groups.append(Group(promise, of[rows], right[rows], np.unique(cluster, return_inverse=True)[1]))
    distinct = np.unique(of[np.isfinite(of)])[::-1]
    chosen = np.unique(np.linspace(0, len(distinct) - 1, min(len(distinct), _MOST_STEPS)).astype(np.int64))
    thresholds = distinct[chosen]
    return confidence_steps(groups, expit(thresholds), thresholds)


def single_scores(
    evidence: Evidence, rank: str, found: RankEvidence, trained: Mapping[str, frozenset[str]] | None, weights: Weights
) -> Doubles:
    """The scores of names by one modality, -inf where there is none, (queries,)."""
    rows = features(found, None if trained is None else is_among(found.name, trained[rank]))
    return weighed(evidence, rank, rows, found.name, weights)


def weighed(evidence: Evidence, rank: str, rows: Doubles, names: Names, weights: Weights) -> Doubles:
    """The scores of names by features, (queries, features); -inf where there is no name, or no score at that rank."""
    if (own := weights.get(key_of(evidence, rank))) is None:
        return np.full(len(rows), -np.inf)
    return scores(own, rows, np.not_equal(names, np.array(None, dtype=object)).astype(bool))


def with_those_above(
    confidences: Mapping[Rank, Doubles],
    names: Mapping[Rank, Names],
    lineage: Callable[[Rank, str], Mapping[str, str | None]],
) -> dict[Rank, Doubles]:
    """Confidences of which none is lower than that of the name below: who is of a species is of its genus.

    Args:
        confidences: by rank, (queries,) each.
        names: of the same, (queries,) each.
        lineage: the names above a name of a rank.
    """
    found = dict(confidences)
    for upper, lower in reversed(list(pairwise(RANKS))):
        pairs = zip(names[upper], names[lower], strict=True)
        follows = np.array([below is not None and lineage(lower, below).get(upper) == above for above, below in pairs])
        found[upper] = np.where(follows, np.maximum(found[upper], found[lower]), found[upper])
    return found


def is_among(names: Names, some: frozenset[str]) -> Mask:
    """Which of some names are in a set, (names,)."""
    return np.array([name in some for name in names], dtype=bool)


def trained_names(database: Database) -> Mapping[str, frozenset[str]] | None:
    """By rank the names of specimens of species that the run learned from; None for a database without a run."""
    if database.facts.model is None:
        return None
    rows = database.specimens.filter(pc.fill_null(database.specimens["trained"], False))
    return {rank: frozenset(pc.unique(rows[rank]).drop_null().to_pylist()) for rank in RANKS}


WORDS: Mapping[Evidence, str] = {"image": "images", "dna": "barcodes", "both": "an image and a barcode"}
