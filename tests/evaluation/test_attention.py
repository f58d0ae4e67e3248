"""Attention of vision transformers and its roll-out, against loops that follow the definition entry by entry."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from workloads.errors import SpecError
from workloads.evaluation.attention import (
    ROLLOUTS,
    Rollout,
    attention_maps,
    attention_masks,
    chosen_blocks,
    roll_out,
)
from workloads.models.build import TowerInputs, build_tower
from workloads.models.fine_tuning import apply_fine_tuning
from workloads.models.towers import Tower
from workloads.tower_specs import ImageTower

TINY = ImageTower(architecture="vit_tiny_patch16_224", image_size=48, patch_size=16, width=24, depth=8, num_heads=3)


def tower_of(spec: ImageTower = TINY, seed: int = 0) -> Tower:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tower = build_tower(spec, TowerInputs(), 16)
    assert isinstance(tower, Tower)
    return tower


def images(count: int, side: int = 48) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def drawn_maps(blocks: int, batch: int, heads: int, tokens: int, seed: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, heads, tokens, tokens)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).softmax(-1) for _ in range(blocks)]


def slow_roll_out(maps: list[Tensor], how: Rollout) -> list[list[list[float]]]:
    """For every image of the batch a matrix, by the definition."""
    batch, heads, size, _ = maps[0].shape
    found = []
    for image in range(batch):
        rolled = [[float(i == j) for j in range(size)] for i in range(size)]
        for block in maps:
            joined = [[[float(block[image, h, i, j]) for h in range(heads)] for j in range(size)] for i in range(size)]
            a = [[max(entry) if how.heads == "max" else sum(entry) / heads for entry in row] for row in joined]
            if how.discarded_from == "map":
                places = sorted(product(range(size), range(size)), key=lambda place: a[place[0]][place[1]])
                for i, j in places[: int(size * size * how.discard)]:
                    a[i][j] = a[i][j] if (i, j) == (0, 0) else 0.0
            else:
                for row in a:
                    for j in sorted(range(size), key=lambda place: row[place])[: int(size * how.discard)]:
                        row[j] = 0.0
            a = [[(a[i][j] + float(i == j)) / 2 for j in range(size)] for i in range(size)]
            sums = [sum(row) for row in a]
            a = [
                [a[i][j] / (sums[i] if how.normalised == "rows" else sums[j]) for j in range(size)] for i in range(size)
            ]
            rolled = [[sum(a[i][k] * rolled[k][j] for k in range(size)) for j in range(size)] for i in range(size)]
        found.append(rolled)
    return found


@pytest.mark.parametrize("normalised", ["rows", "authors"])
@pytest.mark.parametrize("discarded_from", ["rows", "map"])
@pytest.mark.parametrize(("heads", "discard"), [("max", 0.9), ("mean", 0.5), ("max", 0.0)])
def test_roll_out_is_the_definition_in_loops(normalised: str, discarded_from: str, heads: str, discard: float) -> None:
    how = Rollout(heads=heads, discard=discard, discarded_from=discarded_from, normalised=normalised)  # type: ignore[arg-type]  # names from the parameters
    maps = drawn_maps(blocks=3, batch=2, heads=3, tokens=7)
    torch.testing.assert_close(
        roll_out(maps, how), torch.tensor(slow_roll_out(maps, how), dtype=torch.float64), rtol=1e-12, atol=1e-14
    )


def test_rows_sum_to_one_with_the_right_normalisation_and_not_with_the_authors() -> None:
    maps = drawn_maps(blocks=5, batch=2, heads=2, tokens=10)
    for recipe, how in ROLLOUTS.items():
        sums = roll_out(maps, how).sum(dim=-1)
        is_one = torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=1e-12)
        assert is_one == (recipe != "authors"), recipe


def test_of_equal_entries_the_first_are_discarded() -> None:
    even = torch.full((1, 1, 4, 4), 0.25)
    kept = roll_out([even], Rollout(discard=0.5, discarded_from="rows"))
    expected = torch.eye(4) / 2
    expected[:, 2:] += 0.125
    torch.testing.assert_close(kept[0], expected / expected.sum(dim=-1, keepdim=True))


def test_a_row_keeps_its_strongest_entries_where_the_whole_map_would_lose_them() -> None:
    weak_first_row = torch.full((1, 1, 5, 5), 0.2)
    weak_first_row[0, 0, 0] = torch.tensor([0.19, 0.21, 0.205, 0.2, 0.195])
    weak_first_row[0, 0, 1:] = torch.tensor([0.6, 0.1, 0.1, 0.1, 0.1])
    by_map = roll_out([weak_first_row], Rollout(discarded_from="map", discard=0.84))
    by_row = roll_out([weak_first_row], Rollout(discarded_from="rows", discard=0.8))
    assert by_map[0, 0, 1:].sum() == 0
    assert by_row[0, 0, 1:].tolist() == pytest.approx([0.105 / 0.605, 0, 0, 0])


@pytest.mark.parametrize(
    ("depth", "blocks", "expected"),
    [
        (12, "second_to_middle", [1, 2, 3, 4, 5]),
        (12, "authors", [1, 2, 3, 4, 5]),
        (24, "authors", list(range(1, 18))),
        (24, "second_to_middle", list(range(1, 12))),
        (8, "authors", [1]),
        (3, "second_to_middle", [1]),
        (1, "second_to_middle", [0]),
        (3, "all", [0, 1, 2]),
    ],
)
def test_which_blocks_are_rolled_out(depth: int, blocks: str, expected: list[int]) -> None:
    assert list(chosen_blocks(depth, blocks)) == expected  # type: ignore[arg-type]  # a name from the parameters


def test_the_authors_blocks_need_more_than_seven() -> None:
    with pytest.raises(SpecError, match="of 7 blocks"):
        chosen_blocks(7, "authors")


def slow_maps(tower: Tower, pixels: Tensor, block: int) -> Tensor:
    """The attention of one block, from its queries and keys, head by head."""
    trunk = tower.trunk
    taken: list[Tensor] = []
    layer = trunk.get_submodule(f"blocks.{block}.attn")
    handle = layer.get_submodule("qkv").register_forward_hook(lambda _m, _i, output: taken.append(output))
    with torch.inference_mode():
        tower.eval()(pixels)
    handle.remove()
    query, key, _ = taken[0].chunk(3, dim=-1)
    maps = [
        (query[..., part] @ key[..., part].transpose(-1, -2) / 8**0.5).softmax(-1)
        for part in (slice(head * 8, head * 8 + 8) for head in range(3))
    ]
    return torch.stack(maps, dim=1)


@pytest.mark.parametrize("adapted", [False, True])
def test_maps_are_the_softmax_of_queries_and_keys_with_adapters_and_without(adapted: bool) -> None:
    tower = tower_of()
    if adapted:
        apply_fine_tuning(tower, replace(TINY, fine_tuning="lora"))
        with torch.no_grad():
            for name, parameter in tower.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(generator=torch.Generator().manual_seed(3))
    found = attention_maps(tower, images(2), [0, 5])
    assert [tuple(each.shape) for each in found] == [(2, 3, 10, 10)] * 2
    for each, block in zip(found, (0, 5), strict=True):
        torch.testing.assert_close(each, slow_maps(tower, images(2), block), rtol=1e-4, atol=1e-6)


def test_adapters_change_the_attention() -> None:
    plain, adapted = tower_of(), tower_of()
    apply_fine_tuning(adapted, replace(TINY, fine_tuning="lora"))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.5)
    maps = [attention_maps(tower, images(1), [3])[0] for tower in (plain, adapted)]
    assert not torch.allclose(*maps, atol=1e-4)


@pytest.mark.parametrize("recipe", list(ROLLOUTS))
def test_one_image_alone_is_as_among_many(recipe: str) -> None:
    tower, how = tower_of(), ROLLOUTS[recipe]  # type: ignore[index]  # a recipe from the parameters
    together = attention_masks(tower, images(3), how)
    alone = torch.cat([attention_masks(tower, image[None], how) for image in images(3)])
    assert together.shape == (3, 3, 3)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
    if recipe == "corrected":
        assert together.amax(dim=(1, 2)).tolist() == pytest.approx([1, 1, 1])


def test_a_mask_is_what_the_class_token_takes_from_the_patches() -> None:
    tower, how = tower_of(), Rollout()
    rolled = roll_out(attention_maps(tower, images(2), range(1, 4)), how)
    row = rolled[1, 0, 1:]
    expected = (row / row.max()).reshape(3, 3)
    torch.testing.assert_close(attention_masks(tower, images(2), how)[1], expected)


def test_registers_are_left_out_of_the_mask() -> None:
    spec = replace(TINY, architecture="vit_small_patch14_reg4_dinov2", image_size=28, patch_size=7, depth=3)
    tower, how = tower_of(spec), Rollout(blocks="all", discard=0.5)
    maps = attention_maps(tower, images(2, 28), range(3))
    assert maps[0].shape == (2, 3, 1 + 4 + 16, 1 + 4 + 16)
    row = roll_out(maps, how)[0, 0, 5:]
    torch.testing.assert_close(attention_masks(tower, images(2, 28), how)[0], (row / row.max()).reshape(4, 4))


def test_without_a_class_token_the_mean_over_the_patches_is_read() -> None:
    tower, how = tower_of(TINY), Rollout(discard=0.5)
    tower.trunk.global_pool = "avg"  # type: ignore[assignment]  # as models without a class token are pooled
    rolled = roll_out(attention_maps(tower, images(1), range(1, 4)), how)
    expected = rolled[0, 1:, 1:].mean(dim=0)
    torch.testing.assert_close(attention_masks(tower, images(1), how)[0], (expected / expected.max()).reshape(3, 3))


def test_a_mask_of_which_nothing_is_kept_is_zero_and_no_nan() -> None:
    maps = attention_maps(tower := tower_of(), images(1), [1])
    rolled = roll_out(maps, ROLLOUTS["authors"])
    assert rolled[0, 0, 1:].sum() == 0  # all that the class token attends to is among the weakest of the map
    assert attention_masks(tower, images(1), ROLLOUTS["authors"]).tolist() == torch.zeros(1, 3, 3).tolist()
    assert attention_masks(tower, images(1), ROLLOUTS["corrected"]).max() == pytest.approx(1)


def test_the_tower_is_left_as_it_was() -> None:
    tower = tower_of().train()
    tower.trunk.get_submodule("blocks.2").eval()
    for block in (0, 4):
        tower.trunk.get_submodule(f"blocks.{block}.attn").fused_attn = True  # type: ignore[assignment]  # timm's flag
    state = [(name, module.training, getattr(module, "fused_attn", None)) for name, module in tower.named_modules()]
    before = tower.eval()(images(1))
    tower.train().trunk.get_submodule("blocks.2").eval()
    attention_masks(tower, images(1), Rollout(blocks="all"))
    after = [(name, module.training, getattr(module, "fused_attn", None)) for name, module in tower.named_modules()]
    assert after == state
    assert all(not module._forward_hooks for module in tower.modules())
    torch.testing.assert_close(tower.eval()(images(1)), before)


def test_the_tower_is_left_as_it_was_also_after_a_failure() -> None:
    tower = tower_of().train()
    with pytest.raises(AssertionError):
        attention_masks(tower, images(1, side=32), Rollout())
    assert tower.training
    assert all(not module._forward_hooks for module in tower.modules())


@pytest.mark.parametrize("architecture", ["resnet18", "swin_tiny_patch4_window7_224", "vit_base_patch16_siglip_224"])
def test_what_has_no_such_attention_is_refused(architecture: str) -> None:
    side = 224 if architecture.startswith("swin") else 64
    tower = build_tower(ImageTower(architecture=architecture, image_size=side), TowerInputs(), 8)
    with pytest.raises(SpecError, match="rolled out"):
        attention_masks(tower, images(1, side), Rollout())


def test_a_tower_over_features_is_refused() -> None:
    tower = build_tower(ImageTower(kind="features"), TowerInputs(image_feature_size=8), 4)
    with pytest.raises(SpecError, match="rolled out"):
        attention_masks(tower, torch.zeros(1, 8), Rollout())
