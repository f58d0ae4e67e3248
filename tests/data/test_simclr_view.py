"""SimCLR's views of an image: each change against torchvision's, and the distributions they are drawn from."""

import math
from collections import Counter
from collections.abc import Callable
from itertools import permutations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from workloads.data.files.images import Pixels, decode
from workloads.data.inputs.image_views import (
    Look,
    Turn,
    looked_at,
    random_box,
    random_look,
    simclr_view,
    view_of,
)
from workloads.errors import RecordError
from workloads.models.torchvision_ops import declare_missing_operators

declare_missing_operators()
from torchvision.transforms.v2 import functional as tv  # noqa: E402 - only after the declaration

Encode = Callable[..., bytes]
Noise = Callable[..., Image.Image]


def pictures() -> list[Pixels]:
    """Noise, a smooth picture, greys, and the corners of the colour cube."""
    random = np.random.default_rng(0)
    across, down = np.meshgrid(np.linspace(0, 3, 70), np.linspace(0, 2, 70))
    smooth = np.stack([np.sin(across), np.cos(down * 1.7), np.sin(across + down)], axis=2) * 120 + 128
    noise = random.integers(0, 256, (70, 70, 3))
    greys = np.repeat(random.integers(0, 256, (70, 70, 1)), 3, axis=2)
    corners = random.integers(0, 2, (70, 70, 3)) * 255
    return [each.clip(0, 255).astype(np.uint8) for each in (noise, smooth, greys, corners)]


def planes(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def differences(ours: Pixels, theirs: torch.Tensor) -> np.ndarray:
    wanted: Pixels = theirs.permute(1, 2, 0).numpy()
    return np.asarray(np.abs(ours.astype(int) - wanted.astype(int)))


def changed(picture: Pixels, *changes: tuple[str, float]) -> Pixels:
    """Only the colours: so narrow a blur leaves every pixel as it is."""
    return looked_at(picture, Look(changes, False, 0.01))


# torchvision cuts the grey of a pixel and then the result down to whole levels, where we round once: up to two levels.
@pytest.mark.parametrize("factor", [0.2, 0.61, 1.0, 1.8])
@pytest.mark.parametrize(
    ("colour", "theirs", "levels"),
    [
        ("brightness", tv.adjust_brightness, 1),
        ("contrast", tv.adjust_contrast, 2),
        ("saturation", tv.adjust_saturation, 2),
    ],
)
def test_a_colour_changes_as_in_torchvision(
    colour: str,
    theirs: Callable[[torch.Tensor, float], torch.Tensor],
    levels: int,
    factor: float,
) -> None:
    for picture in pictures():
        assert differences(changed(picture, (colour, factor)), theirs(planes(picture), factor)).max() <= levels


@pytest.mark.parametrize("circles", [-0.2, -0.031, 0.0, 0.1234, 0.2])
def test_the_hue_turns_as_in_torchvision(circles: float) -> None:
    for picture in pictures():
        assert differences(changed(picture, ("hue", circles)), tv.adjust_hue(planes(picture), circles)).max() <= 1


def test_grey_is_that_of_torchvision() -> None:
    for picture in pictures():
        grey = looked_at(picture, Look((), True, 0.01))
        assert (grey[..., 0] == grey[..., 1]).all()
        assert (grey[..., 0] == grey[..., 2]).all()
        assert differences(grey, tv.rgb_to_grayscale(planes(picture), 3)).max() <= 1


@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.1, 2.0])
@pytest.mark.parametrize(
    ("side", "width"), [(8, 1), (16, 1), (32, 3), (64, 5), (100, 9), (112, 11), (224, 21), (336, 33)]
)
def test_the_blur_is_that_of_torchvision_with_a_kernel_of_a_tenth_of_the_side_made_odd(
    sigma: float, side: int, width: int
) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    wanted = tv.gaussian_blur(planes(picture), [width, width], [sigma, sigma])
    assert differences(looked_at(picture, Look((), False, sigma)), wanted).max() <= 1  # the paper says 22 at 224


def test_changes_are_applied_in_their_order() -> None:
    picture = pictures()[0]
    one = changed(picture, ("brightness", 1.8), ("contrast", 0.2))
    other = changed(picture, ("contrast", 0.2), ("brightness", 1.8))
    assert np.array_equal(one, changed(changed(picture, ("brightness", 1.8)), ("contrast", 0.2)))
    assert np.array_equal(other, changed(changed(picture, ("contrast", 0.2)), ("brightness", 1.8)))
    assert not np.array_equal(one, other)


def looks(count: int = 6000) -> list[Look]:
    random = np.random.default_rng(3)
    return [random_look(random) for _ in range(count)]


def test_colours_change_and_vanish_with_the_probabilities_of_the_paper() -> None:
    drawn = looks()
    # four standard deviations of a share over 6,000 draws: 0.02
    assert abs(np.mean([bool(look.changes) for look in drawn]) - 0.8) < 0.021
    assert abs(np.mean([look.grey for look in drawn]) - 0.2) < 0.021
    both = np.mean([bool(look.changes) and look.grey for look in drawn])
    assert abs(both - 0.16) < 0.02
    assert {len(look.changes) for look in drawn} == {0, 4}


def test_all_orders_of_the_colours_are_equally_likely() -> None:
    orders = Counter(tuple(colour for colour, _ in look.changes) for look in looks() if look.changes)
    assert set(orders) == set(permutations(["brightness", "contrast", "saturation", "hue"]))
    share = sum(orders.values()) / 24
    assert all(abs(count - share) < 5 * math.sqrt(share) for count in orders.values())


@pytest.mark.parametrize(
    ("colour", "lowest", "highest"),
    [("brightness", 0.2, 1.8), ("contrast", 0.2, 1.8), ("saturation", 0.2, 1.8), ("hue", -0.2, 0.2)],
)
def test_factors_are_drawn_evenly(colour: str, lowest: float, highest: float) -> None:
    factors = np.array([dict(look.changes)[colour] for look in looks() if look.changes])  # type: ignore[index]
    assert_even(factors, lowest, highest)


def test_the_deviation_of_the_blur_is_drawn_evenly() -> None:
    assert_even(np.array([look.sigma for look in looks()]), 0.1, 2.0)


def assert_even(values: np.ndarray, lowest: float, highest: float) -> None:
    """Kolmogorov and Smirnov's distance from the even distribution, at one chance in 100,000."""
    assert lowest <= values.min()
    assert values.max() <= highest
    places = np.sort((values - lowest) / (highest - lowest))
    assert np.abs(places - (np.arange(len(places)) + 0.5) / len(places)).max() < 2.5 / math.sqrt(len(places))


def test_a_view_is_a_crop_mirrored_recoloured_and_blurred(encode: Encode, noise: Noise) -> None:
    content = encode(noise(120, 90), "JPEG", quality=95)
    for seed in range(8):
        random = np.random.default_rng(seed)
        pixels = decode(content, "RGBX")
        box = random_box(90, 120, random)
        mirror = bool(random.random() < 0.5)
        plain = view_of(pixels, box, Turn(mirror, flip=False, angle=0.0), 48)
        wanted = looked_at(plain, random_look(random))
        assert np.array_equal(simclr_view(content, 48, np.random.default_rng(seed)), wanted)


def test_half_of_the_views_are_mirrored_and_none_stands_on_its_head(encode: Encode) -> None:
    across, down = np.meshgrid(np.linspace(0, 120, 64), np.linspace(0, 120, 64))
    # Brighter to the right and much brighter downwards, whatever the colours become.
    pixels = np.repeat((across + down)[..., None], 3, axis=2).astype(np.uint8)
    content = encode(Image.fromarray(pixels))
    views = [simclr_view(content, 32, np.random.default_rng(seed)).mean(axis=2) for seed in range(300)]
    to_the_right = np.array([view[:, -1].mean() > view[:, 0].mean() for view in views])
    assert abs(to_the_right.mean() - 0.5) < 4 * 0.5 / math.sqrt(300)
    assert all(view[-1].mean() > view[0].mean() for view in views)


def test_a_view_is_a_function_of_the_generator_alone(encode: Encode, noise: Noise) -> None:
    content = encode(noise(60, 60), "JPEG")
    views = [simclr_view(content, 32, np.random.default_rng([1, 2, seed])) for seed in (0, 0, 1)]
    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])
    assert views[0].shape == (32, 32, 3)
    assert views[0].dtype == np.uint8


def test_an_image_that_does_not_decode_is_a_record_error() -> None:
    with pytest.raises(RecordError, match="does not decode"):
        simclr_view(b"\xff\xd8\xff\xe0 no picture", 32, np.random.default_rng(0))


def test_opencv_starts_no_threads_for_a_view(encode: Encode, noise: Noise) -> None:
    simclr_view(encode(noise(60, 60)), 32, np.random.default_rng(0))
    assert cv2.getNumThreads() == 1
