"""Seen against unseen accuracy of a calibrated search, over every constant taken off keys of seen species (AUSUC)."""

from collections.abc import Iterator, Sequence

import numpy as np

from results.calibrated import Traced, traced
from results.evaluated import EvaluatedFolder
from results.figures.ink import FAINT, SEEN, UNSEEN, feature_word, percent_axis
from results.figures.picture import FigureChoice, Picture, Record, plain_style, sheet_of

_COLOURS = {"val": SEEN, "test": UNSEEN}


@plain_style()
def draw_calibration(evaluated: EvaluatedFolder, choice: FigureChoice) -> Picture:
    """Draw the curves of validation and test for one pair of features, with what was chosen and what is without.

    Raises:
        UsageError: the evaluation has not searched keys of either kind apart, or lacks queries of one kind.
    """
    curves = traced(evaluated.predictions, evaluated.facts, (choice.query, choice.key), str(evaluated.folder))
    title = f"Seen against unseen species, {feature_word(choice.query)} to {feature_word(choice.key)}"
    fewer = " and ".join(f"{one.num_species:,} species ({one.partition})" for one in curves)
    what = "macro species accuracy, top 1, over every constant off the similarity of keys of seen species"
    figure = sheet_of(evaluated, 5.8, 5.0, title, f"{what}; of the kind with fewer {fewer}")
    axes = figure.subplots()
    figure.subplots_adjust(left=0.13, right=0.96, top=0.88, bottom=0.17)
    for one in curves:
        colour, curve = _COLOURS[one.partition], one.curve
        words = f"{one.partition}, area {100 * one.area:.1f} %"
        axes.plot(100 * curve.seen, 100 * curve.unseen, color=colour, lw=1.4, label=words)
        for at, face in ((one.as_it_is, "white"), (one.chosen, colour)):
            axes.plot(100 * curve.seen[at], 100 * curve.unseen[at], "o", color=colour, markerfacecolor=face)
    highest = max(5.0, 108 * max(float(one.curve.unseen.max()) for one in curves))
    percent_axis(axes, 0, highest)
    axes.set_yticks(np.arange(0, highest, 20 if highest > 50 else 5))  # unseen species may be far below seen ones
    axes.set_ylim(0, highest)
    axes.set_xlim(0, None)
    axes.set_xlabel("Seen species, %")
    axes.set_ylabel("Unseen species, %")
    axes.legend(frameon=False, title="filled: chosen on validation; hollow: no constant", title_fontsize=8)
    axes.grid(color=FAINT, alpha=0.25, linewidth=0.6)
    return Picture(figure, list(_records(curves)), evaluated.facts["synthetic"])


def _records(curves: Sequence[Traced]) -> Iterator[Record]:
    for one in curves:
        for at, constant in enumerate(one.curve.constants.tolist()):
            yield {
                "partition": one.partition,
                "constant": constant if np.isfinite(constant) else None,
                "seen": round(float(one.curve.seen[at]), 6),
                "unseen": round(float(one.curve.unseen[at]), 6),
                "harmonic_mean": round(float(one.curve.harmonic_mean[at]), 6),
                "chosen": at == one.chosen,
                "area": round(one.area, 6),
                "num_species": one.num_species,
            }
