"""DNABERT-2: the transformer against its definition in loops, ALiBi, padding, published weights and tokeniser."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

from workloads.errors import WeightsError
from workloads.models.build import TowerInputs, build_tower
from workloads.models.dnabert2 import (
    NUM_BYTE_PAIRS,
    PAD_ID,
    MosaicBert,
    alibi_slopes,
    dnabert2_tokenizer,
)
from workloads.models.fine_tuning import apply_fine_tuning
from workloads.models.towers import Tower
from workloads.tower_specs import DnaTower, Lora

TINY = DnaTower(kind="dnabert2", width=12, depth=2, num_heads=3, hidden_width=10, dropout=0.0)
EMBEDDING = 5


def some_ids(batch: int = 3, tokens: int = 11) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(5, NUM_BYTE_PAIRS, (batch, tokens), generator=random)


def built(spec: DnaTower = TINY, pretrained: bool = True) -> Tower:
    torch.manual_seed(3)
    tower = build_tower(spec, TowerInputs(), EMBEDDING, pretrained)
    assert isinstance(tower, Tower)
    return tower


def published_tensors(spec: DnaTower = TINY) -> dict[str, Tensor]:
    """Random tensors with the names and shapes of the published file."""
    random = torch.Generator().manual_seed(2)
    width, hidden = spec.width, spec.hidden_width
    shapes: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (NUM_BYTE_PAIRS, width),
        "bert.embeddings.token_type_embeddings.weight": (2, width),
        "bert.embeddings.LayerNorm.weight": (width,),
        "bert.embeddings.LayerNorm.bias": (width,),
        "cls.predictions.transform.dense.weight": (width, width),
        "cls.predictions.transform.dense.bias": (width,),
        "cls.predictions.transform.LayerNorm.weight": (width,),
        "cls.predictions.transform.LayerNorm.bias": (width,),
        "cls.predictions.decoder.weight": (NUM_BYTE_PAIRS, width),
        "cls.predictions.decoder.bias": (NUM_BYTE_PAIRS,),
    }
    for number in range(spec.depth):
        layer = f"bert.encoder.layer.{number}."
        shapes |= {
            f"{layer}attention.self.Wqkv.weight": (3 * width, width),
            f"{layer}attention.self.Wqkv.bias": (3 * width,),
            f"{layer}attention.output.dense.weight": (width, width),
            f"{layer}attention.output.dense.bias": (width,),
            f"{layer}attention.output.LayerNorm.weight": (width,),
            f"{layer}attention.output.LayerNorm.bias": (width,),
            f"{layer}mlp.gated_layers.weight": (2 * hidden, width),
            f"{layer}mlp.wo.weight": (width, hidden),
            f"{layer}mlp.wo.bias": (width,),
            f"{layer}mlp.layernorm.weight": (width,),
            f"{layer}mlp.layernorm.bias": (width,),
        }
    return {name: torch.randn(shape, generator=random) * 0.4 for name, shape in shapes.items()}


def published(folder: Path, tensors: Mapping[str, Tensor], **changes: object) -> str:
    """A folder in the layout of the published model, whose weights are in PyTorch's own form."""
    config = {
        "alibi_starting_size": 512,
        "hidden_act": "gelu",
        "hidden_size": TINY.width,
        "intermediate_size": TINY.hidden_width,
        "layer_norm_eps": 1e-12,
        "num_attention_heads": TINY.num_heads,
        "num_hidden_layers": TINY.depth,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": NUM_BYTE_PAIRS,
    }
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    torch.save(dict(tensors), folder / "pytorch_model.bin")
    return str(folder)


def normed(row: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    spread = ((row - row.mean()) ** 2).mean()
    return (row - row.mean()) / (spread + 1e-12).sqrt() * weight + bias


def by_definition(tensors: Mapping[str, Tensor], ids: list[int], num_heads: int, slopes: list[float]) -> Tensor:
    """Last states of one barcode without padding, (tokens, width), token by token and head by head."""
    t = {name.removeprefix("bert."): value for name, value in tensors.items()}
    first = t["embeddings.token_type_embeddings.weight"][0]
    norm = t["embeddings.LayerNorm.weight"], t["embeddings.LayerNorm.bias"]
    states = [normed(t["embeddings.word_embeddings.weight"][token] + first, *norm) for token in ids]
    width, depth = len(first), sum(name.endswith("Wqkv.weight") for name in t)
    size = width // num_heads
    for number in range(depth):
        layer = {name.removeprefix(f"encoder.layer.{number}."): value for name, value in t.items()}
        joint = [layer["attention.self.Wqkv.weight"] @ x + layer["attention.self.Wqkv.bias"] for x in states]
        query, key, value = ([row[part * width : (part + 1) * width] for row in joint] for part in range(3))
        after = []
        for i, state in enumerate(states):
            heads = []
            for head in range(num_heads):
                own = slice(head * size, (head + 1) * size)
                scores = [
                    query[i][own] @ key[j][own] / math.sqrt(size) - slopes[head] * abs(i - j) for j in range(len(ids))
                ]
                total = sum(score.exp() for score in scores)
                heads.append(sum(scores[j].exp() / total * value[j][own] for j in range(len(ids))))
            attended = torch.cat([torch.as_tensor(head) for head in heads])
            attended = layer["attention.output.dense.weight"] @ attended + layer["attention.output.dense.bias"]
            middle = normed(
                state + attended, layer["attention.output.LayerNorm.weight"], layer["attention.output.LayerNorm.bias"]
            )
            gated = layer["mlp.gated_layers.weight"] @ middle
            gate, linear = gated[: len(gated) // 2], gated[len(gated) // 2 :]
            activated = 0.5 * gate * (1 + torch.erf(gate / math.sqrt(2)))
            fed = layer["mlp.wo.weight"] @ (activated * linear) + layer["mlp.wo.bias"]
            after.append(normed(middle + fed, layer["mlp.layernorm.weight"], layer["mlp.layernorm.bias"]))
        states = after
    return torch.stack(states)


def test_gradients_reach_every_parameter() -> None:
    tower = built(replace(TINY, dropout=0.1)).train()
    embedded = tower(some_ids())
    assert embedded.shape == (3, EMBEDDING)
    (embedded * torch.randn(EMBEDDING, generator=torch.Generator().manual_seed(0))).sum().backward()
    for name, parameter in tower.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_published_sizes_give_the_parameters_of_the_published_file() -> None:
    """117.07 million with the masked-language head, 116.48 without it."""
    with torch.device("meta"):
        trunk = MosaicBert(DnaTower(kind="dnabert2"))
    layer = 4 * 768 * 768 + 4 * 768 + 3 * 768 * 3072 + 768 + 4 * 768
    assert sum(parameter.numel() for parameter in trunk.parameters()) == (4096 + 2 + 2) * 768 + 12 * layer


def test_states_and_gradients_are_those_of_the_definition(tmp_path: Path) -> None:
    tensors = {name: value.double().requires_grad_() for name, value in published_tensors().items()}
    weights = published(tmp_path, {name: value.detach().float() for name, value in tensors.items()})
    tower = built(replace(TINY, weights=weights)).double().eval()
    with torch.no_grad():
        for value in tensors.values():
            value.copy_(value.float())  # what the file can hold
    ids = some_ids(2, 7)
    ids[1, 4:] = PAD_ID
    slopes = torch.tensor(alibi_slopes(TINY.num_heads)).tolist()  # in fp32, as the tower keeps them
    means = [
        by_definition(tensors, row, TINY.num_heads, slopes).mean(0) for row in (ids[0].tolist(), ids[1, :4].tolist())
    ]
    expected = torch.stack(means) @ tower.head.weight.detach().T + tower.head.bias.detach()
    found = tower(ids)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    direction = torch.randn(2, EMBEDDING, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (expected * direction).sum().backward()
    (found * direction).sum().backward()
    for ours, theirs in [
        ("tokens.weight", "embeddings.word_embeddings.weight"),
        ("segments.weight", "embeddings.token_type_embeddings.weight"),
        ("blocks.0.qkv.weight", "encoder.layer.0.attention.self.Wqkv.weight"),
        ("blocks.0.project.bias", "encoder.layer.0.attention.output.dense.bias"),
        ("blocks.1.gated.weight", "encoder.layer.1.mlp.gated_layers.weight"),
        ("blocks.1.down.weight", "encoder.layer.1.mlp.wo.weight"),
        ("blocks.0.output_norm.weight", "encoder.layer.0.mlp.layernorm.weight"),
    ]:
        gradient = tensors[f"bert.{theirs}"].grad
        assert gradient is not None
        assert gradient.abs().sum() > 0
        torch.testing.assert_close(tower.trunk.get_parameter(ours).grad, gradient, rtol=0, atol=1e-10)


def test_alibi_slopes_are_a_geometric_series_and_its_half_steps() -> None:
    assert alibi_slopes(8) == [2**-1, 2**-2, 2**-3, 2**-4, 2**-5, 2**-6, 2**-7, 2**-8]
    assert alibi_slopes(4) == [2**-2, 2**-4, 2**-6, 2**-8]
    published_heads = alibi_slopes(12)
    assert published_heads[:8] == alibi_slopes(8)
    assert published_heads[8:] == [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]


@pytest.mark.parametrize("length", [5, 8, 9])
def test_padding_does_not_change_the_embedding_of_a_barcode(length: int) -> None:
    tower = built().eval()
    ids = some_ids(3, length)
    padded = torch.cat([ids, torch.full((3, 31), PAD_ID)], dim=1)
    torch.testing.assert_close(tower(padded), tower(ids), rtol=0, atol=1e-6)


def test_the_order_of_tokens_matters_though_they_have_no_positions() -> None:
    tower = built().eval()
    ids = some_ids(1)
    assert not torch.allclose(tower(ids), tower(ids[:, torch.randperm(11, generator=torch.Generator().manual_seed(0))]))
    torch.testing.assert_close(tower(ids), tower(ids.flip(1)), rtol=0, atol=1e-6)  # the bias is symmetric


def test_a_barcode_of_padding_alone_gives_no_nan() -> None:
    tower = built().eval()
    embedded = tower(torch.full((1, 4), PAD_ID))
    embedded.sum().backward()
    assert embedded.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in tower.parameters())


def test_under_autocast_the_bias_is_in_bf16_and_the_embeddings_stay_close() -> None:
    tower = built().eval()
    seen: list[torch.dtype] = []
    tower.trunk.blocks[0].register_forward_pre_hook(lambda block, arguments: seen.append(arguments[1].dtype))
    ids = some_ids(3, 30)
    exact = tower(ids)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = tower(ids)
    assert seen == [torch.float32, torch.bfloat16]
    # bf16 has 8 bits; the roundings of two blocks stay within a few of them.
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.05)


def test_the_shapes_are_the_same_with_and_without_weights(tmp_path: Path) -> None:
    spec = replace(TINY, weights=published(tmp_path, published_tensors()))
    filled, drawn = built(spec).state_dict(), built(spec, pretrained=False).state_dict()
    assert {name: value.shape for name, value in filled.items()} == {n: v.shape for n, v in drawn.items()}
    assert torch.equal(filled["head.weight"], drawn["head.weight"])
    assert "trunk.slopes" not in filled


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    tensors = published_tensors()
    spec = replace(TINY, weights=published(tmp_path, tensors))
    with pytest.raises(WeightsError, match=r"num_attention_heads is 3, .*num_heads is 4"):
        built(replace(spec, num_heads=4))
    with pytest.raises(WeightsError, match=r"intermediate_size is 10, .*hidden_width is 12"):
        built(replace(spec, hidden_width=12))
    published(tmp_path, {n: v for n, v in tensors.items() if n != "bert.encoder.layer.1.attention.self.Wqkv.bias"})
    with pytest.raises(WeightsError, match=r"lacks 1 .* blocks\.1\.qkv\.bias "):
        built(spec)
    published(tmp_path, {**tensors, "bert.embeddings.position_embeddings.weight": torch.zeros(512, 12)})
    with pytest.raises(WeightsError, match=r"used, .*position_embeddings\.weight "):
        built(spec)


def test_the_tower_of_a_finished_run_is_taken_whole(run_of: Callable[[DnaTower, nn.Module], str]) -> None:
    tower = built()
    again = built(replace(TINY, weights=run_of(TINY, tower)))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in tower.state_dict().items())


def test_adapters_change_nothing_at_first_and_are_merged_from_a_run(
    run_of: Callable[[DnaTower, nn.Module], str],
) -> None:
    tower, plain = built().eval(), built().eval()
    adapted = replace(TINY, fine_tuning="lora", lora=Lora(rank=2, alpha=2))
    apply_fine_tuning(tower, adapted)
    torch.testing.assert_close(tower(some_ids()), plain(some_ids()), rtol=0, atol=1e-6)
    learned = {name: p for name, p in tower.named_parameters() if p.requires_grad}
    assert sum(p.numel() for name, p in learned.items() if "lora" in name) == TINY.depth * 2 * 2 * (12 + 12)
    assert {name for name in learned if "lora" not in name} == {"head.weight", "head.bias"}
    with torch.no_grad():
        for parameter in learned.values():
            parameter.add_(0.1)
    again = built(replace(TINY, weights=run_of(adapted, tower))).eval()
    torch.testing.assert_close(again(some_ids()), tower(some_ids()), rtol=0, atol=1e-6)


def test_recomputed_blocks_give_the_same_gradients_with_dropout() -> None:
    gradients = []
    for recomputed in (False, True):
        tower = built(replace(TINY, dropout=0.3)).train()
        tower.trunk.set_grad_checkpointing(recomputed)
        torch.manual_seed(11)
        tower(some_ids()).square().sum().backward()
        gradients.append([parameter.grad for parameter in tower.parameters()])
    assert all(one is not None and torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def byte_pairs(folder: Path, num_tokens: int = NUM_BYTE_PAIRS, padding: str = "[PAD]") -> str:
    """A tokenizer.json in the published layout: special tokens, bases, pairs of them, and names to fill up."""
    special = ["[UNK]", "[CLS]", "[SEP]", padding, "[MASK]"]
    names = [*special, *"ACGT", "AA", "TT", "AATT"]
    names += [f"x{number}" for number in range(num_tokens - len(names))]
    merges = [("A", "A"), ("T", "T"), ("AA", "TT")]
    tokenizer = Tokenizer(BPE({name: n for n, name in enumerate(names)}, merges, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(pad_id=3, pad_token=padding, length=9)
    tokenizer.save(str(folder / "tokenizer.json"))
    return str(folder)


def test_the_tokeniser_neither_pads_nor_cuts(tmp_path: Path) -> None:
    tokenizer = dnabert2_tokenizer(byte_pairs(tmp_path))
    assert tokenizer.encode("AATTCAATTG").ids == [1, 11, 6, 11, 7, 2]
    assert tokenizer.encode("AACN").ids == [1, 9, 6, 0, 2]
    assert [len(found.ids) for found in tokenizer.encode_batch(["A", "ACGT" * 10])] == [3, 42]


def test_without_weights_the_published_tokeniser_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path))
    folder = tmp_path / "weights" / "zhihan1996" / "DNABERT-2-117M"
    folder.mkdir(parents=True)
    byte_pairs(folder)
    assert dnabert2_tokenizer().encode("AATT").ids == [1, 11, 2]


@pytest.mark.parametrize(("num_tokens", "padding"), [(4097, "[PAD]"), (4096, "[pad]")])
def test_another_tokeniser_is_refused(num_tokens: int, padding: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=rf"{num_tokens} tokens"):
        dnabert2_tokenizer(byte_pairs(tmp_path, num_tokens, padding))


def test_a_damaged_tokeniser_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(WeightsError, match=r"tokenizer\.json cannot be read"):
        dnabert2_tokenizer(str(tmp_path))
