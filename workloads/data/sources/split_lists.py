"""Which split each specimen belongs to, from lists: the published ones of CLIBD, or a user's own.

The published lists are text files `<split>.txt` with one sample id a line, in a folder or in `CLIBD_partitioning.zip`,
which is read in place. Two of them, `all_keys` and `no_split_and_seen_train`, only repeat others; they are checked
against those and add nothing. A user's lists may be such a folder too, or a table with the columns `specimen_id` (or
`sampleid`, `processid`) and `split`, as the authors' script for drawing splits writes it.
"""

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from workloads.data.files.zip_members import Member, read_member, zip_members
from workloads.data.sources.delimited import bounded_lines, named, read_delimited
from workloads.data.sources.source import Refused
from workloads.data.specimens.schema import PROTOCOLS
from workloads.errors import MissingPathError, PartitionError, RecordError, SourceError

LISTS_NAME = "CLIBD_partitioning"
"""The folder of the published lists, and the stem of their archive."""
UNIONS: Mapping[str, tuple[str, ...]] = {
    "no_split_and_seen_train": ("no_split", "train_seen"),
    "all_keys": ("seen_keys", "val_unseen_keys", "test_unseen_keys"),
}
"""Lists that repeat others."""

_SPLITS = frozenset(split for protocol in PROTOCOLS.values() for split in protocol.splits)
_AUTHORS_NAMES = {
    "query_seen": "seen_keys",
    "val_query_unseen": "val_unseen_keys",
    "test_query_unseen": "test_unseen_keys",
}
"""Splits as the authors' script calls them: what it calls a query is a key."""
_ID_COLUMNS = ("specimen_id", "sampleid", "processid")
_TABLES = (".tsv", ".csv", ".txt")
_LONGEST_ID = 200


def read_split_lists(path: Path) -> dict[str, str]:
    """The split of each specimen that a set of lists names.

    Args:
        path: a folder or a zip archive of `<split>.txt`, or a table (.tsv, .csv, also .gz).

    Returns:
        Split by specimen id, in the order of the lists; 1.13 million ids take some 250 MB.

    Raises:
        MissingPathError: there are no lists.
        SourceError: a split that no protocol has, an id in two splits or twice in one, a line that is no id, a list
            that should repeat others and does not, each with file and line.
    """
    if path.is_file() and path.suffix.lower() != ".zip":
        return _read_table(path)
    lists = _lists_of_archive(path) if path.is_file() else _lists_of_folder(path)
    if not lists:
        raise MissingPathError(str(path), "list of a split", "Name a folder or archive of <split>.txt, or a table.")
    splits: dict[str, str] = {}
    for name, text in lists.items():
        if name in UNIONS:
            continue
        _check_split(name, text.name, "")
        for where, identifier in text.ids():
            _add(splits, identifier, name, text.name, where)
    for name, text in lists.items():
        if name in UNIONS:
            _check_union(text, UNIONS[name], lists, splits)
    return splits


def protocol_of(splits: Iterable[str]) -> str:
    """Which of the known protocols has all of these splits, the paper's first.

    Raises:
        PartitionError: none of them has.
    """
    names = set(splits)
    for name, protocol in PROTOCOLS.items():
        if names <= set(protocol.splits):
            return name
    raise PartitionError("these splits belong to no one protocol", sorted(names))


@dataclass(frozen=True, slots=True)
class Assignment:
    """Splits of a table's specimens, taken from lists."""

    splits: pa.Array
    """Split of each specimen, in the order of the table."""
    num_listed_elsewhere: int
    """Specimens that the lists name and the table does not have: it is a part of what was partitioned."""

    @property
    def note(self) -> str | None:
        """A remark for the user on a table that is only a part, or None."""
        if not self.num_listed_elsewhere:
            return None
        plural = "" if self.num_listed_elsewhere == 1 else "s"
        return f"the lists name {self.num_listed_elsewhere:,} specimen{plural} more than the table has"


def assign_lists(ids: Iterable[str] | pa.ChunkedArray, lists: Mapping[str, str]) -> Assignment:
    """The listed split of each specimen of a table.

    A table may hold a part of the listed specimens. A specimen in no list is refused, because to train on it or to
    leave it out is a decision that the lists were meant to make; unlabelled specimens are listed too, as `no_split`.

    Args:
        ids: specimen ids of the table, each once.
        lists: of `read_split_lists`.

    Raises:
        PartitionError: a specimen is in no list.
    """
    names = ids.to_pylist() if isinstance(ids, pa.ChunkedArray) else list(ids)
    found = [lists.get(name) for name in names]
    unlisted = [name for name, split in zip(names, found, strict=True) if split is None]
    if unlisted and len(unlisted) == len(names):
        raise PartitionError("the lists name none of the specimens; they may go by another id", unlisted[:5])
    if unlisted:
        raise PartitionError(f"{len(unlisted):,} of {len(names):,} specimens are in no list", unlisted)
    return Assignment(pa.array(found, pa.string()), len(lists) - len(set(names)))


class _List:
    """One list of ids: a text file, or the text of an archive's member."""

    def __init__(self, name: str, source: Path | bytes) -> None:
        self.name, self._source = name, source

    def ids(self) -> Iterator[tuple[str, str]]:
        """(`line N`, id) of every line that is not blank."""
        lines: Iterable[bytes | None]
        if isinstance(self._source, Path):
            lines = bounded_lines(self._source)
        else:
            lines = io.BytesIO(self._source.removeprefix(b"\xef\xbb\xbf"))
        for number, line in enumerate(lines, start=1):
            try:
                identifier = "" if line is None else line.decode().strip()
            except UnicodeDecodeError as error:
                raise SourceError(self.name, f"line {number}", "not UTF-8") from error
            if line is None or identifier:
                _check_id(identifier, self.name, f"line {number}")
                yield f"line {number}", identifier


def _lists_of_folder(path: Path) -> dict[str, _List]:
    if (path / LISTS_NAME).is_dir():
        path = path / LISTS_NAME
    return {file.stem: _List(str(file), file) for file in sorted(path.glob("*.txt")) if _is_list(file.name)}


def _lists_of_archive(path: Path) -> dict[str, _List]:
    members = [member for member in zip_members(path) if _is_list(os.path.basename(member.name))]
    lists: dict[str, _List] = {}
    with path.open("rb") as file:
        for member in members:
            name = os.path.basename(member.name).removesuffix(".txt")
            if name in lists:
                raise SourceError(str(path), f"member {member.name!r}", f"a second list of '{name}'")
            lists[name] = _List(f"{path}/{member.name}", _content(path, file.fileno(), member))
    return lists


def _is_list(name: str) -> bool:
    return name.endswith(".txt") and not name.startswith((".", "_"))  # archives made on a Mac hold `._<name>` too


def _content(path: Path, file: int, member: Member) -> bytes:
    try:
        return read_member(file, member)
    except RecordError as error:
        raise SourceError(str(path), f"member {member.name!r}", str(error)) from error


def _check_union(text: _List, parts: tuple[str, ...], lists: Mapping[str, _List], splits: Mapping[str, str]) -> None:
    """Refuse a list that does not repeat its parts, or whose parts are not there to tell it apart."""
    if missing := [part for part in parts if part not in lists]:
        raise SourceError(text.name, "", f"this list repeats others, of which {', '.join(missing)} are missing")
    seen: set[str] = set()
    for where, identifier in text.ids():
        if splits.get(identifier) not in parts:
            split = splits.get(identifier, "no list")
            raise SourceError(text.name, where, f"{identifier!r} is in {split}, not in {' or '.join(parts)}")
        if identifier in seen:
            raise SourceError(text.name, where, f"{identifier!r} for the second time")
        seen.add(identifier)
    absent = next((name for name, split in splits.items() if split in parts and name not in seen), None)
    if absent is not None:
        raise SourceError(text.name, "", f"{absent!r} of {splits[absent]} is missing")


def _read_table(path: Path) -> dict[str, str]:
    if not path.name.lower().removesuffix(".gz").endswith(_TABLES):
        reason = f"not a table ({', '.join(_TABLES)}, also .gz), nor a folder or archive of lists"
        raise SourceError(str(path), "", reason)
    header, lines = read_delimited(path, "\t,;")
    column = next((name for name in _ID_COLUMNS if name in header), None)
    if column is None or "split" not in header:
        raise SourceError(str(path), "first line", f"no columns 'split' and one of {', '.join(_ID_COLUMNS)}")
    splits: dict[str, str] = {}
    for row in named(header, lines):
        if isinstance(row, Refused):
            raise SourceError(str(path), row.identifier, row.reason)
        identifier, split = row[column].strip(), row["split"].strip()
        split = _AUTHORS_NAMES.get(split, split)
        _check_split(split, str(path), row["where"])
        _check_id(identifier, str(path), row["where"])
        _add(splits, identifier, split, str(path), row["where"])
    if not splits:
        raise SourceError(str(path), "", "it lists no specimen")
    return splits


def _check_split(split: str, path: str, where: str) -> None:
    if split not in _SPLITS:
        raise SourceError(path, where, f"no protocol has a split '{split}'; there are {', '.join(sorted(_SPLITS))}")


def _check_id(identifier: str, path: str, where: str) -> None:
    if not identifier or not identifier.isprintable() or len(identifier) > _LONGEST_ID:
        raise SourceError(path, where, f"not a specimen id ({identifier[:40]!r})")


def _add(splits: dict[str, str], identifier: str, split: str, path: str, where: str) -> None:
    if identifier in splits:
        raise SourceError(path, where, f"{identifier!r} is in {splits[identifier]} already")
    splits[identifier] = split
