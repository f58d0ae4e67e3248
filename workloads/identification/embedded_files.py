"""Embeddings of files, as Parquet or as a matrix with a list of ids beside it; one row an input.

    x.parquet    specimen_id, file_name, modality, embedding, error
    x.npy        fp32 (inputs, size), and x.csv: row, specimen_id, file_name, modality, error

What cannot be embedded has its reason, no embedding, and no row in the matrix.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from workloads.arrays import Floats
from workloads.delimited_out import delimited
from workloads.errors import UsageError
from workloads.identification.database import KEY_KINDS
from workloads.identification.embedding import Embedder
from workloads.identification.keys import KeyWriter
from workloads.identification.query import Query
from workloads.storage import Folder, parquet_into

EMBEDDINGS = pa.schema(
    [
        ("specimen_id", pa.string()),
        ("file_name", pa.string()),
        ("modality", pa.string()),
        ("embedding", pa.list_(pa.float32())),
        ("error", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class _Input:
    """An image or a barcode of a query, with what came of it."""

    query: Query
    modality: str | None
    embedding: Floats | None
    error: str | None

    @property
    def names(self) -> tuple[str, str, str | None]:
        """Id, place and modality."""
        return self.query.id, self.query.where or self.query.id, self.modality


def embed_into(
    to: str, parts: Iterator[Sequence[Query]], embedder: Embedder, told: Callable[[int], None] = lambda done: None
) -> tuple[int, int]:
    """Embed queries into a file, which appears when all of them are done.

    Args:
        to: a path that ends in .parquet or .npy.
        parts: queries, some at a time.
        embedder: of a run or a database.
        told: how many queries are done.

    Returns:
        Inputs that were embedded, and those that could not be.

    Raises:
        UsageError: another ending; or a matrix of nothing.
    """
    kinds = {".parquet": _into_parquet, ".npy": _into_matrix}
    target = Path(to).expanduser().absolute()
    if target.suffix not in kinds:
        raise UsageError(f"--to {to}: end it in .parquet, or in .npy for a matrix with its ids in a .csv beside it")
    return kinds[target.suffix](target, _inputs(parts, embedder, told))


def _inputs(
    parts: Iterator[Sequence[Query]], embedder: Embedder, told: Callable[[int], None]
) -> Iterator[list[_Input]]:
    done = 0
    for queries in parts:
        found: list[_Input] = []
        for kind in KEY_KINDS:
            own = [query for query in queries if (query.image if kind == "image" else query.barcode) is not None]
            if own and kind not in embedder.kinds:
                found += [_Input(query, kind, None, "nothing here embeds this modality") for query in own]
            elif own:
                rows, problems = embedder.embed(kind, own)
                made = zip(own, rows, problems, strict=True)
                found += [_Input(query, kind, None if why else row, why) for query, row, why in made]
        found += [_Input(query, None, None, query.problem) for query in queries if query.problem is not None]
        place = {id(query): number for number, query in enumerate(queries)}
        yield sorted(found, key=lambda one: place[id(one.query)])
        done += len(queries)
        told(done)


def _into_parquet(target: Path, inputs: Iterator[list[_Input]]) -> tuple[int, int]:
    num_embedded = num_errors = 0
    with Folder(target.parent).aside(target.name) as aside, parquet_into(aside, EMBEDDINGS) as writer:
        for some in inputs:
            rows = [(*one.names, one.embedding, one.error) for one in some]
            named = [dict(zip(EMBEDDINGS.names, row, strict=True)) for row in rows]
            writer.write_table(pa.Table.from_pylist(named, schema=EMBEDDINGS))
            num_errors += sum(one.error is not None for one in some)
            num_embedded += sum(one.error is None for one in some)
    return num_embedded, num_errors


def _into_matrix(target: Path, inputs: Iterator[list[_Input]]) -> tuple[int, int]:
    folder, num_errors = Folder(target.parent), 0
    with ExitStack() as stack:
        matrix = stack.enter_context(folder.aside(target.name))
        listed = stack.enter_context(folder.aside(target.with_suffix(".csv").name))
        ids = stack.enter_context(open(listed, "w", encoding="utf-8", newline="\n"))
        rows = KeyWriter(Path(matrix))
        stack.callback(rows.close)
        ids.write(delimited([("row", *EMBEDDINGS.names[:3], "error")]))
        for some in inputs:
            for one in some:
                ids.write(delimited([(rows.num_rows if one.error is None else None, *one.names, one.error)]))
                if one.embedding is not None:
                    rows.append(one.embedding[None])
                num_errors += one.error is not None
        if not rows.num_rows:
            raise UsageError(
                f"not one of {num_errors:,} inputs could be embedded, so there is no matrix; see --to x.parquet"
            )
    return rows.num_rows, num_errors
