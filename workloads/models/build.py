"""Models built from a spec: shapes, first weights, and what of them is trained."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.data.specimens import barcode
from workloads.errors import SpecError
from workloads.models.bert import bert_tower
from workloads.models.clibd import Classifier, Clibd, MaskedModel
from workloads.models.dnabert2 import dnabert2
from workloads.models.feature_tower import feature_tower
from workloads.models.fine_tuning import apply_fine_tuning
from workloads.models.kmer_tower import beside_counts, kmer_tower
from workloads.models.openclip import openclip_tower
from workloads.models.towers import barcode_cnn, timm_tower
from workloads.models.weights import is_run
from workloads.spec import ExperimentSpec
from workloads.tower_specs import DIGEST_PREFIX, RUN_PREFIX, DnaTower, ImageTower, TextTower


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerInputs:
    """What a model's shape depends on beside the spec: the data set's features, tokens and classes."""

    image_feature_size: int | None = None
    """Length of precomputed image features; None for pixels."""
    dna_feature_size: int | None = None
    """Length of precomputed DNA features; None for barcodes."""
    vocabulary_size: int = 0
    """The text tokeniser's."""
    pad_id: int = 0
    """The text tokeniser's."""
    num_classes: int = 0
    """Training species, which a classifier tells apart; genera of a masked model."""


def build_model(spec: ExperimentSpec, inputs: TowerInputs, pretrained: bool = True) -> Clibd:
    """The model of a spec, with the weights it begins with.

    Args:
        spec: the experiment; its seed decides the weights that are drawn.
        inputs: what the data set and the tokeniser add.
        pretrained: False gives the same shapes and fetches nothing, for weights that are put in afterwards.

    Raises:
        SpecError: the spec asks of a tower what its kind cannot do.
        WeightsError: published weights that the spec names cannot be had, or do not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        model = _whole_model(spec, inputs, pretrained)
        # Only now, so that a run with adapters begins with the same weights as one without.
        for modality in spec.modalities:
            apply_fine_tuning(model.towers[modality], spec.tower(modality))
        return model


def _whole_model(spec: ExperimentSpec, inputs: TowerInputs, pretrained: bool) -> Clibd:
    if spec.objective == "masked":
        return _masked_model(spec, inputs, pretrained)
    size, empty = spec.embedding_size, beside_counts(spec.dna) if "dna" in spec.modalities else 0
    if empty >= size:
        raise SpecError(
            f"{empty} counts of k-mers are kept in a shared space of {size} dimensions: set embedding_size to "
            f"{empty + 1} or more"
        )
    towers: dict[str, nn.Module] = {
        name: build_tower(spec.tower(name), inputs, size - (empty if name != "dna" else 0), pretrained)
        for name in spec.modalities
    }
    for name, tower in towers.items():
        if empty and name != "dna":
            tower.register_forward_hook(partial(_padded, empty))
    frozen = [name for name in spec.modalities if spec.tower(name).fine_tuning == "frozen"]
    if spec.objective != "classify":
        return Clibd(towers, spec.initial_temperature, spec.trainable_temperature, frozen)
    if inputs.num_classes < 2:
        raise SpecError(f"a classifier needs two species at least, the data set gives {inputs.num_classes}")
    modality = spec.modalities[0]
    weights = spec.tower(modality).weights
    is_new = weights is None or not (weights.startswith((RUN_PREFIX, DIGEST_PREFIX)) or is_run(weights))
    return Classifier(modality, towers[modality], size, inputs.num_classes, bool(frozen), is_new)


def _padded(num_zeros: int, tower: nn.Module, given: tuple[Tensor, ...], rows: Tensor) -> Tensor:
    """Embeddings with zeros behind them, (batch, embedding)."""
    return F.pad(rows, (0, num_zeros))


def _masked_model(spec: ExperimentSpec, inputs: TowerInputs, pretrained: bool) -> MaskedModel:
    weights = spec.dna.weights if pretrained else None
    tower = bert_tower(spec.dna, None, weights, barcode.VOCABULARY_SIZE, barcode.PAD_ID)
    frozen = spec.dna.fine_tuning == "frozen"
    return MaskedModel(tower, spec.dna, spec.masked_loss == "all", inputs.num_classes, frozen)


def build_tower(
    spec: ImageTower | DnaTower | TextTower, inputs: TowerInputs, embedding_size: int, pretrained: bool = True
) -> nn.Module:
    """The tower of a spec, with a `trunk` and a `head`.

    Args:
        spec: the tower.
        inputs: what the data set and the tokeniser add.
        embedding_size: size of the shared space.
        pretrained: whether the spec's weights are put in; without them the shapes are the same.

    Raises:
        SpecError: the architecture does not exist, or does not take the sizes of the spec.
        WeightsError: the weights cannot be had or do not fit, or the data set has no features.
    """
    weights = spec.weights if pretrained else None
    if spec.kind == "features":
        feature_size = inputs.image_feature_size if isinstance(spec, ImageTower) else inputs.dna_feature_size
        return feature_tower(spec, feature_size, embedding_size, weights)
    if spec.kind == "kmers":
        return kmer_tower(spec, embedding_size, weights)
    if spec.kind == "openclip":
        return openclip_tower(spec, embedding_size, weights)
    if isinstance(spec, ImageTower):
        return timm_tower(spec, embedding_size, weights)
    if isinstance(spec, TextTower):
        return bert_tower(spec, embedding_size, weights, inputs.vocabulary_size, inputs.pad_id)
    if spec.kind == "barcodebert":
        return bert_tower(spec, embedding_size, weights, barcode.VOCABULARY_SIZE, barcode.PAD_ID)
    return (dnabert2 if spec.kind == "dnabert2" else barcode_cnn)(spec, embedding_size, weights)


def checkpoint_blocks(model: nn.Module) -> None:
    """Keep only the inputs of each block in training and compute the rest again in the backward pass.

    Done in every trunk that learns and offers it; the numbers stay the same.

    Args:
        model: a `Clibd` or `Classifier`.
    """
    for tower in model.get_submodule("towers").children():
        trunk: Any = getattr(tower, "trunk", None)
        if trunk is None or not any(parameter.requires_grad for parameter in trunk.parameters()):
            continue
        # transformers renames the second into the first; timm, OpenCLIP and our own networks have the last.
        names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
        if enable := next((getattr(trunk, name) for name in names if hasattr(trunk, name)), None):
            trunk.config.use_cache = False  # of no use to an encoder, and the two exclude each other
            enable({"use_reentrant": False})
            # The other form of checkpointing needs gradients of frozen embeddings; this one would only waste them.
            trunk.disable_input_require_grads()
        elif hasattr(trunk, "set_grad_checkpointing"):
            trunk.set_grad_checkpointing(True)
