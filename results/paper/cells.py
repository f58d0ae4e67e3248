"""The cells of a sheet: published, ours over seeds, the floors beside, and of each empty one why it is empty."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from shlex import quote
from statistics import fmean, stdev
from typing import Any

from results.measured import FLOORS
from results.paper.comparable import UNMEASURED_NOISE, has_noise, why_not
from results.published import PublishedNumber, find_published
from results.run import Measured, Run
from results.runs import AskedRow, Runs
from results.sheet import Cell, Unit
from sweeps.open_set import METHODS
from sweeps.table import Column, Row, Table, is_statistic
from workloads.record import Measurement
from workloads.spec import MODALITIES, Rank

_ANSWERED = tuple(method for method in METHODS if method != "bzsl")
"""Methods of open-set recognition."""
_BUILT_IN = ("synthetic-insects", "synthetic-insect")
"""Data sets of `--demo`."""
_UNITS: Mapping[str, Unit] = {"hours_per_epoch": "hours", "cuda_memory_gb": "GB"}


@dataclass(frozen=True, slots=True)
class Group:
    """What may stand on one sheet: of one data set, scale and recipe."""

    dataset: str
    fingerprint: str
    scale: str
    recipe: str
    members: tuple[AskedRow, ...]
    twin: bool = False
    """Whether another data set has its name."""

    @property
    def synthetic(self) -> bool:
        """Whether its specimens are drawn."""
        return any(member.synthetic for member in self.members)

    @property
    def title(self) -> str:
        """The group in words; says when the numbers come from synthetic specimens."""
        kind = "SYNTHETIC specimens" if self.synthetic else "specimens"
        which = f", version {self.fingerprint}" if self.twin else ""
        return f"{self.dataset} ({kind}{which}), scale {self.scale}, recipe {self.recipe}"


@dataclass(frozen=True, slots=True)
class SheetLine:
    """A line of a sheet: a row, and the members that stand for it, which differ in their seed alone."""

    row: Row
    members: tuple[AskedRow, ...]
    queries: str = "all"
    """`untrained`: only those that the runs were not trained on."""

    @property
    def runs(self) -> list[Run]:
        """Those that have numbers."""
        return [member.run for member in self.members if member.run is not None and member.has_numbers]

    @property
    def label(self) -> str | None:
        """The row as it really ran."""
        labels = [member.label for member in self.members]
        label = labels[0] if labels else None
        if label and any(other != label for other in labels):  # they name their seeds
            label = label.rpartition(", ")[0] or label
        return label if self.queries == "all" else f"{label}, without what it was trained on"


@dataclass(frozen=True, slots=True)
class Filling:
    """A sheet to be filled."""

    table: Table
    sweep: str
    """That makes its runs."""
    group: Group
    runs: Runs | None
    """None where folders were named instead."""

    def cells(self, lines: Sequence[SheetLine]) -> Iterator[Cell]:
        """Level by level, the floors below each."""
        places = [(block.title, column) for block in self.table.blocks for column in block.columns]
        for level in self.table.levels:
            yield from (self._cell(line, level, *place) for line, place in product(lines, places))
            yield from self._floors(lines, level, places)

    def _cell(self, line: SheetLine, level: Rank, block: str, column: Column) -> Cell:
        where = self._where(line.row, column, level)
        printed = self._published(line, column, where)
        values = {run.name: value for run in line.runs if (value := _value(run, where, line.queries)) is not None}
        cell = Cell(
            **self._known(where),
            row=line.row.names,
            block=block,
            column=column.header,
            label=line.label,
            **(printed.in_cell if printed else {}),
            contamination=_contamination(line.runs, self.table.partition) if line.queries == "all" else None,
            **_ours(values),
        )
        if cell.ours is None:
            return replace(cell, reason=self._missing(line, where) if printed or self.group.members else None)
        if printed is None:
            return cell
        reason = why_not(self.table, line.row.names, where, self.group.scale, line.runs)
        if reason is None and not has_noise(cell):
            reason = UNMEASURED_NOISE
        return replace(cell, comparable=reason is None, reason=reason)

    def _where(self, row: Row, column: Column, level: Rank) -> dict[str, str]:
        """Fields of the measurement, or of the statistic."""
        if is_statistic(column.where):
            return dict(column.where)
        usual = {"method": "clibd", "metric": "top1", "level": level, "partition": self.table.partition}
        return {**usual, **column.where, **row.where}

    def _published(self, line: SheetLine, column: Column, where: Mapping[str, str]) -> PublishedNumber | None:
        number = self.table.number
        if not isinstance(number, int) or not (column.published and line.row.published) or line.queries != "all":
            return None
        place = {name: value for name, value in where.items() if name != "method"}  # ours; the paper's is in its row
        return find_published(number, {**place, **line.row.names})

    def _known(self, where: Mapping[str, str]) -> dict[str, Any]:
        """What a cell is of, whoever measured it."""
        accuracy = {} if is_statistic(where) else {"partition": self.table.partition, "rank": where.get("level")}
        group = self.group
        about = {"recipe": group.recipe, "dataset": group.dataset, "synthetic": group.synthetic, "scale": group.scale}
        return {
            "table": str(self.table.number),
            "unit": _UNITS.get(where.get("statistic", ""), "share"),
            "k": 1 if where.get("metric") == "top1" else None,
            "subset": where.get("species"),
            **{name: where.get(name) for name in ("method", "average", "query", "key")},
            **accuracy,
            **(about if group.members else {}),
        }

    # --- Why a cell is empty

    def _missing(self, line: SheetLine, where: Mapping[str, str]) -> str:
        """The reason, with the command that would fill the cell."""
        member = line.members[0] if line.members else None
        if member is None and self.runs is None and self.group.members:
            return f"none of the folders is of this row: {self._command()}, or name one with --run"
        if member is None or (member.run is None and not member.impossible):
            return f"not run: {self._command()}"
        if member.impossible or member.run is None:
            return f"{member.label}: {member.impossible}"
        if member.run.is_damaged:
            return f"{member.run.name}: {member.run.problem} Or move {member.run.folder} away, and {self._command()}"
        if member.run.problem:
            return f"{member.run.name}: {member.run.problem} ({self._command()})"
        if is_statistic(where):
            if member.run.log_problem:
                return f"{member.run.name}: {member.run.log_problem}"
            return "there was no GPU to measure" if member.run.epochs else f"{member.run.name} has no training log"
        return self._unmeasured(member.run, where)

    def _command(self) -> str:
        group = self.group
        runs = f" --runs {quote(str(self.runs.folder))}" if self.runs else ""
        if group.dataset in ("", *_BUILT_IN):
            return f"`clibd-sweep {self.sweep} --demo{runs}`"
        words = f"--scale {group.scale} --recipe {group.recipe.split()[0]}{runs}"
        if self.table.dataset == "insect":
            return f"`clibd-sweep {self.sweep} --data DIR --insect FILES {words}`, where FILES is INSECT's folder"
        return f"`clibd-sweep {self.sweep} --data DIR {words}`, where DIR is {group.dataset}, prepared"

    def _unmeasured(self, run: Run, where: Mapping[str, str]) -> str:
        """Why a finished run has no number at a place."""
        for name in filter(None, (where.get("query"), where.get("key"))):
            if reason := run.facts.get("left_out", {}).get(name):
                return f"{run.name}: {reason}"
            if name in MODALITIES and run.spec is not None and name not in run.spec.modalities:
                return f"{name} is not among the modalities of this row"
        method = where.get("method", "")
        again = {"bzsl": "clibd bzsl RUN"} | dict.fromkeys(_ANSWERED, "clibd open-set RUN --classifier CLASSIFIER_RUN")
        command = again.get(method, f"clibd evaluate {quote(str(run.folder))}")
        return f"{run.name} was not measured so, or its data set has no such queries: `{command}`"

    # --- Floors

    def _floors(self, lines: Sequence[SheetLine], level: Rank, places: Sequence[tuple[str, Column]]) -> Iterator[Cell]:
        """Chance, the commonest class and simple methods at the places of a level, where they were measured."""
        sources: list[Run | Measured] = [run for line in lines for run in line.runs]
        if old := self.runs.floors(self.group.dataset, self.group.fingerprint) if self.runs else None:
            sources.append(old)
        row = dict.fromkeys(self.table.row_fields)
        for (method, label), (block, column) in product(FLOORS.items() if self.group.members else (), places):
            if not is_statistic(column.where) and "metric" not in column.where:
                where = {**self._where(Row({}), column, level), "method": method}
                if floor := next(filter(None, (source.find(where) for source in sources)), None):
                    known = {**self._known(where), **_ours({label: floor}), "runs": ()}
                    yield Cell(**known, row=row, block=block, column=column.header, label=label)


def _value(run: Run, where: Mapping[str, str], queries: str) -> Measurement | float | None:
    return run.statistic(where["statistic"]) if is_statistic(where) else run.find({**where, "queries": queries})


def _ours(values: Mapping[str, Measurement | float]) -> dict[str, Any]:
    """Mean and standard error over runs that differ in their seed; of a single run its value and interval."""
    if not values:
        return {}
    numbers = [value.value if isinstance(value, Measurement) else value for value in values.values()]
    first = next(iter(values.values()))
    known: dict[str, Any] = {"runs": tuple(sorted(values)), "ours": fmean(numbers)}
    if len(numbers) > 1:
        known["standard_error"] = stdev(numbers) / len(numbers) ** 0.5
    if isinstance(first, Measurement):
        known["n"] = first.count
        known |= {} if len(numbers) > 1 else {"low": first.low, "high": first.high}
    return known


def _contamination(runs: Sequence[Run], partition: str) -> str | None:
    """What runs have seen in training of what they are asked, in words."""
    texts: list[str] = []
    for run in runs:
        seen_of = run.facts.get("contamination", {}).get(partition, {})
        species, specimens, barcodes = (seen_of.get(name) or 0 for name in ("unseen_species", "specimens", "barcodes"))
        parts = [f"{species:,}/{seen_of.get('num_unseen_species', 0):,} unseen species"] if species else []
        seen = [f"{count:,} {what}" for count, what in ((specimens, "specimens"), (barcodes, "barcodes")) if count]
        parts += [f"{' and '.join(seen)} of {seen_of.get('num_queries', 0):,} queries"] if seen else []
        texts += [", ".join(parts)] if parts else []
        declared = run.facts.get("declared", [])
        texts += ["declared below", *declared] if declared and not texts else declared
    return "; ".join(dict.fromkeys(texts)) or None
