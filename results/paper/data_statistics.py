"""Figure 2 and Tables 5 to 7 of the paper for a data set: ours, published, difference; and Figures 2, 7 and 8 drawn.

What `clibd data stats` writes and prints. `statistics.json` holds every cell, so that the tables can be shown again.
The published numbers describe BIOSCAN-1M under the authors' own split lists. Beside any other data set they stand for
reference, without a difference. A note marks what cannot be right as printed, and says why.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

from results.published import PublishedNumber, find_published, published_table
from results.render import render_sheets
from results.sheet import Cell, Format, Sheet, Unit, cell_from_record, record
from sweeps.table import SUBSETS
from workloads.data.prepared.dataset import BIOSCAN_1M_SPLITS, PreparedDataset
from workloads.data.specimens.statistics import ROLES, TaxonCounts, chance, count_taxa, mean_records, taxa_overlap
from workloads.errors import DamagedError
from workloads.plain_values import misfit
from workloads.spec import RANKS, Rank
from workloads.storage import Folder

COUNTED = (5, 6, 7)
"""Numbers of the tables that no run fills."""
_STATISTICS = "statistics.json"
_FORMS: tuple[Format, ...] = ("md", "csv", "json")
_OTHERS = "published are the numbers of BIOSCAN-1M under the authors' split lists, and these are other specimens"
_TITLES: Mapping[str, tuple[str, str, int]] = {
    "figure2": ("Figure 2. Records and species", "Split", 0),
    "5": ("Table 5. Average number of records per taxon", "Taxa", 2),
    "6": ("Table 6. Taxa of seen and unseen species", "Taxa", 0),
    "7": ("Table 7. Accuracy of the most frequent class (micro) and of chance (macro), percent", "Taxa", 2),
}
"""By table its title, what its rows are, and the digits after the point that it was printed with."""
_UNITS: Mapping[int, Unit] = {5: "records", 6: "taxa", 7: "share"}


# --- Sheets and files ---------------------------------------------------------------------------------------------


def count_prepared(dataset: PreparedDataset) -> TaxonCounts:
    """What is in the shards; the data set's own specimen table also has those that preparation refused.

    Raises:
        MissingPathError: there is no prepared data set, or it is empty.
        DamagedError: what is there is not whole.
    """
    facts = dataset.facts
    labels = dataset.load([split for split, count in facts.num_specimens.items() if count], RANKS)
    return count_taxa(labels.column, facts.splits)


def statistic_sheets(counts: TaxonCounts, dataset: str, synthetic: bool) -> dict[str, Sheet]:
    """Figure 2 and Tables 5 to 7 of counted specimens by name: `figure2`, `5`, `6` and `7`.

    Args:
        counts: of the specimens.
        dataset: what to call the data set.
        synthetic: whether the specimens are drawn.
    """
    splits = counts.protocol.splits
    sizes = {split: (counts.num_records[split], counts.num_taxa("species", [split])) for split in splits}
    official = sizes == dict(BIOSCAN_1M_SPLITS)
    reason = None if official else _OTHERS
    about = partial(replace, dataset=dataset, synthetic=synthetic, comparable=official, reason=reason)
    tables = (_figure_2, _table_5, _table_6, _table_7)
    return _sheets_of([about(cell) for table in tables for cell in table(counts)])


def _sheets_of(cells: Sequence[Cell]) -> dict[str, Sheet]:
    names = dict.fromkeys(cell.table for cell in cells)
    return {name: _sheet(name, [cell for cell in cells if cell.table == name]) for name in names}


def _sheet(name: str, cells: Sequence[Cell]) -> Sheet:
    title, rows, decimals = _TITLES[name]
    drawn = ("Ours are numbers of SYNTHETIC specimens, not of insects.",) if cells[0].synthetic else ()
    about, notes = (f"Ours: {_called(cells[0])}", *drawn), tuple(_corrections(name))
    return Sheet(title=title, cells=tuple(cells), about=about, notes=notes, headers={"row": rows}, decimals=decimals)


def _called(cell: Cell) -> str:
    return f"{cell.dataset} (SYNTHETIC)" if cell.synthetic else str(cell.dataset)


def write_statistics(
    counts: TaxonCounts, out: str | Path, dataset: str, *, synthetic: bool, partition: str | None
) -> tuple[dict[str, Sheet], list[str]]:
    """Write every table and figure of counted specimens into a folder.

    Args:
        counts: of the specimens.
        out: folder or address. Files of an earlier call are replaced, each whole or not at all.
        dataset: what to call the data set.
        synthetic: whether the specimens are drawn.
        partition: what gave the splits, as the data set remembers it.

    Returns:
        The sheets by name, and the names of the files.
    """
    sheets = statistic_sheets(counts, dataset, synthetic)
    cells = [cell for sheet in sheets.values() for cell in sheet.cells]
    files = {
        f"{name if name.startswith('figure') else f'table{name}'}.{form}": f"{render_sheets([sheet], form)}\n".encode()
        for name, sheet in sheets.items()
        for form in _FORMS
    }
    files |= _figure_files(counts, partition, _called(cells[0]))
    folder = Folder(out)
    for name, content in files.items():
        folder.write(name, content)
    folder.write_json(_STATISTICS, [record(cell) for cell in cells])
    return sheets, sorted([*files, _STATISTICS])


def _figure_files(counts: TaxonCounts, partition: str | None, dataset: str) -> dict[str, bytes]:
    # Drawing takes long to load, and whoever reads tables draws nothing.
    from results.figures.picture import drawn_files
    from results.figures.record_counts import figure_8
    from results.figures.splits import figure_2, figure_7, partition_flow

    flow = partition_flow(counts, partition)
    figures = {
        "figure2": (figure_2(counts, dataset), None),
        "figure7": (figure_7(flow, counts.protocol, dataset), [asdict(step) for step in flow.steps]),
        "figure8": figure_8(counts, dataset),
    }
    return {
        f"{name}.{ending}": content
        for name, (figure, numbers) in figures.items()
        for ending, content in drawn_files(figure, numbers).items()
    }


def data_sheets(number: int, runs: Folder | None) -> list[Sheet]:
    """Table 5, 6 or 7: a sheet for each data set that was counted into RUNS/statistics, or into a folder there.

    Else as it is published, also where what was counted is damaged.
    """
    place = (runs or Folder("runs")) / "statistics"
    counted = [at for at in (place, *(place / name for name in place.folders())) if at.has(_STATISTICS)]
    if runs and counted:
        return [_sheet_in(number, folder) for folder in counted]
    return [_uncounted(number, f"not counted: `clibd data stats DIR --out {place}`")]


def _uncounted(number: int, reason: str, damaged: Mapping[str, str] | None = None) -> Sheet:
    title, _, decimals = _TITLES[str(number)]
    cells = tuple(_only_published(entry, number, reason) for entry in published_table(number))
    about = ("Nothing of ours stands here yet.",)
    title = title.removesuffix(", percent")
    return Sheet(title=title, cells=cells, about=about, decimals=decimals, damaged=damaged or {})


def _sheet_in(number: int, folder: Folder) -> Sheet:
    try:
        return _read_sheet(number, folder)
    except (DamagedError, OSError) as error:
        again = f"{error} Count again: `clibd data stats DIR --out {folder}`"
        return _uncounted(number, again, {f"{folder}/{_STATISTICS}": str(error)})


def _read_sheet(number: int, folder: Folder) -> Sheet:
    """The sheet that was counted into a folder.

    Raises:
        DamagedError: what was counted is not what was written.
    """
    path, content = f"{folder}/{_STATISTICS}", folder.read_json(_STATISTICS)
    try:
        cells = [cell_from_record(cell) for cell in content]
        reason = next(filter(None, (misfit(asdict(cell), Cell) for cell in cells)), None)
        if reason is None:
            return _sheets_of(cells)[str(number)]
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedError(path, f"no cells of statistics ({error})") from error
    raise DamagedError(path, reason)


def _only_published(entry: PublishedNumber, number: int, reason: str) -> Cell:
    names = [str(entry.where[name]) for name in ("split", "method", "species", "partition") if name in entry.where]
    return Cell(
        table=str(number),
        row={"taxa": entry.where["level"]},
        block=str(entry.where.get("average", "")).title(),
        column=" ".join(names).replace("_", " "),
        rank=entry.where["level"],
        unit=_UNITS[number],
        **entry.in_cell,
        reason=reason,
    )


# --- Figure 2 -----------------------------------------------------------------------------------------------------

_OFFICIAL_TOTALS: Mapping[str, tuple[int, int | None]] = {
    "training": (1_080_142, 916),
    "all keys": (21_118, 4_459),
    "all records": (1_128_313, None),
}
_OFFICIAL_TAXA: Mapping[Rank, int] = {"order": 16, "family": 491, "genus": 3_441, "species": 8_355}
_TAXA_NOTES: Mapping[Rank, str] = {
    "order": "Table 6 counts 19 orders, not 16",
    "species": "The boxes have 916 + 1,771 + 1,772 species, and 3,897 species have a single record: 8,356",
}


def _cell(table: str, row: str, column: str, ours: float | None, unit: Unit, **place: Any) -> Cell:
    return Cell(table=table, row={"row": row}, column=column, ours=ours, unit=unit, **place)


def _figure_2(counts: TaxonCounts) -> Iterator[Cell]:
    protocol = counts.protocol
    rows: dict[str, tuple[str, ...]] = {split: (split,) for split in protocol.splits}
    rows |= {"training": protocol.training, "all keys": protocol.keys, "all records": protocol.splits}
    official: dict[str, tuple[int, int | None]] = {**BIOSCAN_1M_SPLITS, **_OFFICIAL_TOTALS}
    for row, splits in rows.items():
        records, species = (number or None for number in official.get(row, (None, None)))
        total = sum(counts.num_records[split] for split in splits)
        yield _cell("figure2", row, "Records", total, "records", block="Splits", published=records)
        taxa = counts.num_taxa("species", splits)
        yield _cell("figure2", row, "Species", taxa, "taxa", block="Splits", published=species)
    for rank, printed in _OFFICIAL_TAXA.items():
        place = {"block": "All records", "rank": rank, "published": printed, "published_note": _TAXA_NOTES.get(rank)}
        yield _cell("figure2", rank, "Taxa", counts.num_taxa(rank, protocol.splits), "taxa", **place)


# --- Tables 5 to 7 ------------------------------------------------------------------------------------------------

_OVERLAP_COLUMNS = {
    "pretrain_total": ("Pretrain (no species)", "Total"),
    "pretrain_seen": ("Pretrain (no species)", "Seen"),
    "pretrain_unseen": ("Pretrain (no species)", "Unseen"),
    "pretrain_overlap": ("Pretrain (no species)", "Overlap"),
    "seen": ("Train/val/test", "Seen"),
    "unseen": ("Train/val/test", "Unseen"),
    "overlap": ("Train/val/test", "Overlap"),
    "everywhere": ("Both together", "Total"),
}


def _table_5(counts: TaxonCounts) -> Iterator[Cell]:
    for rank, role in product(RANKS, ROLES):
        *words, subset = role.split("_")  # `val_query_seen` stands under Species seen, Val query
        block, column = f"Species {subset}", " ".join(words).capitalize()
        printed = _printed(5, {"level": rank, "split": role})
        yield _cell("5", rank, column, mean_records(counts, rank, role), "records", block=block, rank=rank, **printed)


def _table_6(counts: TaxonCounts) -> Iterator[Cell]:
    for rank in RANKS:
        for name, taxa in taxa_overlap(counts, rank).items():
            block, column = _OVERLAP_COLUMNS[name]
            printed = _printed(6, {"level": rank, "split": name})
            yield _cell("6", rank, column, taxa, "taxa", block=block, rank=rank, **printed)


def _table_7(counts: TaxonCounts) -> Iterator[Cell]:
    values = {(rank, part): chance(counts, rank, part) for rank in RANKS for part in ("val", "test")}
    for average, rank, (head, subset), part in product(("micro", "macro"), RANKS, SUBSETS, ("val", "test")):
        where = {"average": average, "level": rank, "species": subset}
        printed = _printed(7, {**where, "partition": part}) or _printed(7, {**where, "partition": "val/test"})
        place = {"block": average.title(), "rank": rank, "average": average, "subset": subset, "partition": part}
        method = {"micro": "majority", "macro": "random_class"}[average]
        ours, column = values[rank, part][f"{average}_{subset}"], f"{head} {part}"
        yield _cell("7", rank, column, ours, "share", method=method, **place, **printed)


# --- What cannot be right as printed ------------------------------------------------------------------------------


@cache
def _notes() -> Sequence[Mapping[str, Any]]:
    """Why printed numbers cannot be right and, where that is known, what they come to `rightly`.

    Of Table 5 the official records by the official taxa; of Table 6 the printed total, less the union of seen and
    unseen, plus the part of that union that pretrain has; of Table 7 the most frequent class among the official
    validation queries, as no one class can be right more often.
    """
    text = resources.files("results.paper").joinpath("notes_of_tables.json").read_text(encoding="utf-8")
    return list(json.loads(text))


def _printed(table: int, where: Mapping[str, str]) -> dict[str, Any]:
    """The published number at a place, with its note; nothing where the paper has a dash."""
    notes = [entry["note"] for entry in _notes() if (entry["table"], entry["where"]) == (table, where)]
    number = find_published(table, where)
    return {"published": number.value, "published_note": next(iter(notes), None)} if number else {}


def _corrections(table: str) -> Iterator[str]:
    """What the marked numbers of a table come to where that is known, a line each."""
    yield from (entry["rightly"] for entry in _notes() if str(entry["table"]) == table and "rightly" in entry)
