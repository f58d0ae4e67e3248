"""BERT as the trunk of a tower: built from sizes, and filled from weights in the Hugging Face layout.

The same network reads 5-mers and word pieces. It has no pooler, whose output nobody would use.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workloads.errors import WeightsError
from workloads.models.attention import plain_is_faster
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.models.weights import fill, load_tensors, published_file

NUM_POSITIONS = 512
"""That of every BERT published for barcodes or labels, so that a tower has one shape with weights and without."""
TRANSFORM = "cls.predictions.transform."
"""Prefix of the layers before the decoder of BERT's masked-language head."""

_WORDS = "embeddings.word_embeddings.weight"
_HEADS = (
    "cls.predictions.bias",
    "cls.predictions.decoder.weight",
    "cls.predictions.decoder.bias",
    *(f"{TRANSFORM}{layer}.{kind}" for layer in ("dense", "LayerNorm") for kind in ("weight", "bias")),
    "cls.seq_relationship.weight",
    "cls.seq_relationship.bias",
    "classifier.weight",
    "classifier.bias",
    "pooler.dense.weight",
    "pooler.dense.bias",
    "embeddings.position_ids",  # 0 to 511, which old versions stored
)
"""What published files hold beside the trunk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BertSizes:
    """What decides the shape of a BERT, and its dropout."""

    vocabulary_size: int
    width: int
    depth: int
    num_heads: int
    hidden_width: int
    dropout: float
    pad_id: int = 0
    """The row of the vocabulary that starts at zero and is not trained, as in every BERT."""


def build_bert(sizes: BertSizes) -> nn.Module:
    """A `transformers.BertModel` without pooler, drawn at random."""
    declare_missing_operators()
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=sizes.vocabulary_size,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.depth,
        num_attention_heads=sizes.num_heads,
        intermediate_size=sizes.hidden_width,
        hidden_dropout_prob=sizes.dropout,
        attention_probs_dropout_prob=sizes.dropout,
        max_position_embeddings=NUM_POSITIONS,
        pad_token_id=sizes.pad_id,
        attn_implementation="eager" if plain_is_faster() else "sdpa",
    )
    model: nn.Module = BertModel(config, add_pooling_layer=False)
    return model


def last_states(bert: nn.Module, ids: Tensor, real: Tensor | None) -> Tensor:
    """The last hidden states, (batch, tokens, width).

    Args:
        bert: what `build_bert` gave.
        ids: (batch, tokens).
        real: which tokens are looked at, (batch, tokens) of bool; None: all.
    """
    states: Tensor = bert(input_ids=ids, attention_mask=None if real is None else _mask(bert, real)).last_hidden_state
    return states


def _mask(bert: nn.Module, real: Tensor) -> Tensor:
    """The mask in the form that the attention takes, (batch, 1, 1, tokens).

    From a two-dimensional one transformers would make a (batch, 1, tokens, tokens) one, after asking the GPU whether
    anything is masked at all, which waits for it.
    """
    keys = real[:, None, None, :]
    if getattr(bert.config, "_attn_implementation", None) == "sdpa":
        return keys
    return torch.zeros(keys.shape, device=keys.device).masked_fill(~keys, torch.finfo(torch.float32).min)


def masked_mean(states: Tensor, real: Tensor) -> Tensor:
    """Mean of the states of real tokens, (batch, tokens, width) to (batch, width)."""
    weight = real.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


def published_bert(tower: str, weights: str, sizes: BertSizes, larger_vocabulary: bool) -> dict[str, Tensor]:
    """The tensors of a published BERT, those of its trunk named as in `BertModel`.

    The oldest files call the weight and bias of a norm gamma and beta.

    Args:
        tower: name for messages.
        weights: a Hugging Face id, a name or a local folder.
        sizes: what the weights must fit.
        larger_vocabulary: whether their vocabulary may be larger; the rows beyond the tower's, for which no id stands,
            are cut off then.

    Raises:
        WeightsError: they cannot be had, or are of another size.
    """
    config = published_config(tower, weights, _expected(sizes))
    found = config.get("vocab_size", 30522)
    needed = sizes.vocabulary_size
    if not isinstance(found, int) or found < needed or (found > needed and not larger_vocabulary):
        raise WeightsError(tower, weights, f"its vocabulary has {found} tokens, the tower needs {needed}")
    stored = load_tensors(tower, published_file(tower, weights, "model.safetensors", "pytorch_model.bin"))
    tensors = {_present_name(name): tensor for name, tensor in stored.items()}
    if _WORDS in tensors:
        tensors[_WORDS] = tensors[_WORDS][:needed]
    return tensors


def fill_bert(tower: str, weights: str, bert: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put what `published_bert` gave into a BERT; of all else only the known heads may be left over.

    Raises:
        WeightsError: a tensor is missing, not known or of another shape.
    """
    fill(tower, weights, bert, tensors, ignored=_HEADS)


def _present_name(name: str) -> str:
    name = re.sub(r"\bLayerNorm\.gamma$", "LayerNorm.weight", name)
    return re.sub(r"\bLayerNorm\.beta$", "LayerNorm.bias", name).removeprefix("bert.")


def _expected(sizes: BertSizes) -> dict[str, object]:
    return {
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.depth,
        "num_attention_heads": sizes.num_heads,
        "intermediate_size": sizes.hidden_width,
        "max_position_embeddings": NUM_POSITIONS,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "model_type": "bert",
    }


_DEFAULTS: dict[str, object] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
"""What a config leaves out means in the Hugging Face layout, where it can differ from what is expected."""
_FIELDS = {
    "hidden_size": "width",
    "num_hidden_layers": "depth",
    "num_attention_heads": "num_heads",
    "intermediate_size": "hidden_width",
}
"""Names of the same sizes in a spec."""


def published_config(tower: str, weights: str, expected: Mapping[str, object]) -> dict[str, object]:
    """The config beside published weights.

    Args:
        tower: name for messages.
        weights: as for `published_file`.
        expected: fields whose values must be these.

    Raises:
        WeightsError: there is none, it cannot be read, or a field differs; the first is named.
    """
    path = published_file(tower, weights, "config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(tower, weights, f"its config.json cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise WeightsError(tower, weights, "its config.json holds no fields")
    for field, wanted in expected.items():
        found = config.get(field, _DEFAULTS.get(field, wanted))
        if found != wanted:
            ours = f"the spec's {_FIELDS[field]} is" if field in _FIELDS else "this tower's is"
            raise WeightsError(tower, weights, f"its {field} is {found}, {ours} {wanted}")
    return config
