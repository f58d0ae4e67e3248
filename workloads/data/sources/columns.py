"""Which column of somebody's table holds what: guessed by name and values, or said with `--map`.

Understood are our own names and those of BOLD, BCDM, Darwin Core and BIOSCAN. Capitals, blanks, `_`, `-` and a prefix
such as `dwc:` do not matter. Where several columns could be meant, or a name such as `COI` or `uri` says little, the
first rows decide: a BIN looks like `BOLD:AAA0000`, and a barcode like bases.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from workloads.data.sources.source import RawRecord
from workloads.data.specimens.name_words import is_open
from workloads.data.specimens.own_splits import part_of_word
from workloads.data.specimens.schema import PROTOCOLS, stands_for_nothing
from workloads.errors import UsageError, some_of
from workloads.spec import RANKS

COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    # BCDM's `specimenid` is a number inside BOLD; ours, `specimen_id`, is told by its spelling.
    "specimen_id": (
        *("processid", "sampleid", "occurrenceid", "catalognumber", "materialsampleid", "specimenid", "id"),
        *("voucherid", "museumid", "gbifid", "recordid", "featureid"),  # the last of QIIME 2
    ),
    "barcode": (
        *("barcode", "dnabarcode", "nucraw", "nuc", "nucleotides", "dnasequence", "barcodesequence", "coi5p", "coi"),
        *("co1", "cox1", "coisequence", "coi5psequence", "nucleotidesequence", "sequence", "seq", "dna"),
    ),
    "image": (*("image", "imagefile", "imagepath", "imagefilename", "filename", "file", "photo", "picture"),),
    "image_features": ("imagefeatures",),
    "dna_features": ("dnafeatures",),
    "bin": ("bin", "binuri", "dnabin", "uri"),
    "split": ("split", "datasetsplit", "traintestsplit", "partition", "subset", "set"),
    **{rank: (rank, f"{rank}name") for rank in RANKS},
}
"""Column names understood for each field of a specimen, in lower case without blanks and marks; the best come first."""

SAMPLE = 200
"""Rows that are looked at for what a column holds."""
Sample = Sequence[Mapping[str, object]]
"""The first rows of a table, by the names of its columns."""

# Columns that are no field themselves, but of which one can be made when its own column is absent.
_DARWIN_CORE = {name: (name.replace("_", ""),) for name in ("scientific_name", "specific_epithet", "taxon_rank")}
_MARKERS = ("markercode", "marker", "markername", "targetgene", "gene")
_DOUBTFUL = frozenset({"coi", "coi5p", "co1", "cox1", "seq", "dna", "uri", "partition", "subset", "set"})
"""Names that may be of something else, such as lengths, addresses or traps: taken only if values fit."""
_BIN = re.compile(r"BOLD:[A-Z]{3}\d{4}", re.IGNORECASE)
_BASES = re.compile(r"[ACGTURYSWKMBDHVN?.\s-]{4,}", re.IGNORECASE)
_SEQUENCE = re.compile(r"[A-Za-z.\s-]+")
_LONG_SEQUENCE = re.compile(r"[ACGTN-]{100,}", re.IGNORECASE)
_PICTURE = re.compile(r"(?!https?:)[^\s]+\.(jpe?g|png|tiff?|webp|bmp)", re.IGNORECASE)
_SPLITS = frozenset(split for protocol in PROTOCOLS.values() for split in protocol.splits)
_BINOMIAL = re.compile(r"[A-Z][a-z]+ [a-z-]{2,}\.?( .*)?")
_FITS: Mapping[str, Callable[[str], bool]] = {
    "bin": lambda value: _BIN.search(value) is not None,
    "barcode": lambda value: _BASES.fullmatch(value) is not None,
    "split": lambda value: part_of_word(value) is not None or value in _SPLITS,
}
_MOSTLY = frozenset({"split"})
"""Fields of which more than half of the values have to fit, and not one alone: a trap may be called `test`."""
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


def choose_columns(header: Sequence[str], given: Mapping[str, str], sample: Sample = ()) -> dict[str, str]:
    """Which column holds what.

    Args:
        header: the names of the columns, each once.
        given: field of a specimen and the column that holds it, or "" when none does; the other fields are guessed.
        sample: the first rows, by which columns of like names are told apart; without them the names alone decide.

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
    columns |= _guessed({field: names for field, names in wanted.items() if field not in given}, header, sample)
    if "barcode" not in columns and "barcode" not in given and len(found := _sequence_columns(header, sample)) == 1:
        columns["barcode"] = found[0]
    if "species" not in columns and "species" not in given:
        columns |= _guessed(_DARWIN_CORE, header, sample)
    if "barcode" in columns:
        columns |= _guessed({"marker": _MARKERS}, header, sample)
    elif "barcode" not in given:
        columns |= _guessed({"linked_sequences": ("associatedsequences",)}, header, sample)  # or links to them
    return columns


def passed_over(
    header: Sequence[str], columns: Mapping[str, str], given: Mapping[str, str], sample: Sample
) -> Iterator[str]:
    """A sentence for each column that is not read although its values look like barcodes, images or species.

    Args:
        header: the names of the columns.
        columns: the column of each field, as they were chosen.
        given: what the user said; of these fields nothing more is said, nor of images or names where some are read.
        sample: the first rows.
    """
    forms = {
        "barcode": ("holds sequences", _LONG_SEQUENCE),
        "image": ("names images", _PICTURE),
        "species": ("holds names of two words", _BINOMIAL),
    }
    others = {"image": {"image"}, "species": {*RANKS, "scientific_name", "lineage"}}
    for name in (name for name in header if name not in columns.values()):
        for field, (what, form) in forms.items():
            known = field in given or others.get(field, set()) & {*columns, *given}
            if not known and _most(name, sample, form):
                takes = f"--map {shlex.quote(f'{field}={name}')} takes it"
                yield f"column '{name}' {what} and is not read; {takes}"


def _guessed(wanted: Mapping[str, tuple[str, ...]], header: Sequence[str], sample: Sample) -> dict[str, str]:
    """The columns of the fields for which one has a name that is understood, and values that fit if that is seen."""
    plain = {plain_name(name) for name in header}
    found: dict[str, str] = {}
    for field, names in wanted.items():
        if field in header and field not in _FITS:
            found[field] = field
            continue
        known = [_column(field, name, header) for name in names if name in plain]
        if column := _fitting(field, known, sample):
            found[field] = column
    return found


def _fitting(field: str, known: Sequence[str], sample: Sample) -> str | None:
    """The first of the columns whose values fit the field; where none is seen to fit, the first of a clear name."""
    fits = _FITS.get(field)
    if not sample or not fits:
        return known[0] if known else None
    values = {name: _values(name, sample) for name in known}
    least = 0.5 if field in _MOSTLY else 0
    fitting = [name for name in known if sum(map(fits, values[name])) > least * len(values[name])]
    clear = [name for name in known if not values[name] or plain_name(name) not in _DOUBTFUL]
    return next(iter([*fitting, *clear]), None)


def _sequence_columns(header: Sequence[str], sample: Sample) -> list[str]:
    """Columns of any name that hold sequences as long as barcodes; those that name COI, if some do."""
    found = [name for name in header if _most(name, sample, _LONG_SEQUENCE)]
    named = [name for name in found if re.search(r"co[ix]?-?[1i]", name, re.IGNORECASE)]
    return named or found


def _most(name: str, sample: Sample, form: re.Pattern[str]) -> bool:
    values = _values(name, sample)
    return sum(form.fullmatch(value) is not None for value in values) * 2 > len(values)


def _values(name: str, sample: Sample) -> list[str]:
    """The values of a column that say something."""
    texts = (str(row[name]).strip() for row in sample if row.get(name) is not None)
    return [text for text in texts if not stands_for_nothing(text)]


def _column(field: str, theirs: str, header: Sequence[str]) -> str:
    """One column, by its exact name or else by one that differs in capitals and marks only."""
    alike = [theirs] if theirs in header else [name for name in header if plain_name(name) == plain_name(theirs)]
    if not alike:
        raise UsageError(f"--map {field}={theirs}: there is no such column, but {_listed(header)}")
    if len(alike) > 1:
        raise UsageError(f"{_listed(alike)} could each be the {field}; say which with --map {field}=COLUMN")
    return alike[0]


def record_of(values: RawRecord, where: str) -> RawRecord:
    """The record of texts and features under the names that `choose_columns` gave."""
    raw = dict(values)
    for field in ("specimen_id", "barcode", "image"):
        value = raw.get(field)
        if value is not None and stands_for_nothing(value):
            raw[field] = None
    if "linked_sequences" in raw:
        linked = raw.pop("linked_sequences")
        raw["barcode"] = linked if linked and _SEQUENCE.fullmatch(linked) else None
    if "species" not in raw:
        raw |= _darwin_core_names(raw)
    return {**raw, "where": where}


def plain_name(name: str) -> str:
    """A column's name without what does not matter."""
    return re.sub(r"[\s_#-]", "", name.rpartition(":")[2]).lower()


def _check_field(field: str) -> None:
    if field not in COLUMN_NAMES:
        raise UsageError(f"--map: '{field}' is no field of a specimen; these are: {', '.join(COLUMN_NAMES)}")


def _listed(names: Sequence[str]) -> str:
    return some_of([f"'{name[:40]}'" for name in names], 40)


def _darwin_core_names(raw: dict[str, Any]) -> dict[str, str | None]:
    """The name that Darwin Core spreads over several terms, at the rank that it says; `named` judges it later.

    Genus and epithet come before the scientific name, which without a rank is of a species if it is a binomial: of two
    words with a capital each, the second is an author.
    """
    genus, epithet = raw.get("genus"), raw.pop("specific_epithet", None)
    scientific, rank = raw.pop("scientific_name", None), (raw.pop("taxon_rank", None) or "").strip().lower()
    if _says_something(genus) and _says_something(epithet) and not is_open(epithet.split()[0]):
        return {"species": f"{genus} {epithet}"}
    if not scientific or stands_for_nothing(rank) or rank in _SPECIES_AND_BELOW:
        words = (scientific or "").split()
        is_author = not rank and len(words) > 1 and words[1].istitle()
        return {"species": words[0] if is_author else scientific}
    higher = {rank: scientific} if rank in RANKS and not _says_something(raw.get(rank)) else {}
    return {"species": None, **higher}


def _says_something(value: str | None) -> TypeGuard[str]:
    return value is not None and not stands_for_nothing(value)
