"""What a laboratory does to barcodes, and what a DNA tower and counts of 5-mers still make of them.

    python -m benchmarks.barcodes --pairs REAL/insect_bold_pairs --run RUNS/train/ID --run … [--canadian REAL/coi_…]

The specimens are imported and divided anew, by Appendix A with seed 1 (`clibd data partition --recipe paper --seed 1`),
as they have to be for the runs. Queries are 700 specimens, drawn by seed, of the unseen species of one part: `val`, on
which settings may be chosen, or `test`, which is told of. Of none of these species has a run a specimen trained on,
which is checked. Keys are the whole barcodes of all 9,300 specimens but the query's own. Each query is changed in one
way, drawn by seed and specimen, and its nearest key by cosine is right if it is of its species.

Beside it: barcodes of Canadian invertebrates as they are, each asked for among all others, at the genus and the
species; those of which no other has the name, one in ten at the species, count as not found. Towers are compared with
overlapping 5-mer counts on the same queries by McNemar's exact test, each run by itself; means are over runs.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from scipy.stats import binomtest

from benchmarks.measuring import publish
from results.comparison.paired_tests import mcnemar_p
from workloads.arrays import Floats, Indices, Mask
from workloads.data.inputs.barcode_inputs import dna_input
from workloads.data.inputs.tower_inputs import AS_THEY_ARE
from workloads.data.sources.collect import collect
from workloads.data.sources.opening import SourceOptions, open_source
from workloads.data.specimens.coi_region import reverse_complement
from workloads.data.specimens.kmers import kmer_counts
from workloads.data.specimens.partition import partition
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import UsageError
from workloads.evaluation.embedded import unit
from workloads.evaluation.retrieval import nearest_keys
from workloads.evaluation.trained_on import read_trained_on
from workloads.models.loaded import open_run
from workloads.placement import kernels, matrix_products
from workloads.recipes import evaluation_precision
from workloads.record import RunFolder
from workloads.storage import Folder

NUM_QUERIES, PARTITION_SEED, DRAW_SEED = 700, 1, 0
KMERS = "5-mer counts"
_MINI = 130
_BASES = list("ACGT")
_AT_ONCE = 512
Embed = Callable[[Sequence[str]], Floats]
Change = Callable[[str, np.random.Generator], str]


def main() -> None:
    """Measure the counts and every run, print, and keep the figures."""
    parser = argparse.ArgumentParser(description="Nearest neighbours of barcodes that a laboratory has changed.")
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--canadian", type=Path)
    parser.add_argument("--run", action="append", default=[], help="of these pairs, partition seed 1; several")
    parser.add_argument("--part", choices=("val", "test"), default="test")
    asked = parser.parse_args()
    specimens = specimens_of(asked.pairs)
    for run in asked.run:
        check_untrained(run, specimens, asked.part)
    embeds: dict[str, Embed] = {KMERS: kmer_counts, **{run: embed_of_run(run) for run in asked.run}}
    figures: dict[str, Any] = {
        "part": asked.part,
        "queries": NUM_QUERIES,
        "keys": len(specimens) - 1,
        "runs": [RunFolder(Folder(run)).spec().id for run in asked.run],
        "rows": compared({name: hits_of_changes(embed, specimens, asked.part) for name, embed in embeds.items()}),
    }
    if asked.canadian:
        library = pq.read_table(asked.canadian / "coi_canadian_invertebrates.parquet")
        figures["canadian"] = compared({name: hits_of_names(embed, library) for name, embed in embeds.items()})
    print(table(figures["rows"] | figures.get("canadian", {})))
    publish("barcodes" if asked.part == "test" else "barcodes-validation", figures)


# --- What is asked ------------------------------------------------------------------------------------------------


def specimens_of(pairs: Path) -> pa.Table:
    """Specimens with barcode, species and split, as an import and the partition give them."""
    with tempfile.TemporaryDirectory() as scratch:
        table = SpecimenTable.at(Path(scratch) / "specimens.parquet")
        collect(open_source(str(pairs), "auto", SourceOptions()), table)
        columns = {name: table.column(name) for name in ("specimen_id", "barcode", "species")}
    return pa.table({**columns, "split": partition(columns["species"], "paper", PARTITION_SEED)})


def candidates(specimens: pa.Table, part: str) -> Indices:
    """Rows of the unseen species of a part, its queries and its keys alike."""
    splits = [f"{part}_unseen", f"{part}_unseen_keys"]
    return np.flatnonzero(np.isin(specimens["split"].to_pylist(), splits))


def check_untrained(run: str, specimens: pa.Table, part: str) -> None:
    """Refuse a run that has trained on a specimen of the part's unseen species.

    Raises:
        UsageError: it has, or does not say what it trained on.
    """
    trained = read_trained_on(RunFolder(Folder(run)))
    species = set(specimens.take(candidates(specimens, part))["species"].to_pylist())
    if trained.unknown or species & trained.species:
        raise UsageError(f"{run} has trained on species of {part}, or does not say; train it on partition seed 1")


def _replaced(share: float, barcode: str, random: np.random.Generator) -> str:
    """With so many bases, rounded, replaced by others."""
    letters = list(barcode)
    for place in random.choice(len(letters), round(share * len(letters)), replace=False).tolist():
        letters[place] = random.choice([base for base in "ACGT" if base != letters[place]])
    return "".join(letters)


def _unknown(share: float, barcode: str, random: np.random.Generator) -> str:
    letters = np.array(list(barcode))
    letters[random.choice(len(letters), round(share * len(letters)), replace=False)] = "N"
    return "".join(letters)


def _moved(count: int, barcode: str, random: np.random.Generator) -> str:
    """With so many bases, each inserted or deleted, at places of their own."""
    letters = list(barcode)
    for _ in range(count):
        place = int(random.integers(len(letters)))
        letters[place : place + 1] = [] if random.random() < 0.5 else [str(random.choice(_BASES)), letters[place]]
    return "".join(letters)


def _shifted(barcode: str, random: np.random.Generator) -> str:
    """1 to 4 bases more or fewer in front."""
    count = int(random.integers(1, 5))
    return barcode[count:] if random.random() < 0.5 else "".join(random.choice(_BASES, count)) + barcode


def _middle(barcode: str, random: np.random.Generator) -> str:
    start = max(0, (len(barcode) - _MINI) // 2)
    return barcode[start : start + _MINI]


CHANGES: Mapping[str, Change] = {
    "as it is": lambda barcode, random: barcode,
    "1 to 4 bases more or fewer in front": _shifted,
    "first half": lambda barcode, random: barcode[: len(barcode) // 2],
    "last half": lambda barcode, random: barcode[len(barcode) // 2 :],
    "130 bases from the middle": _middle,
    "2.7 % substituted": partial(_replaced, 0.027),
    "6.7 % substituted": partial(_replaced, 0.067),
    "1 insertion or deletion": partial(_moved, 1),
    "3 insertions or deletions": partial(_moved, 3),
    "a tenth N": partial(_unknown, 0.1),
    "reverse complement": lambda barcode, random: reverse_complement(barcode),
}


# --- What answers -------------------------------------------------------------------------------------------------


def embed_of_run(run: str) -> Embed:
    """The DNA tower of a run, which reads barcodes as the run does, at the precision of its evaluation."""
    loaded = open_run(RunFolder(Folder(run)))
    precision, device = evaluation_precision(loaded.spec), torch.device("cpu")
    loaded.model.eval()

    def embed(barcodes: Sequence[str]) -> Floats:
        column = pa.table({"barcode": pa.chunked_array([list(barcodes)], pa.large_string())})
        own = dna_input(column, loaded.spec, loaded.dna_tokenizer, loaded.frame or "")
        rows = []
        with torch.inference_mode(), matrix_products(precision), kernels(device, precision):
            for start in range(0, len(barcodes), _AT_ONCE):
                which = np.arange(start, min(start + _AT_ONCE, len(barcodes)))
                rows.append(loaded.model.embed({"dna": own.take(which, AS_THEY_ARE)})["dna"].float())
        return np.asarray(torch.cat(rows).numpy())

    return embed


def hits_of_changes(embed: Embed, specimens: pa.Table, part: str) -> dict[str, Mask]:
    """Whether each query's nearest key is of its species, (queries,) by change."""
    rows = candidates(specimens, part)
    rows = np.sort(np.random.default_rng(DRAW_SEED).choice(rows, NUM_QUERIES, replace=False))
    barcodes, species = specimens["barcode"].to_pylist(), np.array(specimens["species"].to_pylist())
    keys = unit(embed(barcodes))
    hits = {}
    for name, change in CHANGES.items():
        changed = [change(barcodes[row], np.random.default_rng([DRAW_SEED, row])) for row in rows.tolist()]
        hits[name] = species[nearest_other(unit(embed(changed)), keys, rows)] == species[rows]
    return hits


def hits_of_names(embed: Embed, library: pa.Table) -> dict[str, Mask]:
    """Whether each barcode's nearest other one has its name, (queries,) by rank."""
    rows = unit(embed(library["sequence"].to_pylist()))
    nearest = nearest_other(rows, rows, np.arange(len(rows)))
    hits = {}
    for rank in ("genus", "species"):
        names = np.array(library[rank].to_pylist())
        hits[f"Canadian invertebrates, {rank}"] = names[nearest] == names
    return hits


def nearest_other(queries: Floats, keys: Floats, own: Indices) -> Indices:
    """The nearest key that is not the query's own, (queries,)."""
    found, _ = nearest_keys(queries, keys, 2)
    return np.where(found[:, 0] == own, found[:, 1], found[:, 0])


# --- What is told -------------------------------------------------------------------------------------------------


def compared(hits: Mapping[str, Mapping[str, Mask]]) -> dict[str, dict[str, Any]]:
    """By row of the table, the share of right answers with its interval of 95 %, of each run beside the counts."""
    counted = hits[KMERS]
    runs = {name: own for name, own in hits.items() if name != KMERS}
    rows: dict[str, dict[str, Any]] = {}
    for row, base in counted.items():
        own = [_against(one[row], base) for one in runs.values()]
        mean = float(np.mean([one["right"] for one in own])) if own else None
        rows[row] = {"n": len(base), KMERS: _share(base), "mean": mean, "runs": own}
    return rows


def _against(own: Mask, base: Mask) -> dict[str, Any]:
    only = {"only run": int((own & ~base).sum()), "only 5-mers": int((base & ~own).sum())}
    return {**_share(own), **only, "p": mcnemar_p(own, base)}


def _share(hits: Mask) -> dict[str, Any]:
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return {"right": float(hits.mean()), "interval": [float(interval.low), float(interval.high)]}


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The rows in percent, each run with its p."""
    lines = [f"{'query is':38s} {'n':>5s} {'5-mers':>7s} {'mean':>7s}  of each run, and p against 5-mers"]
    for name, row in rows.items():
        mean = f"{100 * row['mean']:7.2f}" if row["runs"] else ""
        own = "  ".join(f"{100 * one['right']:.2f} ({one['p']:.2g})" for one in row["runs"])
        lines.append(f"{name:38s} {row['n']:5d} {100 * row[KMERS]['right']:7.2f} {mean}  {own}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
