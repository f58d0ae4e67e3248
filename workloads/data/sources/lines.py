"""Lines of text files in bounded memory, whatever wrote them: plain, gzipped or in an archive, UTF-8, UTF-16 or older.

Lines come as UTF-8. A file of UTF-16, which Excel calls Unicode text, is known by its byte order mark or by its NULs,
and rewritten while it streams. In any other encoding each *field* is read by itself (`Encodings`), so that one foreign
byte never costs a record, and bytes in a column that nobody reads cost nothing.
"""

import codecs
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from workloads.data.files.zip_members import READING_ERRORS, TextFile, open_text
from workloads.data.sources.findings import Findings
from workloads.errors import RecordError, SourceError

LONGEST_LINE = 1 << 20
"""In bytes. The longest real lines, of BIOSCAN-5M, have some 2,000."""
_BLOCK = 1 << 18
_BOM = codecs.BOM_UTF8
_WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_HIGH = re.compile(rb"[\x80-\xff]+")
_EASTERN = ["cp1251", "koi8_r", "gb18030", "shift_jis", "euc_kr", "big5"]
_SAMPLE = 1 << 14  # bytes of a guess: a hundredth of a second


def bounded_lines(path: TextFile) -> Iterator[bytes | None]:
    """Lines of a text file, plain, gzipped or in a zip archive, as UTF-8 if they are any Unicode, without their ends.

    A line of more than 1 MiB is given as None.

    At most about 2 MiB of the file are held, however long its lines. All lines end as the first one does.

    Raises:
        SourceError: not a file, or it cannot be read to its end; the message names the last whole line.
    """
    done = 0
    if isinstance(path, Path) and path.exists() and not path.is_file():
        raise SourceError(path, "", "not a file that can be read twice, such as a pipe; write it to a file first")
    try:
        with open_text(path) as stream:
            blocks = _unicode(iter(lambda: stream.read(_BLOCK), b""))
            block = next(blocks, b"")
            end = b"\n" if b"\n" in block or b"\r" not in block else b"\r"
            rest, too_long = b"", False
            while block:
                *lines, rest = (rest + block).split(end)
                for line in lines:
                    yield None if too_long or len(line) > LONGEST_LINE else line.rstrip(b"\r")
                    too_long = False
                    done += 1
                if len(rest) > LONGEST_LINE:
                    rest, too_long = b"", True
                block = next(blocks, b"")
            if rest or too_long:
                yield None if too_long else rest.rstrip(b"\r")
    except READING_ERRORS as error:
        raise SourceError(path, f"after line {done}", f"not readable ({' '.join(str(error).split())})") from error


def is_wide(start: bytes) -> str | None:
    """The kind of UTF-16 that a file begins as, or None: by its mark, or by NULs beside its first letters."""
    for mark, name in _WIDE.items():
        if start.startswith(mark):
            return name
    head = start[:64]
    if len(head) >= 8 and len(head) % 2 == 0:
        if not any(head[1::2]) and all(head[0::2]):
            return "utf-16-le"
        if not any(head[0::2]) and all(head[1::2]):
            return "utf-16-be"
    return None


def encoding_of(path: TextFile) -> str:
    """The encoding of a text as a whole, by its first bytes.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        with open_text(path) as stream:
            return (is_wide(stream.read(64)) or "utf-8").upper()
    except READING_ERRORS as error:
        raise SourceError(path, "", f"not readable ({' '.join(str(error).split())})") from error


def _unicode(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same text in UTF-8 where it is UTF-16, and as it is otherwise; without its byte order mark."""
    first = next(blocks, b"")
    if (name := is_wide(first)) is None:
        yield first.removeprefix(_BOM)
        yield from blocks
        return
    decoder = codecs.getincrementaldecoder(name)(errors="replace")
    yield decoder.decode(first).removeprefix("\ufeff").encode()
    for block in blocks:
        if text := decoder.decode(block):
            yield text.encode()
    yield decoder.decode(b"", final=True).encode()


class Ahead:
    """Numbered lines of which some can be looked at before they are taken."""

    def __init__(self, lines: Iterator[tuple[int, bytes | None]]) -> None:
        self._lines, self._waiting = lines, deque[tuple[int, bytes | None]]()

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        return self

    def __next__(self) -> tuple[int, bytes | None]:
        return self._waiting.popleft() if self._waiting else next(self._lines)

    def peek(self, number: int) -> bytes | None:
        """The line after `number` others, not taken; None where there is none, or none that can be read."""
        while len(self._waiting) <= number:
            line = next(self._lines, None)
            if line is None:
                return None
            self._waiting.append(line)
        return self._waiting[number][1]

    def skip(self, count: int) -> None:
        """Take so many lines that have been looked at."""
        for _ in range(count):
            self._waiting.popleft()


class Encodings:
    """Reads what is not UTF-8, by one guess a file, and says so."""

    def __init__(self, name: str, findings: Findings | None) -> None:
        """Guess nothing yet.

        Args:
            name: of the file, for what is said.
            findings: to which each value is added that was read by a guess; none where nobody would hear of it, so
                that nothing is guessed.
        """
        self._name, self._findings, self._guess = name, findings, ""

    def text(self, value: bytes, column: str, where: str) -> str:
        """One field; its column and place are for what is said of it.

        Raises:
            RecordError: it is not UTF-8, and nothing is guessed.
        """
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            if self._findings is None:
                raise RecordError(f"byte {error.start + 1} of column '{column}' is not UTF-8") from error
            self._guess = self._guess or guessed_encoding(value)
        try:
            text = value.decode(self._guess)
        except UnicodeDecodeError:
            text = value.decode("latin-1")
        shown = f"{where}, {text[:40]!r}"
        self._findings.add(f"values of '{column}' in {self._name} are not UTF-8, and read as {self._guess}", shown)
        return text


def guessed_encoding(sample: bytes) -> str:
    """The encoding of a text that is not UTF-8.

    European texts have single bytes above 127 between letters, and charset-normalizer takes such words for Polish or
    Chinese; so it is asked for the alphabets of the East only where such bytes stand in runs. Everything else is
    Windows-1252, which holds Latin-1.
    """
    from charset_normalizer import from_bytes

    runs = _HIGH.findall(sample[:_SAMPLE])
    if sum(map(len, runs)) < 3 * max(1, len(runs)):
        return "cp1252"
    best = from_bytes(sample[:_SAMPLE], cp_isolation=_EASTERN).best()
    return best.encoding if best is not None else "cp1252"
