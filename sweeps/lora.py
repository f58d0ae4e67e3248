"""CLIBD Table 19: low-rank adaptation against full fine-tuning. Two runs.

Both in fp32: the published row of full fine-tuning takes the 4.03 hours an epoch of Table 18's row without AMP.

    clibd-sweep lora --demo
"""

from dataclasses import replace

from sweeps.point import Base, Point, Points, Sweep
from sweeps.table import COST, Table, over_all
from workloads.recipes import with_fine_tuning


def _points(base: Base) -> Points:
    """Full fine-tuning and LoRA, both with the published batch of 300."""
    return [
        Point(
            row={"fine_tuning": method},
            label=method,
            spec=replace(spec, precision="fp32", batch_size=base.batch(300)),
        )
        for method, spec in (("full", base.spec), ("lora", with_fine_tuning(base.spec, "lora")))
    ]


SWEEP = Sweep(
    name="lora",
    question="How much accuracy does LoRA give up against full fine-tuning?",
    points=_points,
    tables=(
        Table(
            number=19,
            caption="Low-rank adaptation, species level, validation set",
            row_fields=("fine_tuning",),
            blocks=(over_all("micro"), over_all("macro"), COST),
            epochs=15,
        ),
    ),
)
