"""Which taxa are taken for which: the commonest confusions, and a heat map of the most confused taxa."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from results.figures.evaluated import Evaluated
from results.figures.picture import FAINT, INK, Picture, Record, feature_word, plain_style, sheet, shown
from workloads.errors import UsageError
from workloads.spec import Rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST = 24  # letters of a name
_MORE_ANSWERS = 6  # columns beside those of the most confused taxa


@dataclass(frozen=True, slots=True)
class Confusions:
    """How often each taxon was taken for which."""

    counts: Counter[tuple[str, str]]
    """Queries by the name they have and the name of their nearest key, right ones too."""
    num_without_name: int
    """Queries left out, as they or their nearest key have no name at the rank."""

    @property
    def truths(self) -> Counter[str]:
        """Queries of each taxon."""
        return _summed((truth, count) for (truth, _), count in self.counts.items())

    @property
    def wrong(self) -> list[tuple[str, str, int]]:
        """Every confusion: the right name, the one that was found, and how often; the commonest first."""
        pairs = [(truth, found, count) for (truth, found), count in self.counts.items() if truth != found]
        return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))

    def most_confused(self, at_most: int) -> list[str]:
        """The taxa whose queries were answered wrongly most often, by name where equally often."""
        return _commonest([(truth, count) for truth, _, count in self.wrong], at_most)

    def commonest_answers(self, taxa: list[str], at_most: int) -> list[str]:
        """What some taxa are taken for most often, beside one another; by name where equally often."""
        others = [(other, count) for truth, other, count in self.wrong if truth in taxa and other not in taxa]
        return _commonest(others, at_most)


def _summed(counts: Iterable[tuple[str, int]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, count in counts:
        found[name] += count
    return found


def _commonest(counts: Iterable[tuple[str, int]], at_most: int) -> list[str]:
    totals = _summed(counts)
    return sorted(totals, key=lambda name: (-totals[name], name))[:at_most]


def confusions(
    evaluated: Evaluated, partition: str, query: str, key: str, rank: Rank, subset: str | None = None
) -> Confusions:
    """Count the confusions of one retrieval.

    Args:
        evaluated: the evaluation.
        partition: `val` or `test`.
        query: feature that asked.
        key: feature that answered, by its nearest key.
        rank: whose names.
        subset: `seen` or `unseen` queries; None for both.

    Raises:
        UsageError: there is no such retrieval, or no query and answer with names in it.
    """
    answers = evaluated.answers(partition, query, key)
    chosen = np.ones(len(answers), dtype=bool) if subset is None else answers.subset == subset
    truth, found = answers.truth[rank][chosen], answers.found[rank][chosen, 0]
    named = (truth >= 0) & (found >= 0)
    names = evaluated.predictions.names(rank)
    counts = Counter(zip(names[truth[named]].tolist(), names[found[named]].tolist(), strict=True))
    if not counts:
        raise UsageError(
            f"no {subset or ''} {partition} query of {evaluated.folder} and its answer have names at the rank of "
            f"{rank}; choose another rank".replace("  ", " ")
        )
    return Confusions(counts, int((~named).sum()))


def confusion_shares(found: Confusions, taxa: list[str], columns: list[str]) -> npt.NDArray[np.float64]:
    """What the queries of some taxa were taken for: a row a taxon, a column for each that was found, then all others.

    Rows sum to 1, shape (taxa, columns + 1).
    """
    shares = np.zeros((len(taxa), len(columns) + 1))
    for (truth, other), count in found.counts.items():
        if truth in taxa:
            shares[taxa.index(truth), columns.index(other) if other in columns else -1] += count
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


@plain_style()
def draw_confusion(
    evaluated: Evaluated,
    partition: str = "val",
    query: str = "image",
    key: str = "dna",
    rank: Rank = "family",
    subset: str | None = None,
    num_taxa: int = 10,
) -> Picture:
    """Draw the commonest confusions as bars, and the most confused taxa as a heat map.

    Raises:
        UsageError: as `confusions`.
    """
    found = confusions(evaluated, partition, query, key, rank, subset)
    taxa = found.most_confused(num_taxa)
    truths = found.truths
    num_wrong = sum(count for _, _, count in found.wrong)
    title = f"Which {rank} is taken for which, {feature_word(query)} to {feature_word(key)}"
    notes = [f"{partition} queries{f' of {subset} species' if subset else ''}, nearest key"]
    notes.append(f"{num_wrong:,} of {sum(truths.values()):,} wrong")
    if found.num_without_name:
        notes.append(f"{found.num_without_name:,} left out without a name")
    figure = sheet(12.0, 5.8, evaluated.title(title), evaluated.small_print(*notes))
    if taxa:
        bars = figure.add_axes((0.24, 0.2, 0.13, 0.67))
        _bars(bars, found, num_taxa)
        heat = figure.add_axes((0.565, 0.34, 0.42, 0.53))
        _heat_map(heat, found, taxa)
    else:
        figure.text(0.5, 0.5, "Every answer is right: nothing is confused.", ha="center", fontsize=11)
    place: Record = {"partition": partition, "query": query, "key": key, "subset": subset or "all", "rank": rank}
    return Picture(figure, _records(found, place), evaluated.synthetic)


def _bars(axes: "Axes", found: Confusions, at_most: int) -> None:
    """The commonest confusions, the longest bar on top."""
    worst, truths = found.wrong[:at_most], found.truths
    axes.barh(range(len(worst)), [count for _, _, count in worst], 0.7, color="#C25300")
    labels = [f"{shown(truth, _LONGEST)}\ntaken for {shown(other, _LONGEST)}" for truth, other, _ in worst]
    axes.set_yticks(range(len(worst)), labels, fontsize=8)
    for row, (truth, _, count) in enumerate(worst):
        text = f"{count:,} of {truths[truth]:,}"
        axes.annotate(text, (count, row), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_ylim(max(4, len(worst)) - 0.4, -0.6)
    axes.set_title("Commonest confusions (queries)", loc="left", fontsize=9.5)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_xticks([])
    axes.tick_params(left=False)


def _heat_map(axes: "Axes", found: Confusions, taxa: list[str]) -> None:
    """Shares of each row in percent; the diagonal, which is right, is framed."""
    from matplotlib.patches import Rectangle

    columns = [*taxa, *found.commonest_answers(taxa, _MORE_ANSWERS)]
    shares, truths = confusion_shares(found, taxa, columns), found.truths
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        if share:
            text = f"{100 * share:.0f}" if share >= 0.005 else "<1"
            axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color="white" if share > 0.55 else INK)
    for place in range(len(taxa)):
        axes.add_patch(Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=1))
    for edge in {len(taxa), len(columns)}:
        axes.axvline(edge - 0.5, color=FAINT, linewidth=0.8)
    rows = [f"{shown(taxon, _LONGEST)} ({truths[taxon]:,})" for taxon in taxa]
    axes.set_yticks(range(len(taxa)), rows, fontsize=8)
    names = [*(shown(name, _LONGEST) for name in columns), "all others"]
    axes.set_xticks(range(len(names)), names, fontsize=8, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xlabel("Taken for", fontsize=9)
    axes.set_title("Most confused taxa, % of each row's queries", loc="left", fontsize=9.5)
    axes.tick_params(length=0)


def _records(found: Confusions, place: Record) -> list[Record]:
    """Every pair that there is, confusions first, the commonest first; then the right answers."""
    truths = found.truths
    right = sorted((truth, truth, count) for (truth, other), count in found.counts.items() if truth == other)
    return [
        {
            **place,
            "truth": truth,
            "found": other,
            "right": truth == other,
            "num_queries": count,
            "num_queries_of_truth": truths[truth],
            "share": round(count / truths[truth], 6),
        }
        for truth, other, count in [*found.wrong, *right]
    ]
