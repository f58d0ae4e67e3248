"""A named specimen as pages and programs are told it: a ladder of ranks, and the nearest specimens beside it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clibd.serving.answering import Named, Row
from clibd.serving.reference import Reference
from results.dashboard.barcodes import Differences, Strip, differences, in_frame, strip
from workloads.spec import RANKS

Names = tuple[tuple[str, str | None, bool | None], ...]
"""Rank, name, and whether it is the answer's; None where either has none."""


@dataclass(frozen=True, slots=True)
class Step:
    """A rank of the ladder."""

    rank: str
    name: str
    score: float | None
    """The confidence; None without a calibration."""
    holds: bool
    """Whether it is given as a name."""
    runner_up: str | None


@dataclass(frozen=True, slots=True)
class Beside:
    """One of the nearest keys, by its first specimen; or what was asked about, with a barcode."""

    id: str
    names: Names = ()
    similarity: float | None = None
    identity: float | None = None
    bin: str | None = None
    thumbnail: bool = False
    untrained: bool = False
    """Whether the run is known to have learned from no specimen of its species."""
    strip: Strip | None = None
    bases: int = 0
    differs: Differences | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A specimen as the page shows it."""

    number: int
    """Its place in what was sent, from 1."""
    id: str
    file: str
    upload: int | None
    pictured: bool
    name: str | None
    rank: str | None
    score: float | None
    evidence: str | None
    bin: str | None
    flags: Sequence[str]
    error: str | None
    steps: Sequence[Step]
    near: Sequence[Beside]
    query: Beside
    told: Mapping[str, Any]
    """What its page's scripts need: `line_of`, and a key under which a correction of it is kept."""


def line_of(named: Named, reference: Reference) -> dict[str, Any]:
    """A specimen as programs are told it, an object a line."""
    barcode = named.specimen.query.barcode
    return {
        "specimen_id": named.answer["specimen_id"],
        "file_name": named.answer["file_name"],
        "barcode": barcode,
        "answer": named.answer,
        "ranks": named.ranks,
        "neighbours": [_with_specimen(row, barcode, reference) for row in named.neighbours],
    }


def _with_specimen(row: Row, barcode: str | None, reference: Reference) -> Row:
    """A neighbour's row with the barcode of its specimen, laid into the frame of the query's."""
    found = reference.specimen(row["nearest_id"]) if row["nearest_id"] else None
    own = in_frame(found["barcode"], barcode or "") if found else None
    known = {"trained": found["trained"], "thumbnail": found["thumbnail"]} if found else {}
    return {**row, "barcode": own, "trained": None, "thumbnail": False, **known}


def shown(named: Named, line: Mapping[str, Any], number: int, drawn: bool) -> Shown:
    """A specimen for a template.

    Args:
        named: the specimen.
        line: what programs are told of it.
        number: its place in what was sent.
        drawn: whether barcodes are drawn here, and not by the page's scripts when somebody looks.
    """
    answer, query = named.answer, named.specimen.query
    rank = answer["rank"]
    return Shown(
        number=number,
        id=answer["specimen_id"],
        file=answer["file_name"],
        upload=named.specimen.upload,
        pictured=query.image is not None,
        name=None if rank is None else answer[rank],
        rank=rank,
        score=answer["score"] if rank is not None else None,
        evidence=answer["evidence"],
        bin=answer["bin"],
        flags=answer["flags"],
        error=answer["error"],
        steps=[_step(row, answer) for row in named.ranks if row[row["rank"]] is not None],
        near=[_beside(row, answer, query.barcode, drawn) for row in line["neighbours"]],
        query=_drawn(answer["specimen_id"], query.barcode) if drawn else Beside(answer["specimen_id"]),
        told={**line, "key": _kept_under(named)},
    )


def _step(row: Row, answer: Row) -> Step:
    at = RANKS.index(row["rank"])
    holds = answer["rank"] is not None and at <= RANKS.index(answer["rank"]) and row[row["rank"]] == answer[row["rank"]]
    return Step(row["rank"], row[row["rank"]], row["score"], holds, row["runner_up"])


def _beside(row: Row, answer: Row, barcode: str | None, drawn: bool) -> Beside:
    own = row["barcode"] if drawn else None
    return Beside(
        id=row["nearest_id"],
        names=tuple((rank, row[rank], _same(row[rank], answer[rank])) for rank in RANKS),
        similarity=row["similarity"],
        identity=row["identity"],
        bin=row["bin"],
        thumbnail=row["thumbnail"],
        untrained=row["trained"] is False,
        strip=strip(own) if own else None,
        bases=len(own.strip("N")) if own else 0,
        differs=differences(barcode, own) if own and barcode else None,
    )


def _same(name: str | None, other: str | None) -> bool | None:
    return None if name is None or other is None else name == other


def _drawn(identifier: str, barcode: str | None) -> Beside:
    return Beside(identifier, strip=strip(barcode), bases=len(barcode)) if barcode else Beside(identifier)


def _kept_under(named: Named) -> str:
    """A digest of what was sent, so that a correction is found again when the same is sent again."""
    digest, query = hashlib.blake2b(digest_size=12), named.specimen.query
    image = query.image.tobytes() if isinstance(query.image, np.ndarray) else query.image
    for part in (image or b"", (query.barcode or "").encode(), query.id.encode("utf-8", "replace")):
        digest.update(hashlib.blake2b(part, digest_size=12).digest())
    return digest.hexdigest()
