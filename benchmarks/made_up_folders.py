"""The folder of one made-up run, in whatever state: finished, failed, interrupted, running or damaged.

It is written by the functions that write real ones, and says everywhere that it is synthetic. Only a lease that beats
has the time of this machine in it; all else is a function of the seed.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, Literal

import numpy as np

from benchmarks.made_up_answers import PARTITIONS, MadeUpInsects, accuracies, answered, pairs_of
from benchmarks.made_up_names import HOSTILE, Words
from sweeps.open_set import METHODS
from sweeps.point import Point
from workloads.attempts import Attempt, Outcome
from workloads.lease import Holder
from workloads.predictions import MISSING_RANK, Place
from workloads.record import EVALUATION, MEASUREMENTS, Measurement, RunFolder, measurements_to_table
from workloads.run_files import Point as Entry
from workloads.seals import LEASE, MANIFEST, STATUS
from workloads.spec import MODALITIES, RANKS
from workloads.storage import Folder

State = Literal["finished", "failed", "interrupted", "running", "damaged"]
LOG = "events.jsonl"
STEPS = 40
"""Of an epoch; every tenth is logged."""
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_SECONDS = 600.0
"""An epoch takes about so many."""


@dataclass(frozen=True, kw_only=True)
class MadeUpRun:
    """What is to be written."""

    number: int
    """Of all that are made, from 0."""
    sweep: str
    point: Point
    entry: Entry
    """Of points.json."""
    state: State
    insects: MadeUpInsects
    asked: dict[Place, int]
    """How many queries of each retrieval ask, where it has predictions."""
    num_keys: int
    intervals: bool
    words: Words

    @property
    def began(self) -> datetime:
        """When its first attempt did."""
        return _BEGAN + timedelta(hours=self.number)


def pairs_of_point(point: Point) -> list[tuple[str, str]]:
    """The retrievals that a point is measured by; none of those that retrieve nothing."""
    if point.kind == "openclip":
        return pairs_of(("image", "text"))
    retrieves = point.kind in ("train", "untrained") and point.spec.objective != "classify"
    return pairs_of(point.spec.modalities) if retrieves else []


def write_run(run: MadeUpRun, place: Folder, chance: np.random.Generator) -> None:
    """Write the folder of a run."""
    folder, point, words = RunFolder(place), run.point, run.words
    spec = point.spec if point.kind in ("train", "untrained") else None
    folder.begin(spec, {**run.entry, "sweep": run.sweep}, _provenance(run))
    epochs = point.spec.epochs
    reached = epochs if run.state in ("finished", "damaged") else max(1, epochs // 3)
    skill = float(chance.uniform(0.85, 1.05)) * {"untrained": 0.1, "openclip": 0.6}.get(point.kind, 1.0)
    if point.kind == "train":
        events = list(log_events(epochs, reached, skill, chance))
        place.write(LOG, "".join(f"{json.dumps(event)}\n" for event in events).encode())
        _write_attempts(run, place, reached, chance)
    if run.state == "failed":
        trace = f'Traceback (most recent call last):\n  File "{words.say("step.py", run.number)}", line 7\n{_error(run)}'
        folder.finish("failed", reason=_error(run), traceback=trace)
    elif run.state == "running":
        _write_lease(run, place, reached, epochs)
    elif run.state != "interrupted":
        _measure(run, folder, skill, chance)
        folder.finish("finished", **_details(run, reached, skill))
        if run.state == "damaged":
            damage(place, run.number)


def _provenance(run: MadeUpRun) -> dict[str, Any]:
    said = run.words.say
    return {
        "clibd": "made-up",
        "python": "3.11",
        "packages": {"torch": said("2.0", run.number + 1), "ray": None},
        "platform": said("made-up", run.number + 2),
        "num_cpus": 16,
        "commit": said("made-up", run.number + 3),
        "code": f"{run.number:064x}",
        "argv": ["clibd-sweep", run.sweep, "--data", said("DIR", run.number + 4)],
        "started": run.began.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "circumstances": {"device": said("made-up GPU", run.number + 5), "precision": run.point.spec.precision},
    }


def _details(run: MadeUpRun, reached: int, skill: float) -> dict[str, Any]:
    """What the status of a finished run says."""
    if run.point.kind != "train":
        return {"evaluation_seconds": 60.0}
    counts = {"num_parameters": 200_000_000, "num_trained_parameters": 190_000_000, "num_workers": 4, "num_chunks": 1}
    took = {"training_seconds": _SECONDS * reached, "evaluation_seconds": 60.0, "selected_epoch": reached - 1}
    return {**counts, **took, "selected_score": skill / 2, "device": run.words.say("made-up GPU", run.number + 6)}


# --- How it went --------------------------------------------------------------------------------------------------


def log_events(epochs: int, reached: int, skill: float, chance: np.random.Generator) -> Iterator[dict[str, Any]]:
    """The training log: some steps of each epoch, and its end.

    Args:
        epochs: that are to be trained.
        reached: that have been.
        skill: of the model, by which losses and scores differ.
        chance: of the noise.
    """
    for epoch in range(reached):
        for step in range(epoch * STEPS, (epoch + 1) * STEPS, STEPS // 4):
            yield {"event": "step", **_curves(epochs, epoch, step, skill, chance)}
        yield epoch_event(epochs, epoch, skill, chance)


def epoch_event(epochs: int, epoch: int, skill: float, chance: np.random.Generator) -> dict[str, Any]:
    """The line of the log at the end of an epoch."""
    gigabytes = {"allocated_gb": 30.0, "reserved_gb": 38.0, "papers_memory_gb": 68.0}
    score = skill * 0.6 * (1 - np.exp(-4 * (epoch + 1) / epochs)) + chance.normal(0, 0.005)
    took = {"seconds": _SECONDS + float(chance.normal(0, 20)), "waited": 0.02}
    curves = _curves(epochs, epoch, (epoch + 1) * STEPS - 1, skill, chance)
    return {"event": "epoch", **curves, **took, **gigabytes, "score": float(np.clip(score, 0, 1))}


def _curves(epochs: int, epoch: int, step: int, skill: float, chance: np.random.Generator) -> dict[str, Any]:
    done = step / (epochs * STEPS)
    return {
        "epoch": epoch,
        "step": step,
        "loss": float(0.4 / skill + 5.5 * np.exp(-6 * done) + chance.gamma(2, 0.02)),
        "temperature": 0.07 - 0.02 * done,
        "learning_rate": float(1e-4 * np.sin(np.pi * min(0.99, done + 0.01))),
        "gradient_norm": float(1 + chance.gamma(2, 0.2)),
        "specimens_per_second": float(800 + chance.normal(0, 15)),
    }


def _write_attempts(run: MadeUpRun, place: Folder, reached: int, chance: np.random.Generator) -> None:
    """The groups of workers: every third run lost one before the last."""
    last: dict[State, Outcome | None] = {"failed": "failed", "interrupted": "stopped", "running": None}
    outcomes: list[Outcome | None] = ["lost"] * (run.number % 3 == 0) + [last.get(run.state, "finished")]
    for number, outcome in enumerate(outcomes, start=1):
        began = run.began.timestamp() + number * _SECONDS
        attempt = Attempt(
            number=number,
            began=began,
            ended=None if outcome is None else began + reached * _SECONDS,
            hosts=_hosts(run),
            workers=2,
            outcome=outcome,
            reason=_error(run) if outcome in ("lost", "failed") else "",
        )
        (place / "attempts").write_json(f"{number:03}.json", asdict(attempt))
        lines = (f"epoch {int(epoch)}: {_error(run)}" for epoch in chance.integers(0, reached, 5))
        (place / "attempts").write(f"{number:03}-worker-0.log", "\n".join(lines).encode())


def _hosts(run: MadeUpRun) -> tuple[str, ...]:
    return tuple(run.words.say(f"made-up-{worker}", 2 * run.number + worker) for worker in range(2))


def _error(run: MadeUpRun) -> str:
    """Why it failed, in words of which a tenth of all hostile strings are in each."""
    told = HOSTILE[run.number % 10 :: 10] if run.words.hostile else ()
    return " ".join(["made-up error: out of memory", *told])


def _write_lease(run: MadeUpRun, place: Folder, reached: int, epochs: int) -> None:
    """A lease that beats now, of a process of another machine."""
    hosts, now = _hosts(run), time.time()
    facts = {"state": "training", "epoch": reached, "epochs": epochs, "specimens_per_second": 800.0}
    holder = Holder(
        owner=run.point.id,
        token=run.point.id,
        host=hosts[0],
        pid=run.number + 1,
        machine=None,  # known to be nobody's here, it would not be live
        command=" ".join(_provenance(run)["argv"]),
        began=now - reached * _SECONDS,
        beat=1,
        beaten=now,
        facts={**facts, "seconds_left": (epochs - reached) * _SECONDS, "workers": 2, "hosts": list(hosts)},
    )
    place.write_json(LEASE, asdict(holder))


# --- What was measured --------------------------------------------------------------------------------------------


def _measure(run: MadeUpRun, folder: RunFolder, skill: float, chance: np.random.Generator) -> None:
    """Predictions where it retrieves, measurements, and by which rules they were made."""
    if run.asked:
        predictions = answered(run.insects, run.asked, run.num_keys, skill, chance)
        predictions.write(folder.folder)
        rows = accuracies(predictions, run.insects, run.intervals)
    else:
        rows = list(_told(run.point, chance))
    folder.folder.write_table(MEASUREMENTS, measurements_to_table(rows))
    folder.folder.write_json(EVALUATION, _evaluation(run))
    if run.point.kind == "costs":
        costs = [{"modality": name, "quantity": "parameters", "value": 9e7, "how": "made up"} for name in MODALITIES]
        folder.folder.write_json("costs.json", {"run": None, "costs": costs})


def _told(point: Point, chance: np.random.Generator) -> Iterator[Measurement]:
    """Accuracies of what retrieves nothing: plausible values, by method, rank and subset."""
    classifier = point.kind in ("train", "untrained")
    methods = {"open_set": [name for name in METHODS if name != "bzsl"], "bzsl": ["bzsl"]}.get(point.kind, [])
    methods, subsets = (["clibd"], ("seen",)) if classifier else (methods, ("seen", "unseen", "harmonic_mean"))
    key, metric = ("classes", "classifier_top1") if classifier else ("dna", "top1")
    for method, average, level, species in product(methods, ("micro", "macro"), RANKS, subsets):
        value = float(chance.uniform(0.2, 0.5) + 0.12 * (3 - RANKS.index(level)))
        place = {"partition": "test", "average": average, "level": level, "query": point.spec.modalities[0]}
        more = {"method": method, "key": key, "species": species, "metric": metric, "count": 100}
        yield Measurement(**place, **more, value=value, low=value - 0.04, high=value + 0.04)
        if point.kind == "open_set" and level == "species" and average == "micro":
            yield Measurement(**place, **{**more, "metric": "seen_unseen_accuracy"}, value=value + 0.3)


def _evaluation(run: MadeUpRun) -> dict[str, Any]:
    """evaluation.json."""
    spec, insects, said = run.point.spec, run.insects, run.words.say
    counts = {part: max((n for at, n in run.asked.items() if at.partition == part), default=0) for part in PARTITIONS}
    lacking = {
        part: {r: sum(name is None for name in insects.labels[r][insects.queries[part][: counts[part]]]) for r in RANKS}
        for part in PARTITIONS
    }
    of_data = {"dataset": spec.dataset, "data_fingerprint": spec.data_fingerprint, "synthetic": True}
    of_other = {"model": run.point.model, "declared": [said("made-up species", run.number)]}
    of_model = of_other if run.point.kind == "openclip" else {"model": "CLIBD", "run": run.point.id}
    return {
        **of_data,
        **of_model,
        "recipe": spec.recipe,
        "missing_rank": MISSING_RANK[spec.recipe],
        "aligned": list(spec.modalities),
        "untrained": run.point.kind == "untrained",
        "precision": spec.precision,
        "keys": ["all"],
        "ks": [1, 3, 5],
        "official_split": None,
        "num_specimens": {"keys": len(insects.keys), **counts},
        "num_without_name": lacking,
        "num_lacking": {},
        "circumstances": {"device": said("made-up GPU", run.number + 7)},
    }


# --- Damage, and what goes on -------------------------------------------------------------------------------------


def damage(place: Folder, kind: int) -> None:
    """Let something happen to the folder of a finished run: by number, one of five things."""
    name = (MEASUREMENTS, STATUS, MANIFEST, "point.json", EVALUATION)[kind % 5]
    if name == MANIFEST:
        place.remove(name)
    else:
        content = place.read(name)
        place.write(name, content[: len(content) // 2])


def live_run(runs: Folder) -> Folder:
    """Let a running run go on: one more epoch in its log, and a beat of its lease.

    Args:
        runs: a folder of made-up runs.

    Returns:
        The run's folder: the first that has a lease.

    Raises:
        StopIteration: none has one, or the last epoch is done.
    """
    found = (runs / sweep / name for sweep in runs.folders() for name in (runs / sweep).folders())
    place = next(folder for folder in found if folder.has(LEASE))
    folder, holder = RunFolder(place), Holder(**place.read_json(LEASE))
    epochs, done = int(holder.facts["epochs"]), int(holder.facts["epoch"])
    if done >= epochs:
        raise StopIteration
    event = epoch_event(epochs, done, 1.0, np.random.default_rng(done))
    place.write(LOG, place.read(LOG) + f"{json.dumps(event)}\n".encode())
    facts = {**holder.facts, "epoch": done + 1, "seconds_left": (epochs - done - 1) * _SECONDS}
    place.write_json(LEASE, asdict(replace(holder, beat=holder.beat + 1, beaten=time.time(), facts=facts)))
    return folder.folder


def num_rows(asked: Sequence[MadeUpRun]) -> int:
    """Predictions of runs that are finished; damaged ones have some that nobody should count."""
    return sum(sum(run.asked.values()) for run in asked if run.state == "finished")
