"""From files to a file of answers: what is done stays done when it is broken off, and is told in numbers at its end.

Answers to be kept are first written in parts beside the file, each whole or not there:

    OUT.parts/asked.json                  of which files, database and settings they are
    OUT.parts/part-000003-1024.parquet    the fourth of them, with the answers to 1,024 queries

Started again with the same question, it goes on behind the last part, and the file is the same to the byte.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from workloads.identification.answers import BELOW
from workloads.identification.asking import STDIN, Files, num_queries, queries_of
from workloads.identification.database import FACTS
from workloads.identification.formats import Format, writing
from workloads.identification.identifying import Identifier, in_parts
from workloads.identification.query import Query
from workloads.leftovers import remove_leftovers
from workloads.spec import RANKS
from workloads.storage import Folder

_ASKED = "asked.json"
_PART = re.compile(r"part-(\d{6})-(\d+)\.parquet")
Told = Callable[[int, int | None], None]


@dataclass(slots=True)
class Tally:
    """What the answers came to."""

    names: bool = True
    """Whether names were asked for, and not neighbours."""
    num_queries: int = 0
    num_resumed: int = 0
    """Of them those that an earlier start had answered."""
    by_rank: Counter[str] = field(default_factory=Counter)
    """Specimens by the deepest rank of their name; `none` where no rank held."""
    num_errors: int = 0
    num_repeated: int = 0
    """Specimens whose id had come before; each has its own answer."""
    flags: Counter[str] = field(default_factory=Counter)
    _ids: set[int] = field(default_factory=set)

    def add(self, answers: pa.Table) -> None:
        """Count the answers to some queries; the rows of one stand together."""
        columns = ("file_name", "specimen_id", "rank", "error", "flags")
        for _, own in groupby(answers.select(columns).to_pylist(), lambda row: (row["file_name"], row["specimen_id"])):
            rows = list(own)
            self._count_id(rows[0]["specimen_id"])
            self.flags.update(flag for flag in {flag for row in rows for flag in row["flags"]} if flag != BELOW)
            if any(row["error"] is not None for row in rows):
                self.num_errors += 1
            else:
                held = [row["rank"] for row in rows if row["rank"] and BELOW not in row["flags"]]
                self.by_rank[held[-1] if held else "none"] += 1

    def _count_id(self, identifier: str) -> None:
        before = len(self._ids)
        self._ids.add(hash(identifier))
        self.num_repeated += len(self._ids) == before

    def words(self) -> str:
        """The same in a sentence."""
        named = [f"{rank} {self.by_rank[rank]:,}" for rank in reversed(RANKS) if self.by_rank[rank]]
        named += [f"no rank {self.by_rank['none']:,}"] if self.by_rank["none"] else []
        said = [f"{self.num_queries:,} specimens", *([f"named to {', '.join(named)}"] if named and self.names else [])]
        said += [f"{self.num_resumed:,} of them by an earlier start"] if self.num_resumed else []
        said += [f"{self.num_errors:,} could not be read (column error)"] if self.num_errors else []
        said += [f"{self.num_repeated:,} with an id that had come before"] if self.num_repeated else []
        return "; ".join(said)

    def facts(self) -> dict[str, Any]:
        """The same as plain numbers."""
        whole = {name: getattr(self, name) for name in ("num_queries", "num_resumed", "num_errors", "num_repeated")}
        return {**whole, "by_rank": dict(self.by_rank), "flags": dict(sorted(self.flags.items()))}


class Parts:
    """The answers so far, beside the file that they become."""

    def __init__(self, out: str, asked: Mapping[str, Any]) -> None:
        """Keep what an earlier start left, if it was asked the same; else it is removed."""
        self._target = Path(os.path.expanduser(out)).absolute()
        self.folder = Folder(f"{self._target}.parts")
        question = json.loads(json.dumps(asked))
        if not (self.folder.has(_ASKED) and self.folder.read_json(_ASKED) == question):
            self.remove()
            self.folder.write_json(_ASKED, question)
        found = sorted(match.groups() for name in self.folder.files() if (match := _PART.fullmatch(name)))
        self._sizes = [int(size) for place, (number, size) in enumerate(found) if int(number) == place]

    @property
    def num_queries(self) -> int:
        """How many are answered."""
        return sum(self._sizes)

    def add(self, answers: pa.Table, num_queries: int) -> None:
        """Keep the answers to the next queries."""
        self.folder.write_table(f"part-{len(self._sizes):06d}-{num_queries}.parquet", answers)
        self._sizes.append(num_queries)

    def tables(self) -> Iterator[pa.Table]:
        """The answers, part by part."""
        for number, size in enumerate(self._sizes):
            yield self.folder.read_table(f"part-{number:06d}-{size}.parquet")

    def remove(self) -> None:
        """Remove what is kept of an identification; nothing else lies in there."""
        for name in self.folder.files():
            if _PART.fullmatch(name) or name == _ASKED:
                self.folder.remove(name)
        remove_leftovers(Path(self.folder.path))
        with suppress(OSError):  # it is not there, or something of somebody else's lies in it
            Path(self.folder.path).rmdir()

    def become(self, write: Callable[[IO[bytes], Iterator[pa.Table]], None]) -> None:
        """Let the parts become the file, by what writes tables into an open file."""
        with Folder(self._target.parent).aside(self._target.name) as aside, open(aside, "wb") as file:
            write(file, self.tables())
        self.remove()


def answer_to(sink: IO[bytes], files: Files, identifier: Identifier, form: Format, told: Told) -> Tally:
    """Answer into an open stream as the answers come, the first after at most 64 queries.

    Args:
        sink: open for writing bytes.
        files: what is asked about.
        identifier: of the database.
        form: of the answers.
        told: how many of how many queries are done.
    """
    tally, total = Tally(identifier.asking.k is None), num_queries(files)
    with writing(form, sink, identifier.database.facts) as write:
        for some in ahead(in_parts(_queries(files))):
            answers = identifier.answer(some)
            write(answers)
            tally.num_queries += len(some)
            tally.add(answers)
            told(tally.num_queries, total)
    return tally


def answer_into(out: str, files: Files, identifier: Identifier, form: Format, told: Told) -> Tally:
    """Answer into a file, behind what an earlier start has answered; arguments as of `answer_to`."""
    tally, total = Tally(identifier.asking.k is None), num_queries(files)
    parts = Parts(out, _question(files, identifier))
    tally.num_resumed = parts.num_queries
    for some in ahead(in_parts(_queries(files))):
        tally.num_queries += len(some)
        if tally.num_queries > tally.num_resumed:
            parts.add(identifier.answer(some), len(some))
        told(tally.num_queries, total)

    def write_all(file: IO[bytes], tables: Iterator[pa.Table]) -> None:
        with writing(form, file, identifier.database.facts) as write:
            for table in tables:
                write(table)
                tally.add(table)

    parts.become(write_all)
    return tally


def _queries(files: Files) -> Iterator[Query]:
    return queries_of(files.names, files.columns, files.images, files.recursive)


def _question(files: Files, identifier: Identifier) -> dict[str, Any]:
    """Everything that decides answers; what comes on stdin is never the same again."""
    asking = asdict(identifier.asking)
    asking["within"] = None if asking["within"] is None else sorted(asking["within"])
    return {
        "database": identifier.database.folder.digest(FACTS),
        "files": [_state_of(path) for path in files.paths()],
        "columns": dict(files.columns),
        "images": None if files.images is None else str(files.images),
        "recursive": files.recursive,
        "asking": asking,
    }


def _state_of(path: str) -> list[Any]:
    if path == STDIN:
        return [path, os.urandom(16).hex()]
    if not os.path.exists(path):
        return [path]
    facts = os.stat(path)
    return [os.path.abspath(path), facts.st_size, facts.st_mtime_ns]


def ahead(parts: Iterator[list[Query]]) -> Iterator[list[Query]]:
    """The same, each read while the one before it is answered."""
    reader = ThreadPoolExecutor(1, "reading")
    try:
        waiting = reader.submit(next, parts, None)
        while (some := waiting.result()) is not None:
            waiting = reader.submit(next, parts, None)
            yield some
    finally:
        reader.shutdown(wait=False, cancel_futures=True)  # who is stopped does not wait for a line on stdin
