"""A calibrated search of one evaluation: its curves over all constants, and where on them the chosen one stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.calibration import CHOOSES, Curve, area_between, both_kinds, curve_of
from workloads.errors import UsageError
from workloads.predictions import Predictions


@dataclass(frozen=True, slots=True)
class Traced:
    """The curve of one partition, and places on it."""

    partition: str
    curve: Curve
    chosen: int
    """Of the constant that validation has chosen."""
    as_it_is: int
    """Of no constant."""
    area: float
    num_species: int
    """Of the kind that fewer of ask."""


def traced(predictions: Predictions, facts: Mapping[str, Any], pair: tuple[str, str], where: str) -> list[Traced]:
    """The curves of a pair of features, validation first.

    Args:
        predictions: of the evaluation.
        facts: its evaluation.json.
        pair: query and key.
        where: what an error calls it.

    Raises:
        UsageError: keys of seen and of unseen species were not searched apart, or validation lacks queries of a kind.
    """
    validation, missing = both_kinds(predictions, CHOOSES, pair), facts["missing_rank"]
    if validation is None:
        raise UsageError(
            f"{where} has not searched keys of seen and of unseen species apart, {' to '.join(pair)}: "
            "measure it with `clibd evaluate RUN --keys calibrated`"
        )
    best = curve_of(*validation, missing)
    constant = float(best.constants[int(best.harmonic_mean.argmax())])
    curves = []
    for partition in dict.fromkeys(place.partition for place in predictions.places):
        sides = both_kinds(predictions, partition, pair)
        if sides is not None and (areas := area_between(*sides, missing)):
            curve = curve_of(*sides, missing)
            # The last constant of a curve that is not larger: between two nothing changes.
            chosen, as_it_is = (int(np.searchsorted(curve.constants, each, "right")) - 1 for each in (constant, 0.0))
            curves.append(Traced(partition, curve, chosen, as_it_is, areas[0].value, areas[0].count))
    return curves
