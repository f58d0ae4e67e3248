"""CLIBD Table 17: fixed or trainable temperature, after 1 epoch and after 15. Four runs.

Both use a batch of 300; the authors' configurations pair 200 (fixed) with 300 (trainable), and so does their recipe.
The paper is silent.

    clibd-sweep temperature --demo
"""

from dataclasses import replace

from sweeps.point import Point, Sweep
from workloads.experiments import Scale, scaled_batch
from workloads.spec import ExperimentSpec


def points(base: ExperimentSpec, scale: Scale) -> list[Point]:
    """Both kinds of temperature, for one epoch and for the base's number of epochs."""
    return [
        Point(
            row={"temperature": "trainable" if trainable else "fixed", "epochs": published},
            label=f"{'trainable' if trainable else 'fixed'}, {epochs} epoch{'s' if epochs > 1 else ''}",
            spec=replace(
                base, trainable_temperature=trainable, epochs=epochs, batch_size=_batch(base, trainable, scale)
            ),
        )
        for published, epochs in ((1, 1), (15, base.epochs))
        for trainable in (False, True)
    ]


def _batch(base: ExperimentSpec, trainable: bool, scale: Scale) -> int:
    return scaled_batch(200 if base.recipe == "authors" and not trainable else 300, scale)


SWEEP = Sweep("temperature", 17, "Should the temperature be learned?", points)
