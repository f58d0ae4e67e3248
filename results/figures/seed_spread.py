"""Figure 9: how much accuracies differ between runs that differ in nothing but their seed."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from results.evaluated import read_evaluated
from results.figures.ink import pair_words, percent_axis
from results.figures.picture import FigureChoice, Picture, plain_style, sheet_of
from workloads.errors import MissingPathError, UsageError
from workloads.record import Measurement, RunFolder, find_run
from workloads.run_files import read_points
from workloads.spec import RANKS, ExperimentSpec
from workloads.storage import Folder

_AVERAGES, _SUBSETS = ("micro", "macro"), ("seen", "unseen")
_STYLES = {
    ("dna", "dna"): ("#007A5A", "o", -0.12),
    ("image", "image"): ("#0072B2", "s", 0.0),
    ("image", "dna"): ("#C25300", "^", 0.12),
}
"""Colour, marker and offset along the ranks of each retrieval."""
_PLACE = ["average", "subset", "rank", "query", "key"]


def _seed_runs(addresses: Sequence[str]) -> dict[int, RunFolder]:
    """The evaluated runs in some folders, by seed: run folders, or folders of runs such as a sweep's.

    Raises:
        MissingPathError: a folder holds no evaluated run.
        UsageError: they are fewer than two seeds, or differ in more than their seed.
    """
    groups: dict[ExperimentSpec, dict[int, RunFolder]] = defaultdict(dict)
    seeds = []
    for run in (run for address in addresses for run in _runs_of(Folder(address))):
        spec = run.spec()
        seeds.append(f"{run.id} (seed {spec.seed})")
        twin = groups[replace(spec, seed=0)].setdefault(spec.seed, run)
        if twin.folder.address != run.folder.address:
            raise UsageError(f"{twin.folder} and {run.folder} are one experiment with one seed; name one of them")
    several = [group for group in groups.values() if len(group) > 1]
    if len(several) == 1:
        return dict(sorted(several[0].items()))
    if several:
        names = "; ".join(", ".join(run.id for run in group.values()) for group in several)
        raise UsageError(
            f"figure 9 is of one experiment, and there are several with seeds: name the runs of one ({names})"
        )
    raise UsageError(
        f"figure 9 needs at least two runs that differ in nothing but their seed, and there is {', '.join(seeds)}. "
        "Train others with `--seed N`, evaluate them, and name all their folders."
    )


def _runs_of(folder: Folder) -> list[RunFolder]:
    if folder.has("spec.json"):
        return [RunFolder(folder)]
    inside = [folder / name for name in folder.folders()]
    if folder.has("points.json"):  # runs that another sweep made first lie in its folder
        listed = dict.fromkeys(entry["id"] for entry in read_points(folder) if entry.get("id"))
        inside = [run.folder for name in listed if (run := find_run(folder.parent, name))]
    runs = [RunFolder(run) for run in inside if run.has("spec.json") and run.has("measurements.parquet")]
    if not runs:
        raise MissingPathError(
            str(folder), "evaluated run", "Name run folders, or a folder of them such as runs/SWEEP."
        )
    return runs


def _accuracies_over_seeds(runs: Mapping[int, RunFolder], partition: str) -> pd.DataFrame:
    """The top-1 accuracies that all runs have, by average, subset, rank and retrieval.

    Returns:
        A row for each of them and each seed, with the mean and its standard error: the deviation over runs, with n - 1,
        by the root of n.

    Raises:
        UsageError: there is none, or they were measured by different recipes.
        MissingPathError: a run was not evaluated.
    """
    recipes = sorted({read_evaluated(run.folder).facts["recipe"] for run in runs.values()})
    if len(recipes) > 1:
        raise UsageError(
            f"the runs were measured by different recipes ({', '.join(recipes)}); "
            "measure them by one with `clibd evaluate RUN --recipe RECIPE`"
        )
    rows = [row for seed, run in runs.items() for row in _accuracies(seed, run.measurements(), partition)]
    frame = pd.DataFrame(sorted(rows, key=_order), columns=["partition", *_PLACE, "seed", "value"])
    values = frame.groupby(_PLACE)["value"]
    frame["mean"], frame["standard_error"] = values.transform("mean"), values.transform("sem")
    frame["num_runs"] = values.transform("size")
    frame = frame[frame["num_runs"] == len(runs)]
    if frame.empty:
        raise UsageError(
            f"the runs have no {partition} accuracies by image or DNA in common; ask for the other partition, or "
            "evaluate them again"
        )
    return frame


def _accuracies(seed: int, measurements: Sequence[Measurement], partition: str) -> Iterator[tuple[Any, ...]]:
    for row in measurements:
        shown = row.average in _AVERAGES and row.species in _SUBSETS and (row.query, row.key) in _STYLES
        asked = (row.method, row.partition, row.metric, row.keys or "all", row.queries)
        if shown and asked == ("clibd", partition, "top1", "all", "all"):
            yield partition, row.average, row.species, row.level, row.query, row.key, seed, row.value


def _order(row: tuple[Any, ...]) -> tuple[int, ...]:
    _, average, subset, rank, *pair, _, _ = row
    retrieval = list(_STYLES).index((pair[0], pair[1]))
    return _AVERAGES.index(average), _SUBSETS.index(subset), retrieval, RANKS.index(rank)


@plain_style()
def draw_seeds(choice: FigureChoice) -> Picture:
    """Draw Figure 9: a point a run, the mean and its standard error, for micro and macro, seen and unseen.

    Raises:
        MissingPathError: a folder holds no evaluated run.
        UsageError: the runs are not seeds of one experiment, or have no accuracies in common.
    """
    runs = _seed_runs(choice.runs)
    frame = _accuracies_over_seeds(runs, choice.partition)
    first = read_evaluated(next(iter(runs.values())).folder)
    title = f"Accuracy over {len(runs)} seeds: mean ± standard error"
    note = f"{choice.partition} queries, top 1, seeds {', '.join(map(str, runs))}"
    figure = sheet_of(first, 9.4, 6.6, title, note, runs=f"{len(runs)} runs")
    subsets = [subset for subset in _SUBSETS if subset in set(frame["subset"])]
    panels = figure.subplots(len(_AVERAGES), len(subsets), sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(left=0.08, right=0.81, top=0.88, bottom=0.11, hspace=0.16, wspace=0.06)
    for line, average in zip(panels, _AVERAGES, strict=True):
        line[0].set_ylabel(f"{average.title()} accuracy, %")
        for axes, subset in zip(line, subsets, strict=True):
            _panel(axes, frame[(frame["average"] == average) & (frame["subset"] == subset)])
            axes.set_title(f"{average.title()}, {subset} species", loc="left", fontsize=9.5)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.81, 0.885), frameon=False, labelspacing=0.8)
    note = f"Filled: mean of n = {len(runs)};\nbar: standard error.\nHollow: each run."
    figure.text(0.825, 0.72, note, fontsize=8.5, va="top", linespacing=1.5)
    return Picture(figure, frame.round(6).to_dict("records"), first.facts["synthetic"])


def _panel(axes: Axes, frame: pd.DataFrame) -> None:
    for (query, key), (colour, marker, offset) in _STYLES.items():
        line = frame[(frame["query"] == query) & (frame["key"] == key)]
        if line.empty:
            continue
        line = line.assign(place=[RANKS.index(rank) + offset for rank in line["rank"]])
        for place, of_rank in line.groupby("place"):
            across, up = [place + 0.055] * len(of_rank), 100 * of_rank["value"]
            axes.scatter(across, up, 14, facecolor="none", edgecolor=colour, marker=marker, linewidth=0.7)
        line = line.drop_duplicates("place")
        means, errors = 100 * line["mean"], 100 * line["standard_error"]
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5, "capsize": 3, "lw": 1.2}
        axes.errorbar(line["place"], means, errors, label=pair_words(query, key), **style)
    axes.set_xticks(range(len(RANKS)), [rank.title() for rank in RANKS])
    axes.set_xlim(-0.4, len(RANKS) - 0.6)
    percent_axis(axes, -4, 104)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.6)
