"""Released checkpoints become our files, embed the same to 1e-6, and nothing in them is passed over in silence.

The networks behind them are built here, tiny and with random weights, from their description.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor
from typer.testing import CliRunner

from commands.clibd import app
from commands.convert import convert as convert_command
from tests.models.authors_model import (
    DEPTH,
    EMBEDDING,
    IMAGE_SIZE,
    LABELS,
    MAX_TOKENS,
    PATCH,
    RANK,
    WIDTH,
    AuthorsModel,
    distance,
)
from workloads.conversion.convert import convert
from workloads.conversion.reading import Checkpoint
from workloads.conversion.sizes import Reader, image_tower
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.taxon_text import TextTokenizer, learn_word_pieces
from workloads.errors import ClibdError, UsageError
from workloads.evaluation.evaluate import ALL_PAIRS
from workloads.models.image_tower import build_image_tower
from workloads.models.loaded import open_run
from workloads.record import RunFolder
from workloads.spec import DnaPooling, ImageTower
from workloads.storage import Folder


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokeniser of a published text model, of a few hundred word pieces."""
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("words")
    pieces = Tokenizer.from_str(learn_word_pieces(LABELS))
    PreTrainedTokenizerFast(tokenizer_object=pieces, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(words: Path) -> TextTokenizer:
    return TextTokenizer.from_weights(str(words))


def authors_model(names: str, tokenizer: TextTokenizer, *, adapted: bool, fused_adapted: bool = True) -> AuthorsModel:
    with torch.random.fork_rng():
        torch.manual_seed(11)
        return AuthorsModel(names, tokenizer.vocabulary_size, adapted, fused_adapted).eval()


@pytest.fixture(scope="module")
def adapted(tokenizer: TextTokenizer) -> AuthorsModel:
    return authors_model("old", tokenizer, adapted=True)


@pytest.fixture
def state(adapted: AuthorsModel) -> dict[str, Tensor]:
    """Of the adapted model, to be spoiled."""
    return adapted.state()


RELEASED = Path("ckpt/bioscan_clip/ver_1_0/bioscan_1m/image_dna_text_4gpu/best.pth")
"""A published name, which says how DNA is pooled."""


def checkpoint(tensors: Mapping[str, Tensor], path: Path = RELEASED) -> Checkpoint:
    return Checkpoint(path, "0" * 64, tensors, {}, ())


@pytest.mark.parametrize(
    ("names", "lora", "fused", "num_merged"),
    [("old", True, True, 12), ("new", True, True, 12), ("old", False, True, 4), ("new", False, False, 0)],
    ids=["old names with LoRA", "new names with LoRA", "fully fine-tuned as released", "without any adapter"],
)
def test_a_converted_model_embeds_as_the_released_one(
    names: str, lora: bool, fused: bool, num_merged: int, tokenizer: TextTokenizer, words: Path, tmp_path: Path
) -> None:
    theirs = authors_model(names, tokenizer, adapted=lora, fused_adapted=fused)
    done = convert(checkpoint(theirs.state()), Folder(tmp_path), str(words))
    run = RunFolder(Folder(tmp_path))
    experiment = open_run(run)
    assert run.state() == "finished"
    assert distance(experiment.model, theirs, tokenizer) < 1e-6
    assert experiment.model.log_scale.item() == 3.25
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
    convert(checkpoint(zeroed), Folder(tmp_path), str(words))
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
    convert(checkpoint(two), Folder(tmp_path), str(words))
    experiment = open_run(RunFolder(Folder(tmp_path)))
    assert len(experiment.model.towers) == 2
    assert distance(experiment.model, adapted, tokenizer) < 1e-6
    assert (tmp_path / "tokenizer.json").exists() == (left_out != "language_encoder")


def test_a_converted_run_says_what_it_is_and_was_made_from(
    state: dict[str, Tensor], words: Path, tmp_path: Path
) -> None:
    convert(checkpoint(state), Folder(tmp_path), str(words))
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
        done[given] = convert(checkpoint(theirs.state()), Folder(tmp_path / given), str(words), given)
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
        with pytest.raises(UsageError, match=r"mine/best\.pth: .*--dna-pooling softmax_mean for a model of"):
            convert(checkpoint(theirs.state(), Path(name)), Folder(tmp_path), str(words))
    else:
        assert convert(checkpoint(theirs.state(), Path(name)), Folder(tmp_path), str(words)).dna_pooling == pooling


def test_a_model_without_dna_needs_no_variant(state: dict[str, Tensor], words: Path, tmp_path: Path) -> None:
    two = {name: tensor for name, tensor in state.items() if not name.startswith("dna_encoder")}
    assert convert(checkpoint(two, Path("mine.pth")), Folder(tmp_path), str(words)).dna_pooling is None


def test_a_variant_without_head_needs_the_towers_width_as_the_space(
    state: dict[str, Tensor], words: Path, tmp_path: Path
) -> None:
    with pytest.raises(ClibdError, match=rf"do not share a space: .*'DNA': {WIDTH}"):
        convert(checkpoint(state), Folder(tmp_path), str(words), "cls_token")


def test_a_model_of_the_released_sizes_gets_the_architecture_they_have() -> None:
    for name, (width, depth) in {"vit_base_patch16_224": (768, 12), "vit_large_patch16_224": (1024, 24)}.items():
        tensors = {f"blocks.{block}.norm1.weight": torch.empty(0, device="meta") for block in range(depth)}
        tensors["patch_embed.proj.weight"] = torch.empty(width, 3, 16, 16, device="meta")
        tensors["pos_embed"] = torch.empty(1, 197, width, device="meta")
        assert image_tower(Reader(Path("best.pth"), "image", tensors), "") == ImageTower(architecture=name)


def test_the_towers_of_a_converted_run_can_begin_another_one(
    state: dict[str, Tensor], words: Path, tmp_path: Path
) -> None:
    convert(checkpoint(state), Folder(tmp_path), str(words))
    run = RunFolder(Folder(tmp_path))
    spec, trained = run.spec(), open_run(run).model
    again = build_image_tower(replace(spec.image, weights=str(tmp_path)), None, EMBEDDING)
    assert torch.equal(again.state_dict()["trunk.norm.bias"], trained.state_dict()["towers.image.trunk.norm.bias"])


OLD_DNA = "dna_encoder.lora_barcode_bert"
SPOILED: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "no temperature": (lambda s: s.pop("logit_scale"), "cannot be converted: it lacks logit_scale"),
    "no head": (lambda s: s.pop("image_encoder.lora_vit.head.weight"), "image tower.*lacks head.weight"),
    "a norm is missing": (
        lambda s: s.pop("image_encoder.lora_vit.blocks.1.norm2.bias"),
        r"image tower.*lacks 1 tensor\(s\), towers.image.trunk.blocks.1.norm2.bias first",
    ),
    "a whole block is missing in the middle": (
        lambda s: [s.pop(name) for name in list(s) if f"{OLD_DNA}.bert.encoder.layer.0." in name],
        "DNA tower.*lacks trunk.encoder.layer.0.intermediate.dense.weight",
    ),
    "an unknown tensor in a transformer": (
        lambda s: s.update({"image_encoder.lora_vit.dist_token": torch.ones(1, 1, WIDTH)}),
        "image tower.*1 of its tensor.*image_encoder.lora_vit.dist_token first",
    ),
    "an unknown tensor in a head": (
        lambda s: s.update({f"{OLD_DNA}.cls.seq_relationship.bias": torch.ones(2)}),
        f"DNA tower.*{OLD_DNA}.cls.seq_relationship.bias is not known",
    ),
    "an unknown parameter": (lambda s: s.update(logit_bias=torch.ones(())), "logit_bias is of no vision transformer"),
    "OpenCLIP": (
        lambda s: s.update({"open_clip_model.visual.proj": torch.ones(2, 2)}),
        "open_clip_model.visual.proj is of an OpenCLIP model",
    ),
    "a projection beside OpenCLIP": (
        lambda s: s.update({"dna_projection.weight": torch.ones(2, 2)}),
        "dna_projection.weight is of an OpenCLIP model",
    ),
    "an encoder over features": (
        lambda s: s.update({"image_encoder.fc1.weight": torch.ones(2, 2)}),
        "image tower.*image_encoder.fc1.weight is of no vision transformer",
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
        "image tower.*has a bias with adapters and another without",
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
        r"image tower.*image_encoder.lora_vit.norm.bias is \(129,\) where \(128,\) is needed",
    ),
    "one tower": (
        lambda s: [s.pop(name) for name in list(s) if name.startswith(("dna_encoder", "language_encoder"))],
        r"it has 1 tower\(s\)",
    ),
    "two spaces": (
        lambda s: s.update({f"{OLD_DNA}.cls.predictions.decoder.weight": torch.ones(EMBEDDING + 1, WIDTH)}),
        "do not share a space",
    ),
    "a width that heads do not fill": (
        lambda s: s.update({"image_encoder.lora_vit.patch_embed.proj.weight": torch.ones(WIDTH + 1, 3, PATCH, PATCH)}),
        "its width is 129",
    ),
    "images that are not square": (
        lambda s: s.update({"image_encoder.lora_vit.pos_embed": torch.ones(1, 4, WIDTH)}),
        "has 3 patches, no square",
    ),
    "other k-mers": (
        lambda s: s.update({f"{OLD_DNA}.bert.embeddings.word_embeddings.weight": torch.ones(4099, WIDTH)}),
        "its vocabulary has 4099 tokens, 5-mers have 1027",
    ),
    "other word pieces": (
        lambda s: s.update({"language_encoder.lora_bert.embeddings.word_embeddings.weight": torch.ones(7, WIDTH)}),
        "text tower.*it has 7 word pieces and the tokeniser .*; --tokenizer names another one",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_model_with_a_tensor_too_many_too_few_or_wrong_is_refused_by_its_name(
    case: str, state: dict[str, Tensor], words: Path, tmp_path: Path
) -> None:
    spoil, sentence = SPOILED[case]
    spoil(state)
    with pytest.raises(ClibdError, match=sentence):
        convert(checkpoint(state), Folder(tmp_path), str(words))
    assert list(tmp_path.iterdir()) == []


def test_a_tokeniser_that_cannot_be_had_is_named_with_the_option_that_gives_one(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    with pytest.raises(ClibdError, match=r"--tokenizer names a folder"):
        convert(checkpoint(state), Folder(tmp_path / "to"), str(tmp_path / "nothing"))


def test_a_folder_that_holds_something_is_left_alone_unless_a_conversion_broke_off_in_it(
    state: dict[str, Tensor], words: Path, tmp_path: Path
) -> None:
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(UsageError, match="not empty"):
        convert(checkpoint(state), Folder(tmp_path), str(words))
    (tmp_path / "spec.json").unlink()
    convert(checkpoint(state), Folder(tmp_path), str(words))
    with pytest.raises(UsageError, match="not empty"):
        convert(checkpoint(state), Folder(tmp_path), str(words))
    (tmp_path / "status.json").unlink()
    convert(checkpoint(state), Folder(tmp_path), str(words))
    assert RunFolder(Folder(tmp_path)).state() == "finished"


def test_the_command_converts_a_file_and_accounts_for_it(
    adapted: AuthorsModel, tokenizer: TextTokenizer, words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, target = tmp_path / "last.pth", tmp_path / "converted"
    torch.save({"model": {f"module.{n}": t for n, t in adapted.state().items()}, "optimizer": {}}, file)
    convert_command(str(file), str(target), str(words), "softmax_mean")
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
    convert(checkpoint(state), Folder(tmp_path), str(words))
    result = CliRunner().invoke(
        app, ["evaluate", str(tmp_path), "--data", str(tiny_dataset.folder), "--format", "json"]
    )
    assert result.exit_code == 0, result.output
    measured = json.loads(result.stdout)
    asked = {(row["query"], row["key"]) for row in measured}
    assert asked == set(ALL_PAIRS)
    same = [row["ours"] for row in measured if row["query"] == row["key"] == "dna" and row["method"] == "clibd"]
    assert max(same) > 0
