"""The image tower: timm's models and features; shapes, gradients, pixels, and weights that others trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from workloads.errors import SpecError, WeightsError
from workloads.models.build import TowerInputs, build_tower
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.spec import ExperimentSpec
from workloads.tower_specs import ImageTower

WriteRun = Callable[[Path, ExperimentSpec, nn.Module], str]

FEATURES = 11
TINY = ImageTower(architecture="vit_tiny_patch16_224", image_size=32, patch_size=16, width=24, depth=2, num_heads=3)
RESNET = ImageTower(architecture="test_resnet.r160_in1k", image_size=32)
SIMCLR = ExperimentSpec(
    dataset="d",
    data_fingerprint="f",
    objective="simclr",
    modalities=("image",),
    image=replace(TINY, head="pretrained"),
    embedding_size=1000,
)


def pixels(batch: int = 3, size: int = 32) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, generator=random)


def built(spec: ImageTower, feature_size: int | None, embedding_size: int, pretrained: bool = True) -> nn.Module:
    return build_tower(spec, TowerInputs(image_feature_size=feature_size), embedding_size, pretrained)


def timm_model(spec: ImageTower, num_classes: int) -> nn.Module:
    """The same network as timm itself makes it."""
    declare_missing_operators()
    import timm

    torch.manual_seed(7)
    sizes = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 3} if spec is TINY else {}
    model: nn.Module = timm.create_model(spec.architecture, num_classes=num_classes, **sizes)
    return model.eval()


def stored(model: nn.Module, file: Path) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, file)
    return str(file)


def as_model(tower: nn.Module) -> nn.Module:
    model = nn.Module()
    model.towers = nn.ModuleDict({"image": tower})
    return model


@pytest.mark.parametrize("spec", [TINY, RESNET])
def test_a_timm_tower_embeds_and_its_gradients_reach_everything(spec: ImageTower) -> None:
    torch.manual_seed(0)
    tower = built(spec, None, 8).train()
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # the last of a block begins at zero and would hold gradients back
    embedded = tower(pixels())
    assert embedded.shape == (3, 8)
    embedded.square().sum().backward()
    assert {name.split(".")[0] for name, _ in tower.named_parameters()} == {"trunk", "head"}
    for name, parameter in tower.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("architecture", ["mobilenetv3_small_050", "efficientvit_b0", "hgnetv2_b0"])
def test_a_network_whose_output_is_wider_than_its_last_map_embeds(architecture: str) -> None:
    tower = built(ImageTower(architecture=architecture), None, 8).eval()
    assert tower(pixels(1, 64)).shape == (1, 8)


def test_the_papers_image_towers_have_their_published_sizes() -> None:
    with torch.device("meta"):
        towers = {
            name: built(ImageTower(architecture=name), None, 768)
            for name in ("vit_base_patch16_224", "vit_large_patch16_224", "resnet101")
        }
    sizes = {name: sum(p.numel() for p in tower.get_submodule("trunk").parameters()) for name, tower in towers.items()}
    # Vision transformers: patches, class token, positions, blocks and last norm; ResNet-101 without its last layer.
    assert sizes == {
        "vit_base_patch16_224": 85_798_656,
        "vit_large_patch16_224": 303_301_632,
        "resnet101": 44_549_160 - 2_049_000,
    }


@pytest.mark.parametrize(("spec", "mean", "std"), [
    (TINY, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    (replace(RESNET, architecture="resnet101"), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
])  # fmt: skip
def test_pixels_are_normalised_as_the_weights_expect(
    spec: ImageTower, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    image = pixels()
    found = built(spec, None, 8).get_submodule("prepare")(image)
    for channel in range(3):
        expected = (image[:, channel].double() / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(found[:, channel].double(), expected, rtol=0, atol=1e-6)


def test_black_and_white_become_the_ends_of_the_range() -> None:
    ends = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 3, 32, 32)
    for values, low in (("normalised", -1.0), ("unit", 0.0)):
        tower = built(replace(TINY, pixel_values=values), None, 8).eval()  # type: ignore[arg-type]
        seen: list[Tensor] = []
        tower.get_submodule("trunk").register_forward_pre_hook(
            lambda _, arguments, seen=seen: seen.append(arguments[0])
        )
        tower(ends)
        assert set(seen[0][0].flatten().tolist()) == {low}
        assert set(seen[0][1].flatten().tolist()) == {1.0}


def test_the_image_given_is_left_as_it_was() -> None:
    image = pixels()
    before = image.clone()
    built(TINY, None, 8)(image)
    assert torch.equal(image, before)


def test_constants_of_the_pixels_are_no_weights() -> None:
    assert not any(name.startswith("prepare") for name in built(TINY, None, 8).state_dict())


@pytest.mark.parametrize("spec", [TINY, RESNET])
def test_a_local_file_gives_what_timms_own_model_gives(spec: ImageTower, tmp_path: Path) -> None:
    theirs = timm_model(spec, num_classes=5)  # the classifier in the file is left out
    file = stored(theirs, tmp_path / "image.safetensors")
    tower = built(replace(spec, weights=file), None, 8).eval()
    with torch.no_grad():
        scaled = tower.get_submodule("prepare")(pixels())
        expected = theirs.forward_head(theirs.forward_features(scaled), pre_logits=True)  # type: ignore[operator]
        torch.testing.assert_close(tower(pixels()), tower.get_submodule("head")(expected), rtol=0, atol=1e-6)


def test_a_file_with_a_tensor_too_many_or_too_few_is_refused(tmp_path: Path) -> None:
    tensors = {name: value.contiguous() for name, value in timm_model(TINY, num_classes=0).state_dict().items()}
    file = tmp_path / "image.safetensors"
    save_file({**tensors, "other.weight": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match=r"used, other\.weight "):
        built(replace(TINY, weights=str(file)), None, 8)
    save_file({name: value for name, value in tensors.items() if name != "norm.bias"}, file)
    with pytest.raises(WeightsError, match=r"lacks 1 .* norm\.bias "):
        built(replace(TINY, weights=str(file)), None, 8)


def test_timms_own_weights_are_taken_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path))
    theirs = timm_model(TINY, num_classes=1000)
    stored(theirs, tmp_path / "weights/timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k/model.safetensors")
    tower = built(replace(TINY, weights="timm"), None, 8)
    trunk = tower.get_submodule("trunk").state_dict()
    assert all(torch.equal(trunk[name], value) for name, value in theirs.state_dict().items() if "head" not in name)
    classifying = built(replace(TINY, weights="timm", head="pretrained"), None, 1000).eval()
    with torch.no_grad():
        scaled = classifying.get_submodule("prepare")(pixels())
        torch.testing.assert_close(classifying(pixels()), theirs(scaled), rtol=0, atol=1e-6)


def test_timms_weights_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path))
    theirs = timm_model(TINY, num_classes=1000)
    stored(theirs, tmp_path / "weights/timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k/model.safetensors")
    with pytest.raises(WeightsError, match=r"Missing key.*blocks\.2\.norm1\.weight"):
        built(replace(TINY, depth=3, weights="timm"), None, 8)


def test_without_a_network_timms_weights_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(WeightsError, match=r"cannot be reached; put model\.safetensors"):
        built(replace(TINY, weights="timm"), None, 8)
    # A finished run is rebuilt all the same.
    assert built(replace(TINY, weights="timm"), None, 8, pretrained=False)(pixels()).shape == (3, 8)


def test_the_pretrained_head_is_timms_classifier() -> None:
    tower = built(replace(TINY, head="pretrained"), None, 1000)
    assert isinstance(tower.head, nn.Identity)
    assert tower(pixels()).shape == (3, 1000)
    with pytest.raises(SpecError, match=r"1000 numbers, .* 768"):
        built(replace(TINY, head="pretrained"), None, 768)


def test_a_tower_begins_where_simclr_left_it_with_a_new_head(tmp_path: Path, write_run: WriteRun) -> None:
    trained = built(SIMCLR.image, None, SIMCLR.embedding_size)
    run = write_run(tmp_path / "run", SIMCLR, as_model(trained))
    tower = built(replace(TINY, weights=run), None, 8)
    expected = trained.get_submodule("trunk").state_dict()
    found = tower.get_submodule("trunk").state_dict()
    assert expected.keys() - found.keys() == {"head.weight", "head.bias"}
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert tower(pixels()).shape == (3, 8)


def test_a_tower_begins_where_an_aligned_one_ended(tmp_path: Path, write_run: WriteRun) -> None:
    trained = built(TINY, None, 8).eval()
    run = write_run(tmp_path / "run", ExperimentSpec(dataset="d", data_fingerprint="f", image=TINY), as_model(trained))
    tower = built(replace(TINY, weights=run), None, 8).eval()
    assert torch.equal(tower(pixels()), trained(pixels()))
    with pytest.raises(WeightsError, match=r"head\.weight is \(8, \d+\) .*\(9, \d+\)"):
        built(replace(TINY, weights=run), None, 9)


def test_what_timm_does_not_have_or_take_is_refused() -> None:
    with pytest.raises(SpecError, match="'no_such_vit'"):
        built(ImageTower(architecture="no_such_vit"), None, 8)
    with pytest.raises(SpecError, match="embed_dim"):
        built(replace(RESNET, width=24), None, 8)


@pytest.mark.parametrize("name", ["vit.safetensors", "vit.pth"])
def test_a_damaged_file_of_image_weights_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="cannot be read"):
        built(replace(TINY, weights=str(tmp_path / name)), None, 8)


def test_a_missing_file_of_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nothing.*no such file"):
        built(replace(TINY, weights=str(tmp_path / "nothing")), None, 8)


def test_gradients_reach_every_parameter_of_a_feature_tower() -> None:
    torch.manual_seed(0)
    tower = built(ImageTower(kind="features", width=13, depth=3, dropout=0.5), FEATURES, 6)
    embedded = tower(torch.randn(8, FEATURES))
    assert embedded.shape == (8, 6)
    embedded.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tower.parameters())


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_depth_of_a_feature_tower_counts_its_linear_layers(depth: int) -> None:
    tower = built(ImageTower(kind="features", width=13, depth=depth), FEATURES, 6)
    assert sum(isinstance(module, nn.Linear) for module in tower.modules()) == depth


@pytest.mark.parametrize("hidden", ["relu", "residual"])
def test_features_meet_noise_of_their_own_size_in_training_alone(hidden: Literal["relu", "residual"]) -> None:
    plain = built(ImageTower(kind="features", width=13, depth=2, hidden=hidden), FEATURES, 6)
    noisy = built(ImageTower(kind="features", width=13, depth=2, hidden=hidden, noise=0.5), FEATURES, 6)
    _scale, _shift, *layers = plain.state_dict().values()  # which are 1 and 0, and not learned beside noise
    noisy.load_state_dict(dict(zip(noisy.state_dict(), layers, strict=True)))
    features = 3 + 7 * torch.randn(2000, FEATURES)
    assert torch.equal(noisy.eval()(features), plain.eval()(features))
    seen: list[torch.Tensor] = []
    first, last = (next(tower.get_submodule("trunk").children()) for tower in (plain, noisy))
    last.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    noisy.train()(features)
    added = seen[0] - first(features)
    assert added.std().item() == pytest.approx(0.5, rel=0.02)
    assert added.mean().item() == pytest.approx(0, abs=0.02)


def test_a_feature_tower_is_as_wide_and_deep_as_the_authors_unless_told() -> None:
    tower = built(ImageTower(kind="features"), FEATURES, 6)
    shapes = [tuple(module.weight.shape) for module in tower.modules() if isinstance(module, nn.Linear)]
    assert shapes == [(512, FEATURES), (512, 512), (6, 512)]


def test_a_feature_tower_begins_from_a_run_and_from_nothing_else(tmp_path: Path, write_run: WriteRun) -> None:
    spec = ImageTower(kind="features", width=13)
    trained = built(spec, FEATURES, 6)
    run = write_run(tmp_path / "run", ExperimentSpec(dataset="d", data_fingerprint="f", image=spec), as_model(trained))
    tower = built(replace(spec, weights=run), FEATURES, 6)
    features = torch.randn(2, FEATURES, generator=torch.Generator().manual_seed(0))
    assert torch.equal(tower(features), trained(features))
    with pytest.raises(WeightsError, match="from scratch"):
        built(replace(spec, weights="timm"), FEATURES, 6)


def test_a_feature_tower_refuses_what_it_cannot_be() -> None:
    with pytest.raises(WeightsError, match="holds pixels"):
        built(ImageTower(kind="features"), None, 6)
    with pytest.raises(SpecError, match="depth of -1"):
        built(ImageTower(kind="features", depth=-1), FEATURES, 6)
