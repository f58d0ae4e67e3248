"""CLIBD Table 20: does a larger batch, and so more negatives, help? Four runs.

clibd-sweep batch-size --demo
"""

from dataclasses import replace

from sweeps.point import Base, Point, Points, Sweep
from sweeps.table import WITH_DNA, Table, by_subset
from workloads.spec import RANKS

BATCH_SIZES = (500, 1000, 1500, 2000)


def _points(base: Base) -> Points:
    """One run for each batch size."""
    return [
        Point(
            row={"batch_size": published},
            label=f"batch {base.batch(published)}",
            spec=replace(base.spec, batch_size=base.batch(published)),
        )
        for published in BATCH_SIZES
    ]


SWEEP = Sweep(
    name="batch-size",
    question="Does a larger batch, and so more negatives, help?",
    points=_points,
    tables=(
        Table(
            number=20,
            caption="Batch size, validation set",
            row_fields=("batch_size",),
            blocks=(*by_subset("micro", *WITH_DNA), *by_subset("macro", *WITH_DNA)),
            levels=RANKS,
            epochs=15,
        ),
    ),
)
