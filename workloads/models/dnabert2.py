"""DNABERT-2: a BERT over byte pairs of DNA, in the form called MosaicBERT (arXiv:2306.15006).

It differs from BERT in three points. Tokens have no positions; instead each head h lowers its attention from token i to
token j by m_h |i - j| (ALiBi, arXiv:2108.12409, made symmetric). Query, key and value are one layer. And the
feed-forward layers are gated: down(gelu(a) * b), where a and b are the halves of one layer without bias.

The embedding is a linear layer over the mean state of the real tokens. (The comparison in the Bayesian zero-shot
setting took their maximum instead.)
"""

import math
import re
from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from workloads.errors import SpecError, WeightsError
from workloads.models.bert import HEADS, draw_as_bert, masked_mean, published_bert
from workloads.models.towers import Tower
from workloads.models.weights import fill, is_run, with_first_weights
from workloads.tower_specs import DnaTower
from workloads.weight_files import published_file

PUBLISHED_WEIGHTS = "zhihan1996/DNABERT-2-117M"
NUM_BYTE_PAIRS = 4096
PAD_ID = 3
"""`[PAD]` in the published vocabulary; the 0 of its config.json is left over from BERT and is `[UNK]`."""
_EPSILON = 1e-12
_HIDDEN = -1e4
"""Added to the attention to padding: its weight is then 0 in every precision, yet a row of padding has no NaN."""
_ALIGNMENT = 8
"""Tokens; PyTorch's kernels copy a bias with rows of other lengths, in every layer."""
_TOWER = "DNA"


class MosaicBert(nn.Module):
    """The transformer, and the mean of its last states over the real tokens."""

    slopes: Tensor

    def __init__(self, spec: DnaTower) -> None:
        super().__init__()
        if spec.width % spec.num_heads:
            raise SpecError(f"a transformer of width {spec.width} cannot have {spec.num_heads} heads")
        self.tokens = nn.Embedding(NUM_BYTE_PAIRS, spec.width)
        # BERT's two kinds of segments, of which a barcode has the first; kept whole to keep the published shape.
        self.segments = nn.Embedding(2, spec.width)
        self.norm = nn.LayerNorm(spec.width, eps=_EPSILON)
        self.dropout = nn.Dropout(spec.dropout)
        self.blocks = nn.ModuleList(
            MosaicBlock(spec.width, spec.num_heads, spec.hidden_width, spec.dropout) for _ in range(spec.depth)
        )
        self.register_buffer("slopes", torch.tensor(alibi_slopes(spec.num_heads)), persistent=False)
        self.recomputes = False
        self.apply(draw_as_bert)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether blocks keep only their input in training and compute the rest again, as timm's models offer it."""
        self.recomputes = enable

    def forward(self, ids: Tensor) -> Tensor:
        """Read byte pairs.

        Args:
            ids: ids of `dnabert2_tokenizer`, padded with 3, (batch, tokens).

        Returns:
            (batch, width).
        """
        ids = F.pad(ids, (0, -ids.shape[1] % _ALIGNMENT), value=PAD_ID)
        real = ids != PAD_ID
        states: Tensor = self.dropout(self.norm(self.tokens(ids) + self.segments.weight[0]))
        bias = self._bias(real)
        for block in self.blocks:
            again = self.recomputes and torch.is_grad_enabled()
            states = checkpoint(block, states, bias, use_reentrant=False) if again else block(states, bias)
        return masked_mean(states, real)

    def _bias(self, real: Tensor) -> Tensor:
        """What is added to the attention, (batch, heads, tokens, tokens), in the precision of the queries."""
        place = torch.arange(real.shape[1], device=real.device)
        distance = (place[:, None] - place[None, :]).abs()
        alibi = -self.slopes[:, None, None] * distance  # (heads, tokens, tokens)
        hidden = torch.zeros(real.shape, device=real.device).masked_fill(~real, _HIDDEN)
        device = real.device.type
        mixed = device != "meta" and torch.is_autocast_enabled(device)  # shapes alone have no precision to choose
        return (alibi + hidden[:, None, None, :]).to(torch.get_autocast_dtype(device) if mixed else self.slopes.dtype)


class MosaicBlock(nn.Module):
    """Attention with a bias and a gated feed-forward layer, each followed by the norm of its sum with its input."""

    def __init__(self, width: int, num_heads: int, hidden_width: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=_EPSILON)
        self.gated = nn.Linear(width, 2 * hidden_width, bias=False)
        self.down = nn.Linear(hidden_width, width)
        self.output_norm = nn.LayerNorm(width, eps=_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        """(batch, tokens, width) and the bias of the attention to (batch, tokens, width)."""
        states = self.attention_norm(states + self.dropout(self.project(self._attend(states, bias))))
        gate, value = self.gated(states).chunk(2, dim=-1)
        normed: Tensor = self.output_norm(states + self.down(self.dropout(F.gelu(gate) * value)))
        return normed

    def _attend(self, states: Tensor, bias: Tensor) -> Tensor:
        # (batch, tokens, 3 * width) to three of (batch, heads, tokens, width / heads)
        parts = self.qkv(states).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind()
        # Attention itself has no dropout in the published model.
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return attended.transpose(1, 2).flatten(-2)


def alibi_slopes(num_heads: int) -> list[float]:
    """By how much each head lowers its attention per token of distance.

    For n heads, n a power of two, a geometric series from 2^(-8/n) by itself. For any other number the series of the
    next smaller power of two, then every second slope of the series of the next larger one, as many as are missing.
    """
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    between = [2 ** (-8 * (head + 1) / (2 * power)) for head in range(0, 2 * power, 2)]
    return slopes + between[: num_heads - power]


def dnabert2(spec: DnaTower, embedding_size: int, weights: str | None) -> Tower:
    """The DNABERT-2 of a spec.

    Raises:
        WeightsError: the weights cannot be had or do not fit.
    """
    tower = Tower(MosaicBert(spec), nn.Linear(spec.width, embedding_size))
    return with_first_weights("dna", weights, tower, partial(_fill_published, tower.trunk, spec))


_EXPECTED: Mapping[str, object] = {
    "vocab_size": NUM_BYTE_PAIRS,
    "type_vocab_size": 2,
    "layer_norm_eps": _EPSILON,
    "hidden_act": "gelu",
}


def _fill_published(trunk: nn.Module, spec: DnaTower, weights: str) -> None:
    _, tensors = published_bert(_TOWER, weights, spec, _EXPECTED)
    fill(_TOWER, weights, trunk, {_our_name(name): tensor for name, tensor in tensors.items()}, ignored=HEADS)


_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "tokens.weight",
    "embeddings.token_type_embeddings.weight": "segments.weight",
    "embeddings.LayerNorm.weight": "norm.weight",
    "embeddings.LayerNorm.bias": "norm.bias",
}
_LAYERS = {
    "attention.self.Wqkv": "qkv",
    "attention.output.dense": "project",
    "attention.output.LayerNorm": "attention_norm",
    "mlp.gated_layers": "gated",
    "mlp.wo": "down",
    "mlp.layernorm": "output_norm",
}
_PLACE = re.compile(r"encoder\.layer\.(?P<block>\d+)\.(?P<layer>.+)\.(?P<kind>weight|bias)")


def _our_name(name: str) -> str:
    """Our name of a published tensor; one that is not known stays, so that it can be reported."""
    match = _PLACE.fullmatch(name)
    if match is None or match["layer"] not in _LAYERS:
        return _EMBEDDINGS.get(name, name)
    return f"blocks.{match['block']}.{_LAYERS[match['layer']]}.{match['kind']}"


def dnabert2_tokenizer(weights: str | None = None) -> Tokenizer:
    """The published tokeniser: text of A, C, G and T to byte pairs between `[CLS]` and `[SEP]`.

    It neither pads nor cuts; a batch is padded with `PAD_ID`.

    Args:
        weights: a Hugging Face id or a local folder that has a `tokenizer.json`; for none, and for the folder of a run,
            the published one.

    Raises:
        WeightsError: it cannot be had, or its ids are not those that the tower needs.
    """
    source = PUBLISHED_WEIGHTS if weights is None or is_run(weights) else weights
    path = published_file(_TOWER, source, "tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise WeightsError(_TOWER, source, f"its tokenizer.json cannot be read ({error})") from error
    size, pad_id = tokenizer.get_vocab_size(), tokenizer.token_to_id("[PAD]")
    if (size, pad_id) != (NUM_BYTE_PAIRS, PAD_ID):
        reason = f"its tokeniser has {size} tokens and pads with {pad_id}, not {NUM_BYTE_PAIRS} and {PAD_ID}"
        raise WeightsError(_TOWER, source, reason)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
