"""From JPEGs of 256 pixels to a batch of augmented views: the authors' transforms re-stated, and ours.

    python -m benchmarks.input_pipeline

The authors decode with Pillow and work on float tensors with torchvision: resize, random resized crop, two flips, a
turn. Ours decodes with simplejpeg and resamples uint8 once. One thread each. Also measured: the views of evaluation,
decoding alone, and what each step costs. Decoded pixels are compared with Pillow's. Prints and writes JSON; the goal
is five times the images a second.

The images are made from the real photographs where `../shared/real` has them, else they are drawn.
"""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.measuring import best_seconds, publish
from workloads.data.files.images import Pixels, decode, shrink
from workloads.data.inputs.image_views import (
    Box,
    Turn,
    evaluation_view,
    random_box,
    random_turn,
    training_view,
    view_of,
)
from workloads.models.torchvision_ops import declare_missing_operators

NUM_IMAGES = 96
SIZE = 224
STORED = 256
_PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "real" / "bioscan1m_order_images"


def main() -> None:
    torch.set_num_threads(1)
    kind, images = stored_images()
    training, evaluation = authors_transforms()
    decoded = [decode(image, "RGBX") for image in images]
    sides: dict[str, Callable[[], object]] = {
        "authors_training": partial(authors_batch, images, training),
        "our_training": partial(our_training_batch, images),
        "authors_evaluation": partial(authors_batch, images, evaluation),
        "our_evaluation": partial(our_evaluation_batch, images),
        "pillow_decoding": lambda: [pillow_pixels(image) for image in images],
        "our_decoding": lambda: [decode(image) for image in images],
        "our_random_numbers": lambda: [drawn(row, decoded[row]) for row in range(len(images))],
        "our_resampling": lambda: [view_of(pixels, *drawn(row, pixels), SIZE) for row, pixels in enumerate(decoded)],
    }
    seconds = best_seconds(sides)
    figures = {
        "images": kind,
        "mean_bytes": float(np.mean([len(image) for image in images])),
        "per_second": {name: len(images) / seconds[name] for name in sides},
        "training_over_authors": seconds["authors_training"] / seconds["our_training"],
        "evaluation_over_authors": seconds["authors_evaluation"] / seconds["our_evaluation"],
        "decoding_over_pillow": seconds["pillow_decoding"] / seconds["our_decoding"],
        "decoded_pixels_equal_pillows": all(np.array_equal(decode(image), pillow_pixels(image)) for image in images),
        "evaluation_difference_of_255": evaluation_difference(images, evaluation),
    }
    publish("input_pipeline", figures)


def stored_images() -> tuple[str, list[bytes]]:
    """JPEGs with a shorter side of 256 pixels, as preparation makes them."""
    names = sorted(_PHOTOGRAPHS.glob("*.jpg"))
    if not names:
        random = np.random.default_rng(0)
        coarse = [Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8)) for _ in range(16)]
        drawings = [encoded(image.resize((1024, 768), Image.Resampling.BICUBIC)) for image in coarse]
        return "drawn", [shrink(drawings[i % len(drawings)], STORED) for i in range(NUM_IMAGES)]
    photographs = [shrink(name.read_bytes(), STORED) for name in names]
    return f"{len(names)} photographs of BIOSCAN-1M", [photographs[i % len(names)] for i in range(NUM_IMAGES)]


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def authors_transforms() -> tuple[Callable[[Image.Image], Tensor], Callable[[Image.Image], Tensor]]:
    """Those of training and of evaluation, as they are described: float tensors all the way."""
    declare_missing_operators()
    from torchvision import transforms

    first = [transforms.ToTensor(), transforms.Resize(256, antialias=True)]
    training = [
        *first,
        transforms.RandomResizedCrop(SIZE, antialias=True),
        transforms.RandomHorizontalFlip(),
        transforms.RandomVerticalFlip(),
        transforms.RandomRotation(45),
    ]
    return transforms.Compose(training), transforms.Compose([*first, transforms.CenterCrop(SIZE)])


def authors_batch(images: list[bytes], transform: Callable[[Image.Image], Tensor]) -> Tensor:
    return torch.stack([transform(Image.open(io.BytesIO(image)).convert("RGB")) for image in images])


def our_training_batch(images: list[bytes]) -> Tensor:
    """As batches are made in training: every view with the random numbers of its specimen and epoch."""
    views = np.empty((len(images), SIZE, SIZE, 3), dtype=np.uint8)
    for row, image in enumerate(images):
        views[row] = training_view(image, SIZE, np.random.default_rng([42, 0, row]))
    return torch.from_numpy(views).permute(0, 3, 1, 2).contiguous()


def our_evaluation_batch(images: list[bytes]) -> Tensor:
    views = np.stack([evaluation_view(image, SIZE) for image in images])
    return torch.from_numpy(views).permute(0, 3, 1, 2).contiguous()


def drawn(row: int, pixels: Pixels) -> tuple[Box, Turn]:
    random = np.random.default_rng([42, 0, row])
    return random_box(pixels.shape[0], pixels.shape[1], random), random_turn(random)


def pillow_pixels(image: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))


def evaluation_difference(images: list[bytes], transform: Callable[[Image.Image], Tensor]) -> float:
    """The largest difference between the authors' views in evaluation and ours, of 255."""
    return float((authors_batch(images, transform) * 255 - our_evaluation_batch(images).float()).abs().max())


if __name__ == "__main__":
    main()
