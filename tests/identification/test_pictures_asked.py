"""Pictures that are poor, and specimens with a picture and a barcode, on a database that a run has made."""

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.identification.databases import finished_run
from tests.identification.small_database import BySimilarity
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.synthetic.drawings import draw
from workloads.data.synthetic.insects import TreePlace, specimens
from workloads.identification.building import base_of, build
from workloads.identification.database import Database
from workloads.identification.identifying import Asking, Identifier
from workloads.identification.material import of_dataset
from workloads.identification.picture_faults import faults_of
from workloads.identification.query import Query
from workloads.spec import ExperimentSpec


def encoded(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def noise(*size: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)


def blurred() -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Bright and dark squares without an edge between them."""
    squares = np.kron(noise(4, 6) // 128 * 255.0, np.ones((50, 50, 1)))
    return np.asarray(cv2.GaussianBlur(squares, (0, 0), 10), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "flags"),
    [
        (encoded(noise(200, 300)), []),
        (encoded(noise(47, 300)), ["poor image: tiny"]),
        (encoded(noise(200, 300) // 64 + 100), ["poor image: uniform"]),
        (encoded(blurred()), ["poor image: blurred"]),
        (encoded(np.zeros((20, 20, 3), dtype=np.uint8)), ["poor image: tiny", "poor image: uniform"]),
        (b"no picture", []),
    ],
)
def test_a_picture_is_poor_by_what_can_be_measured(content: bytes, flags: list[str]) -> None:
    assert list(faults_of(content)) == flags


def test_no_synthetic_insect_is_a_poor_picture() -> None:
    places = [TreePlace.parse(str(one["image"])) for one in specimens(20, 3)]
    assert [faults_of(draw(place)) for place in places] == [[]] * 20


def test_a_picture_and_a_barcode_answer_together_and_each_alone_where_the_other_fails(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path: Path
) -> None:
    build(tmp_path / "db", of_dataset(tiny_dataset), base_of(finished_run(tmp_path, tiny_spec, tiny_dataset)))
    database = Database(tmp_path / "db")
    splits = [split for split in tiny_dataset.facts.num_specimens if split.endswith("keys")]
    first = next(iter(tiny_dataset.batches(splits, ["specimen_id", "image", "barcode", "order"]))).to_pylist()[0]
    whole = Query(first["specimen_id"], image=first["image"], barcode=first["barcode"])
    queries = [
        whole,
        replace(whole, barcode=None),
        replace(whole, image=b"\xff\xd8\xff broken"),
        replace(whole, image=None),
    ]
    identifier = Identifier(database, Asking(confidence=0.5))
    identifier._calibration = BySimilarity()  # type: ignore[assignment]
    both, image, broken, dna = identifier.answer([*queries, Query("none", image=b"nothing")]).to_pylist()[:4]
    assert [row["evidence"] for row in (both, image, broken, dna)] == ["both", "image", "dna", "dna"]
    assert both["order"] == first["order"]
    assert [row["similarity"] for row in (both, image, dna)] == pytest.approx([1, 1, 1], abs=1e-3)
    assert image["identity"] is None
    assert both["identity"] == dna["identity"] == 1.0
    assert "does not decode" in " ".join(broken["flags"])
