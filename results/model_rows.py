"""Tables 1, 2 and 8 to 13 from evaluated folders: every published row, and beside it whichever folder stands for it.

What cannot be compared is kept apart: data sets, recipes, scales and rules for missing ranks have tables of their own.
A folder that has no row in a table is named below it with the reason; nothing is left out silently.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from results.cells import Cell, Value, over_seeds
from results.collect import Group, recipe_words
from results.model_folders import EvaluatedModel, Standing, read_model
from results.model_tables import MODEL_TABLES, ModelTable
from results.published import find_published, published_table
from results.render import INTERVALS, Format, caveats, grid, number_text, ours_text, published_text, records_text
from results.tables import Column
from workloads.errors import UsageError
from workloads.storage import Folder

_DASH = "–"
_HEADERS = {
    "training": "Training",
    "aligned": "Aligned",
    "model": "Model",
    "simclr_initialised": "From SimCLR",
    "bind_to": "DNA bound to",
}
_FIELDS = {
    **{name: header.lower() for name, header in _HEADERS.items()},
    "aligned": "what is aligned",
    "bind_to": "what DNA is bound to",
    "frozen": "the state of its other towers",
    "simclr_initialised": "its start from SimCLR",
}
"""What reasons call the fields of a `Standing`."""
_WORDS = {"clip": "contrastive", "simclr": "SimCLR", "no_alignment": "none", True: "yes", False: "no"}
_LETTERS = {"image": "I", "dna": "D", "text": "T"}

Names = tuple[tuple[str, Any], ...]
"""Fields that name a row, with their values; lists are tuples here."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One line of a table: a published row, ours, or both."""

    level: str
    names: Names
    models: tuple[EvaluatedModel, ...]
    """What stands for it, differing in the seed alone; empty where nothing does."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Comparable:
    """Folders that may stand in one table."""

    group: Group
    """What they have in common; its runs are not listed there."""
    models: tuple[EvaluatedModel, ...]


def render_model_table(number: int, folders: Sequence[Folder], form: Format) -> str:
    """One of the tables, as text that ends without a line break.

    Args:
        number: in the paper: 1, 2 or 8 to 13.
        folders: evaluated ones, of any models; those named twice count once.
        form: Markdown, or long form with a record for each number.

    Raises:
        UsageError: another table, or no folder.
        MissingPathError: nothing was evaluated in one of them.
        DamagedError: a file in one of them does not say what it should.
    """
    if number not in MODEL_TABLES:
        known = ", ".join(map(str, MODEL_TABLES))
        raise UsageError(f"table {number} is not one of evaluated models; there are {known}")
    if not folders:
        raise UsageError(f"table {number} needs the folder of at least one evaluated model: --run RUN")
    table = MODEL_TABLES[number]
    models = [read_model(folder) for folder in {folder.address: folder for folder in folders}.values()]
    together = comparable(models)
    if form == "md":
        return "\n\n".join(_markdown(table, part) for part in together)
    return records_text([record for part in together for record in _records(table, part)], form)


def comparable(models: Sequence[EvaluatedModel]) -> list[Comparable]:
    """The folders by what must be equal: data set, recipe, scale, and what a missing rank means.

    Other models than CLIBD have no scale; they stand beside the runs of every scale.
    """
    scales: dict[tuple[str, ...], dict[str | None, list[EvaluatedModel]]] = defaultdict(lambda: defaultdict(list))
    for model in models:
        scales[_setting(model)][model.scale].append(model)
    found = []
    for _, parts in sorted(scales.items()):
        without = parts.pop(None, [])
        for scale, members in sorted(parts.items(), key=lambda item: str(item[0])) or [("paper", [])]:
            facts = [*members, *without][0].facts
            recipe = recipe_words(_trained_by([*members, *without][0]), str(facts.get("recipe", "")))
            group = Group(facts.get("dataset", ""), bool(facts.get("synthetic")), str(scale), recipe, (), (), 0)
            found.append(Comparable(group, (*members, *without)))
    return found


def _setting(model: EvaluatedModel) -> tuple[str, ...]:
    return (*(str(model.facts.get(name, "")) for name in _SETTING), _trained_by(model))


def _trained_by(model: EvaluatedModel) -> str:
    """The recipe of its training; other models than CLIBD stand beside those of the recipe they are measured by."""
    return str(model.facts.get("recipe", "")) if model.spec is None else model.spec.recipe


_SETTING = ("dataset", "data_fingerprint", "synthetic", "recipe", "missing_rank")


def model_rows(table: ModelTable, models: Sequence[EvaluatedModel]) -> list[ModelRow]:
    """Every published row in the order of print, and below them, at each level, the models that the paper lacks."""
    standing = [model for model in models if reason_against(table, model) is None]
    printed = _printed_rows(table)
    of_ours = [_names(table, model.standing) for model in standing]
    rows = []
    for level in table.levels:
        for names in dict.fromkeys([*printed, *of_ours]):
            mine = [model for model, own in zip(standing, of_ours, strict=True) if own == names]
            for line in _lines(mine) or [()]:
                rows.append(ModelRow(level, names, line, tuple(_cells(table, level, names, line))))
    return rows


def reason_against(table: ModelTable, model: EvaluatedModel) -> str | None:
    """Why a model has no row in a table; None where it has one."""
    for name, wanted in table.takes.items():
        if (found := getattr(model.standing, name)) != wanted:
            return f"{_FIELDS[name]} is {_word(name, found)}, and this table takes {_word(name, wanted)}"
    return None


def _printed_rows(table: ModelTable) -> list[Names]:
    return [
        tuple((name, _hashable(number.where.get(name))) for name in table.row_fields)
        for number in published_table(table.number)
    ]


def _names(table: ModelTable, standing: Standing) -> Names:
    return tuple((name, getattr(standing, name)) for name in table.row_fields)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _lines(models: Sequence[EvaluatedModel]) -> list[tuple[EvaluatedModel, ...]]:
    """Models that differ in the seed alone share a line; any other has one of its own."""
    lines: list[list[EvaluatedModel]] = []
    for model in models:
        line = next((line for line in lines if all(model.is_like(other) for other in line)), None)
        if line is None:
            lines.append([model])
        else:
            line.append(model)
    return [tuple(line) for line in lines]


def _cells(table: ModelTable, level: str, names: Names, models: Sequence[EvaluatedModel]) -> Iterator[Cell]:
    as_printed = {name: list(value) if isinstance(value, tuple) else value for name, value in names}
    for block in table.blocks:
        for column in block.columns:
            where = {**column.where, "level": level, "partition": table.partition}
            printed = find_published(table.number, {**where, **as_printed})
            values = {model.name: value for model in models if (value := _value(model, where)) is not None}
            yield Cell(
                block=block.title,
                column=column.header,
                is_accuracy=True,
                published=printed.value if printed else None,
                note=printed.note if printed else None,
                ours=over_seeds(values),
            )


def _value(model: EvaluatedModel, where: dict[str, str]) -> Value | None:
    """A model's value and the ends of its interval."""
    wanted = {"method": "clibd", "metric": "top1", "keys": "all", **where}
    for row in model.measurements:
        if all(getattr(row, name) == value for name, value in wanted.items()):
            return row.value, row.low, row.high
    return None


# --- Text ---------------------------------------------------------------------------------------------------------


def _markdown(table: ModelTable, part: Comparable) -> str:
    rows = model_rows(table, part.models)
    parts = [f"# Table {table.number}. {table.caption}", f"Ours: {part.group.title}", *caveats(part.group)]
    levels = ["Taxa"] if len(table.levels) > 1 else []
    offset = 0
    for block in table.blocks:
        cells = slice(offset, offset + len(block.columns))
        offset += len(block.columns)
        headers = [*levels, *(_HEADERS[name] for name in table.row_fields), "Ours is", *_triple_headers(block.columns)]
        body = [_texts(row, cells, bool(levels)) for row in rows if _is_shown(row, cells)]
        parts.append(f"## {block.title}\n\n{grid(headers, body)}")
    parts.append("Accuracies in percent: published, ours, difference.")
    if any(cell.ours and cell.ours.low is not None for row in rows for cell in row.cells):
        parts.append(INTERVALS)
    parts += sorted({f"* {cell.note}" for row in rows for cell in row.cells if cell.note})
    parts += _about(table, part, rows)
    return "\n\n".join(parts)


def _triple_headers(columns: Sequence[Column]) -> list[str]:
    return [header for column in columns for header in (column.header, "ours", "diff")]


def _is_shown(row: ModelRow, cells: slice) -> bool:
    """Rows of which neither the paper nor we have a number in a block are not shown there."""
    return any(cell.published is not None or cell.ours is not None for cell in row.cells[cells])


def _texts(row: ModelRow, cells: slice, with_level: bool) -> list[str]:
    texts = [row.level] if with_level else []
    texts += [_word(name, value) for name, value in row.names]
    texts.append(row.models[0].label if row.models else "not evaluated")
    for cell in row.cells[cells]:
        texts += [published_text(cell), ours_text(cell), number_text(cell, cell.difference, True)]
    return texts


def _about(table: ModelTable, part: Comparable, rows: Sequence[ModelRow]) -> list[str]:
    """The folders behind the numbers, and those that are not in the table."""
    there = dict.fromkeys(f"- {model.label}: {model.name}" for row in rows for model in row.models)
    reasons = [(model.name, reason_against(table, model)) for model in part.models]
    absent = [f"- {name}: {reason}" for name, reason in reasons if reason is not None]
    return [
        *(["Folders behind these numbers:\n\n" + "\n".join(there)] if there else []),
        *(["Not in this table:\n\n" + "\n".join(absent)] if absent else []),
    ]


def _word(name: str, value: Any) -> str:
    """A value of a field of `Standing` as tables print it."""
    if value is None:
        return "everything" if name == "bind_to" else _DASH
    if name == "frozen":
        return "frozen" if value else "trained"
    if name == "bind_to":
        return " & ".join(str(part).title() for part in value)
    if isinstance(value, tuple):
        return "+".join(_LETTERS[part] for part in value) or "none"
    return _WORDS.get(value, str(value))


def _records(table: ModelTable, part: Comparable) -> Iterator[dict[str, Any]]:
    """Long form: one record a number, in percent."""
    for row in model_rows(table, part.models):
        for cell in row.cells:
            ours = cell.ours
            yield {
                "table": table.number,
                "dataset": part.group.dataset,
                "synthetic": part.group.synthetic,
                "scale": part.group.scale,
                "recipe": part.group.recipe,
                "level": row.level,
                **{
                    name: ("+".join(value) or "none") if isinstance(value, tuple) else value
                    for name, value in row.names
                },
                "run_label": row.models[0].label if row.models else None,
                "block": cell.block,
                "column": cell.column,
                "unit": "percent",
                "published": _percent(cell.published),
                "ours": _percent(ours.mean if ours else None),
                "low": _percent(ours.low if ours else None),
                "high": _percent(ours.high if ours else None),
                "standard_error": _percent(ours.standard_error if ours else None),
                "num_runs": len(ours.runs) if ours else 0,
                "difference": _percent(cell.difference),
                "published_note": cell.note,
                "runs": list(ours.runs) if ours else [],
            }


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 4)
