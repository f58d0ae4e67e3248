"""What `clibd attention` has stored: where vision towers look, by whether they name the species; and maps on pictures.

Under recipe `authors` maps are blended with the picture in the colours of JET, as in the paper. Else they are drawn
over the grey picture in magma, whose lightness grows evenly with attention.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
from PIL import Image

from results.evaluated import EvaluatedFolder
from workloads.arrays import Floats
from workloads.data.files.images import Pixels
from workloads.data.inputs.image_views import Extent
from workloads.errors import DamagedError, MissingPathError, UsageError
from workloads.run_files import read_object

SUBSETS = ("seen", "unseen")
AttentionFigure = Literal[5, 11, 12, 13]
_LEAST: Mapping[AttentionFigure, int] = {5: 1, 11: 2, 12: 3, 13: 2}
"""Models that each figure needs."""
ROWS_OF_GROUP, ROWS_OF_FIGURE = 2, 6
"""Queries that Figure 5 shows of each outcome, and the others in all, of seen and of unseen species."""
RightByModel = tuple[bool, ...]
"""Whether each model named the species, what came before first."""


class Glance(NamedTuple):
    """What one model saw in a query, and answered."""

    specimen_id: str
    subset: str
    truth: str
    right: bool
    """Whether it named the species."""
    found: str | None
    """Species of the nearest key."""
    key_id: str
    mask: Floats
    """(side, side), in [0, 1]."""


class _Counted(TypedDict):
    subset: str
    outcome: str
    queries: int


class _StoredFacts(TypedDict):
    models: list[str]
    outcomes: list[_Counted]
    recipe: str
    extent: Extent


Glances = tuple[Glance, ...]
"""What every model saw in a query."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Queries of one outcome."""

    title: str
    cases: Mapping[str, Sequence[Glances]]
    """By subset, as many as were asked for."""
    counts: Mapping[str, int]
    """How many queries had the outcome, by subset."""


@dataclass(frozen=True, slots=True)
class StoredAttention:
    """What `clibd attention` left for one partition."""

    models: tuple[str, ...]
    recipe: str
    extent: Extent
    cases: tuple[Glances, ...]
    counts: Mapping[tuple[str, RightByModel], int]
    """Queries by subset, and by which models named their species."""


def read_attention(evaluated: EvaluatedFolder, partition: str) -> StoredAttention:
    """The stored attention of an evaluation.

    Raises:
        MissingPathError: there is none for the partition.
        DamagedError: the files are not what was written.
    """
    folder, name = evaluated.folder, f"attention-{partition}"
    if not (folder.has(f"{name}.json") and folder.has(f"{name}.parquet")):
        # It is stored with the evaluation that the queries were answered in, which may be one inside the run.
        inside = [f"{folder}/{other}" for other in folder.folders() if (folder / other).has(f"{name}.json")]
        store = f"Store it with `clibd attention RUN --data DIR --partition {partition}`."
        remedy = f"There is some in {', '.join(inside)}." if inside else store
        raise MissingPathError(f"{folder}/{name}.parquet", f"attention of {partition} queries", remedy)
    facts = read_object(folder, f"{name}.json", _StoredFacts)
    rows = folder.read_table(f"{name}.parquet").to_pylist()
    try:
        counts, models = {}, tuple(facts["models"])
        for row in facts["outcomes"]:
            counts[row["subset"], tuple(word == "right" for word in row["outcome"].split())] = row["queries"]
        return StoredAttention(models, facts["recipe"], facts["extent"], _cases(rows, len(models)), counts)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DamagedError(f"{folder}/{name}.parquet", f"not what `clibd attention` writes ({error})") from error


def _cases(rows: Sequence[Mapping[str, Any]], num_models: int) -> tuple[Glances, ...]:
    glances: dict[str, dict[int, Glance]] = defaultdict(dict)
    for row in rows:
        mask = np.array(row["values"], dtype=np.float32).reshape(row["grid_side"], row["grid_side"])
        about = {name: row[name] for name in Glance._fields if name != "mask"}
        glances[row["specimen_id"]][row["model"]] = Glance(**about, mask=mask)
    return tuple(tuple(own[number] for number in range(num_models)) for own in glances.values())


def groups_of_figure(figure: AttentionFigure, stored: StoredAttention, every: bool = False) -> list[Outcome]:
    """What a figure shows, in its order, or every query that fits it; groups without a query are left out.

    Figure 5 compares the first model with the last; 11 to 13 ask which of the models named the species, of which the
    first is the one before alignment.

    Raises:
        UsageError: fewer models than it compares, or no query fits.
    """
    if len(stored.models) < (least := _LEAST[figure]):
        raise UsageError(
            f"figure {figure} compares {least} models at least, and attention was stored of "
            f"{', '.join(stored.models)}; use `clibd attention RUN --data DIR --untrained --before OTHER_RUN`"
        )
    at_most = None if every else ROWS_OF_GROUP if figure == 5 else ROWS_OF_FIGURE
    outcomes = [_outcome(stored, title, fits, at_most) for title, fits in _wanted(figure, stored.models)]
    if not (there := [outcome for outcome in outcomes if any(outcome.cases.values())]):
        raise UsageError(f"no query that was stored fits figure {figure} ({' '.join(outcomes[0].title.split())})")
    return there


_Fits = Callable[[RightByModel], bool]


def _wanted(figure: AttentionFigure, models: Sequence[str]) -> list[tuple[str, _Fits]]:
    """The groups of a figure: what each is called, and which queries are in it."""
    if figure == 11:
        return [(f"Only {models[-1]}\nis right", lambda v: v[-1] and not any(v[:-1]))]
    if figure == 12:
        return [("Several aligned\nmodels are right", lambda v: sum(v[1:]) > 1)]
    if figure == 13:
        return [("No model\nis right", lambda v: not any(v))]
    if len(models) == 1:
        return [("Right", lambda v: v[0]), ("Wrong", lambda v: not v[0])]
    return [
        ("Wrong before,\nright after", lambda v: not v[0] and v[-1]),
        ("Right before,\nwrong after", lambda v: v[0] and not v[-1]),
        ("Right before\nand after", lambda v: v[0] and v[-1]),
        ("Wrong before\nand after", lambda v: not v[0] and not v[-1]),
    ]


def _outcome(stored: StoredAttention, title: str, fits: _Fits, at_most: int | None) -> Outcome:
    """The first queries of an outcome: one of each pattern of verdicts, then a second of each, and so on."""
    alike: dict[tuple[str, RightByModel], list[Glances]] = defaultdict(list)
    for case in stored.cases:
        if fits(verdicts := tuple(glance.right for glance in case)):
            alike[case[0].subset, verdicts].append(case)
    cases, counts = {}, {}
    for subset in SUBSETS:
        turns = zip_longest(*(alike[place] for place in sorted(alike) if place[0] == subset))
        cases[subset] = [case for turn in turns for case in turn if case is not None][:at_most]
        counts[subset] = sum(queries for (own, v), queries in stored.counts.items() if own == subset and fits(v))
    return Outcome(title, cases, counts)


def overlaid(picture: Pixels, mask: Floats, recipe: str) -> Pixels:
    """A picture under its attention.

    Args:
        picture: (side, side, 3).
        mask: (grid, grid), in [0, 1].
        recipe: decides the colours.

    Returns:
        (side, side, 3).
    """
    import matplotlib

    side = len(picture)
    large = np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.BILINEAR)).clip(0, 1)
    colours = matplotlib.colormaps["jet" if recipe == "authors" else "magma"](large)[..., :3]
    below = picture / 255
    if recipe == "authors":
        blended = below + colours
        return np.asarray(255 * blended / blended.max()).round().astype(np.uint8)
    grey = below.mean(axis=-1, keepdims=True)
    return np.asarray(255 * (0.4 * grey + 0.6 * colours)).round().astype(np.uint8)
