"""BarcodeBERT: a BERT over the non-overlapping 5-mers of a barcode (CLIBD, section 3; arXiv:2311.02401).

Ways from the last states h of the T tokens to an embedding, with W the new linear layer `head`:

    masked_mean     W mean(h[t] for real t), padding hidden from the attention too
    mean            W mean(h[t] for every t), nothing hidden
    softmax_mean    mean(softmax(W g(h[t])) for every t), nothing hidden
    logits_mean     mean(W g(h[t]) for every t), nothing hidden
    hidden_mean     mean(h[t] for every t), nothing hidden, no head
    cls_token       h[0], nothing hidden, no head

The third is what the authors' code does, and what their released checkpoints need: their encoder is a masked-language
model whose decoder was replaced, so g is the transform of that head (linear, GELU, norm). Its embeddings are positive
and sum to 1. The last three are `logits_mean`, `hidden_state_mean` and `cls_token` of their branch
`33-update-the-softmax-issue-with-dna-encoder` (7f8fd13), where the softmax is called a mistake.
"""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from workloads.data.specimens import barcode
from workloads.errors import WeightsError
from workloads.models.bert import TRANSFORM, build_bert, fill_bert, last_states, masked_mean
from workloads.models.weights import begin, fill
from workloads.spec import WITHOUT_HEAD, DnaTower
from workloads.storage import cache_folder

CONVERTED_WEIGHTS = "barcodebert-5mer"
"""Name under which `clibd convert` keeps the BarcodeBERT that the authors start from."""
_TOWER = "DNA"
_BEHIND_TRANSFORM = ("softmax_mean", "logits_mean")
_BERT_DEVIATION = 0.02
"""Of BERT's first weights."""


class BarcodeBert(nn.Module):
    """Embeds 5-mer ids."""

    def __init__(self, spec: DnaTower, embedding_size: int) -> None:
        super().__init__()
        self.trunk = build_bert(spec, barcode.VOCABULARY_SIZE, barcode.PAD_ID)
        if spec.pooling in _BEHIND_TRANSFORM:
            self.transform = _masked_language_transform(self.trunk)
        self.head = nn.Identity() if spec.pooling in WITHOUT_HEAD else nn.Linear(spec.width, embedding_size)
        self.pooling = spec.pooling
        self.token_dropout = spec.token_dropout
        # In the authors' ids, 0 is the start of every barcode and nothing is padding.
        self.has_padding = spec.tokens == "own"

    def forward(self, ids: Tensor) -> Tensor:
        """Embed barcodes.

        Args:
            ids: 5-mer ids of `workloads.data.specimens.barcode`, (batch, 133).

        Returns:
            (batch, embedding), not normalised.
        """
        real = ids != barcode.PAD_ID if self.has_padding else torch.ones_like(ids, dtype=torch.bool)
        if self.training and self.token_dropout:
            ids = _with_unknown(ids, real, self.token_dropout)
        states = last_states(self.trunk, ids, real if self.pooling == "masked_mean" else None)
        if self.pooling in _BEHIND_TRANSFORM:
            logits: Tensor = self.head(self.transform(states))
            return (logits.softmax(dim=-1) if self.pooling == "softmax_mean" else logits).mean(dim=1)
        if self.pooling == "masked_mean":
            pooled = masked_mean(states, real)
        else:
            pooled = states[:, 0] if self.pooling == "cls_token" else states.mean(dim=1)
        embedded: Tensor = self.head(pooled)
        return embedded


def _with_unknown(ids: Tensor, real: Tensor, share: float) -> Tensor:
    """Ids of which a share, drawn anew, is the unknown token; never the start and never padding."""
    hidden = (torch.rand(ids.shape, device=ids.device) < share) & real
    hidden[:, 0] = False
    return ids.masked_fill(hidden, barcode.UNKNOWN_ID)


def _masked_language_transform(bert: nn.Module) -> nn.Module:
    """The layers before the decoder of BERT's masked-language head, drawn as BERT draws its own."""
    from transformers.models.bert.modeling_bert import BertPredictionHeadTransform

    transform: nn.Module = BertPredictionHeadTransform(bert.config)
    dense = transform.get_submodule("dense")
    nn.init.normal_(dense.get_parameter("weight"), std=_BERT_DEVIATION)
    nn.init.zeros_(dense.get_parameter("bias"))
    return transform


def build_barcodebert(spec: DnaTower, embedding_size: int, pretrained: bool = True) -> BarcodeBert:
    """The BarcodeBERT of a spec.

    Args:
        spec: the tower.
        embedding_size: size of the shared space.
        pretrained: whether the spec's weights are put in; without them the shapes are the same.

    Raises:
        WeightsError: the weights cannot be had or do not fit.
    """
    tower = BarcodeBert(spec, embedding_size)
    begin(_TOWER, spec.weights if pretrained else None, tower, "dna", partial(_fill_published, tower, spec))
    return tower


def _fill_published(tower: BarcodeBert, spec: DnaTower, weights: str) -> None:
    _check_converted(weights)
    # With one token more or less in front, as other versions of BarcodeBERT have, every id means another 5-mer.
    tensors = fill_bert(_TOWER, weights, tower.trunk, spec, barcode.VOCABULARY_SIZE)
    if tower.pooling not in _BEHIND_TRANSFORM:
        return
    transform = {name.removeprefix(TRANSFORM): value for name, value in tensors.items() if name.startswith(TRANSFORM)}
    if not transform:
        wanted = f"no masked-language head ({TRANSFORM}*), which pooling '{tower.pooling}' needs"
        raise WeightsError(_TOWER, weights, f"it has {wanted}; choose 'masked_mean' or 'mean'")
    fill(_TOWER, weights, tower.transform, transform)


def _check_converted(weights: str) -> None:
    """Send for `clibd convert` whoever asks for its result before its time, instead of asking the hub."""
    places = (Path(weights), cache_folder() / "weights" / weights)
    if weights == CONVERTED_WEIGHTS and not any(place.is_dir() for place in places):
        reason = f"they are not on this machine ({places[1]}); run `clibd convert {CONVERTED_WEIGHTS}`"
        raise WeightsError(_TOWER, weights, reason)
