"""The floors beside a table: chance and simple methods on the same split, and the best run against them."""

from collections.abc import Iterable
from dataclasses import dataclass

from results.collect import Group
from results.tables import Table
from workloads.record import Measurement

_METHODS = {
    ("dna", "dna"): ("kmer_nearest_neighbour", "5-mer counts, nearest neighbour"),
    ("image", "dna"): ("linear_cca", "linear CCA"),
}


@dataclass(frozen=True, slots=True)
class FloorRow:
    """Chance, floor and the best run at one place. Shares in [0, 1]; None where there is none."""

    query: str
    key: str
    level: str
    species: str
    average: str
    chance: float | None
    method: str
    floor: float | None
    best: float
    best_run: str


def floor_rows(table: Table, group: Group) -> list[FloorRow]:
    """Genus and species, seen and unseen queries, both averages."""
    retrievals = dict.fromkeys(
        (column.where["query"], column.where["key"])
        for block in table.blocks
        for column in block.columns
        if "query" in column.where
    )
    rows = []
    for query, key in retrievals:
        method, title = _METHODS.get((query, key), ("", ""))
        for level in ("genus", "species"):
            for species in ("seen", "unseen"):
                for average in ("micro", "macro"):
                    place = (table.partition, query, key, level, species, average)
                    runs = [(_find(run.measurements, "clibd", place), run.label) for run in group.runs]
                    values = [(value, label) for value, label in runs if value is not None]
                    if not values:
                        continue
                    best, label = max(values)
                    everything = [row for run in group.runs for row in run.measurements]
                    chance = _find(everything, "random_key", place)
                    floor = _find(group.floors, method, place)
                    rows.append(FloorRow(query, key, level, species, average, chance, title, floor, best, label))
    return rows


def _find(rows: Iterable[Measurement], method: str, place: tuple[str, str, str, str, str, str]) -> float | None:
    for row in rows:
        at = (row.partition, row.query, row.key, row.level, row.species, row.average)
        if (row.method, row.metric, row.keys) == (method, "top1", "all") and at == place:
            return row.value
    return None
