"""Real specimens for the tests that have them, and pictures made on the spot."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.taxon_text import TextTokenizer

_REAL = Path(__file__).parents[3] / "shared" / "real"


@pytest.fixture(scope="session")
def real() -> Callable[[str], Path]:
    """Finds one of the folders of real specimens, or skips the test."""

    def find(name: str) -> Path:
        if not (_REAL / name).is_dir():
            pytest.skip(f"the real specimens '{name}' are not beside this checkout")
        return _REAL / name

    return find


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Bytes of an image file."""

    def to_bytes(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return to_bytes


@pytest.fixture(scope="session")
def noise() -> Callable[..., Image.Image]:
    """A picture of random pixels."""

    def picture(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    return picture


@pytest.fixture(scope="session")
def jpegs(encode: Callable[..., bytes], noise: Callable[..., Image.Image]) -> list[bytes]:
    """Five small photographs, no two of them alike."""
    return [encode(noise(30 + seed, 20, seed), "JPEG") for seed in range(5)]


@pytest.fixture(scope="session")
def pillow_pixels() -> Callable[[bytes], np.ndarray]:
    """What Pillow alone makes of an image; raises where it refuses."""

    def pixels(content: bytes) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(io.BytesIO(content), formats=["JPEG", "PNG"])
            image.load()
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))

    return pixels


@pytest.fixture(scope="session")
def byte_pairs(tiny_dataset: PreparedDataset) -> TextTokenizer:
    """Byte pairs learned from barcodes; `[PAD]` is 3, as in DNABERT-2."""
    tokenizer = Tokenizer(BPE(unk_token="[UNK]"))
    trainer = BpeTrainer(
        vocab_size=60, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"], show_progress=False
    )
    tokenizer.train_from_iterator(
        tiny_dataset.load(tiny_dataset.facts.splits.keys, ["barcode"])["barcode"].to_pylist(), trainer
    )
    return TextTokenizer(tokenizer, pad_id=3)
