"""BarcodeBERT: its poolings against the source architecture, padding, token dropout, and published weights."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workloads.data.specimens import barcode
from workloads.errors import WeightsError
from workloads.models.bert import CONVERTED_WEIGHTS, BertTower
from workloads.models.build import TowerInputs, build_tower
from workloads.models.torchvision_ops import declare_missing_operators
from workloads.tower_specs import WITHOUT_HEAD, DnaPooling, DnaTower

POOLINGS: tuple[DnaPooling, ...] = get_args(DnaPooling)
TINY = DnaTower(width=16, depth=2, num_heads=2, hidden_width=32)
AUTHORS = replace(TINY, tokens="authors", pooling="softmax_mean")
EMBEDDING = 6
CONVERSION = "run `clibd convert barcodebert-5mer`"


def some_ids(batch: int = 3, tokens: int = 20) -> Tensor:
    """5-mer ids without padding, behind the start."""
    random = torch.Generator().manual_seed(1)
    ids = torch.randint(barcode.FIRST_KMER_ID, barcode.VOCABULARY_SIZE, (batch, tokens), generator=random)
    ids[:, 0] = barcode.START_ID
    return ids


def built(spec: DnaTower, pretrained: bool = True) -> BertTower:
    torch.manual_seed(3)
    tower = build_tower(spec, TowerInputs(), EMBEDDING, pretrained)
    assert isinstance(tower, BertTower)
    return tower


def masked_language_model(vocabulary_size: int = barcode.VOCABULARY_SIZE, **overrides: Any) -> Any:
    """The source architecture, tiny and with random biases and norms, so that each of them shows."""
    declare_missing_operators()
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(4)
    model = BertForMaskedLM(BertConfig(vocab_size=vocabulary_size, **{**sizes, **overrides})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def published(folder: Path, tensors: Mapping[str, Tensor], **changes: object) -> str:
    """A folder in Hugging Face layout."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        "vocab_size": barcode.VOCABULARY_SIZE,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 512,
    }
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    save_file({name: tensor.detach().clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return str(folder)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_reach_every_parameter(pooling: DnaPooling) -> None:
    tower = built(replace(TINY, pooling=pooling, token_dropout=0.2)).train()
    embedded = tower(some_ids())
    size = TINY.width if pooling in WITHOUT_HEAD else EMBEDDING
    assert embedded.shape == (3, size)
    (embedded * torch.randn(size, generator=torch.Generator().manual_seed(0))).sum().backward()
    for name, parameter in tower.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("pooling", POOLINGS)
def test_trunk_transform_and_head_are_all_there_is(pooling: DnaPooling) -> None:
    parts = {name for name, _ in built(replace(TINY, pooling=pooling)).named_children()}
    assert parts == {"trunk", "head"} | ({"transform"} if pooling in ("softmax_mean", "logits_mean") else set())


def by_definition(tower: BertTower, states: Tensor, real: Tensor) -> Tensor:
    """Each embedding of the last states (batch, tokens, width), token by token as the docstring has them."""
    rows = []
    for barcode_states, is_real in zip(states, real, strict=True):
        if tower.pooling == "cls_token":
            rows.append(barcode_states[0])
            continue
        total, count = torch.zeros(()), 0
        for state, counts in zip(barcode_states, is_real, strict=True):
            if tower.pooling == "masked_mean" and not counts:
                continue
            if tower.pooling in ("softmax_mean", "logits_mean"):
                state = tower.head.weight @ tower.transform(state) + tower.head.bias
            if tower.pooling == "softmax_mean":
                state = state.exp() / state.exp().sum()
            total, count = total + state, count + 1
        mean = total / count
        headed = tower.pooling in ("masked_mean", "mean")
        rows.append(tower.head.weight @ mean + tower.head.bias if headed else mean)
    return torch.stack(rows)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_pooling_is_what_its_definition_says_forward_and_backward(pooling: DnaPooling) -> None:
    tower = built(replace(TINY, pooling=pooling)).eval()
    ids = some_ids(3, 11)
    ids[1, 7:] = barcode.PAD_ID
    real = ids != barcode.PAD_ID
    weight = torch.randn(3, TINY.width, generator=torch.Generator().manual_seed(2))
    looked_at = real.long() if pooling == "masked_mean" else None
    states = tower.trunk(input_ids=ids, attention_mask=looked_at).last_hidden_state
    expected, found = by_definition(tower, states, real), tower(ids)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)  # rounding of sums in another order
    gradients = []
    for embedded in (expected, found):
        tower.zero_grad()
        (embedded * weight[:, : embedded.shape[1]]).sum().backward(retain_graph=True)
        gradients.append({name: parameter.grad.clone() for name, parameter in tower.named_parameters()
                          if parameter.grad is not None})  # fmt: skip
    assert gradients[0].keys() == gradients[1].keys() == dict(tower.named_parameters()).keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


def test_the_authors_tower_has_the_parameters_of_the_paper() -> None:
    """87.4 million, of which their unused bias over the vocabulary is none."""
    with torch.device("meta"):
        tower = build_tower(DnaTower(tokens="authors", pooling="softmax_mean"), TowerInputs(), 768)
    assert sum(parameter.numel() for parameter in tower.parameters()) == 87_422_208


@pytest.mark.parametrize("pooling", ["softmax_mean", "logits_mean"])
def test_a_mean_over_logits_is_the_masked_language_model_with_another_decoder(
    pooling: DnaPooling, tmp_path: Path
) -> None:
    theirs = masked_language_model()
    tower = built(replace(AUTHORS, pooling=pooling, weights=published(tmp_path, theirs.state_dict()))).eval()
    theirs.cls.predictions.decoder = tower.head
    ids = torch.from_numpy(barcode.authors_token_ids(["ACGTA" * 40, "ACGTN" * 140]).astype("int64"))
    assert ids[0, 0] == barcode.PAD_ID  # the authors' start, which must be looked at
    logits = theirs(input_ids=ids).logits
    found = tower(ids)
    expected = (logits.softmax(dim=-1) if pooling == "softmax_mean" else logits).mean(dim=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    if pooling == "softmax_mean":
        torch.testing.assert_close(found.sum(dim=1), torch.ones(2))


@pytest.mark.parametrize("pooling", ["masked_mean", "mean"])
def test_the_other_poolings_are_means_of_the_last_states(pooling: DnaPooling, tmp_path: Path) -> None:
    theirs = masked_language_model()
    tower = built(replace(TINY, pooling=pooling, weights=published(tmp_path, theirs.state_dict()))).eval()
    ids = some_ids(2, 30)
    ids[1, 12:] = barcode.PAD_ID
    mask = (ids != barcode.PAD_ID).long() if pooling == "masked_mean" else None
    states = theirs.bert(input_ids=ids, attention_mask=mask).last_hidden_state
    counted = 12 if pooling == "masked_mean" else 30
    means = torch.stack([states[0].mean(0), states[1, :counted].mean(0)])
    torch.testing.assert_close(tower(ids), tower.head(means), rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_fused_attention_gives_the_same_embeddings(pooling: DnaPooling, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(TINY, pooling=pooling)
    plain = built(spec).eval()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    fused = built(spec).eval()
    kernels = [getattr(tower.trunk.config, "_attn_implementation", None) for tower in (plain, fused)]
    assert kernels == ["eager", "sdpa"]
    ids = some_ids()
    ids[1, 5:] = barcode.PAD_ID
    torch.testing.assert_close(fused(ids), plain(ids), rtol=0, atol=1e-6)


def test_padding_does_not_change_a_masked_mean() -> None:
    tower = built(TINY).eval()
    ids = some_ids()
    padded = torch.cat([ids, torch.full((3, 31), barcode.PAD_ID)], dim=1)
    # Masked positions take part in the sums as zeros: rounding of fp32 only.
    torch.testing.assert_close(tower(padded), tower(ids), rtol=0, atol=1e-6)


def test_padding_changes_a_mean_over_all_positions() -> None:
    tower = built(replace(TINY, pooling="mean")).eval()
    ids = some_ids()
    padded = torch.cat([ids, torch.full((3, 31), barcode.PAD_ID)], dim=1)
    assert not torch.allclose(tower(padded), tower(ids), atol=1e-4)


@pytest.mark.parametrize("tokens", ["own", "authors"])
def test_tokens_are_dropped_in_training_only_and_never_the_start(tokens: Literal["own", "authors"]) -> None:
    tower = built(replace(TINY, tokens=tokens, pooling="mean", dropout=0.0, token_dropout=1.0))
    start = barcode.START_ID if tokens == "own" else 0
    ids = some_ids(2)
    ids[:, 0] = start
    hidden = torch.full((1, ids.shape[1]), barcode.UNKNOWN_ID)
    hidden[0, 0] = start
    trained = tower.train()(ids)
    seen = tower.eval()(ids)
    torch.testing.assert_close(trained, tower(hidden).expand(2, -1), rtol=0, atol=1e-6)
    assert not torch.allclose(seen[0], seen[1], atol=1e-4)


def test_padding_is_never_dropped() -> None:
    tower = built(replace(TINY, pooling="mean", dropout=0.0, token_dropout=1.0))
    ids = some_ids(1)
    ids[0, 7:] = barcode.PAD_ID
    hidden = ids.clone()
    hidden[0, 1:7] = barcode.UNKNOWN_ID
    torch.testing.assert_close(tower.train()(ids), tower.eval()(hidden), rtol=0, atol=1e-6)


def test_a_token_classifier_fills_the_trunk(tmp_path: Path) -> None:
    theirs = masked_language_model()
    tensors = {name: value for name, value in theirs.state_dict().items() if name.startswith("bert.")}
    tensors |= {"classifier.weight": torch.zeros(2, 16), "classifier.bias": torch.zeros(2)}
    weights = published(tmp_path, tensors)
    tower = built(replace(TINY, weights=weights))
    for name, value in theirs.bert.state_dict().items():
        assert torch.equal(tower.trunk.state_dict()[name], value), name
    with pytest.raises(WeightsError, match=r"no .*\(cls\.predictions\.transform"):
        built(replace(AUTHORS, weights=weights))


def test_the_converted_weights_are_found_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path))
    spec = replace(AUTHORS, weights=CONVERTED_WEIGHTS)
    with pytest.raises(WeightsError, match=CONVERSION):
        built(spec)
    theirs = masked_language_model().state_dict()
    published(tmp_path / "weights" / CONVERTED_WEIGHTS, theirs)
    tower = built(spec)
    assert torch.equal(tower.trunk.state_dict()["encoder.layer.1.output.dense.bias"],
                       theirs["bert.encoder.layer.1.output.dense.bias"])  # fmt: skip
    for name, value in tower.get_submodule("transform").state_dict().items():
        assert torch.equal(value, theirs[f"cls.predictions.transform.{name}"]), name


def test_the_head_and_the_shapes_are_the_same_with_and_without_weights(tmp_path: Path) -> None:
    spec = replace(AUTHORS, weights=published(tmp_path, masked_language_model().state_dict()))
    filled, drawn = built(spec).state_dict(), built(spec, pretrained=False).state_dict()
    assert {name: value.shape for name, value in filled.items()} == {n: v.shape for n, v in drawn.items()}
    assert torch.equal(filled["head.weight"], drawn["head.weight"])
    assert not torch.equal(filled["transform.dense.weight"], drawn["transform.dense.weight"])
    assert built(replace(spec, weights="nowhere/at-all"), pretrained=False).state_dict().keys() == drawn.keys()


def test_the_tower_of_a_finished_run_is_taken_whole(run_of: Callable[[DnaTower, nn.Module], str]) -> None:
    tower = built(AUTHORS)
    run = run_of(AUTHORS, tower)
    again = built(replace(AUTHORS, weights=run))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in tower.state_dict().items())
    with pytest.raises(WeightsError, match=r"transform\.\S+ first"):
        built(replace(TINY, weights=run))


@pytest.mark.parametrize("vocabulary_size", [1026, 1028])
def test_other_vocabularies_are_refused(vocabulary_size: int, tmp_path: Path) -> None:
    theirs = masked_language_model(vocabulary_size).state_dict()
    weights = published(tmp_path, theirs, vocab_size=vocabulary_size)
    with pytest.raises(WeightsError, match=f"vocabulary .*{vocabulary_size} .* 1027"):
        built(replace(TINY, weights=weights))


@pytest.mark.parametrize(
    ("field", "value", "ours"),
    [
        ("hidden_size", 20, "width is 16"),
        ("num_hidden_layers", 3, "depth is 2"),
        ("num_attention_heads", 4, "num_heads is 2"),
        ("intermediate_size", 24, "hidden_width is 32"),
        ("max_position_embeddings", 133, "is 512"),
        ("layer_norm_eps", 1e-5, "is 1e-12"),
        ("position_embedding_type", "relative_key", "is absolute"),
    ],
)
def test_a_config_that_differs_from_the_spec_is_named(field: str, value: object, ours: str, tmp_path: Path) -> None:
    weights = published(tmp_path, masked_language_model().state_dict(), **{field: value})
    with pytest.raises(WeightsError, match=rf"{field} is {value}, .*{ours}"):
        built(replace(TINY, weights=weights))


def test_a_config_without_sizes_means_those_of_bert_base(tmp_path: Path) -> None:
    weights = published(tmp_path, masked_language_model().state_dict())
    (tmp_path / "config.json").write_text('{"vocab_size": 1027}')
    with pytest.raises(WeightsError, match=r"hidden_size is 768, .*width is 16"):
        built(replace(TINY, weights=weights))


@pytest.mark.parametrize("content", ["{", "[]", "3"])
def test_a_damaged_config_is_named(content: str, tmp_path: Path) -> None:
    weights = published(tmp_path, {})
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=r"config\.json"):
        built(replace(TINY, weights=weights))


def test_tensors_that_are_missing_or_unknown_are_named(tmp_path: Path) -> None:
    weights = published(tmp_path, masked_language_model().state_dict())
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    save_file({n: v for n, v in tensors.items() if n != "bert.embeddings.LayerNorm.weight"}, file)
    with pytest.raises(WeightsError, match=r"lacks 1 .* embeddings\.LayerNorm\.weight "):
        built(replace(TINY, weights=weights))
    save_file({n: v for n, v in tensors.items() if n != "cls.predictions.transform.dense.bias"}, file)
    built(replace(TINY, weights=weights))
    with pytest.raises(WeightsError, match=r"lacks 1 .* dense\.bias "):
        built(replace(AUTHORS, weights=weights))
    save_file({**tensors, "bert.encoder.layer.2.output.dense.bias": torch.zeros(16)}, file)
    with pytest.raises(WeightsError, match=r"used, encoder\.layer\.2\.output\.dense\.bias "):
        built(replace(TINY, weights=weights))


def test_damaged_and_absent_weights_are_named(tmp_path: Path) -> None:
    weights = published(tmp_path, {})
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match=r"DNA tower.*model\.safetensors' "):
        built(replace(TINY, weights=weights))
    with pytest.raises(WeightsError, match="nothing"):
        built(replace(TINY, weights=str(tmp_path / "nothing")))


def test_the_start_of_the_authors_ids_is_seen_and_never_learned() -> None:
    """Their row 0 is BERT's padding row: it starts at zero, and no gradient reaches it."""
    tower = built(AUTHORS).train()
    ids = some_ids()
    ids[:, 0] = 0
    tower(ids).square().sum().backward()
    words = tower.trunk.get_submodule("embeddings.word_embeddings")
    assert isinstance(words, nn.Embedding)
    assert words.weight.grad is not None
    assert words.weight[0].abs().sum() == 0
    assert words.weight.grad[0].abs().sum() == 0
    assert words.weight.grad[ids[0, 1]].abs().sum() > 0
