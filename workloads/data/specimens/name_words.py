"""Words in the names of taxa: which say that a species is not known, which are somebody's tags, which are of a rank."""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# fmt: off
INSECT_ORDERS = frozenset({
    "Archaeognatha", "Zygentoma", "Ephemeroptera", "Odonata", "Dermaptera", "Zoraptera", "Plecoptera", "Orthoptera",
    "Embioptera", "Grylloblattodea", "Mantophasmatodea", "Phasmatodea", "Mantodea", "Blattodea", "Psocodea",
    "Thysanoptera", "Hemiptera", "Neuroptera", "Megaloptera", "Raphidioptera", "Strepsiptera", "Coleoptera",
    "Trichoptera", "Lepidoptera", "Siphonaptera", "Mecoptera", "Diptera", "Hymenoptera",
    "Microcoryphia", "Thysanura", "Embiidina", "Notoptera", "Phasmida", "Isoptera", "Psocoptera", "Phthiraptera",
    "Mallophaga", "Anoplura", "Homoptera", "Heteroptera",
})
# fmt: on
"""The 28 living orders of insects, and twelve older names that are still met.

The older ones are synonyms (Microcoryphia, Thysanura, Embiidina, Phasmida), unite two of today's orders (Notoptera), or
are parts of one (Isoptera of Blattodea; Psocoptera, Phthiraptera, Mallophaga and Anoplura of Psocodea; Homoptera and
Heteroptera of Hemiptera).
"""
_OTHER_ORDERS = _words(
    "Araneae Opiliones Pseudoscorpiones Mesostigmata Ixodida Sarcoptiformes Trombidiformes Entomobryomorpha "
    "Poduromorpha Symphypleona Amphipoda Decapoda Isopoda"
)

_ABOVE = _words(
    "Animalia Metazoa Arthropoda Mollusca Annelida Nematoda Chordata Insecta Hexapoda Arachnida Collembola "
    "Malacostraca Crustacea Myriapoda Chilopoda Diplopoda Invertebrata"
)
_OPEN_WORDS = _words(
    "sp spp spec specs species ssp subsp cf cfr conf aff affin nr near prope indet undet ined gen genus gr grp group "
    "complex agg aggr hybrid hybrids morphosp sp-grp sp-gr or vel type morph morphotype morphospecies"
)
_NEW = ("n.sp", "sp.n", "n.g", "gen.n", "nsp")
_OPEN_ENDING = re.compile(r"[-_](type|group|grp|gr|complex|agg)\.?$", re.IGNORECASE)
_BELOW = _words("ssp subsp var f form")  # between a species' epithet and one below it
_STAGES = _words("adult egg eggs female imago immature juv juvenile larva larvae male nymph pupa queen worker")
# What epithets end in, so that `Apis Mellifera` is read and `Stigmella Yukon` is not; and the commonest of the authors
# who are called so.
_LATIN = re.compile(r"[^\W\d_]+(a|us|um|is|i|ae|e|ens|ans|or|ax|ex|er|es|os|as|ops)")
_WHO = _words("linnaeus linne fabricius latreille duponchel haliday zetterstedt forster walker say")
_BETWEEN = re.compile(r"[^\W\d_]+(inae|ini|oidea)")
_NUMBERED = re.compile(r"\d{1,2}-[a-z]+")
_AUTHOR = re.compile(r"([A-Z]\.)*(Mc|Mac|De|Van|O'|[^\W\d_]+-)?[A-Z][^\W\d_A-Z]+|[A-Z]+(-[A-Z]{4,})?")
_YEAR = re.compile(r"[(\[]?\d{4}\b")


def is_open(word: str) -> bool:
    """Whether a word says that a species is not known: `sp.`, `sp1`, `sp.XZ1`, `cf.`, `n.sp.`, `plumosus-type`."""
    word = word.lower().strip("()[],;:")
    return re.split(r"[.\d]", word)[0] in _OPEN_WORDS or word.startswith(_NEW) or bool(_OPEN_ENDING.search(word))


def is_code(word: str) -> bool:
    """Whether a word is somebody's tag: `jft01`, `GS-spC`, `ChiroGn1`, `AF-smi`, but neither `7-punctata` nor `L.`."""
    if _NUMBERED.fullmatch(word):
        return False
    if any(map(str.isdigit, word)):
        return True
    inner = word.strip("()[],.&")
    return any(map(str.isupper, inner[1:])) and not word.endswith((".", ",")) and not _AUTHOR.fullmatch(inner)


def says_open(words: list[str]) -> bool:
    """Whether a name's words leave its species open; `ssp.` and the like behind an epithet do not."""
    opens = [number for number, word in enumerate(words) if is_open(word)]
    below = [number for number in opens if number > 1 and words[number].lower().rstrip(".") in _BELOW]
    return len(opens) > len(below) or (len(words) > 1 and is_stage(words[1]))


def is_stage(word: str) -> bool:
    """Whether a word is of a stage or sex, such as `larva`, and no epithet."""
    return word.lower().strip(",.;[]()") in _STAGES


def is_year(word: str) -> bool:
    """Whether a word begins with a year, such as `1758)`."""
    return _YEAR.match(word) is not None


def is_latin(word: str) -> bool:
    """Whether a word ends as epithets do."""
    return _LATIN.fullmatch(word.lower()) is not None


def is_titled_epithet(others: list[str]) -> bool:
    """Whether what follows the genus is `Mellifera`, and not an author."""
    word, behind = others[0], others[1] if len(others) > 1 else ""
    if not word.istitle() or not is_latin(word) or word.lower() in _WHO:
        return False
    return not is_year(behind) and behind not in ("&", "et", "and", "in")


def rank_of(name: str) -> str | None:
    """The rank of a single name, as it is spelled; None for classes, subfamilies and others that we do not keep."""
    if name.endswith("idae"):
        return "family"
    if name in INSECT_ORDERS | _OTHER_ORDERS:
        return "order"
    return None if name in _ABOVE or _BETWEEN.fullmatch(name) else "genus"
