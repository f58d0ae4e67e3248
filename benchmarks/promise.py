"""Whether the confidence of names holds on species that nobody brought: neither keys nor training have any of them.

    python -m benchmarks.promise SHARED/real/insect_bold_pairs [barcodes]

Three splits by seed. In each a fifth of the species is left out. The rest is imported, partitioned as small sets are,
prepared, and trained on by `clibd train image-dna --scale small` on the CPU, minutes each; the test queries are those
whose species is in the database, and the left out specimens are the others. With `barcodes` there is no run, barcodes
are compared by their 5-mers, and a fifth of the specimens of the other species are asked about. Of the database 95 %
is asked. Beside it stands the threshold of 97 % identity on the same barcodes: a species is named where the best of
the nearest keys agrees in so many bases.

Goals: no promise is refuted; barcodes whose species is in the database are named in at least 99 %, and of the others at
most a sixth as many as that threshold names.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.measuring import publish
from workloads.arrays import Mask
from workloads.command_line import unseen
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.sources.collect import collect
from workloads.data.sources.opening import SourceOptions, open_source
from workloads.data.sources.source import Source
from workloads.data.specimens.own_splits import OWN_PROTOCOL, small_parts, with_keys
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.identification.building import Base, Doing, base_of, build
from workloads.identification.calibrating import calibrate
from workloads.identification.checking import check
from workloads.identification.database import Database
from workloads.identification.evidence import Beside, evidence_at
from workloads.identification.keys_at_hand import KeysAtHand
from workloads.identification.material import of_dataset, of_source, of_test_queries
from workloads.identification.writing import Known
from workloads.record import RunFolder, find_runs
from workloads.storage import Folder

NUM_SPLITS, LEFT_OUT, ASKED, IDENTITY = 3, 0.2, 0.95, 0.97


def main() -> None:
    """Make every split and write the figures."""
    pairs, by_run = Path(sys.argv[1]), "barcodes" not in sys.argv[2:]
    with tempfile.TemporaryDirectory() as scratch:
        splits = [one_split(pairs, Path(scratch) / str(seed), seed, by_run) for seed in range(NUM_SPLITS)]
    name = "promise" if by_run else "promise_of_barcodes"
    publish(name, {"asked": ASKED, "left_out": LEFT_OUT, "goals": goals(splits), "splits": splits})


def goals(splits: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """What must be reached, and whether it is in every split."""
    reached = {"no cell refutes the promise": all("refuted" not in _verdicts(split) for split in splits)}
    cells = [_species_by_barcode(split) for split in splits]
    named = [known["num_given"] / known["num_specimens"] for known, _ in cells]
    wrong = [other["num_given"] / other["num_specimens"] for _, other in cells]
    sixth = [split["identity of 97 %"]["other"] / 6 for split in splits]
    return {
        **reached,
        "at least 99 % of barcodes are named": min(named) >= 0.99,
        "a sixth of what identity names wrongly": all(one <= most for one, most in zip(wrong, sixth, strict=True)),
    }


def _verdicts(split: Mapping[str, Any]) -> set[str]:
    return {cell["verdict"] for cell in split["cells"]}


def _species_by_barcode(split: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    known, other = (
        next(c for c in split["cells"] if (c["evidence"], c["rank"], c["group"]) == ("dna", "species", group))
        for group in ("known", "other")
    )
    return known, other


def one_split(pairs: Path, folder: Path, seed: int, by_run: bool) -> dict[str, Any]:
    """One split, from the table to its cells."""
    rng = np.random.default_rng(seed)
    species = pq.read_table(pairs / "pairs.parquet", columns=["species"])["species"].to_numpy(zero_copy_only=False)
    names = np.unique(species.astype(str))
    left = rng.choice(names, round(LEFT_OUT * len(names)), replace=False)
    asked = np.isin(species.astype(str), left)
    if not by_run:  # without validation and test, specimens of the other species are asked about too
        asked |= rng.random(len(asked)) < LEFT_OUT
    take(pairs, folder / "rest", ~asked)
    take(pairs, folder / "asked", asked)
    if by_run:
        dataset = prepared(folder)
        base = base_of(trained(folder))
        material, queries = of_dataset(dataset, base.trained), [of_test_queries(dataset)]
    else:
        base = base_of(None)
        material, queries = of_source(_source(folder / "rest")), []
    build(folder / "db", material, base, doing=Doing(calibrate=calibrate))
    database = Database(folder / "db")
    queries.append(of_source(_source(folder / "asked"), looks=base.looks))
    known = [one for each in queries for some in each.known(unseen("", ""), lambda who, why: None) for one in some]
    return {
        "seed": seed,
        "species_left_out": len(left),
        "calibrated": list(database.facts.calibrated),
        "identity of 97 %": by_identity(database, base, known),
        **check(database, base.embedder, [known], ASKED).facts(),
    }


def _source(folder: Path) -> Source:
    return open_source(str(folder), "auto", SourceOptions())


def take(pairs: Path, folder: Path, rows: Mask) -> None:
    """A part of the pairs, with the image features of its rows."""
    folder.mkdir(parents=True)
    chosen = np.flatnonzero(rows)
    pq.write_table(pq.read_table(pairs / "pairs.parquet").take(chosen), folder / "pairs.parquet")
    features = np.load(pairs / "image_features_vit768_f16.npy", mmap_mode="r")
    np.save(folder / "image_features.npy", features[chosen].astype(np.float32))


def prepared(folder: Path) -> PreparedDataset:
    """The rest, imported, partitioned and prepared."""
    table = SpecimenTable.at(folder / "specimens.parquet")
    collect(_source(folder / "rest"), table)
    species = table.column("species")
    table.with_splits(with_keys(species, small_parts(species)), "small, seed 42", table, OWN_PROTOCOL)
    prepare(table, Folder(folder / "data"), DatasetOptions(name=f"{folder.name}-rest"), map)
    return PreparedDataset(Folder(folder / "data"))


def trained(folder: Path) -> RunFolder:
    """A run of the small scale on the CPU."""
    command = ["-m", "workloads.training", "image-dna", "--data", str(folder / "data"), "--runs", str(folder / "runs")]
    subprocess.run([sys.executable, *command, "--scale", "small", "--cpu"], check=True)
    (run,) = find_runs(Folder(folder / "runs"), "train")
    return run


def by_identity(database: Database, base: Base, asked: Sequence[Known]) -> dict[str, float]:
    """What the threshold of 97 % names: of species in the database, of these rightly, and of others."""
    some = [one for one in asked if one.query.barcode is not None]
    rows, _ = base.embedder.embed("dna", [one.query for one in some])
    keys, barcodes = KeysAtHand(database, "dna"), [one.query.barcode for one in some]
    near, names = keys.neighbours(rows, 0), keys.labels["species"]
    found, beside = evidence_at(names, near), Beside(barcodes, keys.barcode)
    counts = [beside.best(row, of[np.equal(names[of], found.name[row])]) for row, of in enumerate(near.keys)]
    truth = np.array([one.names["species"] for one in some], dtype=object)
    known = np.isin(truth.astype(str), database.labels["species"].astype(str))
    named = np.array([compared > 0 and equal / compared >= IDENTITY for equal, compared in counts])
    right = np.equal(found.name, truth).astype(bool)
    return {
        "known": float(named[known].mean()),
        "right": float(right[known & named].mean()),
        "other": float(named[~known].mean()),
    }


if __name__ == "__main__":
    main()
