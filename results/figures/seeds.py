"""Figure 9: how much accuracies differ between runs that differ in nothing but their seed."""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from results.figures.evaluated import Evaluated, read_evaluated
from results.figures.picture import Picture, Record, pair_words, plain_style, sheet
from workloads.errors import MissingPathError, UsageError
from workloads.record import RunFolder, find_run
from workloads.spec import RANKS, ExperimentSpec, Rank
from workloads.storage import Folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RETRIEVALS = (("dna", "dna"), ("image", "image"), ("image", "dna"))
AVERAGES, SUBSETS = ("micro", "macro"), ("seen", "unseen")
_STYLES = {
    ("dna", "dna"): ("#007A5A", "o", -0.12),
    ("image", "image"): ("#0072B2", "s", 0.0),
    ("image", "dna"): ("#C25300", "^", 0.12),
}
"""Colour, marker and offset along the ranks of each retrieval."""


@dataclass(frozen=True, slots=True)
class SeedRun:
    """An evaluated run, one of several seeds."""

    address: str
    spec: ExperimentSpec


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """One accuracy over seeds."""

    average: str
    subset: str
    rank: Rank
    query: str
    key: str
    values: tuple[tuple[int, float], ...]
    """Seed and accuracy of each run, by seed."""

    @property
    def mean(self) -> float:
        """Over the runs."""
        return statistics.fmean(value for _, value in self.values)

    @property
    def standard_error(self) -> float:
        """Of the mean: the deviation over runs, with n - 1, by the root of n."""
        return statistics.stdev(value for _, value in self.values) / math.sqrt(len(self.values))


def find_seed_runs(addresses: Sequence[str]) -> list[SeedRun]:
    """The evaluated runs in some folders, by seed: run folders, or folders of runs such as a sweep's.

    Raises:
        MissingPathError: a folder holds no evaluated run.
        UsageError: they are fewer than two seeds, or differ in more than their seed.
    """
    found = [run for address in addresses for run in _runs_of(address)]
    groups: dict[ExperimentSpec, dict[int, SeedRun]] = defaultdict(dict)
    for run in found:
        same = groups[replace(run.spec, seed=0)]
        if (twin := same.get(run.spec.seed)) is not None and twin.address != run.address:
            raise UsageError(f"{twin.address} and {run.address} are one experiment with one seed; name one of them")
        same[run.spec.seed] = run
    several = [list(group.values()) for group in groups.values() if len(group) > 1]
    if len(several) == 1:
        return sorted(several[0], key=lambda run: run.spec.seed)
    if several:
        names = "; ".join(", ".join(RunFolder(Folder(run.address)).id for run in group) for group in several)
        raise UsageError(
            f"figure 9 is of one experiment, and there are several with seeds: name the runs of one ({names})"
        )
    seeds = ", ".join(f"{RunFolder(Folder(run.address)).id} (seed {run.spec.seed})" for run in found)
    raise UsageError(
        f"figure 9 needs at least two runs that differ in nothing but their seed, and there is {seeds}. "
        "Train others with `--seed N`, evaluate them, and name all their folders."
    )


def _runs_of(address: str) -> list[SeedRun]:
    folder = Folder(address)
    if folder.has("spec.json"):
        return [SeedRun(address, RunFolder(folder).spec())]
    inside = [folder / name for name in folder.folders()]
    if folder.has("points.json"):  # runs that another sweep made first lie in its folder
        listed = dict.fromkeys(entry["id"] for entry in folder.read_json("points.json") if entry["id"])
        above = Folder(folder.address.rpartition("/")[0])
        inside = [run.folder for name in listed if (run := find_run(above, name))]
    runs = [run for run in inside if run.has("spec.json") and run.has("measurements.parquet")]
    if not runs:
        raise MissingPathError(
            str(folder), "evaluated run", "Name run folders, or a folder of them such as runs/SWEEP."
        )
    return [SeedRun(str(run), RunFolder(run).spec()) for run in runs]


def accuracies_over_seeds(runs: Sequence[SeedRun], partition: str) -> list[OverSeeds]:
    """The top-1 accuracies that all runs have, by average, subset, rank and retrieval.

    Raises:
        UsageError: there is none, or they were measured by different recipes.
        MissingPathError: a run was not evaluated.
    """
    if len(recipes := sorted({read_evaluated(run.address).recipe for run in runs})) > 1:
        raise UsageError(
            f"the runs were measured by different recipes ({', '.join(recipes)}); "
            "measure them by one with `clibd evaluate RUN --recipe RECIPE`"
        )
    values: dict[tuple[str, str, str, str, str], list[tuple[int, float]]] = defaultdict(list)
    for run in runs:
        folder = read_evaluated(run.address).folder
        for row in RunFolder(folder).measurements():
            asked = (row.method, row.partition, row.metric, row.keys or "all", row.queries)
            if asked == ("clibd", partition, "top1", "all", "all"):
                values[row.average, row.species, row.level, row.query, row.key].append((run.spec.seed, row.value))
    found = [
        OverSeeds(average, subset, rank, query, key, tuple(values[average, subset, rank, query, key]))
        for average in AVERAGES
        for subset in SUBSETS
        for query, key in RETRIEVALS
        for rank in RANKS
        if len(values[average, subset, rank, query, key]) == len(runs)
    ]
    if not found:
        raise UsageError(
            f"the runs have no {partition} accuracies by image or DNA in common; ask for the other partition, or "
            "evaluate them again"
        )
    return found


@plain_style()
def draw_seeds(addresses: Sequence[str], partition: str = "val") -> Picture:
    """Draw Figure 9: a point a run, the mean and its standard error, for micro and macro, seen and unseen.

    Raises:
        UsageError, MissingPathError: as `find_seed_runs` and `accuracies_over_seeds`.
    """
    runs = find_seed_runs(addresses)
    found = accuracies_over_seeds(runs, partition)
    first: Evaluated = read_evaluated(runs[0].address)
    seeds = ", ".join(str(run.spec.seed) for run in runs)
    small = first.small_print(f"{partition} queries, top 1, seeds {seeds}").replace(
        f"run {first.run}", f"{len(runs)} runs"
    )
    title = f"Accuracy over {len(runs)} seeds: mean ± standard error"
    subsets = [subset for subset in SUBSETS if any(one.subset == subset for one in found)]
    figure = sheet(9.4, 6.6, first.title(title), small)
    panels = figure.subplots(len(AVERAGES), len(subsets), sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(left=0.08, right=0.81, top=0.88, bottom=0.11, hspace=0.16, wspace=0.06)
    for line, average in zip(panels, AVERAGES, strict=True):
        line[0].set_ylabel(f"{average.title()} accuracy, %")
        for axes, subset in zip(line, subsets, strict=True):
            _panel(axes, [one for one in found if (one.average, one.subset) == (average, subset)])
            axes.set_title(f"{average.title()}, {subset} species", loc="left", fontsize=9.5)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.81, 0.885), frameon=False, labelspacing=0.8)
    note = f"Filled: mean of n = {len(runs)};\nbar: standard error.\nHollow: each run."
    figure.text(0.825, 0.72, note, fontsize=8.5, va="top", linespacing=1.5)
    return Picture(figure, [record for one in found for record in _records(one, partition)], first.synthetic)


def _panel(axes: "Axes", found: Sequence[OverSeeds]) -> None:
    for (query, key), (colour, marker, offset) in _STYLES.items():
        line = [one for one in found if (one.query, one.key) == (query, key)]
        if not line:
            continue
        places = [RANKS.index(one.rank) + offset for one in line]
        for place, one in zip(places, line, strict=True):
            across, up = [place + 0.055] * len(one.values), [100 * value for _, value in one.values]
            axes.scatter(across, up, 14, facecolor="none", edgecolor=colour, marker=marker, linewidth=0.7)
        means, errors = [100 * one.mean for one in line], [100 * one.standard_error for one in line]
        label = pair_words(query, key)
        axes.errorbar(places, means, errors, color=colour, marker=marker, markersize=5, capsize=3, lw=1.2, label=label)
    axes.set_xticks(range(len(RANKS)), [rank.title() for rank in RANKS])
    axes.set_xlim(-0.4, len(RANKS) - 0.6)
    axes.set_ylim(-4, 104)
    axes.set_yticks(range(0, 101, 20))
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _records(one: OverSeeds, partition: str) -> list[Record]:
    """A record a seed, each with the mean and standard error of all."""
    return [
        {
            "partition": partition,
            **{name: getattr(one, name) for name in ("average", "subset", "rank", "query", "key")},
            "seed": seed,
            "value": round(value, 6),
            "mean": round(one.mean, 6),
            "standard_error": round(one.standard_error, 6),
            "num_runs": len(one.values),
        }
        for seed, value in one.values
    ]
