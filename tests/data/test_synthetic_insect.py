"""Synthetic data in the form of INSECT: read as INSECT is, and taken for it by nobody."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from workloads.bzsl.feature_source import read_source
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.sources.collect import collect
from workloads.data.sources.insect_files import FEATURES_FILE, SPLITS_FILE
from workloads.data.sources.opening import SourceOptions, open_source
from workloads.data.sources.synthetic_insect import write_synthetic_insect
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.data.synthetic.insects import specimens
from workloads.errors import MissingPathError
from workloads.spec import RANKS
from workloads.storage import Folder

NUM_SPECIES = 15


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("insect")
    write_synthetic_insect(made, NUM_SPECIES, seed=5)
    return made


@pytest.fixture(scope="module")
def table(folder: Path) -> SpecimenTable:
    made = SpecimenTable.at(folder.parent / "specimens.parquet")
    collect(open_source(str(folder), "auto", SourceOptions()), made)
    return made


@pytest.fixture(scope="module")
def prepared(table: SpecimenTable, folder: Path) -> PreparedDataset:
    target = Folder(folder.parent / "prepared")
    prepare(table, target, DatasetOptions(name="synthetic-insect", image_size=64), map)
    return PreparedDataset(target)


def test_the_reader_of_insect_reads_it_whole(table: SpecimenTable) -> None:
    rows = next(table.batches()).to_pylist()
    assert (table.facts.protocol, table.facts.partition) == ("insect", "source")
    assert len({row["species"] for row in rows}) == NUM_SPECIES
    assert 10 * NUM_SPECIES <= len(rows) <= 30 * NUM_SPECIES
    for row in rows:
        assert all(row[rank] for rank in RANKS)
        assert row["barcode"]
        assert row["image"].startswith(f"images/{row['species']}/")
    species = {split: {row["species"] for row in rows if row["split"] == split} for split in table.protocol.splits}
    counts = Counter(row["split"] for row in rows)
    assert not species["test_unseen"] & (species["train_seen"] | species["val_classes"] | species["test_seen"])
    assert not species["train_seen"] & species["val_classes"]
    assert species["test_seen"] <= species["train_seen"] | species["val_classes"]
    assert min(counts[name] for name in ("train_seen", "val_classes", "test_seen", "test_unseen")) > 0


def test_every_reader_says_that_it_is_synthetic(table: SpecimenTable, prepared: PreparedDataset, folder: Path) -> None:
    assert table.facts.synthetic_seed == 5
    assert prepared.facts.synthetic
    for place in (folder, prepared.folder):
        assert read_source(str(place), 0).synthetic


def test_one_seed_gives_the_same_specimens_on_any_day_and_another_gives_others(
    table: SpecimenTable, folder: Path, tmp_path: Path
) -> None:
    for seed, same in ((5, True), (6, False)):
        write_synthetic_insect(tmp_path / str(seed), NUM_SPECIES, seed)
        again = SpecimenTable.at(tmp_path / f"{seed}.parquet")
        collect(open_source(str(tmp_path / str(seed)), "insect", SourceOptions()), again)
        assert next(again.batches()).equals(next(table.batches())) == same
        one, other = (read_source(str(place), 0) for place in (folder, tmp_path / str(seed)))
        assert (len(one.ids) == len(other.ids) and np.array_equal(one.images, other.images)) == same  # type: ignore[arg-type]


def test_its_species_are_none_of_the_built_in_ones_but_of_their_genera(tmp_path: Path) -> None:
    write_synthetic_insect(tmp_path, 6, seed=8)
    source = open_source(str(tmp_path), "insect", SourceOptions())
    own = [record for record in source.records if isinstance(record, dict)]
    built_in = list(specimens(3000, 8))
    assert not {row["species"] for row in own} & {row["species"] for row in built_in}
    assert {row["genus"] for row in own} <= {row["genus"] for row in built_in}


def test_a_prepared_data_set_keeps_the_published_features(prepared: PreparedDataset, folder: Path) -> None:
    one, other = read_source(str(folder), 0), read_source(prepared.folder.address, 0)
    assert other.kind == "insect"
    fingerprint = prepared.facts.fingerprint
    assert other.about == {"dataset": "synthetic-insect", "data_fingerprint": fingerprint, "official_split": None}
    assert one.class_dna is not None
    assert other.class_dna is not None
    assert list(one.class_dna) == list(other.class_dna)
    np.testing.assert_array_equal([*one.class_dna.values()], [*other.class_dna.values()])
    np.testing.assert_array_equal(np.asarray(one.images), np.asarray(other.images))
    assert one.labels["family"].tolist() == other.labels["family"].tolist()
    assert set(one.species) == {
        name
        for split in prepared.facts.num_specimens
        for name in prepared.load([split])["species"].to_pylist()
        if prepared.facts.num_specimens[split]
    }


def test_a_prepared_insect_without_them_says_how_to_get_them(
    prepared: PreparedDataset, tmp_path: Path, table: SpecimenTable
) -> None:
    bare = Folder(tmp_path / "bare")
    bare.write_json("dataset.json", prepared.folder.read_json("dataset.json"))
    with pytest.raises(MissingPathError, match=f"{FEATURES_FILE} and {SPLITS_FILE}"):
        read_source(bare.address, 0)
