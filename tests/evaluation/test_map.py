"""Where an evaluation lays its embeddings out."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.looking_cases import measured as measured
from tests.evaluation.looking_cases import run as run
from workloads.evaluation.looking import map_of, method_for
from workloads.evaluation.stored import read_parts
from workloads.plane import by_pca
from workloads.record import RunFolder, read_evaluation
from workloads.shown import read_map


def test_every_embedding_is_one_point(run: RunFolder) -> None:
    points, parts = read_map(run.folder), read_parts(run.folder)
    assert points is not None
    expected = {
        (name, None if part == "keys" else part, "key" if part == "keys" else "query", modality)
        for part, embedded in parts.items()
        for modality in embedded.rows
        for name in embedded.ids
    }
    columns = ["specimen_id", "partition", "kind", "modality"]
    assert Counter(tuple(row.values()) for row in points.select(columns).to_pylist()) == Counter(expected)
    said = read_evaluation(run.folder)["map"]
    assert said == {"method": "pca", "points": len(expected), "of": len(expected)}
    assert json.loads(points.schema.metadata[b"map"]) == said


def test_principal_components_are_those_of_the_singular_value_decomposition() -> None:
    chance = np.random.default_rng(5)
    for count, size in ((40_000, 7), (50, 12), (3, 12)):  # several pieces, and fewer points than numbers
        points = (chance.normal(size=(count, size)) * (1 + np.arange(size)) + 9).astype(np.float32)
        centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
        axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
        places = by_pca(points)
        for axis, own in zip(axes, places.T, strict=True):
            sign = np.sign(axis[np.abs(axis).argmax()])
            np.testing.assert_allclose(own, sign * (centred @ axis), atol=2e-6 * np.abs(own).max())  # fp32
        assert places[:, 0].var() >= places[:, 1].var()


def test_points_that_are_alike_lie_together() -> None:
    assert not by_pca(np.ones((9, 5), dtype=np.float32)).any()
    line = by_pca(np.arange(6, dtype=np.float32)[:, None])
    assert line.tolist() == [[x - 2.5, 0] for x in range(6)]


@pytest.mark.parametrize(
    ("num_points", "method"), [(1, "pca"), (4_999, "pca"), (5_000, "umap"), (20_000, "umap"), (20_001, "pca")]
)
def test_umap_is_for_neither_few_points_nor_many(num_points: int, method: str) -> None:
    assert method_for(num_points) == method


def test_umap_keeps_apart_what_lies_apart_and_gives_the_same_places_again(run: RunFolder) -> None:
    [keys, *_] = read_parts(run.folder).values()
    keys = keys.take(np.arange(24))
    chance, size = np.random.default_rng(3), 8
    centres = np.eye(2, size).repeat(12, axis=0)  # two bundles, at a right angle
    rows = (centres + chance.normal(scale=0.01, size=(24, size))).astype(np.float32)
    parts = {"keys": replace(keys, rows={"dna": rows}, lacking={})}
    points, said = map_of(parts, fewest_for_umap=5)
    assert said == {"method": "umap", "points": 24, "of": 24}
    places = np.stack([np.asarray(points[name]) for name in ("x", "y")], axis=1)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + np.diag(np.full(24, np.inf))
    assert (distances.argmin(axis=1) // 12 == np.arange(24) // 12).all()
    assert points.equals(map_of(parts, fewest_for_umap=5)[0])
    assert map_of(parts, most=4, fewest_for_umap=5)[1] == {"method": "pca", "points": 4, "of": 24}


def test_of_too_many_points_some_are_drawn(run: RunFolder) -> None:
    parts = read_parts(run.folder)
    whole, _ = map_of(parts)
    some, said = map_of(parts, 50)
    assert said == {"method": "pca", "points": 50, "of": len(whole)}
    assert len(some) == 50
    keys = ["specimen_id", "partition", "kind", "modality"]
    rows = {tuple(row.values()) for row in whole.select(keys).to_pylist()}
    assert len({tuple(row.values()) for row in some.select(keys).to_pylist()} & rows) == 50
    assert some.equals(map_of(parts, 50)[0])
