"""The page of the data set, part by part."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from results.dashboard.catalog import Catalog
from results.dashboard.pages.data import KINDS
from results.paper.data_statistics import count_prepared
from sweeps.point import Point
from tests.dashboard.showing import shown, words_of
from workloads.data.prepared.dataset import SPECIMEN_TABLE, PreparedDataset
from workloads.data.specimens.caveats import shared_barcodes, shared_images
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.storage import Folder


@pytest.fixture
def catalog(tmp_path: Path, tiny_dataset: PreparedDataset) -> Catalog:
    """No runs, and the tiny data set."""
    return Catalog(Folder(tmp_path), tiny_dataset.folder)


def test_without_the_data_set_it_says_what_runs_are_of_and_the_command(
    runs: Folder, write_run: Callable[..., str], amp_points: Callable[..., dict[bool, Point]]
) -> None:
    write_run(amp_points(synthetic=True)[True], 0.5)
    words = words_of(shown(Catalog(runs), "data"))
    assert f"clibd-dashboard {runs} --data DIR" in words
    assert "insects SYNTHETIC , version 0123abcd-256 : 1 run" in words
    assert "clibd data stats DIR --out" in words


def test_without_runs_it_says_what_makes_some(tmp_path: Path) -> None:
    assert "clibd-sweep batch-size --demo" in words_of(shown(Catalog(Folder(tmp_path)), "data"))


def test_counts_by_split_and_rank(catalog: Catalog, tiny_dataset: PreparedDataset) -> None:
    facts = tiny_dataset.facts
    words = words_of(shown(catalog, "data"))
    assert "SYNTHETIC specimens." in words
    assert f"Fingerprint {facts.fingerprint}" in words
    split = "train_seen"
    labelled = [facts.num_labelled[split][rank] for rank in ("order", "family", "genus", "species")]
    assert f"{split} training {facts.num_specimens[split]} {' '.join(map(str, labelled))}" in words
    assert f"all {sum(facts.num_specimens.values())} " in words


def test_a_data_set_that_is_prepared_again_is_shown_as_it_is_now(
    tmp_path: Path, tiny_dataset: PreparedDataset, incomplete_dataset: PreparedDataset
) -> None:
    data = Folder(tmp_path / "data")
    data.write("dataset.json", tiny_dataset.folder.read("dataset.json"))
    catalog = Catalog(Folder(tmp_path / "runs"), data)
    before = catalog.look_again()
    assert f"Fingerprint {tiny_dataset.facts.fingerprint}" in words_of(shown(catalog, "data"))
    data.write("dataset.json", incomplete_dataset.folder.read("dataset.json"))
    os.utime(tmp_path / "data" / "dataset.json", (1e9, 1e9))
    after = catalog.look_again()
    assert after.since(before).names == {"*"}
    assert f"Fingerprint {incomplete_dataset.facts.fingerprint}" in words_of(shown(catalog, "data"))


def test_what_lacks_a_modality_is_counted(tmp_path: Path, incomplete_dataset: PreparedDataset) -> None:
    words = words_of(shown(Catalog(Folder(tmp_path), incomplete_dataset.folder), "data"))
    facts = incomplete_dataset.facts
    lacking = facts.num_specimens["train_seen"] - facts.num_having("image", ["train_seen"])
    assert lacking > 0
    assert f"({lacking} lack it)" in words


def test_taxa_and_tables_beside_the_published(catalog: Catalog, tiny_dataset: PreparedDataset) -> None:
    counts = count_prepared(tiny_dataset)
    words = words_of(shown(catalog, "data", part="tables"))
    assert f"train_seen {counts.num_taxa('order', ['train_seen'])} " in words
    for title in ("Table 5. Average number of records", "Table 6. Taxa of seen", "Table 7. Accuracy"):
        assert title in words
    assert "⊘ not comparable" in words
    assert "60,007.72" in words  # published


def test_what_splits_share(catalog: Catalog, tiny_dataset: PreparedDataset) -> None:
    table = SpecimenTable(tiny_dataset.folder, SPECIMEN_TABLE)
    words = words_of(shown(catalog, "data", part="shared"))
    for sentence in (*shared_barcodes(table), *shared_images(table)):
        assert " ".join(sentence.split()) in words


def test_image_files_of_several_splits_are_counted_without_reading_one(
    tmp_path: Path, synthetic_table: Callable[[Path, int, int], SpecimenTable]
) -> None:
    whole = synthetic_table(tmp_path / "whole.parquet", 200, 1)
    rows = pa.Table.from_batches(whole.batches()).sort_by("split")
    images = [
        "a.jpg\nb.jpg" if place % 50 == 0 else None if place % 3 else f"{place}.jpg" for place in range(len(rows))
    ]
    rows = rows.set_column(rows.schema.get_field_index("image"), "image", pa.array(images, pa.string()))
    table = SpecimenTable.at(tmp_path / "shared.parquet")
    with table.writer(whole.facts) as write:
        for batch in rows.to_batches():
            write(batch)
    splits = rows["split"].to_pylist()
    expected = []
    for split in table.protocol.splits:
        mine = [
            name for at, text in zip(splits, images, strict=True) if at == split and text for name in text.split("\n")
        ]
        rest = {
            name for at, text in zip(splits, images, strict=True) if at != split and text for name in text.split("\n")
        }
        if mine:
            others = sum(name in rest for name in mine)
            expected.append(f"{split}: {len(mine):,} image files, {others:,} also of a specimen of another split.")
    assert shared_images(table) == expected
    assert any(", 2 also" in sentence for sentence in expected)


def test_rejects_and_names_are_paged(catalog: Catalog, tmp_path: Path, tiny_dataset: PreparedDataset) -> None:
    copy = Folder(tmp_path / "copy")
    for name in ("dataset.json", "specimens.parquet"):
        copy.write(name, tiny_dataset.folder.read(name))
    lines = [f"specimen-{number}\t<b>no image {number}</b>\n" for number in range(250)]
    copy.write("rejects.tsv", f"specimen_id\treason\n{''.join(lines)}".encode())
    other = Catalog(Folder(tmp_path), copy)
    first = shown(other, "data", part="rejects")
    assert "1 to 100 of 250 rejects" in words_of(first)
    assert "&lt;b&gt;no image 99&lt;/b&gt;" in first
    assert 'href="/data?page=2&amp;part=rejects"' in first
    last = words_of(shown(other, "data", part="rejects", page=9))
    assert "201 to 250 of 250 rejects" in last
    assert "specimen-249" in last
    assert "There are none." in words_of(shown(catalog, "data", part="names"))


def test_a_data_set_that_is_damaged_or_not_there_says_so(tmp_path: Path, tiny_dataset: PreparedDataset) -> None:
    assert "clibd data prepare" in words_of(shown(Catalog(Folder(tmp_path), Folder(tmp_path / "no")), "data"))
    broken = Folder(tmp_path / "broken")
    broken.write("dataset.json", b"{")
    assert "dataset.json" in words_of(shown(Catalog(Folder(tmp_path), broken), "data"))
    half = Folder(tmp_path / "half")
    half.write("dataset.json", tiny_dataset.folder.read("dataset.json"))
    for part in ("tables", "shared", "names"):
        assert str(half) in words_of(shown(Catalog(Folder(tmp_path), half), "data", part=part))


def test_what_an_export_has(catalog: Catalog, tmp_path: Path) -> None:
    assert len(list(KINDS[0].listed(catalog))) == 5
    assert [asked.path for asked in KINDS[0].listed(Catalog(Folder(tmp_path)))] == ["/data"]
    assert "no part" in words_of(shown(catalog, "data", part="x", status=404))
