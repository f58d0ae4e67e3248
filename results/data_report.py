"""Statistics of a data set as files: Figure 2 and Tables 5 to 7 as Markdown, CSV and JSON, Figures 2, 7 and 8 drawn.

What `clibd data stats` writes and prints. A number stands beside the published one; `results.data_statistics` says when
the two can be compared.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from results.data_figures import figure_2, figure_8, figure_8_numbers
from results.data_statistics import StatisticCell, StatisticTable, is_official, statistic_tables
from results.figures.picture import Record, png, svg
from results.partition_flow import figure_7, partition_flow
from results.render import grid, records_text
from workloads.data.statistics import TaxonCounts
from workloads.storage import Folder

Format = Literal["md", "csv", "json"]
FORMATS: tuple[Format, ...] = ("md", "csv", "json")

_DASH = "–"


@dataclass(frozen=True, slots=True)
class StatisticsReport:
    """The statistics of a data set."""

    dataset: str
    synthetic: bool
    official: bool
    """Whether it has the splits that the published numbers are of."""
    tables: tuple[StatisticTable, ...]
    files: tuple[str, ...] = ()
    """Names of what was written."""

    def render(self, form: Format, only: Collection[str] | None = None) -> str:
        """The tables, or those of some names, as text that ends without a line break."""
        tables = [table for table in self.tables if only is None or table.name in only]
        if form == "md":
            return "\n\n".join(_markdown(self, table) for table in tables)
        records = [record for table in tables for record in _records(self, table)]
        return records_text(records, form)


def write_statistics(
    counts: TaxonCounts, out: str | Path, dataset: str, *, synthetic: bool, partition: str | None
) -> StatisticsReport:
    """Write every table and figure of counted specimens into a folder.

    Args:
        counts: of the specimens.
        out: folder or address. Files of an earlier call are replaced, each whole or not at all.
        dataset: what to call the data set.
        synthetic: whether the specimens are drawn.
        partition: what gave the splits, as the data set remembers it.
    """
    report = StatisticsReport(dataset, synthetic, is_official(counts), statistic_tables(counts))
    files = _table_files(report) | _figure_files(counts, partition, _title(report))
    folder = Folder(out)
    for name, content in files.items():
        folder.write(name, content)
    return replace(report, files=tuple(sorted(files)))


def _table_files(report: StatisticsReport) -> dict[str, bytes]:
    return {
        f"{table.name}.{form}": f"{report.render(form, [table.name])}\n".encode()
        for table in report.tables
        for form in FORMATS
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


def _title(report: StatisticsReport) -> str:
    return f"{report.dataset} (SYNTHETIC)" if report.synthetic else report.dataset


# --- Long form ----------------------------------------------------------------------------------------------------


def _records(report: StatisticsReport, table: StatisticTable) -> list[Record]:
    """One record a cell."""
    return [
        {
            "table": table.name,
            "dataset": report.dataset,
            "synthetic": report.synthetic,
            "official_split": report.official,
            "row": cell.row,
            "block": cell.block,
            "column": cell.column,
            "unit": "percent" if cell.unit == "share" else cell.unit,
            "published": _scaled(cell, cell.printed.value if cell.printed else None),
            "ours": _scaled(cell, cell.ours),
            "difference": _scaled(cell, cell.difference),
            "published_note": ". ".join(filter(None, (cell.printed.note, cell.printed.rightly))) or None
            if cell.printed
            else None,
        }
        for cell in table.cells
    ]


def _scaled(cell: StatisticCell, value: float | None) -> float | None:
    if value is None:
        return None
    return round(100 * value, 4) if cell.unit == "share" else round(value, 4)


# --- Markdown -----------------------------------------------------------------------------------------------------


def _markdown(report: StatisticsReport, table: StatisticTable) -> str:
    parts = [f"# {table.title}", f"Ours: {_title(report)}", *_caveats(report)]
    for block in dict.fromkeys(cell.block for cell in table.cells):
        cells = [cell for cell in table.cells if cell.block == block]
        columns = list(dict.fromkeys(cell.column for cell in cells))
        headers = [table.row_header, *(text for column in columns for text in (column, "ours", "diff"))]
        rows: dict[str, list[str]] = {}
        for cell in cells:
            rows.setdefault(cell.row, [cell.row]).extend(_triple(cell, table.decimals))
        parts.append(f"## {block}\n\n{grid(headers, list(rows.values()))}")
    parts.append("Each number as published, ours, difference.")
    return "\n\n".join([*parts, *_notes(table)])


def _caveats(report: StatisticsReport) -> list[str]:
    """What a reader must know before comparing."""
    lines = []
    if report.synthetic:
        lines.append("Ours are numbers of SYNTHETIC specimens, not of insects.")
    if not report.official:
        lines.append(
            "Published are the numbers of BIOSCAN-1M under the authors' split lists, for reference: "
            "these are other specimens, so no difference is given."
        )
    return lines


def _triple(cell: StatisticCell, decimals: int) -> list[str]:
    printed = cell.printed
    published = f"{_text(cell, printed.value, decimals)}{'*' if printed.note else ''}" if printed else _DASH
    return [published, _text(cell, cell.ours, decimals), _text(cell, cell.difference, decimals, "+")]


def _text(cell: StatisticCell, value: float | None, decimals: int, sign: str = "") -> str:
    if value is None:
        return _DASH
    shown = round(100 * value if cell.unit == "share" else value, decimals) + 0.0  # never -0.00
    return f"{shown:{sign}.{decimals}f}".replace("-", "−")


def _notes(table: StatisticTable) -> list[str]:
    """Why marked numbers cannot be right, and what they come to; each reason once."""
    rightly: dict[str, list[str]] = {}
    for cell in table.cells:
        if cell.printed and cell.printed.note:
            known = rightly.setdefault(cell.printed.note, [])
            if cell.printed.rightly:
                known.append(
                    f"{cell.row}, {cell.block[0].lower()}{cell.block[1:]}, {cell.column}: {cell.printed.rightly}"
                )
    return ["\n".join([f"* {note}.", *(f"  - {line}" for line in known)]) for note, known in rightly.items()]
