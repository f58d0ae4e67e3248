"""INSECT in its published shapes, written by scipy and h5py."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from workloads.data.sources.collect import collect
from workloads.data.sources.insect import class_embeddings, insect_source
from workloads.data.sources.source import RawRecord, Refused, Source
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import MissingPathError, SourceError

RecordsOf = Callable[[Source], list[RawRecord]]

SPECIES = ["Apis mellifera", "Bombus hortorum", "Apis mellifera", "Osmia rufa", "Cis boleti", "Apis mellifera"]
IDS = ["BC1", "BC2", "BC3", "BC4", "BC5", "BC6"]
BARCODES = ["ACGTA", "CCGTA", "GCGTA", "TCGTA", "AAGTA", "CAGTA"]
LABELS = [1, 2, 1, 3, 4, 1]
LOCS = {"trainval": [1, 2, 6], "train": [1, 6], "val": [2], "test_seen": [3], "test_unseen": [5]}
SPLITS = ["train_seen", "val_classes", "test_seen", "no_split", "test_unseen", "train_seen"]
FEATURES = np.random.default_rng(0).normal(size=(7, 6))
LINEAGE = "order\tfamily\tgenus\tspecies\nHymenoptera\tApidae\tApis\tApis mellifera\n"


def cells(values: list[str], shape: tuple[int, int], depth: int = 1) -> np.ndarray:
    """A cell array of texts, each in `depth` cells."""
    array = np.empty(shape, dtype=object)
    for index, value in enumerate(values):
        array.flat[index] = value if depth == 1 else cells([value], (1, 1), depth - 1)
    return array


def variables() -> tuple[dict[str, Any], dict[str, Any]]:
    """What the two MATLAB files hold."""
    column, row = (len(IDS), 1), (1, len(IDS))
    res101 = {
        "features": FEATURES,
        "labels": np.array(LABELS, dtype=np.uint16)[:, None],
        "ids": cells(IDS, column),
        "bold_ids": cells(IDS, column),
        "species": cells(SPECIES, column),
        "nucleotides": cells(BARCODES, column, depth=2),
        "nucleotides_aligned": cells([f"-{barcode}-" for barcode in BARCODES], row, depth=2),
    }
    splits = {f"{name}_loc": np.array([indices], dtype=np.float64) for name, indices in LOCS.items()}
    return res101, {**splits, "att": np.arange(20.0).reshape(5, 4)}


def write(folder: Path, res101: dict[str, Any], splits: dict[str, Any], compress: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    scipy.io.savemat(folder / "res101.mat", res101, do_compression=compress)
    scipy.io.savemat(folder / "att_splits.mat", splits, do_compression=compress)
    return folder


def write_table(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "INSECT_metadata.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["bold_ids", "ids", "labels", "species", "nucleotides", *LOCS])
        for index, row in enumerate(zip(IDS, IDS, LABELS, SPECIES, BARCODES, strict=True), start=1):
            flags = [int(index in indices) for indices in LOCS.values()]
            writer.writerow([*row[:2], row[2] - 1, *row[3:], *flags])
    return folder


@pytest.mark.parametrize("compress", [False, True])
def test_the_authors_matlab_files_give_each_specimen_with_its_split(
    tmp_path: Path, compress: bool, records_of: RecordsOf
) -> None:
    (write(tmp_path, *variables(), compress) / "lineage.tsv").write_text(LINEAGE)
    source = insect_source(tmp_path, tmp_path / "lineage.tsv")
    records = records_of(source)
    assert (source.total, source.protocol, source.has_splits, source.root) == (6, "insect", True, str(tmp_path))
    assert [record["specimen_id"] for record in records] == IDS
    assert [record["barcode"] for record in records] == BARCODES
    assert [record["split"] for record in records] == SPLITS
    assert [record["where"] for record in records] == [f"record {number}" for number in range(1, 7)]
    names = [(record["species"], record["genus"], record["order"]) for record in records]
    assert names[2:4] == [("Apis mellifera", "Apis", "Hymenoptera"), ("Osmia rufa", None, None)]
    for index, record in enumerate(records):
        np.testing.assert_array_equal(record["image_features"], FEATURES[:, index].astype(np.float32))
    assert source.notes == ["lineage.tsv has no lineage of 3 species: Bombus hortorum, Cis boleti, Osmia rufa"]


def test_the_processed_csv_gives_the_same_specimens_as_the_matlab_files(tmp_path: Path, records_of: RecordsOf) -> None:
    res101, splits = variables()
    del res101["features"]
    from_matlab = insect_source(write(tmp_path / "mat", res101, splits), None)
    from_table = insect_source(write_table(tmp_path / "csv"), None)
    of_matlab, of_table = ([dict(record) for record in records_of(source)] for source in (from_matlab, from_table))
    assert [record.pop("where") for record in of_table] == [f"line {number}" for number in range(2, 8)]
    assert all(record.pop("where") for record in of_matlab)
    assert of_table == of_matlab
    assert from_table.notes == from_matlab.notes


def test_one_of_the_files_names_the_data_set_as_well_as_its_folder(tmp_path: Path, records_of: RecordsOf) -> None:
    write_table(write(tmp_path, *variables()))
    assert records_of(insect_source(tmp_path / "INSECT_metadata.csv", None))[0]["where"] == "line 2"
    assert records_of(insect_source(tmp_path / "res101.mat", None))[0]["where"] == "record 1"
    assert records_of(insect_source(tmp_path, None))[0]["where"] == "record 1"


def test_the_specimens_become_a_specimen_table(tmp_path: Path) -> None:
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    report = collect(insect_source(write(tmp_path / "insect", *variables()), None), table)
    assert (report.num_specimens, report.rejects, report.modalities) == (6, (), ("image", "dna", "text"))
    assert table.column("split").to_pylist() == SPLITS
    assert table.facts.protocol == "insect"


def test_ids_and_barcodes_may_lie_in_either_file(tmp_path: Path, records_of: RecordsOf) -> None:
    res101, splits = variables()
    moved = {name: res101.pop(name) for name in ("ids", "species", "nucleotides")}
    records = records_of(insect_source(write(tmp_path, res101, splits | moved), None))
    assert [record["barcode"] for record in records] == BARCODES


def test_aligned_barcodes_serve_where_there_are_no_others(tmp_path: Path, records_of: RecordsOf) -> None:
    res101, splits = variables()
    del res101["nucleotides"]
    records = records_of(insect_source(write(tmp_path, res101, splits), None))
    assert [record["barcode"] for record in records] == [f"-{barcode}-" for barcode in BARCODES]


def test_missing_variables_and_files_are_named(tmp_path: Path) -> None:
    res101, splits = variables()
    del res101["species"], splits["val_loc"]
    with pytest.raises(SourceError, match="no species, val_loc in "):
        insect_source(write(tmp_path, res101, splits), None)
    with pytest.raises(MissingPathError, match=r"res101\.mat with att_splits"):
        insect_source(tmp_path / "nowhere", None)


@pytest.mark.parametrize(
    ("indices", "reason"),
    [
        ([0], "entry 1: 0 is no index of 6 "),
        ([3, 7], "entry 2: 7 is no index"),
        ([2.5], "entry 1: 2.5 is no index"),
        ([np.nan], "entry 1: nan is no index"),
        ([-1], "entry 1: -1 is no index"),
        ([3, 3], "index 3 stands in it twice"),
        ([1], "record 1: .* trainval, train, test_seen"),
        ([5], "record 5: .* test_seen, test_unseen"),
    ],
)
def test_indices_that_cannot_be_are_refused(
    tmp_path: Path, indices: list[float], reason: str, records_of: RecordsOf
) -> None:
    res101, splits = variables()
    splits["test_seen_loc"] = np.array([indices])
    with pytest.raises(SourceError, match=reason):
        records_of(insect_source(write(tmp_path, res101, splits), None))


@pytest.mark.parametrize("trainval", [[1, 2], [1, 2, 4, 6]])
def test_trainval_is_train_and_val_together(tmp_path: Path, trainval: list[int], records_of: RecordsOf) -> None:
    res101, splits = variables()
    splits["trainval_loc"] = np.array([trainval])
    with pytest.raises(SourceError, match="trainval is train"):
        records_of(insect_source(write(tmp_path, res101, splits), None))


def test_a_test_specimen_that_train_lists_too_is_only_tested(tmp_path: Path, records_of: RecordsOf) -> None:
    res101, splits = variables()
    splits["train_loc"] = np.array([[1, 3, 6]])
    source = insect_source(write(tmp_path, res101, splits), None)
    assert [record["split"] for record in records_of(source)] == SPLITS
    assert any(note.startswith("1 test_seen specimens are on train_loc") for note in source.notes)


def test_species_on_lists_that_should_not_share_them_are_reported(tmp_path: Path, records_of: RecordsOf) -> None:
    res101, splits = variables()
    res101["species"] = cells(["Apis mellifera", "Apis mellifera", "Bombus hortorum", *SPECIES[3:]], (6, 1))
    source = insect_source(write(tmp_path, res101, splits), None)
    records_of(source)
    assert source.notes[1:] == [
        "1 species are in train and in val; val is not unseen",
        "1 species of test_seen have no specimen in train, only in val",
        "1 species have several labels, such as Apis mellifera",
    ]
    res101["species"] = cells([*SPECIES[:4], "Apis mellifera", SPECIES[5]], (6, 1))
    with pytest.raises(SourceError, match="Apis mellifera and 0 more "):
        records_of(insect_source(write(tmp_path, res101, splits), None))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("species", cells(SPECIES[:5], (5, 1)), "5 of them, but 6 ids"),
        ("species", cells(SPECIES, (2, 3)), "neither a row"),
        ("nucleotides", cells(["A"] * 5, (5, 1)), "5 of them, but 6 ids"),
        ("features", FEATURES[:, :5], "for each of 6 "),
        ("labels", np.array([[0, 1, 1, 2, 3, 1]]), "0 is no index"),
        ("ids", np.array([[1.5]]), "neither a text"),
    ],
)
def test_variables_that_do_not_fit_are_refused(tmp_path: Path, name: str, value: np.ndarray, reason: str) -> None:
    res101, splits = variables()
    res101[name] = value
    with pytest.raises(SourceError, match=reason):
        insect_source(write(tmp_path, res101, splits), None)


@pytest.mark.parametrize("images", ["images", "INSECT_images/images"])
def test_images_are_found_by_species_and_id_and_features_then_left_out(
    tmp_path: Path, images: str, records_of: RecordsOf
) -> None:
    write(tmp_path, *variables())
    for name in ("Apis mellifera/BC1.jpg", "Apis mellifera/BC1.JPG", "Bombus hortorum/BC2.JPG", "Osmia rufa/BC3.jpg"):
        (tmp_path / images / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / images / name).write_bytes(b"an image")
    source = insect_source(tmp_path, None)
    records = records_of(source)
    expected = [f"{images}/Apis mellifera/BC1.jpg", f"{images}/Bombus hortorum/BC2.JPG", None, None, None, None]
    assert [record["image"] for record in records] == expected
    assert all((tmp_path / image).is_file() for image in expected if image)
    assert [record["image_features"] for record in records] == [None] * 6
    assert "4 specimens have no image file" in source.notes


def test_images_of_the_hdf5_file_are_referred_to_and_links_out_of_it_are_not_followed(
    tmp_path: Path, records_of: RecordsOf
) -> None:
    write_table(tmp_path)
    (tmp_path / "secret").write_bytes(b"")
    with h5py.File(tmp_path / "INSECT_images.hdf5", "w") as file:
        group = file.create_group("images")
        for name in ("BC1", "BC2"):
            group.create_dataset(name, data=np.frombuffer(b"an image", dtype=np.uint8))
        group["BC3"] = h5py.ExternalLink("secret", "/")
        group["BC4"] = h5py.SoftLink("/images/BC1")
    references = [record["image"] for record in records_of(insect_source(tmp_path, None))]
    assert references == [f"hdf5:INSECT_images.hdf5#images/BC{n}" for n in (1, 2)] + [None] * 4


def test_an_hdf5_file_that_is_none_or_has_no_images_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path)
    (tmp_path / "INSECT_images.hdf5").write_bytes(b"no HDF5")
    with pytest.raises(SourceError, match="as HDF5"):
        insect_source(tmp_path, None)
    with h5py.File(tmp_path / "INSECT_images.hdf5", "w") as file:
        file["images"] = h5py.ExternalLink("other.hdf5", "/images")
    with pytest.raises(SourceError, match="images: a link"):
        insect_source(tmp_path, None)
    for content, reason in (({"images": [1, 2]}, "images: not a group"), ({"a": [1]}, "images: it is not there")):
        with h5py.File(tmp_path / "INSECT_images.hdf5", "w") as file:
            for name, values in content.items():
                file[name] = values
        with pytest.raises(SourceError, match=reason):
            insect_source(tmp_path, None)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("BC2,BC2,1", "BC2,BC2", ("line 3", "9 columns, and the header has 10")),
        ("CCGTA,1,0,1", "CCGTA,1,0,yes", ("BC2", "line 3: val is 'yes', neither 0 nor 1")),
        ("Bombus hortorum", "Bombus \u202ehortorum", ("BC2", "line 3: a taxon's name holds control characters")),
    ],
)
def test_a_bad_line_of_the_csv_costs_one_record(tmp_path: Path, old: str, new: str, expected: tuple[str, str]) -> None:
    table = write_table(tmp_path) / "INSECT_metadata.csv"
    table.write_text(table.read_text().replace(old, new))
    records = list(insect_source(tmp_path, None).records)
    refused = [record for record in records if isinstance(record, Refused)]
    assert len(records) == 6
    assert [refused[0].identifier, len(refused)] == [expected[0], 1]
    assert expected[1] in refused[0].reason


def test_a_csv_without_the_splits_is_refused(tmp_path: Path, records_of: RecordsOf) -> None:
    table = write_table(tmp_path) / "INSECT_metadata.csv"
    table.write_text(table.read_text().replace("test_unseen", "other"))
    with pytest.raises(SourceError, match="no column test_unseen"):
        records_of(insect_source(tmp_path, None))


def test_without_a_table_of_lineages_the_ranks_above_species_are_missing(tmp_path: Path, records_of: RecordsOf) -> None:
    source = insect_source(write_table(tmp_path), None)
    assert {(record["order"], record["genus"]) for record in records_of(source)} == {(None, None)}
    assert source.notes == ["without a table of lineages, nothing above species is known of 4 species"]
    (tmp_path / "specie_to_other_labels.json").write_text(json.dumps({"Cis boleti": {"order": "Coleoptera"}}))
    assert records_of(insect_source(tmp_path, None))[4]["order"] == "Coleoptera"


def test_class_embeddings_follow_the_labels(tmp_path: Path) -> None:
    names, embeddings = class_embeddings(write(tmp_path, *variables()))
    assert names == ("Apis mellifera", "Bombus hortorum", "Osmia rufa", "Cis boleti")
    assert embeddings.dtype == np.float32
    np.testing.assert_array_equal(embeddings, np.arange(20).reshape(5, 4).T)
    res101, splits = variables()
    splits["att"] = np.zeros((5, 5))
    with pytest.raises(SourceError, match="class 5 has no specimen"):
        class_embeddings(write(tmp_path, res101, splits))
