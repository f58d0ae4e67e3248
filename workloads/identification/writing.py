"""Writes specimens and their keys: they stream in, and each distinct barcode or image is one key, embedded once.

Known ──▶ SpecimenWriter.embed     keys are made by an embedder
rows of a database ──▶ SpecimenWriter.keep     keys are copied as they are stored
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workloads.arrays import Indices
from workloads.data.files.images import thumbnail
from workloads.errors import RecordError
from workloads.identification.database import KEY_KINDS, SPECIMENS, SPECIMENS_FILE, THUMBNAILS, Database, KeyKind
from workloads.identification.embedding import Embedder, KmerEmbedder
from workloads.identification.keys import KeyWriter, counted
from workloads.identification.query import Query
from workloads.shown import LONGEST_SIDE
from workloads.spec import RANKS
from workloads.storage import Folder, parquet_into

_MOST_LISTED = 1000
THUMBNAIL_SCHEMA = pa.schema([("specimen_id", pa.string()), ("thumbnail", pa.binary())])
"""Columns of `thumbnails.parquet`; images are WebP of at most 96 pixels."""
Refuse = Callable[[str, str], None]
"""Is told id and reason."""


@dataclass(frozen=True, slots=True)
class Known:
    """A specimen with its names, on its way into a database."""

    query: Query
    """Its id, image and barcode."""
    names: Mapping[str, str | None]
    """By rank."""
    bin: str | None = None
    trained: bool | None = None
    """Whether the run learned from specimens of its species; None without a run."""
    source: str | None = None
    lost: Mapping[KeyKind, str] = field(default_factory=dict)
    """Why what it has of a modality could not be read."""


@dataclass(slots=True)
class Written:
    """What became of the specimens that were written."""

    num_specimens: int = 0
    num_keys: dict[str, int] = field(default_factory=dict)
    taxa: dict[str, set[str]] = field(default_factory=lambda: {rank: set() for rank in RANKS})
    num_without_name: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RANKS, 0))
    num_left_out: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Id and reason of the first thousand that were left out: without a name, without anything that could be embedded,
    or of an id that is there already."""
    num_lost: dict[str, int] = field(default_factory=dict)
    """By modality, specimens that were taken without what they brought of it, as it could not be embedded."""
    num_repeated: int = 0
    """Of those left out: specimens of an id that was there already."""
    num_other_names: int = 0
    """Specimens whose barcode is there already under another species' name; they are kept."""


class Kept:
    """Keys of a database on their way into another one, where each gets a new number when it is first asked for."""

    def __init__(self, database: Database) -> None:
        self.keys = {kind: database.keys(kind) for kind in database.facts.modalities}
        self.numbers: dict[KeyKind, Indices] = {
            kind: np.full(len(keys), -1, dtype=np.int64) for kind, keys in self.keys.items()
        }
        self.ids: set[str] = set()
        """Of the specimens that were written."""


class SpecimenWriter:
    """Writes `specimens.parquet` and the keys into a folder on a disk of this machine that is not a database yet."""

    def __init__(
        self,
        target: Folder,
        kinds: Sequence[KeyKind],
        *,
        thumbnails: bool = False,
        on_left_out: Refuse = lambda identifier, reason: None,
        on_other_name: Refuse = lambda identifier, reason: None,
    ) -> None:
        """Open the files.

        Args:
            target: where to.
            kinds: of keys that may come.
            thumbnails: whether small images are kept of specimens that bring one.
            on_left_out: told of each specimen that is not written.
            on_other_name: told of each that is written, and whose barcode another species has as well.
        """
        self.written, self.ids = Written(), set[str]()
        self._target, self._on_left_out, self._on_other_name = target, on_left_out, on_other_name
        self._numbers: dict[KeyKind, dict[bytes, int]] = {kind: {} for kind in kinds}
        self._species: list[str | None] = []  # of each key of a barcode, that of the first specimen with one
        with ExitStack() as stack:
            self._table = stack.enter_context(parquet_into(f"{target.address}/{SPECIMENS_FILE}", SPECIMENS))
            self._writers = {kind: KeyWriter(Path(target.address) / f"keys-{kind}.npy") for kind in kinds}
            for writer in self._writers.values():
                stack.callback(writer.close)
            self._thumbnails = None
            if thumbnails:
                self._thumbnails = stack.enter_context(parquet_into(f"{target.address}/{THUMBNAILS}", THUMBNAIL_SCHEMA))
            self._open = stack.pop_all()

    def __enter__(self) -> "SpecimenWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, where)
        for name, writer in self._writers.items():
            if writer.num_rows:
                self.written.num_keys[name] = writer.num_rows
            else:
                self._target.remove(f"keys-{name}.npy")

    def embed(self, some: Sequence[Known], embedder: Embedder) -> None:
        """Write specimens, with the keys that an embedder makes of what they bring; as many as can be held."""
        new = list(self._new(some))
        keys = {kind: self._embedded(kind, new, embedder) for kind in self._writers}
        self._write(new, keys)
        if self._thumbnails is not None:
            pictures = {one.query.id: one.query.image for one in new if one.query.id in self.ids}
            small = {name: _thumbnail(content) for name, content in pictures.items() if isinstance(content, bytes)}
            self.keep_thumbnails(pa.table([list(small), list(small.values())], schema=THUMBNAIL_SCHEMA))

    def keep(self, rows: Sequence[Mapping[str, Any]], kept: Kept) -> None:
        """Write rows of a database, whose keys are copied as they are stored."""
        known = [
            Known(
                Query(row["specimen_id"], barcode=row["barcode"]),
                {rank: row[rank] for rank in RANKS},
                row["bin"],
                row["trained"],
                row["source"],
            )
            for row in rows
        ]
        places = {one.query.id: place for place, one in enumerate(known)}
        new = list(self._new(known))
        own = [rows[places[one.query.id]] for one in new]
        self._write(new, {kind: self._copied(kind, own, kept) for kind in kept.keys if kind in self._writers})
        kept.ids.update(one.query.id for one in new)

    def keep_thumbnails(self, thumbnails: pa.Table | pa.RecordBatch) -> None:
        """Write small images that are there; nothing where none are wanted."""
        if self._thumbnails is not None:
            self._thumbnails.write_table(pa.table(thumbnails).filter(thumbnails["thumbnail"].is_valid()))

    def leave_out(self, identifier: str, reason: str) -> None:
        """Count and list a specimen that is not written."""
        self.written.num_left_out += 1
        if len(self.written.left_out) < _MOST_LISTED:
            self.written.left_out.append((identifier, reason))
        self._on_left_out(identifier, reason)

    def _new(self, some: Iterable[Known]) -> Iterator[Known]:
        """Those that have a name and an id that is not there yet."""
        for one in some:
            if one.query.id in self.ids:
                self.written.num_repeated += 1
                self.leave_out(one.query.id, "a specimen of this id is there already, which stays")
            elif not any(one.names.get(rank) for rank in RANKS):
                self.leave_out(one.query.id, "it has no name at any rank")
            else:
                self.ids.add(one.query.id)
                yield one

    def _embedded(self, kind: KeyKind, some: Sequence[Known], embedder: Embedder) -> list[int | str | None]:
        """For each specimen the number of its key, or why it has none; None where it brought nothing."""
        numbers, writer = self._numbers[kind], self._writers[kind]
        given = [one.query.image if kind == "image" else one.query.barcode for one in some]
        digests = [None if value is None else _digest(value) for value in given]
        new: dict[bytes, int] = {}
        for row, digest in enumerate(digests):
            if digest is not None and digest not in numbers:
                new.setdefault(digest, row)
        problems: dict[bytes, str] = {}
        if new:
            queries = [some[row].query for row in new.values()]
            rows, found = embedder.embed(kind, queries)
            problems = {digest: why for digest, why in zip(new, found, strict=True) if why is not None}
            if good := [place for place, why in enumerate(found) if why is None]:
                first, fine = writer.num_rows, [digest for digest in new if digest not in problems]
                counts = isinstance(embedder, KmerEmbedder)
                writer.append(counted([queries[place].barcode or "" for place in good]) if counts else rows[good])
                numbers.update({digest: first + place for place, digest in enumerate(fine)})
        return [
            one.lost.get(kind) if digest is None else problems.get(digest, numbers.get(digest))
            for one, digest in zip(some, digests, strict=True)
        ]

    def _copied(self, kind: KeyKind, rows: Sequence[Mapping[str, Any]], kept: Kept) -> list[int | str | None]:
        """The new number of each row's key; barcodes that are there already share theirs."""
        numbers, writer, known = self._numbers[kind], self._writers[kind], kept.numbers[kind]
        wanted: list[int] = []
        for row in rows:
            if (old := row[f"{kind}_key"]) is None or known[old] >= 0:
                continue
            digest = _digest(row["barcode"]) if kind == "dna" and row["barcode"] else b"%d of %d" % (old, id(kept))
            if digest not in numbers:
                numbers[digest] = writer.num_rows + len(wanted)
                wanted.append(old)
            known[old] = numbers[digest]
        if wanted:
            writer.append(kept.keys[kind].stored(np.array(wanted)))
        return [None if (old := row[f"{kind}_key"]) is None else int(known[old]) for row in rows]

    def _write(self, some: Sequence[Known], keys: Mapping[KeyKind, Sequence[int | str | None]]) -> None:
        rows = list(self._rows(some, keys))
        self._table.write_table(pa.Table.from_pylist(rows, schema=SPECIMENS))

    def _rows(
        self, some: Sequence[Known], keys: Mapping[KeyKind, Sequence[int | str | None]]
    ) -> Iterator[dict[str, Any]]:
        """The rows of specimens that have a key, counted."""
        for place, one in enumerate(some):
            own = {kind: numbers[place] for kind, numbers in keys.items()}
            found = {kind: number for kind, number in own.items() if isinstance(number, int)}
            reasons = {kind: number for kind, number in own.items() if isinstance(number, str)}
            if not found:
                self.ids.discard(one.query.id)
                why = one.query.problem or "; ".join(reasons.values()) or "it has nothing that the database could embed"
                self.leave_out(one.query.id, why)
                continue
            for kind in reasons:
                self.written.num_lost[kind] = self.written.num_lost.get(kind, 0) + 1
            self._count(one, found.get("dna"))
            yield {
                "specimen_id": one.query.id,
                **{rank: one.names.get(rank) for rank in RANKS},
                "bin": one.bin,
                "barcode": one.query.barcode,
                "trained": one.trained,
                **{f"{kind}_key": found.get(kind) for kind in KEY_KINDS},
                "source": one.source,
            }

    def _count(self, one: Known, barcode: int | None) -> None:
        written = self.written
        written.num_specimens += 1
        for rank in RANKS:
            if (name := one.names.get(rank)) is None:
                written.num_without_name[rank] += 1
            else:
                written.taxa[rank].add(name)
        if barcode is None:
            return
        self._species += [None] * (barcode + 1 - len(self._species))
        species, first = one.names.get("species"), self._species[barcode]
        if first is None:
            self._species[barcode] = species
        elif species not in (None, first):
            written.num_other_names += 1
            self._on_other_name(one.query.id, f"its barcode, named {species}, is also that of {first}")


def write_specimens(target: Folder, known: Iterable[Sequence[Known]], embedder: Embedder) -> Written:
    """Write specimens and keys into a folder that is not a database yet.

    Args:
        target: on a disk of this machine.
        known: some at a time, as many as can be held.
        embedder: of the run, or of k-mers.
    """
    with SpecimenWriter(target, embedder.kinds) as writer:
        for some in known:
            writer.embed(some, embedder)
    return writer.written


def _thumbnail(content: bytes) -> bytes | None:
    try:
        return thumbnail(content, LONGEST_SIDE)
    except RecordError:  # which the tower has said as well
        return None


def _digest(value: bytes | str | npt.NDArray[np.float32]) -> bytes:
    content = value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else value.tobytes()
    return hashlib.blake2b(content, digest_size=16).digest()
