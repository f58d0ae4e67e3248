"""One low-precision copy of the states in a layer of BERT: less is kept, and every number is as with three."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from workloads.models.bert import BertTower
from workloads.models.build import checkpoint_blocks
from workloads.models.fine_tuning import apply_fine_tuning
from workloads.placement import kernels
from workloads.tower_specs import DnaTower, FineTuning, TextTower

DEPTH, WIDTH, TOKENS, BATCH = 3, 32, 20, 4
SPECS = {
    "dna": DnaTower(width=WIDTH, depth=DEPTH, num_heads=4, hidden_width=64, dropout=0.1, token_dropout=0.0),
    "text": TextTower(width=WIDTH, depth=DEPTH, num_heads=4, hidden_width=64, dropout=0.1),
}


def three_casts(tower: nn.Module) -> nn.Module:
    """The same tower as it would be without the one copy."""
    plain = copy.deepcopy(tower)
    for module in plain.modules():
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()
        module._forward_hooks_always_called.clear()
    return plain


def one_pass(tower: nn.Module, precision: str) -> tuple[Tensor, dict[str, Tensor], int]:
    """Embeddings, gradients, and the bytes of activations that are kept for them."""
    own = {parameter.untyped_storage().data_ptr() for parameter in tower.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor.detach())
        return tensor

    torch.manual_seed(0)
    ids = torch.randint(5, 40, (BATCH, TOKENS))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), kernels(ids.device, precision):
        embedded = tower(ids)
    size = sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)
    embedded.float().square().sum().backward()
    return embedded, {n: p.grad for n, p in tower.named_parameters() if p.grad is not None}, size


@pytest.mark.parametrize("modality", list(SPECS))
@pytest.mark.parametrize("fine_tuning", ["full", "lora", "full_and_lora"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_one_copy_gives_every_number_of_three(modality: str, fine_tuning: FineTuning, precision: str) -> None:
    spec = replace(SPECS[modality], fine_tuning=fine_tuning)
    tower = BertTower(spec, 16, 50, 0)
    apply_fine_tuning(tower, spec)
    plain = three_casts(tower)
    embedded, gradients, size = one_pass(tower, precision)
    expected, wanted, before = one_pass(plain, precision)
    assert torch.equal(embedded, expected)
    assert gradients.keys() == wanted.keys()
    assert all(torch.equal(gradient, wanted[name]) for name, gradient in gradients.items())
    assert tower.state_dict().keys() == plain.state_dict().keys()
    spared = before - size
    if precision == "bf16" and fine_tuning == "full":
        assert spared == 2 * DEPTH * BATCH * TOKENS * WIDTH * 2  # two copies a layer, of two bytes
    else:
        assert spared >= 0


def test_no_copy_outlives_its_layer_and_blocks_may_be_computed_again() -> None:
    tower = BertTower(SPECS["dna"], 16, 50, 0)
    again = copy.deepcopy(tower)
    checkpoint_blocks(nn.ModuleDict({"towers": nn.ModuleDict({"dna": again})}))
    _, wanted, _ = one_pass(tower, "bf16")
    _, gradients, _ = one_pass(again, "bf16")
    assert all(torch.equal(gradient, wanted[name]) for name, gradient in gradients.items())
    sharing = [hook.__self__ for m in tower.modules() for hook in m._forward_pre_hooks.values()]  # type: ignore[attr-defined] # they are methods
    assert len(sharing) == 4 * DEPTH
    assert all(each._copy is None for each in sharing)
