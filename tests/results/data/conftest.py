"""Counts of specimens: those of the official split, and of invented ones."""

import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from workloads.data.prepared.dataset import BIOSCAN_1M_SPLITS
from workloads.data.specimens.partition import partition
from workloads.data.specimens.schema import PROTOCOLS
from workloads.data.specimens.statistics import TaxonCounts, count_taxa
from workloads.spec import RANKS

CLIBD = PROTOCOLS["clibd"]
FIRST = {"seen": 0, "val": 916, "test": 916 + 1771, "single": 916 + 1771 + 1772}
"""Number of the first species of each role, in a matrix of the official 8,356 species."""


@pytest.fixture(scope="session")
def official() -> TaxonCounts:
    """Counts with exactly the official records and species; at each higher rank one taxon holds what is labelled."""
    species = np.zeros((len(CLIBD.splits), FIRST["single"] + 3897), dtype=np.int64)
    for row, split in zip(species, CLIBD.splits, strict=True):
        num_records, num_species = BIOSCAN_1M_SPLITS[split]
        role = "seen" if split.endswith("_seen") or split == "seen_keys" else split.partition("_")[0]
        if num_species:
            members = row[FIRST[role] : FIRST[role] + num_species]
            members += num_records // num_species
            members[: num_records % num_species] += 1
    records = {split: BIOSCAN_1M_SPLITS[split][0] for split in CLIBD.splits}
    above = np.array([[number] for number in records.values()])
    return TaxonCounts(CLIBD, records, {"order": above, "family": above, "genus": above, "species": species})


@pytest.fixture(scope="session")
def drawn() -> Callable[[str], TaxonCounts]:
    """Gives the counts of invented specimens under a protocol."""
    return _drawn


def _drawn(protocol: str, count: int = 800) -> TaxonCounts:
    """Counts of a partition of invented specimens; at random where the protocol is not the paper's."""
    chance = random.Random(1)
    columns: dict[str, list[str | None]] = {
        rank: [f"{rank} {int(chance.paretovariate(0.5)) % 300}" for _ in range(count)] for rank in RANKS
    }
    columns["species"] = [name if chance.random() < 0.9 else None for name in columns["species"]]
    at_random = chance.choices(PROTOCOLS[protocol].splits, k=count)
    columns["split"] = partition(columns["species"]).to_pylist() if protocol == "clibd" else list(at_random)
    return count_taxa(lambda name: pa.array(columns[name], pa.string()), PROTOCOLS[protocol])
