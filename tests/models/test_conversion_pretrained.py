"""Encoders released before alignment become weights that our towers begin with; published files go by short names."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from commands.convert import convert as convert_command
from workloads.conversion.convert import convert
from workloads.conversion.foreign_checkpoint import ForeignCheckpoint
from workloads.conversion.released import PUBLISHED, released_as
from workloads.data.specimens.barcode import authors_token_ids
from workloads.errors import ClibdError, ConversionError, UsageError, WeightsError
from workloads.models.build import TowerInputs, build_tower
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.storage import Folder
from workloads.tower_specs import DnaTower, ImageTower

WIDTH, DEPTH, EMBEDDING, IMAGE_SIZE = 128, 2, 48, 32
DNA = DnaTower(width=WIDTH, depth=DEPTH, num_heads=2, hidden_width=96, tokens="authors", pooling="softmax_mean")
IMAGE = ImageTower(image_size=IMAGE_SIZE, width=WIDTH, depth=DEPTH, num_heads=2, pixel_values="unit")
BARCODES = ["AACATTATATTTTATCTTTGGTATTTGATCAGGAATAG" * 18, "ACGTN" * 60]
Spoil = Callable[[dict[str, Tensor]], object]


def checkpoint(tensors: Mapping[str, Tensor], config: Mapping[str, int | str] | None = None) -> ForeignCheckpoint:
    return ForeignCheckpoint(Path("model_41.pth"), "0" * 64, tensors, config or {}, ())


@pytest.fixture(scope="module")
def language_model() -> nn.Module:
    declare_missing_operators()
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=1027,
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=2,
        intermediate_size=96,
        attn_implementation="eager",
    )
    with torch.random.fork_rng():
        torch.manual_seed(12)
        model: nn.Module = BertForMaskedLM(config).eval()
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):  # which transformers begins at zero
                nn.init.normal_(parameter, std=0.1)
    return model


def pretrained(language_model: nn.Module) -> dict[str, Tensor]:
    """As the authors' pre-training left it."""
    state = {name: tensor.detach().clone() for name, tensor in language_model.state_dict().items()}
    extra = {"classifier.weight": torch.ones(2, WIDTH), "classifier.bias": torch.ones(2)}
    return {**state, **extra, "bert.embeddings.position_ids": torch.arange(512).unsqueeze(0)}


@torch.no_grad()
def test_a_converted_barcodebert_begins_a_dna_tower_with_the_same_states(
    language_model: nn.Module, tmp_path: Path
) -> None:
    told: dict[str, int | str] = {"vocab_size": 1027, "num_attention_heads": 2, "hidden_act": "gelu"}
    done = convert(checkpoint(pretrained(language_model), told), Folder(tmp_path))
    assert set(done.leftovers) == {"bert.embeddings.position_ids", "classifier.weight", "classifier.bias"}
    tower = build_tower(replace(DNA, weights=str(tmp_path)), TowerInputs(), EMBEDDING).eval()
    ids = torch.from_numpy(authors_token_ids(BARCODES)).long()
    states = language_model.get_submodule("bert")(input_ids=ids).last_hidden_state
    transformed = language_model.get_submodule("cls.predictions.transform")(states)
    assert (tower.get_submodule("trunk")(input_ids=ids).last_hidden_state - states).abs().max() < 1e-6
    assert (tower.get_submodule("transform")(states) - transformed).abs().max() < 1e-6


def test_transformers_itself_reads_a_converted_barcodebert(language_model: nn.Module, tmp_path: Path) -> None:
    from transformers import BertForMaskedLM

    state = pretrained(language_model)
    state["cls.predictions.decoder.weight"] += 1  # a decoder of its own, which must not be tied to the embeddings
    convert(checkpoint(state), Folder(tmp_path), head_width=64)
    read, report = BertForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert all(torch.equal(tensor, state[name]) for name, tensor in read.state_dict().items())


@pytest.mark.parametrize(
    ("spoil", "told", "sentence"),
    [
        (lambda s: s.pop("cls.predictions.decoder.bias"), {}, r"DNA tower.*lacks 1 .*cls\.predictions\.decoder\.bias"),
        (lambda s: s.update({"bert.pooler.dense.bias": torch.ones(2)}), {}, r"used, bert\.pooler\.dense\.bias"),
        (lambda s: None, {"hidden_size": 768}, r"hidden_size = 768, .* 128"),
    ],
)
def test_a_barcodebert_that_is_not_whole_is_refused(
    spoil: Spoil, told: dict[str, int | str], sentence: str, language_model: nn.Module, tmp_path: Path
) -> None:
    state = pretrained(language_model)
    spoil(state)
    with pytest.raises(WeightsError, match=sentence):
        convert(checkpoint(state, told), Folder(tmp_path), head_width=64)
    assert list(tmp_path.iterdir()) == []


def vision_transformer(num_classes: int, num_heads: int = 2) -> nn.Module:
    declare_missing_operators()
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(13)
        model: nn.Module = timm.create_model(
            IMAGE.architecture,
            img_size=IMAGE_SIZE,
            embed_dim=WIDTH,
            depth=DEPTH,
            num_heads=num_heads,
            num_classes=num_classes,
        )
    return model.eval()


@torch.no_grad()
def test_a_converted_simclr_encoder_begins_an_image_tower(tmp_path: Path) -> None:
    theirs = vision_transformer(1000)
    done = convert(checkpoint(theirs.state_dict()), Folder(tmp_path), head_width=64)
    assert f"image_size={IMAGE_SIZE}, width={WIDTH}, depth={DEPTH}, num_heads=2" in done.use
    image = torch.randint(0, 256, (3, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8)
    logits = theirs(image.float() / 255)
    spec = replace(IMAGE, weights=f"{tmp_path}/model.safetensors")
    trunk = build_tower(spec, TowerInputs(), EMBEDDING).eval().get_submodule("trunk")
    assert (theirs.get_submodule("head")(trunk(image.float() / 255)) - logits).abs().max() < 1e-5
    compared = build_tower(replace(spec, head="pretrained"), TowerInputs(), 1000).eval()
    assert (compared(image) - logits).abs().max() < 1e-5


@torch.no_grad()
def test_heads_that_are_not_64_wide_are_said_by_whoever_converts_or_the_encoder_is_refused(tmp_path: Path) -> None:
    theirs = vision_transformer(1000, num_heads=4)
    with pytest.raises(WeightsError, match=r"image tower.*width is 128, .* how many attention heads.*--head-width 64"):
        convert(checkpoint(theirs.state_dict()), Folder(tmp_path))
    with pytest.raises(WeightsError, match="width is 128, which 2 heads of 48 do not fill"):
        convert(checkpoint(theirs.state_dict()), Folder(tmp_path), head_width=48)
    assert list(tmp_path.iterdir()) == []
    done = convert(checkpoint(theirs.state_dict()), Folder(tmp_path), head_width=32)
    assert "num_heads=4" in done.use
    image = torch.randint(0, 256, (3, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8)
    spec = replace(IMAGE, num_heads=4, weights=f"{tmp_path}/model.safetensors", head="pretrained")
    assert (build_tower(spec, TowerInputs(), 1000).eval()(image) - theirs(image.float() / 255)).abs().max() < 1e-5


def test_a_files_own_config_says_how_many_heads_there_are(language_model: nn.Module, tmp_path: Path) -> None:
    state = pretrained(language_model)
    with pytest.raises(WeightsError, match=r"DNA tower.*--head-width"):
        convert(checkpoint(state), Folder(tmp_path))
    with pytest.raises(WeightsError, match="which 3 heads do not fill"):
        convert(checkpoint(state, {"num_attention_heads": 3}), Folder(tmp_path))
    convert(checkpoint(state, {"num_attention_heads": 8}), Folder(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["num_attention_heads"] == 8


def test_an_encoder_with_a_tensor_too_many_is_refused(tmp_path: Path) -> None:
    tensors = {**vision_transformer(5).state_dict(), "extra": torch.ones(1)}
    with pytest.raises(WeightsError, match=r"image tower.* used, extra "):
        convert(checkpoint(tensors), Folder(tmp_path), head_width=64)


def test_tensors_of_no_known_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"layer1\.weight is of none"):
        convert(checkpoint({"layer1.weight": torch.ones(2)}), Folder(tmp_path))


def test_the_command_needs_a_folder_for_what_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--to is missing.*barcodebert-5mer, clibd-image-dna"):
        convert_command(str(tmp_path / "best.pth"), None, None)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "hub"


@pytest.mark.parametrize(
    ("name", "file", "target"),
    [
        ("barcodebert-5mer", "model_41.pth", "cache/weights/barcodebert-5mer"),
        ("clibd-image-dna", "bioscan_1m/image_dna_4gpu/best.pth", "clibd-image-dna"),
    ],
)
def test_an_unreachable_hub_is_a_sentence_with_what_to_fetch_and_what_to_run_then(
    name: str, file: str, target: str, hub_cache: Path
) -> None:
    with pytest.raises(ClibdError) as refused:
        convert_command(name, None, None)
    sentence = str(refused.value)
    assert PUBLISHED[name].file.endswith(file)
    assert f"https://huggingface.co/bioscan-ml/clibd/resolve/main/{PUBLISHED[name].file} " in sentence
    assert f"`hf download bioscan-ml/clibd {PUBLISHED[name].file} --local-dir .`" in sentence
    assert f"run `clibd convert {PUBLISHED[name].file} --to " in sentence
    assert sentence.endswith(f"{target}`.")
    assert "\n" not in sentence


def test_a_published_name_is_fetched_and_kept_where_towers_look_for_it(
    hub_cache: Path, language_model: nn.Module, tmp_path: Path
) -> None:
    repository, commit = hub_cache / "models--bioscan-ml--clibd", "3" * 40
    file = repository / "snapshots" / commit / PUBLISHED["barcodebert-5mer"].file
    file.parent.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    torch.save({f"module.{name}": tensor for name, tensor in pretrained(language_model).items()}, file)
    convert_command("barcodebert-5mer", None, None, head_width=64)
    kept = tmp_path / "cache" / "weights" / "barcodebert-5mer"
    assert json.loads((kept / "provenance.json").read_text())["converted"]["hub_revision"] == commit
    tower = build_tower(replace(DNA, weights="barcodebert-5mer"), TowerInputs(), EMBEDDING)
    words = tower.state_dict()["trunk.embeddings.word_embeddings.weight"]
    assert torch.equal(words, language_model.state_dict()["bert.embeddings.word_embeddings.weight"])


def test_a_published_file_is_known_by_the_folders_it_lies_in() -> None:
    file = PUBLISHED["clibd-5m-image-text"].file
    assert released_as(Path("/home/me") / file) is PUBLISHED["clibd-5m-image-text"]
    assert released_as(Path(file)) is PUBLISHED["clibd-5m-image-text"]
    assert released_as(Path("/home/me/best.pth")) not in PUBLISHED.values()


def test_every_published_model_says_what_it_was_trained_on() -> None:
    models = {name: file for name, file in PUBLISHED.items() if name.startswith("clibd-")}
    assert len(models) == 6
    assert all(f"/{model.dataset}/" in model.file for model in models.values())
    assert {model.dataset: model.epochs for model in models.values()} == {"bioscan_1m": 50, "bioscan_5m": 20}
