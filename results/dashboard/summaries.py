"""What pages of many runs need of each: a few numbers and words, kept while whole runs are forgotten again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.dashboard.catalog import Catalog
from results.dashboard.training_log import training_log
from results.run import UNREADABLE, Run
from results.sweep_status import LIVE, OVER, Standing
from sweeps.table import Value
from workloads.attempts import Attempt, Attempts
from workloads.record import Measurement
from workloads.spec import spec_to_dict
from workloads.storage import Folder

CHIEF = {"partition": "val", "average": "macro", "level": "species", "species": "harmonic_mean", "metric": "top1"}
CHIEF |= {"query": "image", "key": "dna"}
"""The number by which runs are ranked: image to DNA, macro top-1 of species, harmonic mean of seen and unseen."""
CHIEF_WORDS = "image to DNA, species, macro top-1, harmonic mean of seen and unseen, validation"
_FLOORS = ("random_key", "linear_cca")
_LEFT_OUT = ("data_fingerprint", "synthetic")


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What a run has taken so far."""

    seconds: float
    workers: int
    device: str | None
    """None where nothing says it yet."""

    @property
    def is_cpu(self) -> bool:
        """Whether it says that it had no GPU."""
        return self.device is not None and self.device.upper().startswith("CPU")

    @property
    def gpu_hours(self) -> float | None:
        """None on a CPU, and where the device is not known."""
        return None if self.device is None or self.is_cpu else self.seconds * self.workers / 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One run in short."""

    run: str
    problem: str | None
    """Why there are no numbers of it."""
    is_damaged: bool
    synthetic: bool
    dataset: str | None
    scale: str
    recipe: str
    row: Mapping[str, Value]
    fields: Mapping[str, Value]
    """Of its spec, by dotted names."""
    chief: Measurement | None
    beside: Mapping[str, Measurement]
    """Chance and floor at the same place, by their methods."""
    score: float | None
    """By which its epoch was selected."""
    memory_gb: float | None
    """As the paper counts it."""
    hours_per_epoch: float | None
    spent: Spent | None
    error: str | None
    """The last lines of what ended it."""


def summary(catalog: Catalog, run: str) -> Summary:
    """A run in short, as it is now.

    Raises:
        NotThereError: there is no such run.
    """
    place = catalog.place(run)
    version = catalog.now.version(place, passing=True)
    return catalog.kept(("summary", place, version), lambda: _summary(catalog, catalog.folder / place, run))


def _summary(catalog: Catalog, folder: Folder, name: str) -> Summary:
    run, attempts = catalog.run(name), attempts_of(folder)[0]
    spec = run.spec
    where = {"method": "clibd", **CHIEF}
    floors = {method: run.find({**where, "method": method}) for method in _FLOORS}
    log = training_log(catalog, name)
    seconds = log.columns()["epoch_seconds"] if len(log) else None
    return Summary(
        run=name,
        problem=run.problem,
        is_damaged=run.is_damaged,
        synthetic=is_synthetic(run),
        dataset=run.facts.get("dataset") or (spec.dataset if spec else None),
        scale=str(run.point.get("scale", "")),
        recipe=run.recipe,
        row={key: tuple(v) if isinstance(v, list) else v for key, v in (run.point.get("row") or {}).items()},
        fields=_fields(spec_to_dict(spec)) if spec else {},
        chief=run.find(where),
        beside={method: found for method, found in floors.items() if found},
        score=_number(run.status.get("selected_score")),
        memory_gb=log.last("epoch_papers_memory_gb") or None,
        hours_per_epoch=None
        if seconds is None or not (seconds > 0).any()
        else float(seconds[seconds > 0].mean()) / 3600,
        spent=spent(run, attempts),
        error=_last_lines(run, attempts),
    )


def is_synthetic(run: Run) -> bool:
    """Whether a run's numbers are of drawn specimens, as far as it says."""
    own = run.spec.synthetic if run.spec else run.point.get("synthetic", False)
    return bool(run.facts.get("synthetic", own))


def attempts_of(folder: Folder) -> tuple[list[Attempt], str | None]:
    """The attempts at a run, and why they cannot be read."""
    try:
        return Attempts(folder).all(), None
    except UNREADABLE as error:
        return [], str(error)


def spent(run: Run, attempts: Sequence[Attempt]) -> Spent | None:
    """What a run has taken: by its attempts, failed ones as well, or by its own clock; None where neither says it."""
    source = run.source.get("circumstances", {})
    device = run.status.get("device") or (source.get("device") if isinstance(source, dict) else None)
    told = str(device) if device else None
    ended = [one for one in attempts if one.ended]
    if ended:
        workers = max(one.workers for one in ended) or 1
        seconds = sum(((one.ended or 0.0) - one.began) * max(1, one.workers) for one in ended) / workers
        return Spent(seconds=seconds, workers=workers, device=told)
    own = [_number(run.status.get(name)) for name in ("training_seconds", "evaluation_seconds")]
    if own[0] is None:
        return None
    return Spent(seconds=sum(filter(None, own)), workers=int(run.status.get("num_workers") or 1), device=told)


def _last_lines(run: Run, attempts: Sequence[Attempt]) -> str | None:
    """What ended a failed run, in a few lines."""
    told = run.status.get("traceback") or next((one.traceback for one in reversed(attempts) if one.traceback), None)
    lines = [line for line in str(told or "").splitlines() if line.strip()]
    reason = run.status.get("reason") or next((one.reason for one in reversed(attempts) if one.reason), None)
    if run.state == "finished" or not (lines or reason):
        return None
    return "\n".join(lines[-4:]) if lines else str(reason)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _fields(values: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Nested fields by dotted names, with their own kinds."""
    fields: dict[str, Value] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            fields |= _fields(value, f"{prefix}{name}.")
        elif name not in _LEFT_OUT:
            fields[prefix + name] = tuple(map(str, value)) if isinstance(value, list) else value
    return fields


# --- States -------------------------------------------------------------------------------------------------------


def state_of(standing: Standing, known: Mapping[str, Summary]) -> str:
    """The state of a point: what its files say, if they can be read."""
    found = known.get(standing.run or "")
    return "damaged" if found and found.is_damaged else standing.state


def summaries(catalog: Catalog, standings: Sequence[Standing]) -> dict[str, Summary]:
    """Of all runs among some points that have a folder, by their ids."""
    return {one.run: summary(catalog, one.run) for one in standings if one.run and one.folder}


def group_of(state: str) -> str:
    """Of which of five kinds a state is: done, running, waiting, failed or not yet."""
    if state == "finished":
        return "done"
    if state in ("waiting", "stopping"):
        return "waiting"
    if state in LIVE:
        return "running"
    return "failed" if state in ("failed", "damaged") else "cannot be" if state in OVER else "not yet"
