"""The whole model: unit rows, two views, what is frozen, classification, and the seed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.errors import SpecError
from workloads.models.build import TowerInputs, build_model, checkpoint_blocks
from workloads.models.clibd import Classifier, Clibd
from workloads.spec import ExperimentSpec
from workloads.tower_specs import DnaTower, FineTuning, ImageTower, Lora, TextTower

WriteRun = Callable[[Path, ExperimentSpec, nn.Module], str]

VOCABULARY, BARCODE_VOCABULARY = 40, 1027
INPUTS = TowerInputs(vocabulary_size=VOCABULARY, pad_id=0)
SPEC = ExperimentSpec(
    dataset="d",
    data_fingerprint="f",
    image=ImageTower(architecture="vit_tiny_patch16_224", image_size=32, patch_size=16, width=24, depth=2, num_heads=3),
    dna=DnaTower(width=16, depth=2, num_heads=2, hidden_width=32, dropout=0.5),
    text=TextTower(width=16, depth=2, num_heads=2, hidden_width=32, dropout=0.5),
    embedding_size=16,
)


def inputs(batch: int = 4) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {
        "image": torch.randint(0, 256, (batch, 3, 32, 32), dtype=torch.uint8, generator=random),
        "dna": torch.randint(1, BARCODE_VOCABULARY, (batch, 133), generator=random),
        "text": torch.randint(1, VOCABULARY, (batch, 9), generator=random),
    }


def tuned(spec: ExperimentSpec, fine_tuning: FineTuning, layers: tuple[int, ...] | None = None) -> ExperimentSpec:
    lora = Lora(rank=2, alpha=2, layers=layers)
    return replace(
        spec,
        image=replace(spec.image, fine_tuning=fine_tuning, lora=lora),
        dna=replace(spec.dna, fine_tuning=fine_tuning, lora=lora),
        text=replace(spec.text, fine_tuning=fine_tuning, lora=lora),
    )


def plain_loss(embedded: dict[str, Tensor], scale: Tensor) -> Tensor:
    """Enough of a loss that every pair of embeddings and the scale have a gradient."""
    rows = list(embedded.values())
    total = torch.zeros(())
    for one in rows:
        for other in rows:
            if one is not other:
                total = total - (scale * one @ other.T).log_softmax(1).diagonal().mean()
    return total


def test_every_modality_becomes_unit_rows_of_the_shared_size() -> None:
    embedded, scale = build_model(SPEC, INPUTS)(inputs())
    assert list(embedded) == ["image", "dna", "text"]
    for rows in embedded.values():
        assert rows.shape == (4, 16)
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(scale, torch.tensor(1 / 0.07))


def test_under_autocast_rows_are_still_fp32() -> None:
    model = build_model(SPEC, INPUTS)
    with torch.autocast("cpu", torch.bfloat16):
        embedded, scale = model(inputs())
    assert all(rows.dtype == torch.float32 for rows in embedded.values())
    assert scale.dtype == torch.float32


def test_only_the_aligned_modalities_have_towers() -> None:
    model = build_model(replace(SPEC, modalities=("dna", "text")), INPUTS)
    assert set(model.towers) == {"dna", "text"}


def test_another_view_goes_through_the_same_tower() -> None:
    spec = replace(SPEC, objective="simclr", modalities=("image",))
    model = build_model(spec, INPUTS).eval()
    first, second = inputs(2)["image"], inputs(4)["image"][2:]
    embedded, _ = model({"image": first, "image/other": second})
    assert list(embedded) == ["image", "image/other"]
    torch.testing.assert_close(embedded["image/other"], model({"image": second})[0]["image"], rtol=0, atol=1e-6)
    assert not torch.allclose(embedded["image"], embedded["image/other"], atol=1e-3)


@pytest.mark.parametrize("trainable", [True, False])
def test_the_temperature_is_trained_or_fixed(trainable: bool) -> None:
    spec = replace(SPEC, modalities=("dna", "text"), trainable_temperature=trainable, initial_temperature=0.5)
    model = build_model(spec, INPUTS)
    assert ("log_scale" in dict(model.named_parameters())) is trainable
    assert "log_scale" in model.state_dict()
    torch.testing.assert_close(model({"dna": inputs()["dna"]})[1], torch.tensor(2.0))


@pytest.mark.parametrize("fine_tuning", ["full", "lora", "full_and_lora", "frozen"])
def test_gradients_reach_every_trained_parameter_and_no_other(fine_tuning: FineTuning) -> None:
    torch.manual_seed(0)
    model = build_model(tuned(SPEC, fine_tuning), INPUTS).train()
    plain_loss(*model(inputs())).backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        # The first half of an adapter is multiplied by the second, which starts at zero.
        if "lora_A" not in name:
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("fine_tuning", ["lora", "frozen"])
def test_a_step_moves_what_learns_and_nothing_frozen(fine_tuning: FineTuning) -> None:
    torch.manual_seed(0)
    model = build_model(tuned(SPEC, fine_tuning), INPUTS).train()
    before = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(2):  # in the first step only the half of an adapter that is zero has a gradient
        optimizer.zero_grad()
        plain_loss(*model(inputs())).backward()
        optimizer.step()
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name or ".head." in name or name == "log_scale" for name in moved)
    assert any("lora_A" in name for name in moved) is (fine_tuning == "lora")


def test_a_frozen_trunk_stays_in_evaluation_mode() -> None:
    spec = replace(SPEC, dna=replace(SPEC.dna, fine_tuning="frozen"))
    model = build_model(spec, INPUTS)
    for _ in range(2):
        assert not any(module.training for module in model.towers["dna"].get_submodule("trunk").modules())
        assert model.towers["dna"].get_submodule("head").training
        assert model.towers["text"].get_submodule("trunk").training
        model.eval()
        assert not model.towers["text"].training
        model.train()
    first, second = (model(inputs())[0] for _ in range(2))
    assert torch.equal(first["dna"], second["dna"])
    assert not torch.equal(first["text"], second["text"])  # dropout


def test_running_statistics_of_a_frozen_network_do_not_move() -> None:
    spec = replace(
        SPEC,
        modalities=("image", "dna"),
        image=ImageTower(architecture="test_resnet", image_size=32, fine_tuning="frozen"),
    )
    model = build_model(spec, INPUTS).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    assert any("running_mean" in name for name in before)
    model({"image": inputs()["image"]})
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


@pytest.mark.parametrize("layers", [(0,), (1,)])
def test_adapters_are_put_into_the_chosen_blocks_of_every_tower(layers: tuple[int, ...]) -> None:
    model = build_model(tuned(SPEC, "lora", layers), INPUTS)
    adapted = [name for name, module in model.named_modules() if hasattr(module, "lora_A")]
    assert len(adapted) == 3 * 2
    assert all(f".{layers[0]}." in name for name in adapted)


def test_adapters_change_nothing_before_training() -> None:
    before, scale = build_model(SPEC, INPUTS).eval()(inputs())
    after, adapted_scale = build_model(tuned(SPEC, "lora"), INPUTS).eval()(inputs())
    assert scale == adapted_scale
    for name in before:
        # Splitting the fused layer regroups sums: rounding of fp32 only.
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6)


def test_the_seed_alone_decides_the_first_weights() -> None:
    torch.manual_seed(99)
    one = build_model(SPEC, INPUTS).state_dict()
    torch.manual_seed(100)
    drawn_before = torch.random.get_rng_state()
    other = build_model(SPEC, INPUTS).state_dict()
    assert torch.equal(torch.random.get_rng_state(), drawn_before)
    assert all(torch.equal(one[name], other[name]) for name in one)
    third = build_model(replace(SPEC, seed=SPEC.seed + 1), INPUTS).state_dict()
    assert not torch.equal(one["towers.dna.head.weight"], third["towers.dna.head.weight"])


@pytest.mark.parametrize("fine_tuning", ["full", "lora", "frozen"])
def test_a_finished_run_is_rebuilt_and_begun_from_without_its_first_weights(
    fine_tuning: FineTuning, tmp_path: Path, write_run: WriteRun
) -> None:
    spec = tuned(SPEC, fine_tuning)
    trained = build_model(spec, INPUTS)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    run = write_run(tmp_path / "run", spec, trained)
    weights = {"weights": run}
    begun = replace(
        SPEC,
        image=replace(SPEC.image, **weights),  # type: ignore[arg-type]
        dna=replace(SPEC.dna, **weights),  # type: ignore[arg-type]
        text=replace(SPEC.text, **weights),  # type: ignore[arg-type]
    )
    expected = trained.eval()(inputs())[0]
    found = build_model(begun, INPUTS).eval()(inputs())[0]
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=2e-6)
    rebuilt = build_model(begun, INPUTS, pretrained=False)
    rebuilt.load_state_dict(build_model(begun, INPUTS).state_dict())


def classifying(fine_tuning: FineTuning = "full") -> ExperimentSpec:
    return tuned(replace(SPEC, objective="classify", modalities=("image",)), fine_tuning)


@pytest.mark.parametrize("fine_tuning", ["full", "frozen"])
def test_a_classifier_gives_logits_of_what_its_tower_embeds(fine_tuning: FineTuning) -> None:
    model = build_model(classifying(fine_tuning), replace(INPUTS, num_classes=7))
    assert isinstance(model, Classifier)
    image = {"image": inputs()["image"]}
    logits, scale = model(image)
    assert logits["image"].shape == (4, 7)
    assert scale == 1.0
    expected = model.classifier(model.towers["image"](image["image"]))
    torch.testing.assert_close(logits["image"], expected)
    logits["image"].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert model.classifier.weight.grad is not None
    assert {"towers.image.head.weight", "classifier.weight", "log_scale"} <= model.state_dict().keys()
    assert model.towers["image"].get_submodule("trunk").training is (fine_tuning == "full")


@pytest.mark.parametrize("modality", ["image", "dna"])
def test_a_classifiers_features_are_what_stands_in_front_of_its_new_layers(
    modality: Literal["image", "dna"], tmp_path: Path, write_run: WriteRun
) -> None:
    spec, sizes = replace(SPEC, objective="classify", modalities=(modality,)), replace(INPUTS, num_classes=7)
    own: dict[str, Tensor] = {modality: inputs()[modality]}
    model = build_model(spec, sizes).eval()
    features = model.embed(own)[modality]
    torch.testing.assert_close(features.norm(dim=1), torch.ones(4))
    tower = model.towers[modality]
    logits = tower.get_submodule("head")(features)  # the head is linear, so that lengths do not matter beside the bias
    expected = tower(own[modality])
    bias = tower.get_submodule("head").get_parameter("bias")
    torch.testing.assert_close(F.normalize(logits - bias, dim=1), F.normalize(expected - bias, dim=1))
    assert features.shape[1] == {"image": 24, "dna": 16}[modality]

    aligned = build_model(SPEC, INPUTS)
    run = write_run(tmp_path / "run", SPEC, aligned)
    begun = replace(spec, **{modality: replace(getattr(SPEC, modality), weights=run)})
    found = build_model(begun, sizes).eval().embed(own)[modality]
    torch.testing.assert_close(found, aligned.eval()({modality: own[modality]})[0][modality], rtol=0, atol=2e-6)


def test_features_of_the_authors_barcodebert_are_those_behind_its_softmax() -> None:
    dna = replace(SPEC.dna, tokens="authors", pooling="softmax_mean")
    spec = replace(SPEC, objective="classify", modalities=("dna",), dna=dna)
    model = build_model(spec, replace(INPUTS, num_classes=7)).eval()
    own = {"dna": inputs()["dna"]}
    torch.testing.assert_close(model.embed(own)["dna"], F.normalize(model.towers["dna"](own["dna"]), dim=1))


def test_a_classifier_needs_classes() -> None:
    with pytest.raises(SpecError, match=r"two species .* 0"):
        build_model(classifying(), INPUTS)


class Kept(torch.autograd.graph.saved_tensors_hooks):
    """Counts the numbers that are kept for the backward pass."""

    def __init__(self) -> None:
        self.numbers = 0
        super().__init__(self._count, lambda tensor: tensor)

    def _count(self, tensor: Tensor) -> Tensor:
        self.numbers += tensor.numel()
        return tensor


@pytest.mark.parametrize("modality", ["image", "dna", "text"])
def test_recomputing_blocks_changes_no_number(modality: Literal["image", "dna", "text"]) -> None:
    spec = replace(SPEC, objective="classify", modalities=(modality,))
    batch = {modality: inputs()[modality]}
    results = []
    for recompute in (False, True):
        model = build_model(spec, replace(INPUTS, num_classes=3)).train()
        if recompute:
            checkpoint_blocks(model)
        torch.manual_seed(0)  # dropout is on for DNA and text
        kept = Kept()
        with kept:
            logits = model(batch)[0][modality]
        logits.square().sum().backward()
        results.append((logits, {name: p.grad for name, p in model.named_parameters()}, kept.numbers))
    (plain, gradients, all_kept), (again, same, few_kept) = results
    assert torch.equal(plain, again)
    for name, gradient in gradients.items():
        torch.testing.assert_close(same[name], gradient, rtol=0, atol=1e-6)
    assert few_kept < all_kept


def test_frozen_trunks_and_those_that_cannot_are_left_alone() -> None:
    spec = replace(
        SPEC, image=replace(SPEC.image, kind="features", width=8), dna=replace(SPEC.dna, fine_tuning="frozen")
    )
    model = build_model(spec, replace(INPUTS, image_feature_size=5))
    checkpoint_blocks(model)
    batch = {**inputs(), "image": torch.randn(4, 5, generator=torch.Generator().manual_seed(0))}
    embedded, _ = model(batch)
    assert isinstance(model, Clibd)
    assert embedded["image"].shape == (4, 16)
    recomputed = {
        name: any(getattr(module, "gradient_checkpointing", False) for module in tower.modules())
        for name, tower in model.towers.items()
    }
    assert recomputed == {"image": False, "dna": False, "text": True}
