"""Several images of a specimen: kept as views, one drawn in training, the first in evaluation."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from workloads.data.inputs.batches import Specimens
from workloads.data.inputs.tower_inputs import View
from workloads.data.prepared.dataset import DatasetFacts, PreparedDataset
from workloads.data.prepared.preparation import LOST_VIEWS, DatasetOptions, prepare
from workloads.data.sources.collect import collect
from workloads.data.sources.repeats import MORE_IMAGES
from workloads.data.sources.source import Refused, Source
from workloads.data.specimens.schema import PREPARED_SCHEMA, with_view
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import UsageError
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

WANTED = DatasetOptions(name="views", image_size=32, max_rejects=0.5)
SIDES = {"dorsal": 200, "lateral": 100, "ventral": 20}
"""Views, and how light their pictures are."""


def source(folder: Path, views: Sequence[str], specimens: int = 6) -> Source:
    """Bees with a record for each view."""
    records = []
    for number in range(specimens):
        for view in views:
            name = f"b{number}_{view}.png"
            Image.new("RGB", (40, 40), (SIDES[view],) * 3).save(folder / name)
            about = {"order": "Hymenoptera", "species": "Apis mellifera", "barcode": "ACGTT" * 20}
            records.append({"specimen_id": f"b{number}", "image": name, "where": f"line {len(records)}", **about})
    return Source(name="bees", records=records, root=str(folder))


def prepared(folder: Path, views: Sequence[str]) -> tuple[PreparedDataset, DatasetFacts]:
    table = SpecimenTable.at(folder / "specimens.parquet")
    collect(source(folder, views), table)
    splits = ["train_seen", "train_seen", "train_seen", "val_seen", "test_seen", "seen_keys"]
    table.with_splits(pa.array(splits), "lists", table)
    facts = prepare(table, Folder(folder / "data"), WANTED, map)
    return PreparedDataset(Folder(folder / "data")), facts


def lightness(content: bytes) -> int:
    return round(float(np.asarray(Image.open(io.BytesIO(content))).mean()))


def test_records_of_one_id_that_follow_one_another_become_views(tmp_path: Path) -> None:
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    report = collect(source(tmp_path, ["dorsal", "lateral"], 2), table)
    assert (report.num_specimens, report.rejects) == (2, ())
    assert report.findings.counts[MORE_IMAGES] == 2
    assert table.column("image").to_pylist() == ["b0_dorsal.png\nb0_lateral.png", "b1_dorsal.png\nb1_lateral.png"]


@pytest.mark.parametrize("second", [{"image": "b0_dorsal.png"}, {"image": None}, {"specimen_id": "b9"}])
def test_an_image_that_is_known_or_of_another_specimen_is_no_view(
    tmp_path: Path, second: dict[str, str | None]
) -> None:
    bees = source(tmp_path, ["dorsal", "lateral"], 1)
    one, other = list(bees.records)
    assert not isinstance(other, Refused)
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    bees.records = [one, {**other, **second}]
    collect(bees, table)
    assert "\n" not in table.column("image").to_pylist()[0]


def test_a_view_that_comes_later_is_kept_too(tmp_path: Path) -> None:
    bees = source(tmp_path, ["dorsal", "lateral"], 2)
    one, view, other, _ = list(bees.records)
    bees.records = [one, other, view]
    report = collect(bees, table := SpecimenTable.at(tmp_path / "specimens.parquet"))
    assert table.column("image").to_pylist() == ["b0_dorsal.png\nb0_lateral.png", "b1_dorsal.png"]
    assert report.findings.counts[MORE_IMAGES] == 1


def test_records_apart_from_their_first_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workloads.data.sources.repeats._MOST_HELD", 10)
    bees = source(tmp_path, ["dorsal", "lateral"], 12)
    records = list(bees.records)
    bees.records = records  # of each specimen together
    collect(bees, SpecimenTable.at(tmp_path / "together.parquet"))
    bees.records = records[::2] + records[1::2]
    with pytest.raises(UsageError, match="sort the table by its ids"):
        collect(bees, SpecimenTable.at(tmp_path / "apart.parquet"))
    assert not (tmp_path / "apart.parquet").exists()


def test_references_are_kept_once_and_in_order() -> None:
    assert with_view(None, "a") == "a"
    assert with_view("a", "b") == "a\nb"
    assert with_view("a\nb", "a") == "a\nb"


def test_the_first_view_is_evaluated_and_one_is_drawn_for_each_epoch(tmp_path: Path, tiny_spec: ExperimentSpec) -> None:
    dataset, facts = prepared(tmp_path, list(SIDES))
    assert facts.views
    spec = replace(tiny_spec, dataset="views", data_fingerprint=facts.fingerprint, augmentation="none")
    specimens = Specimens(dataset, ["train_seen"], spec, None, ["image"])
    rows = np.arange(3)
    first = specimens.inputs("image", rows, View()).float().mean(dim=(1, 2, 3))
    assert first.round().tolist() == [200.0] * 3
    drawn = [
        specimens.inputs("image", rows, View(5, epoch)).float().mean(dim=(1, 2, 3)).round().int().tolist()
        for epoch in range(30)
    ]
    assert drawn[4] == specimens.inputs("image", rows, View(5, 4)).float().mean(dim=(1, 2, 3)).round().int().tolist()
    for column in zip(*drawn, strict=True):
        assert set(column) == set(SIDES.values())
        assert all(column.count(side) >= 3 for side in SIDES.values())


def test_a_view_that_cannot_be_read_costs_itself_and_the_next_one_comes_first(tmp_path: Path) -> None:
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    collect(source(tmp_path, ["dorsal", "lateral"]), table)
    table.with_splits(pa.array(["train_seen"] * 3 + ["val_seen", "test_seen", "seen_keys"]), "lists", table)
    (tmp_path / "b0_dorsal.png").write_bytes(b"no picture")
    for view in ("dorsal", "lateral"):
        (tmp_path / f"b1_{view}.png").write_bytes(b"no picture")
    facts = prepare(table, Folder(tmp_path / "data"), WANTED, map)
    rows = PreparedDataset(Folder(tmp_path / "data")).load(["train_seen"]).to_pylist()
    assert [(row["specimen_id"], lightness(row["image"]), len(row["views"])) for row in rows] == [
        ("b0", 100, 0),
        ("b2", 200, 1),
    ]
    assert (facts.num_rejects, facts.num_lost_views) == (1, 1)
    assert PreparedDataset(Folder(tmp_path / "data")).facts == facts
    lost = (tmp_path / "data" / LOST_VIEWS).read_text().splitlines()[1:]
    assert len(lost) == 1
    assert lost[0].startswith("b0\tb0_dorsal.png: ")
    assert (tmp_path / "data" / "rejects.tsv").read_text().count("b0") == 0
    # What has been mended is read when it is prepared again.
    for view in ("dorsal", "lateral"):
        Image.new("RGB", (40, 40), (200,) * 3).save(tmp_path / f"b1_{view}.png")
    facts = prepare(table, Folder(tmp_path / "data"), WANTED, map)
    assert (facts.num_rejects, facts.num_lost_views) == (0, 1)
    Image.new("RGB", (40, 40), (200,) * 3).save(tmp_path / "b0_dorsal.png")
    assert prepare(table, Folder(tmp_path / "data"), WANTED, map).num_lost_views == 0
    assert not (tmp_path / "data" / LOST_VIEWS).exists()


def test_a_data_set_of_one_image_each_has_the_shards_that_it_always_had(tmp_path: Path) -> None:
    dataset, facts = prepared(tmp_path, ["dorsal"])
    assert not facts.views
    assert "num_lost_views" not in json.loads((tmp_path / "data" / "dataset.json").read_text())
    with (dataset.folder / "split=train_seen").open_parquet("part-00000.parquet") as file:
        assert file.schema_arrow.names == PREPARED_SCHEMA.names
