"""The towers: shapes, gradients, padding, and weights that others trained."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from workloads.data import barcode
from workloads.errors import WeightsError
from workloads.models.clibd import Clibd, build_model
from workloads.models.image_tower import build_image_tower
from workloads.models.sequence_towers import build_dna_tower, build_text_tower
from workloads.spec import DnaTower, ExperimentSpec, ImageTower, TextTower
from workloads.training.loss import contrastive_loss

VOCABULARY, FEATURES = 40, 11
TINY_DNA = DnaTower(width=16, depth=1, num_heads=2, hidden_width=32)
TINY_TEXT = TextTower(width=16, depth=1, num_heads=2, hidden_width=32)
TINY_IMAGE = ImageTower(
    architecture="vit_tiny_patch16_224", image_size=32, patch_size=16, width=24, depth=1, num_heads=3
)


def inputs(batch: int = 4) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {
        "image": torch.randint(0, 256, (batch, 3, 32, 32), dtype=torch.uint8, generator=random),
        "dna": torch.randint(1, barcode.VOCABULARY_SIZE, (batch, barcode.NUM_TOKENS), generator=random),
        "text": torch.randint(1, VOCABULARY, (batch, 9), generator=random),
    }


def built(spec: ExperimentSpec, feature_size: int | None = None) -> Clibd:
    return build_model(spec, feature_size, vocabulary_size=VOCABULARY, pad_id=0)


def test_every_modality_becomes_unit_rows_of_the_shared_size(tiny_spec: ExperimentSpec) -> None:
    embedded, scale = built(tiny_spec)(inputs())
    assert list(embedded) == ["image", "dna", "text"]
    for rows in embedded.values():
        assert rows.shape == (4, tiny_spec.embedding_size)
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(scale, torch.tensor(1 / 0.07))


def test_only_the_aligned_modalities_have_towers(tiny_spec: ExperimentSpec) -> None:
    model = built(replace(tiny_spec, modalities=("dna", "text")))
    assert set(model.towers) == {"dna", "text"}


@pytest.mark.parametrize("fine_tuning", ["full", "lora"])
@pytest.mark.parametrize("kind", ["bert", "clip"])
def test_gradients_reach_every_trained_parameter(
    tiny_spec: ExperimentSpec, fine_tuning: Literal["full", "lora"], kind: Literal["bert", "clip"]
) -> None:
    spec = replace(tiny_spec, fine_tuning=fine_tuning, text=replace(TINY_TEXT, kind=kind))
    model = built(spec).train()
    embedded, scale = model(inputs())
    contrastive_loss(embedded, scale).backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        # The first half of an adapter is multiplied by the second, which starts at zero.
        if "lora_A" not in name:
            assert parameter.grad.abs().sum() > 0, name


def test_gradients_reach_every_parameter_of_a_feature_tower() -> None:
    tower = build_image_tower(ImageTower(kind="features", width=13, depth=3, dropout=0.5), FEATURES, 6)
    embedded = tower(torch.randn(8, FEATURES, generator=torch.Generator().manual_seed(0)))
    assert embedded.shape == (8, 6)
    embedded.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tower.parameters())


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_depth_of_a_feature_tower_counts_its_linear_layers(depth: int) -> None:
    tower = build_image_tower(ImageTower(kind="features", width=13, depth=depth), FEATURES, 6)
    assert sum(isinstance(module, torch.nn.Linear) for module in tower.modules()) == depth


def test_a_feature_tower_refuses_a_data_set_of_pixels() -> None:
    with pytest.raises(WeightsError, match="holds pixels"):
        build_image_tower(ImageTower(kind="features"), None, 6)


def test_the_seed_alone_decides_the_first_weights(tiny_spec: ExperimentSpec) -> None:
    torch.manual_seed(99)
    one = built(tiny_spec).state_dict()
    torch.manual_seed(100)
    drawn_before = torch.random.get_rng_state()
    other = built(tiny_spec).state_dict()
    assert torch.equal(torch.random.get_rng_state(), drawn_before)
    assert all(torch.equal(one[name], other[name]) for name in one)
    third = built(replace(tiny_spec, seed=tiny_spec.seed + 1)).state_dict()
    name = "towers.dna.head.weight"
    assert not torch.equal(one[name], third[name])


def test_padding_does_not_change_the_embedding_of_a_barcode() -> None:
    tower = build_dna_tower(TINY_DNA, 8).eval()
    ids = inputs(3)["dna"][:, :20]
    padded = torch.cat([ids, torch.full((3, 31), barcode.PAD_ID)], dim=1)
    # Masked positions take part in the sums as zeros: rounding of fp32 only.
    torch.testing.assert_close(tower(padded), tower(ids), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["bert", "clip"])
def test_padding_does_not_change_the_embedding_of_a_label(kind: Literal["bert", "clip"]) -> None:
    tower = build_text_tower(replace(TINY_TEXT, kind=kind), 8, VOCABULARY, pad_id=0).eval()
    ids = inputs(3)["text"]
    padded = torch.cat([ids, torch.zeros(3, 5, dtype=torch.long)], dim=1)
    torch.testing.assert_close(tower(padded), tower(ids), rtol=0, atol=1e-6)


def test_a_label_among_longer_ones_is_embedded_as_alone() -> None:
    tower = build_text_tower(TINY_TEXT, 8, VOCABULARY, pad_id=0).eval()
    ids = inputs(3)["text"].clone()
    ids[1, 4:] = 0
    torch.testing.assert_close(tower(ids)[1], tower(ids[1:2, :4])[0], rtol=0, atol=1e-6)


def test_tokens_are_dropped_in_training_only_and_never_the_start() -> None:
    torch.manual_seed(0)
    tower = build_dna_tower(replace(TINY_DNA, dropout=0.0, token_dropout=1.0), 8)
    first, second = inputs(2)["dna"]
    second[0] = first[0] = barcode.START_ID
    batch = torch.stack([first, second])
    trained = tower.train()(batch)
    hidden = torch.full((1, barcode.NUM_TOKENS), barcode.UNKNOWN_ID)
    hidden[0, 0] = barcode.START_ID
    seen = tower.eval()(batch)
    torch.testing.assert_close(trained, tower(hidden).expand(2, -1), rtol=0, atol=1e-6)
    assert not torch.allclose(seen[0], seen[1], atol=1e-4)


def test_an_image_is_centred_before_the_transformer_sees_it() -> None:
    tower = build_image_tower(TINY_IMAGE, None, 8).eval()
    seen: list[Tensor] = []
    tower.get_submodule("transformer").register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    tower(torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 3, 32, 32))
    assert set(seen[0][0].flatten().tolist()) == {-1.0}
    assert set(seen[0][1].flatten().tolist()) == {1.0}


def published_bert(folder: Path, vocabulary_size: int) -> torch.nn.Module:
    """A tiny BERT in the layout of the hub."""
    from workloads.models.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    from transformers import BertConfig, BertModel

    torch.manual_seed(4)
    config = BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=20,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        pad_token_id=0,
    )
    model: torch.nn.Module = BertModel(config).eval()
    model.save_pretrained(folder)  # type: ignore[operator] # transformers' own, not nn.Module's
    return model


def test_a_dna_tower_loads_weights_in_hugging_face_layout(tmp_path: Path) -> None:
    theirs = published_bert(tmp_path, barcode.VOCABULARY_SIZE)
    tower = build_dna_tower(DnaTower(weights=str(tmp_path)), 8).eval()
    assert tower.head.in_features == 20
    ids = inputs(2)["dna"].clone()
    ids[1, 100:] = barcode.PAD_ID
    mask = (ids != barcode.PAD_ID).long()
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        found = tower.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        means = torch.stack([expected[0].mean(0), expected[1, :100].mean(0)])
        torch.testing.assert_close(tower(ids), tower.head(means), rtol=0, atol=1e-6)


def test_weights_with_too_small_a_vocabulary_are_refused(tmp_path: Path) -> None:
    published_bert(tmp_path, vocabulary_size=100)
    with pytest.raises(WeightsError, match="100 tokens, 5-mers need 1027"):
        build_dna_tower(DnaTower(weights=str(tmp_path)), 8)


def test_weights_that_lack_a_tensor_are_refused_instead_of_drawn(tmp_path: Path) -> None:
    published_bert(tmp_path, barcode.VOCABULARY_SIZE)
    file = tmp_path / "model.safetensors"
    tensors = {name: value for name, value in load_file(file).items() if name != "embeddings.LayerNorm.weight"}
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="lacks 1 tensor"):
        build_dna_tower(DnaTower(weights=str(tmp_path)), 8)


def test_a_damaged_weights_file_is_refused(tmp_path: Path) -> None:
    published_bert(tmp_path, barcode.VOCABULARY_SIZE)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="DNA tower"):
        build_dna_tower(DnaTower(weights=str(tmp_path)), 8)


@pytest.mark.parametrize("name", ["vit.safetensors", "vit.pth"])
def test_a_damaged_file_of_image_weights_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="image tower"):
        build_image_tower(replace(TINY_IMAGE, weights=str(tmp_path / name)), None, 8)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    published_bert(tmp_path, barcode.VOCABULARY_SIZE)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"intermediate_size": 24', '"intermediate_size": 28'))
    with pytest.raises(WeightsError, match="DNA tower"):
        build_dna_tower(DnaTower(weights=str(tmp_path)), 8)


def test_a_missing_folder_of_weights_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing")
    with pytest.raises(WeightsError, match="nothing"):
        build_dna_tower(DnaTower(weights=missing), 8)
    with pytest.raises(WeightsError, match="nothing"):
        build_text_tower(TextTower(weights=missing), 8, VOCABULARY, pad_id=0)
    with pytest.raises(WeightsError, match="no such file"):
        build_image_tower(replace(TINY_IMAGE, weights=missing), None, 8)


def test_an_image_tower_loads_a_local_file(tmp_path: Path) -> None:
    theirs = build_image_tower(TINY_IMAGE, None, 8).get_submodule("transformer").eval()
    file = tmp_path / "vit.safetensors"
    save_file({name: value.contiguous() for name, value in theirs.state_dict().items()}, file)
    tower = build_image_tower(replace(TINY_IMAGE, weights=str(file)), None, 8).get_submodule("transformer").eval()
    pixels = inputs(2)["image"].float()
    assert torch.equal(tower(pixels), theirs(pixels))


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(WeightsError, match="no_such_vit"):
        build_image_tower(ImageTower(architecture="no_such_vit"), None, 8)
