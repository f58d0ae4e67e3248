"""What image files that belong to no specimen may be named after: which column of the table, or which part of it."""

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
        self._columns: dict[str, set[str]] = {}
        self._ids: list[str] = []
        self._count = 0

    def see(self, record: RawRecord) -> None:
        """Remember a record, if it is one of the first."""
        if self._count >= _REMEMBERED:
            return
        self._count += 1
        if identifier := str(record.get("specimen_id") or "").strip():
            self._ids.append(identifier)
        for column, value in record.get(ROW, ((), {}))[1].items():
            if isinstance(value, str) and 0 < len(value) <= 200:
                self._columns.setdefault(column, set()).add(value.strip())

    def hint(self, stems: Sequence[str]) -> str:
        """What would match, as the end of a sentence; empty where nothing would.

        Args:
            stems: of files that match nothing, some hundreds.
        """
        counts = Counter({column: sum(stem in names for stem in stems) for column, names in self._columns.items()})
        column, count = counts.most_common(1)[0] if counts else ("", 0)
        if count:
            return f", and are named as '{column}' has it: --map specimen_id={column}"
        for stem in stems[:50]:
            inside = next((name for name in self._ids if len(name) >= 3 and name in stem), None)
            if inside is not None:
                return f", though '{stem}' holds the id '{inside}': a file is named by the id alone, or ID_dorsal, ID_2"
        return ""
