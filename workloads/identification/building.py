"""Writes a database: specimens stream in, distinct keys are embedded once, and the facts come last."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workloads.identification.database import KEY_KINDS, SPECIMENS, SPECIMENS_FILE, KeyKind
from workloads.identification.embedding import Embedder, KmerEmbedder
from workloads.identification.keys import counted
from workloads.identification.query import Query
from workloads.spec import RANKS
from workloads.storage import Folder, parquet_into


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


@dataclass(slots=True)
class Written:
    """What became of the specimens that were written."""

    num_specimens: int = 0
    num_keys: dict[str, int] = field(default_factory=dict)
    taxa: dict[str, set[str]] = field(default_factory=lambda: {rank: set() for rank in RANKS})
    num_without_name: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RANKS, 0))
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Id and reason of specimens without anything that could be embedded."""


class KeyWriter:
    """Writes a matrix of unknown height: NumPy's header leaves room for a number of rows that is said in the end."""

    def __init__(self, path: Path) -> None:
        self._file, self.num_rows = path.open("wb"), 0
        self._size, self._dtype = 0, np.dtype(np.float32)

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Write some rows, (rows, size); all of one type and size."""
        if not self._size:
            self._size, self._dtype = rows.shape[1], rows.dtype
            self._head()
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self.num_rows += len(rows)

    def _head(self) -> None:
        shape = (self.num_rows, self._size)
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def close(self) -> None:
        """Say how many there are."""
        self._file.seek(0)
        self._head()
        self._file.close()


def write_specimens(target: Folder, known: Iterable[Sequence[Known]], embedder: Embedder) -> Written:
    """Embed specimens and write `specimens.parquet` and the keys into a folder that is not a database yet.

    Args:
        target: on a disk of this machine.
        known: some at a time, as many as can be held.
        embedder: of the run, or of k-mers.
    """
    written, kinds = Written(), [kind for kind in KEY_KINDS if kind in embedder.kinds]
    numbers: dict[KeyKind, dict[bytes, int]] = {kind: {} for kind in kinds}
    with ExitStack() as stack:
        table = stack.enter_context(parquet_into(f"{target.address}/{SPECIMENS_FILE}", SPECIMENS))
        writers = {kind: KeyWriter(Path(target.address) / f"keys-{kind}.npy") for kind in kinds}
        for writer in writers.values():
            stack.callback(writer.close)
        for some in known:
            keys = {kind: _keys_of(kind, some, embedder, numbers[kind], writers[kind]) for kind in kinds}
            rows = list(_rows(some, keys, written))
            table.write_table(pa.Table.from_pylist(rows, schema=SPECIMENS))
        written.num_keys = {kind: writer.num_rows for kind, writer in writers.items() if writer.num_rows}
    for kind in kinds:
        if kind not in written.num_keys:
            target.remove(f"keys-{kind}.npy")
    return written


def _keys_of(
    kind: KeyKind, some: Sequence[Known], embedder: Embedder, numbers: dict[bytes, int], writer: KeyWriter
) -> list[int | str | None]:
    """For each specimen the number of its key, or why it has none; None where it brought nothing."""
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
        good = [place for place, why in enumerate(found) if why is None]
        if good:
            first = writer.num_rows
            stored = counted([queries[place].barcode or "" for place in good]) if _counts(embedder) else rows[good]
            writer.append(stored)
            fine = [digest for digest in new if digest not in problems]
            numbers.update({digest: first + place for place, digest in enumerate(fine)})
    return [None if digest is None else problems.get(digest, numbers.get(digest)) for digest in digests]


def _counts(embedder: Embedder) -> bool:
    return isinstance(embedder, KmerEmbedder)


def _digest(value: bytes | str | npt.NDArray[np.float32]) -> bytes:
    content = value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else value.tobytes()
    return hashlib.blake2b(content, digest_size=16).digest()


def _rows(
    some: Sequence[Known], keys: Mapping[KeyKind, Sequence[int | str | None]], written: Written
) -> Iterator[dict[str, Any]]:
    """The rows of specimens that have a key, counted."""
    for place, one in enumerate(some):
        own = {kind: numbers[place] for kind, numbers in keys.items()}
        found = {kind: number for kind, number in own.items() if isinstance(number, int)}
        if not found:
            reasons = [number for number in own.values() if isinstance(number, str)]
            why = one.query.problem or "; ".join(reasons) or "it has nothing that the database could embed"
            written.left_out.append((one.query.id, why))
            continue
        written.num_specimens += 1
        for rank in RANKS:
            if (name := one.names.get(rank)) is None:
                written.num_without_name[rank] += 1
            else:
                written.taxa[rank].add(name)
        yield {
            "specimen_id": one.query.id,
            **{rank: one.names.get(rank) for rank in RANKS},
            "bin": one.bin,
            "barcode": one.query.barcode,
            "trained": one.trained,
            **{f"{kind}_key": found.get(kind) for kind in KEY_KINDS},
            "source": one.source,
        }
