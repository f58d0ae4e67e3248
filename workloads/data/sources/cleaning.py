"""One raw record becomes a row of the specimen table: what cannot be used is null and counted.

A record is refused only where nothing is left of it, where it has no id, or where a published split would be guessed.
"""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workloads.arrays import Floats
from workloads.data.sources.markers import fitness
from workloads.data.sources.source import RawRecord, Refused, Source
from workloads.data.specimens.barcode import clean_barcode
from workloads.data.specimens.barcode_rule import AS_IT_COMES, BarcodeRule, all_usable
from workloads.data.specimens.names import NULLED, as_given, named
from workloads.data.specimens.schema import FEATURES, PROTOCOLS, clean_name, stands_for_nothing
from workloads.errors import RecordError
from workloads.spec import RANKS

UNNAMED = "specimens without a name at any rank"
NO_BIN = "values of BIN that are no BIN, left out"
OTHER_MARKER = "sequences of another marker than COI's barcode, left out"
_BIN = re.compile(r"BOLD:[A-Z]{3}\d{4}\d{0,2}")
NAMES, MARKERS = "names: ", "markers: "
"""What the kinds of findings about names and markers begin with."""
_LONGEST_ID, _LONGEST_MARKER, _MOST_MARKERS = 200, 40, 30
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Rules:
    """What is done with the names and barcodes of people's own specimens; those of a published data set stay."""

    names_as_given: bool = False
    """Whether names stay as they are written."""
    barcodes: BarcodeRule = AS_IT_COMES


AS_USUAL = Rules()


class Cleaning:
    """Cleans the records of one source, one after another."""

    def __init__(self, source: Source, rules: Rules = AS_USUAL, seen: Container[str] = ()) -> None:
        """Read nothing yet.

        Args:
            source: its findings are added to.
            rules: for names and barcodes.
            seen: ids that may not come again, as those of a published data set, whose lists know one record an id.
        """
        self._findings, self._published = source.findings, source.published
        self._splits = PROTOCOLS[source.protocol].splits if source.has_splits else ()
        self._names = as_given if rules.names_as_given or source.published else named
        self._barcodes = replace(rules.barcodes, mends=rules.barcodes.mends and not source.published)
        self._sizes: dict[str, int] = {}
        self._seen = seen
        self._markers: set[str] = set()

    def rows(self, raws: Sequence[RawRecord | Refused], first: int) -> Iterator[dict[str, Any] | Refused]:
        """A row of the specimen table for each record, or why there is none.

        Args:
            raws: some hundred records, whose barcodes are looked at together.
            first: number of the first of them.
        """
        given = [None if isinstance(raw, Refused) else self._given_barcode(raw) for raw in raws]
        barcodes = all_usable([text for text in given if text is not None], self._barcodes)
        for number, (raw, text) in enumerate(zip(raws, given, strict=True), start=first):
            barcode = (None, []) if text is None else next(barcodes)
            yield raw if isinstance(raw, Refused) else self._row(raw, number, text, barcode)

    def _row(
        self, raw: RawRecord, number: int, given: str | None, barcode: tuple[str | None, list[str]]
    ) -> dict[str, Any] | Refused:
        """One row, with the keys `marker`, how well its barcode's marker fits, and `remarks`, what is to be said of it;
        or why none.

        Args:
            raw: the record.
            number: its number, which names it where it has neither id nor place.
            given: the text of its barcode, None where there is none, or of another gene.
            barcode: what becomes of it, and what is to be said.
        """
        identifier = (_said(str(raw.get("specimen_id") or "")) or "").strip()
        troubles: list[str] = []
        try:
            _check_id(identifier)
            if identifier in self._seen:
                raise RecordError("a second record with this id")
            if self._splits and raw.get("split") not in self._splits:
                raise RecordError(f"the split {raw.get('split')!r} does not exist")
            row: dict[str, Any] = {"specimen_id": identifier, "image": _said(raw.get("image")), "split": None}
            row |= self._barcode(raw, given, barcode, identifier, troubles)
            row |= {name: self._features(name, raw.get(name), identifier, troubles) for name in FEATURES}
            if row["image"] is row["barcode"] is row["image_features"] is row["dna_features"] is None:
                because = f" ({'; '.join(troubles)})" if troubles else ""
                raise RecordError(f"neither an image nor a barcode, nor features of one{because}")
            row |= self._lineage(raw, identifier)
            row["bin"] = self._bin(raw.get("bin"), identifier)
            row["split"] = raw["split"] if self._splits else _said(raw.get("split"))  # words that `partition` reads
            row["remarks"] = (*barcode[1], *troubles)
        except RecordError as error:
            where = f"{raw['where']}: " if raw.get("where") else ""
            return Refused(identifier or f"record {number}", f"{where}{error}")
        return row

    def _note(self, kind: str, identifier: str, value: object) -> None:
        if len(self._findings.examples.get(kind, ())) < _SHOWN:
            self._findings.add(kind, f"{str(value)[:60]!r} of {identifier}")
        else:
            self._findings.add(kind, "")

    def _given_barcode(self, raw: RawRecord) -> str | None:
        given = _said(raw.get("barcode"))
        return given if given and fitness(raw.get("marker")) else None

    def _barcode(
        self,
        raw: RawRecord,
        given: str | None,
        made: tuple[str | None, list[str]],
        identifier: str,
        troubles: list[str],
    ) -> dict[str, Any]:
        marker, (barcode, kinds) = raw.get("marker"), made
        if marker and (given or _said(raw.get("barcode"))):
            self._count_marker(marker)
            if given is None:
                self._note(OTHER_MARKER, identifier, marker)
                troubles.append(f"its sequence is of {str(marker)[:40]!r}, not of COI's barcode")
        reason = _why_none(given, kinds) if given and not barcode else ""
        troubles += [reason] if reason else []
        for kind in kinds:
            self._findings.add(kind, f"{identifier}: {reason}" if reason else identifier)
        changed = given if barcode and barcode != given else None
        return {"barcode": barcode, "barcode_as_given": changed, "marker": fitness(marker) if barcode else 0}

    def _count_marker(self, marker: str) -> None:
        marker = " ".join(marker.split())[:_LONGEST_MARKER]
        if marker not in self._markers and len(self._markers) >= _MOST_MARKERS:
            marker = "others"
        self._markers.add(marker)
        self._findings.add(f"{MARKERS}{marker}", "")

    def _features(self, name: str, features: Floats | None, identifier: str, troubles: list[str]) -> Floats | None:
        """Features that are finite and as many as the first record's; else None."""
        if features is None:
            return None
        trouble = ""
        if not np.isfinite(features).all():
            trouble = f"the {FEATURES[name]} are not finite"
        elif len(features) != self._sizes.setdefault(name, len(features)):
            trouble = f"{len(features)} {FEATURES[name]}, and the first specimen has {self._sizes[name]}"
        if not trouble:
            return features
        self._findings.add(f"{FEATURES[name]} that cannot be used, left out", f"{identifier}: {trouble}")
        troubles.append(trouble)
        return None

    def _lineage(self, raw: RawRecord, identifier: str) -> Mapping[str, str | None]:
        lineage, kinds = self._names(raw)
        for kind in kinds:
            examples = self._findings.examples.get(NAMES + kind, ())
            self._findings.add(NAMES + kind, _changed(raw, lineage, kind) if len(examples) < _SHOWN else "")
        if not any(lineage.values()):
            self._findings.add(UNNAMED, identifier)
        return lineage

    def _bin(self, value: str | None, identifier: str) -> str | None:
        """A BIN, also out of the address of its page; what looks like none is None."""
        if self._published:
            return clean_name(value)
        if value is None or stands_for_nothing(value):
            return None
        if match := _BIN.search(value.upper()):
            return match[0]
        self._note(NO_BIN, identifier, value)
        return None


def _check_id(identifier: str) -> None:
    """Refuse what names no specimen.

    Raises:
        RecordError: nothing, or what could not be printed in a list of rejects.
    """
    if not identifier:
        raise RecordError("no specimen id")
    if not identifier.isprintable() or len(identifier) > _LONGEST_ID:
        reason = f"is not printable, or longer than {_LONGEST_ID} characters"
        raise RecordError(f"the specimen id {identifier[:40]!r} {reason}")


def _why_none(given: str, kinds: list[str]) -> str:
    """Why a text is no barcode to use, in the words of the reason or of the last of its kinds."""
    try:
        clean_barcode(given)
    except RecordError as error:
        return str(error)
    return f"a barcode {kinds[-1].removeprefix('barcodes ').removesuffix(', left out')}"


def _changed(raw: RawRecord, lineage: Mapping[str, str | None], kind: str) -> str:
    """What a name was and what it became, such as `'Apis sp.' -> Apis`."""
    rank = next((rank for rank in reversed(RANKS) if raw.get(rank) and raw[rank] != lineage[rank]), RANKS[-1])
    became = lineage[rank] or next((name for name in reversed([*lineage.values()]) if name), "nothing")
    return f"{str(raw.get(rank))[:60]!r} -> {became}" if kind in NULLED or lineage[rank] else str(raw.get(rank))[:60]


def _said(value: str | None) -> str | None:
    """A value, or None for the words that stand for a missing one: `NA` is no id, and no barcode of one base."""
    return None if value is None or stands_for_nothing(value) else value
