"""Order, family and genus of INSECT's species, from a table of names such as NCBI's; impossible ones are left out.

The published table (`specie_to_other_labels.json`) took the first hit of a name search, so that some beetles and wasps
were given the ranks of a diatom, a bivalve and a snail.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from workloads.data.sources.delimited import named, read_delimited
from workloads.data.sources.source import Refused
from workloads.data.specimens.schema import clean_name
from workloads.errors import MissingPathError, RecordError, SourceError

RANKS_ABOVE = ("order", "family", "genus")
_SPECIES_COLUMNS = ("species", "scientific_name", "name")
_LARGEST_TABLE = 64 << 20  # that of the 1,213 species has 70 kB
_NUM_EXAMPLES = 5

Lineage = Mapping[str, str | None]
"""Name at each rank above species, or None."""

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


class Lineages:
    """Ranks above species, by species; remembers what it was asked, so that remarks are about those species only."""

    def __init__(self, table: Mapping[str, Lineage], source: str, are_real: bool = True) -> None:
        self._table, self._source, self._are_real = table, source, are_real
        self._asked: set[str] = set()

    def of(self, species: str) -> dict[str, str | None]:
        """Order, family and genus of a species; None where they are not known or cannot be."""
        self._asked.add(species)
        known = self._table.get(species, {})
        if self._is_impossible(species):
            genus = known.get("genus")
            return {"order": None, "family": None, "genus": genus if genus == species.split()[0] else None}
        return {rank: known.get(rank) for rank in RANKS_ABOVE}

    def notes(self) -> list[str]:
        """Remarks about the species that were asked for."""
        asked = sorted(self._asked)
        if not self._table:
            return [f"without a table of lineages, nothing above species is known of {len(asked)} species"]
        absent = [name for name in asked if not any(self._table.get(name, {}).values())]
        impossible = [f"{name} ({self._table[name]['order']})" for name in asked if self._is_impossible(name)]
        moved = [
            f"{name} ({genus})" for name in asked if (genus := self.of(name)["genus"]) not in (None, name.split()[0])
        ]
        left_out = f"their ranks above species are left out: {', '.join(impossible)}"
        kept = f"its genus is kept: {_some(moved)}"
        remarks = [
            (impossible, f"gives {len(impossible)} species an order that is none of the insects'; {left_out}"),
            (moved, f"puts {len(moved)} species into a genus that is not the first word of their name; {kept}"),
            (absent, f"has no lineage of {len(absent)} species: {_some(absent)}"),
        ]
        return [f"{self._source} {remark}" for names, remark in remarks if names]

    def _is_impossible(self, species: str) -> bool:
        order = self._table.get(species, {}).get("order")
        return self._are_real and order is not None and order not in INSECT_ORDERS


def read_lineages(path: Path, are_real: bool = True) -> Lineages:
    """Lineages from `specie_to_other_labels.json`, or from a table (.tsv, .csv) of order, family, genus and species.

    Args:
        path: the file.
        are_real: whether an order that is none of the insects' is an error; synthetic insects have orders of their own.

    Raises:
        MissingPathError: no such file.
        SourceError: not such a table, or two different lineages of one species.
    """
    if not path.is_file():
        raise MissingPathError(str(path), "table of lineages", "Name a .tsv, .csv or .json file with INSECT's species.")
    if path.stat().st_size > _LARGEST_TABLE:
        raise SourceError(str(path), "", "larger than a table of species can be")
    table: dict[str, Lineage] = {}
    for where, species, ranks in _json_rows(path) if path.suffix.lower() == ".json" else _table_rows(path):
        try:
            name = clean_name(species)
            lineage = {rank: clean_name(ranks.get(rank)) for rank in RANKS_ABOVE}
        except RecordError as error:
            raise SourceError(str(path), where, str(error)) from error
        if name is None:
            raise SourceError(str(path), where, "no species")
        if table.setdefault(name, lineage) != lineage:
            raise SourceError(str(path), where, f"a second, different lineage of {name}")
    if not table:
        raise SourceError(str(path), "", "it is empty")
    return Lineages(table, path.name, are_real)


_Row = tuple[str, str, Mapping[str, str]]
"""Where it stands, the species, and what the table says of its ranks."""


def _json_rows(path: Path) -> Iterator[_Row]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SourceError(str(path), "", f"not JSON ({error})") from error
    if not isinstance(content, dict):
        raise SourceError(str(path), "", "not an object of species")
    for species, ranks in content.items():
        if not isinstance(ranks, dict) or not all(isinstance(name, str | None) for name in ranks.values()):
            raise SourceError(str(path), f"species {species!r}", "not an object of names")
        yield f"species {species!r}", species, ranks


def _table_rows(path: Path) -> Iterator[_Row]:
    names, lines = read_delimited(path, "," if path.suffix.lower() == ".csv" else "\t")
    header = [name.lower() for name in names]
    column = next((name for name in _SPECIES_COLUMNS if name in header), None)
    if column is None or not set(header) & set(RANKS_ABOVE) or len(set(header)) < len(header):
        raise SourceError(str(path), "first line", "needs the columns species and order, family or genus, each once")
    for row in named(header, lines):
        if isinstance(row, Refused):
            raise SourceError(str(path), row.identifier, row.reason)
        yield row["where"], row[column], row


def _some(names: list[str]) -> str:
    rest = len(names) - _NUM_EXAMPLES
    return ", ".join(names[:_NUM_EXAMPLES]) + (f" and {rest} more" if rest > 0 else "")
