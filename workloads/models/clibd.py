"""The CLIBD model and the classifier: one tower per modality and the temperature, built from a spec."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.errors import SpecError
from workloads.models.dna_tower import build_dna_tower
from workloads.models.feature_tower import FeatureTower
from workloads.models.image_tower import build_image_tower
from workloads.models.lora import add_lora
from workloads.models.text_tower import build_text_tower
from workloads.spec import ExperimentSpec, FineTuning, Lora, Modality

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


class Clibd(nn.Module):
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
        super().__init__()
        self.towers = nn.ModuleDict(dict(towers))
        self.frozen = frozenset(frozen)
        log_scale = torch.tensor(math.log(1 / temperature))
        if trainable_temperature:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self.train()

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

    def train(self, mode: bool = True) -> "Clibd":
        """Switch to training mode, all but what is frozen."""
        super().train(mode)
        _rest_frozen(self.towers, self.frozen)
        return self


class Classifier(nn.Module):
    """One tower and a linear layer over the training species (CLIBD, section B.2, the supervised rows).

    The layer sees the tower's embedding as it is, not normalised, as in the authors' `method_linear.py`.

    Args:
        modality: which tower it is.
        tower: as in `Clibd`.
        embedding_size: of the tower.
        num_classes: training species.
        frozen: whether of the tower only the head learns.
    """

    log_scale: Tensor

    def __init__(
        self, modality: str, tower: nn.Module, embedding_size: int, num_classes: int, frozen: bool = False
    ) -> None:
        super().__init__()
        self.towers = nn.ModuleDict({modality: tower})
        self.frozen = frozenset({modality} if frozen else ())
        self.classifier = nn.Linear(embedding_size, num_classes)
        self.register_buffer("log_scale", torch.tensor(0.0))
        self.train()

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

    def train(self, mode: bool = True) -> "Classifier":
        """Switch to training mode, all but what is frozen."""
        super().train(mode)
        _rest_frozen(self.towers, self.frozen)
        return self


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
            apply_fine_tuning(model.towers[modality], *_tuning(spec, modality))
        return model


def _whole_model(spec: ExperimentSpec, inputs: TowerInputs, pretrained: bool) -> Clibd | Classifier:
    towers: dict[str, nn.Module] = {name: _tower(spec, name, inputs, pretrained) for name in spec.modalities}
    frozen = [name for name in spec.modalities if _tuning(spec, name)[0] == "frozen"]
    if spec.objective != "classify":
        return Clibd(towers, spec.initial_temperature, spec.trainable_temperature, frozen)
    if inputs.num_classes < 2:
        raise SpecError(f"a classifier needs two species at least, the data set gives {inputs.num_classes}")
    modality = spec.modalities[0]
    return Classifier(modality, towers[modality], spec.embedding_size, inputs.num_classes, bool(frozen))


def _tower(spec: ExperimentSpec, modality: Modality, inputs: TowerInputs, pretrained: bool) -> nn.Module:
    size = spec.embedding_size
    if modality == "image":
        return build_image_tower(spec.image, inputs.image_feature_size, size, pretrained)
    if modality == "dna":
        return build_dna_tower(spec.dna, inputs.dna_feature_size, size, pretrained)
    return build_text_tower(spec.text, size, inputs.vocabulary_size, inputs.pad_id, pretrained)


def _tuning(spec: ExperimentSpec, modality: Modality) -> tuple[FineTuning, Lora]:
    if modality == "image":
        return spec.image.fine_tuning, spec.image.lora
    if modality == "dna":
        return spec.dna.fine_tuning, spec.dna.lora
    return spec.text.fine_tuning, spec.text.lora


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


def _rest_frozen(towers: nn.ModuleDict, frozen: Collection[str]) -> None:
    """Frozen parts are in evaluation mode: their dropout is off, and running statistics do not move either."""
    for name in frozen:
        for part in _pretrained_parts(towers[name]):
            part.eval()
