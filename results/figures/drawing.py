"""Any figure by its name: check what is asked for, draw the figure, and save it as PNG, SVG and CSV."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from results.figures.evaluated import Evaluated, read_evaluated
from results.figures.picture import Picture, save
from workloads.errors import UsageError
from workloads.spec import RANKS, Rank
from workloads.storage import Folder

SEED = 413
"""The authors' seed for the examples of Figure 3."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A figure as it was asked for, its options in their order; None is what the figure itself holds for usual."""

    runs: tuple[str, ...]
    """Run folders, or evaluations in them; only Figure 9 takes several."""
    data: str | None = None
    before: str | None = None
    partition: str = "val"
    rank: str | None = None
    within: str | None = None
    query: str = "image"
    key: str = "dna"
    subset: str | None = None
    only_errors: bool = False
    seed: int = SEED

    @property
    def run(self) -> str:
        """The one run of most figures.

        Raises:
            UsageError: there are several.
        """
        if len(self.runs) != 1:
            raise UsageError(f"this figure is of one run, not of {len(self.runs)}; figure 9 takes several")
        return self.runs[0]

    def rank_or(self, usual: Rank) -> Rank:
        """The rank that was asked for, or the figure's usual one."""
        return next((rank for rank in RANKS if rank == self.rank), usual)


def draw_figure(figure: str, asked: Asked, out: str | None = None) -> list[str]:
    """Draw one figure and save it.

    Args:
        figure: a name in `FIGURES`.
        asked: of what and how.
        out: folder to save in; None for `figures/` in the run folder.

    Returns:
        The files: PNG, SVG and CSV.

    Raises:
        UsageError: there is no such figure, or it cannot be drawn of what was given.
        DamagedError: a file of the run is not what was written.
    """
    if figure not in FIGURES:
        raise UsageError(f"there is no figure '{figure}'; there are {', '.join(FIGURES)}")
    for what, value, allowed in (
        ("partition", asked.partition, ("val", "test")),
        ("rank", asked.rank, (None, *RANKS)),
        ("subset", asked.subset, (None, "seen", "unseen")),
    ):
        if value not in allowed:
            raise UsageError(f"'{value}' is no {what}; choose {' or '.join(str(name) for name in allowed if name)}")
    picture = FIGURES[figure](asked)
    folder = Folder(asked.runs[0]) / "figures" if out is None else Folder(out)
    return save(picture, folder, _stem(figure, asked))


def _stem(figure: str, asked: Asked) -> str:
    """A name for the files that tells figures of one run apart by what was chosen."""
    chosen = CHOICES[figure](asked) if figure in CHOICES else ()
    return "-".join([f"figure{figure}" if figure.isdigit() else figure, asked.partition, *chosen])


def _data(asked: Asked, evaluated: Evaluated) -> str:
    """The data set whose pictures are drawn."""
    if asked.data is None:
        raise UsageError(
            f"this figure shows specimens: give the prepared data set of {evaluated.dataset} with --data DIR"
        )
    return asked.data


def _retrieval_examples(asked: Asked) -> Picture:
    from results.figures.example_tiles import draw_retrieval_examples

    evaluated = read_evaluated(asked.run)
    return draw_retrieval_examples(
        evaluated,
        _data(asked, evaluated),
        asked.partition,
        asked.query,
        asked.rank_or("order"),
        asked.seed,
        asked.subset,
        asked.only_errors,
    )


def _key_counts(asked: Asked) -> Picture:
    from results.figures.key_counts import draw_key_counts

    return draw_key_counts(read_evaluated(asked.run), asked.partition, asked.rank_or("species"))


def _attention(figure: int, asked: Asked) -> Picture:
    from results.figures.attention import draw_attention

    evaluated = read_evaluated(asked.run)
    return draw_attention(evaluated, _data(asked, evaluated), figure, asked.partition)


def _seeds(asked: Asked) -> Picture:
    from results.figures.seeds import draw_seeds

    return draw_seeds(asked.runs, asked.partition)


def _embedding_map(asked: Asked) -> Picture:
    from results.figures.embedding_map import draw_embedding_map

    before = None if asked.before is None else read_evaluated(asked.before)
    rank = asked.rank_or("order")
    return draw_embedding_map(read_evaluated(asked.run), before, asked.partition, rank, asked.within, asked.seed)


def _confusion(asked: Asked) -> Picture:
    from results.figures.confusion import draw_confusion

    evaluated = read_evaluated(asked.run)
    return draw_confusion(evaluated, asked.partition, asked.query, asked.key, asked.rank_or("family"), asked.subset)


FIGURES: Mapping[str, Callable[[Asked], Picture]] = {
    "3": _retrieval_examples,
    "4": _key_counts,
    "5": partial(_attention, 5),
    "9": _seeds,
    "10": _embedding_map,
    "11": partial(_attention, 11),
    "12": partial(_attention, 12),
    "13": partial(_attention, 13),
    "confusion": _confusion,
}
"""Each figure by its number in the paper, or by name where the paper has none."""

CHOICES: Mapping[str, Callable[[Asked], Sequence[str]]] = {
    "3": lambda asked: [asked.query, *_given(asked.subset), *(["errors"] if asked.only_errors else [])],
    "4": lambda asked: _given(asked.rank),
    "10": lambda asked: _given(asked.rank, asked.within),
    "confusion": lambda asked: [asked.query, asked.key, asked.rank or "family", *_given(asked.subset)],
}
"""What the names of its files say beside figure and partition."""


def _given(*choices: str | None) -> list[str]:
    """Those that were chosen, as they can stand in a file's name."""
    words = ["".join(letter if letter.isalnum() else "_" for letter in choice) for choice in choices if choice]
    return [word[:60] for word in words]
