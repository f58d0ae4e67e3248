import random
from functools import cache

import numpy as np
import pytest

from workloads.arrays import Labels
from workloads.identification.alignment import aligned
from workloads.identification.evidence import Neighbours, all_evidence
from workloads.spec import RANKS

CODES = {"N": "ACGT", "R": "AG"}


def agrees(one: str, other: str) -> bool:
    return one == other or other in CODES.get(one, "") or one in CODES.get(other, "")


def plain(short: str, long: str) -> tuple[int, set[tuple[int, int]]]:
    """Fewest changes, and equal and counted columns of every alignment that has no more, by the definition."""

    @cache
    def best(i: int, j: int) -> tuple[int, frozenset[str]]:
        """Of the first i and j letters: changes, and the alignments as texts of steps."""
        if i == 0:
            return 0, frozenset([f"@{j}:"])
        ways = [(best(i - 1, j), "I", 1)]
        if j:
            ways.append((best(i, j - 1), "D", 1))
            same = agrees(short[i - 1], long[j - 1])
            ways.append((best(i - 1, j - 1), "=" if same else "X", 0 if same else 1))
        least = min(cost + more for (cost, _), _, more in ways)
        paths = {path + step for (cost, those), step, more in ways for path in those if cost + more == least}
        return least, frozenset(paths)

    ends = [best(len(short), j) for j in range(len(long) + 1)]
    least = min(cost for cost, _ in ends)
    return least, {counts(path, short, long) for cost, paths in ends if cost == least for path in paths}


def counts(path: str, short: str, long: str) -> tuple[int, int]:
    place, _, steps = path.partition(":")
    i, j, columns = 0, int(place[1:]), []
    for step in steps:
        one, other = short[i : i + 1], long[j : j + 1]
        letters = other if step == "D" else one if step == "I" else one + other
        columns.append((step, all(letter in "ACGT" for letter in letters)))
        i, j = i + (step != "D"), j + (step != "I")
    while columns and columns[0][0] in "ID":
        columns.pop(0)
    while columns and columns[-1][0] in "ID":
        columns.pop()
    return sum(certain for step, certain in columns if step == "="), sum(certain for _, certain in columns)


@pytest.mark.parametrize("seed", range(40))
def test_identity_is_that_of_an_alignment_with_the_fewest_changes(seed: int) -> None:
    dice = random.Random(seed)
    long = "".join(dice.choices("ACGT", k=dice.randint(5, 14)))
    start = dice.randint(0, 3)
    letters = [dice.choice("ACGTNR") if dice.random() < 0.2 else letter for letter in long[start : start + 9]]
    if dice.random() < 0.5:
        letters.insert(dice.randrange(len(letters)), "A")
    short = "".join(letters)[: len(long)]
    query, key = (long, short) if seed % 2 else (short, long)
    found = aligned(query, key)
    first, second = sorted((query, key), key=len)
    assert (found.num_equal, found.length) in plain(first, second)[1]


def test_places_are_counted_from_one_and_ends_that_hang_over_are_not_counted() -> None:
    found = aligned("TTTTACGTACGGATCCA", "ACGTACGGATCCA")
    assert (found.query_start, found.query_end, found.key_start, found.key_end) == (5, 17, 1, 13)
    assert found.identity == 1.0
    assert found.query_size == 17
    found = aligned("GGGGACGTACGTTGCAACTG", "ACGTACGTTGCAACTGTTTT")
    assert (found.query_start, found.query_end, found.key_start, found.key_end) == (5, 20, 1, 16)
    assert found.identity == 1.0


def test_unknown_bases_and_uracil_cost_nothing() -> None:
    found = aligned("ACGUACNTACGT", "ACGTACGTACGT")
    assert (found.num_equal, found.length) == (11, 11)


def test_chance_expects_fewer_of_longer_alignments() -> None:
    short, long = aligned("ACGTACGTAC", "ACGTACGTAC"), aligned("ACGTACGTAC" * 9, "ACGTACGTAC" * 9)
    assert long.bits > short.bits > 0
    assert long.expected(10**6) < short.expected(10**6)


@pytest.mark.parametrize("size", [20, 60, 600])
def test_a_piece_whose_bases_all_agree_proves_as_little_as_it_is_short(size: int) -> None:
    barcodes = ["".join(random.Random(seed).choices("ACGT", k=600)) for seed in (1, 2)]
    near = Neighbours(np.array([[0, 1]]), np.array([[0.9, 0.5]], dtype=np.float32))
    labels: Labels = {rank: np.array(["Apis mellifera", "Bombus terricola"], dtype=object) for rank in RANKS}
    found = all_evidence(labels, near, [barcodes[0][:size]], lambda key: barcodes[key])["species"]
    assert found.identity is not None
    assert found.identity[0] == pytest.approx(0.16 ** (1 / size))
