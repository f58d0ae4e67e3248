"""Which split each specimen belongs to, from lists: the published ones of CLIBD, or a user's own.

The published lists are text files `<split>.txt` with one sample id a line, in a folder or in `CLIBD_partitioning.zip`,
which is read in place. Two of them, `all_keys` and `no_split_and_seen_train`, only repeat others; they are checked
against those and add nothing. A user's lists may be such a folder too, or a table with a column of ids, under any name
that a table of specimens may have, and a column `split`, as the authors' script for drawing splits writes it; its words
may also be those for train, val and test, of which `own_splits` makes queries and keys.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from workloads.data.files.zip_members import TextFile, zipped_texts
from workloads.data.sources.columns import COLUMN_NAMES, plain_name
from workloads.data.sources.delimited import read_delimited
from workloads.data.sources.lines import bounded_lines
from workloads.data.sources.source import Refused
from workloads.data.specimens.own_splits import part_of_word
from workloads.data.specimens.schema import PROTOCOLS
from workloads.errors import MissingPathError, PartitionError, SourceError

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
    lists = _lists(path)
    splits: dict[str, str] = {}
    for name, file in lists.items():
        if name in UNIONS:
            continue
        _check_split(name, str(file), "")
        for where, identifier in _ids(file):
            _add(splits, identifier, name, str(file), where)
    for name in UNIONS:
        if name in lists:
            _check_union(name, lists, splits)
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


def assign_lists(ids: Iterable[str] | pa.ChunkedArray, lists: Mapping[str, str]) -> tuple[pa.Array, str | None]:
    """The listed split of each specimen of a table.

    A table may hold a part of the listed specimens. A specimen in no list is refused, because to train on it or to
    leave it out is a decision that the lists were meant to make; unlabelled specimens are listed too, as `no_split`.

    Args:
        ids: specimen ids of the table, each once.
        lists: of `read_split_lists`.

    Returns:
        Split of each specimen, in the order of the table, and a remark if the table is only a part of what the lists
        name.

    Raises:
        PartitionError: a specimen is in no list.
    """
    names = ids.to_pylist() if isinstance(ids, pa.ChunkedArray) else list(ids)
    splits = [lists.get(name) for name in names]
    unlisted = [name for name, split in zip(names, splits, strict=True) if split is None]
    if unlisted and len(unlisted) == len(names):
        raise PartitionError(
            "the lists name none of the specimens; they may go by another id: import with --map specimen_id=COLUMN",
            unlisted[:5],
        )
    if unlisted:
        raise PartitionError(f"{len(unlisted):,} of {len(names):,} specimens are in no list", unlisted)
    elsewhere = len(lists) - len(set(names))
    note = f"the lists name {elsewhere:,} specimen{'' if elsewhere == 1 else 's'} more than the table has"
    return pa.array(splits, pa.string()), note if elsewhere else None


def _lists(path: Path) -> dict[str, TextFile]:
    """The files `<split>.txt` of a folder or an archive, by split."""
    folder = path / LISTS_NAME if (path / LISTS_NAME).is_dir() else path
    files = zipped_texts(path, "<split>.txt") if path.is_file() else sorted(folder.glob("*.txt"))
    lists: dict[str, TextFile] = {}
    for file in files:
        if not file.name.endswith(".txt") or file.name.startswith((".", "_")):
            continue  # archives made on a Mac hold `._<name>` too
        if (name := file.name.removesuffix(".txt")) in lists:
            raise SourceError(file, "", f"a second list of '{name}'")
        lists[name] = file
    if not lists:
        raise MissingPathError(path, "list of a split", "Name a folder or archive of <split>.txt, or a table.")
    return lists


def _ids(file: TextFile) -> Iterator[tuple[str, str]]:
    """(`line N`, id) of every line that is not blank."""
    for number, line in enumerate(bounded_lines(file), start=1):
        try:
            identifier = "" if line is None else line.decode().strip()
        except UnicodeDecodeError as error:
            raise SourceError(file, f"line {number}", "not UTF-8") from error
        if line is None or identifier:
            _check_id(identifier, str(file), f"line {number}")
            yield f"line {number}", identifier


def _check_union(name: str, lists: Mapping[str, TextFile], splits: Mapping[str, str]) -> None:
    """Refuse a list that does not repeat its parts, or whose parts are not there to tell it apart."""
    parts, text = UNIONS[name], str(lists[name])
    if missing := [part for part in parts if part not in lists]:
        raise SourceError(text, "", f"this list repeats others, of which {', '.join(missing)} are missing")
    seen: set[str] = set()
    for where, identifier in _ids(lists[name]):
        if splits.get(identifier) not in parts:
            split = splits.get(identifier, "no list")
            raise SourceError(text, where, f"{identifier!r} is in {split}, not in {' or '.join(parts)}")
        if identifier in seen:
            raise SourceError(text, where, f"{identifier!r} for the second time")
        seen.add(identifier)
    absent = next((key for key, split in splits.items() if split in parts and key not in seen), None)
    if absent is not None:
        raise SourceError(text, "", f"{absent!r} of {splits[absent]} is missing")


def _read_table(path: Path) -> dict[str, str]:
    if not path.name.lower().removesuffix(".gz").endswith(_TABLES):
        raise SourceError(path, "", f"not a table ({', '.join(_TABLES)}, also .gz), nor a folder or archive of lists")
    header, rows, _ = read_delimited(path, "\t,;")
    column, of_split = _id_and_split(path, header)
    splits: dict[str, str] = {}
    for row in rows:
        if isinstance(row, Refused):
            raise SourceError(path, row.identifier, row.reason)
        where, values = row
        identifier, split = values[column].strip(), values[of_split].strip()
        split = _AUTHORS_NAMES.get(split, split)
        _check_split(split, str(path), where)
        _check_id(identifier, str(path), where)
        _add(splits, identifier, split, str(path), where)
    if not splits:
        raise SourceError(path, "", "it lists no specimen")
    return splits


def _id_and_split(path: Path, header: Sequence[str]) -> tuple[str, str]:
    """The columns of a table of lists: by the names that tables of specimens have, or the other one of two.

    Raises:
        SourceError: no telling which they are.
    """
    plain = {plain_name(name): name for name in reversed(header)}
    of_split = next((plain[name] for name in COLUMN_NAMES["split"] if name in plain), None)
    column = next((plain[name] for name in COLUMN_NAMES["specimen_id"] if name in plain), None)
    if column is None and of_split is not None and len(header) == 2:
        column = next(name for name in header if name != of_split)
    if column is None or of_split is None:
        wanted = ", ".join(COLUMN_NAMES["specimen_id"])
        raise SourceError(path, "first line", f"no column 'split' and one of ids ({wanted}); rename yours")
    return column, of_split


def _check_split(split: str, path: str, where: str) -> None:
    if split not in _SPLITS and part_of_word(split) is None:
        known = f"there are train, val and test, and {', '.join(sorted(_SPLITS))}"
        raise SourceError(path, where, f"no protocol has a split '{split}'; {known}")


def _check_id(identifier: str, path: str, where: str) -> None:
    if not identifier or not identifier.isprintable() or len(identifier) > _LONGEST_ID:
        raise SourceError(path, where, f"not a specimen id ({identifier[:40]!r})")


def _add(splits: dict[str, str], identifier: str, split: str, path: str, where: str) -> None:
    if identifier in splits:
        raise SourceError(path, where, f"{identifier!r} is in {splits[identifier]} already")
    splits[identifier] = split
