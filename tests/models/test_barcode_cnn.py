"""The small CNN over bases: its image, its layers against loops, gradients, and weights of a run."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from workloads.data.specimens.barcode import NO_BASE, base_codes
from workloads.errors import WeightsError
from workloads.models.build import TowerInputs, build_tower
from workloads.models.towers import Tower
from workloads.tower_specs import DnaTower

SPEC = DnaTower(kind="cnn")
EMBEDDING = 6


def some_codes(batch: int = 3) -> Tensor:
    """Bases of random barcodes, the first of them short and with uncertain letters."""
    random = torch.Generator().manual_seed(1)
    codes = torch.randint(0, 4, (batch, 660), generator=random)
    codes[0, 600:] = NO_BASE
    codes[0, 10:20] = 4
    return codes


def built(spec: DnaTower = SPEC) -> Tower:
    torch.manual_seed(3)
    tower = build_tower(spec, TowerInputs(), EMBEDDING)
    assert isinstance(tower, Tower)
    return tower


def test_gradients_reach_every_parameter() -> None:
    tower = built().train()
    embedded = tower(some_codes())
    assert embedded.shape == (3, EMBEDDING)
    (embedded * torch.randn(EMBEDDING, generator=torch.Generator().manual_seed(0))).sum().backward()
    for name, parameter in tower.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_layers_have_the_published_sizes() -> None:
    shapes = [tuple(p.shape) for name, p in built().named_parameters() if name.endswith("weight")]
    assert shapes == [
        *((64, 1, 3, 1), (64,)),
        *((32, 64, 3, 1), (32,)),
        *((16, 32, 3, 1), (16,)),
        *((1920,), (500, 1920), (EMBEDDING, 500)),
    ]


def test_the_image_has_one_column_a_letter_and_none_past_the_end() -> None:
    seen: list[Tensor] = []
    tower = built().eval()
    tower.trunk.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    codes = some_codes()
    tower(codes)
    expected = torch.zeros(3, 1, 660, 5)
    for row, barcode in enumerate(codes.tolist()):
        for base, code in enumerate(barcode):
            if code != NO_BASE:
                expected[row, 0, base, code] = 1
    assert torch.equal(seen[0], expected)


def test_letters_behind_base_660_and_their_order_are_what_the_network_sees() -> None:
    tower = built().eval()
    texts = ["ACGT" * 165, "ACGT" * 165 + "AA", "ACGTN" * 132, "ACGT" * 160]
    embedded = tower(torch.from_numpy(base_codes(texts).astype("int64")))
    assert torch.equal(embedded[0], embedded[1])
    for other in embedded[2:]:
        assert not torch.allclose(embedded[0], other, atol=1e-4)


def test_the_first_block_and_the_description_agree_with_loops() -> None:
    """Convolve along one column, cut at zero, normalise with the running figures, take the largest of three."""
    tower = built().double().eval()
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in tower.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=random, dtype=value.dtype) + 0.1 * ("var" in name))
    codes = some_codes(1)
    image = torch.zeros(662, dtype=torch.float64)  # column A between one row of padding on either side
    image[1:661] = (codes[0] == 0).double()
    convolution, norm = tower.trunk[0], tower.trunk[2]
    weight, bias = convolution.get_parameter("weight"), convolution.get_parameter("bias")
    channel = 7
    expected = []
    for first in range(0, 660, 3):
        block = []
        for base in range(first, first + 3):
            value = bias[channel] + sum(weight[channel, 0, offset, 0] * image[base + offset] for offset in range(3))
            value = value.clamp(min=0) - norm.get_buffer("running_mean")[channel]
            value = value / (norm.get_buffer("running_var")[channel] + 1e-5).sqrt()
            block.append(value * norm.get_parameter("weight")[channel] + norm.get_parameter("bias")[channel])
        expected.append(max(block))
    letters = torch.nn.functional.one_hot(codes, 6)[..., :5].unsqueeze(1).double()
    found = tower.trunk[:4](letters)[0, channel, :, 0]
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-12)
    assert tower.trunk(letters).abs().max() <= 1
    tower.float()
    torch.testing.assert_close(tower(codes), tower.head(tower.trunk(letters.float())), rtol=0, atol=0)


def test_only_runs_have_weights(run_of: Callable[[DnaTower, nn.Module], str]) -> None:
    with pytest.raises(WeightsError, match="nobody publishes"):
        built(replace(SPEC, weights="someone/cnn"))
    torch.manual_seed(8)
    tower = built().train()
    tower(some_codes())
    again = built(replace(SPEC, weights=run_of(SPEC, tower)))
    assert torch.equal(again.eval()(some_codes()), tower.eval()(some_codes()))
