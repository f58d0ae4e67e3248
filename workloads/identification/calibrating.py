"""Calibrates a database: asks it about specimens that it did not learn from, with their species and without.

Those that calibrate lie in `calibrating/`, or, where there are none such, keys are asked about themselves: each
specimen is left out while its own name is asked for. Then its species is taken out of the keys, as if nobody had ever
brought a specimen of it: what it is named now is what a new species would be named. Then so are its genus, its family
and its order: no name is right at that rank then. Of a run only species that it never learned from are asked so, as a
tower knows others even where keys do not. Keys of such species stand for new ones too where others lie in
`calibrating/`: how many species there are decides what can be promised, and a small set has few to set aside.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from workloads.arrays import Doubles, Indices, Mask, Names
from workloads.command_line import Tell
from workloads.errors import UsageError
from workloads.identification.calibration import (
    CALIBRATED,
    EVIDENCES,
    WEIGHTS,
    WORDS,
    GroupName,
    Weights,
    is_among,
    key_of,
    single_scores,
    trained_names,
)
from workloads.identification.confidence import FEWEST
from workloads.identification.database import CALIBRATION, KEY_KINDS, Database, KeyKind
from workloads.identification.drawn import Drawn, draw
from workloads.identification.evidence import RankEvidence, joined
from workloads.identification.leaving_out import Asked, LeavingOut
from workloads.identification.query import Evidence
from workloads.identification.scoring import features, fit, joint_features, scores
from workloads.spec import RANKS, Rank
from workloads.storage import parquet_into

_MEASURES = ("similarity", "rival", "agreeing", "identity", "rival_identity")
Trained = Mapping[str, frozenset[str]] | None
"""Names by rank that the run learned from; None without a run."""


def calibrate(database: Database, tell: Tell) -> tuple[Evidence, ...]:
    """Write `calibration.parquet` into a database whose other files are there.

    Args:
        database: to calibrate.
        tell: is told how many questions have been asked.

    Returns:
        By what specimens can be identified with a confidence.

    Raises:
        UsageError: there are too few specimens for any promise, or of one species alone.
    """
    apart, has_run = database.calibrating, database.facts.model is not None
    lots = [apart, database] if apart and has_run else [apart or database]
    drawn = draw(lots, has_run)
    answers = ask(database, lots, drawn, tell)
    weights, trained = dict[str, list[float]](), trained_names(database)
    tables, short = list[pa.Table](), list[str]()
    for evidence in EVIDENCES:
        each_alone = all(key_of(kind, RANKS[-1]) in weights for kind in KEY_KINDS)
        if evidence in answers or (evidence == "both" and each_alone):
            try:
                tables += list(_calibrated(evidence, answers, drawn, trained, weights))
            except UsageError as error:
                short.append(str(error))
    if not tables:
        raise UsageError(short[0])
    table = pa.concat_tables(tables).replace_schema_metadata({WEIGHTS: json.dumps(weights)})
    with parquet_into(f"{database.folder}/{CALIBRATION}", table.schema) as file:
        file.write_table(table)
    return tuple(evidence for evidence in EVIDENCES if key_of(evidence, RANKS[-1]) in weights)


@dataclass(frozen=True, slots=True)
class Answers:
    """What the keys of one modality say of those that were drawn and have it, at one rank."""

    rows: Indices
    """Which of those drawn were asked about, some two or three times, (questions,)."""
    group: Names
    """As which, a `GroupName` each, (questions,)."""
    found: RankEvidence
    """Of the questions."""

    def part(self, some: Indices) -> "Answers":
        """Those to some questions."""
        return Answers(self.rows[some], self.group[some], self.found.part(some))


AtRanks = Mapping[str, Answers]
"""By rank."""


_Part = tuple[Indices, GroupName, RankEvidence]
"""Rows of those drawn, as which they were asked about, and what was found."""


def ask(database: Database, lots: Sequence[Database], drawn: Drawn, tell: Tell) -> dict[KeyKind, AtRanks]:
    """Ask by each modality about each specimen, with its species where there are others of it, and without; and at
    each rank above the species without its taxon, where there is another one."""
    having = {
        (kind, place): np.flatnonzero(drawn.lot == place)[_have_key(lot, kind)[drawn.numbers[drawn.lot == place]]]
        for kind in KEY_KINDS
        for place, lot in enumerate(lots)
        if kind in database.facts.modalities and kind in lot.facts.modalities
    }
    as_known = sum(len(rows) for (_, place), rows in having.items() if place == 0)
    as_strangers = sum(int(drawn.stranger[rows].sum()) for rows in having.values())
    done, total = 0, as_known + len(RANKS) * as_strangers

    def more(count: int) -> None:
        nonlocal done
        done += count
        tell(done, total)

    found = dict[KeyKind, AtRanks]()
    for kind in dict.fromkeys(kind for (kind, _), rows in having.items() if len(rows)):
        keys, parts = LeavingOut(database, kind), dict[str, list[_Part]]()
        for place, lot in enumerate(lots):
            if len(rows := having.get((kind, place), np.array([], dtype=np.int64))):
                for rank, some in _asked(keys, lot, kind, drawn, rows, more, place == 0).items():
                    parts.setdefault(rank, []).extend(some)
        found[kind] = {rank: _joined(of) for rank, of in parts.items()}
    return found


def _have_key(lot: Database, kind: KeyKind) -> Mask:
    return np.asarray(lot.specimens[f"{kind}_key"].is_valid().to_numpy(), dtype=bool)


def _asked(
    keys: LeavingOut,
    lot: Database,
    kind: KeyKind,
    drawn: Drawn,
    rows: Indices,
    tell: Callable[[int], None],
    as_known: bool,
) -> dict[Rank, list[_Part]]:
    """What is found of the specimens of one lot, at every rank."""
    numbers, species = drawn.numbers[rows], drawn.labels[RANKS[-1]][rows]
    own = numbers if keys.database is lot else np.full_like(numbers, -1)
    key = lot.specimens[f"{kind}_key"].to_numpy()[numbers].astype(np.int64)
    vectors = lot.keys(kind).take(key)
    barcodes = np.array(lot.specimens["barcode"].take(pa.array(numbers)).to_pylist(), dtype=object)
    asked = Asked(vectors, species, barcodes, own)
    there = np.array([as_known and keys.has(*each) for each in zip(species, own.tolist(), strict=True)], dtype=bool)
    stranger = drawn.stranger[rows]
    questions: tuple[tuple[Indices, GroupName], ...] = (
        (np.flatnonzero(there), "known"),
        (np.flatnonzero(stranger), "other"),
    )
    at: dict[Rank, list[_Part]] = {rank: [] for rank in RANKS}
    for some, group in questions:
        if len(some):
            found = keys.evidence(asked.part(some), group == "known", tell)
            for rank in RANKS:
                at[rank].append((rows[some], group, found[rank]))
    for rank in RANKS[:-1]:
        taxa = drawn.labels[rank][rows]
        some = np.flatnonzero(stranger & np.not_equal(taxa, np.array(None, dtype=object)).astype(bool))
        if len(some) and keys.has_several(rank):
            at[rank].append((rows[some], "outside", keys.outside(asked.part(some), taxa[some], rank, tell)))
    return at


def _joined(parts: Sequence[_Part]) -> Answers:
    """What was found of all lots at one rank.

    Raises:
        UsageError: there is nothing.
    """
    if not parts:
        raise UsageError(
            "no key has a species of those that can be asked about, and the run learned from all of them; build the "
            "database of more specimens and species"
        )
    return Answers(
        np.concatenate([rows for rows, _, _ in parts]),
        np.concatenate([np.full(len(rows), group, dtype=object) for rows, group, _ in parts]),
        joined([found for _, _, found in parts]),
    )


def _calibrated(
    evidence: Evidence,
    answers: Mapping[KeyKind, AtRanks],
    drawn: Drawn,
    trained: Trained,
    weights: dict[str, list[float]],
) -> Iterator[pa.Table]:
    """Fit the scores of one kind of evidence, into `weights`, and give its rows rank by rank.

    Raises:
        UsageError: there are too few specimens whose species is in the database, or too few of others.
    """
    for rank in reversed(RANKS):
        of_kinds = {kind: at[rank] for kind, at in answers.items()}
        asked = of_both(of_kinds) if evidence == "both" else {evidence: of_kinds[evidence]}
        one = next(iter(asked.values()))
        found, fits = {kind: each.found for kind, each in asked.items()}, drawn.fits[one.rows]
        truth = drawn.labels[rank][one.rows]
        has_truth = np.not_equal(truth, np.array(None, dtype=object)).astype(bool)
        if short := _too_few(evidence, rank, one.group[has_truth & ~fits]):
            if rank == RANKS[-1]:
                raise UsageError(short)
            continue  # no name at that rank has a confidence
        name, rows = named_features(rank, found, trained, weights)
        named = np.not_equal(name, np.array(None, dtype=object)).astype(bool) & np.isfinite(rows).all(axis=1)
        some = has_truth & fits & named & (one.group != "outside")
        own = weights[key_of(evidence, rank)] = fit(
            rows[some], np.equal(name, truth)[some].astype(bool), one.group[some] == "known"
        )
        of = scores(own, rows, named)
        columns = {
            "specimen_id": drawn.ids[one.rows],
            "evidence": np.full(len(of), evidence, dtype=object),
            "rank": np.full(len(of), rank, dtype=object),
            "group": one.group,
            "fits": fits,
            "species": drawn.labels[RANKS[-1]][one.rows],
            "truth": truth,
            "name": np.where(np.isfinite(of), name, np.array(None, dtype=object)),
            "score": _or_null(of),
            **{measure: _measured(found, measure, len(of)) for measure in _MEASURES},
        }
        yield pa.table(
            {each: pa.array(columns[each], CALIBRATED.field(each).type) for each in CALIBRATED.names}
        ).filter(pa.array(has_truth))


def named_features(
    rank: str, found: Mapping[KeyKind, RankEvidence], trained: Trained, weights: Weights
) -> tuple[Names, Doubles]:
    """The names of queries at a rank, and the features of their scores, (queries, features).

    Args:
        rank: of the names.
        found: by one modality, or by both for the same queries; then `weights` has the scores of each.
        trained: names by rank that the run learned from.
        weights: of scores.
    """
    if len(found) == 1:
        (only,) = found.values()
        return only.name, features(only, None if trained is None else is_among(only.name, trained[rank]))
    image, dna = (single_scores(kind, rank, found[kind], trained, weights) for kind in KEY_KINDS)
    names = found["image"].name, found["dna"].name
    return np.where(dna >= image, names[1], names[0]), joint_features(image, dna, np.equal(*names).astype(bool))


def of_both(answers: Mapping[KeyKind, Answers]) -> dict[KeyKind, Answers]:
    """Of both modalities the questions that were asked by both, in one order."""
    places = [
        {question: place for place, question in enumerate(zip(one.rows.tolist(), one.group.tolist(), strict=True))}
        for one in answers.values()
    ]
    shared = [question for question in places[0] if question in places[1]]
    chosen = [np.array([of[question] for question in shared], dtype=np.int64) for of in places]
    return {kind: answers[kind].part(rows) for kind, rows in zip(answers, chosen, strict=True)}


def _too_few(evidence: Evidence, rank: str, group: Names) -> str | None:
    """Why nothing can be promised at a rank of questions as these groups; None: it can."""
    needed: dict[GroupName, str] = {"known": "whose species is in the database", "other": "of other species"}
    if rank != RANKS[-1]:
        needed["outside"] = f"of other taxa of the rank {rank}"
    for name, of in needed.items():
        if (count := int((group == name).sum())) < FEWEST:
            return (
                f"{count} specimens with {WORDS[evidence]} {of} say what a score is worth, and no promise is made of "
                f"fewer than {FEWEST}; build the database of more specimens and species"
                + ("" if count or name == "known" else ", some of which its run did not learn from")
            )
    return None


def _or_null(values: Doubles) -> Names:
    return np.where(np.isfinite(values), values, np.array(None, dtype=object))


def _measured(found: Mapping[KeyKind, RankEvidence], measure: str, number: int) -> Names:
    """A column of the evidence of one modality; nulls where there is none, and of both."""
    values = None if len(found) > 1 else getattr(next(iter(found.values())), measure)
    return np.full(number, None, dtype=object) if values is None else _or_null(values.astype(np.float64))
