"""Towers over a BERT: BarcodeBERT over the non-overlapping 5-mers of a barcode, and one over a label's word pieces.

The trunk is the same network, built from sizes and filled from weights in the Hugging Face layout. It has no pooler,
whose output nobody would use.

BarcodeBERT (CLIBD, section 3; arXiv:2311.02401) has these ways from the last states h of its T tokens to an embedding,
with W the new linear layer `head`:

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

Labels are pooled by `masked_mean` or `mean`, padding being hidden from the attention in both. The second counts all
`max_tokens` positions, as in the authors' code, so every label is padded to them, however the batch came.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.data.specimens import barcode
from workloads.errors import SpecError, WeightsError
from workloads.models.casts import share_casts
from workloads.models.weights import fill, load_tensors, with_first_weights
from workloads.spec import Modality
from workloads.tower_specs import BEHIND_TRANSFORM, WITHOUT_HEAD, DnaTower, TextTower
from workloads.weight_files import TENSORS, published_file, published_json
from workloads.weight_store import kept_at, kept_folder

CONVERTED_WEIGHTS = "barcodebert-5mer"
"""Name under which `clibd convert` keeps the BarcodeBERT that the authors start from."""
_NUM_POSITIONS = 512
"""That of every BERT published for barcodes or labels, so that a tower has one shape with weights and without."""
_HEAD = ("head.weight", "head.bias")
_TRANSFORM = "cls.predictions.transform."
"""Prefix of the layers before the decoder of BERT's masked-language head."""

_WORDS = "embeddings.word_embeddings.weight"
_LAYERS = ("cls.predictions.decoder", f"{_TRANSFORM}dense", f"{_TRANSFORM}LayerNorm", "pooler.dense", "classifier")
HEADS = ("cls.predictions.bias", *(f"{layer}.{kind}" for layer in _LAYERS for kind in ("weight", "bias")))
"""What published files hold beside the trunk."""
_OF_BERT = ("cls.seq_relationship.weight", "cls.seq_relationship.bias", "embeddings.position_ids")
"""And those of BERT alone; the last are 0 to 511, which old versions stored."""


def _trunk(spec: DnaTower | TextTower, vocabulary_size: int, pad_id: int) -> nn.Module:
    """A `transformers.BertModel` without pooler, drawn at random.

    Args:
        spec: its sizes and its dropout.
        vocabulary_size: of the tokens.
        pad_id: the row of the vocabulary that starts at zero and is not trained, as in every BERT.
    """
    if spec.width % spec.num_heads:
        raise SpecError(f"a BERT of width {spec.width} cannot have {spec.num_heads} heads")
    from transformers import BertConfig, BertModel

    config = BertConfig(
        **_sizes(spec),
        vocab_size=vocabulary_size,
        hidden_dropout_prob=spec.dropout,
        attention_probs_dropout_prob=spec.dropout,
        max_position_embeddings=_NUM_POSITIONS,
        pad_token_id=pad_id,
        # On CPUs plain matrix products beat the fused kernels (docs/log.md).
        attn_implementation="sdpa" if torch.cuda.is_available() else "eager",
    )
    model: nn.Module = BertModel(config, add_pooling_layer=False)
    share_casts(model)
    return model


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


def _present_name(name: str) -> str:
    """The oldest files call the weight and bias of a norm gamma and beta."""
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    return name.removeprefix("bert.")


_EXPECTED: Mapping[str, object] = {
    "max_position_embeddings": _NUM_POSITIONS,
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


def published_bert(
    tower: str, weights: str, spec: DnaTower | TextTower, expected: Mapping[str, object]
) -> tuple[dict[str, object], dict[str, Tensor]]:
    """The config and the tensors of a BERT in the Hugging Face layout, those of the trunk named as in `BertModel`.

    Args:
        tower: name for messages.
        weights: as for `published_file`.
        spec: the sizes that it must have.
        expected: further fields of its config, whose values must be these where they are stated.

    Raises:
        WeightsError: there is none, it cannot be read, or a field differs; the first is named.
    """
    config: dict[str, object] = published_json(tower, weights, "config.json")
    for field, wanted in {**_sizes(spec), **expected}.items():
        ours, default = FIELDS.get(field, ("", wanted))
        if (theirs := config.get(field, default)) != wanted:
            whose = f"the spec's {ours}" if ours else "this tower's"
            raise WeightsError(tower, weights, f"its {field} is {theirs}, {whose} is {wanted}")
    stored = load_tensors(tower, published_file(tower, weights, *TENSORS))
    return config, {_present_name(name): tensor for name, tensor in stored.items()}


def draw_as_bert(module: nn.Module) -> None:
    """Draw the first weights of a layer as BERT draws its own."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class BertTower(nn.Module):
    """Embeds the 5-mer ids of barcodes, or the word-piece ids of labels."""

    def __init__(
        self, spec: DnaTower | TextTower, embedding_size: int | None, vocabulary_size: int, pad_id: int
    ) -> None:
        super().__init__()
        self.trunk = _trunk(spec, vocabulary_size, pad_id)
        if spec.pooling in BEHIND_TRANSFORM:
            self.transform = _masked_language_transform(self.trunk)
        has_head = embedding_size is not None and spec.pooling not in WITHOUT_HEAD
        self.head = nn.Linear(spec.width, embedding_size or 0) if has_head else nn.Identity()
        self.pooling = spec.pooling
        self.pad_id = pad_id
        self.num_positions, self.token_dropout = 0, 0.0
        self.has_padding = self.hides_padding = True
        if isinstance(spec, DnaTower):
            self.token_dropout = spec.token_dropout
            # In the authors' ids, 0 is the start of every barcode and nothing is padding.
            self.has_padding = spec.tokens == "own"
            self.hides_padding = spec.pooling == "masked_mean"
        elif spec.pooling == "mean":
            self.num_positions = spec.max_tokens

    def forward(self, ids: Tensor) -> Tensor:
        """Embed barcodes or labels.

        Args:
            ids: 5-mer ids of `workloads.data.specimens.barcode`, (batch, 133), or word-piece ids, padded with the
                tokeniser's padding id, (batch, tokens).

        Returns:
            (batch, embedding), not normalised.
        """
        return self.pooled(*self.states(ids))

    def states(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The last states of all tokens, (batch, tokens, width), and which of them are real, (batch, tokens)."""
        ids = F.pad(ids, (0, max(0, self.num_positions - ids.shape[1])), value=self.pad_id)
        real = ids != self.pad_id if self.has_padding else torch.ones_like(ids, dtype=torch.bool)
        if self.training and self.token_dropout:
            ids = _with_unknown(ids, real, self.token_dropout)
        mask = _mask(self.trunk, real) if self.hides_padding else None
        states: Tensor = self.trunk(input_ids=ids, attention_mask=mask).last_hidden_state
        return states, real

    def pooled(self, states: Tensor, real: Tensor) -> Tensor:
        """What `states` gives, brought into the shared space, (batch, embedding)."""
        if self.pooling in BEHIND_TRANSFORM:
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
    return transform.apply(draw_as_bert)


def bert_tower(
    spec: DnaTower | TextTower, embedding_size: int | None, weights: str | None, vocabulary_size: int, pad_id: int
) -> BertTower:
    """The BERT of a spec, over barcodes or over labels.

    Args:
        spec: the tower.
        embedding_size: size of the shared space; None: without a head, also where the weights of a run have one.
        weights: what it begins with.
        vocabulary_size: of the tokens. A published one of word pieces may be larger, as some are rounded up; the rows
            beyond the tower's, for which no id stands, are cut off then.
        pad_id: of the tokens.

    Raises:
        WeightsError: the weights cannot be had, are of another size, or do not fit; of all that is no trunk only the
            known heads may be left over.
    """
    tower = BertTower(spec, embedding_size, vocabulary_size, pad_id)
    modality: Modality = "dna" if isinstance(spec, DnaTower) else "text"
    published, ignored = partial(_fill_published, tower, spec, vocabulary_size), () if embedding_size else _HEAD
    return with_first_weights(modality, weights, tower, published, ignored)


def _fill_published(tower: BertTower, spec: DnaTower | TextTower, vocabulary_size: int, weights: str) -> None:
    name = "DNA" if isinstance(spec, DnaTower) else "text"
    # Whoever asks for the result of `clibd convert` before its time is sent there, not to the hub.
    if weights == CONVERTED_WEIGHTS and not Path(weights).is_dir() and not kept_folder(weights):
        reason = f"they are not on this machine ({kept_at(weights)}); run `clibd convert {CONVERTED_WEIGHTS}`"
        raise WeightsError(name, weights, reason)
    config, tensors = published_bert(name, weights, spec, _EXPECTED)
    size = config.get("vocab_size", 30522)
    # With one 5-mer token more or less in front, as other versions of BarcodeBERT have, every id means another 5-mer.
    may_be_larger = isinstance(spec, TextTower)
    if not isinstance(size, int) or size < vocabulary_size or (size > vocabulary_size and not may_be_larger):
        raise WeightsError(name, weights, f"its vocabulary has {size} tokens, the tower needs {vocabulary_size}")
    if _WORDS in tensors:
        tensors[_WORDS] = tensors[_WORDS][:vocabulary_size]
    fill(name, weights, tower.trunk, tensors, ignored=(*HEADS, *_OF_BERT))
    if tower.pooling not in BEHIND_TRANSFORM:
        return
    transform = {each.removeprefix(_TRANSFORM): t for each, t in tensors.items() if each.startswith(_TRANSFORM)}
    if not transform:
        wanted = f"no masked-language head ({_TRANSFORM}*), which pooling '{tower.pooling}' needs"
        raise WeightsError(name, weights, f"it has {wanted}; choose 'masked_mean' or 'mean'")
    fill(name, weights, tower.transform, transform)
