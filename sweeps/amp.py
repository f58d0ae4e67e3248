"""CLIBD Table 18: what does automatic mixed precision (bf16) cost in accuracy and save in memory and time? Two runs.

clibd-sweep amp --demo
"""

from dataclasses import replace
from typing import Literal

from sweeps.point import Base, Point, Points, Sweep
from sweeps.table import COST, Table, over_all

PRECISIONS: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")


def _points(base: Base) -> Points:
    """Full precision and bf16, both with the published batch of 300.

    The authors' configurations fix the temperature, and so does their recipe.
    """
    trainable = base.spec.trainable_temperature and base.spec.recipe != "authors"
    spec = replace(base.spec, trainable_temperature=trainable, batch_size=base.batch(300))
    return [
        Point(row={"amp": precision == "bf16"}, label=precision, spec=replace(spec, precision=precision))
        for precision in PRECISIONS
    ]


SWEEP = Sweep(
    name="amp",
    question="What does bf16 cost in accuracy, and save in memory and time?",
    points=_points,
    tables=(
        Table(
            number=18,
            caption="Automatic mixed precision, species level, validation set",
            row_fields=("amp",),
            blocks=(over_all("micro"), over_all("macro"), COST),
            epochs=15,
        ),
    ),
)
