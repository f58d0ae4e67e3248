"""`Run.embed`: the same vectors from a path, bytes, Pillow's image and pixels, as an evaluation makes them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

import clibd
from workloads.data.inputs.image_views import evaluation_view
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.coi_consensus import CONSENSUS
from workloads.data.specimens.coi_region import reverse_complement
from workloads.errors import MissingPathError, UsageError
from workloads.evaluation.attention import ROLLOUTS, attention_masks
from workloads.evaluation.embed import embed_all
from workloads.models.loaded import open_run
from workloads.placement import Placement
from workloads.record import RunFolder
from workloads.spec import RANKS
from workloads.storage import Folder

NEAR = 2e-6  # batches of other sizes add up in another order


@pytest.fixture(scope="module")
def run(run_folder: Path) -> clibd.Run:
    return clibd.load_run(run_folder)


def test_vectors_are_those_of_an_evaluation(
    run: clibd.Run, run_folder: Path, tiny_dataset: PreparedDataset, whole: pa.Table
) -> None:
    experiment = open_run(RunFolder(Folder(run_folder)))
    splits = [split for split, count in tiny_dataset.facts.num_specimens.items() if count]
    expected = embed_all(experiment, experiment.specimens(tiny_dataset, splits), Placement())
    rows = whole.select(["specimen_id", "image", "barcode", *RANKS]).to_pylist()[:20]
    told: list[tuple[int, int | None]] = []
    found = run.embed(
        images=[row["image"] for row in rows],
        barcodes=[row["barcode"] for row in rows],
        texts=[{rank: row[rank] for rank in RANKS} for row in rows],
        ids=[row["specimen_id"] for row in rows],
        at_a_time=7,
        progress=lambda done, total: told.append((done, total)),
    )
    place = {name: number for number, name in enumerate(expected.ids.tolist())}
    which = [place[name] for name in found.ids]
    for modality, own in (("image", found.images), ("dna", found.barcodes), ("text", found.texts)):
        assert own is not None
        named = [
            why is None for why in found.problems[{"image": "images", "dna": "barcodes", "text": "texts"}[modality]]
        ]
        assert sum(named) > 10
        np.testing.assert_allclose(own[named], expected.rows[modality][which][named], atol=NEAR)
    assert told == [(7, 20), (14, 20), (20, 20)]


def test_a_path_bytes_a_picture_and_pixels_are_one_image(run: clibd.Run, whole: pa.Table, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "PNG")
    (tmp_path / "wing.png").write_bytes(buffer.getvalue())
    given: list[Any] = [tmp_path / "wing.png", str(tmp_path / "wing.png"), buffer.getvalue(), Image.fromarray(pixels)]
    found = run.embed(images=[*given, pixels], ids=["a", "b", "c", "d", "e"])
    assert found.images is not None
    assert found.problems["images"] == (None,) * 5
    np.testing.assert_allclose(found.images, np.repeat(found.images[:1], 5, axis=0), atol=NEAR)
    np.testing.assert_allclose(np.linalg.norm(found.images, axis=1), 1, atol=1e-6)


def test_a_turned_barcode_is_the_same_and_is_said(run: clibd.Run, real_barcode: str) -> None:
    found = run.embed(barcodes={"as it is": real_barcode, "turned": reverse_complement(real_barcode)})
    assert found.barcodes is not None
    np.testing.assert_allclose(found.barcodes[0], found.barcodes[1], atol=NEAR)
    assert found.flags[0] == ()
    assert found.flags[1] == ("barcode turned",)


@pytest.fixture(scope="module")
def real_barcode() -> str:
    """The consensus of COI, of which the strand is told."""
    return next(iter(CONSENSUS.values()))


def test_what_cannot_be_read_costs_itself_alone(run: clibd.Run, whole: pa.Table, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    good = whole["image"][0].as_py()
    images: list[Any] = [tmp_path / "missing.jpg", tmp_path / "text.jpg", good, None, np.zeros((4, 4))]
    found = run.embed(images=images, barcodes=["ACGT%", whole["barcode"][0].as_py(), None, "NNN", ""])
    assert found.images is not None
    assert found.barcodes is not None
    problems = found.problems["images"]
    assert [why is None for why in problems] == [False, False, True, False, False]
    assert "No such file" in str(problems[0])
    assert "does not decode" in str(problems[1])
    assert "uint8" in str(problems[4])
    assert [why is None for why in found.problems["barcodes"]] == [False, True, False, False, False]
    assert not found.images[0].any()
    table = found.table
    assert table["image"].null_count == 4
    assert table["dna"][1].as_py() == pytest.approx(found.barcodes[1].tolist())


def test_what_cannot_be_meant_is_refused(run: clibd.Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing was given"):
        run.embed()
    with pytest.raises(UsageError, match="2 images, 1 barcodes"):
        run.embed(images=[b"", b""], barcodes=["ACGT"])
    with pytest.raises(UsageError, match="'a' stands twice"):
        run.embed(barcodes=["ACGT", "ACGT"], ids=["a", "a"])
    with pytest.raises(UsageError, match="images is one value"):
        run.embed(images="wing.jpg")
    with pytest.raises(UsageError, match="all as values by id"):
        run.embed(images=[b""], barcodes={"a": "ACGT"})
    with pytest.raises(MissingPathError, match="finished run"):
        clibd.load_run(tmp_path)


def test_attention_is_on_the_grid_of_the_tower(run: clibd.Run, whole: pa.Table, run_folder: Path) -> None:
    image = whole["image"][0].as_py()
    mask = run.attention_mask(image, recipe="corrected")
    tower = open_run(RunFolder(Folder(run_folder))).model.towers["image"]
    pixels = torch.from_numpy(evaluation_view(image, 32, "middle")[None]).permute(0, 3, 1, 2)
    expected = attention_masks(tower, pixels, ROLLOUTS["corrected"])[0].numpy()
    assert mask.shape == (2, 2)  # 32 pixels in patches of 16
    np.testing.assert_allclose(mask, expected, atol=NEAR)
    assert np.array_equal(mask, clibd.attention_mask(run_folder, image, recipe="corrected"))
    with pytest.raises(UsageError, match="does not decode"):
        run.attention_mask(b"no picture")


def test_a_run_shows_itself_escaped(run: clibd.Run) -> None:
    assert "SYNTHETIC" in run._repr_html_()
    shown = run.embed(barcodes={"<b>x</b>": "ACGTACGTACGT"})._repr_html_()
    assert "<b>x" not in shown
    assert "&lt;b&gt;x" in shown
