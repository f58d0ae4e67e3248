"""A whole evaluation of BIOSCAN-1M's validation size against faiss with the authors' metrics in Python.

    python -m benchmarks.evaluation        some four minutes

11,830 queries (4,878 of seen species, 6,952 of unseen ones), 21,118 keys, 768 dimensions, nine pairs of modalities,
k = 1, 3, 5, four ranks, micro and macro, seen, unseen and harmonic mean. Embeddings are drawn around a centre for each
species; labels of one species have one text embedding, as they have in a run, and every image and barcode has its own,
though real barcodes often have not. One thread, processor seconds, the sides in turn.

Ours lists every prediction, and its numbers are also those of all queries together; that is `ours`. `ours_whole` is all
that `clibd evaluate` does with embeddings: intervals, chance and majority, and the files as well.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks import authors_retrieval as authors
from benchmarks.measuring import publish
from benchmarks.peak_memory import in_own_process, peak_and_seconds
from workloads.arrays import Floats, Names
from workloads.evaluation.accuracy import accuracies_of
from workloads.evaluation.embedded import Embedded, unit
from workloads.evaluation.evaluate import Questions, find_answers
from workloads.evaluation.measure import measure_embedded
from workloads.evaluation.retrieval import nearest_keys
from workloads.evaluation.trained_on import Beside
from workloads.predictions import MISSING_RANK, Answers
from workloads.record import Measurement
from workloads.spec import MODALITIES, RANKS
from workloads.storage import Folder

SIZE = 768
SPECIES = {"seen": 916, "val_unseen": 1771, "test_unseen": 1772}
KEYS = {"seen_keys": ("seen", 6350), "val_unseen_keys": ("val_unseen", 7645), "test_unseen_keys": ("test_unseen", 7123)}
QUERIES = {"val_seen": ("seen", 4878), "val_unseen": ("val_unseen", 6952)}
PAIRS = tuple((query, key) for query in MODALITIES for key in MODALITIES)
QUESTIONS = Questions(recipe="authors", pairs=PAIRS)
ROUNDS = 2
NUM_KEYS = (21_118, 84_472, 337_888)
"""The keys of BIOSCAN-1M, four times as many, and about those of BIOSCAN-5M."""

Numbers = dict[tuple[str, ...], float]


def main() -> None:
    """Measure, print, and keep the figures."""
    if len(sys.argv) > 1:
        print(json.dumps(peak() if sys.argv[1] == "peak" else growth(int(sys.argv[2]))))
        return
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    with threadpool_limits(1):
        figures = compared(*make_data())
    memory = in_own_process("benchmarks.evaluation", "peak", return_memory=True)
    figures["goals"]["peak above the embeddings <= 2 GB"] = memory["extra_peak_mb"] <= 2048
    by_keys = {
        str(count): in_own_process("benchmarks.evaluation", "growth", count, return_memory=True) for count in NUM_KEYS
    }
    figures["ours_whole_extra_peak_mb"] = memory["extra_peak_mb"]
    publish("evaluation", {**figures, "search_by_number_of_keys": by_keys})


def compared(keys: Embedded, queries: Embedded) -> dict[str, Any]:
    sides: dict[str, Callable[[], tuple[Numbers, float]]] = {
        "ours": lambda: ours(keys, queries),
        "authors": lambda: theirs(keys, queries),
    }
    seconds: dict[str, list[float]] = {side: [] for side in (*sides, "ours_whole")}
    metrics: dict[str, list[float]] = {side: [] for side in sides}
    numbers: dict[str, Numbers] = {}
    for _ in range(ROUNDS):
        for side, work in sides.items():
            started = time.process_time()
            numbers[side], own = work()
            seconds[side].append(time.process_time() - started)
            metrics[side].append(own)
        started = time.process_time()
        whole(keys, queries)
        seconds["ours_whole"].append(time.process_time() - started)
    largest = max(abs(numbers["ours"][place] - value) for place, value in numbers["authors"].items())
    ratio = min(seconds["ours"]) / min(seconds["authors"])
    times = min(metrics["authors"]) / min(metrics["ours"])
    return {
        "seconds": {side: min(of) for side, of in seconds.items()},
        "metrics_seconds": {side: min(of) for side, of in metrics.items()},
        "time_over_authors": ratio,
        "metrics_times_as_fast": times,
        "num_numbers": len(numbers["authors"]),
        "largest_difference": largest,
        "goals": {
            "time_over_authors <= 0.7": ratio <= 0.7,
            "metrics >= 20 times as fast": times >= 20,
            "numbers differ by <= 1e-12": largest <= 1e-12,
        },
    }


def ours(keys: Embedded, queries: Embedded) -> tuple[Numbers, float]:
    """All numbers, and the seconds that accuracies alone took."""
    predictions = find_answers(keys, {"val": queries}, QUESTIONS)
    answers = [predictions.answers(place) for place in predictions.places]
    started = time.process_time()
    rows = measured(answers)
    spent = time.process_time() - started
    return {(r.query, r.key, r.average, r.metric, r.level, r.species): r.value for r in rows}, spent


def measured(answers: list[Answers]) -> list[Measurement]:
    return [row for one in answers for row in accuracies_of(one, MISSING_RANK[QUESTIONS.recipe])]


def theirs(keys: Embedded, queries: Embedded) -> tuple[Numbers, float]:
    """The same numbers, and the seconds that counting took; labels are dictionaries already."""
    key_labels, spent = lineages(keys), 0.0
    numbers: Numbers = {}
    for query, key in PAIRS:
        found: dict[str, dict[tuple[str, int, str], float]] = {}
        for subset in ("seen", "unseen"):
            mine = queries.subset == subset
            nearest = authors.search(queries.rows[query][mine], keys.rows[key])
            labels, truth = authors.labels_found(nearest, key_labels), lineages(queries.take(mine))
            started = time.process_time()
            found[subset] = authors.accuracies(labels, truth)
            spent += time.process_time() - started
        for (average, k, rank), seen in found["seen"].items():
            unseen = found["unseen"][average, k, rank]
            both = {"seen": seen, "unseen": unseen, "harmonic_mean": authors.harmonic_mean(seen, unseen)}
            numbers |= {(query, key, average, f"top{k}", rank, name): value for name, value in both.items()}
    return numbers, spent


def lineages(embedded: Embedded) -> list[dict[str, str]]:
    columns = [embedded.labels[rank].tolist() for rank in RANKS]
    return [dict(zip(RANKS, names, strict=True)) for names in zip(*columns, strict=True)]


def whole(keys: Embedded, queries: Embedded) -> None:
    """Everything that `clibd evaluate` does with embeddings."""
    with tempfile.TemporaryDirectory() as place:
        measure_embedded(Folder(place), {"keys": keys, "val": queries}, QUESTIONS, {}, Beside())


def peak() -> dict[str, float]:
    """Memory above the embeddings."""
    keys, queries = make_data()
    return peak_and_seconds(lambda: whole(keys, queries))


def growth(num_keys: int) -> dict[str, float]:
    """Memory above the embeddings, and seconds, of 2,048 queries among so many keys, all of them different."""
    random = np.random.default_rng(0)
    keys, queries = (unit(random.standard_normal((count, SIZE), dtype=np.float32)) for count in (num_keys, 2048))
    return peak_and_seconds(lambda: nearest_keys(queries, keys))


def make_data() -> tuple[Embedded, Embedded]:
    """Keys and queries around the centres of their species, some two thirds of which a nearest neighbour names."""
    random = np.random.default_rng(0)
    centres = {name: random.standard_normal((3, SIZE)).astype(np.float32) for name in species_names()}
    return make_part(random, centres, KEYS), make_part(random, centres, QUERIES)


def species_names() -> list[str]:
    return [f"{kind} {number}" for kind, count in SPECIES.items() for number in range(count)]


def make_part(random: np.random.Generator, centres: dict[str, Floats], splits: dict[str, tuple[str, int]]) -> Embedded:
    names: list[str] = []
    split: list[str] = []
    for name, (kind, count) in splits.items():
        # Every species at least once, the rest as uneven as in nature.
        every, weight = np.arange(SPECIES[kind]), random.pareto(1.0, SPECIES[kind]) + 0.05
        more = random.choice(every, count - len(every), p=weight / weight.sum())
        names += [f"{kind} {number}" for number in (*every, *more)]
        split += [name] * count
    own = np.stack([centres[name] for name in names])
    rows = {"image": own[:, 0] + 2 * noise(random, own), "dna": own[:, 0] + 0.5 * noise(random, own), "text": own[:, 2]}
    ids = np.array([f"{name}-{place}" for place, name in enumerate(split)], dtype=object)
    return Embedded(ids, np.array(split, dtype=object), labels(names), {name: unit(of) for name, of in rows.items()})


def noise(random: np.random.Generator, own: Floats) -> Floats:
    return random.standard_normal((len(own), SIZE)).astype(np.float32)


def labels(names: list[str]) -> dict[str, Names]:
    """Genera of about three species, families of about twenty, sixteen orders."""
    numbers = [int(name.split()[1]) for name in names]
    kinds = [name.split()[0] for name in names]
    shares = {"genus": 3, "family": 20, "order": 170}
    found = {
        rank: np.array([f"{kind} {number // share}" for kind, number in zip(kinds, numbers, strict=True)], dtype=object)
        for rank, share in shares.items()
    }
    return {**found, "species": np.array(names, dtype=object)}


if __name__ == "__main__":
    main()
