"""The three readings of the paper: which fields of a spec each one sets.

`paper` does what the text says, and what the authors' code does where the text is silent, because the printed numbers
came out of it. `authors` does what their code does, bugs included. `corrected` does the best we know, and is what a
spec does by default. `docs/fidelity.md` has every difference with the test that pins it.

Imports neither torch nor Ray.
"""

import math
from dataclasses import replace
from typing import Any, Literal

from workloads.errors import SpecError
from workloads.spec import MODALITIES, ExperimentSpec, Recipe
from workloads.tower_specs import DnaPooling, FineTuning

REFERENCE_BATCH = 500
"""Batch at which scaled learning rates are those of the spec: one GPU of the authors' four."""


def with_recipe(spec: ExperimentSpec, recipe: Recipe) -> ExperimentSpec:
    """A spec as one reading of the paper would have it.

    Args:
        spec: made for the recipe `corrected`; its towers, sizes, batch, epochs and seed stay.
        recipe: the reading.

    Raises:
        SpecError: the spec is of another recipe already.
    """
    if spec.recipe != "corrected":
        raise SpecError(f"a spec of recipe '{spec.recipe}' cannot become '{recipe}'; begin with 'corrected'")
    if recipe == "corrected":
        return spec
    spec = _with_objective_as_coded(_with_towers_as_coded(spec))
    as_coded = replace(spec, recipe=recipe, epoch_order="same", decayed="everything")
    return _as_told(as_coded) if recipe == "paper" else _as_published(as_coded)


def _with_towers_as_coded(spec: ExperimentSpec) -> ExperimentSpec:
    """What both readings take from the authors' code; OpenCLIP's towers have their own ways, which all keep."""
    image, dna, text = spec.image, spec.dna, spec.text
    if image.kind == "timm":
        image = replace(image, pixel_values="unit")
    if dna.kind == "barcodebert":
        pooling: DnaPooling = "mean" if spec.objective == "masked" else "softmax_mean"
        dna = replace(dna, tokens="authors", pooling=pooling, token_dropout=0.0)
    if text.kind == "bert":
        text = replace(text, pooling="mean", max_tokens=20)
    return replace(spec, image=image, dna=dna, text=text)


def _with_objective_as_coded(spec: ExperimentSpec) -> ExperimentSpec:
    """The epoch of an alignment is chosen by the mean of all accuracies.

    The authors' SimCLR has Adam at a practically constant 1e-6, and timm's own 1,000 logits as the embedding.
    Supervised and pre-trained BarcodeBERT average their states over all positions; only the aligned one takes a softmax
    of each. In its pre-training all known 5-mers are told.
    """
    if spec.objective == "align":
        return replace(spec, selection="mean_of_336")
    if spec.objective == "masked":
        return replace(spec, masked_loss="all")
    if spec.objective == "classify":
        is_barcodebert = spec.modalities == ("dna",) and spec.dna.kind == "barcodebert"
        return replace(spec, dna=replace(spec.dna, pooling="mean")) if is_barcodebert else spec
    if spec.modalities == ("image",) and spec.image.weights == "timm":
        spec = replace(spec, image=replace(spec.image, head="pretrained"), embedding_size=1000)
    rate = 1e-6
    spec = replace(spec, schedule="constant", max_learning_rate=rate, initial_learning_rate=rate)
    return replace(spec, optimizer="adam", weight_decay=1e-4)


def _as_told(spec: ExperimentSpec) -> ExperimentSpec:
    """Section 4.1: Adam, one cycle from 1e-6 to 5e-5; a label ends at the most specific rank that has a name."""
    return replace(spec, optimizer="adam", weight_decay=0.0) if spec.objective == "align" else spec


def _as_published(spec: ExperimentSpec) -> ExperimentSpec:
    """AdamW with decay, one cycle from a 25th of a maximum that grows with the batch, adapters left in the ViT."""
    spec = replace(spec, text=replace(spec.text, missing_rank="not_classified"))
    if spec.objective == "align":
        spec = replace(spec, initial_learning_rate=spec.max_learning_rate / 25, learning_rate_scaling="linear")
    if spec.image.kind == "timm" and spec.image.fine_tuning == "full" and spec.objective != "simclr":
        spec = replace(spec, image=replace(spec.image, fine_tuning="full_and_lora"))
    return spec


def with_fine_tuning(spec: ExperimentSpec, fine_tuning: FineTuning) -> ExperimentSpec:
    """The same spec with every tower fine-tuned in one way."""
    towers: dict[str, Any] = {name: replace(spec.tower(name), fine_tuning=fine_tuning) for name in MODALITIES}
    return replace(spec, **towers)


def evaluation_precision(spec: ExperimentSpec) -> Literal["bf16", "tf32", "fp32"]:
    """How a trained model embeds: as the spec says; else as it was trained, and under `authors` and `paper` in fp32, as
    the authors' code does."""
    if spec.evaluation_precision != "recipe":
        return spec.evaluation_precision
    return "bf16" if spec.recipe == "corrected" and spec.precision == "bf16" else "fp32"


def learning_rate_factor(spec: ExperimentSpec) -> float:
    """What the batch makes of the spec's learning rates; 1 at a batch of 500 and without scaling."""
    ratio = spec.batch_size / REFERENCE_BATCH
    return {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[spec.learning_rate_scaling]
