"""Excel workbooks (.xlsx), read row by row; openpyxl does it, and what it would hold in memory is bounded before."""

import datetime
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workloads.data.files.zip_members import READING_ERRORS, zip_members
from workloads.data.sources.delimited import TableRow, check_header
from workloads.data.sources.findings import Findings
from workloads.data.sources.source import Refused
from workloads.errors import SourceError

_SMALL, _MAX_RATIO = 4 * 2**20, 60
_MOST_STRINGS = 200 * 2**20
"""Bytes of XML of the texts of a workbook, which openpyxl holds all at once."""


class Workbook:
    """The first sheet of a workbook that holds anything; other sheets are said to be passed over."""

    total: int | None = None

    def __init__(self, path: Path, findings: Findings) -> None:
        """Read its header.

        Raises:
            SourceError: not a workbook, one that would not fit into memory, or no header.
        """
        _check_size(path)
        self.path = path
        self._rows = self._numbered(findings)
        number, first = next(self._rows, (1, []))
        if not first:
            raise SourceError(path, "", "it is empty")
        self.header = [_text(cell).strip() for cell in first]
        check_header(path, f"row {number}", self.header)

    def rows(self) -> Iterator[TableRow | Refused]:
        """Rows under the header, shorter ones filled up; longer ones are refused."""
        width = len(self.header)
        for number, row in self._rows:
            if len(row) > width:
                yield Refused(f"row {number}", f"{len(row)} columns, and the header has {width}")
            else:
                texts = [*map(_text, row), *[""] * (width - len(row))]
                yield f"row {number}", dict(zip(self.header, texts, strict=True))

    def _numbered(self, findings: Findings) -> Iterator[tuple[int, list[Any]]]:
        """Number and cells of each row that holds any, without empty ones at its end.

        Asked for a number of columns, openpyxl would fill up every row to it, also the million before a stray last one.
        """
        import openpyxl

        done = 0
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # openpyxl's remarks on styles
                book = openpyxl.load_workbook(self.path, read_only=True, data_only=True, keep_links=False)
            sheets = list(book.worksheets)
            for place, sheet in enumerate(sheets):
                sheet.reset_dimensions()  # what a file says of them may be wrong
                for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
                    row = list(cells)
                    while row and row[-1] in (None, ""):
                        row.pop()
                    if row:
                        done = number
                        yield number, row
                if done:
                    for other in sheets[place + 1 :]:
                        findings.add("sheets of a workbook are not read: save each as a file", other.title)
                    return
        except Exception as error:  # XML of any kind goes through a dozen parsers, which raise as many kinds of errors
            if isinstance(error, MemoryError):
                raise
            reason = " ".join(str(error).split())[:200]
            raise SourceError(self.path, f"after row {done}", f"not readable as a workbook ({reason})") from error


def _check_size(path: Path) -> None:
    """Refuse a workbook whose texts would fill the memory."""
    try:
        list(zip_members(path))
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except READING_ERRORS as error:
        raise SourceError(path, "", f"not readable as a workbook ({error})") from error
    for member in members:
        most = max(_SMALL, _MAX_RATIO * member.compress_size)
        most = min(most, _MOST_STRINGS) if member.filename.lower().endswith("sharedstrings.xml") else most
        if member.file_size > most:
            reason = (
                f"{member.filename}: {member.compress_size:,} bytes that inflate to {member.file_size:,} are no sheet"
            )
            raise SourceError(path, "", f"{reason}; save it as .csv")


def _text(cell: Any) -> str:
    """A cell as one would type it; whole numbers without a decimal point."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    if isinstance(cell, datetime.datetime | datetime.date):
        return cell.isoformat()
    return str(cell)
