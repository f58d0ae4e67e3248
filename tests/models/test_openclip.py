"""OpenCLIP's towers: equal to the source model, built without a network, and loaded only where they fit."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from workloads.errors import SpecError, WeightsError
from workloads.models.build import TowerInputs, build_tower
from workloads.models.loaded import OpenClipTokenizer
from workloads.models.openclip import open_clip_library
from workloads.spec import ExperimentSpec
from workloads.tower_specs import ImageTower, TextTower

WriteRun = Callable[[Path, ExperimentSpec, nn.Module], str]

CLIP_SIZE = 512
"""Of the shared space of ViT-B-16."""
IMAGE = ImageTower(
    kind="openclip", architecture="ViT-B-16", image_size=32, patch_size=16, width=24, depth=2, num_heads=3
)
TEXT = TextTower(kind="openclip", architecture="ViT-B-16", width=16, depth=2, num_heads=2, hidden_width=64)
CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": CLIP_SIZE,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 24, "patch_size": 16, "head_width": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
    },
}


def built(spec: ImageTower | TextTower, embedding_size: int, pretrained: bool = True) -> nn.Module:
    return build_tower(spec, TowerInputs(), embedding_size, pretrained)


def pixels(batch: int = 3) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, 3, 32, 32), dtype=torch.uint8, generator=random)


def published(folder: Path, config: dict[str, Any] = CONFIG, custom: bool = False, name: str = "safetensors") -> Any:
    """A tiny CLIP in the layout of the hub, in OpenCLIP's older or newer form."""
    open_clip = open_clip_library()
    torch.manual_seed(4)
    model = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**deepcopy(config["model_cfg"])).eval()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    if name == "safetensors":
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    else:
        torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return model


@pytest.fixture(scope="module")
def tokenizer() -> OpenClipTokenizer:
    return OpenClipTokenizer()


@pytest.fixture(scope="module")
def ids(tokenizer: OpenClipTokenizer) -> Tensor:
    return torch.from_numpy(
        tokenizer.ids(["Diptera", "Diptera Chironomidae", "Lepidoptera Nymphalidae Danaus"], 77, True)
    )


@pytest.fixture(scope="module")
def model_and_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    folder = tmp_path_factory.mktemp("clip")
    return published(folder), str(folder)


@pytest.mark.parametrize(("custom", "name"), [(False, "safetensors"), (True, "bin")])
def test_both_towers_give_what_the_source_model_gives(custom: bool, name: str, tmp_path: Path, ids: Tensor) -> None:
    theirs = published(tmp_path, custom=custom, name=name)
    image = built(replace(IMAGE, weights=str(tmp_path)), CLIP_SIZE).eval()
    text = built(replace(TEXT, weights=str(tmp_path)), CLIP_SIZE).eval()
    assert isinstance(image.head, nn.Identity)
    assert isinstance(text.head, nn.Identity)
    channels = zip(pixels().unbind(1), CONFIG["preprocess_cfg"]["mean"], CONFIG["preprocess_cfg"]["std"], strict=True)
    scaled = torch.stack([(values / 255 - mean) / std for values, mean, std in channels], dim=1)
    with torch.no_grad():
        torch.testing.assert_close(image(pixels()), theirs.encode_image(scaled), rtol=0, atol=1e-6)
        torch.testing.assert_close(text(ids), theirs.encode_text(ids), rtol=0, atol=1e-6)


def test_another_shared_space_gets_a_new_head(model_and_folder: tuple[Any, str], ids: Tensor) -> None:
    folder = model_and_folder[1]
    image = built(replace(IMAGE, weights=folder), 8)
    text = built(replace(TEXT, weights=folder), 8)
    assert image(pixels()).shape == text(ids).shape == (3, 8)
    assert {name for name, _ in image.named_parameters() if name.startswith("head")} == {"head.weight", "head.bias"}


@pytest.mark.parametrize("embedding_size", [CLIP_SIZE, 8])
def test_gradients_reach_every_parameter(embedding_size: int, ids: Tensor) -> None:
    torch.manual_seed(0)
    for tower, values in (
        (built(IMAGE, embedding_size), pixels()),
        (built(TEXT, embedding_size), ids),
    ):
        tower.train()(values).square().sum().backward()
        for name, parameter in tower.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_a_tower_is_rebuilt_without_its_weights(ids: Tensor) -> None:
    gone = "hf-hub:owner/name"
    assert built(replace(IMAGE, weights=gone), 8, pretrained=False)(pixels()).shape == (3, 8)
    assert built(replace(TEXT, weights=gone), 8, pretrained=False)(ids).shape == (3, 8)


def test_the_models_of_the_paper_have_their_published_sizes() -> None:
    large = ImageTower(kind="openclip", architecture="ViT-L-14", weights="commonpool_xl_laion_s13b_b90k")
    base = ImageTower(kind="openclip", architecture="ViT-B-16", weights="hf-hub:imageomics/bioclip")
    label = TextTower(kind="openclip", width=768, depth=12, num_heads=12, hidden_width=3072)
    with torch.device("meta"):
        towers = [
            built(large, 768, pretrained=False),
            built(label, 768, pretrained=False),
            built(base, 512, pretrained=False),
        ]
    # CLIP's ViT-L/14 has 427.6 M parameters in all, one of them the temperature.
    assert [sum(p.numel() for p in tower.parameters()) for tower in towers] == [303_966_208, 123_650_304, 86_192_640]


@pytest.mark.parametrize(
    ("weights", "quick"),
    [(None, False), ("openai", True), ("commonpool_xl_laion_s13b_b90k", False), ("dfn2b", True)],
)
def test_tags_trained_with_the_cheaper_activation_get_it(weights: str | None, quick: bool) -> None:
    from open_clip.transformer import QuickGELU

    tower = built(replace(IMAGE, architecture="ViT-L-14", weights=weights), 8, pretrained=False)
    assert any(isinstance(module, QuickGELU) for module in tower.modules()) is quick


def test_a_tag_brings_the_pixels_it_was_trained_with() -> None:
    for weights, mean in {"laion2b_s32b_b82k": (0.5, 0.5, 0.5), "openai": (0.48145466, 0.4578275, 0.40821073)}.items():
        tower = built(replace(IMAGE, architecture="ViT-L-14", weights=weights), 8, pretrained=False)
        torch.testing.assert_close(tower.get_buffer("prepare.mean").flatten(), torch.tensor(mean))


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("width = 24", replace(IMAGE, width=27)),
        ("depth = 2", replace(IMAGE, depth=3)),
        ("num_heads = 3", replace(IMAGE, num_heads=2)),
        ("patch_size = 16", replace(IMAGE, patch_size=8)),
        ("image_size = 32", replace(IMAGE, image_size=48)),
        ("embed_dim = 512", replace(IMAGE, architecture="ViT-L-14")),
        ("quick_gelu = False", replace(IMAGE, architecture="ViT-B-16-quickgelu")),
    ],
)
def test_an_image_tower_that_the_spec_does_not_describe_is_refused(
    field: str, spec: ImageTower, model_and_folder: tuple[Any, str]
) -> None:
    with pytest.raises(WeightsError, match=f"{field}, the spec "):
        built(replace(spec, weights=model_and_folder[1]), 8)


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("width = 16", replace(TEXT, width=18)),
        ("depth = 2", replace(TEXT, depth=3)),
        ("num_heads = 2", replace(TEXT, num_heads=4)),
        ("hidden_width = 64", replace(TEXT, hidden_width=50)),
    ],
)
def test_a_text_tower_that_the_spec_does_not_describe_is_refused(
    field: str, spec: TextTower, model_and_folder: tuple[Any, str]
) -> None:
    with pytest.raises(WeightsError, match=f"{field}, the spec "):
        built(replace(spec, weights=model_and_folder[1]), 8)


def test_a_tags_sizes_are_compared_before_anything_is_fetched_into_the_tower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path))
    published(tmp_path / "weights/timm/vit_base_patch16_clip_224.openai")
    with pytest.raises(WeightsError, match=r"width = 512, .* 16"):
        built(replace(TEXT, weights="openai"), 8)


def test_weights_for_other_pixels_are_refused_where_pixels_are_normalised(tmp_path: Path) -> None:
    other = {**CONFIG, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}
    published(tmp_path, other)
    spec = replace(IMAGE, weights=str(tmp_path))
    with pytest.raises(WeightsError, match=r"mean = \(0\.5, 0\.5, 0\.5\)"):
        built(spec, 8)
    assert built(replace(spec, pixel_values="unit"), 8)(pixels()).shape == (3, 8)


@pytest.mark.parametrize("hidden_width", [64, 50, 33, 71])
def test_the_feed_forward_layers_are_exactly_as_wide_as_asked(hidden_width: int) -> None:
    tower = built(replace(TEXT, width=18, num_heads=2, hidden_width=hidden_width), 8, pretrained=False)
    widths = {value.shape[0] for name, value in tower.state_dict().items() if name.endswith("c_fc.weight")}
    assert widths == {hidden_width}


def test_a_hub_model_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ids: Tensor) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path))
    theirs = published(tmp_path / "weights/imageomics/bioclip", name="bin")
    text = built(replace(TEXT, weights="hf-hub:imageomics/bioclip"), CLIP_SIZE).eval()
    with torch.no_grad():
        torch.testing.assert_close(text(ids), theirs.encode_text(ids), rtol=0, atol=1e-6)


def test_an_unreachable_hub_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(WeightsError, match=r"put open_clip_config\.json into .*weights/imageomics/bioclip"):
        built(replace(IMAGE, weights="hf-hub:imageomics/bioclip"), 8)
    with pytest.raises(WeightsError, match=r"put open_clip_model\.safetensors or .* into .*/timm/vit_base"):
        built(replace(IMAGE, weights="openai"), 8)


def test_weights_that_are_nothing_known_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"ViT-B-16 \(openai, "):
        built(replace(IMAGE, weights="no_such_tag"), 8)
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(WeightsError, match="no model_cfg"):
        built(replace(IMAGE, weights=str(tmp_path)), 8)


def test_a_tensor_of_no_tower_is_refused(tmp_path: Path) -> None:
    model = published(tmp_path)
    save_file({**model.state_dict(), "extra.weight": torch.zeros(1)}, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(WeightsError, match=r"1 .* used, extra\.weight "):
        built(replace(IMAGE, weights=str(tmp_path)), 8)


def test_architectures_that_are_not_plain_clip_are_refused() -> None:
    with pytest.raises(SpecError, match="no model 'no-such'"):
        built(replace(IMAGE, architecture="no-such"), 8)
    with pytest.raises(SpecError, match="captioning"):
        built(replace(IMAGE, architecture="coca_base"), 8)
    with pytest.raises(SpecError, match="another text tower"):
        built(replace(TEXT, architecture="ViT-B-16-SigLIP"), 8)
    with pytest.raises(SpecError, match="sizes are fixed"):
        built(replace(IMAGE, architecture="EVA02-B-16"), 8)
    with pytest.raises(SpecError, match=r"width 24 .* 5 heads"):
        built(replace(IMAGE, num_heads=5), 8)


def test_a_tower_begins_where_a_run_ended(tmp_path: Path, write_run: WriteRun, ids: Tensor) -> None:
    spec = ExperimentSpec(dataset="d", data_fingerprint="f", modalities=("image", "text"), image=IMAGE, text=TEXT)
    model = nn.Module()
    model.towers = nn.ModuleDict({"image": built(IMAGE, 8), "text": built(TEXT, 8)})
    run = write_run(tmp_path / "run", spec, model)
    text = built(replace(TEXT, weights=run), 8)
    assert torch.equal(text(ids), model.towers["text"](ids))
    with pytest.raises(WeightsError, match="quick_gelu = False"):
        built(replace(IMAGE, architecture="ViT-B-16-quickgelu", weights=run), 8)
    other = replace(spec, image=ImageTower())
    (Path(run) / "spec.json").unlink()
    run = write_run(tmp_path / "other", other, model)
    with pytest.raises(WeightsError, match="of kind 'timm'"):
        built(replace(IMAGE, weights=run), 8)


def test_labels_become_ids_between_clips_marks(tokenizer: OpenClipTokenizer) -> None:
    ids = tokenizer.ids(["Diptera", "a " * 100, ""], 48, False)
    assert ids.shape == (3, 77)
    assert str(ids.dtype) == "int64"
    start, end = 49406, 49407
    assert set(ids[:, 0].tolist()) == {start}
    assert ids[1, -1] == end  # cut, but still closed
    assert ids[2].tolist() == [start, end] + [tokenizer.pad_id] * 75
    assert ids.max() < tokenizer.vocabulary_size == 49408


def test_the_tokeniser_gives_what_openclip_gives(tokenizer: OpenClipTokenizer) -> None:
    labels = ["Lepidoptera Nymphalidae Danaus Danaus plexippus", "Müllerian é"]
    expected = open_clip_library().tokenize(labels)
    assert tokenizer.ids(labels, 20, False).tolist() == expected.tolist()
    assert tokenizer.ids([], 20, True).shape == (0, 77)


def test_a_text_tower_has_the_sizes_of_the_spec_and_the_activation_of_the_tag() -> None:
    from open_clip.transformer import QuickGELU

    trunk = built(replace(TEXT, weights="openai"), 8, pretrained=False).get_submodule("trunk")
    blocks = [module for module in trunk.modules() if isinstance(module, nn.MultiheadAttention)]
    assert [(block.embed_dim, block.num_heads) for block in blocks] == [(16, 2)] * 2
    assert any(isinstance(module, QuickGELU) for module in trunk.modules())
