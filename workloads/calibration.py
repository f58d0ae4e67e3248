"""Calibrated search: a constant off the similarity of keys of seen species (Chao et al. 2016, arXiv:1605.04253).

A model has been taught the seen species, so images of unseen ones land on keys of seen ones. Whose species is a trained
one is known of every key, and with a constant g of calibrated stacking a query q has the answer

    argmax over keys k of   q·k - g [the species of k is seen]

so that its nearest key of a seen species answers where it is nearer than the nearest one of an unseen species by more
than g. The constant is chosen on validation alone, exactly (`workloads.threshold`): of all distinct differences the one
with the best harmonic mean of seen and unseen macro species accuracy, the smallest of several; -inf is among them. It
is one for all ranks, and is applied once to test. Where a difference is g itself the key of the unseen species answers.

The curve of seen against unseen accuracy over all constants has an area (AUSUC) that needs none to be chosen.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa

from workloads.arrays import Codes, Doubles, Floats, Indices, Mask
from workloads.averages import SAMPLES
from workloads.errors import UsageError
from workloads.intervals import bootstrapped
from workloads.predictions import NUM_NEIGHBOURS, Answers, MissingRank, Place, Predictions, prediction_table
from workloads.record import Measurement
from workloads.threshold import Choices, Threshold, best_threshold, macro_weights, outcomes_at

CHOOSES = "val"
"""Partition that thresholds and constants are chosen on."""
AREA = "ausuc"
_LOWEST = -3.0
"""Stands for a constant of -inf where similarities are written: below every difference of two cosines."""

Pair = tuple[str, str]
"""Query and key features."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Macro species accuracies over all constants, from that which calls every query seen to that which calls none."""

    constants: Doubles
    """Ascending from -inf, (constants,)."""
    seen: Doubles
    """Of queries of seen species, (constants,)."""
    unseen: Doubles
    harmonic_mean: Doubles


def nearest_first(seen: Doubles | Floats, unseen: Doubles | Floats, constant: float) -> Indices:
    """The nearest keys of both kinds together, once the constant is taken off those of seen species.

    Pairs are told by their difference alone, as when the constant was chosen, so that no rounding parts what was tied.

    Args:
        seen: similarities of the nearest keys of seen species, the nearest first, NaN beyond the last, (queries, seen).
        unseen: of those of unseen species, (queries, unseen).
        constant: what is taken off; -inf puts all of the seen ones first.

    Returns:
        Places in the two side by side, (queries, at most 5).
    """
    differences = seen.astype(np.float64)[:, :, None] - unseen.astype(np.float64)[:, None, :]
    # No key at all comes last; a comparison with NaN is never true.
    ahead = (differences > constant) | (~np.isnan(seen)[:, :, None] & np.isnan(unseen)[:, None, :])
    of_seen = np.arange(seen.shape[1]) + (~ahead).sum(axis=2)
    of_unseen = np.arange(unseen.shape[1]) + ahead.sum(axis=1)
    return np.argsort(np.concatenate([of_seen, of_unseen], axis=1), axis=1)[:, :NUM_NEIGHBOURS]


def taken_off(seen: Doubles | Floats, constant: float) -> Doubles:
    """The similarities of keys of seen species less the constant, which are no cosines any more."""
    return np.asarray(seen.astype(np.float64) - max(constant, _LOWEST))


def best_constant(choices: Choices, species: Codes) -> Threshold:
    """The constant with the best harmonic mean of seen and unseen macro accuracy.

    Args:
        choices: scored by how much nearer the nearest key of a seen species is.
        species: of the queries, (queries,).

    Raises:
        UsageError: there are no queries of one kind.
    """
    return best_threshold(choices, weights=macro_weights(species, choices.is_seen))


# --- From what queries were answered among keys of either kind ------------------------------------------------------


def with_calibrated(predictions: Predictions, missing: MissingRank) -> tuple[Predictions, dict[Pair, Threshold]]:
    """The predictions, and calibrated ones of every pair that was searched among keys of either kind.

    A pair that validation has not asked with queries of both kinds has no constant, and none of these.

    Args:
        predictions: with keys `seen` and `unseen`.
        missing: what a query without a species does when a constant is chosen.

    Returns:
        Both; and the constants by query and key.

    Raises:
        UsageError: validation has no queries of seen or of unseen species, so that nothing can be chosen.
    """
    constants, absent, tables = dict[Pair, Threshold](), set[str](), list[pa.Table]()
    for pair in dict.fromkeys((place.query, place.key) for place in predictions.places):
        if sides := both_kinds(predictions, CHOOSES, pair):
            choices, species = _choices(*sides, missing)
            if choices.is_seen.all() or not choices.is_seen.any():
                absent.add("unseen" if choices.is_seen.any() else "seen")
            else:
                constants[pair] = best_constant(choices, species)
    if not constants:
        kinds = " or ".join(sorted(absent or SAMPLES))
        raise UsageError(
            f"there are no validation queries of {kinds} species to choose the constant of a calibrated search with: "
            "leave out `--keys calibrated`, or prepare more specimens of each species"
        )
    for partition in dict.fromkeys(place.partition for place in predictions.places):
        for pair, chosen in constants.items():
            if sides := both_kinds(predictions, partition, pair):
                tables.append(_calibrated(*sides, chosen.value))
    return predictions.with_rows(tables), constants


def both_kinds(predictions: Predictions, partition: str, pair: Pair) -> tuple[Answers, Answers] | None:
    """What queries were answered among keys of seen and among those of unseen species; None where not among both."""
    place = Place(partition, *pair)
    sides = [replace(place, keys="seen"), replace(place, keys="unseen")]
    if not {*sides} <= {*predictions.places}:
        return None
    seen, unseen = (predictions.answers(side) for side in sides)
    return seen, unseen


def _calibrated(seen: Answers, unseen: Answers, constant: float) -> pa.Table:
    nearest = nearest_first(seen.cosines, unseen.cosines, constant)
    ids = np.take_along_axis(np.concatenate([seen.key_ids, unseen.key_ids], axis=1), nearest, axis=1)
    less = np.concatenate([taken_off(seen.cosines, constant), unseen.cosines], axis=1)
    less = np.take_along_axis(less, nearest, axis=1).astype(np.float32)
    return prediction_table(replace(seen.place, keys="calibrated"), seen.ids, seen.subset, ids, less)


def _choices(seen: Answers, unseen: Answers, missing: MissingRank) -> tuple[Choices, Codes]:
    """What becomes of the queries that count at the species, and their species."""
    counted = seen.counted("species", missing)
    differences = _nearest(seen) - _nearest(unseen)
    sides = seen.hits("species"), unseen.hits("species"), np.asarray(seen.subset == "seen")
    choices = Choices(differences[counted], *(side[counted] for side in sides))
    return choices, seen.truth["species"][counted]


def _nearest(answers: Answers) -> Doubles:
    return answers.cosines[:, 0].astype(np.float64)


# --- The curve, and its area ----------------------------------------------------------------------------------------


def curve_of(seen: Answers, unseen: Answers, missing: MissingRank) -> Curve:
    """Seen against unseen accuracy over all constants.

    Raises:
        UsageError: there are no queries of one kind.
    """
    choices, species = _choices(seen, unseen, missing)
    found = outcomes_at(choices, weights=macro_weights(species, choices.is_seen))
    of_seen = (found.seen / found.all_seen).astype(np.float64)
    of_unseen = (found.unseen / found.all_unseen).astype(np.float64)
    both = of_seen + of_unseen
    mean = np.divide(2 * of_seen * of_unseen, both, out=np.zeros_like(both), where=both > 0)
    return Curve(found.values, of_seen, of_unseen, mean)


def areas_of(predictions: Predictions, missing: MissingRank) -> Iterator[Measurement]:
    """AUSUC of every pair and partition that was searched among keys of either kind, where both kinds ask."""
    places = dict.fromkeys((place.partition, (place.query, place.key)) for place in predictions.places)
    for partition, pair in places:
        if sides := both_kinds(predictions, partition, pair):
            yield from area_between(*sides, missing)


def area_between(seen: Answers, unseen: Answers, missing: MissingRank) -> list[Measurement]:
    """`area_of` what the same queries were answered among keys of seen and among those of unseen species."""
    own = np.where(seen.subset == "seen", seen.hits("species"), unseen.hits("species"))
    queries = replace(seen, place=replace(seen.place, keys="calibrated"))
    return area_of(queries, _nearest(seen) - _nearest(unseen), own, missing)


def area_of(queries: Answers, differences: Doubles, right: Mask, missing: MissingRank) -> list[Measurement]:
    """The area under the curve of seen against unseen macro species accuracy, with its 95 % interval over species.

    Each step of the curve is a straight line, so with a right seen query i of its species' n_i and a right unseen one j

        area = 1 / (C_s C_u)  sum over i, j of  [d_i > d_j] / (n_i n_j), ties a half

    where d is the difference and C how many species of each kind ask. Species of both kinds are drawn apart.

    Args:
        queries: any retrieval of the queries, for its place, subsets and names.
        differences: how much nearer the nearest key of a seen species is, (queries,).
        right: whether the nearest key of the query's own kind is of its species, (queries,).
        missing: what a query without a species does.

    Returns:
        One measurement; none without queries of both kinds.
    """
    counted = queries.counted("species", missing)
    is_seen, species = queries.subset[counted] == "seen", queries.truth["species"][counted]
    shares = _pair_shares(differences[counted], right[counted], species, np.asarray(is_seen))
    if not shares.size:
        return []

    def mean(*drawn: Indices, axis: int) -> Doubles:
        (seen, unseen), sizes = drawn, shares.shape
        counts = (
            np.stack([np.bincount(row, minlength=size) for row in rows]) / rows.shape[1]
            for rows, size in zip((seen, unseen), sizes, strict=True)
        )
        of_seen, of_unseen = counts
        return np.asarray(np.einsum("rs,rs->r", of_seen @ shares, of_unseen))

    ends: tuple[float | None, float | None] = None, None
    if min(shares.shape) > 1:
        low, high = bootstrapped([np.arange(size) for size in shares.shape], mean)
        ends = float(low), float(high)
    common = {"average": "macro", "level": "species", "species": "all", "metric": AREA, "count": min(shares.shape)}
    return [Measurement(**asdict(queries.place), **common, value=float(shares.mean()), low=ends[0], high=ends[1])]


def _pair_shares(differences: Doubles, right: Mask, species: Codes, is_seen: Mask) -> Doubles:
    """The area that each seen and each unseen species have between them, (seen species, unseen species)."""
    seen_names, of_seen = np.unique(species[is_seen], return_inverse=True)
    unseen_names, of_unseen = np.unique(species[~is_seen], return_inverse=True)
    shares = np.zeros((len(seen_names), len(unseen_names)))
    if not shares.size:
        return shares
    good = right[is_seen]
    order = np.argsort(-differences[is_seen][good], kind="stable")
    falling, whose = -differences[is_seen][good][order], of_seen[good][order]
    share = 1 / np.bincount(of_seen, minlength=len(seen_names))
    asked, own = -differences[~is_seen][right[~is_seen]], of_unseen[right[~is_seen]]
    sizes = np.bincount(of_unseen, minlength=len(unseen_names))
    above, at = np.zeros(len(seen_names)), 0
    for row in np.argsort(asked, kind="stable"):
        first, last = np.searchsorted(falling, asked[row], "left"), np.searchsorted(falling, asked[row], "right")
        np.add.at(above, whose[at:first], share[whose[at:first]])
        at = max(at, int(first))
        tied = np.bincount(whose[first:last], minlength=len(seen_names)) * share
        shares[:, own[row]] += (above + tied / 2) / sizes[own[row]]
    return shares


def finite(constant: float) -> float | None:
    """As JSON, which has no infinity: null calls every query seen."""
    return constant if math.isfinite(constant) else None


def constants_told(constants: Mapping[Pair, Threshold]) -> dict[str, dict[str, float | None]]:
    """The constants for evaluation.json, by `query to key`."""
    return {
        f"{query} to {key}": {**asdict(chosen), "value": finite(chosen.value)}
        for (query, key), chosen in constants.items()
    }
