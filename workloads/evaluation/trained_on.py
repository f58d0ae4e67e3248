"""What a run was trained on, kept in it: `trained_on.parquet`, so that an evaluation can say what it has seen before.

    what, digest, name    a row for each specimen id, each barcode and each species that trained, of the runs that it
                          began with too; digests of 64 bits for the first two, the name of a species

A million specimens take some 16 MB and a few seconds. Two different texts have one digest with a probability of 10^-7
for a million of each.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from workloads.data.prepared.dataset import PreparedDataset
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec

TRAINED_ON = "trained_on.parquet"

_ABOUT = ("data_sets", "unknown", "declared")
DECLARED: Mapping[str, str] = {
    "bioclip-2": "BioCLIP 2 was trained on TreeOfLife-200M, which contains images of BIOSCAN-5M (its data set card)",
    "bioclip": "BioCLIP was trained on TreeOfLife-10M, which contains BIOSCAN-1M (Stevens et al. 2024; CLIBD, Table 2)",
    "barcodebert-5mer": "BarcodeBERT's 5-mer weights were trained on barcodes of Canadian invertebrates "
    "(Millan Arias et al. 2023), which may be of the species here",
    "clibd bioscan_5m": "CLIBD's releases with 5m in their name were trained on BIOSCAN-5M, which contains BIOSCAN-1M",
    "clibd bioscan_1m": "CLIBD's releases were trained on the training split of BIOSCAN-1M (CLIBD, section 4.1)",
}
"""What published weights are known to have seen, by the first part of their name that is one of these."""

Digests = npt.NDArray[np.uint64]
_NONE: Digests = np.empty(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """Specimens that a model has seen in training, sorted digests each."""

    specimens: Digests = field(default_factory=lambda: _NONE)
    """Of ids."""
    barcodes: Digests = field(default_factory=lambda: _NONE)
    """Of barcodes as they are stored, before any frame; none of a run without a DNA tower."""
    species: frozenset[str] = frozenset()
    data_sets: frozenset[str] = frozenset()
    """Fingerprints of the data sets that they are of."""
    unknown: frozenset[str] = frozenset()
    """Runs among those that the model began with of which nothing is known."""
    declared: frozenset[str] = frozenset()
    """Sentences on what published weights among them are known to have seen."""

    def __or__(self, other: "TrainedOn") -> "TrainedOn":
        sets = {name: getattr(self, name) | getattr(other, name) for name in ("species", *_ABOUT)}
        specimens, barcodes = np.union1d(self.specimens, other.specimens), np.union1d(self.barcodes, other.barcodes)
        return TrainedOn(specimens, barcodes, **sets)

    def write(self, run: RunFolder) -> None:
        """Keep it in a run."""
        ids, species = [self.specimens, self.barcodes], sorted(self.species)
        counts = {"specimen": len(self.specimens), "barcode": len(self.barcodes), "species": len(species)}
        num_ids = sum(map(len, ids))
        table = pa.table(
            {
                "what": pa.array(np.repeat(list(counts), list(counts.values())), pa.string()).dictionary_encode(),
                "digest": pa.concat_arrays([pa.array(np.concatenate(ids)), pa.nulls(len(species), pa.uint64())]),
                "name": pa.concat_arrays([pa.nulls(num_ids, pa.string()), pa.array(species, pa.string())]),
            }
        )
        about = {name: sorted(getattr(self, name)) for name in _ABOUT}
        run.folder.write_table(TRAINED_ON, table.replace_schema_metadata({"trained_on": json.dumps(about)}))


def read_trained_on(run: RunFolder) -> TrainedOn:
    """What a finished run has seen; of one that did not keep it, that nothing is known, or what is declared of it.

    Raises:
        DamagedError: the file is not what was written.
    """
    if not run.folder.has(TRAINED_ON):
        converted = run.folder.has("point.json") and run.point().get("converted")
        published = declared([f"clibd {run.spec().dataset}" if converted else run.id])
        return TrainedOn(declared=published) if published else TrainedOn(unknown=frozenset({run.id}))
    table = run.folder.read_table(TRAINED_ON)
    about = json.loads(table.schema.metadata[b"trained_on"])

    def of(what: str) -> pa.Table:
        return table.filter(pc.equal(table["what"], what))

    return TrainedOn(
        of("specimen")["digest"].to_numpy(),
        of("barcode")["digest"].to_numpy(),
        frozenset(of("species")["name"].to_pylist()),
        **{name: frozenset(about[name]) for name in _ABOUT},
    )


def declared(names: Iterable[str | None]) -> frozenset[str]:
    """What is known of published weights by their names."""
    known = [[what for part, what in DECLARED.items() if part in (name or "").lower()] for name in names]
    return frozenset(found[0] for found in known if found)


def of_beginning(spec: ExperimentSpec, began_with: Iterable[RunFolder]) -> TrainedOn:
    """What the towers of a spec have seen before they are trained: published ones, and those of other runs."""
    published = TrainedOn(declared=declared(spec.tower(name).weights for name in spec.modalities))
    return reduce(TrainedOn.__or__, map(read_trained_on, began_with), published)


def of_training(spec: ExperimentSpec, dataset: PreparedDataset, began_with: Iterable[RunFolder] = ()) -> TrainedOn:
    """What a run of a spec sees on a data set, and what the runs have seen that it begins with."""
    splits = dataset.facts.splits.training
    named = dataset.load(splits, ["specimen_id", "species"])
    trains = named["species"].is_valid() if spec.objective == "classify" else pa.array(np.full(len(named), True))
    barcodes = pa.chunked_array([], pa.string())
    if "dna" in spec.modalities:
        barcodes = dataset.open(splits)["barcode"].filter(trains)
    own = TrainedOn(
        digests(named["specimen_id"].filter(trains)),
        digests(barcodes),
        frozenset(pc.unique(named["species"].filter(trains)).drop_null().to_pylist()),
        frozenset({dataset.facts.fingerprint}),
    )
    return own | of_beginning(spec, began_with)


def digests(texts: pa.ChunkedArray) -> Digests:
    """Sorted digests of the texts that there are, each once."""
    return np.unique(_digests(texts))


def _digests(texts: pa.ChunkedArray) -> Digests:
    known = (text for chunk in texts.chunks for text in chunk.drop_null().to_pylist())
    taken = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in known)
    return np.frombuffer(taken, dtype="<u8").astype(np.uint64)


def are_among(texts: pa.ChunkedArray, trained: Digests) -> npt.NDArray[np.bool_]:
    """Which texts were trained on, (texts,); a missing one was not."""
    known = texts.is_valid().to_numpy()
    found = np.zeros(len(texts), dtype=bool)
    found[known] = np.isin(_digests(texts), trained)
    return found
