"""What pre-training on barcodes alone is worth to barcodes of genera that it never saw: nearest neighbours, compared.

    python -m benchmarks.pretraining --real SHARED/real

The real barcodes of `insect_bold_pairs` and `coi_canadian_invertebrates` are put together. Their genera, in an order
drawn by a seed, go 70 : 10 : 20 to training, validation and test, so that no genus of a query trains. Of each species
of the latter half of the records ask and the rest are keys, beside all that train (`own_splits.with_keys`).
Pre-training sees no names, unless `--set genus_weight` gives genera. Settings were chosen on validation (docs/log.md).

Told are the ranks at which the nearest key is right, and, where records of one species hardly differ, whether it is
without them: the genus among keys of other species, the family among those of other genera, the order among those of
other families. Beside the tower: the same before training, the cosine of counts of overlapping 5-mers, and vsearch's
identity of global alignments where the program is on the path; with Wilson's 95 % intervals, and McNemar's p against
the counts.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from numpy.typing import NDArray

from benchmarks.measuring import publish
from benchmarks.own_specimens import wilson
from results.comparison.paired_tests import mcnemar_p
from workloads.arrays import Floats, Indices, Mask, Names
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.sources.collect import collect
from workloads.data.sources.opening import SourceOptions, open_source
from workloads.data.specimens.kmers import kmer_counts
from workloads.data.specimens.own_splits import OWN_PROTOCOL, with_keys
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.evaluation.embed import embed_parts
from workloads.evaluation.embedded import KEYS, Embedded, unit
from workloads.evaluation.stored import read_parts
from workloads.models.loaded import open_untrained
from workloads.placement import Placement
from workloads.record import RunFolder, find_runs
from workloads.spec import RANKS
from workloads.storage import Folder

SOURCES = {
    "insect_bold_pairs": "pairs.parquet",
    "coi_canadian_invertebrates": "coi_canadian_invertebrates.parquet",
}
SEED = 1
TRAINING, VALIDATION = 0.7, 0.1
WITHOUT = {"genus": "species", "family": "genus", "order": "family"}
"""At which rank a neighbour is judged when all keys are left out that share the other with the query."""


def main(
    real: Annotated[Path, typer.Option(help="Folder of the real data sets.")],
    partition: Annotated[str, typer.Option(help="Of the queries: test, or val to choose settings by.")] = "test",
    settings: Annotated[list[str] | None, typer.Option("--set", help="As of `clibd train pretrain-dna`.")] = None,
) -> None:
    """Train, measure and write the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        figures = measured(real, Path(scratch), partition, settings or [])
    if partition == "test":
        publish("pretraining", figures)
    else:
        print(figures)


def measured(real: Path, folder: Path, partition: str, settings: Sequence[str]) -> dict[str, Any]:
    """From the real tables to the figures of one partition."""
    dataset = prepared(real, folder)
    command = [
        "-m",
        "workloads.training",
        "pretrain-dna",
        "--data",
        str(dataset.folder),
        "--runs",
        str(folder / "runs"),
    ]
    options = ["--scale", "small", "--cpu", *(f"--set={setting}" for setting in settings)]
    subprocess.run([sys.executable, *command, *options], check=True)
    (run,) = find_runs(Folder(folder / "runs"), "train")
    return figures_of(run, dataset, partition, real)


def prepared(real: Path, folder: Path) -> PreparedDataset:
    """Both data sets as one, split by genus."""
    source = folder / "source"
    source.mkdir(parents=True, exist_ok=True)
    columns = ["processid", "sequence", "bin_uri", *RANKS]
    tables = [pq.read_table(real / name / file, columns=columns) for name, file in SOURCES.items()]
    pq.write_table(pa.concat_tables(tables), source / "barcodes.parquet")
    table = SpecimenTable.at(folder / "specimens.parquet")
    collect(open_source(str(source), "auto", SourceOptions()), table)
    parts = parts_by_genus(np.array(table.column("genus").to_pylist(), dtype=object))
    table.with_splits(with_keys(table.column("species"), parts), f"by genus, seed {SEED}", table, OWN_PROTOCOL)
    prepare(table, Folder(folder / "data"), DatasetOptions(name="real-coi"), map)
    return PreparedDataset(Folder(folder / "data"))


def parts_by_genus(genera: Names, seed: int = SEED) -> Names:
    """`train`, `val` or `test` for each specimen; whole genera, those without one train, (specimens,)."""
    names = sorted({genus for genus in genera if genus is not None})
    order = np.random.default_rng(seed).permutation(len(names))
    stops = np.rint(np.array([TRAINING, TRAINING + VALIDATION]) * len(names))
    part = {names[genus]: ("train", "val", "test")[int((place >= stops).sum())] for place, genus in enumerate(order)}
    return np.array(["train" if genus is None else part[genus] for genus in genera], dtype=object)


def figures_of(run: RunFolder, dataset: PreparedDataset, partition: str, real: Path) -> dict[str, Any]:
    """How often the nearest keys of each method are right."""
    parts = read_parts(run.folder)
    asked, keys = parts[partition], parts[KEYS]
    before = embed_parts(open_untrained(run.spec(), dataset), dataset, Placement())
    texts = barcodes_of(dataset)
    of_queries, of_keys = ([texts[one] for one in part.ids] for part in (asked, keys))
    pairs = {
        "pretrained": (asked.rows["dna"], keys.rows["dna"]),
        "untrained": (before[partition].rows["dna"], before[KEYS].rows["dna"]),
        "kmer_counts": (unit(kmer_counts(of_queries)), unit(kmer_counts(of_keys))),
    }
    nearest = {name: nearest_by_judgement(*rows, asked, keys) for name, rows in pairs.items()}
    if shutil.which("vsearch"):
        nearest["vsearch"] = {"": by_vsearch(of_queries, of_keys)}
    hits = {
        method: {how: _right(how, rows, asked, keys) for how, rows in own.items()} for method, own in nearest.items()
    }
    status = run.status()
    return {
        "partition": partition,
        "spec": run.id,
        "training_seconds": status["training_seconds"],
        "parameters": status["num_parameters"],
        "specimens": dict(dataset.facts.num_specimens),
        "masked": run.folder.read_json("evaluation.json")["masked"],
        **{source: compared(hits, asked, ids_of(real, source)) for source in SOURCES},
    }


def nearest_by_judgement(queries: Floats, keys: Floats, asked: Embedded, there: Embedded) -> dict[str, Indices]:
    """The nearest key of each query among all, and without those that share a rank with it, -1 where none is left."""
    cosines = queries @ keys.T
    nearest = {"": cosines.argmax(axis=1)}
    for judged, left_out in WITHOUT.items():
        own, others = asked.labels[left_out], there.labels[left_out]
        lower = np.where(own[:, None] == others[None], -np.inf, cosines)
        answerable = (asked.labels[judged][:, None] == there.labels[judged][None]) & np.isfinite(lower)
        nearest[judged] = np.where(answerable.any(axis=1), lower.argmax(axis=1), -1)
    return nearest


def by_vsearch(queries: Sequence[str], keys: Sequence[str]) -> Indices:
    """The key of the highest identity of those that vsearch aligns with a query, -1 where it finds none, (queries,)."""
    with tempfile.TemporaryDirectory() as scratch:
        places = {name: Path(scratch) / name for name in ("queries", "keys", "hits")}
        for name, texts in (("queries", queries), ("keys", keys)):
            places[name].write_text("".join(f">{row}\n{text}\n" for row, text in enumerate(texts)))
        words = ["--id", "0.6", "--maxaccepts", "16", "--maxrejects", "64", "--threads", "1", "--quiet"]
        asked = ["vsearch", "--usearch_global", str(places["queries"]), "--db", str(places["keys"]), *words]
        subprocess.run([*asked, "--userout", str(places["hits"]), "--userfields", "query+target+id"], check=True)
        best: dict[int, tuple[float, int]] = {}
        for line in places["hits"].read_text().splitlines():
            query, key, identity = line.split("\t")
            best[int(query)] = max(best.get(int(query), (-1.0, 0)), (float(identity), -int(key)))
    return np.array([-best[row][1] if row in best else -1 for row in range(len(queries))])


_Hits = Mapping[str, tuple[Mask, Mask]]
"""By what is judged, whether queries are right, and which of them could be, (queries,) each."""


def _right(how: str, nearest: Indices, asked: Embedded, keys: Embedded) -> dict[str, tuple[Mask, Mask]]:
    found: dict[str, tuple[Mask, Mask]] = {}
    for rank in [how] if how else RANKS:
        names = asked.labels[rank]
        known = np.array([name is not None for name in names], dtype=bool) & ((nearest >= 0) | (how == ""))
        label = f"{rank} without own {WITHOUT[how]}" if how else rank
        found[label] = (nearest >= 0) & (keys.labels[rank][nearest] == names) & known, known
    return found


def compared(hits: Mapping[str, Mapping[str, _Hits]], asked: Embedded, ids: set[str]) -> dict[str, Any]:
    """Shares of the queries of one source, by what is judged and method."""
    own: NDArray[np.bool_] = np.array([one in ids for one in asked.ids], dtype=bool)
    figures: dict[str, Any] = {}
    for method, judged in hits.items():
        for label, (right, known) in (item for each in judged.values() for item in each.items()):
            counted = own & known
            counts = next(each[label] for each in hits["kmer_counts"].values() if label in each)[0][counted]
            figures.setdefault(label, {"queries": int(counted.sum())})[method] = {
                "right": float(right[counted].mean()),
                "interval": wilson(right[counted]),
                "p against kmer_counts": mcnemar_p(right[counted], counts),
            }
    return figures


def barcodes_of(dataset: PreparedDataset) -> dict[str, str]:
    """Every barcode by its specimen."""
    table = dataset.load(list(dataset.facts.num_specimens), ["specimen_id", "barcode"])
    return dict(zip(table["specimen_id"].to_pylist(), table["barcode"].to_pylist(), strict=True))


def ids_of(real: Path, source: str) -> set[str]:
    """The specimens of one of the data sets."""
    return set(pq.read_table(real / source / SOURCES[source], columns=["processid"])["processid"].to_pylist())


if __name__ == "__main__":
    typer.run(main)
