"""Released checkpoints become our files, embed the same to 1e-6, and nothing in them is passed over in silence.

The networks behind them are built here, tiny and with random weights, from their description.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from commands.clibd import app
from commands.convert import convert as convert_command
from tests.models.authors_model import (
    DEPTH,
    EMBEDDING,
    IMAGE_SIZE,
    MAX_TOKENS,
    WIDTH,
    AuthorsModel,
    authors_model,
    checkpoint,
    distance,
)
from workloads.conversion.convert import convert
from workloads.conversion.sizes import Reader, image_tower
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.taxon_text import TextTokenizer
from workloads.errors import ConversionError, UsageError
from workloads.evaluation.evaluate import ALL_PAIRS
from workloads.models.build import TowerInputs, build_tower
from workloads.models.loaded import open_run
from workloads.record import RunFolder
from workloads.storage import Folder
from workloads.tower_specs import DnaPooling, ImageTower


@pytest.mark.parametrize(
    ("names", "lora", "fused", "num_merged"),
    [("old", True, True, 12), ("new", True, True, 12), ("old", False, True, 4), ("new", False, False, 0)],
    ids=["old names with LoRA", "new names with LoRA", "fully fine-tuned as released", "without any adapter"],
)
def test_a_converted_model_embeds_as_the_released_one(
    names: str, lora: bool, fused: bool, num_merged: int, tokenizer: TextTokenizer, words: Path, tmp_path: Path
) -> None:
    theirs = authors_model(names, tokenizer, adapted=lora, fused_adapted=fused)
    done = convert(checkpoint(theirs.state()), Folder(tmp_path), str(words), head_width=64)
    run = RunFolder(Folder(tmp_path))
    loaded = open_run(run)
    assert run.state() == "finished"
    assert distance(loaded.model, theirs, tokenizer) < 1e-6
    assert loaded.model.log_scale.item() == 3.25
    assert done.num_merged == num_merged
    assert sorted(name.split(".", 2)[2] for name in done.leftovers) == [
        "bert.embeddings.position_ids",
        "cls.predictions.bias",
        "embeddings.position_ids",
        "pooler.dense.bias",
        "pooler.dense.weight",
    ]


def test_without_its_adapters_the_model_would_embed_otherwise(
    adapted: AuthorsModel, state: dict[str, Tensor], tokenizer: TextTokenizer, words: Path, tmp_path: Path
) -> None:
    zeroed = {n: torch.zeros_like(t) if ".linear_b_" in n or n.endswith("w_b.weight") else t for n, t in state.items()}
    convert(checkpoint(zeroed), Folder(tmp_path), str(words), head_width=64)
    assert distance(open_run(RunFolder(Folder(tmp_path))).model, adapted, tokenizer) > 1e-4


@pytest.mark.parametrize("left_out", ["dna_encoder", "language_encoder", "image_encoder"])
def test_two_towers_are_a_model_too(
    left_out: str,
    adapted: AuthorsModel,
    state: dict[str, Tensor],
    tokenizer: TextTokenizer,
    words: Path,
    tmp_path: Path,
) -> None:
    two = {name: tensor for name, tensor in state.items() if not name.startswith(left_out)}
    convert(checkpoint(two), Folder(tmp_path), str(words), head_width=64)
    loaded = open_run(RunFolder(Folder(tmp_path)))
    assert len(loaded.model.towers) == 2
    assert distance(loaded.model, adapted, tokenizer) < 1e-6
    assert (tmp_path / "tokenizer.json").exists() == (left_out != "language_encoder")


def test_a_converted_run_says_what_it_is_and_was_made_from(
    state: dict[str, Tensor], words: Path, tmp_path: Path
) -> None:
    convert(checkpoint(state), Folder(tmp_path), str(words), head_width=64)
    spec = RunFolder(Folder(tmp_path)).spec()
    assert spec.recipe == "authors"
    assert spec.modalities == ("image", "dna", "text")
    assert spec.embedding_size == EMBEDDING
    image, dna, text = spec.image, spec.dna, spec.text
    assert (image.width, image.depth, image.num_heads, image.image_size) == (WIDTH, DEPTH, 2, IMAGE_SIZE)
    assert (image.fine_tuning, image.pixel_values, image.weights) == ("full", "unit", None)
    assert (dna.width, dna.depth, dna.num_heads, dna.hidden_width) == (WIDTH, DEPTH, 2, EMBEDDING * 2)
    assert (dna.pooling, dna.tokens, dna.weights) == ("softmax_mean", "authors", None)
    assert (text.width, text.depth, text.num_heads, text.hidden_width) == (WIDTH, DEPTH, 2, EMBEDDING * 3)
    assert (text.pooling, text.max_tokens, text.missing_rank) == ("mean", MAX_TOKENS, "not_classified")
    source = json.loads((tmp_path / "provenance.json").read_text())["converted"]
    assert (source["file"], source["sha256"], source["merged_adapters"]) == ("best.pth", "0" * 64, 12)
    assert len(source["leftovers"]) == 5
    assert source["dna_pooling"] == "softmax_mean"


VARIANTS: dict[DnaPooling, str] = {
    "logits_mean": "image_dna_text_4gpu_logits_mean/best.pth",
    "hidden_mean": "image_dna_text_4gpu_hidden_state_mean/best.pth",
    "cls_token": "image_dna_text_cls_token/best.pth",
    "softmax_mean": "mine/best.pth",
}


@pytest.mark.parametrize("pooling", VARIANTS)
def test_a_later_variant_embeds_as_it_was_trained_and_not_as_another(
    pooling: DnaPooling, tokenizer: TextTokenizer, words: Path, tmp_path: Path
) -> None:
    """All have the same tensors."""
    with torch.random.fork_rng():
        torch.manual_seed(12)
        theirs = AuthorsModel("new", tokenizer.vocabulary_size, True, embedding=WIDTH, pooling=pooling).eval()
    done = {}
    for given in VARIANTS:
        done[given] = convert(checkpoint(theirs.state()), Folder(tmp_path / given), str(words), given, 64)
        away = distance(open_run(RunFolder(Folder(tmp_path / given))).model, theirs, tokenizer)
        assert away < 1e-6 if given == pooling else away > 1e-4
    assert RunFolder(Folder(tmp_path / pooling)).spec().dna.pooling == pooling
    dead = 6 if pooling in ("hidden_mean", "cls_token") else 0
    assert len(done[pooling].leftovers) == 5 + dead
    assert len(done["softmax_mean"].leftovers) == 5


@pytest.mark.parametrize(("pooling", "name"), VARIANTS.items())
def test_the_variant_is_known_by_a_published_name_or_has_to_be_said(
    pooling: DnaPooling, name: str, tokenizer: TextTokenizer, words: Path, tmp_path: Path
) -> None:
    theirs = AuthorsModel("new", tokenizer.vocabulary_size, False, embedding=WIDTH)
    if pooling == "softmax_mean":
        with pytest.raises(UsageError, match=r"mine/best\.pth: .*--dna-pooling softmax_mean"):
            convert(checkpoint(theirs.state(), Path(name)), Folder(tmp_path), str(words), head_width=64)
    else:
        done = convert(checkpoint(theirs.state(), Path(name)), Folder(tmp_path), str(words), head_width=64)
        assert done.dna_pooling == pooling


def test_a_model_without_dna_needs_no_variant(state: dict[str, Tensor], words: Path, tmp_path: Path) -> None:
    two = {name: tensor for name, tensor in state.items() if not name.startswith("dna_encoder")}
    assert convert(checkpoint(two, Path("mine.pth")), Folder(tmp_path), str(words), head_width=64).dna_pooling is None


def test_a_variant_without_head_needs_the_towers_width_as_the_space(
    state: dict[str, Tensor], words: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=rf"share a space: .*'DNA': {WIDTH}"):
        convert(checkpoint(state), Folder(tmp_path), str(words), "cls_token", 64)


def test_a_model_of_the_released_sizes_gets_the_architecture_they_have() -> None:
    for name, (width, depth) in {"vit_base_patch16_224": (768, 12), "vit_large_patch16_224": (1024, 24)}.items():
        tensors = {f"blocks.{block}.norm1.weight": torch.empty(0, device="meta") for block in range(depth)}
        tensors["patch_embed.proj.weight"] = torch.empty(width, 3, 16, 16, device="meta")
        tensors["pos_embed"] = torch.empty(1, 197, width, device="meta")
        assert image_tower(Reader(Path("best.pth"), "image", tensors), "") == ImageTower(architecture=name)


def test_the_towers_of_a_converted_run_can_begin_another_one(
    state: dict[str, Tensor], words: Path, tmp_path: Path
) -> None:
    convert(checkpoint(state), Folder(tmp_path), str(words), head_width=64)
    run = RunFolder(Folder(tmp_path))
    spec, trained = run.spec(), open_run(run).model
    again = build_tower(replace(spec.image, weights=str(tmp_path)), TowerInputs(), EMBEDDING)
    assert torch.equal(again.state_dict()["trunk.norm.bias"], trained.state_dict()["towers.image.trunk.norm.bias"])


def test_a_folder_that_holds_something_is_left_alone_unless_a_conversion_broke_off_in_it(
    state: dict[str, Tensor], words: Path, tmp_path: Path
) -> None:
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(UsageError, match="not empty"):
        convert(checkpoint(state), Folder(tmp_path), str(words), head_width=64)
    (tmp_path / "spec.json").unlink()
    convert(checkpoint(state), Folder(tmp_path), str(words), head_width=64)
    with pytest.raises(UsageError, match="not empty"):
        convert(checkpoint(state), Folder(tmp_path), str(words), head_width=64)
    (tmp_path / "status.json").unlink()
    convert(checkpoint(state), Folder(tmp_path), str(words), head_width=64)
    assert RunFolder(Folder(tmp_path)).state() == "finished"


def test_the_command_converts_a_file_and_accounts_for_it(
    adapted: AuthorsModel, tokenizer: TextTokenizer, words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, target = tmp_path / "last.pth", tmp_path / "converted"
    torch.save({"model": {f"module.{n}": t for n, t in adapted.state().items()}, "optimizer": {}}, file)
    convert_command(str(file), str(target), str(words), "softmax_mean", 64)
    printed = capsys.readouterr()
    assert printed.out == f"{target}\n"
    assert "12 adapters merged" in printed.err
    assert "5 leftovers dropped: dna_encoder.lora_barcode_bert.bert.embeddings.position_ids" in printed.err
    assert "Not looked at: optimizer" in printed.err
    assert "DNA is pooled as softmax_mean" in printed.err
    assert f"clibd evaluate {target} --data" in printed.err
    assert distance(open_run(RunFolder(Folder(target))).model, adapted, tokenizer) < 1e-6
    source = json.loads((target / "provenance.json").read_text())["converted"]
    assert source["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert source["beside"] == ["optimizer"]


def test_a_converted_model_is_evaluated_like_a_run_of_ours(
    state: dict[str, Tensor],
    words: Path,
    tiny_dataset: PreparedDataset,
    tmp_path: Path,
) -> None:
    convert(checkpoint(state), Folder(tmp_path), str(words), head_width=64)
    result = CliRunner().invoke(
        app, ["evaluate", str(tmp_path), "--data", str(tiny_dataset.folder), "--format", "json"]
    )
    assert result.exit_code == 0, result.output
    measured = json.loads(result.stdout)
    asked = {(row["query"], row["key"]) for row in measured}
    assert asked == set(ALL_PAIRS)
    same = [row["ours"] for row in measured if row["query"] == row["key"] == "dna" and row["method"] == "clibd"]
    assert max(same) > 0
