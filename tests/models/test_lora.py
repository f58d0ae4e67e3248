"""Low-rank adaptation: what it adds, what it freezes, and that it begins as nothing."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from workloads.models.clibd import Clibd, build_model
from workloads.models.lora import SplitQkv, add_lora
from workloads.spec import ExperimentSpec, Lora
from workloads.training.loop import build_optimizer
from workloads.training.loss import contrastive_loss

VOCABULARY = 40


def tiny_inputs() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(2)
    return {
        "image": torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=random),
        "dna": torch.randint(1, 1027, (4, 133), generator=random),
        "text": torch.randint(1, VOCABULARY, (4, 9), generator=random),
    }


def built(spec: ExperimentSpec) -> Clibd:
    return build_model(spec, feature_size=None, vocabulary_size=VOCABULARY, pad_id=0)


def query_and_value_layers(model: nn.Module) -> Iterator[nn.Module]:
    for name, module in model.named_modules():
        if name.endswith((".query", ".value", ".q_proj", ".v_proj")):
            yield module


@pytest.mark.parametrize("bias", [True, False])
def test_a_split_layer_gives_what_the_fused_layer_gave(bias: bool) -> None:
    torch.manual_seed(0)
    fused = nn.Linear(12, 36, bias=bias)
    states = torch.randn(2, 5, 12)
    split = SplitQkv(fused)
    # The same sums in another order of blocks: rounding of fp32 only.
    torch.testing.assert_close(split(states), fused(states), rtol=0, atol=1e-6)
    assert sum(p.numel() for p in split.parameters()) == sum(p.numel() for p in fused.parameters())


def test_each_query_and_value_gains_rank_times_in_plus_out_parameters(tiny_lora_spec: ExperimentSpec) -> None:
    model = built(tiny_lora_spec)
    rank = tiny_lora_spec.lora.rank
    adapters = list(query_and_value_layers(model))
    assert len(adapters) == 6  # one block in each of three towers
    expected = 0
    for layer in adapters:
        trained = sum(p.numel() for p in layer.parameters() if p.requires_grad)
        size = layer.get_submodule("base_layer")
        assert isinstance(size, nn.Linear)
        assert trained == rank * (size.in_features + size.out_features)
        expected += trained
    in_transformers = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and ".transformer." in name
    )
    assert in_transformers == expected


def test_the_rank_is_the_specs() -> None:
    layer = nn.Module()
    layer.attention = nn.Module()
    layer.attention.query = nn.Linear(10, 14)
    layer.attention.key = nn.Linear(10, 14)
    add_lora(layer, Lora(rank=3, alpha=6))
    assert sum(p.numel() for p in layer.parameters() if p.requires_grad) == 3 * (10 + 14)
    assert isinstance(layer.attention.key, nn.Linear)
    assert layer.attention.get_submodule("query").__dict__["scaling"] == {"default": 2.0}


@pytest.mark.parametrize("kind", ["bert", "clip"])
def test_adapters_change_nothing_before_training(
    kind: Literal["bert", "clip"], tiny_spec: ExperimentSpec, tiny_lora_spec: ExperimentSpec
) -> None:
    text = replace(tiny_spec.text, kind=kind)
    plain, adapted = built(replace(tiny_spec, text=text)).eval(), built(replace(tiny_lora_spec, text=text)).eval()
    before, scale = plain(tiny_inputs())
    after, adapted_scale = adapted(tiny_inputs())
    assert scale == adapted_scale
    for name in before:
        # Splitting the fused layer regroups sums: rounding of fp32 only.
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6)


def test_a_step_moves_adapters_and_heads_but_nothing_frozen(tiny_lora_spec: ExperimentSpec) -> None:
    model = built(tiny_lora_spec).train()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(tiny_lora_spec, model)
    for _ in range(2):  # in the first step only the half of an adapter that is zero has a gradient
        embedded, scale = model(tiny_inputs())
        optimizer.zero_grad()
        contrastive_loss(embedded, scale).backward()
        optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert moved == trained
    assert any("lora_A" in name for name in trained)
    assert all("lora_" in name or ".head." in name or name == "log_scale" for name in trained)
