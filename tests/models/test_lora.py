"""Low-rank adaptation: what it adds, what it freezes, that it begins as nothing, and what it refuses."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from workloads.errors import SpecError
from workloads.models.build import TowerInputs, build_tower
from workloads.models.fine_tuning import SplitAttention, SplitQkv, add_lora, apply_fine_tuning
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.tower_specs import ImageTower, Lora, TextTower

LORA = Lora(rank=3, alpha=6)
INPUTS = TowerInputs(image_feature_size=5)
VIT = ImageTower(architecture="vit_tiny_patch16_224", image_size=32, patch_size=16, width=24, depth=3, num_heads=3)
CLIP = replace(VIT, kind="openclip", architecture="ViT-B-16")


def pixels() -> Tensor:
    return torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def states(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def image_tower(spec: ImageTower) -> nn.Module:
    torch.manual_seed(5)
    return build_tower(spec, INPUTS, 8).eval()


def text_tower() -> nn.Module:
    torch.manual_seed(5)
    spec = TextTower(kind="openclip", architecture="ViT-B-16", width=16, depth=3, num_heads=2, hidden_width=32)
    return build_tower(spec, INPUTS, 8).eval()


def bert() -> nn.Module:
    declare_missing_operators()
    from transformers import BertConfig, BertModel

    torch.manual_seed(5)
    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)
    model: nn.Module = BertModel(config, add_pooling_layer=False).eval()
    return model


class FusedBert(nn.Module):
    """Attention as DNABERT-2 keeps it: one layer `Wqkv` in each block."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layer = nn.ModuleList(nn.Module() for _ in range(3))
        for block in self.layer:
            block.self = nn.Module()
            block.self.Wqkv = nn.Linear(16, 48)

    def forward(self, hidden: Tensor) -> Tensor:
        for block in self.layer:
            hidden = block.get_submodule("self.Wqkv")(hidden).unflatten(-1, (3, 16)).mean(-2)
        return hidden


def adapted_layers(trunk: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in trunk.named_modules():
        if hasattr(module, "lora_A"):
            yield name, module


@pytest.mark.parametrize("bias", [True, False])
def test_a_split_layer_gives_what_the_fused_layer_gave(bias: bool) -> None:
    torch.manual_seed(0)
    fused = nn.Linear(12, 36, bias=bias)
    split = SplitQkv(fused.weight, fused.bias)
    # The same sums in another order of blocks: rounding of fp32 only.
    torch.testing.assert_close(split(states(2, 5, 12)), fused(states(2, 5, 12)), rtol=0, atol=1e-6)
    assert sum(p.numel() for p in split.parameters()) == sum(p.numel() for p in fused.parameters())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mask", ["none", "causal", "each"])
def test_split_attention_gives_what_pytorchs_own_gave(bias: bool, mask: str) -> None:
    torch.manual_seed(0)
    fused = nn.MultiheadAttention(12, 3, bias=bias, batch_first=True)
    if bias:
        nn.init.normal_(fused.in_proj_bias)
    split = SplitAttention(fused)
    hidden, other = states(2, 5, 12).requires_grad_(), states(2, 5, 12).requires_grad_()
    masks = {
        "none": None,
        "causal": torch.full((5, 5), float("-inf")).triu(1),
        "each": states(6, 5, 5),  # one for every head of every sample
    }
    expected = fused(hidden, hidden, hidden, need_weights=False, attn_mask=masks[mask])[0]
    found, weights = split(other, other, other, need_weights=False, attn_mask=masks[mask])
    assert weights is None
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    expected.square().sum().backward()
    found.square().sum().backward()
    torch.testing.assert_close(other.grad, hidden.grad, rtol=0, atol=1e-5)


def test_split_attention_drops_weights_in_training_only() -> None:
    split = SplitAttention(nn.MultiheadAttention(12, 3, dropout=0.9, batch_first=True))
    hidden = states(2, 5, 12)
    torch.manual_seed(0)
    first, second = (split.train()(hidden, hidden, hidden)[0] for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (split.eval()(hidden, hidden, hidden)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("trunk", "width", "names"),
    [
        (lambda: image_tower(VIT).get_submodule("trunk"), 24, ("attn.qkv.query", "attn.qkv.value")),
        (lambda: image_tower(CLIP).get_submodule("trunk"), 24, ("attn.in_proj.query", "attn.in_proj.value")),
        (lambda: text_tower().get_submodule("trunk"), 16, ("attn.in_proj.query", "attn.in_proj.value")),
        (bert, 16, ("attention.self.query", "attention.self.value")),
        (FusedBert, 16, ("self.Wqkv.query", "self.Wqkv.value")),
    ],
    ids=["timm", "openclip image", "openclip text", "bert", "fused bert"],
)
@pytest.mark.parametrize("layers", [None, (0, 2)])
def test_query_and_value_of_the_chosen_blocks_gain_rank_times_in_plus_out(
    trunk: "type[nn.Module]", width: int, names: tuple[str, str], layers: tuple[int, ...] | None
) -> None:
    network = trunk()
    before = sum(p.numel() for p in network.parameters())
    add_lora(network, replace(LORA, layers=layers))
    blocks = [0, 1, 2] if layers is None else list(layers)
    adapted = [name for name, _ in adapted_layers(network)]
    assert len(adapted) == 2 * len(blocks)
    for block, (query, value) in zip(blocks, zip(adapted[::2], adapted[1::2], strict=True), strict=True):
        assert f".{block}." in query
        assert f".{block}." in value
        assert query.endswith(names[0])
        assert value.endswith(names[1])
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert trained == 2 * len(blocks) * LORA.rank * (width + width)
    assert sum(p.numel() for p in network.parameters()) == before + trained


def test_the_rank_and_the_scale_are_the_specs() -> None:
    network = bert()
    add_lora(network, LORA)
    for _, layer in adapted_layers(network):
        assert layer.get_submodule("lora_A.default").get_parameter("weight").shape == (3, 16)
        assert layer.__dict__["scaling"] == {"default": 2.0}


@pytest.mark.parametrize("make", [lambda: image_tower(VIT), lambda: image_tower(CLIP)], ids=["timm", "openclip"])
def test_adapters_of_an_image_tower_change_nothing_before_training(make: "type[nn.Module]") -> None:
    plain, adapted = make(), make()
    add_lora(adapted.get_submodule("trunk"), LORA)
    # Splitting the fused layer regroups sums: rounding of fp32 only.
    torch.testing.assert_close(adapted.eval()(pixels()), plain(pixels()), rtol=0, atol=1e-6)


def test_adapters_of_a_text_tower_change_nothing_before_training() -> None:
    plain, adapted = text_tower(), text_tower()
    add_lora(adapted.get_submodule("trunk"), LORA)
    ids = torch.zeros(3, 77, dtype=torch.long)
    ids[:, :4] = torch.tensor([[49406, 320, 49407, 0], [49406, 5, 7, 49407], [49406, 9, 49407, 0]])
    torch.testing.assert_close(adapted.eval()(ids), plain(ids), rtol=0, atol=1e-6)


def test_an_adapter_moves_query_and_value_and_leaves_the_key() -> None:
    network = FusedBert()
    add_lora(network, LORA)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.fill_(1.0)
    hidden = states(2, 16)
    fused = FusedBert().layer[0].get_submodule("self.Wqkv")(hidden)
    moved = network.layer[0].get_submodule("self.Wqkv")(hidden)
    torch.testing.assert_close(moved[:, 16:32], fused[:, 16:32], rtol=0, atol=1e-6)
    first = network.layer[0].get_submodule("self.Wqkv.query.lora_A.default").get_parameter("weight")
    update = 2.0 * (hidden @ first.T).sum(1, keepdim=True)  # alpha / rank, and a second half of ones
    torch.testing.assert_close(moved[:, :16] - fused[:, :16], update.expand(-1, 16), rtol=0, atol=1e-5)
    assert not torch.allclose(moved[:, 32:], fused[:, 32:], atol=1e-3)


@pytest.mark.parametrize("spec", [VIT, CLIP], ids=["timm", "openclip"])
def test_with_adapters_only_adapters_and_head_learn(spec: ImageTower) -> None:
    tower = image_tower(spec).train()
    apply_fine_tuning(tower, replace(spec, fine_tuning="lora", lora=LORA))
    tower(pixels()).square().sum().backward()
    for name, parameter in tower.named_parameters():
        expected = "lora_" in name or name.startswith("head.")
        assert parameter.requires_grad == expected, name
        assert (parameter.grad is not None) == expected, name


@pytest.mark.parametrize("spec", [VIT, CLIP], ids=["timm", "openclip"])
def test_everything_and_adapters_beside_all_learn(spec: ImageTower) -> None:
    tower = image_tower(spec).train()
    plain = sum(p.numel() for p in tower.parameters())
    apply_fine_tuning(tower, replace(spec, fine_tuning="full_and_lora", lora=LORA))
    assert all(parameter.requires_grad for parameter in tower.parameters())
    assert sum(p.numel() for p in tower.parameters()) == plain + 3 * 2 * LORA.rank * 48
    tower(pixels()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in tower.parameters())


@pytest.mark.parametrize("layers", [(3,), (-1,), (0, 7)])
def test_a_block_that_does_not_exist_is_refused(layers: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match=r"no block (3|-1|7) .* 0 to 2"):
        add_lora(bert(), replace(LORA, layers=layers))


def test_no_block_at_all_is_refused() -> None:
    with pytest.raises(SpecError, match="of no block at all"):
        add_lora(bert(), replace(LORA, layers=()))


@pytest.mark.parametrize("architecture", ["test_resnet", "RN50"])
def test_a_network_without_attention_layers_is_refused(architecture: str) -> None:
    kind = "openclip" if architecture == "RN50" else "timm"
    with torch.device("meta"):
        spec = ImageTower(kind=kind, architecture=architecture)  # type: ignore[arg-type]
        tower = build_tower(spec, INPUTS, 8)
    with pytest.raises(SpecError, match="ResNet has no attention"):
        apply_fine_tuning(tower, replace(spec, fine_tuning="lora", lora=LORA))


@pytest.mark.parametrize(
    "architecture",
    ["beit_base_patch16_224", "eva02_tiny_patch14_224", "swinv2_tiny_window8_256", "maxvit_rmlp_pico_rw_256"],
)
def test_a_fused_layer_that_cannot_be_split_into_thirds_is_refused(architecture: str) -> None:
    size = 256 if architecture.endswith("256") else 224
    with torch.device("meta"):
        spec = ImageTower(architecture=architecture, image_size=size)
        tower = build_tower(spec, INPUTS, 8)
    with pytest.raises(SpecError, match="by themselves"):
        apply_fine_tuning(tower, replace(spec, fine_tuning="lora", lora=LORA))


@pytest.mark.parametrize("fine_tuning", ["lora", "full_and_lora"])
def test_a_feature_tower_is_trained_whole_instead(fine_tuning: str) -> None:
    spec = ImageTower(kind="features", fine_tuning=fine_tuning, lora=LORA)  # type: ignore[arg-type]
    tower = build_tower(spec, INPUTS, 4)
    apply_fine_tuning(tower, spec)
    assert all(parameter.requires_grad for parameter in tower.parameters())
