"""A calibrated search of one evaluation: its curves over all constants, and where on them the chosen one stands."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.calibration import CHOOSES, Curve, areas_of, both_kinds, curve_of
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
    areas = {(row.partition, row.query, row.key): row for row in areas_of(predictions, missing)}
    return list(_traced(predictions, missing, pair, constant, areas))


def _traced(
    predictions: Predictions, missing: Any, pair: tuple[str, str], constant: float, areas: Mapping[Any, Any]
) -> Iterator[Traced]:
    for partition in dict.fromkeys(place.partition for place in predictions.places):
        sides, area = both_kinds(predictions, partition, pair), areas.get((partition, *pair))
        if sides is not None and area is not None:
            curve = curve_of(*sides, missing)
            chosen, as_it_is = (
                int(np.searchsorted(curve.constants, value, side="right")) - 1 for value in (constant, 0.0)
            )
            yield Traced(partition, curve, chosen, as_it_is, area.value, area.count)
