"""Whole OpenCLIP models: found where they lie, prepared as they say, and refused where they do not fit."""

import json
import socket
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from workloads.errors import WeightsError
from workloads.models.openclip import find_openclip, load_openclip, open_clip_library

CPU = torch.device("cpu")
CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 24, "patch_size": 16, "head_width": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "resize_mode": "shortest"},
}


def published(folder: Path, config: Mapping[str, Any] = CONFIG, weights: str = "open_clip_model.safetensors") -> Any:
    """A tiny CLIP in the layout of the hub."""
    torch.manual_seed(4)
    model = open_clip_library().CLIP(**deepcopy(config["model_cfg"])).eval()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    if weights.endswith(".safetensors"):
        save_file(model.state_dict(), folder / weights)
    else:
        torch.save(model.state_dict(), folder / weights)
    return model


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something reaches for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def resized(picture: Image.Image, mode: str, filtering: Image.Resampling) -> Image.Image:
    """What the three ways to 32 x 32 pixels mean, said with Pillow alone."""
    width, height = picture.size
    if mode == "squash":
        return picture.resize((32, 32), filtering)
    if mode == "shortest":
        size = (32 * width // min(width, height), 32 * height // min(width, height))
        left, top = round((size[0] - 32) / 2), round((size[1] - 32) / 2)
        return picture.resize(size, filtering).crop((left, top, left + 32, top + 32))
    size = (round(32 * width / max(width, height)), round(32 * height / max(width, height)))
    canvas = Image.new("RGB", (32, 32))
    canvas.paste(picture.resize(size, filtering), ((32 - size[0]) // 2, (32 - size[1]) // 2))
    return canvas


@pytest.mark.parametrize("shape", [(64, 40), (45, 90), (33, 33), (20, 31)])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pictures_are_prepared_as_the_configuration_says(
    shape: tuple[int, int], mode: str, interpolation: str, tmp_path: Path
) -> None:
    preprocess = {**CONFIG["preprocess_cfg"], "resize_mode": mode, "interpolation": interpolation}
    published(tmp_path, {**CONFIG, "preprocess_cfg": preprocess})
    noise = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    small = resized(Image.fromarray(noise), mode, Image.Resampling[interpolation.upper()])
    expected = (np.asarray(small) / 255 - preprocess["mean"]) / preprocess["std"]
    clip = load_openclip(find_openclip(str(tmp_path)), CPU)
    found = clip.transform(Image.fromarray(noise)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)  # the pixels are the same bytes


def test_a_tag_of_openclips_list_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path))
    kept = tmp_path / "weights/timm/vit_base_patch16_clip_224.openai"
    published(kept, CONFIG, "open_clip_pytorch_model.bin")
    found = find_openclip("ViT-B-16:openai")
    assert (found.file.parent, found.name) == (kept, "ViT-B-16:openai")
    assert found.config["quick_gelu"]
    assert (found.preprocessing["size"], found.preprocessing["resize_mode"]) == (224, "shortest")
    with pytest.raises(WeightsError, match="it lacks "):  # these are of another model
        load_openclip(found, CPU)


def test_a_model_of_the_hub_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path))
    published(tmp_path / "weights/imageomics/bioclip")
    found = find_openclip("hf-hub:imageomics/bioclip")
    assert found.name == "BioCLIP"
    assert load_openclip(found, CPU).tokenizer(["Diptera"]).shape == (1, 77)


def test_a_tokeniser_of_hugging_face_is_taken_from_the_folder(tmp_path: Path) -> None:
    from transformers import BertTokenizerFast

    config = deepcopy(CONFIG)
    config["model_cfg"]["text_cfg"] |= {
        "hf_tokenizer_name": "someone/words",
        "context_length": 9,
        "vocab_size": 7,
        "pool_type": "last",
    }
    published(tmp_path, config)
    with pytest.raises(WeightsError, match=r"tokeniser .*tokenizer\.json"):
        load_openclip(find_openclip(str(tmp_path)), CPU)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "diptera", "culex"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    ids = load_openclip(find_openclip(str(tmp_path)), CPU).tokenizer(["Diptera Culex x"])
    assert ids.tolist() == [[2, 5, 6, 1, 3, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ("no_such_model", r"no hf-hub:owner/name, and no NAME:TAG"),
        ("ViT-B-16:no_such_tag", r"ViT-B-16 \(openai"),
        ("no-such:openai", "no such model"),
    ],
)
def test_weights_that_are_nothing_known_are_refused(weights: str, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        find_openclip(weights)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_cfg": None}, "no model_cfg"),
        ({"model_cfg": {**CONFIG["model_cfg"], "embed_dim": 25}}, "is needed"),
        ({"model_cfg": {**CONFIG["model_cfg"], "text_cfg": {"no_such": 1}}}, "cannot be built"),
        ({"model_cfg": {**CONFIG["model_cfg"], "vision_cfg": {"no_such": 1}}}, "preprocessing is not known"),
        ({"preprocess_cfg": {"resize_mode": "no_such"}}, "preprocessing is not known"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    published(tmp_path)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({**CONFIG, **change}))
    with pytest.raises(WeightsError, match=reason):
        load_openclip(find_openclip(str(tmp_path)), CPU)


def test_a_broken_folder_is_refused(tmp_path: Path) -> None:
    published(tmp_path)
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match="it cannot be read"):
        load_openclip(find_openclip(str(tmp_path)), CPU)
    (tmp_path / "open_clip_model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"no open_clip_model\.safetensors"):
        find_openclip(str(tmp_path))
    (tmp_path / "open_clip_config.json").write_text("[]")
    with pytest.raises(WeightsError, match="it is no object"):
        find_openclip(str(tmp_path))


def test_captioning_models_are_evaluated_like_others(tmp_path: Path) -> None:
    config = deepcopy(CONFIG)
    config["model_cfg"]["text_cfg"] |= {"context_length": 76, "embed_cls": True, "output_tokens": True}
    config["model_cfg"]["vision_cfg"]["output_tokens"] = True
    config["model_cfg"]["multimodal_cfg"] = {"width": 16, "context_length": 76, "layers": 1, "heads": 2}
    torch.manual_seed(4)
    theirs = open_clip_library().CoCa(**deepcopy(config["model_cfg"])).eval()
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    save_file(theirs.state_dict(), tmp_path / "open_clip_model.safetensors")
    clip = load_openclip(find_openclip(str(tmp_path)), CPU)
    ids, picture = clip.tokenizer(["Diptera"]), clip.transform(Image.new("RGB", (40, 50), "teal"))[None]
    with torch.no_grad():
        assert torch.equal(clip.model.encode_text(ids), theirs.encode_text(ids))
        assert torch.equal(clip.model.encode_image(picture), theirs.encode_image(picture))
