"""Which column of somebody's table holds what: guessed by the common conventions, or said with `--map`.

Understood are our own names and those of BOLD, BCDM, Darwin Core and BIOSCAN. Capitals, blanks, `_`, `-` and a prefix
such as `dwc:` do not matter.
"""

import re
from collections.abc import Mapping, Sequence

from workloads.data.sources.source import RawRecord, Refused
from workloads.data.specimens.schema import stands_for_nothing
from workloads.errors import UsageError, some_of
from workloads.spec import RANKS

COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    "specimen_id": ("specimenid", "processid", "sampleid", "occurrenceid", "catalognumber", "materialsampleid", "id"),
    "barcode": ("barcode", "dnabarcode", "nucraw", "nuc", "nucleotides", "dnasequence", "sequence"),
    "image": ("image", "imagefile", "imagepath", "filename", "file"),
    "image_features": ("imagefeatures",),
    "dna_features": ("dnafeatures",),
    "bin": ("bin", "binuri", "dnabin", "uri"),
    "split": ("split", "datasetsplit", "traintestsplit", "partition", "subset", "set"),
    **{rank: (rank, f"{rank}name") for rank in RANKS},
}
"""Column names understood for each field of a specimen, in lower case without blanks and marks; the best come first."""

# Columns that are no field themselves, but of which one can be made when its own column is absent.
_DARWIN_CORE = {name: (name.replace("_", ""),) for name in ("scientific_name", "specific_epithet", "taxon_rank")}
# COI-5P, CO1, COX1, mtCOI or in words, but neither COII nor cytochrome b
_COI = re.compile(r"(mt-?)?CO-?X?-?(I|1)(?![A-Z])|cytochrome\b.*\boxidase\b.*\b(1|I)\b", re.IGNORECASE)

_SEQUENCE = re.compile(r"[A-Za-z.\s-]+")
_BINOMIAL = re.compile(r"([A-Z][^\W\d_]+) (?:\([A-Z][^\W\d_]+\) )?([a-z](?:[^\W\d_]|-)+)(?= |,|$)")
_NO_EPITHETS = {"sp", "spp", "cf", "aff", "nr", "gen", "de", "du", "des", "la", "le", "di", "da", "van", "von", "der"}
_SPECIES_AND_BELOW = {"species", "subspecies", "variety", "form", "varietas", "forma"}


def parse_map(pairs: Sequence[str]) -> dict[str, str]:
    """The pairs of `--map ours=theirs`; `ours=` alone leaves a field empty.

    Raises:
        UsageError: not such a pair, a field that is none of ours, or one given twice.
    """
    given: dict[str, str] = {}
    for pair in pairs:
        ours, sign, theirs = pair.partition("=")
        ours = ours.strip().lower()
        if not sign:
            raise UsageError(f"--map '{pair}': write it as FIELD=COLUMN, such as --map specimen_id=voucher")
        _check_field(ours)
        if ours in given:
            raise UsageError(f"--map {ours}=... is given twice")
        given[ours] = theirs.strip()
    return given


def choose_columns(header: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Which column holds what.

    Args:
        header: the names of the columns, each once.
        given: field of a specimen and the column that holds it, or "" when none does; the other fields are guessed.

    Returns:
        The column of each field of a specimen, or of a Darwin Core term that one is made of.

    Raises:
        UsageError: a given field or column does not exist, or two columns could be meant.
    """
    columns: dict[str, str] = {}
    for field, theirs in given.items():
        _check_field(field)
        if theirs:
            columns[field] = _column(field, theirs, header)
    wanted = dict(COLUMN_NAMES)
    if "nucraw" in map(plain_name, header):  # BIOSCAN-1M, where `name` is the order
        wanted["order"] += ("name",)
    columns |= _guessed({field: names for field, names in wanted.items() if field not in given}, header)
    if "species" not in columns and "species" not in given:
        columns |= _guessed(_DARWIN_CORE, header)
    if "barcode" in columns:
        columns |= _guessed({"marker": ("markercode", "marker")}, header)
    elif "barcode" not in given:
        columns |= _guessed({"linked_sequences": ("associatedsequences",)}, header)  # sequences, or links to them
    return columns


def _guessed(wanted: Mapping[str, tuple[str, ...]], header: Sequence[str]) -> dict[str, str]:
    """The columns of the fields for which one has a name that is understood."""
    plain = {plain_name(name) for name in header}
    known = {field: next((name for name in names if name in plain), None) for field, names in wanted.items()}
    return {field: _column(field, field if field in header else name, header) for field, name in known.items() if name}


def _column(field: str, theirs: str, header: Sequence[str]) -> str:
    """One column, by its exact name or else by one that differs in capitals and marks only."""
    alike = [theirs] if theirs in header else [name for name in header if plain_name(name) == plain_name(theirs)]
    if not alike:
        raise UsageError(f"--map {field}={theirs}: there is no such column, but {_listed(header)}")
    if len(alike) > 1:
        raise UsageError(f"{_listed(alike)} could each be the {field}; say which with --map {field}=COLUMN")
    return alike[0]


def record_of(values: RawRecord, where: str) -> RawRecord | Refused:
    """The record of texts and features under the names that `choose_columns` gave; one of another gene is refused."""
    raw = dict(values)
    for field in ("specimen_id", "barcode", "image"):
        value = raw.get(field)
        if value is not None and stands_for_nothing(value):
            raw[field] = None
    marker = (raw.pop("marker", None) or "").strip()
    if raw.get("barcode") and not stands_for_nothing(marker) and not _COI.match(marker):
        return Refused(raw.get("specimen_id") or where, f"{where}: its sequence is of {marker[:40]!r}, not of COI")
    if "linked_sequences" in raw:
        linked = raw.pop("linked_sequences")
        raw["barcode"] = linked if linked and _SEQUENCE.fullmatch(linked) else None
    if "species" not in raw:
        epithet, rank = raw.pop("specific_epithet", None), raw.pop("taxon_rank", None)
        raw["species"] = _darwin_core_species(raw.get("genus"), epithet, raw.pop("scientific_name", None), rank)
    return {**raw, "where": where}


def plain_name(name: str) -> str:
    """A column's name without what does not matter."""
    return re.sub(r"[\s_-]", "", name.rpartition(":")[2]).lower()


def _check_field(field: str) -> None:
    if field not in COLUMN_NAMES:
        raise UsageError(f"--map: '{field}' is no field of a specimen; these are: {', '.join(COLUMN_NAMES)}")


def _listed(names: Sequence[str]) -> str:
    return some_of([f"'{name[:40]}'" for name in names], 40)


def _is_name(word: str | None) -> bool:
    """Whether a genus or an epithet is given, and not a word such as `sp.` that says it is not."""
    first = (word or "").strip().lower()
    return not stands_for_nothing(first) and first.split()[0].rstrip(".") not in _NO_EPITHETS


def _darwin_core_species(
    genus: str | None, epithet: str | None, scientific: str | None, rank: str | None
) -> str | None:
    """The binomial that Darwin Core spreads over several terms, or None above the rank of species.

    A scientific name loses its authors and subgenus. Without a rank, only a clear binomial is one.
    """
    if _is_name(genus) and _is_name(epithet):
        return f"{genus} {epithet}"
    at_species = (rank or "").strip().lower() in _SPECIES_AND_BELOW
    if not scientific or (rank and not at_species):
        return None
    if (match := _BINOMIAL.match(scientific.strip())) and match[2] not in _NO_EPITHETS:
        return f"{match[1]} {match[2]}"
    return scientific if at_species else None
