"""Where first weights come from: runs, folders, the cache, the hub; and that nothing about them is silent."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from workloads.errors import WeightsError
from workloads.models.fine_tuning import SplitAttention, add_lora, plain_layers
from workloads.models.weights import fill, is_run, load_tensors, with_first_weights
from workloads.spec import ExperimentSpec
from workloads.tower_specs import ImageTower, Lora
from workloads.weight_files import published_file

NOBODY = "nobody publishes any"
WriteRun = Callable[[Path, ExperimentSpec, nn.Module], str]


class Attention(nn.Module):
    """Attention in the three layouts that adapters split or not: fused, PyTorch's own, and separate layers."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.Module()
        self.attn.qkv = nn.Linear(8, 24)
        self.mha = nn.MultiheadAttention(8, 2, batch_first=True)
        self.attention = nn.Module()
        self.attention.query, self.attention.key, self.attention.value = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, states: Tensor) -> Tensor:
        fused = self.attn.get_submodule("qkv")(states)
        own = self.mha(states, states, states, need_weights=False)[0]
        separate = [self.attention.get_submodule(name)(states) for name in ("query", "key", "value")]
        return torch.cat([fused, own, *separate], dim=-1)


class Tower(nn.Module):
    def __init__(self, seed: int, embedding_size: int = 5) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.trunk = Attention()
        self.head = nn.Linear(8, embedding_size)


def trained_with_adapters(lora: Lora) -> tuple[Tower, ExperimentSpec]:
    """A tower whose adapters have moved away from zero, and the spec of its run."""
    tower = Tower(seed=1)
    add_lora(tower.trunk, lora)
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    spec = ExperimentSpec(
        dataset="d", data_fingerprint="f", image=ImageTower(fine_tuning="lora", lora=lora), modalities=("image", "dna")
    )
    return tower, spec


def model_of(tower: nn.Module) -> nn.Module:
    model = nn.Module()
    model.towers = nn.ModuleDict({"image": tower, "dna": nn.Linear(2, 2)})
    return model


@pytest.mark.parametrize("layers", [None, (0,), (1, 2)])
def test_a_runs_adapters_are_merged_into_plain_layers(
    layers: tuple[int, ...] | None, tmp_path: Path, write_run: WriteRun
) -> None:
    tower, spec = trained_with_adapters(Lora(rank=2, alpha=6, layers=layers))
    run = write_run(tmp_path / "run", spec, model_of(tower))
    assert is_run(run)
    plain = with_first_weights("image", run, Tower(seed=2), NOBODY)
    states = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    # W x + B A x against (W + B A) x: rounding of fp32 only.
    torch.testing.assert_close(plain.trunk(states), tower.trunk(states), rtol=0, atol=2e-5)
    torch.testing.assert_close(plain.head.weight, tower.head.weight, rtol=0, atol=0)


def test_the_runs_own_alpha_and_rank_scale_the_update() -> None:
    random = torch.Generator().manual_seed(0)
    weight, first, second = (torch.randn(shape, generator=random) for shape in ((4, 3), (2, 3), (4, 2)))
    merged = plain_layers(
        {
            "q.base_layer.weight": weight,
            "q.base_layer.bias": torch.ones(4),
            "q.lora_A.default.weight": first,
            "q.lora_B.default.weight": second,
        },
        scale=3.0,
    )
    expected = weight.clone()
    for row in range(4):
        for column in range(3):
            for inner in range(2):
                expected[row, column] += 3.0 * second[row, inner] * first[inner, column]
    assert merged.keys() == {"q.weight", "q.bias"}
    torch.testing.assert_close(merged["q.weight"], expected, rtol=0, atol=1e-6)


def test_parts_of_a_split_layer_are_joined_in_order_and_others_left_alone() -> None:
    parts = {f"a.{layer}.{part}.weight": torch.full((1, 2), float(index)) for layer in ("qkv", "in_proj")
             for index, part in enumerate(("query", "key", "value"))}  # fmt: skip
    alone = {"attention.self.query.weight": torch.ones(1)}
    fused = plain_layers({**parts, **alone}, scale=1.0)
    assert fused.keys() == {"a.qkv.weight", "a.in_proj_weight", "attention.self.query.weight"}
    assert fused["a.qkv.weight"].tolist() == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]


def test_split_attention_is_stored_so_that_it_can_be_joined() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    split = SplitAttention(attention).state_dict()
    joined = plain_layers({f"attn.{name}": value for name, value in split.items()}, scale=1.0)
    original = {f"attn.{name}": value for name, value in attention.state_dict().items()}
    assert joined.keys() == original.keys()
    assert all(torch.equal(joined[name], original[name]) for name in original)


def test_a_runs_head_comes_along_and_a_missing_one_stays_as_drawn(tmp_path: Path, write_run: WriteRun) -> None:
    spec = ExperimentSpec(dataset="d", data_fingerprint="f")
    stored, fresh = Tower(seed=3), Tower(seed=4)
    with_first_weights("image", write_run(tmp_path / "whole", spec, model_of(stored)), fresh, NOBODY)
    assert torch.equal(fresh.head.weight, stored.head.weight)
    del stored.head
    drawn = Tower(seed=5)
    before = drawn.head.weight.clone()
    with_first_weights("image", write_run(tmp_path / "headless", spec, model_of(stored)), drawn, NOBODY)
    assert torch.equal(drawn.head.weight, before)
    assert torch.equal(drawn.trunk.mha.in_proj_weight, stored.trunk.mha.in_proj_weight)


def test_a_run_without_that_tower_is_refused(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "run", ExperimentSpec(dataset="d", data_fingerprint="f"), model_of(Tower(seed=0)))
    with pytest.raises(WeightsError, match="has no text tower"):
        with_first_weights("text", run, Tower(seed=0), NOBODY)


def test_a_failed_run_is_refused(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "run", ExperimentSpec(dataset="d", data_fingerprint="f"), model_of(Tower(seed=0)))
    (Path(run) / "status.json").write_text(json.dumps({"state": "failed"}))
    with pytest.raises(WeightsError, match="'failed'"):
        with_first_weights("image", run, Tower(seed=0), NOBODY)


@pytest.mark.parametrize("file", ["spec.json", "status.json", "model.safetensors"])
def test_a_damaged_run_is_refused(file: str, tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(tmp_path / "run", ExperimentSpec(dataset="d", data_fingerprint="f"), model_of(Tower(seed=0)))
    (Path(run) / file).write_text("not what it was")
    with pytest.raises(WeightsError, match="cannot be read"):
        with_first_weights("image", run, Tower(seed=0), NOBODY)


def test_a_folder_without_a_status_is_no_run(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert not is_run(str(tmp_path))


def test_a_tower_is_filled_in_its_own_precision() -> None:
    layer = nn.Linear(2, 3)
    half = {name: tensor.half() for name, tensor in nn.Linear(2, 3).state_dict().items()}
    fill("image", "file", layer, half)
    assert layer.weight.dtype == torch.float32
    assert torch.equal(layer.weight, half["weight"].float())


def test_a_missing_an_unused_and_a_misshapen_tensor_are_named() -> None:
    layer = nn.Linear(2, 3)
    whole = {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}
    with pytest.raises(WeightsError, match=r"lacks 1 .* bias "):
        fill("image", "file", layer, {"weight": whole["weight"]})
    with pytest.raises(WeightsError, match=r"2 .* used, more "):
        fill("image", "file", layer, {**whole, "more": torch.zeros(1), "other": torch.zeros(1)}, ignored=["mor"])
    with pytest.raises(WeightsError, match=r"weight is \(2, 2\) .*\(3, 2\)"):
        fill("image", "file", layer, {**whole, "weight": torch.zeros(2, 2)})
    fill("image", "file", layer, {**whole, "more": torch.ones(1)}, ignored=["more"])
    assert not layer.weight.any()


def test_nothing_is_filled_when_something_does_not_fit() -> None:
    layer = nn.Linear(2, 3)
    before = layer.weight.clone()
    with pytest.raises(WeightsError):
        fill("image", "file", layer, {"weight": torch.zeros(3, 2)})
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_tensors_are_read_from_either_kind_of_file(wrapper: str | None, tmp_path: Path) -> None:
    tensors = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    if wrapper is None:
        save_file(tensors, tmp_path / "a.safetensors")
        assert torch.equal(load_tensors("DNA", tmp_path / "a.safetensors")["a"], tensors["a"])
    torch.save({wrapper: tensors, "epoch": 3} if wrapper else tensors, tmp_path / "a.pth")
    found = load_tensors("DNA", tmp_path / "a.pth")
    assert found.keys() == tensors.keys()
    assert torch.equal(found["b"], tensors["b"])


class Exploding:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch exploded",)


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Exploding()}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_tensors("DNA", tmp_path / "a.pth")
    assert not (tmp_path / "exploded").exists()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="something else"):
        load_tensors("DNA", tmp_path / "a.pth")
    for name in ("b.safetensors", "b.bin"):
        (tmp_path / name).write_bytes(b"not weights")
        with pytest.raises(WeightsError, match="cannot be read"):
            load_tensors("DNA", tmp_path / name)


def test_the_first_file_that_is_there_is_taken_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b.bin").touch()
    assert published_file("text", str(tmp_path), "a.bin", "b.bin") == tmp_path / "b.bin"
    with pytest.raises(WeightsError, match=r"no c\.bin or d\.bin"):
        published_file("text", str(tmp_path), "c.bin", "d.bin")
    with pytest.raises(WeightsError, match="no such folder"):
        published_file("text", str(tmp_path / "nothing"), "a.bin")


@pytest.mark.parametrize("weights", ["owner/name", "hf-hub:owner/name"])
def test_the_cache_is_looked_into_before_the_hub(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path))
    kept = tmp_path / "weights" / "owner" / "name"
    kept.mkdir(parents=True)
    (kept / "model.safetensors").touch()
    assert published_file("text", weights, "model.safetensors") == kept / "model.safetensors"


def test_an_unreachable_hub_is_one_sentence_that_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(WeightsError) as caught:
        published_file("text", "owner/name", "model.safetensors", "pytorch_model.bin")
    message = str(caught.value)
    assert "model.safetensors or pytorch_model.bin is not on this machine and the hub cannot be reached" in message
    assert f"into {tmp_path}/cache/weights/owner/name, or name a local folder" in message
    assert "\n" not in message


def test_a_file_in_the_hubs_own_cache_is_found_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--owner--name"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "pytorch_model.bin").touch()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    found = published_file("text", "owner/name", "model.safetensors", "pytorch_model.bin")
    assert found == snapshot / "pytorch_model.bin"


def test_a_name_that_no_hub_could_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="no such model"):
        published_file("text", "a//b", "model.safetensors")
