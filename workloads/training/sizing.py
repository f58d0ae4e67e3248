"""How a training for which nobody has chosen a batch, or a number of epochs, is fitted to a small data set.

The batches of the scales are of a data set of a million. A contrastive loss learns from many steps over batches that
are not the same few each time: an epoch is given eight batches at least, and a run as many epochs as 600 steps take. A
data set for which the scale's own batch leaves as much keeps it, so that runs of larger ones keep their names.

Where the batch has to be smaller, what a small set needs is chosen too (docs/log.md). An MLP over image features
learns some 1,500 of them by heart, and so does a BERT over barcodes. So features are met by one layer, which
begins as a map that keeps the angles between them, barcodes by one layer over counts of their 5-mers, labels by the
barcodes alone, in a quarter of the specimens at a time. And towers that draw their weights learn in fp32, which a CPU
without products of bf16 does in half the time.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from workloads.spec import ExperimentSpec
from workloads.tower_specs import DnaTower

FEWEST_BATCHES = 8
"""In an epoch."""
SMALLEST_BATCH = 16
FEWEST_STEPS = 600
"""Of a run."""
LINEAR_SPACE = 768
"""Size of the shared space of a linear tower over features, which has room for all angles between those of a ViT-B."""
LINEAR_BATCHES, LINEAR_DECAY = 4, 1.0
"""Batches of an epoch, and weight decay, of linear towers."""


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
        batches = LINEAR_BATCHES if _has_linear_towers(spec, chosen) else FEWEST_BATCHES
        batch = min(num_specimens, max(SMALLEST_BATCH, num_specimens // batches))
    steps = num_specimens // batch
    if "epochs" not in chosen and steps:
        epochs = max(epochs, -(-FEWEST_STEPS // steps))
    spec = replace(spec, batch_size=batch, epochs=epochs)
    return _for_few(spec, chosen) if is_small and spec.recipe == "corrected" else spec


def _for_few(spec: ExperimentSpec, chosen: Collection[str]) -> ExperimentSpec:
    """Linear towers where images are features, and fp32 where weights are drawn, unless others were chosen."""
    if _has_linear_towers(spec, chosen):
        fields: dict[str, Any] = {"embedding_size": LINEAR_SPACE, "weight_decay": LINEAR_DECAY, "bind_to": "dna"}
        image, dna = replace(spec.image, depth=1), DnaTower(kind="kmers", depth=1, dropout=0.0)
        fields = {name: value for name, value in fields.items() if name not in chosen}
        spec = replace(spec, image=image, dna=dna, **fields)
    if "precision" not in chosen and all(spec.tower(name).weights is None for name in spec.modalities):
        spec = replace(spec, precision="fp32")
    return spec


def _has_linear_towers(spec: ExperimentSpec, chosen: Collection[str]) -> bool:
    draws = all(spec.tower(name).weights is None for name in spec.modalities)
    kinds = {"image", "dna"} <= {*spec.modalities} and (spec.image.kind, spec.dna.kind) == ("features", "barcodebert")
    decided = any(name.startswith(("image.", "dna.")) for name in chosen)
    return spec.objective == "align" and spec.recipe == "corrected" and draws and kinds and not decided


def sizing_words(spec: ExperimentSpec, num_specimens: int, asked: ExperimentSpec) -> str:
    """What was chosen, in a sentence that names the options.

    Args:
        spec: with what was chosen.
        num_specimens: those that train.
        asked: the spec before, as the scale and options have it.
    """
    steps = num_specimens // spec.batch_size
    said = (
        f"{num_specimens:,} specimens train: {steps:,} batches of {spec.batch_size:,} (--batch-size) an epoch, "
        f"{spec.epochs:,} epochs (--epochs), {steps * spec.epochs:,} steps in all"
    )
    chosen = []
    if spec.dna.kind != asked.dna.kind:
        chosen.append("one layer over image features and one over counts of 5-mers (--set dna.kind=barcodebert)")
    if spec.precision != asked.precision:
        chosen.append(f"{spec.precision} (--set precision={asked.precision})")
    return f"{said}; as they are few, {' and '.join(chosen)}" if chosen else said
