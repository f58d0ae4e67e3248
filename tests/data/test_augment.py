"""Views of an image: against a plain definition, pixel by pixel, and against the distributions they are drawn from."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workloads.data.files.images import Pixels, decode
from workloads.data.inputs.image_views import (
    Box,
    Turn,
    evaluation_view,
    random_box,
    random_turn,
    training_view,
    view_of,
)
from workloads.errors import RecordError

Encode = Callable[..., bytes]
Noise = Callable[..., Image.Image]

UPRIGHT = Turn(mirror=False, flip=False, angle=0.0)


def waves(width: int, height: int) -> Pixels:
    """A smooth picture without any symmetry, (height, width, 4)."""
    across, down = np.meshgrid(np.linspace(0, 3, width), np.linspace(0, 2, height))
    planes = [np.sin(across), np.cos(down * 1.7), np.sin(across + down), np.zeros_like(across)]
    return (np.stack(planes, axis=2) * 80 + 150).astype(np.uint8)


def view_in_loops(pixels: Pixels, box: Box, turn: Turn, size: int) -> np.ndarray:
    """The crop as a square, exchanged and turned: every pixel of the view goes back to where it comes from.

    Pixels are squares of side one; the crop spans [0, width] x [0, height] of them and is black outside.
    """
    crop = pixels[box.top : box.top + box.height, box.left : box.left + box.width, :3].astype(float)
    crop = np.pad(crop, ((1, 1), (1, 1), (0, 0)))
    view = np.zeros((size, size, 3))
    for row in range(size):
        for column in range(size):
            x, y = (column + 0.5) / size - 0.5, (row + 0.5) / size - 0.5  # from the middle, the view having side 1
            # Undo the anticlockwise turn; rows count downwards.
            x, y = (
                x * math.cos(turn.angle) - y * math.sin(turn.angle),
                x * math.sin(turn.angle) + y * math.cos(turn.angle),
            )
            x, y = (-x if turn.mirror else x), (-y if turn.flip else y)
            across, down = (x + 0.5) * box.width - 0.5 + 1, (y + 0.5) * box.height - 0.5 + 1  # one for the padding
            left, top = math.floor(across), math.floor(down)
            if 0 <= left <= box.width and 0 <= top <= box.height:
                a, b = across - left, down - top
                upper = (1 - a) * crop[top, left] + a * crop[top, left + 1]
                lower = (1 - a) * crop[top + 1, left] + a * crop[top + 1, left + 1]
                view[row, column] = (1 - b) * upper + b * lower
    return view


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 13.0, -31.0, 45.0])
@pytest.mark.parametrize("box", [Box(3, 5, 20, 27), Box(0, 0, 40, 60), Box(10, 20, 9, 7)])
def test_a_view_is_that_of_the_definition(mirror: bool, flip: bool, degrees: float, box: Box) -> None:
    pixels, turn = waves(60, 40), Turn(mirror, flip, math.radians(degrees))
    view = view_of(pixels, box, turn, 41).astype(int)
    wanted = view_in_loops(pixels, box, turn, 41)
    # OpenCV rounds places to 1/32 of a pixel: 3 levels at the black edge of up to 230, hardly one inside.
    assert np.abs(view - wanted).max() <= 230 / 32 + 1
    assert np.abs(view - wanted).mean() < 0.6


def test_a_view_of_pixels_as_they_are_changes_none(noise: Noise) -> None:
    pixels = np.asarray(noise(50, 50).convert("RGBX"))
    assert (view_of(pixels, Box(4, 9, 32, 32), UPRIGHT, 32) == pixels[4:36, 9:41, :3]).all()
    mirrored = view_of(pixels, Box(4, 9, 32, 32), Turn(True, False, 0.0), 32)
    assert (mirrored == pixels[4:36, 9:41, :3][:, ::-1]).all()
    flipped = view_of(pixels, Box(4, 9, 32, 32), Turn(False, True, 0.0), 32)
    assert (flipped == pixels[4:36, 9:41, :3][::-1]).all()


@pytest.mark.parametrize("size", [32, 33])
def test_a_quarter_turn_is_exact_about_the_middle(size: int, noise: Noise) -> None:
    pixels = np.asarray(noise(size, size).convert("RGBX"))
    view = view_of(pixels, Box(0, 0, size, size), Turn(False, False, math.pi / 2), size)
    assert np.abs(view.astype(int) - np.rot90(pixels[..., :3])).max() <= 1


@pytest.mark.parametrize("box", [Box(0, 0, 300, 400), Box(20, 30, 200, 170), Box(7, 5, 90, 70), Box(0, 100, 300, 225)])
@pytest.mark.parametrize("degrees", [0.0, 30.0, -45.0])
def test_a_view_of_any_size_is_near_resizing_exchanging_and_turning_in_turn(box: Box, degrees: float) -> None:
    pixels, turn = waves(400, 300), Turn(True, False, math.radians(degrees))
    crop = Image.fromarray(pixels[..., :3]).crop((box.left, box.top, box.left + box.width, box.top + box.height))
    for size in (32, 100, 224):
        square = crop.resize((size, size), Image.Resampling.BILINEAR).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        wanted = np.asarray(square.rotate(degrees, Image.Resampling.BILINEAR), dtype=int)
        view = view_of(pixels, box, turn, size).astype(int)
        inside = np.s_[size // 3 : -(size // 3), size // 3 : -(size // 3)]
        assert np.abs(view - wanted)[inside].max() <= 3
        assert np.abs(view - wanted).mean() < 400 / size  # the black edges are met at other fractions of a pixel


def test_the_corners_that_a_turn_uncovers_are_black_and_the_rest_is_not() -> None:
    white = np.full((80, 120, 4), 255, dtype=np.uint8)
    view = view_of(white, Box(0, 20, 80, 80), Turn(False, False, math.radians(45)), 64)
    assert not view[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert (view[16:48, 16:48] == 255).all()
    # A square turned by 45 degrees covers 2 sqrt(2) - 2 of the square it is turned in.
    assert abs((view[..., 0] > 127).mean() - (2 * math.sqrt(2) - 2)) < 0.01
    assert (view_of(white, Box(0, 20, 80, 80), UPRIGHT, 64) == 255).all()


def test_what_lies_outside_the_crop_is_never_seen() -> None:
    pixels = np.full((60, 60, 4), 255, dtype=np.uint8)
    pixels[20:40, 20:40] = (9, 9, 9, 255)
    for size in (8, 31, 64):
        assert view_of(pixels, Box(20, 20, 20, 20), Turn(True, True, 0.5), size).max() == 9


def boxes(height: int, width: int, count: int = 4000, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.array([random_box(height, width, random) for _ in range(count)])


def boxes_in_words(height: int, width: int, count: int, seed: int) -> np.ndarray:
    """Area even from 8 to 100 %, logarithm of the aspect even from 3/4 to 4/3, drawn again until the box fits."""
    random = np.random.default_rng(seed)
    found: list[tuple[int, int, int, int]] = []
    while len(found) < count:
        area = random.uniform(0.08, 1) * height * width
        aspect = math.exp(random.uniform(-math.log(4 / 3), math.log(4 / 3)))
        rows, columns = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if rows <= height and columns <= width:
            top, left = int(random.integers(0, height - rows + 1)), int(random.integers(0, width - columns + 1))
            found.append((top, left, rows, columns))
    return np.array(found)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (256, 341), (341, 256), (48, 64)])
def test_crops_have_the_area_aspect_and_place_of_their_definition(height: int, width: int) -> None:
    drawn, wanted = boxes(height, width), boxes_in_words(height, width, 4000, seed=1)
    for found, expected in zip(measures(drawn, height, width), measures(wanted, height, width), strict=True):
        # Of two samples of 4,000 the distributions differ by less than 0.044 in 99.9 % of cases (Kolmogorov-Smirnov).
        assert distance(found, expected) < 0.044
    assert (drawn[:, :2] >= 0).all()
    assert (drawn[:, 0] + drawn[:, 2] <= height).all()
    assert (drawn[:, 1] + drawn[:, 3] <= width).all()
    area, aspect, _, _ = measures(drawn, height, width)
    assert area.min() > 0.08 - 2 / min(height, width)
    assert aspect.min() > 3 / 4 - 0.06  # sides are whole pixels
    assert aspect.max() < 4 / 3 + 0.1


def measures(found: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    """Area, aspect, and the place as shares of the free room, rounding spread out."""
    spread = np.random.default_rng(9).random((2, len(found)))
    down = (found[:, 0] + spread[0]) / (height - found[:, 2] + 1)
    across = (found[:, 1] + spread[1]) / (width - found[:, 3] + 1)
    return [found[:, 2] * found[:, 3] / (height * width), found[:, 3] / found[:, 2], down, across]


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """The largest difference between two cumulative distributions."""
    places = np.sort(np.concatenate([first, second]))
    shares = [np.searchsorted(np.sort(sample), places, side="right") / len(sample) for sample in (first, second)]
    return float(np.abs(shares[0] - shares[1]).max())


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [(10, 1000, Box(0, 493, 10, 13)), (1000, 10, Box(493, 0, 13, 10)), (1, 1, Box(0, 0, 1, 1))],
)
def test_where_no_crop_fits_the_middle_is_taken(height: int, width: int, box: Box) -> None:
    assert {random_box(height, width, np.random.default_rng(seed)) for seed in range(50)} == {box}


def test_half_of_the_views_are_mirrored_half_flipped_and_angles_are_even() -> None:
    random = np.random.default_rng(2)
    turns = [random_turn(random) for _ in range(8000)]
    mirrored, flipped = (np.array([turn[i] for turn in turns]) for i in (0, 1))
    # Five standard deviations of a fair coin thrown 8,000 times.
    assert abs(mirrored.mean() - 0.5) < 0.028
    assert abs(flipped.mean() - 0.5) < 0.028
    assert abs((mirrored == flipped).mean() - 0.5) < 0.028
    degrees = np.degrees([turn.angle for turn in turns])
    assert -45 <= degrees.min() < -44.9
    assert 44.9 < degrees.max() <= 45
    assert distance(degrees, np.linspace(-45, 45, 8001)) < 0.022  # Kolmogorov-Smirnov, 99.9 %


def test_one_random_stream_gives_one_training_view(encode: Encode, noise: Noise) -> None:
    content = encode(noise(), "JPEG")
    views = [training_view(content, 32, np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert (views[0] == views[1]).all()
    assert (views[0] != views[2]).any()


def test_a_training_view_is_a_random_box_and_a_random_turn_of_the_pixels(encode: Encode) -> None:
    content = encode(Image.fromarray(waves(60, 40)[..., :3]), "JPEG")
    random = np.random.default_rng(8)
    box, turn = random_box(40, 60, random), random_turn(random)
    wanted = view_in_loops(decode(content), box, turn, 24)
    assert np.abs(training_view(content, 24, np.random.default_rng(8)) - wanted).max() <= 230 / 32 + 1


def test_views_start_no_threads(encode: Encode, noise: Noise) -> None:
    content = encode(noise(700, 600), "JPEG")
    before = len(os.listdir("/proc/self/task"))
    for seed in range(5):
        training_view(content, 512, np.random.default_rng(seed))
    assert len(os.listdir("/proc/self/task")) == before


@pytest.mark.parametrize(("width", "height"), [(40, 30), (30, 40), (1, 1), (3, 200), (2000, 2)])
def test_views_have_the_asked_size_whatever_the_image_has(
    width: int, height: int, encode: Encode, noise: Noise
) -> None:
    for kind in ("JPEG", "PNG"):
        content = encode(noise(width, height), kind)
        for view in (evaluation_view(content, 24), training_view(content, 24, np.random.default_rng(0))):
            assert view.shape == (24, 24, 3)
            assert view.dtype == np.uint8
            assert view.flags.c_contiguous


def test_a_damaged_image_has_no_views(encode: Encode, noise: Noise) -> None:
    content = encode(noise(), "JPEG")[:-40]
    with pytest.raises(RecordError):
        evaluation_view(content, 24)
    with pytest.raises(RecordError):
        training_view(content, 24, np.random.default_rng(0))


@pytest.mark.parametrize(("width", "height"), [(256, 256), (341, 256), (256, 343), (257, 256), (256, 700)])
def test_an_image_of_the_right_shorter_side_is_cropped_and_not_resized(
    width: int, height: int, encode: Encode, noise: Noise
) -> None:
    content = encode(noise(width, height), "JPEG")
    top, left = round((height - 224) / 2), round((width - 224) / 2)
    assert (evaluation_view(content, 224) == decode(content)[top : top + 224, left : left + 224]).all()


@pytest.mark.parametrize(("width", "height", "size"), [(400, 300, 224), (159, 141, 224), (300, 420, 64), (50, 50, 32)])
def test_other_images_are_resized_as_a_whole_and_then_cropped(
    width: int, height: int, size: int, encode: Encode, noise: Noise
) -> None:
    picture = noise(width, height)
    shorter = round(size * 256 / 224)
    new = (shorter * width // min(width, height), shorter * height // min(width, height))
    left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
    wanted = picture.resize(new, Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    difference = np.abs(evaluation_view(encode(picture), size).astype(int) - np.asarray(wanted))
    assert difference.max() <= 1


def test_the_evaluation_view_is_the_middle_of_the_image(encode: Encode) -> None:
    # 224/256 of the shorter side: 56 of 64 pixels, hence 4 off above and below, and 36 off at both ends of 128.
    pixels = np.zeros((64, 128, 3), dtype=np.uint8)
    pixels[4:60, 36:92] = np.random.default_rng(0).integers(1, 256, (56, 56, 3))
    view = evaluation_view(encode(Image.fromarray(pixels)), 56)
    assert (view == pixels[4:60, 36:92]).all()


def test_evaluation_views_of_photographs_are_those_of_the_authors_transform(
    real: Callable[[str], Path], encode: Encode
) -> None:
    from workloads.models.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    from torchvision import transforms

    theirs = transforms.Compose(
        [transforms.ToTensor(), transforms.Resize(256, antialias=True), transforms.CenterCrop(224)]
    )
    for name in sorted((real("bioscan1m_species_images") / "images").iterdir())[::20]:
        for side in (None, 256):
            picture = Image.open(name).convert("RGB")
            if side:
                picture = picture.resize((round(side * picture.width / min(picture.size)), side))
            wanted = theirs(picture).permute(1, 2, 0).numpy() * 255
            view = evaluation_view(encode(picture), 224)
            assert np.abs(view - wanted).max() <= 1.01  # both round, Pillow after each of two passes
            assert np.abs(view - wanted).mean() < 0.35
