"""Finished runs of a sweep, sorted into groups that may stand in one table.

A group has one data set, one scale and one recipe. Within a row only runs that differ in nothing but their seed are
averaged; of others the newest stay, and the table says how many were left out.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

from results.tables import Table
from workloads.errors import MissingRunsError
from workloads.record import Measurement, RunFolder, find_runs, measurements_from_table
from workloads.spec import ExperimentSpec
from workloads.storage import Folder


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What a finished run folder says, read once."""

    id: str
    sweep: str
    spec: ExperimentSpec
    label: str
    row: dict[str, Any]
    scale: str
    status: dict[str, Any]
    provenance: dict[str, Any]
    events: list[dict[str, Any]]
    measurements: list[Measurement]
    measured_by: str
    """The recipe of its measurements: the run's, unless it was measured again by another one."""

    @property
    def recipe(self) -> str:
        """By which recipe it was trained and, where that is another one, measured."""
        return recipe_words(self.spec.recipe, self.measured_by)

    def epochs(self) -> list[dict[str, Any]]:
        """The training log, one event per epoch."""
        return [event for event in self.events if event["event"] == "epoch"]

    def statistic(self, name: str) -> float | None:
        """A cost of the run; None where there was no GPU to measure.

        The paper's `cuda_memory_gb` adds allocated to reserved memory, which counts the former twice; so does this
        field of the log, for the comparison only.
        """
        epochs = self.epochs()
        if name == "hours_per_epoch":
            return float(sum(event["seconds"] for event in epochs) / len(epochs) / 3600)
        memory = max(event["papers_memory_gb"] for event in epochs)
        return float(memory) if memory else None


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of one data set, scale and recipe."""

    dataset: str
    synthetic: bool
    scale: str
    recipe: str
    runs: tuple[FinishedRun, ...]
    floors: tuple[Measurement, ...]
    num_left_out: int

    @property
    def title(self) -> str:
        """The group in words; says when the numbers come from synthetic specimens."""
        kind = "SYNTHETIC specimens" if self.synthetic else "specimens"
        return f"{self.dataset} ({kind}), scale {self.scale}, recipe {self.recipe}"


def read_run(run: RunFolder, sweep: str) -> FinishedRun:
    """Everything that results need of one finished run."""
    point = run.point()
    return FinishedRun(
        id=run.id,
        sweep=sweep,
        spec=run.spec(),
        label=point["label"],
        row=point["row"],
        scale=point["scale"],
        status=run.status(),
        provenance=run.folder.read_json("provenance.json"),
        events=run.events(),
        measurements=run.measurements(),
        measured_by=_measured_by(run),
    )


def _measured_by(run: RunFolder) -> str:
    """What evaluation.json says; classifiers and runs of earlier versions have none."""
    facts = run.folder.read_json("evaluation.json") if run.folder.has("evaluation.json") else {}
    return str(facts.get("recipe", run.spec().recipe))


def recipe_words(trained: str, measured: str) -> str:
    """What a table calls the recipes that a model was trained and measured by, which are mostly one."""
    return trained if trained == measured else f"{trained} measured as {measured}"


def collect(runs: Folder, table: Table) -> list[Group]:
    """The groups of finished runs behind a table.

    Raises:
        MissingRunsError: not one run is finished.
    """
    finished = [read_run(run, table.sweep) for run in find_runs(runs, table.sweep) if run.state() == "finished"]
    if not finished:
        raise MissingRunsError(f"Table {table.number}", table.sweep, str(runs))
    groups: dict[tuple[str, str, str, str], list[FinishedRun]] = defaultdict(list)
    for run in finished:
        groups[run.spec.dataset, run.spec.data_fingerprint, run.scale, run.recipe].append(run)
    return [_group(runs / table.sweep, table, key, members) for key, members in sorted(groups.items())]


def _group(folder: Folder, table: Table, key: tuple[str, str, str, str], members: list[FinishedRun]) -> Group:
    dataset, fingerprint, scale, recipe = key
    kept = _alike(table, members)
    name = f"floors-{dataset}-{fingerprint}.parquet"
    floors = measurements_from_table(folder.read_table(name)) if folder.has(name) else []
    synthetic = members[0].spec.synthetic
    return Group(dataset, synthetic, scale, recipe, tuple(kept), tuple(floors), len(members) - len(kept))


def _alike(table: Table, members: list[FinishedRun]) -> list[FinishedRun]:
    """Of each row the runs that share the newest run's spec but for the seed."""
    rows: dict[tuple[Any, ...], list[FinishedRun]] = defaultdict(list)
    for run in members:
        rows[tuple(run.row.get(name) for name in table.row_fields)].append(run)
    kept: list[FinishedRun] = []
    for same_row in rows.values():
        newest = max(same_row, key=lambda run: str(run.provenance["started"]))
        kept += [run for run in same_row if replace(run.spec, seed=0) == replace(newest.spec, seed=0)]
    return kept
