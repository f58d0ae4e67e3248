"""The benchmark of pre-training: no genus on two sides, and neighbours as they are defined."""

import numpy as np

from benchmarks.pretraining import WITHOUT, nearest_by_judgement, parts_by_genus
from workloads.arrays import Floats, Labels
from workloads.evaluation.embedded import Embedded, unit
from workloads.spec import RANKS

RANDOM = np.random.default_rng(4)


def labels(species: list[int]) -> Labels:
    """Species 0 to 11: two of a genus, two genera of a family, and two families of an order."""
    shares = dict(zip(RANKS, (8, 4, 2, 1), strict=True))
    return {rank: np.array([f"{rank} {one // of}" for one in species], dtype=object) for rank, of in shares.items()}


def embedded(species: list[int]) -> Embedded:
    ids = np.array([f"{one}" for one in range(len(species))], dtype=object)
    return Embedded(ids, np.full(len(ids), "test_unseen", dtype=object), labels(species), {"dna": rows(len(species))})


def rows(count: int) -> Floats:
    return unit(RANDOM.normal(size=(count, 3)))


def test_genera_are_shared_out_whole() -> None:
    genera = np.array([*(f"genus {one % 50}" for one in range(400)), None], dtype=object)
    parts = parts_by_genus(genera)
    assert parts[-1] == "train"
    of_genus = [set(parts[genera == genus]) for genus in dict.fromkeys(genera[:-1])]
    assert {len(found) for found in of_genus} == {1}
    counts = [sum(found == {part} for found in of_genus) for part in ("train", "val", "test")]
    assert counts == [35, 5, 10]


def test_the_nearest_key_without_its_own_taxon_is_its_definition() -> None:
    asked, keys = embedded(list(range(12)) * 2), embedded([0, 0, 1, 3, 5, 6, 7, 9, 9, 11])
    queries, offered = asked.rows["dna"], keys.rows["dna"]
    found = nearest_by_judgement(queries, offered, asked, keys)
    for row, query in enumerate(queries):
        cosines = [float(query @ key) for key in offered]
        assert found[""][row] == int(np.argmax(cosines))
        for judged, left_out in WITHOUT.items():
            others = [key for key in range(len(keys)) if keys.labels[left_out][key] != asked.labels[left_out][row]]
            if any(keys.labels[judged][key] == asked.labels[judged][row] for key in others):
                assert found[judged][row] == max(others, key=lambda key: cosines[key])
            else:
                assert found[judged][row] == -1
