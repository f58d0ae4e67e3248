"""CLIBD Figure 9: how much do accuracies differ between runs that differ in their seed alone? Four runs of I+D+T.

Its numbers stand in a table as well: the mean of four runs, with its standard error.

    clibd-sweep seeds --demo
"""

from dataclasses import replace

from sweeps.modalities import aligned
from sweeps.point import Base, Impossible, Points, Sweep
from sweeps.table import WITH_DNA, Table, by_subset
from workloads.spec import RANKS

NUM_SEEDS = 4


def _points(base: Base) -> Points:
    """The base's seed and those behind it; all stand for one row, whose mean is taken."""
    run = aligned(base, "I+D+T")
    if isinstance(run, Impossible):
        return [run]
    seeds = range(base.spec.seed, base.spec.seed + NUM_SEEDS)
    return [replace(run, label=f"{run.label}, seed {seed}", spec=replace(run.spec, seed=seed)) for seed in seeds]


SWEEP = Sweep(
    name="seeds",
    question="How much do runs differ that differ in their seed alone?",
    points=_points,
    tables=(
        Table(
            number="seeds",
            caption="Over four seeds, validation set (Figure 9)",
            row_fields=("aligned",),
            blocks=tuple(block for name in ("micro", "macro") for block in by_subset(name, *WITH_DNA, published=False)),
            levels=RANKS,
        ),
    ),
)
