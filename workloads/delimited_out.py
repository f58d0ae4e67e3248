r"""CSV and TSV as all that is written here has them: a record is one line, and no field is a formula.

Whoever names a specimen `=cmd|' /C calc'!A0` has it written as `'=cmd|' /C calc'!A0`, which spreadsheets show as it is.
Control characters are `\x00`, `\r` and the like: a program that splits lines by itself begins no field with them.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from workloads.printed_text import in_a_line
from workloads.storage import Folder

_COMPUTED = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # some spreadsheets take the wide ones too


def delimited(rows: Iterable[Sequence[Any]], delimiter: str = ",") -> str:
    """Rows as lines; numbers are numbers, None is empty."""
    sink = io.StringIO()
    csv.writer(sink, delimiter=delimiter, lineterminator="\n").writerows(map(_field, row) for row in rows)
    return sink.getvalue()


@contextmanager
def reject_list(folder: Folder, name: str = "rejects.tsv") -> Iterator[Callable[[str, str], None]]:
    """Writes a list of refused specimens, one a line with its reason; it appears, whole, when the block ends well."""
    with folder.aside(name) as aside, open(aside, "w", encoding="utf-8", newline="\n") as file:

        def write(identifier: str, reason: str) -> None:
            file.write(delimited([(identifier, reason)], "\t"))

        write("specimen_id", "reason")
        yield write


def _field(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = in_a_line(value)
    return f"'{text}" if text.lstrip(" ").startswith(_COMPUTED) else text
