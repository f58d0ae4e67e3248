"""The DNA and text towers: transformers over tokens, pooled over the tokens that are not padding."""

from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from workloads.data import barcode
from workloads.errors import WeightsError
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.spec import DnaTower, TextTower

_MAX_POSITIONS = 512


class SequenceTower(nn.Module):
    """A Hugging Face transformer, the mean of its last states over real tokens, and a projection."""

    def __init__(
        self,
        transformer: nn.Module,
        width: int,
        embedding_size: int,
        pad_id: int,
        token_dropout: float,
        unknown_id: int,
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.head = nn.Linear(width, embedding_size)
        self.pad_id = pad_id
        self.token_dropout = token_dropout
        self.unknown_id = unknown_id

    def forward(self, ids: Tensor) -> Tensor:
        """Embed token ids, (batch, tokens) to (batch, embedding), not normalised."""
        mask = ids != self.pad_id
        if self.training and self.token_dropout:
            hidden = (torch.rand(ids.shape, device=ids.device) < self.token_dropout) & mask
            hidden[:, 0] = False
            ids = ids.masked_fill(hidden, self.unknown_id)
        states = self.transformer(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        weight = mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * weight).sum(1) / weight.sum(1).clamp(min=1)
        embedded: Tensor = self.head(pooled)
        return embedded


def build_dna_tower(spec: DnaTower, embedding_size: int) -> SequenceTower:
    """A BERT over 5-mers, as BarcodeBERT, from scratch or from weights."""
    sizes = {
        "vocab_size": barcode.VOCABULARY_SIZE,
        "hidden_size": spec.width,
        "num_hidden_layers": spec.depth,
        "num_attention_heads": spec.num_heads,
        "intermediate_size": spec.hidden_width,
        "hidden_dropout_prob": spec.dropout,
        "attention_probs_dropout_prob": spec.dropout,
        "max_position_embeddings": _MAX_POSITIONS if spec.weights else barcode.NUM_TOKENS,
        "pad_token_id": barcode.PAD_ID,
    }
    transformer = _bert("DNA", spec.weights, sizes)
    if transformer.config.vocab_size < barcode.VOCABULARY_SIZE:
        raise WeightsError(
            "DNA",
            str(spec.weights),
            f"its vocabulary has {transformer.config.vocab_size} tokens, 5-mers need {barcode.VOCABULARY_SIZE}",
        )
    width = transformer.config.hidden_size
    return SequenceTower(transformer, width, embedding_size, barcode.PAD_ID, spec.token_dropout, barcode.UNKNOWN_ID)


def build_text_tower(spec: TextTower, embedding_size: int, vocabulary_size: int, pad_id: int) -> SequenceTower:
    """A BERT or CLIP text transformer over the word pieces of labels, from scratch or from weights."""
    sizes: dict[str, Any] = {
        "vocab_size": vocabulary_size,
        "hidden_size": spec.width,
        "num_hidden_layers": spec.depth,
        "num_attention_heads": spec.num_heads,
        "intermediate_size": spec.hidden_width,
    }
    if spec.kind == "clip":
        transformer = _clip(spec.weights, sizes)
    else:
        dropout = {"hidden_dropout_prob": spec.dropout, "attention_probs_dropout_prob": spec.dropout}
        transformer = _bert("text", spec.weights, {**sizes, **dropout, "pad_token_id": pad_id})
    return SequenceTower(transformer, transformer.config.hidden_size, embedding_size, pad_id, 0.0, pad_id)


def _bert(tower: str, weights: str | None, sizes: dict[str, Any]) -> Any:
    declare_missing_operators()
    from transformers import BertConfig, BertModel

    if weights is None:
        return BertModel(BertConfig(**sizes, attn_implementation=_attention()), add_pooling_layer=False)
    return _pretrained(tower, weights, BertModel, add_pooling_layer=False, attn_implementation=_attention())


def _clip(weights: str | None, sizes: dict[str, Any]) -> Any:
    declare_missing_operators()
    from transformers import CLIPTextConfig, CLIPTextModel

    if weights is None:
        return CLIPTextModel(CLIPTextConfig(**sizes, attn_implementation=_attention()))
    return _pretrained("text", weights, CLIPTextModel, attn_implementation=_attention())


def _attention() -> str:
    """The attention that is fast here: on CPUs the fused kernels lose to plain matrix products (docs/log.md)."""
    return "sdpa" if torch.cuda.is_available() else "eager"


def _pretrained(tower: str, weights: str, model: Any, **options: Any) -> Any:
    """Published weights; a tensor that the file lacks is an error, never a silent random one."""
    try:
        loaded, report = model.from_pretrained(weights, output_loading_info=True, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(tower, weights, str(error).strip().splitlines()[0]) from error
    if missing := sorted(report["missing_keys"]):
        raise WeightsError(tower, weights, f"it lacks {len(missing)} tensor(s), {missing[0]} first")
    return loaded
