"""Names that become files and folders. What somebody calls a thing is no path: it neither leads elsewhere nor is cut.

A name that is good as it is stays as it is, so that what was made under it is found again.
"""

import hashlib
import re
import unicodedata
from urllib.parse import quote

_LONGEST, _DIGITS = 64, 8
_GOOD = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{_LONGEST - 1}}}")
"""One that begins with a dot would be hidden, one that begins with a hyphen an option."""
_OF_ADDRESSES = "/!$&'()*+,:;=@"
"""What stands for itself in an address, besides letters, digits and `_.-~`."""


def slug(name: str) -> str:
    """The file or folder of a name: letters without accents, digits and `.-_`, at most 64 of them.

    Where that changes it, eight digits of its SHA-256 come behind, so that two names have two folders: `BIOSCAN/1M` is
    `BIOSCAN-1M-f678709b`. What it gives is good as it is.
    """
    if _GOOD.fullmatch(name):
        return name
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", letters).lstrip("-.")[: _LONGEST - _DIGITS - 1].rstrip("-.")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{plain}-{digest}" if plain else digest


def slugs(name: str) -> str:
    """The folder of a name that has parts, such as a hub's `owner/name`: a folder for each."""
    return "/".join(map(slug, name.split("/")))


def is_inside(name: str) -> bool:
    """Whether a name, of one part or several, lies in the folder that it is looked up in."""
    return "\0" not in name and not {"", ".", ".."} & {*name.split("/")}


def is_utf8(name: str) -> bool:
    """Whether a name on a disk is text; what is none has bytes in it that Python keeps as surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def in_address(name: str) -> str:
    """A name as it stands in an address: a `?` in it begins no settings, and a blank does not end it."""
    return quote(name, safe=_OF_ADDRESSES)
