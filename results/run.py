"""What one run folder says, or an evaluation that somebody names: its spec, its measurements, its training log.

A folder that is damaged, or that was never finished, is a run with a `problem`, which becomes the reason of an empty
cell. What of it can be read is kept.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workloads.errors import ClibdError, MissingPathError
from workloads.predictions import FUSED
from workloads.record import EVALUATION, MEASUREMENTS, Measurement, RunFolder, check_names, read_evaluation
from workloads.run_files import Evaluation, OpenSet, ZeroShot, object_there
from workloads.seals import STATUS, sealed_folder
from workloads.spec import MODALITIES, ExperimentSpec
from workloads.storage import Folder
from workloads.tower_specs import RUN_PREFIX

_OPEN_SET, _ZERO_SHOT = "open_set.json", "bzsl.json"
_PAIRED = ("clibd", "random_key", "majority")
"""Methods that are measured of all pairs of features; tables show those of single ones."""
UNREADABLE = (ClibdError, OSError)
"""What reading a folder raises that somebody else has written, or half of it, or that a disk does not give."""


class Measured:
    """Measurements by their place; of all pairs of features only those of single modalities, as tables show no others.

    Kept are top-1 accuracies over all keys, of image and DNA together too, and rates.
    """

    def __init__(self, table: pa.Table) -> None:
        if "queries" not in table.column_names:  # written by an earlier version, which knew no others
            table = table.append_column("queries", pa.array(["all"] * len(table), pa.string()))
        ranked = pc.is_in(table["metric"], pa.array(["top3", "top5"]))
        told = pc.match_substring_regex(table["method"], "_(oracle|calibrated)$")
        several = pc.or_(*(_joined(table[name]) for name in ("query", "key")))
        of_pairs = pc.is_in(table["method"], pa.array(_PAIRED))
        wanted = pc.and_(pc.or_(pc.equal(table["keys"], "all"), told), pc.invert(pc.and_(several, of_pairs)))
        table = table.filter(pc.and_(wanted, pc.invert(ranked)))
        self._columns: dict[str, list[Any]] = {name: _listed(table[name]) for name in table.column_names}
        self._fields = [name for name in Measurement.__dataclass_fields__ if name in self._columns]
        self._indexes: dict[tuple[str, ...], dict[tuple[Any, ...], int]] = {}

    def find(self, where: Mapping[str, Any]) -> Measurement | None:
        """The first measurement that is of all that is said; `queries` are all of them unless it says otherwise."""
        where = where if "queries" in where else {**where, "queries": "all"}
        fields = tuple(where)
        if fields not in self._indexes:
            places = zip(*(self._columns[name] for name in fields), strict=True)
            self._indexes[fields] = {place: number for number, place in reversed(list(enumerate(places)))}
        number = self._indexes[fields].get(tuple(where.values()))
        return None if number is None else Measurement(**{name: self._columns[name][number] for name in self._fields})


def _listed(column: pa.ChunkedArray) -> list[Any]:
    """Values of a column; equal words are one in memory, as a place has few and a server keeps hundreds of runs."""
    if not pa.types.is_string(column.type):
        return list(column.to_pylist())
    encoded = column.combine_chunks().dictionary_encode()
    words = [*encoded.dictionary.to_pylist(), None]
    return [words[code] for code in encoded.indices.fill_null(-1).to_pylist()]


def _joined(features: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether features are of several modalities, or of whole species; image and DNA of one specimen are one."""
    return pc.and_(pc.match_substring_regex(features, "[+_]"), pc.not_equal(features, FUSED))


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder, or an evaluation, as results see it."""

    folder: Folder
    name: str
    """Its id; behind a slash the evaluation where it is not the run's own."""
    state: str
    """`finished`, `failed`, `missing` when it never ended, or `damaged`."""
    problem: str | None = None
    """Why there are no numbers of it."""
    spec: ExperimentSpec | None = None
    """None where it is no run of CLIBD."""
    point: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """evaluation.json, or what stands in its place."""
    status: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    """provenance.json."""
    table: pa.Table | None = None

    @cached_property
    def _measured(self) -> Measured | None:
        return None if self.table is None else Measured(self.table)

    def find(self, where: Mapping[str, Any]) -> Measurement | None:
        """One of its measurements."""
        return self._measured.find(where) if self._measured else None

    @cached_property
    def but_for_seed(self) -> str | None:
        """What runs have in common that may be averaged; a start from another run has a seed of its own."""
        if self.spec is None:
            return None
        spec = {**asdict(self.spec), "seed": 0, "untrained": self.facts.get("untrained")}
        for name in MODALITIES:
            if str(spec[name]["weights"]).startswith(RUN_PREFIX):
                spec[name] = {**spec[name], "weights": RUN_PREFIX}
        return repr(spec)

    @property
    def recipe(self) -> str:
        """By which recipe it was trained and, where that is another one, measured."""
        measured = str(self.facts.get("recipe", self.spec.recipe if self.spec else ""))
        trained = self.spec.recipe if self.spec else measured
        return trained if trained == measured else f"{trained} measured as {measured}"

    @cached_property
    def _log(self) -> tuple[list[dict[str, Any]], str | None]:
        try:
            return [event for event in RunFolder(self.folder).events() if event["event"] == "epoch"], None
        except UNREADABLE as error:
            return [], str(error)

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """Its training log, one event per epoch; none where the log cannot be read."""
        return self._log[0]

    @property
    def log_problem(self) -> str | None:
        """Why its log cannot be read."""
        return self._log[1]

    @property
    def is_damaged(self) -> bool:
        """Whether a file of it is not what was written."""
        return self.state == "damaged"

    def statistic(self, name: str) -> float | None:
        """A cost of the run; None where there was no GPU to measure, or no log.

        The paper's `cuda_memory_gb` adds allocated to reserved memory, which counts the former twice; so does this
        field of the log, for the comparison only.
        """
        field = "seconds" if name == "hours_per_epoch" else "papers_memory_gb"
        values: list[float] = [event[field] for event in self.epochs if field in event]
        if not values:
            return None
        return sum(values) / len(values) / 3600 if name == "hours_per_epoch" else float(max(values)) or None


# --- One folder ---------------------------------------------------------------------------------------------------


def read_run(folder: Folder) -> Run:
    """A run folder or point, whatever its state; of one that is damaged what can be read."""
    plain, problems = RunFolder(folder), list[str]()
    known: dict[str, Any] = {"folder": folder, "name": plain.id, "state": "missing"}

    def read(name: str, how: Callable[[], Any]) -> None:
        try:
            known[name] = how()
        except UNREADABLE as error:
            problems.append(str(error))

    read("sealed", lambda: sealed_folder(folder))
    sealed = known.pop("sealed", folder)
    run = RunFolder(sealed)
    read("point", run.point)
    read("source", run.source)
    read("spec", lambda: run.spec() if folder.has("spec.json") else None)
    read("status", lambda: plain.status() if folder.has(STATUS) else {})
    known["state"] = known.get("status", {}).get("state", "missing")
    read("names", lambda: check_names(run.id, known.get("point", {}), known.get("spec")))
    known.pop("names", None)
    if known["state"] == "finished" and not problems:
        if not folder.has(MEASUREMENTS):
            return Run(**known, problem="it has not been measured: `clibd evaluate RUN --data DIR`")
        read("facts", lambda: {**object_there(sealed, EVALUATION, Evaluation), **_thresholds(sealed)})
        read("table", run.measurement_table)
    if problems:
        return Run(**{**known, "state": "damaged", "table": None}, problem=f"it cannot be read: {problems[0]}")
    if known["state"] == "failed":
        return Run(**known, problem=f"it failed: {known['status'].get('reason', 'it does not say why')}")
    return Run(**known, problem=None if "table" in known else "it never ended; its sweep goes on")


def _thresholds(folder: Folder) -> dict[str, Any]:
    """How open-set recognition has chosen them, where it was here."""
    return {name: value for name, value in _open_set(folder).items() if name == "thresholds"}


def _open_set(folder: Folder) -> dict[str, Any]:
    return object_there(sealed_folder(folder), _OPEN_SET, OpenSet)


def read_named(folder: Folder) -> list[Run]:
    """An evaluated folder that somebody names: its retrieval, and open-set recognition and zero-shot learning beside.

    Raises:
        MissingPathError: nothing was evaluated there, or no run is near it.
        DamagedError: a file does not say what it should.
    """
    alone = folder.has(_ZERO_SHOT) and not folder.has(EVALUATION)  # as an earlier version has left it
    facts = {} if alone else {**read_evaluation(folder), **_thresholds(folder)}
    facts = _zero_shot_facts(folder, facts) if folder.has(_ZERO_SHOT) else facts
    spec, name, run = _spec_near(folder, folder.parent, folder.name, facts)
    of, measured = RunFolder(run), RunFolder(folder)
    common: dict[str, Any] = {"state": "finished", "spec": spec, "point": of.point(), "source": of.source()}
    common |= {"status": of.status() if run.has(STATUS) else {}, "folder": folder}
    runs = [Run(**common, name=name, facts=facts, table=measured.measurement_table())]
    if folder.has(_OPEN_SET) and folder.has("open_set_measurements.parquet"):
        table = measured.measurement_table("open_set_measurements.parquet")
        runs.append(Run(**common, name=name, facts={**facts, **_open_set(folder)}, table=table))
    inside = folder / "bzsl"
    if inside.has(_ZERO_SHOT) and inside.has(MEASUREMENTS):
        table = RunFolder(inside).measurement_table()
        runs.append(Run(**common, name=f"{name}/bzsl", facts=_zero_shot_facts(inside, facts), table=table))
    return runs


def _spec_near(
    folder: Folder, parent: Folder, own: str, facts: Mapping[str, Any]
) -> tuple[ExperimentSpec | None, str, Folder]:
    """The spec, name and folder of the run that an evaluation is of; no spec where it is of another model."""
    if facts.get("model", "CLIBD") != "CLIBD":
        return None, own, folder
    run = next((place for place in (folder, parent) if place.has("spec.json")), None)
    if run is None:
        if not facts.get("run"):
            return None, own, folder
        raise MissingPathError(str(folder), "spec.json, nor above it,", "Leave an evaluation in the folder of its run.")
    if (owner := run.name) != facts.get("run", owner):
        remedy = f"It was evaluated with {facts['run']}: leave it in that run's folder."
        raise MissingPathError(str(folder), f"evaluation of {owner}", remedy)
    return RunFolder(run).spec(), own if run is folder else f"{owner}/{own}", run


def _zero_shot_facts(folder: Folder, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What `bzsl.json` says, over what the evaluation of its images does."""
    written = object_there(sealed_folder(folder), _ZERO_SHOT, ZeroShot)
    asked = written.get("asked", {})
    own = {"recipe": asked.get("recipe"), "source": asked.get("source"), "dna": asked.get("dna")}
    about = {"dataset": "INSECT", "data_fingerprint": "", "model": "Bayesian zero-shot learning", "missing_rank": ""}
    return {**(facts or about), **own, "synthetic": bool(written.get("synthetic", facts.get("synthetic", False)))}
