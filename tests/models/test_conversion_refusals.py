"""A released checkpoint with a tensor too many, too few or wrong is refused, and nothing is written."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.models.authors_model import EMBEDDING, PATCH, RANK, WIDTH, checkpoint
from workloads.conversion.convert import convert
from workloads.errors import ClibdError, WeightsError
from workloads.storage import Folder

OLD_DNA = "dna_encoder.lora_barcode_bert"
SPOILED: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "no temperature": (lambda s: s.pop("logit_scale"), "cannot be converted: it lacks logit_scale"),
    "no head": (lambda s: s.pop("image_encoder.lora_vit.head.weight"), "image tower.*lacks head.weight"),
    "a norm is missing": (
        lambda s: s.pop("image_encoder.lora_vit.blocks.1.norm2.bias"),
        r"image tower.*lacks 1 .* towers.image.trunk.blocks.1.norm2.bias ",
    ),
    "a whole block is missing in the middle": (
        lambda s: [s.pop(name) for name in list(s) if f"{OLD_DNA}.bert.encoder.layer.0." in name],
        "DNA tower.*lacks trunk.encoder.layer.0.intermediate.dense.weight",
    ),
    "an unknown tensor in a transformer": (
        lambda s: s.update({"image_encoder.lora_vit.dist_token": torch.ones(1, 1, WIDTH)}),
        "image tower.*1 .* used.*image_encoder.lora_vit.dist_token ",
    ),
    "an unknown tensor in a head": (
        lambda s: s.update({f"{OLD_DNA}.cls.seq_relationship.bias": torch.ones(2)}),
        f"DNA tower.*{OLD_DNA}.cls.seq_relationship.bias is not known",
    ),
    "an unknown parameter": (lambda s: s.update(logit_bias=torch.ones(())), "logit_bias is of no "),
    "OpenCLIP": (
        lambda s: s.update({"open_clip_model.visual.proj": torch.ones(2, 2)}),
        "open_clip_model.visual.proj is of an OpenCLIP ",
    ),
    "a projection beside OpenCLIP": (
        lambda s: s.update({"dna_projection.weight": torch.ones(2, 2)}),
        "dna_projection.weight is of an OpenCLIP ",
    ),
    "an encoder over features": (
        lambda s: s.update({"image_encoder.fc1.weight": torch.ones(2, 2)}),
        "image tower.*image_encoder.fc1.weight is of no ",
    ),
    "both generations of names": (
        lambda s: s.update({"image_encoder.base_image_encoder.head.bias": torch.ones(EMBEDDING)}),
        "image_encoder.base_image_encoder.head.bias and image_encoder.lora_vit.head.bias are one tensor",
    ),
    "half an adapter": (
        lambda s: s.pop("image_encoder.lora_vit.blocks.0.attn.qkv.linear_b_v.weight"),
        "image tower.*adapters of image_encoder.lora_vit.blocks.0.attn.qkv.*linear_b_v.weight is missing",
    ),
    "an adapter without its layer": (
        lambda s: s.pop(f"{OLD_DNA}.bert.encoder.layer.1.attention.self.value.w.weight"),
        "DNA tower.*lacks 2 tensor.*trunk.encoder.layer.1.attention.self.value.bias",
    ),
    "an adapter that would be added to every row": (
        lambda s: s.update({f"{OLD_DNA}.bert.encoder.layer.1.attention.self.query.w_b.weight": torch.ones(1, RANK)}),
        r"DNA tower.*\(1, 128\) cannot be added to \(128, 128\)",
    ),
    "a layer with adapters and without": (
        lambda s: s.update({"image_encoder.lora_vit.blocks.0.attn.qkv.bias": torch.ones(3 * WIDTH)}),
        "image tower.* bias with adapters and",
    ),
    "NaN": (
        lambda s: s["language_encoder.proj.bias"].fill_(math.nan),
        "text tower.*language_encoder.proj.bias holds NaN",
    ),
    "integers": (
        lambda s: s.update({"language_encoder.proj.bias": torch.ones(EMBEDDING, dtype=torch.int64)}),
        "text tower.*language_encoder.proj.bias holds torch.int64",
    ),
    "another shape": (
        lambda s: s.update({"image_encoder.lora_vit.norm.bias": torch.ones(WIDTH + 1)}),
        r"image tower.*image_encoder.lora_vit.norm.bias is \(129,\) .*\(128,\)",
    ),
    "one tower": (
        lambda s: [s.pop(name) for name in list(s) if name.startswith(("dna_encoder", "language_encoder"))],
        r"it has 1 tower\(s\)",
    ),
    "two spaces": (
        lambda s: s.update({f"{OLD_DNA}.cls.predictions.decoder.weight": torch.ones(EMBEDDING + 1, WIDTH)}),
        "share a space",
    ),
    "a width that heads do not fill": (
        lambda s: s.update({"image_encoder.lora_vit.patch_embed.proj.weight": torch.ones(WIDTH + 1, 3, PATCH, PATCH)}),
        "its width is 129",
    ),
    "images that are not square": (
        lambda s: s.update({"image_encoder.lora_vit.pos_embed": torch.ones(1, 4, WIDTH)}),
        "3 patches",
    ),
    "other k-mers": (
        lambda s: s.update({f"{OLD_DNA}.bert.embeddings.word_embeddings.weight": torch.ones(4099, WIDTH)}),
        "4099 .* 1027",
    ),
    "other word pieces": (
        lambda s: s.update({"language_encoder.lora_bert.embeddings.word_embeddings.weight": torch.ones(7, WIDTH)}),
        "text tower.* 7 word pieces .*--tokenizer",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_model_with_a_tensor_too_many_too_few_or_wrong_is_refused_by_its_name(
    case: str, state: dict[str, Tensor], words: Path, tmp_path: Path
) -> None:
    spoil, sentence = SPOILED[case]
    spoil(state)
    with pytest.raises(ClibdError, match=sentence):
        convert(checkpoint(state), Folder(tmp_path), str(words), head_width=64)
    assert list(tmp_path.iterdir()) == []


def test_a_tokeniser_that_cannot_be_had_is_named_with_the_option_that_gives_one(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="--tokenizer names a folder"):
        convert(checkpoint(state), Folder(tmp_path / "to"), str(tmp_path / "nothing"), head_width=64)
