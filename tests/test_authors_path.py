"""The benchmarks compare like with like: the restated path of the authors gives the loss and embeddings of ours."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.authors_path import (
    AdaptedQkv,
    AuthorsStep,
    AuthorsTowers,
    Sizes,
    as_authors_feed,
    authors_loss,
    drawn_batch,
)
from benchmarks.our_step import OurStep
from benchmarks.training_step import num_autograd_nodes
from workloads.models.fine_tuning import plain_layers
from workloads.training.loss import contrastive_loss

CPU = torch.device("cpu")
SIZES = Sizes(
    image_size=32,
    image_width=24,
    image_depth=2,
    image_heads=2,
    dna_width=24,
    dna_depth=2,
    dna_heads=2,
    dna_hidden_width=48,
    text_vocabulary=60,
    text_width=16,
    text_depth=1,
    text_heads=2,
    text_hidden_width=32,
    embedding_size=16,
    dropout=0.0,
)
UNUSED = {"dna.cls.predictions.bias", "text.pooler.dense.weight", "text.pooler.dense.bias"}


PREFIXES = {
    "image": {"trunk.": "image.", "head.": "image.head."},
    "dna": {
        "trunk.": "dna.bert.",
        "transform.": "dna.cls.predictions.transform.",
        "head.": "dna.cls.predictions.decoder.",
    },
    "text": {"trunk.": "text.", "head.": "text_head."},
}
ADAPTERS = {
    ".query.lora_A.default.": ".query_down.",
    ".query.lora_B.default.": ".query_up.",
    ".value.lora_A.default.": ".value_down.",
    ".value.lora_B.default.": ".value_up.",
}


def copy_weights(ours: OurStep, theirs: AuthorsTowers) -> None:
    """Put our weights into the authors' towers, after moving our adapters from zero; their poolers are unused."""
    torch.manual_seed(1)
    for name, parameter in ours.model.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(parameter, std=0.1)
    state = theirs.state_dict()
    present = {name.replace(".fused.", "."): values for name, values in state.items()}
    filled = {"log_scale"}
    for modality, prefixes in PREFIXES.items():
        own = dict(ours.model.towers[modality].state_dict())
        plain = plain_layers(own, scale=0.0)  # the layers beside the adapters
        adapters = {renamed(name, ADAPTERS): values for name, values in own.items() if ".lora_" in name}
        for name, values in {**plain, **adapters}.items():
            their_name = next(new + name.removeprefix(old) for old, new in prefixes.items() if name.startswith(old))
            present[their_name].copy_(values)
            filled.add(their_name)
    assert {name for name in present if name not in filled} == UNUSED


def renamed(name: str, parts: dict[str, str]) -> str:
    for old, new in parts.items():
        name = name.replace(old, new)
    return name


@pytest.mark.parametrize("num_modalities", [2, 3])
def test_the_authors_loss_and_its_gradients_are_those_of_ours(num_modalities: int) -> None:
    torch.manual_seed(0)
    names = ("image", "dna", "text")[:num_modalities]
    ours = {name: F.normalize(torch.randn(7, 5, dtype=torch.float64), dim=-1).requires_grad_() for name in names}
    theirs = [rows.detach().clone().requires_grad_() for rows in ours.values()]
    scales = [torch.tensor(3.0, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    one, other = contrastive_loss(ours, scales[0]), authors_loss(theirs, scales[1])
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    one.backward()
    other.backward()
    for mine, yours in zip([*ours.values(), scales[0]], [*theirs, scales[1]], strict=True):
        assert mine.grad is not None
        assert yours.grad is not None
        # Theirs normalises once more, which takes out of a gradient what points along its row.
        assert mine.dim() == 0 or not torch.allclose(mine.grad, yours.grad, atol=1e-6)
        torch.testing.assert_close(across(mine), across(yours), rtol=0, atol=1e-6)


def across(rows: Tensor) -> Tensor:
    """The gradient without its part along each row."""
    assert rows.grad is not None
    if rows.dim() == 0:
        return rows.grad
    return rows.grad - (rows.grad * rows).sum(-1, keepdim=True) * rows.detach()


def test_the_authors_towers_embed_as_ours_do_under_their_recipe() -> None:
    ours = OurStep(SIZES, CPU, "authors")
    theirs = AuthorsTowers(SIZES)
    copy_weights(ours, theirs)
    batch = drawn_batch(SIZES, 5)
    ours.model.eval()
    theirs.eval()
    with torch.no_grad():
        embedded, scale = ours.model(batch)
        expected, their_scale = theirs(**as_authors_feed(batch))
    torch.testing.assert_close(scale, their_scale)
    for rows, their_rows in zip(embedded.values(), expected, strict=True):
        torch.testing.assert_close(rows, their_rows, rtol=0, atol=1e-6)


def test_steps_from_the_same_weights_move_both_sides_alike() -> None:
    ours = OurStep(SIZES, CPU, "authors")
    theirs = AuthorsStep(SIZES, CPU)
    copy_weights(ours, theirs.model)
    batch = drawn_batch(SIZES, 6)
    fed = as_authors_feed(batch)
    losses = [(ours.step(batch, "fp32").item(), theirs.step(fed, "fp32")) for _ in range(3)]
    for mine, yours in losses:
        assert mine == pytest.approx(yours, abs=1e-5)
    assert len(set(losses)) == 3


def test_adapters_are_left_in_the_vision_transformer_and_everything_trains() -> None:
    theirs = AuthorsStep(SIZES, CPU)
    assert all(isinstance(block.attn.qkv, AdaptedQkv) for block in theirs.model.image.blocks)
    before = {name: value.clone() for name, value in theirs.model.named_parameters()}
    fed = as_authors_feed(drawn_batch(SIZES, 4))
    assert torch.isfinite(torch.tensor([theirs.step(fed), theirs.step(fed)])).all()
    still = {name for name, value in theirs.model.named_parameters() if torch.equal(value, before[name])}
    assert still == UNUSED


def test_autograd_nodes_are_counted_once_each() -> None:
    weight = torch.ones(2, requires_grad=True)
    doubled = weight * 2
    assert num_autograd_nodes((doubled + doubled).sum()) == 4  # sum, add, mul, and the one that fills weight.grad
