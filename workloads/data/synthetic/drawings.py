"""Drawings of synthetic insects.

Shape, proportions, colours and wing pattern are inherited along the tree, with smaller changes the lower the rank;
pose, size, light and background vary by specimen. A drawing is returned as JPEG bytes, like a photograph's file.
"""

import colorsys
import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from workloads.arrays import Doubles
from workloads.data.synthetic.insects import TreePlace, node_random

SIDE = 64
"""Pixels of the finished drawing."""
_CANVAS = 3 * SIDE // 2  # drawn larger and reduced, for smooth edges

# fmt: off
_TRAITS = (
    "abdomen_length", "abdomen_width", "thorax_size", "head_size", "leg_length", "antenna_length",
    "wing_length", "wing_width", "wing_angle", "wing_opacity",
    "body_hue", "body_saturation", "body_lightness", "wing_hue", "wing_saturation", "wing_lightness",
    "band_count", "band_contrast", "spot_count", "spot_size", "stripe_count", "stripe_contrast",
)
# fmt: on
_SPREAD = (1.0, 0.62, 0.45, 0.38)
"""How far a trait moves at each rank, order to species."""

_Rgb = tuple[int, int, int]


@lru_cache(maxsize=4096)
def _inherited(seed: int, path: tuple[int, ...]) -> Doubles:
    """Trait values of a taxon before they are squashed, one normal step per rank."""
    if not path:
        return np.zeros(len(_TRAITS))
    step = node_random(seed, 5, *path).normal(size=len(_TRAITS))
    return _inherited(seed, path[:-1]) + _SPREAD[len(path) - 1] * step


def traits(place: TreePlace) -> dict[str, float]:
    """The specimen's traits in [0, 1]: its species', a little varied."""
    own = node_random(place.seed, 6, *place.taxa, place.specimen).normal(size=len(_TRAITS))
    values = 1 / (1 + np.exp(-1.2 * (_inherited(place.seed, place.taxa) + 0.04 * own)))
    return dict(zip(_TRAITS, values.tolist(), strict=True))


def draw(place: TreePlace) -> bytes:
    """The specimen's picture, JPEG, 64 x 64."""
    random = node_random(place.seed, 7, *place.taxa, place.specimen)
    layer = _insect(traits(place))
    scale = random.uniform(0.8, 1.0)
    layer = layer.rotate(random.uniform(0, 360), Image.Resampling.BILINEAR)
    layer = layer.resize((int(_CANVAS * scale),) * 2, Image.Resampling.BILINEAR)
    picture = _background(random)
    offset = (random.uniform(0.3, 0.7, 2) * (_CANVAS - layer.width)).astype(int)
    picture.paste(layer, (int(offset[0]), int(offset[1])), layer)
    pixels = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)
    lit = pixels * random.uniform(0.9, 1.1) + random.normal(0, 3, pixels.shape)
    buffer = io.BytesIO()
    Image.fromarray(lit.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _background(random: np.random.Generator) -> Image.Image:
    """A pale surface with a slant of light."""
    base = random.uniform(205, 235, 3)
    slope = random.normal(0, 10, 2)
    y, x = np.mgrid[-0.5 : 0.5 : _CANVAS * 1j, -0.5 : 0.5 : _CANVAS * 1j]
    shade = (slope[0] * x + slope[1] * y)[..., None]
    return Image.fromarray((base + shade).clip(0, 255).astype(np.uint8))


def _colour(hue: float, saturation: float, lightness: float) -> _Rgb:
    red, green, blue = colorsys.hls_to_rgb(hue % 1.0, lightness, saturation)
    return int(255 * red), int(255 * green), int(255 * blue)


def _darker(colour: _Rgb, share: float) -> _Rgb:
    red, green, blue = (int(part * (1 - share)) for part in colour)
    return red, green, blue


def _insect(t: dict[str, float]) -> Image.Image:
    """The insect seen from above, head up, on a transparent square."""
    layer = Image.new("RGBA", (_CANVAS, _CANVAS))
    pen = ImageDraw.Draw(layer)
    body = _colour(t["body_hue"], 0.25 + 0.75 * t["body_saturation"], 0.15 + 0.4 * t["body_lightness"])
    middle, unit = _CANVAS / 2, _CANVAS / 100
    thorax = unit * (7 + 8 * t["thorax_size"])
    _legs(pen, middle, thorax, unit * (12 + 26 * t["leg_length"]), unit, _darker(body, 0.4))
    for side in (-1, 1):
        wing = _wing(t, unit)
        angle = side * (20 + 55 * t["wing_angle"])
        turned = wing.rotate(angle, Image.Resampling.BILINEAR, center=(middle, middle))
        layer.alpha_composite(turned)
    _abdomen(pen, t, middle, thorax, unit, body)
    pen.ellipse((middle - thorax, middle - thorax, middle + thorax, middle + thorax), fill=body)
    head = unit * (4 + 6 * t["head_size"])
    top = middle - thorax - head
    length = unit * (6 + 22 * t["antenna_length"])
    for side in (-1, 1):
        pen.line((middle, top, middle + side * length * 0.6, top - length), fill=_darker(body, 0.5), width=2)
    pen.ellipse((middle - head, top - head, middle + head, top + head), fill=_darker(body, 0.25))
    return layer


def _legs(pen: ImageDraw.ImageDraw, middle: float, thorax: float, length: float, unit: float, colour: _Rgb) -> None:
    for side in (-1, 1):
        for slant in (-0.7, 0.1, 0.8):
            foot = (middle + side * (thorax + length), middle + slant * length)
            pen.line((middle, middle + slant * thorax, *foot), fill=colour, width=max(1, int(1.6 * unit)))


def _abdomen(
    pen: ImageDraw.ImageDraw, t: dict[str, float], middle: float, thorax: float, unit: float, body: _Rgb
) -> None:
    """An ellipse below the thorax, crossed by stripes."""
    half = unit * (5 + 11 * t["abdomen_width"])
    top, length = middle + 0.5 * thorax, unit * (16 + 24 * t["abdomen_length"])
    pen.ellipse((middle - half, top, middle + half, top + length), fill=body)
    stripes = round(6 * t["stripe_count"])
    dark = _darker(body, 0.3 + 0.7 * t["stripe_contrast"])
    for stripe in range(stripes):
        y = top + length * (stripe + 1) / (stripes + 1)
        reach = half * np.sqrt(max(0.0, 1 - ((y - top) / length * 2 - 1) ** 2))
        pen.line((middle - reach, y, middle + reach, y), fill=dark, width=max(1, int(2.2 * unit)))


def _wing(t: dict[str, float], unit: float) -> Image.Image:
    """One wing pointing up from the middle of the canvas, with its bands and spots."""
    layer = Image.new("RGBA", (_CANVAS, _CANVAS))
    pen = ImageDraw.Draw(layer)
    middle = _CANVAS / 2
    length, half = unit * (20 + 26 * t["wing_length"]), unit * (6 + 12 * t["wing_width"])
    colour = _colour(t["wing_hue"], t["wing_saturation"], 0.35 + 0.5 * t["wing_lightness"])
    opaque = int(110 + 145 * t["wing_opacity"])
    pen.ellipse((middle - half, middle - length, middle + half, middle), fill=(*colour, opaque))
    bands = round(4 * t["band_count"])
    for band in range(bands):
        y = middle - length * (band + 1) / (bands + 1)
        reach = half * np.sqrt(max(0.0, 1 - ((middle - y) / length * 2 - 1) ** 2))
        ink = (*_darker(colour, 0.3 + 0.7 * t["band_contrast"]), 255)
        pen.line((middle - reach, y, middle + reach, y), fill=ink, width=max(1, int(3 * unit)))
    size = unit * (1.5 + 3.5 * t["spot_size"])
    ink = (*_colour(t["wing_hue"] + 0.5, 0.9, 0.3), 255)
    spots = round(3 * t["spot_count"])
    for spot in range(spots):
        y = middle - length * (0.25 + 0.6 * spot / max(1, spots))
        pen.ellipse((middle - size, y - size, middle + size, y + size), fill=ink)
    return layer
