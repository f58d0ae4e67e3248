"""A database of synthetic insects without a model, as tests of identification ask it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workloads.arrays import Doubles
from workloads.data.synthetic.insects import specimens
from workloads.identification.calibration import Joint
from workloads.identification.database import Database, DatabaseFacts, write_facts
from workloads.identification.embedding import KmerEmbedder
from workloads.identification.evidence import RankEvidence
from workloads.identification.query import Query
from workloads.identification.writing import Known, write_specimens
from workloads.spec import RANKS
from workloads.storage import Folder

INSECTS = list(specimens(60, 3))


class BySimilarity:
    """A calibration for tests: a name is as sure as its key is similar; of both, the barcode decides."""

    def confidence(self, evidence: str, rank: str, found: RankEvidence) -> Doubles:
        return np.nan_to_num(found.similarity.astype(np.float64))

    def joint(self, rank: str, image: RankEvidence, dna: RankEvidence) -> Joint:
        return Joint(np.full(len(dna.name), True), dna.name, self.confidence("both", rank, dna))


def known(identifier: str, barcode: str, names: Sequence[str | None], bin_uri: str | None = None) -> Known:
    """A specimen with a barcode and its names from the order down."""
    return Known(Query(identifier, barcode=barcode), dict(zip(RANKS, names, strict=True)), bin_uri)


def insects() -> list[Known]:
    """The synthetic insects that have an order, each with the BIN that its species stands for."""
    bins = {
        name: f"BOLD:AAA{number:04d}" for number, name in enumerate(sorted({str(one["species"]) for one in INSECTS}))
    }
    return [
        known(str(one["specimen_id"]), str(one["barcode"]), [one[rank] for rank in RANKS], bins[str(one["species"])])
        for one in INSECTS
    ]


def made(folder: Path, specimens: Sequence[Known], **facts: Any) -> Database:
    """A database of some specimens with barcodes."""
    folder.mkdir()
    target = Folder(folder)
    written = write_specimens(target, [specimens], KmerEmbedder())
    about: dict[str, Any] = {
        "name": "small",
        "model": None,
        "weights": None,
        "modalities": ("dna",),
        "num_specimens": written.num_specimens,
        "num_keys": written.num_keys,
        "num_taxa": {rank: len(names) for rank, names in written.taxa.items()},
        "num_without_name": written.num_without_name,
        "synthetic": True,
    }
    write_facts(target, DatabaseFacts(**{**about, **facts}))
    return Database(folder)


def changed(barcode: str, number: int, seed: int) -> str:
    """A barcode with some bases replaced."""
    random, bases = np.random.default_rng(seed), list(barcode)
    for place in random.choice(len(bases), number, replace=False):
        bases[place] = "ACGT"[("ACGT".index(bases[place]) + 1) % 4]
    return "".join(bases)
