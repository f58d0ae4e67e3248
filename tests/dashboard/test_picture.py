"""Pictures go by the ids of an evaluation's specimens, and by nothing else."""

import io
from pathlib import Path

import pytest
from PIL import Image

from results.dashboard.page import Asked, File
from results.dashboard.site.answers import answer
from tests.dashboard.answered_runs import answered_run, catalog_of, rows_of, shown_of
from tests.dashboard.showing import sent, shown, words_of
from tests.results.figures.made_up import Row
from workloads.data.prepared.dataset import PreparedDataset
from workloads.shown import SHOWN


@pytest.fixture(scope="module")
def rows(tiny_dataset: PreparedDataset) -> list[Row]:
    return rows_of(tiny_dataset)


def _run(runs: Path, dataset: PreparedDataset, rows: list[Row], kept: list[Row] | None = None) -> str:
    pictures = None if kept is None else shown_of(dataset, kept)
    return answered_run(runs, rows, dataset.facts.name, dataset.facts.fingerprint, pictures)


def _image(file: File) -> Image.Image:
    return Image.open(io.BytesIO(file.content))


def test_a_kept_thumbnail(tmp_path: Path, tiny_dataset: PreparedDataset, rows: list[Row]) -> None:
    run = _run(tmp_path, tiny_dataset, rows, rows[:10])
    catalog = catalog_of(tmp_path)
    small = sent(catalog, "picture", run, specimen=rows[0]["specimen_id"])
    assert small.media_type == "image/webp"
    assert max(_image(small).size) <= 96
    assert sent(catalog, "picture", run, specimen=rows[20]["specimen_id"]).media_type == "image/svg+xml"


def test_pictures_of_the_data_set(tmp_path: Path, tiny_dataset: PreparedDataset, rows: list[Row]) -> None:
    run = _run(tmp_path, tiny_dataset, rows)
    catalog = catalog_of(tmp_path, tiny_dataset)
    for row in rows[:3]:
        specimen, split = str(row["specimen_id"]), str(row["split"])
        full = sent(catalog, "picture", run, specimen=specimen, size="full")
        assert full.content == tiny_dataset.images([split], [specimen])[specimen]
        assert full.media_type == "image/jpeg"
        assert max(_image(sent(catalog, "picture", run, specimen=specimen)).size) <= 96


@pytest.mark.parametrize("specimen", ["", "nobody", "../../evaluation.json", "/etc/passwd", "SYN003-0000009/..", "s\0"])
def test_what_is_no_specimen_is_not_there(
    tmp_path: Path, tiny_dataset: PreparedDataset, rows: list[Row], specimen: str
) -> None:
    run = _run(tmp_path, tiny_dataset, rows)
    catalog = catalog_of(tmp_path, tiny_dataset)
    assert answer(catalog, Asked.to("picture", run, {"specimen": specimen, "size": "full"})).status == 404


def test_damaged_pictures_cost_pictures_alone(tmp_path: Path, tiny_dataset: PreparedDataset, rows: list[Row]) -> None:
    run = _run(tmp_path, tiny_dataset, rows, rows[:10])
    (tmp_path / "train" / run / SHOWN).write_bytes(b"PAR1")
    text = words_of(shown(catalog_of(tmp_path), "retrieval", run))
    assert "kept for looking at cannot be read" in text
    assert "queries, image to" in text
