"""The exact threshold against the authors' search of a grid: time, and what each finds.

    python -m benchmarks.threshold_search           half a minute

As many queries as BIOSCAN-1M's validation has, 4,878 of seen and 6,952 of unseen species, with made-up cosines. The
authors' side is their search in our words: for each of 1,000 thresholds every query is routed at its five places, one
after another, and the first places are counted. Of its thresholds every twentieth is timed and the time multiplied; a
second figure routes the first place alone, which is all that the choice needs. Goal: 100 times as fast.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measuring import best_seconds, publish
from workloads.threshold import Choices, best_threshold

NUM_SEEN, NUM_UNSEEN, NUM_SPECIES, PLACES = 4_878, 6_952, 900, 5
NUM_POINTS, EVERY = 1_000, 20

Array = npt.NDArray[Any]
Query = tuple[str, list[float], list[str], list[str]]
"""Species, cosines of the five nearest seen keys, their species, and those of the five nearest unseen keys."""


def main() -> None:
    """Measure, print, and keep the figures."""
    seen, unseen = queries("seen", NUM_SEEN, 0.6, 1), queries("unseen", NUM_UNSEEN, 0.45, 2)
    choices = as_choices(seen, unseen)
    grid = np.linspace(0, 1, NUM_POINTS)
    some = grid[::EVERY].tolist()
    seconds = best_seconds(
        {
            "exact": lambda: best_threshold(choices),
            "grid_at_once": lambda: best_threshold(choices, grid),
            "authors_five_places": lambda: [mean_by_loops(seen, unseen, t, PLACES) for t in some],
            "authors_first_place": lambda: [mean_by_loops(seen, unseen, t, 1) for t in some],
        },
        rounds=3,
    )
    seconds = {name: took * (EVERY if name.startswith("authors") else 1) for name, took in seconds.items()}
    exact, on_grid = best_threshold(choices), best_threshold(choices, grid)
    by_loops = [mean_by_loops(seen, unseen, t, 1) for t in some]
    at_once = [best_threshold(choices, np.array([t])).harmonic_mean for t in some]
    figures: dict[str, Any] = {
        "queries": {"seen": NUM_SEEN, "unseen": NUM_UNSEEN},
        "thresholds_timed_of_the_authors": len(some),
        "seconds": seconds,
        "times_as_fast": {name: took / seconds["exact"] for name, took in seconds.items()},
        "harmonic_mean": {"exact": exact.harmonic_mean, "grid": on_grid.harmonic_mean},
        "distinct_scores": exact.num_tried - 1,
        "goals": {
            "authors_five_places / exact >= 100": seconds["authors_five_places"] >= 100 * seconds["exact"],
            "authors_first_place / exact >= 100": seconds["authors_first_place"] >= 100 * seconds["exact"],
            "exact is not below the grid": exact.harmonic_mean >= on_grid.harmonic_mean,
            "loops agree to 1e-12": bool(np.allclose(by_loops, at_once, rtol=0, atol=1e-12)),
        },
    }
    publish("threshold_search", figures)


def queries(kind: str, count: int, cosine: float, seed: int) -> list[Query]:
    """Made-up retrievals of one kind: answers of the query's own kind are right three times in four."""
    random = np.random.default_rng(seed)
    cosines = -np.sort(-np.clip(random.normal(cosine, 0.15, (count, PLACES)), -1, 1).astype(np.float32), axis=1)
    species = random.integers(0, NUM_SPECIES, count)
    answers = {
        other: np.where(
            (random.random((count, PLACES)) < 0.75) & (other == kind),
            species[:, None],
            random.integers(0, NUM_SPECIES, (count, PLACES)),
        )
        for other in ("seen", "unseen")
    }
    return [
        (f"{kind} {truth}", near, [f"seen {n}" for n in first], [f"unseen {n}" for n in second])
        for truth, near, first, second in zip(
            species.tolist(), cosines.tolist(), answers["seen"].tolist(), answers["unseen"].tolist(), strict=True
        )
    ]


def as_choices(seen: Sequence[Query], unseen: Sequence[Query]) -> Choices:
    """What our search takes."""
    rows = [*seen, *unseen]
    return Choices(
        np.array([cosines[0] for _, cosines, _, _ in rows]),
        np.array([species == first[0] for species, _, first, _ in rows]),
        np.array([species == second[0] for species, _, _, second in rows]),
        np.arange(len(rows)) < len(seen),
    )


def mean_by_loops(seen: Sequence[Query], unseen: Sequence[Query], threshold: float, places: int) -> float:
    """Harmonic mean of both kinds' top-1 accuracies at one threshold, query by query."""
    shares = []
    for rows in (seen, unseen):
        truth, answers = [], []
        for species, cosines, of_seen, of_unseen in rows:
            truth.append(species)
            answers.append([of_seen[k] if cosines[k] > threshold else of_unseen[k] for k in range(places)])
        hits = 0
        for species, found in zip(truth, answers, strict=True):
            hits += species in found[:1]
        shares.append(hits / len(rows))
    return 2 * shares[0] * shares[1] / sum(shares) if min(shares) > 0 else 0.0


if __name__ == "__main__":
    main()
