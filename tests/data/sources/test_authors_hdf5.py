"""The authors' HDF5 files in the published layouts of 1M and 5M, with their doubled groups."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from workloads.data.files import hdf5_files
from workloads.data.files.image_source import ImageSource
from workloads.data.sources.authors_hdf5 import authors_hdf5_source
from workloads.data.sources.collect import collect
from workloads.data.sources.opening import SourceOptions, open_source
from workloads.data.sources.source import RawRecord, Refused, Source
from workloads.data.specimens.schema import PROTOCOLS, SPECIMEN_SCHEMA
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import SourceError, UsageError

BARCODE = "AACATTATATTTTATTTTTGGAGCTTGATCAGG" * 20
GROUPS_1M = PROTOCOLS["clibd"].splits
GROUPS_5M = ("val_seen", "test_seen", "seen_keys", "test_unseen", "val_unseen", "unseen_keys", "other_heldout")

Numbered = Callable[..., dict[str, list[int]]]
Write = Callable[..., Path]
WriteGroup = Callable[..., None]
RecordsOf = Callable[[Source], list[RawRecord]]


@pytest.fixture
def write_authors_5m(numbered: Numbered, write_group: WriteGroup) -> Write:
    """Writes all groups that the authors' script makes for BIOSCAN-5M, or only some; the same specimens each time."""
    doubled = {"all_keys": ("unseen_keys", "seen_keys"), "no_split_and_seen_train": ("pretrain", "seen_keys")}

    def write(path: Path, groups: Sequence[str] = (), each: int = 4) -> Path:
        specimens = numbered((*GROUPS_5M, "pretrain"), each)
        with h5py.File(path, "w") as file:
            for name in groups or (*GROUPS_5M, *doubled):
                rows = [(n, part) for part in doubled.get(name, (name,)) for n in specimens[part]]
                write_group(file, name, sorted(rows), of_5m=True)
        return path

    return write


def ids_by_split(rows: list[RawRecord]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["split"], []).append(row["specimen_id"])
    return found


def test_every_specimen_of_a_1m_file_comes_once_with_its_split_and_picture(
    tmp_path: Path, write_authors_1m: Write, numbered: Numbered, pictures: list[bytes]
) -> None:
    specimens = numbered(GROUPS_1M)
    source = authors_hdf5_source(write_authors_1m(tmp_path / "BioScan_data_in_splits.hdf5"))
    assert source.total == 40
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    report = collect(source, table)
    assert (report.num_specimens, report.rejects, report.notes) == (40, (), ())
    assert (table.facts.protocol, table.facts.partition) == ("clibd", "source")
    rows = next(table.batches()).to_pylist()
    assert ids_by_split(rows) == {split: [f"BIOUG{n:05d}-A01" for n in numbers] for split, numbers in specimens.items()}
    with ImageSource(table.facts.root) as images:
        for row in rows:
            assert images.read(row["image"]) == pictures[int(row["specimen_id"][5:10])]
    seen = next(row for row in rows if row["specimen_id"] == f"BIOUG{specimens['val_seen'][2]:05d}-A01")
    assert seen == dict.fromkeys(SPECIMEN_SCHEMA.names) | {
        "specimen_id": seen["specimen_id"],
        "image": "hdf5:BioScan_data_in_splits.hdf5#val_seen/image#2",
        "barcode": BARCODE,
        "order": "Diptera",
        "family": "Chironomidae",
        "genus": "Chironomus",
        "species": "Chironomus seen",
        "split": "val_seen",
    }
    unlabelled = next(row for row in rows if row["split"] == "no_split")
    assert unlabelled["genus"] is None
    assert unlabelled["species"] is None


def test_the_pretraining_records_of_5m_come_from_the_training_group_that_alone_holds_them(
    tmp_path: Path, write_authors_5m: Write, numbered: Numbered, pictures: list[bytes]
) -> None:
    specimens = numbered((*GROUPS_5M, "pretrain"))
    source = authors_hdf5_source(write_authors_5m(tmp_path / "BIOSCAN_5M.hdf5"))
    assert source.total is None
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    report = collect(source, table)
    assert (report.num_specimens, report.rejects) == (32, ())
    assert report.notes == ("group 'no_split_and_seen_train': the 4 rows that seen_keys have were left out",)
    assert table.facts.protocol == "bioscan_5m"
    rows = next(table.batches()).to_pylist()
    ours = {"seen_keys": "train_seen", "pretrain": "no_split"}
    assert ids_by_split(rows) == {
        ours.get(group, group): [f"AACTA{n}-20" for n in numbers] for group, numbers in specimens.items()
    }
    with ImageSource(table.facts.root) as images:
        assert all(images.read(row["image"]) == pictures[int(row["specimen_id"][5:-3])] for row in rows)


def test_the_authors_fifth_of_5m_is_told_apart_by_its_labels(
    tmp_path: Path, write_authors_5m: Write, numbered: Numbered
) -> None:
    specimens = numbered((*GROUPS_5M, "pretrain"))
    path = write_authors_5m(tmp_path / "special_pre_train_5m.hdf5", ["no_split_and_seen_train"])
    source = authors_hdf5_source(path)
    assert source.protocol == "bioscan_5m"
    found = ids_by_split([record for record in source.records if not isinstance(record, Refused)])
    assert found == {
        "train_seen": [f"AACTA{n}-20" for n in specimens["seen_keys"]],
        "no_split": [f"AACTA{n}-20" for n in specimens["pretrain"]],
    }
    assert any("records with a species were taken for train_seen" in note for note in source.notes)


def test_labelled_records_that_the_authors_did_not_train_on_are_reported(
    tmp_path: Path, write_authors_5m: Write, write_group: WriteGroup, numbered: Numbered
) -> None:
    specimens = numbered((*GROUPS_5M, "pretrain"))
    path = write_authors_5m(tmp_path / "small.hdf5")
    with h5py.File(path, "a") as file:
        del file["no_split_and_seen_train"]
        rows = [(n, "pretrain") for n in specimens["pretrain"]] + [(specimens["seen_keys"][0], "seen_keys")]
        write_group(file, "no_split_and_seen_train", rows, of_5m=True)
    source = authors_hdf5_source(path)
    assert Counter(record["split"] for record in source.records)["train_seen"] == 4  # type: ignore[index]  # none refused
    assert any(
        note.startswith("3 specimens of seen_keys are not in 'no_split_and_seen_train'") for note in source.notes
    )


@pytest.mark.parametrize(("absent", "split"), [("no_split", "no_split"), ("train_seen", "train_seen")])
def test_a_missing_group_is_taken_from_the_one_that_repeats_it(
    tmp_path: Path, absent: str, split: str, write_authors_1m: Write, numbered: Numbered, records_of: RecordsOf
) -> None:
    specimens = numbered(GROUPS_1M)
    groups = [name for name in (*GROUPS_1M, "no_split_and_seen_train") if name != absent]
    rows = records_of(authors_hdf5_source(write_authors_1m(tmp_path / "a.hdf5", groups)))
    assert len(rows) == 40
    assert ids_by_split(rows)[split] == [f"BIOUG{n:05d}-A01" for n in specimens[absent]]


def test_keys_whose_splits_cannot_be_told_apart_are_not_read(tmp_path: Path, write_authors_1m: Write) -> None:
    path = write_authors_1m(tmp_path / "a.hdf5", ["all_keys", "val_seen"])
    source = authors_hdf5_source(path)
    assert len(list(source.records)) == 4
    assert source.notes == [
        "group 'all_keys' is not read: it repeats seen_keys, val_unseen_keys, test_unseen_keys, which are not there"
    ]
    with pytest.raises(SourceError, match=r"repeat others \(all_keys\)"):
        authors_hdf5_source(write_authors_1m(tmp_path / "b.hdf5", ["all_keys"]))
    with h5py.File(tmp_path / "c.hdf5", "w") as file:
        file.create_group("mine")
    with pytest.raises(SourceError, match=r"no group .*\(mine\)"):
        authors_hdf5_source(tmp_path / "c.hdf5")


def test_slices_of_any_size_give_the_same_records_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_authors_5m: Write, records_of: RecordsOf
) -> None:
    path = write_authors_5m(tmp_path / "a.hdf5", each=7)
    whole = records_of(authors_hdf5_source(path))
    assert len(whole) == 56
    monkeypatch.setattr(hdf5_files, "_SLICE_ROWS", 3)
    source = authors_hdf5_source(path)
    assert list(source.records) == list(source.records) == whole
    assert len(source.notes) == len(set(source.notes)) == 1


def with_features(path: Path, length: int = 3) -> Path:
    """The file with `dna_features` in every group: row r of the g-th group has length times 100 g + r."""
    with h5py.File(path, "a") as file:
        for number, group in enumerate(sorted(file)):
            values = 100 * number + np.arange(len(file[group]["barcode"]), dtype=np.float64)
            file[group]["dna_features"] = np.repeat(values[:, None], length, axis=1)
    return path


def test_features_of_the_authors_are_read_only_where_they_are_asked_for(
    tmp_path: Path, write_authors_1m: Write, records_of: RecordsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_files, "_SLICE_ROWS", 3)
    path = with_features(write_authors_1m(tmp_path / "a.hdf5"))
    assert all("dna_features" not in row for row in records_of(authors_hdf5_source(path)))
    source = open_source(str(path), "auto", SourceOptions(columns={"dna_features": "dna_features"}))
    rows = records_of(source)
    assert len(rows) == source.total == 40
    with h5py.File(path) as file:
        groups = sorted(file)
    for row in rows:
        group, _, number = row["where"].partition(" row ")
        assert row["dna_features"].dtype == np.float32
        assert row["dna_features"].tolist() == [100.0 * groups.index(group) + int(number)] * 3
        assert "image_features" not in row


def test_features_that_are_not_there_or_are_no_matrix_of_numbers_are_an_error(
    tmp_path: Path, write_authors_1m: Write
) -> None:
    path = write_authors_1m(tmp_path / "a.hdf5")
    for name, reason in (
        ("none", "no_split/none: "),
        ("image_mask", "authors' shapes"),
        ("barcode", "no numbers"),
    ):
        with pytest.raises(SourceError, match=reason):
            authors_hdf5_source(path, {"dna_features": name})
    with h5py.File(path, "a") as file:
        for group in file.values():
            group["short"] = np.ones((2, 3))
    with pytest.raises(SourceError, match="equally many rows"):
        authors_hdf5_source(path, {"dna_features": "short"})


def test_only_features_have_names_in_the_authors_files(tmp_path: Path, write_authors_1m: Write) -> None:
    path = write_authors_1m(tmp_path / "a.hdf5")
    with pytest.raises(UsageError, match="image_features and dna_features"):
        open_source(str(path), "authors", SourceOptions(columns={"barcode": "dna"}))
