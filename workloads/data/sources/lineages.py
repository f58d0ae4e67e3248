"""Lineages as one text, as reference databases write them, taken apart into ranks; nothing is cleaned.

k__Animalia; p__Arthropoda; … s__Aedes vexans     QIIME 2, UNITE, Greengenes
tax=k:Animalia,p:Arthropoda,…,s:Aedes_vexans      SINTAX (USEARCH, VSEARCH)
root_1;Eukaryota_2759;…;Aedes vexans_7000         MIDORI2, also with `species_` before each name
Animalia;Arthropoda;…;Aedes;Aedes vexans          DADA2, and BarcodeBERT without the kingdom
Animalia,Arthropoda,…,None,Aedes,Aedes vexans,…   BOLD v5
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from workloads.data.specimens.name_words import rank_of

_LONGEST = 4096  # letters that are looked at
_LONGEST_CACHED = 400  # letters, so that the cache stays below 30 MB
_LETTERS = {"o": "order", "f": "family", "g": "genus", "s": "species"}
_OURS = tuple(_LETTERS.values())
_FROM_KINGDOM = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
_BOLD_5 = ("kingdom", "phylum", "class", "order", "family", "subfamily", "genus", "species", "subspecies")
_BOLD_5_TRIBES = (*_BOLD_5[:6], "tribe", *_BOLD_5[6:])
_KINGDOMS = {"animalia", "metazoa", "eukaryota", "eukarya", "fungi", "plantae", "viridiplantae", "bacteria", "root"}
_PREFIXED = re.compile(r"(?:^|[;,|\s])[a-z]{1,2}__")
_PREFIX = re.compile(r"([a-z]{1,2})__(.*)", re.DOTALL)
_NUMBERED = re.compile(r"(?:(superkingdom|kingdom|phylum|class|order|family|genus|species)_)?(.*?)_(\d+)", re.DOTALL)
_WORD = re.compile(r"[A-Z][a-z]+(?:-[A-Za-z]+)?")


def lineage_of(text: str) -> Mapping[str, str] | None:
    """Order, family, genus and species of a lineage in one of the forms above, as far as it names them.

    Returns:
        Names by rank, blanks for underscores; None where the text is no lineage.
    """
    return _lineage_of(text) if len(text) < _LONGEST_CACHED else _lineage_of.__wrapped__(text[:_LONGEST])


@lru_cache(maxsize=1 << 14)
def _lineage_of(text: str) -> Mapping[str, str] | None:
    """Cached, because the records of a species repeat it."""
    if _PREFIXED.search(text):
        return _ranked((found[1], found[2]) for part in re.split("[;,|]", text) if (found := _PREFIX.search(part)))
    if "tax=" in text:
        pairs = text.partition("tax=")[2].rstrip(";").split(";")[0].split(",")
        return _ranked((letter.strip(), name) for letter, sign, name in (pair.partition(":") for pair in pairs) if sign)
    levels = [level.strip() for level in text.strip().strip(";").split(";")]
    if len(levels) >= 4 and all(_NUMBERED.fullmatch(level) for level in levels):
        return _midori(levels)
    if len(levels) >= 5:
        first = levels[0].lower()
        ranks = _FROM_KINGDOM if first in _KINGDOMS or len(levels) == len(_FROM_KINGDOM) else _FROM_KINGDOM[1:]
        return _named(ranks, levels) if len(levels) <= len(ranks) else None
    names = text.split(",")
    if len(names) in (len(_BOLD_5), len(_BOLD_5_TRIBES)):
        return _named(_BOLD_5 if len(names) == len(_BOLD_5) else _BOLD_5_TRIBES, names)
    return None


def label_of(name: str) -> Mapping[str, str]:
    """The rank of a name that stands alone, as in BOLD's identifications and in the names of class folders.

    Two words and more go to the species, where the rule for names judges them; one word by its spelling. What does not
    begin like a taxon gives nothing.
    """
    words = name.replace("_", " ").split()
    if not words or not _WORD.fullmatch(words[0]):
        return {}
    if len(words) > 1:
        return {"species": " ".join(words)}
    rank = rank_of(words[0])
    return {} if rank is None else {rank: words[0]}


def _ranked(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names by our ranks, from (letter, name)."""
    names = {_LETTERS[letter]: name for letter, name in pairs if letter in _LETTERS}
    return _cleared(names)


def _named(ranks: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    return _cleared(dict(zip(ranks, names, strict=False)))


def _midori(levels: Sequence[str]) -> dict[str, str]:
    found = [match for level in levels if (match := _NUMBERED.fullmatch(level))]
    if any(match[1] for match in found):
        return _cleared({match[1]: match[2] for match in found if match[1]})
    names = [match[2] for match in found]
    return _named(_FROM_KINGDOM, names[1:] if names[0].lower() == "root" else names)


def _cleared(names: Mapping[str, str]) -> dict[str, str]:
    """Our ranks alone, with blanks; an epithet alone gets its genus."""
    own = {rank: " ".join(names[rank].replace("_", " ").split()) for rank in _OURS if rank in names}
    species, genus = own.get("species", ""), own.get("genus", "")
    if species and genus and " " not in species and species.islower() and species not in ("none", "nan", "na"):
        own["species"] = f"{genus} {species}"
    return {rank: name for rank, name in own.items() if name}
