"""CLIBD Table 17: fixed or trainable temperature, after 1 epoch and after 15. Four runs.

Both use a batch of 300; the authors' configurations pair 200 (fixed) with 300 (trainable), and so does their recipe.
The paper is silent.

    clibd-sweep temperature --demo
"""

from dataclasses import replace

from sweeps.point import Base, Point, Points, Sweep
from sweeps.table import Table, over_all


def _points(base: Base) -> Points:
    """Both kinds of temperature, for one epoch and for the base's number of epochs."""
    return [
        Point(
            row={"temperature": "trainable" if trainable else "fixed", "epochs": published},
            label=f"{'trainable' if trainable else 'fixed'}, {epochs} epoch{'s' if epochs > 1 else ''}",
            spec=replace(base.spec, trainable_temperature=trainable, epochs=epochs, batch_size=_batch(base, trainable)),
        )
        for published, epochs in ((1, 1), (15, base.spec.epochs))
        for trainable in (False, True)
    ]


def _batch(base: Base, trainable: bool) -> int:
    return base.batch(200 if base.spec.recipe == "authors" and not trainable else 300)


SWEEP = Sweep(
    name="temperature",
    question="Should the temperature be learned?",
    points=_points,
    tables=(
        Table(
            number=17,
            caption="Fixed and trainable temperature, species level, validation set",
            row_fields=("temperature", "epochs"),
            blocks=(over_all("micro"), over_all("macro")),
        ),
    ),
)
