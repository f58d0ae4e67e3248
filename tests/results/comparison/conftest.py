"""Evaluated folders with answers that a test makes up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from workloads.predictions import Place, Predictions, prediction_table, specimen_table
from workloads.spec import RANKS
from workloads.storage import Folder

IMAGE_DNA = Place("val", "image", "dna")


@dataclass(frozen=True)
class Query:
    """A query: its own key is named after its species, and every genus has two species."""

    id: str
    subset: str
    species: str | None
    right: bool

    @property
    def genus(self) -> str:
        return f"G{int(self.species[1:]) // 2}" if self.species else "G99"


def _key_of(query: Query) -> str:
    """The nearest key: one with the query's species, or one of a genus and species of its own."""
    return f"key-{query.species}" if query.right and query.species else "key-stray"


def _names(specimen: str, queries: Sequence[Query]) -> dict[str, str | None]:
    known = {query.id: query for query in queries} | {f"key-{query.species}": query for query in queries}
    query = known.get(specimen)
    names = ("O", "F", query.genus, query.species) if query else ("O", "F", "stray", "stray")
    return dict(zip(RANKS, names, strict=True))


def _write(
    folder: Folder, answers: dict[Place, list[Query]], missing: str = "left_out", synthetic: bool = False
) -> Folder:
    """Write what `clibd evaluate` leaves, as far as comparing reads it."""
    tables, everyone = [], [query for queries in answers.values() for query in queries]
    for place, queries in answers.items():
        ids, subset, keys = (
            np.array(column, dtype=object)
            for column in (
                [query.id for query in queries],
                [query.subset for query in queries],
                [[_key_of(query)] for query in queries],
            )
        )
        tables.append(prediction_table(place, ids, subset, keys, np.ones(keys.shape, dtype=np.float32)))
    specimens = list(dict.fromkeys([query.id for query in everyone] + [_key_of(query) for query in everyone]))
    labels = {rank: np.array([_names(name, everyone)[rank] for name in specimens], dtype=object) for rank in RANKS}
    table = specimen_table(specimens, ["val"] * len(specimens), labels)
    Predictions(pa.concat_tables(tables), table).write(folder)
    folder.write_json("evaluation.json", FACTS | {"missing_rank": missing, "synthetic": synthetic})
    return folder


FACTS = {"dataset": "insects", "data_fingerprint": "0", "recipe": "corrected"}


@pytest.fixture
def evaluated(tmp_path: Path) -> Callable[..., Folder]:
    """Writes an evaluated folder: its name, answers by retrieval, and the rule for missing names."""
    return lambda name, answers, **rules: _write(Folder(tmp_path / name), answers, **rules)


@pytest.fixture(scope="session")
def asked() -> Callable[..., list[Query]]:
    """Makes 60 queries of 14 species, 20 seen; with which seed and at which rate they are answered rightly."""

    def make(seed: int = 0, rate: float = 0.5) -> list[Query]:
        species = np.random.default_rng(99).integers(0, 7, 60)
        right = np.random.default_rng(seed).random(60) < rate
        return [
            Query(f"Q{i:02}", "seen" if i < 20 else "unseen", f"s{code + (0 if i < 20 else 7)}", bool(hit))
            for i, (code, hit) in enumerate(zip(species, right, strict=True))
        ]

    return make
