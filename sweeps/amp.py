"""CLIBD Table 18: what does automatic mixed precision (bf16) cost in accuracy and save in memory and time? Two runs.

clibd-sweep amp --demo
"""

from dataclasses import replace
from typing import Literal

from sweeps.point import Point, Sweep
from workloads.experiments import Scale, scaled_batch
from workloads.spec import ExperimentSpec

PRECISIONS: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")


def points(base: ExperimentSpec, scale: Scale) -> list[Point]:
    """Full precision and bf16, both with the published batch of 300.

    The authors' configurations fix the temperature, and so does their recipe.
    """
    base = replace(base, trainable_temperature=base.trainable_temperature and base.recipe != "authors")
    return [
        Point(
            row={"amp": precision == "bf16"},
            label=precision,
            spec=replace(base, precision=precision, batch_size=scaled_batch(300, scale)),
        )
        for precision in PRECISIONS
    ]


SWEEP = Sweep("amp", 18, "What does bf16 cost in accuracy, and save in memory and time?", points)
