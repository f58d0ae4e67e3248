"""Files whose libraries trust them: HDF5, MATLAB, weights, tokenisers; made by these libraries, and mutated."""

import io
import json
import random
import struct
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import torch
from safetensors.torch import save

from tests.faults.foreign_readers import BARCODE, imports
from tests.faults.image_readers import picture
from tests.faults.mutations import Make, Read, mutated, mutated_json
from workloads.conversion.foreign_checkpoint import keep_tensors, read_checkpoint
from workloads.data.files.hdf5_texts import read_texts
from workloads.data.files.image_source import ImageSource
from workloads.data.files.images import shrink
from workloads.data.files.matlab import keep_variables, read_variables
from workloads.data.prepared.taxon_text import TextTokenizer, learn_word_pieces
from workloads.errors import SourceError
from workloads.foreign_file import FACTS, REFUSAL
from workloads.models.weights import load_tensors
from workloads.weight_files import published_json

_VARIABLES = ("features", "labels", "ids", "nucleotides")


@cache
def _authors(variable: bool) -> bytes:
    """Two splits of the authors' layout, with text of variable length as in BIOSCAN-5M, or of fixed length."""
    with h5py.File(buffer := io.BytesIO(), "w") as file:
        for number, split in enumerate(("val_seen", "test_seen")):
            group, pictures = file.create_group(split), [picture("JPEG")] * 4
            images = np.zeros((4, 2000), np.uint8)
            for row, content in zip(images, pictures, strict=True):
                row[: len(content)] = np.frombuffer(content, np.uint8)
            group.create_dataset("image", data=images, compression="gzip", chunks=(2, 2000))
            group["image_mask"] = np.array([len(content) for content in pictures])
            names = {"order": "Diptera", "family": "Zoridae", "genus": "Zoro", "species": "Zoro bus"}
            for column, value in {**names, "barcode": BARCODE[:200], "sampleid": f"S{number}-"}.items():
                values = [value + str(row) * (column == "sampleid") for row in range(4)]
                group[column] = values if variable and column in names else np.array(values, "S")
    return buffer.getvalue()


def _hdf5(variable: bool) -> Make:
    return lambda chance: {"a.hdf5": mutated(_authors(variable), chance)}


def _read_hdf5(folder: Path) -> None:
    imports("a.hdf5")(folder)
    with ImageSource(str(folder)) as images:
        shrink(images.read("hdf5:a.hdf5#val_seen/image#1"), 16)


def _decode_texts(folder: Path) -> None:
    read_texts(folder, folder / "a.hdf5")
    _refuse(folder)


@cache
def _matlab() -> bytes:
    generator = np.random.default_rng(0)
    values = {
        "features": generator.normal(size=(6, 5)),
        "labels": np.arange(1, 6),
        "ids": np.array([f"id{number}" for number in range(5)], dtype=object),
        "nucleotides": np.array([BARCODE[:50]] * 5, dtype=object),
    }
    scipy.io.savemat(buffer := io.BytesIO(), values, do_compression=False)
    return buffer.getvalue()


def _read_matlab(folder: Path) -> None:
    read_variables([folder / "a.mat"], _VARIABLES)


def _decode_matlab(folder: Path) -> None:
    keep_variables(folder, [str(folder / "a.mat")], _VARIABLES)
    _refuse(folder)


def _refuse(folder: Path) -> None:
    if reason := json.loads((folder / FACTS).read_text()).get(REFUSAL):
        raise SourceError(folder, "", reason)


@cache
def _tensors(kind: str) -> bytes:
    generator = torch.Generator().manual_seed(0)
    tensors = {f"layer.{n}.weight": torch.randn(4, 5, generator=generator) for n in range(6)}
    if kind == "safetensors":
        return save(tensors)
    torch.save({"state_dict": tensors}, buffer := io.BytesIO())
    return buffer.getvalue()


def _safetensors(chance: random.Random) -> dict[str, bytes]:
    """With a header that says something else, or with other bytes."""
    content = _tensors("safetensors")
    if chance.random() < 0.5:
        return {"a.safetensors": mutated(content, chance)}
    (length,) = struct.unpack("<Q", content[:8])
    header = mutated_json(content[8 : 8 + length], chance)
    return {"a.safetensors": struct.pack("<Q", len(header)) + header + content[8 + length :]}


def _decode_torch(folder: Path) -> None:
    keep_tensors(folder / "a.pth", folder)
    _refuse(folder)


def _tokenizer(chance: random.Random) -> dict[str, bytes]:
    return {"tokenizer.json": mutated_json(_word_pieces(), chance)}


@cache
def _word_pieces() -> bytes:
    return learn_word_pieces([f"Diptera Zoridae Zoro Zoro bus{letter}" for letter in "abcdefgh"]).encode()


def _read_tokenizer(folder: Path) -> None:
    TextTokenizer.from_weights(str(folder)).ids(["Diptera Zoridae Zoro"], 20, False)


def _config(chance: random.Random) -> dict[str, bytes]:
    config = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "architectures": ["BertModel"]}
    return {"config.json": mutated_json(json.dumps(config).encode(), chance)}


LIBRARY: dict[str, tuple[int, Make, Read]] = {
    "HDF5, text of fixed length": (900, _hdf5(False), _read_hdf5),
    "HDF5, text of variable length": (30, _hdf5(True), _read_hdf5),
    "HDF5, text of variable length, decoded": (900, _hdf5(True), _decode_texts),
    "MATLAB, decoded": (700, lambda chance: {"a.mat": mutated(_matlab(), chance)}, _decode_matlab),
    "MATLAB": (12, lambda chance: {"a.mat": mutated(_matlab(), chance)}, _read_matlab),
    "safetensors": (800, _safetensors, lambda folder: _ignore(load_tensors("image", folder / "a.safetensors"))),
    "torch, decoded": (500, lambda chance: {"a.pth": mutated(_tensors("torch"), chance)}, _decode_torch),
    "torch": (6, lambda c: {"a.pth": mutated(_tensors("torch"), c)}, lambda f: _ignore(read_checkpoint(f / "a.pth"))),
    "tokenizer.json": (300, _tokenizer, _read_tokenizer),
    "config.json": (200, _config, lambda folder: _ignore(published_json("text", str(folder), "config.json"))),
}
"""As `FOREIGN` has them."""


def _ignore(_: object) -> None:
    """What was read is not looked at."""
