"""Tables 3, 15 and 16: open-set recognition beside the published numbers, from an evaluated folder alone.

Read are `open_set_measurements.parquet` and `open_set.json` of `clibd open-set` and, where they are there and of the
same recipe, the row BZSL from `bzsl/measurements.parquet` and `bzsl/bzsl.json`, where `clibd bzsl` leaves them. A
number that nobody has measured is a dash.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.cells import Cell, Ours
from results.published import find_published
from results.render import (
    INTERVALS,
    Format,
    as_percent,
    grid,
    number_text,
    ours_text,
    percent,
    published_text,
    records_text,
)
from workloads.errors import MissingPathError, UsageError
from workloads.record import Measurement, measurements_from_table
from workloads.spec import Rank
from workloads.storage import Folder

MEASUREMENTS, SETTINGS = "open_set_measurements.parquet", "open_set.json"

_SUBSETS = (("Seen", "seen"), ("Unseen", "unseen"), ("H.M.", "harmonic_mean"))


@dataclass(frozen=True, slots=True)
class _Method:
    """A row of the tables, and whose measurements it shows."""

    name: str
    strategy: str
    ours: str
    published: bool = True

    @property
    def where(self) -> dict[str, str]:
        """Fields of its published numbers."""
        return {"method": self.name, "strategy": self.strategy}

    def title(self, number: int) -> str:
        """Its name as a table prints it."""
        return f"{self.name} (oracle)" if number == _DETECTION and self.ours == "nn_dna" else self.name


_METHODS = (
    _Method("NN", "DNA", "nn_dna"),
    _Method("NN", "IS+DU", "nn_is_du"),
    _Method("Linear", "IS+DU", "linear_is_du"),
    _Method("BZSL", "IS+DU", "bzsl"),
    _Method("NN, told", "DNA", "nn_dna_oracle", published=False),
    _Method("NN, told", "IS+DU", "nn_is_du_oracle", published=False),
    _Method("Linear, told", "IS+DU", "linear_is_du_oracle", published=False),
)

_CAPTIONS = {
    3: "Genus and species in open-set recognition, image queries, test set",
    15: "Telling seen from unseen species, image queries, test set",
    16: "Order and family in open-set recognition, image queries, test set",
}
_LEVELS: Mapping[int, tuple[Rank, ...]] = {3: ("genus", "species"), 15: ("species",), 16: ("order", "family")}
_DETECTION = 15
_TOLD = "told: it is known whether a query's species is seen, so that no threshold can be wrong; not published."
_ORACLE = (
    "(oracle): has samples of the unseen species to look at. AUROC and FPR: seen is the positive class, and the score "
    "is the confidence before any threshold; for NN (oracle), how much nearer the nearest DNA key of a seen species is."
)
NUMBERS = tuple(_CAPTIONS)
"""Tables that an evaluated folder regenerates."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A published column, or one of ours beside them, and the fields of its measurements."""

    block: str
    header: str
    average: str
    level: Rank
    species: str
    metric: str
    published: bool = True

    @property
    def place(self) -> tuple[str, ...]:
        """What `_place` gives behind the method."""
        return (self.average, self.level, self.species, self.metric)


@dataclass(frozen=True, slots=True)
class _Row:
    level: Rank
    method: _Method
    places: tuple[tuple[_Column, Cell, Measurement | None], ...]


def render_open_set_table(number: int, folder: Folder, form: Format) -> str:
    """One of the tables, as text that ends without a line break.

    Args:
        number: in the paper: 3, 15 or 16.
        folder: where `clibd open-set` has left its files.
        form: Markdown, or long form with a record for each number.

    Raises:
        UsageError: another table is asked for.
        MissingPathError: `clibd open-set` has not been there.
    """
    return render_open_set_tables((number,), folder, form)


def render_open_set_tables(numbers: Sequence[int], folder: Folder, form: Format) -> str:
    """Several of the tables, below one another in Markdown and in one list otherwise; raises as one of them does."""
    if unknown := [number for number in numbers if number not in NUMBERS]:
        raise UsageError(f"table {unknown[0]} is not one of open-set recognition; there are 3, 15 and 16")
    for name in (MEASUREMENTS, SETTINGS):
        if not folder.has(name):
            raise MissingPathError(str(folder), name, "Run `clibd open-set` on this folder first.")
    settings: dict[str, Any] = folder.read_json(SETTINGS)
    bzsl, notes = _bzsl(folder / "bzsl", settings)
    measured = [*measurements_from_table(folder.read_table(MEASUREMENTS)), *bzsl]
    if form == "md":
        parts = [*_about(settings), *(_markdown(number, measured) for number in numbers)]
        has_intervals = any(row.low is not None for row in measured)
        parts += ["Percent: published, ours, difference.", *([INTERVALS] if has_intervals else [])]
        return "\n\n".join([*parts, *_thresholds(settings), *notes])
    return records_text([record for number in numbers for record in _records(number, measured, settings)], form)


def _bzsl(folder: Folder, settings: Mapping[str, Any]) -> tuple[list[Measurement], list[str]]:
    """The row BZSL, where it was measured by the recipe of the others; else why it is empty."""
    if not (folder.has("measurements.parquet") and folder.has("bzsl.json")):
        return [], []
    asked = folder.read_json("bzsl.json")["asked"]
    if asked["recipe"] != settings["recipe"]:
        reason = f"BZSL was measured by the recipe {asked['recipe']}, so it is not in a table of {settings['recipe']}."
        return [], [reason]
    notes = [f"BZSL has the DNA of {asked['dna']}."] if asked.get("dna") else []
    return measurements_from_table(folder.read_table("measurements.parquet")), notes


def _rows(number: int, measured: Sequence[Measurement]) -> Iterator[_Row]:
    """The published rows in the order of print, and those of ours that the paper does not have, where measured."""
    found = {_place(row): row for row in measured if row.partition == "test"}
    for level in _LEVELS[number]:
        for method in _METHODS:
            columns = _columns(number, level)
            ours = [found.get((method.ours, *column.place)) for column in columns]
            if not any(ours) and find_published(number, method.where) is None:
                continue
            cells = [_cell(number, level, method, *pair) for pair in zip(columns, ours, strict=True)]
            yield _Row(level, method, tuple(zip(columns, cells, ours, strict=True)))


def _place(row: Measurement) -> tuple[str, ...]:
    return (row.method, row.average, row.level, row.species, row.metric)


def _columns(number: int, level: Rank) -> list[_Column]:
    if number != _DETECTION:
        return [
            _Column(f"{average.title()} top-1 accuracy", head, average, level, subset, "top1")
            for average in ("micro", "macro")
            for head, subset in _SUBSETS
        ]
    title = "Seen or unseen"
    return [
        *(_Column(title, head, "micro", level, subset, "seen_unseen_accuracy") for head, subset in _SUBSETS),
        _Column(title, "AUROC", "micro", level, "all", "auroc", published=False),
        _Column(title, "FPR at 95 % TPR", "micro", level, "all", "fpr_at_95_tpr", published=False),
    ]


def _cell(number: int, level: Rank, method: _Method, column: _Column, ours: Measurement | None) -> Cell:
    where = {**method.where, "species": column.species, "partition": "test"}
    if number != _DETECTION:
        where |= {"level": level, "average": column.average}
    printed = find_published(number, where)
    return Cell(
        block=column.block,
        column=column.header,
        is_accuracy=True,
        published=printed.value if printed else None,
        note=printed.note if printed else None,
        ours=None if ours is None else Ours(ours.value, None, (), ours.low, ours.high),
    )


def _markdown(number: int, measured: Sequence[Measurement]) -> str:
    rows = list(_rows(number, measured))
    parts = [f"# Table {number}. {_CAPTIONS[number]}"]
    for block in dict.fromkeys(column.block for column, *_ in rows[0].places):
        headers = ["Method", "Strategy"] if number == _DETECTION else ["Taxa", "Method", "Strategy"]
        for column, *_ in rows[0].places:
            if column.block == block:
                headers += [column.header, "ours", "diff"] if column.published else [column.header]
        parts.append(f"## {block}\n\n{grid(headers, [_texts(number, row, block) for row in rows])}")
    if any(not row.method.published for row in rows):
        parts.append(_TOLD)
    if number == _DETECTION:
        parts.append(_ORACLE)
    return "\n\n".join(parts)


def _texts(number: int, row: _Row, block: str) -> list[str]:
    name = row.method.title(number)
    texts = [name] if number == _DETECTION else [row.level, name]
    texts.append(row.method.strategy)
    for column, cell, _ in row.places:
        if column.block == block:
            ours = ours_text(cell)
            texts += (
                [published_text(cell), ours, number_text(cell, cell.difference, True)] if column.published else [ours]
            )
    return texts


def _about(settings: Mapping[str, Any]) -> list[str]:
    """What a reader must know before comparing."""
    lines = []
    if settings:
        lines.append(f"Ours: {settings['dataset']}, recipe {settings['recipe']}")
    if settings.get("synthetic"):
        lines.append(
            "Ours are numbers of SYNTHETIC insects: they show that the pipeline works, not how CLIBD performs."
        )
    return lines


def _thresholds(settings: Mapping[str, Any]) -> Iterator[str]:
    """How each threshold was found."""
    for method, found in sorted(settings.get("thresholds", {}).items()):
        value = "every query is called seen" if found["value"] is None else f"{found['value']:.4f}"
        kind = "all that differ" if found["rule"] == "exact" else "evenly from 0 to 1"
        reached = f"with a harmonic mean of {percent(found['harmonic_mean'])} on validation"
        if not found["harmonic_mean"]:
            reached = "of which none names both a seen and an unseen species of validation rightly"
        yield f"Threshold of {method}: {value}; chosen among {found['num_tried']:,} ({kind}), {reached}."


def _records(number: int, measured: Sequence[Measurement], settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Long form: one record a number, in percent."""
    for row in _rows(number, measured):
        for column, cell, ours in row.places:
            yield {
                "table": number,
                "dataset": settings.get("dataset"),
                "synthetic": settings.get("synthetic"),
                "recipe": settings.get("recipe"),
                "level": row.level,
                "method": row.method.title(number),
                "strategy": row.method.strategy,
                "average": column.average,
                "species": column.species,
                "metric": column.metric,
                "published": as_percent(cell.published),
                "ours": as_percent(ours.value if ours else None),
                "low": as_percent(ours.low if ours else None),
                "high": as_percent(ours.high if ours else None),
                "difference": as_percent(cell.difference),
                "published_note": cell.note,
            }
