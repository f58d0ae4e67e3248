"""Seen against unseen accuracy of a calibrated search, over every constant taken off keys of seen species (AUSUC)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from results.evaluated import EvaluatedFolder
from results.figures.ink import FAINT, INK, pair_words, percent_axis
from results.figures.picture import FigureChoice, Picture, Record, plain_style, sheet_of
from workloads.calibration import CHOOSES, Curve, areas_of, both_kinds, curve_of
from workloads.errors import UsageError

_COLOURS = {"val": "#0072B2", "test": "#C25300"}


class _Traced(NamedTuple):
    """The curve of one partition."""

    partition: str
    curve: Curve
    chosen: int
    """Where the constant of validation stands on it."""
    as_it_is: int
    """Where no constant does."""
    area: float


@plain_style()
def draw_calibration(evaluated: EvaluatedFolder, choice: FigureChoice) -> Picture:
    """Draw the curves of validation and test for one pair of features, with what was chosen and what is without.

    Raises:
        UsageError: the evaluation has not searched keys of either kind apart, or lacks queries of one kind.
    """
    traced = list(_traced(evaluated, (choice.query, choice.key)))
    title = f"Seen against unseen species, {pair_words(choice.query, choice.key)}"
    note = "macro species accuracy, top 1; a constant off the similarity of keys of seen species"
    figure = sheet_of(evaluated, 5.6, 5.0, title, note)
    axes = figure.subplots()
    figure.subplots_adjust(left=0.13, right=0.96, top=0.88, bottom=0.16)
    for one in traced:
        colour, curve = _COLOURS[one.partition], one.curve
        words = f"{one.partition}, area {one.area:.3f}"
        axes.plot(100 * curve.seen, 100 * curve.unseen, color=colour, lw=1.4, label=words)
        for at, face in ((one.as_it_is, "white"), (one.chosen, colour)):
            axes.plot(100 * curve.seen[at], 100 * curve.unseen[at], "o", color=colour, markerfacecolor=face)
    most = max(float(one.curve.unseen.max()) for one in traced)
    percent_axis(axes, 0, max(5.0, 108 * most))
    if most < 0.2:
        axes.set_yticks(np.arange(0, 100 * most + 5, 5))
    axes.set_xlim(0, None)
    axes.set_xlabel("Seen species, %", color=INK)
    axes.set_ylabel("Unseen species, %", color=INK)
    axes.legend(frameon=False, title="filled: chosen on validation\nhollow: no constant", title_fontsize=8)
    axes.grid(color=FAINT, alpha=0.25, linewidth=0.6)
    return Picture(figure, list(_records(traced)), evaluated.facts["synthetic"])


def _traced(evaluated: EvaluatedFolder, pair: tuple[str, str]) -> Iterator[_Traced]:
    predictions, missing = evaluated.predictions, evaluated.facts["missing_rank"]
    validation = both_kinds(predictions, CHOOSES, pair)
    if validation is None:
        raise UsageError(
            f"{evaluated.folder} has not searched keys of seen and of unseen species apart, {pair_words(*pair)}: "
            "measure it with `clibd evaluate RUN --keys calibrated`"
        )
    best = curve_of(*validation, missing)
    constant = best.constants[int(best.harmonic_mean.argmax())]
    areas = {(row.partition, row.query, row.key): row.value for row in areas_of(predictions, missing)}
    for partition in dict.fromkeys(place.partition for place in predictions.places):
        sides, area = both_kinds(predictions, partition, pair), areas.get((partition, *pair))
        if sides is not None and area is not None:
            curve = curve_of(*sides, missing)
            at = (int(np.searchsorted(curve.constants, value, side="right")) - 1 for value in (constant, 0.0))
            chosen, as_it_is = at
            yield _Traced(partition, curve, chosen, as_it_is, area)


def _records(traced: list[_Traced]) -> Iterator[Record]:
    for one in traced:
        for at, constant in enumerate(one.curve.constants.tolist()):
            yield {
                "partition": one.partition,
                "constant": constant if np.isfinite(constant) else None,
                "seen": round(float(one.curve.seen[at]), 6),
                "unseen": round(float(one.curve.unseen[at]), 6),
                "harmonic_mean": round(float(one.curve.harmonic_mean[at]), 6),
                "chosen": at == one.chosen,
                "area": round(one.area, 6),
            }
