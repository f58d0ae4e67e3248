"""Writes a folder of made-up runs, for tests and benchmarks of what reads such folders; all of it is synthetic.

    python -m benchmarks.made_up_runs RUNS --runs 200 --predictions 1000000 --keys 5 --seed 1

The runs are those of the sweeps of the paper, over as many seeds as it takes. One of them, on a data set of its own,
has a quarter of all predictions; the others share theirs evenly. Some have failed, were interrupted, are damaged, or
run now: their leases beat once, and `--live SECONDS` beats on. `--hostile` puts hostile strings wherever names, labels,
hosts or errors stand.
"""

import argparse
import json
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, islice, zip_longest
from pathlib import Path

import numpy as np

from benchmarks.made_up_answers import PARTITIONS, MadeUpInsects, draw_insects
from benchmarks.made_up_folders import MadeUpRun, State, pairs_of_point, write_run
from benchmarks.made_up_names import Words
from benchmarks.made_up_training import beat, live_run
from sweeps import SWEEPS
from sweeps.point import Base, Impossible, Point
from workloads.errors import UsageError
from workloads.experiments import Data, base_spec
from workloads.predictions import Place
from workloads.run_files import POINTS
from workloads.run_files import Point as Entry
from workloads.spec import MODALITIES
from workloads.storage import Folder

SHARES: Mapping[State, float] = {"failed": 0.05, "interrupted": 0.04, "running": 0.02, "damaged": 0.035}
"""Of all runs, and at least one of each where there are ten; the others are finished."""
_FIRST_SEED = 42
_LARGE_SHARE = 4
"""One run has one in so many of all predictions."""
_LOOK = 2.0
"""Seconds between two epochs of `--live`."""
_NUM_SPECIES = {"made-up": 300, "made-up-large": 900, "made-up-insect": 120}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A point, and the sweep that asks for it first."""

    sweep: str
    point: Point


def make_runs(
    runs: Folder, num_runs: int, num_predictions: int, num_keys: int = 5, seed: int = 1, hostile: bool = False
) -> dict[str, int]:
    """Write a folder of runs.

    Args:
        runs: where; nothing may be there.
        num_runs: folders of runs and measurements, 10 or more.
        num_predictions: of all finished runs together.
        num_keys: of each prediction.
        seed: of all that is drawn.
        hostile: whether names, labels, hosts and errors try to be something else than text.

    Returns:
        How many there are in each state, and of `predictions`.

    Raises:
        UsageError: something is there already, or too little is asked for.
    """
    if runs.folders():
        raise UsageError(f"{runs} is not empty: name a new folder, or remove it")
    if num_runs < 10:
        raise UsageError("ten runs are the fewest that show every state")
    words = Words(hostile)
    planned = _planned(runs, num_runs, words)
    states = _states(planned, np.random.default_rng([seed, 0]))
    made = _shared_out(planned, states, num_predictions, num_keys, words, seed)
    for run in made:
        write_run(run, runs / run.sweep / run.point.id, np.random.default_rng([seed, 1, run.number]))
    beat(runs)  # what was written a minute ago counts as abandoned
    rows = sum(sum(run.asked.values()) for run in made if run.state == "finished")
    return {**{str(state): number for state, number in Counter(states).items()}, "predictions": rows}


# --- Which runs ---------------------------------------------------------------------------------------------------


def _data(name: str, words: Words) -> Data:
    """A data set; those of hostile names keep their own fingerprints."""
    number = list(_NUM_SPECIES).index(name)
    called = words.say(name, number * 7)
    return Data(name=called, fingerprint=f"{number}badcafe-256", synthetic=True, modalities=MODALITIES)


def _planned(runs: Folder, num_runs: int, words: Words) -> list[_Asked]:
    """The points that are made, the large one first, after noting in points.json all that their sweeps ask for."""
    noted: dict[str, list[Point | Impossible]] = defaultdict(list)
    planned = dict[str, _Asked]()
    for by_sweep in _by_sweep(words):
        for name, points in by_sweep.items():
            noted[name] += points
        planned |= {each.point.id: each for each in _in_turn(by_sweep) if each.point.id not in planned}
        if len(planned) >= num_runs:
            break
    for name, asked in noted.items():
        entries = [_entry(point, words) for point in asked]
        (runs / name).write_json(POINTS, list({repr((e["id"], e["row"])): e for e in entries}.values()))
    return list(islice(planned.values(), num_runs))


def _by_sweep(words: Words) -> Iterator[dict[str, Sequence[Point | Impossible]]]:
    """First what is asked of the large data set, a run and all that cannot be; then all sweeps, seed by seed."""
    data, insect = _data("made-up-large", words), _data("made-up-insect", words)
    large = Base(spec=base_spec("paper", data), scale="paper", data=data)
    alone = [point for point in SWEEPS["modalities"].points(large) if point.label == "I+D+T"]
    yield {"modalities": alone, "insect": [p for p in SWEEPS["insect"].points(large) if isinstance(p, Impossible)]}
    data = _data("made-up", words)
    for seed in count(_FIRST_SEED):
        base = Base(spec=base_spec("paper", data, seed=seed), scale="paper", data=data, insect=insect)
        yield {name: sweep.points(base) for name, sweep in SWEEPS.items()}


def _in_turn(by_sweep: Mapping[str, Sequence[Point | Impossible]]) -> Iterator[_Asked]:
    """Batch sizes first, and then a point of each sweep after the other, so that few runs are of many sweeps."""
    possible = {name: [_Asked(name, p) for p in found if isinstance(p, Point)] for name, found in by_sweep.items()}
    yield from possible.pop("batch-size", [])
    for turn in zip_longest(*possible.values()):
        yield from filter(None, turn)


def _entry(point: Point | Impossible, words: Words) -> Entry:
    """A point as a sweep notes it."""
    thing = point.label if isinstance(point, Impossible) else point.id
    row = None if point.row is None else {k: list(v) if isinstance(v, tuple) else v for k, v in point.row.items()}
    entry: Entry = {"row": row, "label": words.call(point.label, thing), "scale": "paper", "synthetic": True}
    if isinstance(point, Impossible):
        large, why = _data("made-up-large", words), words.call(point.reason, f"why not {thing}")
        entry |= {"dataset": large.name, "data_fingerprint": large.fingerprint, "recipe": "corrected", "seed": None}
        return {**entry, "id": None, "kind": None, "needs": [], "impossible": why}
    spec = point.spec
    entry |= {"dataset": spec.dataset, "data_fingerprint": spec.data_fingerprint, "recipe": spec.recipe}
    return {**entry, "seed": spec.seed, "id": point.id, "kind": point.kind, "needs": list(point.needs)}


def _states(planned: Sequence[_Asked], chance: np.random.Generator) -> list[State]:
    """The state of each; only trainings are not finished, and the large one is."""
    states: list[State] = ["finished"] * len(planned)
    trained = [number for number, each in enumerate(planned) if number and each.point.kind == "train"]
    drawn = iter(chance.permutation(trained))
    for state, share in SHARES.items():
        for number in islice(drawn, max(1, round(share * len(planned)))):
            states[number] = state
    return states


# --- Who has how many predictions ---------------------------------------------------------------------------------


def _shared_out(
    planned: Sequence[_Asked],
    states: Sequence[State],
    num_predictions: int,
    num_keys: int,
    words: Words,
    seed: int,
) -> list[MadeUpRun]:
    """Runs with their data sets: all queries of one ask of every run on it, and the large run has what is left."""
    pairs = [pairs_of_point(each.point) for each in planned]
    places = [[Place(part, *pair) for part in PARTITIONS for pair in own] for own in pairs]
    small = sum(len(own) for own, state in zip(places[1:], states[1:], strict=True) if state == "finished")
    each = (num_predictions - num_predictions // _LARGE_SHARE) // small
    left = num_predictions - each * small
    if not each:
        raise UsageError(f"{num_predictions:,} predictions are too few: name {2 * small:,} or more")
    most = -(-left // len(places[0]))
    counts = {"made-up": each, "made-up-large": most, "made-up-insect": each}
    insects = {name: _insects(name, number, words, seed) for name, number in counts.items()}
    by_name = {one.data.fingerprint: one for one in insects.values()}
    asked = [dict.fromkeys(own, each) for own in places]
    asked[0] = {place: max(0, min(most, left - number * most)) for number, place in enumerate(places[0])}
    return [
        MadeUpRun(
            number=number,
            sweep=one.sweep,
            point=one.point,
            entry=_entry(one.point, words),
            state=state,
            nth=states[:number].count(state),
            insects=by_name[one.point.spec.data_fingerprint],
            asked=own,
            num_keys=num_keys,
            words=words,
        )
        for number, (one, state, own) in enumerate(zip(planned, states, asked, strict=True))
    ]


def _insects(name: str, num_queries: int, words: Words, seed: int) -> MadeUpInsects:
    chance = np.random.default_rng([seed, 2, list(_NUM_SPECIES).index(name)])
    return draw_insects(_data(name, words), _NUM_SPECIES[name], num_queries, words, chance)


def main() -> None:
    """Write what the command line asks for, and say what it took."""
    parser = argparse.ArgumentParser(description="Writes a folder of made-up runs; all of it is synthetic.")
    parser.add_argument("folder", type=Path, metavar="RUNS", help="a new folder")
    parser.add_argument("--runs", type=int, default=200, help="how many (200)")
    parser.add_argument("--predictions", type=int, default=1_000_000, help="rows of all finished runs together")
    parser.add_argument("--keys", type=int, default=5, help="nearest keys of each prediction (5)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hostile", action="store_true", help="with hostile names, labels, hosts and errors")
    parser.add_argument("--live", type=float, default=0, metavar="SECONDS", help="let a run go on, and then end")
    asked = parser.parse_args()
    began, runs = time.monotonic(), Folder(asked.folder)
    made = make_runs(runs, asked.runs, asked.predictions, asked.keys, asked.seed, asked.hostile)
    taken = time.monotonic() - began
    size = sum(file.stat().st_size for file in asked.folder.rglob("*") if file.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = {"seconds": round(taken, 1), "cpu_seconds": round(time.process_time(), 1)}
    print(json.dumps({**made, **took, "bytes": size, "peak_memory_mb": round(peak)}), flush=True)
    while time.monotonic() - began - taken < asked.live:
        with suppress(UsageError):  # no epochs are left, and leases beat all the same
            live_run(runs)
        time.sleep(_LOOK)


if __name__ == "__main__":
    main()
