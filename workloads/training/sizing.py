"""How a training for which nobody has chosen a batch, or a number of epochs, is fitted to its data set.

The batches of the scales are of a data set of a million. A contrastive loss learns from many steps over batches that
are not the same few each time: an epoch is given eight batches at least, and a run as many epochs as 600 steps take. A
data set for which the scale's own batch leaves as much keeps it, so that runs of larger ones keep their names.

Where images are features, the small scale's MLP learns a few thousand of them by heart, and so does its BERT over
barcodes (docs/log.md). So features are met with noise as large as they vary, by hidden layers beside them, barcodes by
the same over counts of their 5-mers on both strands, most of which is kept, labels by the barcodes alone, and who
shares a rank is a positive. And towers that draw their weights for few specimens or for features learn in fp32, which a
CPU without products of bf16 does in half the time.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from workloads.spec import RANK_WEIGHTS, ExperimentSpec
from workloads.tower_specs import DnaTower

FEWEST_BATCHES = 8
"""In an epoch."""
SMALLEST_BATCH = 16
FEWEST_STEPS = 600
"""Of a run."""
FEATURE_BATCHES, LARGEST_FEATURE_BATCH = 10, 500
"""Of towers over features and counts: in an epoch, and of specimens."""
_KEPT, _TEMPERATURE = 0.75, 0.05
_HIDDEN: Mapping[str, Any] = {"hidden": "residual", "width": 1024, "depth": 2, "dropout": 0.3}
_IMAGE: Mapping[str, Any] = {**_HIDDEN, "noise": 1.2}
_DNA: Mapping[str, Any] = {**_HIDDEN, "kind": "kmers", "strand": "both", "counts": "hellinger", "kept": _KEPT}
_RUN: Mapping[str, Any] = {
    "embedding_size": 1024,
    "initial_temperature": _TEMPERATURE * math.sqrt(1 - _KEPT),
    "trainable_temperature": False,
    "max_learning_rate": 2e-3,
    "initial_learning_rate": 8e-5,
    "positives": "ranks",
    "rank_weights": (1.0, 0.5, 0.2, 0.1),
    "bind_to": "dna",
}
_ALONE: Mapping[str, Any] = {"positives": "specimen", "rank_weights": RANK_WEIGHTS}


def fitted(
    spec: ExperimentSpec, num_specimens: int, chosen: Collection[str] = (), any_named: bool = True
) -> ExperimentSpec:
    """The spec with a batch and epochs that suit so many training specimens, and what few or features need beside.

    Args:
        spec: as the scale has it.
        num_specimens: those that train; with fewer than two the spec stays as it is, which `check_batch` refuses.
        chosen: names of the fields that somebody has set, which stay.
        any_named: whether a specimen that trains has a name; without one none shares a rank with another.
    """
    batch, epochs = spec.batch_size, spec.epochs
    if num_specimens < 2:
        return spec
    of_features, is_small = _meets_features(spec, chosen), batch * FEWEST_BATCHES > num_specimens
    if "batch_size" not in chosen:
        if of_features:
            batch = _share_of(num_specimens, FEATURE_BATCHES, LARGEST_FEATURE_BATCH)
        elif is_small:
            batch = _share_of(num_specimens, FEWEST_BATCHES)
    steps = num_specimens // batch
    if "epochs" not in chosen and steps:
        epochs = max(epochs, -(-FEWEST_STEPS // steps))
    spec = replace(spec, batch_size=batch, epochs=epochs)
    if of_features:
        fields = _RUN if any_named and "positives" not in chosen else {**_RUN, **_ALONE}
        fields = {name: value for name, value in fields.items() if name not in chosen}
        spec = replace(spec, image=replace(spec.image, **_IMAGE), dna=DnaTower(**_DNA), **fields)
    suited = (of_features or is_small) and spec.recipe == "corrected"
    return _in_fp32(spec, chosen) if suited else spec


def _share_of(num_specimens: int, batches: int, largest: float = math.inf) -> int:
    return int(min(num_specimens, largest, max(SMALLEST_BATCH, num_specimens // batches)))


def _in_fp32(spec: ExperimentSpec, chosen: Collection[str]) -> ExperimentSpec:
    if "precision" not in chosen and all(spec.tower(name).weights is None for name in spec.modalities):
        return replace(spec, precision="fp32")
    return spec


def _meets_features(spec: ExperimentSpec, chosen: Collection[str]) -> bool:
    draws = all(spec.tower(name).weights is None for name in spec.modalities)
    kinds = {"image", "dna"} <= {*spec.modalities} and (spec.image.kind, spec.dna.kind) == ("features", "barcodebert")
    decided = any(name.startswith(("image.", "dna.", "embedding_size")) for name in chosen)
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
        chosen.append("hidden layers beside image features and beside counts of 5-mers (--set dna.kind=barcodebert)")
    if spec.positives != asked.positives:
        chosen.append(f"positives by {spec.positives} (--set positives={asked.positives})")
    if spec.precision != asked.precision:
        chosen.append(f"{spec.precision} (--set precision={asked.precision})")
    return f"{said}; what suits them: {', '.join(chosen)}" if chosen else said
