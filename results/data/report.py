"""Statistics of a data set as files: Figure 2 and Tables 5 to 7 in every form, Figures 2, 7 and 8 drawn.

What `clibd data stats` writes and prints. `statistics.json` holds every cell, so that the tables can be shown again.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from results.data.figures import figure_2, figure_8, figure_8_numbers
from results.data.partition_flow import figure_7, partition_flow
from results.data.statistics import corrections, statistic_cells
from results.figures.picture import Record, png, svg
from results.render import Format, cell_from_record, record, records_text, render_sheets
from results.sheet import Cell, Sheet
from workloads.data.specimens.statistics import TaxonCounts
from workloads.errors import DamagedError, MissingPathError
from workloads.storage import Folder

STATISTICS = "statistics.json"
FORMS: tuple[Format, ...] = ("md", "csv", "json")

_TITLES: Mapping[str, tuple[str, str, int]] = {
    "figure2": ("Figure 2. Records and species", "Split", 0),
    "5": ("Table 5. Average number of records per taxon", "Taxa", 2),
    "6": ("Table 6. Taxa of seen and unseen species", "Taxa", 0),
    "7": ("Table 7. Accuracy of the most frequent class (micro) and of chance (macro), percent", "Taxa", 2),
}
"""Of each table its title, what its rows are, and the digits after the point that it was printed with."""


def statistic_sheets(cells: Iterable[Cell]) -> dict[str, Sheet]:
    """Figure 2 and Tables 5 to 7 by name, of their cells."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.table, []).append(cell)
    return {name: _sheet(name, of_table) for name, of_table in found.items()}


def _sheet(name: str, cells: Sequence[Cell]) -> Sheet:
    title, rows, decimals = _TITLES[name]
    drawn = ("Ours are numbers of SYNTHETIC specimens, not of insects.",) if cells[0].synthetic else ()
    about, notes = (f"Ours: {_called(cells[0])}", *drawn), tuple(corrections(name))
    return Sheet(title=title, cells=tuple(cells), about=about, notes=notes, headers={"row": rows}, decimals=decimals)


def _called(cell: Cell) -> str:
    return f"{cell.dataset} (SYNTHETIC)" if cell.synthetic else str(cell.dataset)


def read_statistics(folder: Folder) -> dict[str, Sheet]:
    """The sheets that `write_statistics` left, by name: `figure2`, `5`, `6` and `7`.

    Raises:
        MissingPathError: it has not been there.
        DamagedError: the file is not what was written.
    """
    if not folder.has(STATISTICS):
        raise MissingPathError(str(folder), STATISTICS, f"Make it with `clibd data stats DIR --out {folder}`.")
    try:
        return statistic_sheets(cell_from_record(found) for found in folder.read_json(STATISTICS))
    except (KeyError, TypeError) as error:
        raise DamagedError(f"{folder}/{STATISTICS}", f"no cells of statistics ({error})") from error


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
    sheets = statistic_sheets(statistic_cells(counts, dataset, synthetic))
    cells = [cell for sheet in sheets.values() for cell in sheet.cells]
    files = _table_files(sheets) | _figure_files(counts, partition, _called(cells[0]))
    folder = Folder(out)
    for name, content in files.items():
        folder.write(name, content)
    folder.write_json(STATISTICS, [record(cell) for cell in cells])
    return sheets, sorted([*files, STATISTICS])


def _table_files(sheets: Mapping[str, Sheet]) -> dict[str, bytes]:
    return {
        f"{name if name.startswith('figure') else f'table{name}'}.{form}": f"{render_sheets([sheet], form)}\n".encode()
        for name, sheet in sheets.items()
        for form in FORMS
    }


def _figure_files(counts: TaxonCounts, partition: str | None, dataset: str) -> dict[str, bytes]:
    flow = partition_flow(counts, partition)
    figures = {
        "figure2": figure_2(counts, dataset),
        "figure7": figure_7(flow, counts.protocol, dataset),
        "figure8": figure_8(counts, dataset),
    }
    files = {f"{name}.png": png(figure) for name, figure in figures.items()}
    files |= {f"{name}.svg": svg(figure) for name, figure in figures.items()}
    numbers: dict[str, Sequence[Record]] = {"figure7": flow.records(), "figure8": figure_8_numbers(counts)}
    return files | {f"{name}.csv": f"{records_text(records, 'csv')}\n".encode() for name, records in numbers.items()}
