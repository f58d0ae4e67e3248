"""Any figure by its name: check what is asked for, draw the figure, and save it as PNG, SVG and CSV."""

from collections.abc import Callable, Mapping
from functools import partial

from results.evaluated import EvaluatedFolder, read_evaluated
from results.figures.attention_maps import draw_attention
from results.figures.calibration import draw_calibration
from results.figures.confusion import draw_confusion
from results.figures.embedding_map import draw_embedding_map
from results.figures.key_counts import draw_key_counts
from results.figures.picture import FigureChoice, Picture, drawn_files
from results.figures.retrieval_examples import draw_retrieval_examples
from results.figures.seed_spread import draw_seeds
from workloads.errors import UsageError
from workloads.naming import slug
from workloads.storage import Folder

_OVER_RUNS = "9"
_OF_A_RUN: Mapping[str, Callable[[EvaluatedFolder, FigureChoice], Picture]] = {
    "3": draw_retrieval_examples,
    "4": draw_key_counts,
    "5": partial(draw_attention, figure=5),
    "10": draw_embedding_map,
    "11": partial(draw_attention, figure=11),
    "12": partial(draw_attention, figure=12),
    "13": partial(draw_attention, figure=13),
    "calibration": draw_calibration,
    "confusion": draw_confusion,
}
FIGURES = tuple(sorted((*_OF_A_RUN, _OVER_RUNS), key=lambda name: (len(name), name)))
"""Each figure by its number in the paper, or by name where the paper has none."""


def draw_figure(figure: str, choice: FigureChoice, out: str | None = None) -> list[str]:
    """Draw one figure and save it.

    Args:
        figure: a name in `FIGURES`.
        choice: of what and how.
        out: folder to save in; None for `figures/` in the run folder. Files of an earlier call are replaced, each whole
            or not at all.

    Returns:
        The files: PNG, SVG and CSV.

    Raises:
        UsageError: there is no such figure, or it cannot be drawn of what was given.
        DamagedError: a file of the run is not what was written.
    """
    if figure not in FIGURES:
        raise UsageError(f"there is no figure '{figure}'; there are {', '.join(FIGURES)}")
    if choice.subset not in (None, "seen", "unseen"):
        raise UsageError(f"'{choice.subset}' is no subset; choose seen or unseen")
    if figure == _OVER_RUNS:
        picture = draw_seeds(choice)
    elif len(choice.runs) != 1:
        raise UsageError(f"this figure is of one run, not of {len(choice.runs)}; figure 9 takes several")
    else:
        picture = _OF_A_RUN[figure](read_evaluated(Folder(choice.runs[0])), choice)
    records = [{**record, "synthetic": picture.synthetic} for record in picture.records]
    folder, stem = Folder(choice.runs[0]) / "figures" if out is None else Folder(out), _stem(figure, choice)
    files = {f"{stem}.{ending}": content for ending, content in drawn_files(picture.figure, records).items()}
    for name, content in files.items():
        folder.write(name, content)
    return [f"{folder}/{name}" for name in files]


def _stem(figure: str, choice: FigureChoice) -> str:
    """A name for the files that tells figures of one run apart by what was chosen."""
    chosen = {
        "3": (choice.query, choice.subset, "errors" if choice.only_errors else None),
        "4": (choice.rank,),
        "10": (choice.rank, choice.within and slug(choice.within)),
        "calibration": (choice.query, choice.key),
        "confusion": (choice.query, choice.key, choice.rank or "family", choice.subset),
    }
    words = [word.replace("+", "_") for word in chosen.get(figure, ()) if word]
    named = f"figure{figure}" if figure.isdigit() else figure
    return "-".join([named, choice.partition, *words])
