"""What people's own two thousand specimens come to: imported, partitioned for small sets, trained, measured.

    python -m benchmarks.own_specimens SHARED/real/insect_bold_pairs

Three draws of 2,000 of them, each through import, partition, preparation and `clibd train --scale small` on the CPU.
Told are accuracies of the seen validation queries, top-1, micro, at the species, beside what needs no training, with
McNemar's test on the same queries.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

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
FLOORS = {("image", "dna"): "linear_cca", ("dna", "dna"): "kmer_nearest_neighbour"}


def main() -> None:
    """Make every draw and write the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        draws = [one_draw(Path(sys.argv[1]), Path(scratch) / str(seed), seed) for seed in range(NUM_DRAWS)]
    publish("own_specimens", {"specimens": NUM_SPECIMENS, "draws": draws})


def one_draw(pairs: Path, folder: Path, seed: int) -> dict[str, Any]:
    """One draw, from the table to its accuracies."""
    take_some(pairs, folder / "source", seed)
    started = time.perf_counter()
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
            method: float(second.mean()),
            "p": mcnemar_p(first, second),
        }
    return figures


def seen_hits(answers: Answers) -> dict[str, bool]:
    """Whether the nearest key is of the right species, by the ids of the seen queries."""
    hits = dict(zip(answers.ids.tolist(), answers.hits("species").tolist(), strict=True))
    return {one: hit for (one, hit), subset in zip(hits.items(), answers.subset, strict=True) if subset == "seen"}


if __name__ == "__main__":
    main()
