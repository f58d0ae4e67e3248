"""Which taxa are taken for which: the commonest confusions, and a heat map of the most confused taxa."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from results.confusions import confusion_shares, confusion_table, most_confused
from results.evaluated import EvaluatedFolder
from results.figures.ink import FAINT, INK, feature_word, shown
from results.figures.picture import FigureChoice, Picture, plain_style, sheet_of
from workloads.errors import UsageError

_LONGEST = 24  # letters of a name
_NUM_TAXA = 10
_MORE_ANSWERS = 6  # columns beside those of the most confused taxa


def _count_confusions(evaluated: EvaluatedFolder, choice: FigureChoice) -> tuple[pd.DataFrame, int]:
    """Count the confusions of one retrieval, of names at a rank; by family unless another one was asked for.

    Returns:
        As `confusion_table`, and the queries left out as they or their nearest key have no name at the rank.

    Raises:
        UsageError: there is no such retrieval, or no query and answer with names in it.
    """
    rank = choice.rank or "family"
    answers = evaluated.answers(choice.partition, choice.query, choice.key)
    chosen = np.ones(len(answers), dtype=bool) if choice.subset is None else answers.subset == choice.subset
    truth, answer = answers.truth[rank][chosen], answers.found[rank][chosen, 0]
    named = (truth >= 0) & (answer >= 0)
    names = evaluated.predictions.names(rank)
    if not named.any():
        raise UsageError(
            f"no {choice.subset or ''} {choice.partition} query of {evaluated.folder} and its answer have names at "
            f"the rank of {rank}; choose another rank".replace("  ", " ")
        )
    return confusion_table(truth[named], answer[named], names), int((~named).sum())


@plain_style()
def draw_confusion(evaluated: EvaluatedFolder, choice: FigureChoice) -> Picture:
    """Draw the commonest confusions as bars, and the most confused taxa as a heat map.

    Raises:
        UsageError: there is no such retrieval, or no query and answer with names in it.
    """
    confusions, num_without_name = _count_confusions(evaluated, choice)
    wrong = confusions[~confusions["right"]]
    rank, retrieval = choice.rank or "family", f"{feature_word(choice.query)} to {feature_word(choice.key)}"
    notes = [
        f"{choice.queries}, nearest key",
        f"{wrong['num_queries'].sum():,} of {confusions['num_queries'].sum():,} wrong",
        *([f"{num_without_name:,} left out without a name"] if num_without_name else []),
    ]
    figure = sheet_of(evaluated, 12.0, 5.8, f"Which {rank} is taken for which, {retrieval}", *notes)
    if len(wrong):
        _bars(figure.add_axes((0.24, 0.2, 0.13, 0.67)), wrong.head(_NUM_TAXA))
        _heat_map(figure.add_axes((0.565, 0.34, 0.42, 0.53)), confusions)
    else:
        figure.text(0.5, 0.5, "Every answer is right: nothing is confused.", ha="center", fontsize=11)
    place = {"partition": choice.partition, "query": choice.query, "key": choice.key, "subset": choice.subset or "all"}
    records = [{**place, "rank": rank, **row} for row in confusions.to_dict("records")]
    return Picture(figure, records, evaluated.facts["synthetic"])


def _bars(axes: Axes, worst: pd.DataFrame) -> None:
    """The commonest confusions, the longest bar on top."""
    axes.barh(range(len(worst)), worst["num_queries"], 0.7, color="#C25300")
    pairs = zip(worst["truth"], worst["found"], strict=True)
    labels = [f"{shown(truth, _LONGEST)}\ntaken for {shown(other, _LONGEST)}" for truth, other in pairs]
    axes.set_yticks(range(len(worst)), labels, fontsize=8)
    for row, (count, total) in enumerate(zip(worst["num_queries"], worst["num_queries_of_truth"], strict=True)):
        text = f"{count:,} of {total:,}"
        axes.annotate(text, (count, row), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_ylim(max(4, len(worst)) - 0.4, -0.6)
    axes.set_title("Commonest confusions (queries)", loc="left", fontsize=9.5)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_xticks([])
    axes.tick_params(left=False)


def _heat_map(axes: Axes, confusions: pd.DataFrame) -> None:
    """Shares of each row in percent; the diagonal, which is right, is framed."""
    taxa, columns = most_confused(confusions, _NUM_TAXA, _MORE_ANSWERS)
    shares = confusion_shares(confusions, taxa, columns)
    totals = dict(zip(confusions["truth"], confusions["num_queries_of_truth"], strict=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        if share:
            text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
            axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color="white" if share > 0.55 else INK)
    for place in range(len(taxa)):
        axes.add_patch(Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=1))
    for edge in {len(taxa), len(columns)}:
        axes.axvline(edge - 0.5, color=FAINT, linewidth=0.8)
    rows = [f"{shown(taxon, _LONGEST)} ({totals[taxon]:,})" for taxon in taxa]
    axes.set_yticks(range(len(taxa)), rows, fontsize=8)
    names = [*(shown(name, _LONGEST) for name in columns), "all others"]
    axes.set_xticks(range(len(names)), names, fontsize=8, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xlabel("Taken for", fontsize=9)
    axes.set_title("Most confused taxa, % of each row's queries", loc="left", fontsize=9.5)
    axes.tick_params(length=0)
