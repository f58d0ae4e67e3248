"""What image files that belong to no specimen may be named after: which column of the table, or which part of it."""

import shlex
from collections import Counter
from collections.abc import Sequence

from workloads.data.sources.source import RawRecord

ROW = "row"
"""Field of a raw record that only the finding of images reads: the names of its table's other columns of ids, and the
row as the table has it, by the names of its columns."""
_REMEMBERED = 2000  # that are remembered; a naming shows in the first few


class Naming:
    """The names in the first rows of a table, to compare files with."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._columns: dict[str, list[str]] = {}
        self._ids: list[str] = []
        self._count = 0

    def see(self, record: RawRecord) -> None:
        """Remember a record, if it is one of the first."""
        if self._count >= _REMEMBERED:
            return
        self._count += 1
        others, values = record.get(ROW, ((), {}))
        names = (str(name or "").strip() for name in (record.get("specimen_id"), *(values[name] for name in others)))
        self._ids += filter(None, names)
        for column, value in values.items():
            if isinstance(value, str) and 0 < len(value) <= 200:
                self._columns.setdefault(column, []).append(value.strip())

    def column_of(self, names: Sequence[str]) -> str | None:
        """The column that has most of some names; None where none has any.

        A column in which a value comes twice holds no ids: to take species for them would unite their specimens.
        """
        distinct = {column: set(own) for column, own in self._columns.items() if len(set(own)) == len(own)}
        counts = Counter({column: sum(name in own for name in names) for column, own in distinct.items()})
        column, count = counts.most_common(1)[0] if counts else ("", 0)
        return column if count else None

    def hint(self, stems: Sequence[str]) -> str:
        """What would match, as the end of a sentence; empty where nothing would.

        Args:
            stems: of files that match nothing, some hundreds.
        """
        if column := self.column_of(stems):
            return f", and are named as '{column}' has it: {as_ids(column)}"
        for stem in stems[:50]:
            inside = next((name for name in self._ids if len(name) >= 3 and name in stem), None)
            if inside is not None:
                return f", though '{stem}' holds the id '{inside}': a file is named by the id alone, or ID_dorsal, ID_2"
        return ""


def as_ids(column: str) -> str:
    """The option that takes a column for the ids, as a shell wants it."""
    return f"--map {shlex.quote(f'specimen_id={column}')}"
