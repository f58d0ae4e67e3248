"""CLIBD Table 20: does a larger batch, and so more negatives, help? Four runs.

clibd-sweep batch-size --demo
"""

from collections.abc import Sequence
from dataclasses import replace

from sweeps.point import Base, Impossible, Point, Sweep
from sweeps.table import WITH_DNA, Table, by_subset
from workloads.experiments import scaled_batch
from workloads.spec import RANKS

BATCH_SIZES = (500, 1000, 1500, 2000)


def points(base: Base) -> Sequence[Point | Impossible]:
    """One run for each batch size."""
    return [
        Point(
            row={"batch_size": published},
            label=f"batch {scaled_batch(published, base.scale)}",
            spec=replace(base.spec, batch_size=scaled_batch(published, base.scale)),
        )
        for published in BATCH_SIZES
    ]


SWEEP = Sweep(
    name="batch-size",
    question="Does a larger batch, and so more negatives, help?",
    points=points,
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
