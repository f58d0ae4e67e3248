"""A database of some thirty synthetic insects without a model, as tests of identification ask it."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from workloads.arrays import Doubles
from workloads.identification.database import Database, DatabaseFacts, write_facts
from workloads.identification.embedding import KmerEmbedder
from workloads.identification.query import Query
from workloads.identification.writing import Known, write_specimens
from workloads.storage import Folder

if find_spec("workloads.identification.calibration") is None:

    class _Calibration:
        """Sure of what is similar, in steps: 0.99 above 0.98, 0.9 above 0.9, and 0 below."""

        @staticmethod
        def of(database: Database) -> "_Calibration":
            return _Calibration()

        def confidence(self, evidence: str, rank: str, found: Any) -> Doubles:
            return np.where(found.similarity > 0.98, 0.99, np.where(found.similarity > 0.9, 0.9, 0.0))

    module = ModuleType("workloads.identification.calibration")
    module.Calibration = _Calibration  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module


def made(folder: Path, known: Sequence[Known], **facts: Any) -> Database:
    """A database of some specimens with barcodes."""
    folder.mkdir()
    target = Folder(folder)
    written = write_specimens(target, [known], KmerEmbedder())
    num_taxa = {rank: len(names) for rank, names in written.taxa.items()}
    write_facts(
        target,
        DatabaseFacts(
            **{
                "name": "small",
                "model": None,
                "weights": None,
                "modalities": ("dna",),
                "num_specimens": written.num_specimens,
                "num_keys": written.num_keys,
                "num_taxa": num_taxa,
                "num_without_name": written.num_without_name,
                "synthetic": True,
                **facts,
            }
        ),
    )
    return Database(folder)


def known(identifier: str, barcode: str, names: Sequence[str | None], bin_uri: str | None = None) -> Known:
    """A specimen with a barcode and its names from the order down."""
    ranks = ("order", "family", "genus", "species")
    return Known(Query(identifier, barcode=barcode), dict(zip(ranks, names, strict=True)), bin_uri)
