"""What is printed is text: names from users' files neither command a terminal nor turn what stands beside them."""

import re
import sys

_UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but the tab and the end of a line, marks that turn the direction of writing, other ends of lines,
and bytes of a file's name that are no UTF-8."""


def escaped(text: str) -> str:
    r"""The text with such characters as `\x1b` or `\u202e`; JSON stays JSON, as it has none below a blank."""
    return _UNSEEN.sub(_escape, text)


def in_a_line(text: str) -> str:
    r"""The same with `\n` and `\t` for ends of lines and tabs."""
    return escaped(text).replace("\n", "\\n").replace("\t", "\\t")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return "\\r" if found[0] == "\r" else f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}"


def say(text: object) -> None:
    """Print data, or words that were asked for, on stdout."""
    print(escaped(str(text)), flush=True)


def remark(text: object) -> None:
    """Print words beside the data on stderr."""
    print(escaped(str(text)), file=sys.stderr, flush=True)
