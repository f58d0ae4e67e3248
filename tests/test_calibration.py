"""Calibrated search against a plain loop over all constants, one query and one key at a time and in fractions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from tests.evaluation.open_set_cases import column, embedded, specimens
from workloads.calibration import (
    areas_of,
    both_kinds,
    constants_told,
    curve_of,
    finite,
    nearest_first,
    with_calibrated,
)
from workloads.errors import UsageError
from workloads.evaluation.embedded import Embedded, unit
from workloads.evaluation.evaluate import Questions, find_answers
from workloads.predictions import Place, Predictions
from workloads.spec import RANKS

PAIRS = (("image", "dna"), ("dna", "image"))
ASKED = Questions(keys=("all", "seen", "unseen"), pairs=PAIRS)


def problem(seed: int) -> tuple[dict[str, Embedded], Embedded]:
    queries = {part: specimens(part, seed + number, 17, 15) for number, part in enumerate(("val", "test"))}
    return queries, specimens("key", seed + 7, 12, 10)


def cosines(query: Embedded, row: int, keys: Embedded, pair: tuple[str, str]) -> list[tuple[float, int]]:
    """Of one query with every key, the nearest first, ties to the lowest number."""
    asked, offered = unit(query.rows[pair[0]])[row].astype(float), unit(keys.rows[pair[1]]).astype(float)
    values = [float(np.float32(sum(a * b for a, b in zip(asked, key, strict=True)))) for key in offered]
    return sorted(((value, number) for number, value in enumerate(values)), key=lambda each: (-each[0], each[1]))


def best_of(near: Sequence[tuple[float, int]], keys: Embedded, kind: str) -> tuple[float, int]:
    return next(each for each in near if keys.subset[each[1]] == kind)


def macro(right: Sequence[tuple[str, bool]]) -> Fraction:
    by_name: dict[str, list[bool]] = {}
    for name, hit in right:
        by_name.setdefault(name, []).append(hit)
    return sum((Fraction(sum(hits), len(hits)) for hits in by_name.values()), Fraction(0)) / len(by_name)


def at(constant: float, asking: Embedded, keys: Embedded, pair: tuple[str, str]) -> tuple[Fraction, Fraction]:
    """Seen and unseen macro species accuracy with a constant, by the definition."""
    right: Mapping[str, list[tuple[str, bool]]] = {"seen": [], "unseen": []}
    for row, species in enumerate(asking.labels["species"]):
        near = cosines(asking, row, keys, pair)
        seen, unseen = (best_of(near, keys, kind) for kind in ("seen", "unseen"))
        answer = seen if seen[0] - unseen[0] > constant else unseen
        if species is not None:
            right[asking.subset[row]].append((species, keys.labels["species"][answer[1]] == species))
    return macro(right["seen"]), macro(right["unseen"])


def constants(asking: Embedded, keys: Embedded, pair: tuple[str, str]) -> list[float]:
    named = [row for row, species in enumerate(asking.labels["species"]) if species is not None]
    rows = [cosines(asking, row, keys, pair) for row in named]
    differences = {best_of(near, keys, "seen")[0] - best_of(near, keys, "unseen")[0] for near in rows}
    return [-math.inf, *sorted(differences)]


def harmonic(seen: Fraction, unseen: Fraction) -> Fraction:
    return 2 * seen * unseen / (seen + unseen) if seen and unseen else Fraction(0)


def calibrated(queries: Mapping[str, Embedded], keys: Embedded) -> Predictions:
    return with_calibrated(find_answers(keys, queries, ASKED), "left_out")[0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pair", PAIRS)
def test_the_constant_is_the_smallest_best_of_all_differences(seed: int, pair: tuple[str, str]) -> None:
    queries, keys = problem(seed)
    queries["val"].labels["species"][:2] = None
    chosen = with_calibrated(find_answers(keys, queries, ASKED), "left_out")[1][pair]
    tried = constants(queries["val"], keys, pair)
    reached = [at(constant, queries["val"], keys, pair) for constant in tried]
    best = max(range(len(tried)), key=lambda number: (harmonic(*reached[number]), -number))
    assert (chosen.value, chosen.num_tried) == (tried[best], len(tried))
    assert (chosen.seen, chosen.unseen) == tuple(map(float, reached[best]))
    assert chosen.harmonic_mean == float(harmonic(*reached[best]))


@pytest.mark.parametrize("seed", range(3))
def test_every_answer_is_that_of_keys_with_the_constant_taken_off(seed: int) -> None:
    queries, keys = problem(seed)
    found, chosen = with_calibrated(find_answers(keys, queries, ASKED), "left_out")
    for (part, asking), pair in ((item, pair) for item in queries.items() for pair in PAIRS):
        answers = found.answers(Place(part, *pair, keys="calibrated"))
        for row in range(len(asking)):
            by_kind = {"seen": [], "unseen": list[tuple[float, int]]()}
            for value, number in cosines(asking, row, keys, pair):
                by_kind[keys.subset[number]].append((value, number))
            expected: list[int] = []
            while len(expected) < 5:
                seen, unseen = by_kind["seen"], by_kind["unseen"]
                first = seen and (not unseen or seen[0][0] - unseen[0][0] > chosen[pair].value)
                expected.append((seen if first else unseen).pop(0)[1])
            assert answers.key_ids[row].tolist() == keys.ids[expected].tolist()
        assert (np.diff(answers.cosines) <= 0).all()


def test_a_key_that_is_nearer_by_the_constant_itself_does_not_answer() -> None:
    seen, unseen = np.array([[0.75, 0.5]]), np.array([[0.5, 0.25]])
    assert nearest_first(seen, unseen, 0.25).tolist() == [[2, 0, 3, 1]]
    assert nearest_first(seen, unseen, math.nextafter(0.25, 0)).tolist() == [[0, 2, 1, 3]]
    assert nearest_first(seen, unseen, -math.inf).tolist() == [[0, 1, 2, 3]]


def test_places_without_a_key_come_last() -> None:
    seen, unseen = np.array([[0.1, np.nan]]), np.array([[0.9, 0.8, np.nan]])
    for constant, expected in ((0.0, [2, 3, 0]), (-math.inf, [0, 2, 3])):
        assert nearest_first(seen, unseen, constant)[0, :3].tolist() == expected


def test_the_constant_is_one_for_all_ranks_and_test_has_no_say_in_it() -> None:
    queries, keys = problem(3)
    whole = with_calibrated(find_answers(keys, queries, ASKED), "left_out")[1]
    alone = with_calibrated(find_answers(keys, {"val": queries["val"]}, ASKED), "left_out")[1]
    assert whole == alone
    assert set(whole) == set(PAIRS)
    assert set(RANKS) == set(calibrated(queries, keys).answers(Place("test", *PAIRS[0], keys="calibrated")).found)


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_and_its_area_are_those_of_every_constant(seed: int) -> None:
    queries, keys = problem(seed)
    found = find_answers(keys, queries, ASKED)
    areas = {(row.partition, row.query): row for row in areas_of(found, "left_out")}
    for part, pair in ((part, pair) for part in queries for pair in PAIRS):
        sides = both_kinds(found, part, pair)
        assert sides is not None
        curve = curve_of(*sides, "left_out")
        points = [at(constant, queries[part], keys, pair) for constant in curve.constants]
        assert curve.constants.tolist() == constants(queries[part], keys, pair)
        assert list(zip(curve.seen.tolist(), curve.unseen.tolist(), strict=True)) == [
            (float(seen), float(unseen)) for seen, unseen in points
        ]
        area = sum((b[1] - a[1]) * (a[0] + b[0]) / 2 for a, b in pairwise(points))
        row = areas[part, pair[0]]
        assert row.value == pytest.approx(float(area), abs=1e-12)
        assert row.low is not None
        assert row.high is not None
        assert row.low <= row.value <= row.high
        assert (row.keys, row.metric, row.species) == ("calibrated", "ausuc", "all")


def test_without_unseen_queries_on_validation_nothing_can_be_chosen() -> None:
    queries, keys = problem(0)
    queries["val"] = queries["val"].take(queries["val"].subset == "seen")
    with pytest.raises(UsageError, match=r"no validation queries of unseen species .* leave out `--keys calibrated`"):
        calibrated(queries, keys)
    with pytest.raises(UsageError, match="no validation queries of seen or unseen species"):
        calibrated({"test": queries["test"]}, keys)


@pytest.mark.parametrize("kind", ["seen", "unseen"])
def test_keys_of_one_kind_alone_are_refused(kind: str) -> None:
    queries, keys = problem(0)
    with pytest.raises(UsageError, match=f"no keys of {kind} species, so `--keys calibrated`"):
        find_answers(keys.take(keys.subset != kind), queries, Questions(keys=("all", "calibrated"), pairs=PAIRS))


def test_a_pair_that_validation_has_not_asked_has_no_calibrated_answers() -> None:
    queries, keys = problem(1)
    val = queries["val"]
    queries["val"] = Embedded(val.ids, val.split, val.labels, {"image": val.rows["image"]})
    found, chosen = with_calibrated(find_answers(keys, queries, ASKED), "left_out")
    assert set(chosen) == {("image", "dna")}
    assert {place.query for place in found.places if place.keys == "calibrated"} == {"image"}


def test_a_pair_that_only_one_kind_asks_has_no_constant_and_the_others_have() -> None:
    queries, keys = problem(1)
    val = queries["val"]
    without = replace(val, lacking={"dna": val.subset == "unseen"})
    chosen = with_calibrated(find_answers(keys, {"val": without}, ASKED), "left_out")[1]
    assert set(chosen) == {("image", "dna")}


def test_one_species_of_a_kind_has_an_area_without_an_interval() -> None:
    asking = embedded("q", ["s0", "s0", "s5", "s6"], ["seen", "seen", "unseen", "unseen"], 1)
    keys = embedded("k", ["s0", "s5", "s6"], ["seen", "unseen", "unseen"], 2)
    [row] = areas_of(find_answers(keys, {"val": asking}, Questions(keys=ASKED.keys, pairs=PAIRS[:1])), "left_out")
    assert (row.low, row.high, row.count) == (None, None, 1)


def test_all_seen_is_null_in_json() -> None:
    assert (finite(-math.inf), finite(0.25), constants_told({})) == (None, 0.25, {})
    assert column(["a"])[0] == "a"
