"""OpenCLIP models as rows: their own pixels, words and sentences, and nothing fetched."""

import io
import json
import socket
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import SpecError
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.openclip_row import embed_openclip, label_texts, openclip_row
from workloads.models.openclip import open_clip_library
from workloads.spec import RANKS

CPU = torch.device("cpu")
ROUNDING = 2e-6
"""Of unit rows in fp32: batches of other sizes add in another order."""
CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 24, "patch_size": 16, "head_width": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "resize_mode": "shortest"},
}


def published(folder: Path) -> None:
    """A tiny CLIP in the layout of the hub."""
    torch.manual_seed(4)
    model = open_clip_library().CLIP(**deepcopy(CONFIG["model_cfg"]))
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = tmp_path_factory.mktemp("hub") / "BioCLIP"
    published(made)
    return str(made)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something reaches for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def embedded(folder: str, tiny_dataset: PreparedDataset) -> dict[str, Embedded]:
    return embed_openclip(folder, tiny_dataset, CPU, "corrected", "photo")


def unit(row: torch.Tensor) -> torch.Tensor:
    return row / row.square().sum().sqrt()


def test_pictures_are_embedded_as_openclips_own_pipeline_embeds_them(
    folder: str, embedded: dict[str, Embedded], tiny_dataset: PreparedDataset
) -> None:
    open_clip = open_clip_library()
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    for part, splits in {"keys": tiny_dataset.facts.splits.keys, "test": ("test_seen", "test_unseen")}.items():
        table = tiny_dataset.load(splits, ["specimen_id", "image"])
        assert embedded[part].ids.tolist() == table["specimen_id"].to_pylist()
        rows = torch.from_numpy(embedded[part].rows["image"])
        for row, content in zip(rows, table["image"].to_pylist(), strict=True):
            picture = transform(Image.open(io.BytesIO(content)))[None]
            with torch.no_grad():
                expected = unit(model.eval().encode_image(picture)[0])
            torch.testing.assert_close(row, expected, rtol=0, atol=ROUNDING)


def test_labels_are_embedded_as_openclips_own_pipeline_embeds_them(
    folder: str, embedded: dict[str, Embedded], tiny_dataset: PreparedDataset
) -> None:
    open_clip = open_clip_library()
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    texts = tiny_dataset.load(tiny_dataset.facts.splits.keys, ["text"])["text"].to_pylist()
    assert len(set(texts)) < len(texts)
    for row, text in zip(torch.from_numpy(embedded["keys"].rows["text"]), texts, strict=True):
        with torch.no_grad():
            expected = unit(model.encode_text(tokenizer([f"a photo of {text}."]))[0])
        torch.testing.assert_close(row, expected, rtol=0, atol=ROUNDING)


def test_a_label_is_the_mean_of_its_sentences_in_unit_length(folder: str, tiny_dataset: PreparedDataset) -> None:
    found = embed_openclip(folder, tiny_dataset, CPU, "authors", "openai")["val"]
    model = open_clip_library().create_model(f"local-dir:{folder}").eval()
    tokenizer = open_clip_library().get_tokenizer(f"local-dir:{folder}")
    sentences = open_clip_library().OPENAI_IMAGENET_TEMPLATES
    assert len(sentences) == 80
    for place in (0, len(found) - 1):
        name = found.labels["species"][place]
        total = torch.zeros(24)
        for sentence in sentences:
            with torch.no_grad():
                total += unit(model.encode_text(tokenizer([sentence(name)]))[0]) / 80
        torch.testing.assert_close(torch.from_numpy(found.rows["text"][place]), unit(total), rtol=0, atol=ROUNDING)


def test_labels_and_kinds_are_those_of_the_data_set(
    embedded: dict[str, Embedded], tiny_dataset: PreparedDataset
) -> None:
    assert set(embedded) == {"keys", "val", "test"}
    for part, found in embedded.items():
        protocol = tiny_dataset.facts.splits
        splits = protocol.keys if part == "keys" else tuple(protocol.queries[part].values())
        table = tiny_dataset.load(splits, ["species"])
        assert found.labels["species"].tolist() == table["species"].to_pylist()
        expected = ["unseen" if "unseen" in split else "seen" for split in table["split"].to_pylist()]
        assert found.subset.tolist() == expected
        assert set(found.labels) == set(RANKS)
        for rows in found.rows.values():
            assert rows.dtype == np.float32
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_missing_ranks_are_left_out_of_labels() -> None:
    named = {
        "order": ["Diptera", "Diptera", None, None],
        "family": ["Culicidae", None, None, "Muscidae"],
        "genus": ["Culex", None, None, None],
        "species": ["Culex pipiens", None, None, None],
    }
    labels = {rank: np.array(names, dtype=object) for rank, names in named.items()}
    four = ["Diptera Culicidae Culex pipiens", "Diptera", "", "Muscidae"]
    assert label_texts(labels, "four_ranks").tolist() == four
    assert label_texts(labels, "species").tolist() == ["Culex pipiens", "Diptera", "", "Muscidae"]
    assert label_texts({rank: names[:0] for rank, names in labels.items()}, "species").tolist() == []


def test_identical_pictures_and_labels_are_embedded_once(
    folder: str, tiny_dataset: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = tiny_dataset.load(("test_seen",), ["image"])["image"][0].as_py()
    original = PreparedDataset.open

    def alike(dataset: PreparedDataset, splits: Any) -> Any:
        table = original(dataset, splits)
        place = table.schema.get_field_index("image")
        return table.set_column(place, table.schema.field(place), [[content] * len(table)])

    open_clip, seen = open_clip_library(), {"image": 0, "text": 0}
    for name in seen:
        true = getattr(open_clip.CustomTextCLIP, f"encode_{name}")

        def count(model: Any, batch: torch.Tensor, *rest: Any, true: Any = true, name: str = name, **more: Any) -> Any:
            seen[name] += len(batch)
            return true(model, batch, *rest, **more)

        monkeypatch.setattr(open_clip.CustomTextCLIP, f"encode_{name}", count)
    monkeypatch.setattr(PreparedDataset, "open", alike)
    told: list[tuple[int, int]] = []
    found = embed_openclip(folder, tiny_dataset, CPU, "authors", "plain", lambda *done: told.append(done))
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1][0] == told[-1][1]
    assert seen["image"] == 1
    assert seen["text"] == len({name for part in found.values() for name in part.labels["species"]})
    assert len(np.unique(found["keys"].rows["image"], axis=0)) == 1


def test_a_row_says_what_it_is_of(folder: str) -> None:
    row = openclip_row(folder, "corrected", "photo", CPU)
    assert row["model"] == "BioCLIP"
    assert (row["aligned"], row["prompts"], row["label"]) == (["image", "text"], "photo", "four_ranks")
    assert row["precision"] == openclip_row(folder, "authors", "openai", CPU)["precision"] == "fp32"
    assert openclip_row(folder, "authors", "openai", torch.device("cuda"))["precision"] == "fp16"
    assert openclip_row(folder, "authors", "openai", CPU)["label"] == "species"
    assert row["preprocessing"]["size"] == 32
    assert list(row["preprocessing"]["mean"]) == [0.4, 0.5, 0.6]
    assert row["preprocessing"]["interpolation"] == "bicubic"
    assert len(row["weights_digest"]) == 64


def test_a_data_set_of_features_has_nothing_to_show(folder: str, tiny_dataset: PreparedDataset) -> None:
    features = PreparedDataset(tiny_dataset.folder)
    features.__dict__["facts"] = replace(tiny_dataset.facts, image_feature_size=12)
    with pytest.raises(SpecError, match="tiny has no pictures"):
        embed_openclip(folder, features, CPU, "corrected")
