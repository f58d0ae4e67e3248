"""The text tower: a BERT over the word pieces of a label, or the text tower of an OpenCLIP model.

BERT's states are pooled in one of two ways, padding being hidden from the attention in both:

    masked_mean     mean over the real tokens
    mean            mean over all `max_tokens` positions, padding counted, as in the authors' code

The second therefore pads every label to `max_tokens`, however the batch came: the mean depends on it.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from workloads.models.bert import build_bert, fill_bert, last_states, masked_mean
from workloads.models.openclip_towers import openclip_text_tower
from workloads.models.weights import begin
from workloads.spec import TextTower


class TextBert(nn.Module):
    """Embeds the word-piece ids of labels."""

    def __init__(self, spec: TextTower, embedding_size: int, vocabulary_size: int, pad_id: int) -> None:
        super().__init__()
        self.trunk = build_bert(spec, vocabulary_size, pad_id)
        self.head = nn.Linear(spec.width, embedding_size)
        self.pad_id = pad_id
        self.num_positions = spec.max_tokens if spec.pooling == "mean" else None

    def forward(self, ids: Tensor) -> Tensor:
        """Embed labels.

        Args:
            ids: word-piece ids, padded with the tokeniser's padding id, (batch, tokens).

        Returns:
            (batch, embedding), not normalised.
        """
        if self.num_positions is not None:
            ids = F.pad(ids, (0, max(0, self.num_positions - ids.shape[1])), value=self.pad_id)
        real = ids != self.pad_id
        states = last_states(self.trunk, ids, real)
        pooled = masked_mean(states, real) if self.num_positions is None else states.mean(dim=1)
        embedded: Tensor = self.head(pooled)
        return embedded


def build_text_tower(
    spec: TextTower, embedding_size: int, vocabulary_size: int, pad_id: int, pretrained: bool = True
) -> nn.Module:
    """The text tower of a spec.

    Args:
        spec: the tower.
        embedding_size: size of the shared space.
        vocabulary_size: of the tokeniser; the vocabulary of published weights may be larger, as some are rounded up.
        pad_id: of the tokeniser.
        pretrained: whether the spec's weights are put in; without them the shapes are the same.

    Raises:
        WeightsError: the weights cannot be had or do not fit.
    """
    if spec.kind == "openclip":
        return openclip_text_tower(spec, embedding_size, pretrained)
    tower = TextBert(spec, embedding_size, vocabulary_size, pad_id)

    def published(weights: str) -> None:
        fill_bert("text", weights, tower.trunk, spec, vocabulary_size, larger_vocabulary=True)

    begin("text", spec.weights if pretrained else None, tower, "text", published)
    return tower
