"""Whether names are as sure as they say: a reliability diagram, and risk against coverage.

Above: of the names with a confidence of at least c, the share that is right, against c; the promise is the diagonal,
and no point should lie clearly below it. Of specimens whose taxon of the rank the database does not have: the share
that rightly gets no name. Below: the share of wrong names among those that are given, against the share of specimens
that get one; of such specimens the share that wrongly gets a name.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binomtest

from results.figures.ink import FAINT, SEEN, UNSEEN
from results.figures.picture import drawn_files, plain_style
from results.promised import GROUPS, WORDS
from workloads.spec import RANKS
from workloads.storage import Folder

_ASKED = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99)
_COLOURS = {"known": (SEEN, "o"), "other": (UNSEEN, "s"), "outside": ("#00795A", "^")}


def write_check(folder: Folder, facts: Mapping[str, Any], named: pa.Table, database: str, synthetic: bool) -> list[str]:
    """Write `check.json`, `check.parquet` and a figure for each kind of evidence; earlier ones are replaced.

    Args:
        folder: where to.
        facts: numbers of the cells.
        named: what every specimen was named.
        database: its name.
        synthetic: whether its specimens were drawn.

    Returns:
        The addresses of the files.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(named, sink, compression="zstd")
    about = {"database": database, "synthetic": synthetic}
    files: dict[str, bytes] = {
        "check.json": f"{json.dumps({**about, **facts}, indent=1)}\n".encode(),
        "check.parquet": sink.getvalue().to_pybytes(),
    }
    for evidence in dict.fromkeys(named["evidence"].to_pylist()):
        records = list(promise_records(named.to_pandas(), evidence))
        figure = draw_promise(records, evidence, database, synthetic)
        stated = [{**record, "synthetic": synthetic} for record in records]
        files |= {f"promise-{evidence}.{ending}": content for ending, content in drawn_files(figure, stated).items()}
    for name, content in files.items():
        folder.write(name, content)
    return [f"{folder}/{name}" for name in files]


def promise_records(named: pd.DataFrame, evidence: str) -> Iterator[dict[str, Any]]:
    """The numbers of the figure: by rank, group and asked confidence the names that are given, and how many are right.

    Args:
        named: columns `evidence`, `rank`, `group`, `confidence` and `right`, a row for each specimen and rank.
        evidence: of which rows are taken.
    """
    rows = named[named["evidence"] == evidence]
    for rank in RANKS:
        for group in GROUPS:
            own = rows[(rows["rank"] == rank) & (rows["group"] == group)]
            for asked in _ASKED if len(own) else ():
                given = own["confidence"] >= asked
                strangers = group == "outside" or (rank == RANKS[-1] and group == "other")
                number = len(own) if strangers else int(given.sum())
                kept = number - int(given.sum()) if strangers else int((given & own["right"]).sum())
                low, high = _interval(kept, number)
                yield {
                    "evidence": evidence,
                    "rank": rank,
                    "group": group,
                    "asked": asked,
                    "specimens": len(own),
                    "given": int(given.sum()),
                    "n": number,
                    "kept": kept / number if number else None,
                    "low": low,
                    "high": high,
                }


def _interval(hits: int, number: int) -> tuple[float | None, float | None]:
    """95 % by Clopper and Pearson."""
    if not number:
        return None, None
    ends = binomtest(hits, number).proportion_ci(0.95, "exact")
    return float(ends.low), float(ends.high)


@plain_style()
def draw_promise(records: list[dict[str, Any]], evidence: str, database: str, synthetic: bool) -> Figure:
    """Draw reliability and risk against coverage, a column for each rank.

    Args:
        records: as `promise_records` gives them.
        evidence: what the names were given by.
        database: its name.
        synthetic: whether its specimens were drawn.
    """
    frame = pd.DataFrame(records)
    ranks = [rank for rank in RANKS if rank in set(frame["rank"])]
    figure = Figure(figsize=(2.6 * len(ranks) + 1.2, 5.8))
    panels: npt.NDArray[Any] = figure.subplots(2, len(ranks), squeeze=False)
    figure.subplots_adjust(left=0.1, right=0.98, top=0.82, bottom=0.11, hspace=0.42, wspace=0.32)
    for place, rank in enumerate(ranks):
        of_rank = frame[frame["rank"] == rank]
        _reliability(panels[0][place], of_rank, rank)
        _risk(panels[1][place], of_rank)
    panels[0][0].set_ylabel("Right among the names given, %")
    panels[1][0].set_ylabel("Wrong among the names given, %")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.09, 0.945), ncols=3, frameon=False)
    title = f"Names by {WORDS[evidence]}: what is promised, and what is so"
    figure.text(0.1, 0.965, title, fontsize=11, weight="bold")
    note = f"{database}{' (synthetic)' if synthetic else ''}; bars: exact 95 % intervals; n of the right-hand point"
    figure.text(0.1, 0.015, note, fontsize=7.5, color=FAINT)
    return figure


def _reliability(axes: Axes, frame: pd.DataFrame, rank: str) -> None:
    counts = []
    for group, (colour, marker) in _COLOURS.items():
        own = frame[(frame["group"] == group) & (frame["n"] > 0)]
        if own.empty:
            continue
        middle = 100 * own["kept"].to_numpy(dtype=float)
        bars = np.abs(100 * own[["low", "high"]].to_numpy(dtype=float).T - middle)
        label = f"species {GROUPS[group]}"
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "capsize": 2, "lw": 1}
        axes.errorbar(100 * own["asked"], middle, yerr=bars, label=label, **style)
        counts.append(f"n = {own['n'].iloc[-1]:,}")
    axes.plot([50, 100], [50, 100], color=FAINT, lw=0.8, ls="--", label="the promise")
    axes.set_title(f"{rank.title()} ({', '.join(counts)})", loc="left", fontsize=8.5)
    axes.set_xlabel("Confidence asked for, %", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _risk(axes: Axes, frame: pd.DataFrame) -> None:
    top = 1.0  # percent, so that an axis of nothing but zeros has a scale
    for group, (colour, marker) in _COLOURS.items():
        own = frame[(frame["group"] == group) & (frame["given"] > 0) & (frame["n"] > 0)]
        covered, wrong = 100 * own["given"] / own["specimens"], 100 * (1 - own["kept"].astype(float))
        axes.plot(covered, wrong, color=colour, marker=marker, markersize=3.5, lw=1)
        top = max(top, 1.1 * wrong.max())
    axes.set_xlim(-2, 102)
    axes.set_ylim(-0.03 * top, top)
    axes.set_xlabel("Specimens that get a name, %", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
