"""The one rule for names, for every reader: what is no species is no species, and what it says of higher ranks is kept.

`docs/names.md` states it. Authors, subgenera and ranks below the species are told apart by GBIF's parser of scientific
names (decision 18); what is said here is which of the names that people write into a column `species` are one.
Published data sets keep their own names, interim ones too, because their splits were drawn by them.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import nameparser

from workloads.data.specimens.name_words import (
    is_code,
    is_latin,
    is_open,
    is_stage,
    is_titled_epithet,
    is_year,
    rank_of,
    says_open,
)
from workloads.data.specimens.schema import clean_name
from workloads.errors import RecordError
from workloads.spec import RANKS

Lineage = dict[str, str | None]
"""Name at each of the four ranks, or None."""

OPEN, INTERIM, BIN, NOBODY, HYBRID = "open name", "interim name", "BIN as species", "unidentified", "hybrid of species"
HIGHER, LONE_EPITHET, ABBREVIATED = "higher taxon as species", "epithet without a genus", "abbreviated genus"
NO_GENUS, UNREADABLE, NO_NAME = "higher taxon as genus", "unreadable name", "no scientific name"
NULLED = frozenset(
    {OPEN, INTERIM, BIN, NOBODY, HYBRID, HIGHER, LONE_EPITHET, ABBREVIATED, NO_GENUS, UNREADABLE, NO_NAME}
)
"""Kinds of names that are null at their rank."""
AUTHORS, CAPITALS, SUBSPECIES, SUBGENUS = "authorship cut", "capitals", "subspecies cut", "subgenus cut"
JOINED, FILLED, MARKS = "epithet joined with its genus", "genus taken from the species", "marks and blanks"
NORMALISED = frozenset({AUTHORS, CAPITALS, SUBSPECIES, SUBGENUS, JOINED, MARKS})
"""Kinds of changes after which a name is the same name, in its plain form."""

_LONGEST_CACHED = 400  # letters, so that the cache of 65,536 lineages stays below 60 MB
_PLAIN = re.compile(r"([A-Z][a-z]+) ([a-z]{2,}(?:-[a-z]{2,})?)")
_BIN = re.compile(r"\bBOLD[:-]?\s?[A-Z]{3}\d{4}\d?\b", re.IGNORECASE)
_NOBODY = re.compile(
    r"\b(unidentifi|undetermin|undescrib|unclassifi|uncultured|unknown|unspecified|incertae|insertae"
    r"|environmental sample|metagenom|no match|new species|ambiguous|no id\b|tbd\b|true$|false$|to be [a-z]+(ed|n)\b"
    r"|not (yet )?(identif|determin|known|named|assigned|described)|[mz]?otus?\b|asvs?\b)",
    re.IGNORECASE,
)


def named(raw: Mapping[str, str | None]) -> tuple[Mapping[str, str | None], list[str]]:
    """The names of a specimen at the four ranks after the rule, and the kinds of what the rule did.

    Args:
        raw: values by rank, as a reader found them; other keys do not matter.
    """
    given = raw.get("order"), raw.get("family"), raw.get("genus"), raw.get("species")
    is_short = sum(map(len, filter(None, given))) < _LONGEST_CACHED
    lineage, kinds = _named(*given) if is_short else _named.__wrapped__(*given)
    return lineage, list(kinds)


def as_given(raw: Mapping[str, str | None]) -> tuple[Lineage, list[str]]:
    """The names as a published data set has them; only what is unreadable is left out."""
    kinds: list[str] = []
    return {rank: _readable(raw.get(rank), kinds) for rank in RANKS}, kinds


def _readable(value: str | None, kinds: list[str]) -> str | None:
    try:
        return clean_name(value)
    except RecordError:
        kinds.append(UNREADABLE)
        return None


@lru_cache(maxsize=1 << 16)
def _named(
    order: str | None, family: str | None, genus: str | None, species: str | None
) -> tuple[Mapping[str, str | None], Sequence[str]]:
    """Cached, because a name stands in many records and the parser takes a third of a millisecond for one."""
    read, kinds = as_given({"order": order, "family": family, "genus": genus, "species": species})
    order, family, genus, species = (read[rank] for rank in RANKS)
    found: Lineage = {
        "order": _higher(order, kinds),
        "family": _higher(family, kinds),
        "genus": _genus(genus, kinds),
        "species": None,
    }
    first = None
    if (moved := found["genus"]) and rank_of(moved) != "genus":
        kinds.append(NO_GENUS)
        found["genus"], first = None, moved
    _fill(found, first)
    if species:
        own: list[str] = []
        found["species"], first = _species(species, found, own)
        kinds += own if found["species"] else [kind for kind in own if kind in NULLED]
        if _fill(found, first) and found["species"]:
            kinds.append(FILLED)
    return {rank: found[rank] for rank in RANKS}, tuple(dict.fromkeys(kinds))


def _fill(found: Lineage, name: str | None) -> bool:
    """Put a name at its own rank, if that is empty."""
    rank = rank_of(name) if name else None
    if rank is None or found[rank] is not None:
        return False
    found[rank] = name
    return True


# --- Order, family, genus -----------------------------------------------------------------------------------------


def _higher(value: str | None, kinds: list[str]) -> str | None:
    """A name above the genus; what is not understood stays as it is, for it decides no partition."""
    if value is None:
        return None
    if _NOBODY.search(value) or _BIN.search(value):
        kinds.append(NOBODY)
        return None
    words = value.replace("_", " ").split()
    if not words:
        kinds.append(NO_NAME)
        return None
    if len(words) == 1:
        return _capitalised(words[0], kinds)
    if any(map(is_open, words[1:])):
        kinds.append(OPEN)
        return _capitalised(words[0], kinds)
    parsed = _parsed(" ".join(words))
    if isinstance(parsed, nameparser.ParsedName) and parsed.uninomial and not parsed.doubtful:
        kinds.append(AUTHORS)
        return parsed.uninomial
    return value


def _genus(value: str | None, kinds: list[str]) -> str | None:
    """One word, without the subgenus, the authors or the epithet behind it; interim names are null."""
    if (name := _higher(value, kinds)) is None:
        return None
    first, *others = name.replace("_", " ").split()
    if others:
        kinds.append(SUBGENUS if others[0].startswith("(") else MARKS)
        first = _capitalised(first, kinds)
    if is_code(first):
        kinds.append(INTERIM)
        return None
    return first


def _capitalised(word: str, kinds: list[str]) -> str:
    """`Diptera` for `DIPTERA` and `diptera`; a word of mixed letters is somebody's code, and stays."""
    if len(word) < 2 or not (word.isupper() or word.islower()) or any(map(str.isdigit, word)):
        return word
    kinds.append(CAPITALS)
    return word.capitalize()


# --- Species ------------------------------------------------------------------------------------------------------


def _species(value: str, higher: Lineage, kinds: list[str]) -> tuple[str | None, str | None]:
    """The binomial, or None; and the first name in it, of a genus or of what else stands there."""
    plain = None if _NOBODY.search(value) else _PLAIN.fullmatch(value)
    if plain and not is_stage(plain[2]) and not is_open(plain[2]):
        return value, plain[1]
    text = " ".join(value.replace("_", " ").strip("\"'“”× ").split())
    if text != value:
        kinds.append(MARKS)
    words = _whole(text, higher, kinds)
    if words is None:
        return None, None
    text, first = " ".join(words), words[0] if len(words[0]) > 2 and words[0].isalpha() and words[0].istitle() else None
    if (reason := _no_species(text, words)) is not None:
        kinds.append(reason)
        return None, None if reason == NOBODY else first
    if (name := _binomial(text, kinds)) is None:
        return None, first
    # Of odd texts the parser makes names that it, or the rule, reads otherwise the next time.
    if _no_species(name, name.split()) or (not _PLAIN.fullmatch(name) and _binomial(name, []) != name):
        kinds.append(NO_NAME)
        return None, first
    return name, name.split()[0]


def _whole(text: str, higher: Lineage, kinds: list[str]) -> list[str] | None:
    """The words of a name with its genus before the epithet, in the usual capitals; None where there is no genus."""
    genus, (first, *others) = higher["genus"], text.split() or [""]
    upper = text.isupper() and not _BIN.search(text) and not any(map(str.isdigit, first))
    if upper:
        first, *others = text.capitalize().split()
        kinds.append(CAPITALS)
    if re.fullmatch(r"[A-Za-z]{1,2}\.", first) and not is_open(first):  # A. mellifera
        if not genus or not genus.lower().startswith(first[:-1].lower()):
            kinds.append(ABBREVIATED)
            return None
        kinds.append(JOINED)
        first = genus
    elif _is_epithet(first, others, upper, higher):
        if genus is None and (not others or is_open(first)):
            kinds.append(OPEN if is_open(first) else LONE_EPITHET)
            return None
        if genus is not None:
            kinds += [] if is_open(first) else [JOINED]
            first, others = genus, [first.lower() if first.istitle() else first, *others]
    if first[:1].islower() and others and first.isalpha():
        first = first.capitalize()
        kinds.append(CAPITALS)
    if others and is_titled_epithet(others):
        others = [others[0].lower(), *others[1:]]
        kinds.append(CAPITALS)
    return [first, *others]


def _is_epithet(first: str, others: list[str], upper: bool, higher: Lineage) -> bool:
    """Whether the first word is no genus: in small letters, or alone beside a genus of another name."""
    known = {name.lower() for name in higher.values() if name}
    if first.lower() in known or _NOBODY.match(first) or is_code(first):
        return False
    if first[:1].islower() or first == "×":
        return True
    alone = not others and (first.istitle() or upper) and higher["genus"] is not None
    return alone and rank_of(first) == "genus" and is_latin(first)


def _no_species(text: str, words: list[str]) -> str | None:
    """The kind of a name that is none of a species, or None for what may be one."""
    if _BIN.search(text):
        return BIN
    if _NOBODY.search(text):
        return NOBODY
    if says_open(words) or "?" in text or "/" in text:
        return OPEN
    if _names_two(words):
        return OPEN
    return INTERIM if any(is_code(word) for word in words[:3] if not is_year(word)) else None


def _names_two(words: list[str]) -> bool:
    """Whether a name goes on to another one, as `Aedes vexans, Aedes cinereus` and `Aedes vexans and cinereus` do."""
    bare = [word.strip(",;+&") for word in words]
    again = bare[0] in bare[2:] and not {"x", "×"} & {*words}
    after = [word for joint, word in pairwise(words) if joint in ("and", "&", "+", "et", "und")]
    return again or any(word.islower() and len(word) > 3 and is_latin(word) for word in after)


def _parsed(text: str) -> nameparser.ParsedName | nameparser.Informal | None:
    try:
        return nameparser.parse(text)
    except nameparser.UnparsableNameError:
        return None


def _binomial(text: str, kinds: list[str]) -> str | None:
    """Genus and epithet of a scientific name, or None with the kind of what it is."""
    try:
        parsed = nameparser.parse(text)
    except nameparser.UnparsableNameError as error:
        kinds.append({"FORMULA": HYBRID, "PLACEHOLDER": NOBODY}.get(error.name_type, NO_NAME))
        return None
    if isinstance(parsed, nameparser.Informal):
        kinds.append(INTERIM)
        return None
    genus, epithet = parsed.genus, parsed.specific_epithet
    if not genus or not epithet or not genus[0].isalpha():  # `7-punctata Apis` is an epithet and a genus
        kinds.append(HIGHER if parsed.uninomial or parsed.infrageneric_epithet else NO_NAME)
        return None
    if (
        parsed.epithet_qualifier
        or parsed.rank == "SPECIES_AGGREGATE"
        or parsed.type != "SCIENTIFIC"
        or len(epithet) < 2
    ):
        kinds.append(OPEN)
        return None
    authors = parsed.combination_authorship.authors or parsed.basionym_authorship.authors
    kinds += [
        kind
        for kind, happened in (
            (AUTHORS, bool(authors)),
            (SUBSPECIES, bool(parsed.infraspecific_epithet)),
            (SUBGENUS, bool(parsed.infrageneric_epithet)),
        )
        if happened
    ]
    return f"{genus} {'× ' if parsed.notho else ''}{epithet}"
