"""The text tower over BERT: both poolings, padding, and weights in old and new published layouts."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from workloads.errors import WeightsError
from workloads.models.build import TowerInputs, build_tower
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.tower_specs import TextTower

TINY = TextTower(width=16, depth=2, num_heads=2, hidden_width=32)
AUTHORS = replace(TINY, pooling="mean", max_tokens=20)
VOCABULARY, EMBEDDING = 40, 6
POOLINGS = [TINY, AUTHORS]


def some_ids(batch: int = 3, tokens: int = 9) -> Tensor:
    return torch.randint(1, VOCABULARY, (batch, tokens), generator=torch.Generator().manual_seed(1))


def built(spec: TextTower, vocabulary_size: int = VOCABULARY, pad_id: int = 0, pretrained: bool = True) -> nn.Module:
    torch.manual_seed(3)
    return build_tower(spec, TowerInputs(vocabulary_size=vocabulary_size, pad_id=pad_id), EMBEDDING, pretrained)


def pretraining_model(vocabulary_size: int = VOCABULARY) -> Any:
    """The source architecture with both heads of its pre-training, tiny, with random biases and norms."""
    declare_missing_operators()
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(4)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertForPreTraining(BertConfig(vocab_size=vocabulary_size, **sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def old_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As the first PyTorch versions of Google's models have them, with a buffer that later ones stored."""
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in tensors.items()
    }
    return {**renamed, "bert.embeddings.position_ids": torch.arange(512).expand(1, -1)}


def published(folder: Path, tensors: Mapping[str, Tensor], old: bool, vocabulary_size: int = VOCABULARY) -> str:
    """A folder in the layout of the hub: the old one has a pickle, the new one safetensors."""
    config = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": vocabulary_size}))
    if old:
        torch.save({name: value.clone() for name, value in old_names(tensors).items()}, folder / "pytorch_model.bin")
    else:
        save_file({name: value.clone() for name, value in tensors.items()}, folder / "model.safetensors")
    return str(folder)


@pytest.mark.parametrize("spec", POOLINGS, ids=lambda spec: spec.pooling)
def test_gradients_reach_every_parameter(spec: TextTower) -> None:
    tower = built(spec).train()
    embedded = tower(some_ids())
    assert embedded.shape == (3, EMBEDDING)
    (embedded * torch.randn(EMBEDDING, generator=torch.Generator().manual_seed(0))).sum().backward()
    for name, parameter in tower.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert {name for name, _ in tower.named_children()} == {"trunk", "head"}


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("spec", POOLINGS, ids=lambda spec: spec.pooling)
def test_embeddings_are_pooled_states_of_the_source_architecture(spec: TextTower, old: bool, tmp_path: Path) -> None:
    theirs = pretraining_model()
    tower = built(replace(spec, weights=published(tmp_path, theirs.state_dict(), old))).eval()
    ids = torch.zeros(2, 20, dtype=torch.long)
    ids[:, :9] = some_ids(2)
    ids[1, 5:] = 0
    states = theirs.bert(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state
    counted = (9, 5) if spec.pooling == "masked_mean" else (20, 20)
    means = torch.stack([states[row, :count].mean(0) for row, count in enumerate(counted)])
    expected = tower.get_submodule("head")(means)
    torch.testing.assert_close(tower(ids), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(tower(ids[:, :9]), expected, rtol=0, atol=1e-6)  # however the batch was padded


def test_padding_does_not_change_a_masked_mean() -> None:
    tower = built(TINY, pad_id=7).eval()
    ids = some_ids().masked_fill(some_ids() == 7, 8)
    padded = torch.cat([ids, torch.full((3, 5), 7)], dim=1)
    torch.testing.assert_close(tower(padded), tower(ids), rtol=0, atol=1e-6)


def test_a_label_among_longer_ones_is_embedded_as_alone() -> None:
    tower = built(TINY).eval()
    ids = some_ids()
    ids[1, 4:] = 0
    torch.testing.assert_close(tower(ids)[1], tower(ids[1:2, :4])[0], rtol=0, atol=1e-6)


def test_a_larger_published_vocabulary_is_cut_and_a_smaller_one_refused(tmp_path: Path) -> None:
    theirs = pretraining_model(VOCABULARY + 8)
    spec = replace(TINY, weights=published(tmp_path, theirs.state_dict(), old=True, vocabulary_size=VOCABULARY + 8))
    words = built(spec).get_parameter("trunk.embeddings.word_embeddings.weight")
    assert torch.equal(words, theirs.bert.embeddings.word_embeddings.weight[:VOCABULARY])
    with pytest.raises(WeightsError, match=f"vocabulary .*{VOCABULARY + 8} .* 60"):
        built(spec, vocabulary_size=60)


def test_shapes_and_head_are_the_same_with_and_without_weights(tmp_path: Path) -> None:
    spec = replace(TINY, weights=published(tmp_path, pretraining_model().state_dict(), old=True))
    filled, drawn = built(spec).state_dict(), built(spec, pretrained=False).state_dict()
    assert {name: value.shape for name, value in filled.items()} == {n: v.shape for n, v in drawn.items()}
    assert torch.equal(filled["head.weight"], drawn["head.weight"])


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    tensors = pretraining_model().state_dict()
    spec = replace(TINY, weights=published(tmp_path, tensors, old=True))
    with pytest.raises(WeightsError, match=r"text tower.*num_hidden_layers is 2, .*depth is 4"):
        built(replace(spec, depth=4))
    published(tmp_path, {n: v for n, v in tensors.items() if not n.endswith("1.output.LayerNorm.bias")}, old=True)
    with pytest.raises(WeightsError, match=r"lacks 1 .* encoder\.layer\.1\.output\.LayerNorm\.bias "):
        built(spec)
    published(tmp_path, {**tensors, "cls.predictions.extra.weight": torch.zeros(3)}, old=True)
    with pytest.raises(WeightsError, match=r"1 .* used, cls\.predictions\.extra\.weight"):
        built(spec)


def test_the_authors_tower_has_the_parameters_of_the_paper() -> None:
    """29.2 million, of which BERT's pooler, which they carry along unused, is 512 x 512 + 512."""
    with torch.device("meta"):
        tower = build_tower(TextTower(pooling="mean"), TowerInputs(vocabulary_size=30_522), 768)
    assert sum(parameter.numel() for parameter in tower.parameters()) == 29_157_632 - 262_656


def test_an_openclip_tower_is_built_by_its_own_rules(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no tag of ViT-L-14"):
        built(TextTower(kind="openclip", weights=str(tmp_path / "nothing")))


def test_absent_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nothing"):
        built(replace(TINY, weights=str(tmp_path / "nothing")))


def test_the_tower_of_a_finished_run_is_taken_whole(run_of: Callable[[TextTower, nn.Module], str]) -> None:
    tower = built(TINY)
    again = built(replace(TINY, weights=run_of(TINY, tower)))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in tower.state_dict().items())
