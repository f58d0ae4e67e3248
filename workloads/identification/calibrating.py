"""Calibrates a database: asks it about specimens that it did not learn from, with their species and without.

Those that calibrate lie in `calibrating/`, or, where there are none such, keys are asked about themselves: each
specimen is left out while its own name is asked for. Then its species is taken out of the keys, as if nobody had ever
brought a specimen of it: what it is named now is what a new species would be named. Then so are its genus, its family
and its order: no name is right at that rank then. Of a run only species that it never learned from are asked so, as a
tower knows others even where keys do not.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from workloads.arrays import Doubles, Indices, Names
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
from workloads.spec import RANKS
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
    apart = database.calibrating
    drawn = draw(apart or database, only_strangers=apart is None and database.facts.model is not None)
    answers = ask(database, apart or database, drawn, tell)
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


def ask(database: Database, source: Database, drawn: Drawn, tell: Tell) -> dict[KeyKind, AtRanks]:
    """Ask by each modality about each specimen, with its species where there are others of it, and without; and at
    each rank above the species without its taxon, where there is another one."""
    kinds = [kind for kind in KEY_KINDS if kind in database.facts.modalities and kind in source.facts.modalities]
    having = {
        kind: np.flatnonzero(source.specimens[f"{kind}_key"].is_valid().to_numpy()[drawn.numbers]) for kind in kinds
    }
    having = {kind: rows for kind, rows in having.items() if len(rows)}
    done, total = 0, (1 + len(RANKS)) * sum(map(len, having.values()))

    def more(count: int) -> None:
        nonlocal done
        done += count
        tell(done, total)

    return {
        kind: _answers(LeavingOut(database, kind), source, kind, drawn, rows, more) for kind, rows in having.items()
    }


def _answers(
    keys: LeavingOut, source: Database, kind: KeyKind, drawn: Drawn, rows: Indices, tell: Callable[[int], None]
) -> AtRanks:
    numbers, species = drawn.numbers[rows], drawn.labels[RANKS[-1]][rows]
    own = numbers if keys.database is source else np.full_like(numbers, -1)
    stored = source.keys(kind)
    key = source.specimens[f"{kind}_key"].to_numpy()[numbers].astype(np.int64)
    vectors = np.concatenate([stored.block(each, each + 1) for each in key.tolist()])
    barcodes = np.array(source.specimens["barcode"].take(pa.array(numbers)).to_pylist(), dtype=object)
    asked = Asked(vectors, species, barcodes, own)
    there = np.array([keys.has(*each) for each in zip(species, own.tolist(), strict=True)], dtype=bool)
    stranger = drawn.stranger[rows]
    questions: tuple[tuple[Indices, GroupName], ...] = (
        (np.flatnonzero(there), "known"),
        (np.flatnonzero(stranger), "other"),
    )
    parts = [
        (some, group, keys.evidence(asked.part(some), group == "known", tell)) for some, group in questions if len(some)
    ]
    if not parts:
        raise UsageError(
            "no key has a species of those that can be asked about, and the run learned from all of them; build the "
            "database of more specimens and species"
        )
    at = {rank: [(some, group, found[rank]) for some, group, found in parts] for rank in RANKS}
    for rank in RANKS[:-1]:
        taxa = drawn.labels[rank][rows]
        some = np.flatnonzero(stranger & np.not_equal(taxa, np.array(None, dtype=object)).astype(bool))
        if len(some) and keys.has_several(rank):
            at[rank].append((some, "outside", keys.outside(asked.part(some), taxa[some], rank, tell)))
    return {
        rank: Answers(
            np.concatenate([rows[some] for some, _, _ in all_parts]),
            np.concatenate([np.full(len(some), group, dtype=object) for some, group, _ in all_parts]),
            joined([found for _, _, found in all_parts]),
        )
        for rank, all_parts in at.items()
    }


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
