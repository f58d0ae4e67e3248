"""What people's own two thousand specimens come to: imported, partitioned for small sets, trained, measured.

    python -m benchmarks.own_specimens SHARED/real/insect_bold_pairs

Three draws of 2,000 of them, each through import, partition, preparation and `clibd train --scale small` on the CPU.
Told are accuracies of the seen validation queries, top-1, micro, at the species, beside what needs no training, with
McNemar's test on the same queries, and the goals. Its draws have other seeds than those that the defaults were chosen
on (docs/log.md).
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import binomtest

from benchmarks.measuring import publish
from results.comparison.paired_tests import mcnemar_p
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.sources.collect import collect
from workloads.data.sources.opening import SourceOptions, open_source
from workloads.data.specimens.own_splits import OWN_PROTOCOL, small_parts, with_keys
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.evaluation.floors import floor_answers, stored_floors
from workloads.predictions import Answers, Place, Predictions
from workloads.record import find_runs
from workloads.storage import Folder

NUM_SPECIMENS, NUM_DRAWS = 2000, 3
_SIGNIFICANT = 0.05
FLOORS = {("image", "dna"): "linear_cca", ("dna", "dna"): "kmer_nearest_neighbour"}


def main() -> None:
    """Make every draw and write the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        draws = [one_draw(Path(sys.argv[1]), Path(scratch) / str(seed), seed) for seed in range(NUM_DRAWS)]
    publish("own_specimens", {"specimens": NUM_SPECIMENS, "goals": goals(draws), "draws": draws})


def goals(draws: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """What must be reached, and whether it is in every draw."""
    images, barcodes = ([draw[pair] for draw in draws] for pair in ("image to dna", "dna to dna"))
    below = [one["ours"] < one["kmer_nearest_neighbour"] and one["p"] < _SIGNIFICANT for one in barcodes]
    return {
        "at least 1,000 train": all(draw["training"] >= 1000 for draw in draws),
        "at least 100 seen queries": all(one["queries"] >= 100 for one in images),
        "image to dna above linear CCA": all(one["ours"] > one["linear_cca"] for one in images),
        "dna to dna not below 5-mers": not any(below),
        "at most 300 seconds": all(draw["seconds"] <= 300 for draw in draws),
    }


def one_draw(pairs: Path, folder: Path, seed: int) -> dict[str, Any]:
    """One draw, from the table to its accuracies."""
    take_some(pairs, folder / "source", seed)
    started, worked = time.perf_counter(), _processor_seconds()
    table = SpecimenTable.at(folder / "specimens.parquet")
    collect(open_source(str(folder / "source"), "auto", SourceOptions()), table)
    species = table.column("species")
    table.with_splits(with_keys(species, small_parts(species)), "small, seed 42", table, OWN_PROTOCOL)
    facts = prepare(table, Folder(folder / "data"), DatasetOptions(name=f"draw{seed}"), map)
    command = ["-m", "workloads.training", "--data", str(folder / "data"), "--runs", str(folder / "runs")]
    subprocess.run([sys.executable, *command, "--scale", "small", "--cpu"], check=True)
    return {
        "seed": seed,
        "seconds": time.perf_counter() - started,
        "processor_seconds": _processor_seconds() - worked,
        "training": facts.num_training,
        "splits": dict(facts.num_specimens),
        **compared(folder),
    }


def take_some(pairs: Path, folder: Path, seed: int) -> None:
    """A part of the pairs, with the image features of its rows."""
    folder.mkdir(parents=True)
    table = pq.read_table(pairs / "pairs.parquet")
    rows = np.sort(np.random.default_rng(seed).choice(len(table), NUM_SPECIMENS, replace=False))
    pq.write_table(table.take(rows), folder / "pairs.parquet")
    features = np.load(pairs / "image_features_vit768_f16.npy", mmap_mode="r")
    np.save(folder / "image_features.npy", features[rows].astype(np.float32))


def compared(folder: Path) -> dict[str, Any]:
    """Accuracies of the run and of the floors on the same seen queries."""
    (run,) = find_runs(Folder(folder / "runs"), "train")
    predictions = Predictions.read(run.folder)
    floors = floor_answers(stored_floors(PreparedDataset(Folder(folder / "data"))), predictions.specimens)
    figures: dict[str, Any] = {}
    for (query, key), method in FLOORS.items():
        floor = next(f for f in floors if (f.place.partition, f.place.method) == ("val", method))
        ours = seen_hits(predictions.answers(Place("val", query, key)))
        theirs = seen_hits(floor)
        first, second = (np.array([hits[one] for one in sorted(ours)]) for hits in (ours, theirs))
        figures[f"{query} to {key}"] = {
            "queries": len(first),
            "ours": float(first.mean()),
            "interval": wilson(first),
            method: float(second.mean()),
            "only ours": int((first & ~second).sum()),
            "only theirs": int((second & ~first).sum()),
            "p": mcnemar_p(first, second),
        }
    return figures


def wilson(hits: NDArray[np.bool_]) -> tuple[float, float]:
    """Wilson's of 95 %."""
    low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return float(low), float(high)


def _processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def seen_hits(answers: Answers) -> dict[str, bool]:
    """Whether the nearest key is of the right species, by the ids of the seen queries."""
    hits = dict(zip(answers.ids.tolist(), answers.hits("species").tolist(), strict=True))
    return {one: hit for (one, hit), subset in zip(hits.items(), answers.subset, strict=True) if subset == "seen"}


if __name__ == "__main__":
    main()
