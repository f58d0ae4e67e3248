"""The CLIBD model and the classifier: one tower per modality and the temperature, built from a spec."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.errors import SpecError
from workloads.models.dna_tower import build_dna_tower
from workloads.models.feature_tower import FeatureTower
from workloads.models.image_tower import build_image_tower
from workloads.models.lora import add_lora
from workloads.models.text_tower import build_text_tower
from workloads.models.weights import is_run
from workloads.spec import DIGEST_PREFIX, RUN_PREFIX, ExperimentSpec, FineTuning, Lora, Modality

_HEAD = "head"


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerInputs:
    """What a model's shape depends on beside the spec: the data set's features, tokens and classes."""

    image_feature_size: int | None = None
    """Length of precomputed image features; None for pixels."""
    dna_feature_size: int | None = None
    """Length of precomputed DNA features; None for barcodes."""
    vocabulary_size: int = 0
    """Of the text tokeniser."""
    pad_id: int = 0
    """Of the text tokeniser."""
    num_classes: int = 0
    """Of the classifier: training species."""


class _Towers(nn.Module):
    """Towers by modality, of some of which only the head learns; what else is in these stays in evaluation mode."""

    def __init__(self, towers: Mapping[str, nn.Module], frozen: Collection[str]) -> None:
        super().__init__()
        self.towers = nn.ModuleDict(dict(towers))
        self.frozen = frozenset(frozen)
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode, all but what is frozen: its dropout is off, its running statistics do not move."""
        super().train(mode)
        for name in self.frozen:
            for part in _pretrained_parts(self.towers[name]):
                part.eval()
        return self


class Clibd(_Towers):
    """Towers that embed into one space (CLIBD, section 3).

    Args:
        towers: by modality; each has a `head`, and all else in it is pre-trained.
        temperature: the first one, positive.
        trainable_temperature: whether it is a parameter; it is never clamped, as in the authors' code.
        frozen: modalities of whose towers only the head learns; all else in them stays in evaluation mode.
    """

    def __init__(
        self,
        towers: Mapping[str, nn.Module],
        temperature: float,
        trainable_temperature: bool,
        frozen: Collection[str] = (),
    ) -> None:
        super().__init__(towers, frozen)
        log_scale = torch.tensor(math.log(1 / temperature))
        if trainable_temperature:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Embed specimens.

        Args:
            inputs: by modality, for another view of it by `<modality>/other`. Images are uint8 pixels
                (batch, 3, side, side) or features (batch, feature); barcodes are token ids (batch, tokens), base codes
                (batch, 660) or features; labels are token ids (batch, tokens).

        Returns:
            Unit embeddings in fp32, (batch, embedding) by name of the input, and the scale, which is the inverse
            temperature.
        """
        embedded = {
            name: F.normalize(self.towers[_modality(name)](values).float(), dim=-1) for name, values in inputs.items()
        }
        return embedded, self.log_scale.exp()

    def embed(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Unit embeddings alone."""
        embedded: dict[str, Tensor] = self(inputs)[0]
        return embedded


class Classifier(_Towers):
    """One tower and a linear layer over the training species (CLIBD, section B.2, the supervised rows).

    The layer sees the tower's embedding as it is, not normalised, as in the authors' `method_linear.py`.

    Args:
        modality: which tower it is.
        tower: as in `Clibd`.
        embedding_size: of the tower.
        num_classes: training species.
        frozen: whether of the tower only the head learns.
        head_is_new: whether the tower's head was drawn for this classifier, and is no part of a pre-trained encoder.
    """

    log_scale: Tensor

    def __init__(
        self,
        modality: str,
        tower: nn.Module,
        embedding_size: int,
        num_classes: int,
        frozen: bool = False,
        head_is_new: bool = True,
    ) -> None:
        super().__init__({modality: tower}, {modality} if frozen else ())
        self.head_is_new = head_is_new
        self.classifier = nn.Linear(embedding_size, num_classes)
        self.register_buffer("log_scale", torch.tensor(0.0))

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Classify specimens.

        Args:
            inputs: as for `Clibd`.

        Returns:
            Logits in fp32, (batch, classes) by name of the input, and a scale of 1.
        """
        logits = {
            name: self.classifier(self.towers[_modality(name)](values)).float() for name, values in inputs.items()
        }
        return logits, self.log_scale.exp()

    def embed(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the encoder gives in front of the new linear layers, as unit vectors in fp32.

        These are the features of the fine-tuned encoders in zero-shot learning (CLIBD, Table 4). A head that was drawn
        for the classifier is one of the new layers; without it an untrained tower gives what its published weights do.
        """
        return {name: F.normalize(self._encoded(_modality(name), own).float(), dim=-1) for name, own in inputs.items()}

    def _encoded(self, modality: str, values: Tensor) -> Tensor:
        tower, taken = self.towers[modality], list[Tensor]()
        hook = tower.get_submodule(_HEAD).register_forward_pre_hook(lambda _, given: taken.append(given[0]))
        try:
            embedded: Tensor = tower(values)
        finally:
            hook.remove()
        # A head that sees every token, as the authors' BarcodeBERT has it, is behind nothing that is pooled.
        return taken[0] if self.head_is_new and taken[0].ndim == 2 else embedded


def build_model(spec: ExperimentSpec, inputs: TowerInputs, pretrained: bool = True) -> Clibd | Classifier:
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
            tower = spec.tower(modality)
            apply_fine_tuning(model.towers[modality], tower.fine_tuning, tower.lora)
        return model


def _whole_model(spec: ExperimentSpec, inputs: TowerInputs, pretrained: bool) -> Clibd | Classifier:
    towers: dict[str, nn.Module] = {name: _tower(spec, name, inputs, pretrained) for name in spec.modalities}
    frozen = [name for name in spec.modalities if spec.tower(name).fine_tuning == "frozen"]
    if spec.objective != "classify":
        return Clibd(towers, spec.initial_temperature, spec.trainable_temperature, frozen)
    if inputs.num_classes < 2:
        raise SpecError(f"a classifier needs two species at least, the data set gives {inputs.num_classes}")
    modality = spec.modalities[0]
    weights = spec.tower(modality).weights
    is_new = weights is None or not (weights.startswith((RUN_PREFIX, DIGEST_PREFIX)) or is_run(weights))
    return Classifier(modality, towers[modality], spec.embedding_size, inputs.num_classes, bool(frozen), is_new)


def _tower(spec: ExperimentSpec, modality: Modality, inputs: TowerInputs, pretrained: bool) -> nn.Module:
    size = spec.embedding_size
    if modality == "image":
        return build_image_tower(spec.image, inputs.image_feature_size, size, pretrained)
    if modality == "dna":
        return build_dna_tower(spec.dna, inputs.dna_feature_size, size, pretrained)
    return build_text_tower(spec.text, size, inputs.vocabulary_size, inputs.pad_id, pretrained)


def apply_fine_tuning(tower: nn.Module, fine_tuning: FineTuning, lora: Lora) -> None:
    """Decide what of a tower learns, in place. Its head always does.

    Args:
        tower: with a `trunk`, a `head`, and perhaps more pre-trained parts.
        fine_tuning: `full` leaves it as it is; `frozen` lets nothing but the head learn; `lora` adapts the trunk and
            freezes the rest; `full_and_lora` adapts the trunk and lets everything learn.
        lora: rank, scale and blocks of the adapters.

    Raises:
        SpecError: the trunk has nothing to adapt, or not those blocks.
    """
    if fine_tuning == "full":
        return
    constant = [parameter for parameter in tower.parameters() if not parameter.requires_grad]
    # An MLP over features has no attention to adapt; it is small and is trained whole.
    if fine_tuning != "frozen" and isinstance(tower, FeatureTower):
        return
    for part in _pretrained_parts(tower):
        part.requires_grad_(False)
    if fine_tuning != "frozen":
        add_lora(tower.get_submodule("trunk"), lora)
    if fine_tuning == "full_and_lora":
        tower.requires_grad_(True)
        for parameter in constant:
            parameter.requires_grad_(False)


def checkpoint_blocks(model: nn.Module) -> None:
    """Keep only the inputs of each block in training and compute the rest again in the backward pass.

    Done in every trunk that learns and offers it; the numbers stay the same.

    Args:
        model: a `Clibd` or `Classifier`.
    """
    towers = model.get_submodule("towers")
    for tower in towers.children():
        trunk = getattr(tower, "trunk", None)
        if trunk is not None and any(parameter.requires_grad for parameter in trunk.parameters()):
            _recompute_blocks(trunk)


def _recompute_blocks(trunk: Any) -> None:
    # transformers renames the second into the first; timm, OpenCLIP and our own networks have the third.
    for name in ("activation_checkpointing_enable", "gradient_checkpointing_enable"):
        if hasattr(trunk, name):
            trunk.config.use_cache = False  # of no use to an encoder, and the two exclude each other
            getattr(trunk, name)({"use_reentrant": False})
            # The other form of checkpointing needs gradients of frozen embeddings; this one would only waste them.
            trunk.disable_input_require_grads()
            return
    if hasattr(trunk, "set_grad_checkpointing"):
        trunk.set_grad_checkpointing(True)


def _modality(name: str) -> str:
    """Of an input: `image/other` is another view for the image tower."""
    return name.split("/")[0]


def _pretrained_parts(tower: nn.Module) -> list[nn.Module]:
    return [part for name, part in tower.named_children() if name != _HEAD]
