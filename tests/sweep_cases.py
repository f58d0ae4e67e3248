"""Bases to derive points of sweeps from, and the marks of tests that hold for every sweep, scale or recipe."""

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import pytest

from sweeps import SWEEPS
from sweeps.point import Base, Impossible, Point
from workloads.experiments import Data, Scale, base_spec
from workloads.spec import Modality, Recipe

SCALES: tuple[Scale, ...] = get_args(Scale)
RECIPES: tuple[Recipe, ...] = get_args(Recipe)
ALL: tuple[Modality, ...] = ("image", "dna", "text")
DATA = Data(name="insects", fingerprint="0123abcd-256", synthetic=False, modalities=ALL)
INSECT = replace(DATA, name="INSECT", fingerprint="4567cdef-256")

every_sweep = pytest.mark.parametrize("sweep", SWEEPS.values(), ids=list(SWEEPS))
every_scale = pytest.mark.parametrize("scale", SCALES)
every_recipe = pytest.mark.parametrize("recipe", RECIPES)


def base(scale: Scale = "paper", recipe: Recipe = "corrected", seed: int = 42, data: Data = DATA) -> Base:
    return Base(spec=base_spec(scale, data, recipe, seed), scale=scale, data=data, insect=INSECT)


def possible(found: Sequence[Point | Impossible]) -> list[Point]:
    return [point for point in found if isinstance(point, Point)]


def trained(points: Sequence[Point | Impossible]) -> dict[str, Point]:
    return {point.id: point for point in possible(points) if point.kind == "train"}
