"""CLIBD Table 19: low-rank adaptation against full fine-tuning. Two runs.

Both in fp32: the published row of full fine-tuning takes the 4.03 hours an epoch of Table 18's row without AMP.

    clibd-sweep lora --demo
"""

from dataclasses import replace

from sweeps.point import Point, Sweep
from workloads.experiments import Scale, scaled_batch
from workloads.recipes import with_fine_tuning
from workloads.spec import ExperimentSpec


def points(base: ExperimentSpec, scale: Scale) -> list[Point]:
    """Full fine-tuning and LoRA, both with the published batch of 300."""
    return [
        Point(
            row={"fine_tuning": method},
            label=method,
            spec=replace(spec, precision="fp32", batch_size=scaled_batch(300, scale)),
        )
        for method, spec in (("full", base), ("lora", with_fine_tuning(base, "lora")))
    ]


SWEEP = Sweep("lora", 19, "How much accuracy does LoRA give up against full fine-tuning?", points)
