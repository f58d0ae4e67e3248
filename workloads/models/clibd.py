"""The CLIBD model: one tower per modality and the temperature, built from a spec."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.models.image_tower import build_image_tower
from workloads.models.lora import add_lora
from workloads.models.sequence_towers import build_dna_tower, build_text_tower
from workloads.spec import ExperimentSpec


class Clibd(nn.Module):
    """Towers that embed into one space (CLIBD, section 3)."""

    def __init__(self, towers: Mapping[str, nn.Module], temperature: float, trainable_temperature: bool) -> None:
        super().__init__()
        self.towers = nn.ModuleDict(dict(towers))
        log_scale = torch.tensor(math.log(1 / temperature))
        if trainable_temperature:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Embed specimens.

        Args:
            inputs: by modality: uint8 pixels (batch, 3, side, side) or features (batch, feature); 5-mer ids
                (batch, 133); word-piece ids (batch, tokens).

        Returns:
            Unit embeddings in fp32, (batch, embedding) by modality, and the scale, which is the inverse temperature.
        """
        embedded = {name: F.normalize(self.towers[name](values).float(), dim=-1) for name, values in inputs.items()}
        return embedded, self.log_scale.exp()


def build_model(spec: ExperimentSpec, feature_size: int | None, vocabulary_size: int, pad_id: int) -> Clibd:
    """The model of a spec.

    Args:
        spec: the experiment; its seed decides the weights that are drawn.
        feature_size: length of precomputed image features, None for pixels.
        vocabulary_size: of the text tokeniser.
        pad_id: of the text tokeniser.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        towers: dict[str, nn.Module] = {}
        if "image" in spec.modalities:
            towers["image"] = build_image_tower(spec.image, feature_size, spec.embedding_size)
        if "dna" in spec.modalities:
            towers["dna"] = build_dna_tower(spec.dna, spec.embedding_size)
        if "text" in spec.modalities:
            towers["text"] = build_text_tower(spec.text, spec.embedding_size, vocabulary_size, pad_id)
        if spec.fine_tuning == "lora":
            for tower in towers.values():
                # An MLP over features has no attention to adapt; it is trained whole.
                if isinstance(transformer := getattr(tower, "transformer", None), nn.Module):
                    add_lora(transformer, spec.lora)
        return Clibd(towers, spec.initial_temperature, spec.trainable_temperature)
