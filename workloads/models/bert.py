"""BERT as the trunk of a tower: built from sizes, and filled from weights in the Hugging Face layout.

The same network reads 5-mers and word pieces. It has no pooler, whose output nobody would use.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from workloads.errors import SpecError, WeightsError
from workloads.models.attention import plain_is_faster
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.models.weights import fill, load_tensors, published_file, published_json
from workloads.spec import DnaTower, TextTower

NUM_POSITIONS = 512
"""That of every BERT published for barcodes or labels, so that a tower has one shape with weights and without."""
TRANSFORM = "cls.predictions.transform."
"""Prefix of the layers before the decoder of BERT's masked-language head."""

_WORDS = "embeddings.word_embeddings.weight"
_LAYERS = ("cls.predictions.decoder", f"{TRANSFORM}dense", f"{TRANSFORM}LayerNorm", "pooler.dense", "classifier")
HEADS = ("cls.predictions.bias", *(f"{layer}.{kind}" for layer in _LAYERS for kind in ("weight", "bias")))
"""What published files hold beside the trunk."""
_OF_BERT = ("cls.seq_relationship.weight", "cls.seq_relationship.bias", "embeddings.position_ids")
"""And those of BERT alone; the last are 0 to 511, which old versions stored."""


def build_bert(spec: DnaTower | TextTower, vocabulary_size: int, pad_id: int) -> nn.Module:
    """A `transformers.BertModel` without pooler, drawn at random.

    Args:
        spec: its sizes and its dropout.
        vocabulary_size: of the tokens.
        pad_id: the row of the vocabulary that starts at zero and is not trained, as in every BERT.
    """
    if spec.width % spec.num_heads:
        raise SpecError(f"a BERT of width {spec.width} cannot have {spec.num_heads} heads")
    declare_missing_operators()
    from transformers import BertConfig, BertModel

    config = BertConfig(
        **_sizes(spec),
        vocab_size=vocabulary_size,
        hidden_dropout_prob=spec.dropout,
        attention_probs_dropout_prob=spec.dropout,
        max_position_embeddings=NUM_POSITIONS,
        pad_token_id=pad_id,
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


def fill_bert(
    tower: str,
    weights: str,
    bert: nn.Module,
    spec: DnaTower | TextTower,
    vocabulary_size: int,
    larger_vocabulary: bool = False,
) -> dict[str, Tensor]:
    """Put a published BERT into one of ours; of all else only the known heads may be left over.

    The oldest files call the weight and bias of a norm gamma and beta.

    Args:
        tower: name for messages.
        weights: a Hugging Face id, a name or a local folder.
        bert: what `build_bert` gave.
        spec: the sizes that the weights must have.
        vocabulary_size: that of the tower.
        larger_vocabulary: whether their vocabulary may be larger; the rows beyond the tower's, for which no id stands,
            are cut off then.

    Returns:
        The published tensors, those of the trunk named as in `BertModel`.

    Raises:
        WeightsError: they cannot be had, or are of another size; a tensor is missing, not known or of another shape.
    """
    found = published_config(tower, weights, spec, _EXPECTED).get("vocab_size", 30522)
    if not isinstance(found, int) or found < vocabulary_size or (found > vocabulary_size and not larger_vocabulary):
        raise WeightsError(tower, weights, f"its vocabulary has {found} tokens, the tower needs {vocabulary_size}")
    stored = load_tensors(tower, published_file(tower, weights, "model.safetensors", "pytorch_model.bin"))
    tensors = {_present_name(name): tensor for name, tensor in stored.items()}
    if _WORDS in tensors:
        tensors[_WORDS] = tensors[_WORDS][:vocabulary_size]
    fill(tower, weights, bert, tensors, ignored=(*HEADS, *_OF_BERT))
    return tensors


def _present_name(name: str) -> str:
    name = re.sub(r"\bLayerNorm\.gamma$", "LayerNorm.weight", name)
    return re.sub(r"\bLayerNorm\.beta$", "LayerNorm.bias", name).removeprefix("bert.")


_EXPECTED: Mapping[str, object] = {
    "max_position_embeddings": NUM_POSITIONS,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "model_type": "bert",
}
FIELDS: Mapping[str, tuple[str, int]] = {
    "hidden_size": ("width", 768),
    "num_hidden_layers": ("depth", 12),
    "num_attention_heads": ("num_heads", 12),
    "intermediate_size": ("hidden_width", 3072),
}
"""Sizes by name in the Hugging Face layout: their name in a spec, and what a config means that leaves them out."""


def _sizes(spec: DnaTower | TextTower) -> dict[str, object]:
    return {theirs: getattr(spec, ours) for theirs, (ours, _) in FIELDS.items()}


def published_config(
    tower: str, weights: str, spec: DnaTower | TextTower, expected: Mapping[str, object]
) -> dict[str, object]:
    """The config beside published weights.

    Args:
        tower: name for messages.
        weights: as for `published_file`.
        spec: the sizes that it must have.
        expected: further fields, whose values must be these where they are stated.

    Raises:
        WeightsError: there is none, it cannot be read, or a field differs; the first is named.
    """
    config: dict[str, object] = published_json(tower, weights, "config.json")
    for field, wanted in {**_sizes(spec), **expected}.items():
        ours, default = FIELDS.get(field, ("", wanted))
        if (found := config.get(field, default)) != wanted:
            whose = f"the spec's {ours}" if ours else "this tower's"
            raise WeightsError(tower, weights, f"its {field} is {found}, {whose} is {wanted}")
    return config
