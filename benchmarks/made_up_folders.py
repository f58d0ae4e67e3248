"""The folder of one made-up run, in whatever state: finished, failed, interrupted, running or damaged.

It is written by the functions that write real ones, and says everywhere that it is synthetic. Only a lease that beats
has the time of this machine in it; all else is a function of the seed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, Literal

import numpy as np

from benchmarks.made_up_answers import PARTITIONS, MadeUpInsects, accuracies, answered, pairs_of
from benchmarks.made_up_names import HOSTILE, Words
from benchmarks.made_up_training import EPOCH_SECONDS, Effort, write_attempts, write_lease, write_log
from sweeps.open_set import METHODS
from sweeps.point import Point
from workloads.attempts import Outcome
from workloads.predictions import MISSING_RANK, PREDICTIONS, Place
from workloads.record import EVALUATION, MEASUREMENTS, Measurement, RunFolder, measurements_to_table
from workloads.run_files import Point as Entry
from workloads.seals import MANIFEST, SCHEMA, STATUS, with_seal
from workloads.spec import MODALITIES, RANKS
from workloads.storage import Folder

State = Literal["finished", "failed", "interrupted", "running", "damaged"]
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_OUTCOMES: Mapping[State, Outcome | None] = {"failed": "failed", "interrupted": "stopped", "running": None}
"""Of the last attempt at a training; at others it finished."""


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
    nth: int
    """Of its state, from 0: runs fail, and are damaged, in various ways."""
    insects: MadeUpInsects
    asked: dict[Place, int]
    """How many queries of each retrieval ask, where it has predictions."""
    num_keys: int
    words: Words

    @property
    def began(self) -> datetime:
        """When its first attempt did."""
        return _BEGAN + timedelta(hours=self.number)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Of its two workers."""
        return tuple(self.words.say(f"made-up-{worker}", 2 * self.number + worker) for worker in range(2))

    @property
    def error(self) -> str:
        """Why it failed or lost a worker, in words that have a tenth of all hostile strings in them."""
        told = HOSTILE[self.nth % 10 :: 10] if self.words.hostile else ()
        return " ".join(["made-up error: out of memory", *told])


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
    effort = Effort(epochs=epochs, reached=reached, skill=skill, hosts=run.hosts, error=run.error)
    if point.kind == "train":
        write_log(place, effort, chance)
        lost = run.number % 3 == 0
        write_attempts(place, effort, run.began.timestamp(), lost, _OUTCOMES.get(run.state, "finished"))
    if run.state == "failed":
        where = words.say("step.py", run.number)
        trace = f'Traceback (most recent call last):\n  File "{where}", line 7, in step\n{run.error}\n'
        folder.finish("failed", reason=run.error, traceback=trace)
    elif run.state == "running":
        write_lease(place, effort, _provenance(run)["argv"])
    elif run.state != "interrupted":
        _measure(run, folder, skill, chance)
        folder.finish("finished", **_details(run, reached, skill))
        if run.state == "damaged":
            damage(place, run.nth)


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
    counts = {"num_parameters": 200_000_000, "num_trained_parameters": 190_000_000, "num_workers": 2, "num_chunks": 1}
    took = {"training_seconds": EPOCH_SECONDS * reached, "evaluation_seconds": 60.0, "selected_epoch": reached - 1}
    return {**counts, **took, "selected_score": skill / 2, "device": run.words.say("made-up GPU", run.number + 6)}


# --- What was measured --------------------------------------------------------------------------------------------


def _measure(run: MadeUpRun, folder: RunFolder, skill: float, chance: np.random.Generator) -> None:
    """Predictions where it retrieves, measurements, and by which rules they were made."""
    if run.asked:
        predictions = answered(run.insects, run.asked, run.num_keys, skill, chance)
        predictions.write(folder.folder)
        rows = accuracies(predictions, run.insects)
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
        measured = Measurement(
            method=method,
            partition="test",
            average=average,
            level=level,
            query=point.spec.modalities[0],
            key=key,
            species=species,
            metric=metric,
            value=value,
            count=100,
            low=value - 0.04,
            high=value + 0.04,
        )
        yield measured
        if point.kind == "open_set" and level == "species" and average == "micro":
            yield replace(measured, metric="seen_unseen_accuracy", value=value + 0.02)


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


def damage(place: Folder, kind: int) -> None:
    """Let something happen to the folder of a finished run: by number, a file is cut, lost, or of a newer version."""
    name = (MEASUREMENTS, MANIFEST, PREDICTIONS, STATUS, "newer", "point.json", "events.jsonl")[kind % 7]
    if name == MANIFEST:
        place.remove(name)
    elif name == "newer":
        place.write_json(STATUS, with_seal({"schema": SCHEMA + 1, "state": "finished"}))
    elif place.has(name):  # not every run has predictions
        content = place.read(name)
        place.write(name, content[: len(content) // 2])
    else:
        damage(place, kind + 1)
