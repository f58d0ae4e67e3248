"""CLIBD Table 20: does a larger batch, and so more negatives, help? Four runs.

clibd-sweep batch-size --demo
"""

from dataclasses import replace

from sweeps.point import Point, Sweep
from workloads.experiments import Scale, scaled_batch
from workloads.spec import ExperimentSpec

BATCH_SIZES = (500, 1000, 1500, 2000)


def points(base: ExperimentSpec, scale: Scale) -> list[Point]:
    """One run for each batch size."""
    return [
        Point(
            row={"batch_size": published},
            label=f"batch {scaled_batch(published, scale)}",
            spec=replace(base, batch_size=scaled_batch(published, scale)),
        )
        for published in BATCH_SIZES
    ]


SWEEP = Sweep("batch-size", 20, "Does a larger batch, and so more negatives, help?", points)
