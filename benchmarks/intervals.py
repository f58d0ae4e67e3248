"""Intervals of a whole table: all accuracies of nine retrievals of a validation set of BIOSCAN-1M's size.

    python -m benchmarks.intervals

11,830 queries (4,878 of 916 seen species, 6,952 of 1,771 unseen ones; sizes of species are as uneven as in nature),
four ranks, k = 1, 3, 5, micro and macro, seen, unseen, harmonic mean and all: 864 numbers from 1,000 replicates.
Outcomes are drawn at random; the time does not depend on them.
"""

import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks.measuring import publish
from benchmarks.peak_memory import in_own_process, peak_and_seconds
from workloads.arrays import Codes
from workloads.intervals import REPLICATES, with_intervals
from workloads.predictions import Answers, Place
from workloads.record import Measurement
from workloads.spec import RANKS

QUERIES = {"seen": (4878, 916), "unseen": (6952, 1771)}
"""Queries and species."""
PAIRS = [(query, key) for query in ("image", "dna", "text") for key in ("image", "dna", "text")]
KS = (1, 3, 5)
GOAL_SECONDS = 60


def main() -> None:
    """Measure in a process of its own, print, and keep the figures."""
    if len(sys.argv) > 1:
        print(json.dumps(measure()))
        return
    runs = [in_own_process("benchmarks.intervals", "measure") for _ in range(3)]
    publish(
        "intervals",
        {
            "data": "random outcomes",
            "goal_seconds": GOAL_SECONDS,
            **min(runs, key=lambda run: float(run["wall_seconds"])),
        },
    )


def measure() -> dict[str, Any]:
    answers = make_answers(np.random.default_rng(0))
    rows = make_measurements()
    with_intervals(rows[:1], [answers[0]], "left_out")  # what scipy loads when first used is not counted
    started, found = time.perf_counter(), []
    costs = peak_and_seconds(lambda: found.extend(with_intervals(rows, answers, "left_out")))
    wall = time.perf_counter() - started
    return {
        "numbers": len(found),
        "without_interval": sum(row.low is None for row in found),
        "replicates": REPLICATES,
        "wall_seconds": wall,
        "processor_seconds": costs["seconds"],
        "extra_peak_mb": costs["extra_peak_mb"],
    }


def make_answers(rng: np.random.Generator) -> list[Answers]:
    """Nine retrievals of the same queries."""
    species = np.concatenate([_uneven(rng, *sizes) + 916 * number for number, sizes in enumerate(QUERIES.values())])
    subset = np.repeat(np.array(list(QUERIES), dtype=object), [count for count, _ in QUERIES.values()])
    taxa = {"species": species, "genus": species // 3, "family": species // 30, "order": species // 300}
    truth = {rank: taxa[rank].astype(np.int32) for rank in RANKS}
    ids = np.array([f"Q{number}" for number in range(len(species))], dtype=object)
    return [_retrieval(rng, Place("val", *pair), ids, subset, truth) for pair in PAIRS]


def _uneven(rng: np.random.Generator, num_queries: int, num_species: int) -> Codes:
    shares = 1 / np.arange(1, num_species + 1)
    others = rng.choice(num_species, num_queries - num_species, p=shares / shares.sum())
    return np.concatenate([np.arange(num_species), others]).astype(np.int32)


def _retrieval(rng: np.random.Generator, place: Place, ids: Any, subset: Any, truth: dict[Any, Codes]) -> Answers:
    shape = (len(ids), max(KS))
    found = {rank: np.where(rng.random(shape) < 0.4, truth[rank][:, None], np.int32(9999)) for rank in RANKS}
    return Answers(place, ids, subset, truth, found, np.full(shape, None), np.zeros(shape, dtype=np.float32))


def make_measurements() -> list[Measurement]:
    """Places only: what the values are does not matter to the intervals."""
    return [
        Measurement(
            partition="val",
            query=q,
            key=k,
            average=average,
            level=rank,
            species=part,
            metric=f"top{n}",
            value=0.4,
            count=1,
        )
        for q, k in PAIRS
        for average in ("micro", "macro")
        for rank in RANKS
        for part in ("seen", "unseen", "harmonic_mean", "all")
        for n in KS
    ]


if __name__ == "__main__":
    main()
