"""Tables of one JSON object a line, as the `metadata.jsonl` of Hugging Face `datasets`."""

from collections.abc import Iterator
from typing import Any

from workloads.data.files.zip_members import TextFile
from workloads.data.sources.delimited import TableRow
from workloads.data.sources.lines import Ahead, bounded_lines
from workloads.data.sources.source import Refused
from workloads.errors import RecordError, SourceError
from workloads.plain_values import parsed

_LOOKED_AT = 100  # lines, whose keys are the columns


class JsonLines:
    """A table whose columns are the keys of its first hundred objects."""

    total: int | None = None

    def __init__(self, path: TextFile) -> None:
        """Read the first lines.

        Raises:
            SourceError: the first of them is no object, or there is none.
        """
        self.path = path
        numbered = (
            (number, line) for number, line in enumerate(bounded_lines(path), start=1) if line is None or line.strip()
        )
        self._lines = Ahead(numbered)
        first = self._lines.peek(0)
        if first is None:
            raise SourceError(path, "", "it is empty, or its first line is longer than 1 MiB")
        keys: dict[str, None] = {}
        for place in range(_LOOKED_AT):
            line = self._lines.peek(place)
            try:
                keys |= dict.fromkeys(_object(line)) if line is not None else {}
            except RecordError as error:
                if not place:
                    raise SourceError(path, "line 1", str(error)) from error
        self.header = list(keys)

    def rows(self) -> Iterator[TableRow | Refused]:
        """One row an object; what is no object is refused."""
        for number, line in self._lines:
            where = f"line {number}"
            try:
                if line is None:
                    raise RecordError("the line is longer than 1 MiB")
                found = _object(line)
            except RecordError as error:
                yield Refused(where, str(error))
                continue
            yield where, {name: _text(found.get(name)) for name in self.header}


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = parsed(line.decode())
    except ValueError as error:
        raise RecordError(f"not JSON ({' '.join(str(error).split())[:80]})") from error
    if not isinstance(found, dict):
        raise RecordError("not a JSON object of columns")
    return found


def _text(value: Any) -> str:
    """A value as text; lists and objects are none."""
    if value is None or isinstance(value, list | dict):
        return ""
    return str(value)
