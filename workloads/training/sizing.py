"""How a training for which nobody has chosen a batch, or a number of epochs, is fitted to a small data set.

The batches of the scales are of a data set of a million. A contrastive loss learns from many steps over batches that
are not the same few each time: an epoch is given eight batches at least, and a run as many epochs as 600 steps take. A
data set for which the scale's own batch leaves as much keeps it, so that runs of larger ones keep their names.

Where the batch has to be smaller, two more things are chosen. An MLP over image features learns some 1,500 of them by
heart (docs/log.md), so that one layer has to do, which begins as a map that keeps the angles between features. And
towers that draw their weights learn in fp32, which a CPU without products of bf16 does in half the time.
"""

from collections.abc import Collection
from dataclasses import replace

from workloads.spec import ExperimentSpec

FEWEST_BATCHES = 8
"""In an epoch."""
SMALLEST_BATCH = 16
FEWEST_STEPS = 600
"""Of a run."""
LINEAR_SPACE = 768
"""Size of the shared space of a linear tower over features, which has room for all angles between those of a ViT-B."""


def fitted(spec: ExperimentSpec, num_specimens: int, chosen: Collection[str] = ()) -> ExperimentSpec:
    """The spec with a batch and epochs that suit so many training specimens, and what a small set needs beside.

    Args:
        spec: as the scale has it.
        num_specimens: those that train; with fewer than two the spec stays as it is, which `check_batch` refuses.
        chosen: names of the fields that somebody has set, which stay.
    """
    batch, epochs = spec.batch_size, spec.epochs
    if num_specimens < 2:
        return spec
    is_small = batch * FEWEST_BATCHES > num_specimens
    if "batch_size" not in chosen and is_small:
        batch = min(num_specimens, max(SMALLEST_BATCH, num_specimens // FEWEST_BATCHES))
    steps = num_specimens // batch
    if "epochs" not in chosen and steps:
        epochs = max(epochs, -(-FEWEST_STEPS // steps))
    spec = replace(spec, batch_size=batch, epochs=epochs)
    return _for_few(spec, chosen) if is_small and spec.recipe == "corrected" else spec


def _for_few(spec: ExperimentSpec, chosen: Collection[str]) -> ExperimentSpec:
    """With one layer over image features, and in fp32, where weights are drawn and nobody has chosen otherwise."""
    of_features = spec.image.kind == "features" and "image" in spec.modalities and spec.image.weights is None
    if of_features and spec.objective == "align" and not {"image.depth", "image.width", "embedding_size"} & {*chosen}:
        spec = replace(spec, image=replace(spec.image, depth=1), embedding_size=LINEAR_SPACE)
    if "precision" not in chosen and all(spec.tower(name).weights is None for name in spec.modalities):
        spec = replace(spec, precision="fp32")
    return spec


def sizing_words(spec: ExperimentSpec, num_specimens: int) -> str:
    """What was chosen, in a sentence that names the options."""
    steps = num_specimens // spec.batch_size
    return (
        f"{num_specimens:,} specimens train: {steps:,} batches of {spec.batch_size:,} (--batch-size) an epoch, "
        f"{spec.epochs:,} epochs (--epochs), {steps * spec.epochs:,} steps in all"
    )
