"""How a training for which nobody has chosen a batch, or a number of epochs, is fitted to a small data set.

The batches of the scales are of a data set of a million. A contrastive loss learns from many steps over batches that
are not the same few each time: an epoch is given eight batches at least, and a run as many epochs as 600 steps take. A
data set for which the scale's own batch leaves as much keeps it, so that runs of larger ones keep their names.
"""

from collections.abc import Collection
from dataclasses import replace

from workloads.spec import ExperimentSpec

FEWEST_BATCHES = 8
"""In an epoch."""
SMALLEST_BATCH = 16
FEWEST_STEPS = 600
"""Of a run."""


def fitted(spec: ExperimentSpec, num_specimens: int, chosen: Collection[str] = ()) -> ExperimentSpec:
    """The spec with a batch and epochs that suit so many training specimens.

    Args:
        spec: as the scale has it.
        num_specimens: those that train; with fewer than two the spec stays as it is, which `check_batch` refuses.
        chosen: names of the fields that somebody has set, which stay.
    """
    batch, epochs = spec.batch_size, spec.epochs
    if num_specimens < 2:
        return spec
    if "batch_size" not in chosen and batch * FEWEST_BATCHES > num_specimens:
        batch = min(num_specimens, max(SMALLEST_BATCH, num_specimens // FEWEST_BATCHES))
    steps = num_specimens // batch
    if "epochs" not in chosen and steps:
        epochs = max(epochs, -(-FEWEST_STEPS // steps))
    return replace(spec, batch_size=batch, epochs=epochs)


def sizing_words(spec: ExperimentSpec, num_specimens: int) -> str:
    """What was chosen, in a sentence that names the options."""
    steps = num_specimens // spec.batch_size
    return (
        f"{num_specimens:,} specimens train: {steps:,} batches of {spec.batch_size:,} (--batch-size) an epoch, "
        f"{spec.epochs:,} epochs (--epochs), {steps * spec.epochs:,} steps in all"
    )
