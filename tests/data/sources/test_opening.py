"""Which reader a place gets: seen from what lies there as it was published, or said; and options that mean nothing."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from workloads.data.sources.opening import SourceKind, SourceOptions, kind_of, open_source
from workloads.data.sources.source import Refused
from workloads.errors import MissingPathError, UsageError

TABLE_1M = "BIOSCAN_Insect_Dataset_metadata.tsv"
TABLE_5M = "BIOSCAN_5M_Insect_Dataset_metadata.csv"
ZIP_5M = "BIOSCAN_5M_Insect_Dataset_metadata_MultiTypes.zip"


def put(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("layout", "kind"),
    [
        ((TABLE_1M,), "bioscan-1m"),
        ((f"{TABLE_1M}.gz", "cropped_256.zip", "CLIBD_partitioning.zip"), "bioscan-1m"),
        ((f"bioscan1m/{TABLE_1M}", "bioscan1m/images/cropped_256/part1/1.jpg"), "bioscan-1m"),
        ((f"bioscan/{TABLE_1M}",), "bioscan-1m"),
        (("bioscan1m/mine.tsv",), "bioscan-1m"),
        ((TABLE_5M,), "bioscan-5m"),
        ((f"metadata/csv/{TABLE_5M}",), "bioscan-5m"),
        ((f"bioscan5m/metadata/csv/{TABLE_5M}",), "bioscan-5m"),
        ((ZIP_5M, "BIOSCAN_5M_cropped_256_train.zip"), "bioscan-5m"),
        (("res101.mat", "att_splits.mat", "images/Aus bus/1.jpg"), "insect"),
        (("INSECT_metadata.csv", "INSECT_images.hdf5"), "insect"),
        (("INSECT_images.hdf5",), "insect"),
        (("labels.csv", "pictures/a.jpg"), "table"),
        (("specimens.tsv", "coi.fasta.gz"), "table"),
        (("bioscan/specimens.csv",), "table"),
        (("bioscan1m_small_validation_metadata.tsv.gz",), "table"),
        (("CLIBD_partitioning.zip", "cropped_256.zip"), "table"),
        ((), "table"),
    ],
)
def test_a_folder_is_known_by_its_published_layout(tmp_path: Path, layout: tuple[str, ...], kind: SourceKind) -> None:
    for name in layout:
        put(tmp_path / "place" / name)
    (tmp_path / "place").mkdir(exist_ok=True)
    assert kind_of(tmp_path / "place") == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (TABLE_1M, "bioscan-1m"),
        (f"{TABLE_1M}.gz", "bioscan-1m"),
        (TABLE_5M, "bioscan-5m"),
        (ZIP_5M, "bioscan-5m"),
        ("BIOSCAN_5M_Insect_Dataset_metadata.jsonld", "table"),
        ("BIOSCAN_5M_cropped_256_train.zip", "table"),
        ("res101.mat", "insect"),
        ("INSECT_metadata.csv", "insect"),
        ("INSECT_images.hdf5", "insect"),
        ("BioScan_data_in_splits.hdf5", "authors"),
        ("FIFTH.H5", "authors"),
        ("insects.parquet", "table"),
        ("coi.fa.gz", "table"),
    ],
)
def test_a_file_is_known_by_its_published_name(tmp_path: Path, name: str, kind: SourceKind) -> None:
    assert kind_of(put(tmp_path / name)) == kind


@pytest.mark.parametrize("kind", ["bioscan-1m", "bioscan-5m"])
def test_a_folder_that_holds_both_bioscans_needs_to_be_told_which(tmp_path: Path, kind: SourceKind) -> None:
    put(tmp_path / TABLE_1M, "sampleid\timage_file\torder\n")
    put(tmp_path / TABLE_5M, "processid,split,order\n")
    with pytest.raises(UsageError, match="--kind bioscan-1m or bioscan-5m"):
        kind_of(tmp_path)
    protocol = {"bioscan-1m": "clibd", "bioscan-5m": "bioscan_5m"}[kind]
    assert open_source(str(tmp_path), kind, SourceOptions()).protocol == protocol


@pytest.mark.parametrize("kind", ["auto", "table", "bioscan-1m", "bioscan-5m", "authors", "insect"])
def test_a_missing_place_is_said_for_every_kind(tmp_path: Path, kind: SourceKind) -> None:
    with pytest.raises(MissingPathError, match="absent: no source"):
        open_source(str(tmp_path / "absent"), kind, SourceOptions())


@pytest.mark.parametrize(
    ("options", "kind", "refusal"),
    [
        (SourceOptions(columns={"barcode": "COI"}), "bioscan-1m", "--map "),
        (SourceOptions(columns={"barcode": "COI"}), "synthetic", "--map "),
        (SourceOptions(columns={"dna_features": "x"}), "insect", "--map "),
        (SourceOptions(taxonomy=Path("t.tsv")), "table", "--taxonomy "),
        (SourceOptions(taxonomy=Path("t.tsv")), "synthetic", "--taxonomy "),
        (SourceOptions(one_fifth=True), "bioscan-1m", "--one-fifth "),
        (SourceOptions(one_fifth=True), "insect", "--one-fifth "),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    tmp_path: Path, options: SourceOptions, kind: SourceKind, refusal: str
) -> None:
    place = "synthetic" if kind == "synthetic" else str(put(tmp_path / "place.tsv"))
    with pytest.raises(UsageError, match=f"{refusal}.*read as {kind}"):
        open_source(place, kind, options)


def test_synthetic_insects_are_drawn_as_many_as_asked_for() -> None:
    options = SourceOptions(num_synthetic=12, seed=3)
    source = open_source("synthetic", "auto", options)
    assert len(list(source.records)) == source.total == 12
    assert source.synthetic_seed == 3


def test_a_place_that_would_not_be_read_for_synthetic_insects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mine\.csv; .*`synthetic`"):
        open_source(str(tmp_path / "mine.csv"), "synthetic", SourceOptions())


def test_a_folder_called_synthetic_is_read_when_its_kind_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "synthetic" / "mine.csv", "id,order,barcode\nA,Diptera,ACGT\n")
    monkeypatch.chdir(tmp_path)
    (record,) = open_source("synthetic", "table", SourceOptions()).records
    assert not isinstance(record, Refused)
    assert record["specimen_id"] == "A"


def test_what_was_recognised_is_opened_and_its_root_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: Callable[[str], Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / ZIP_5M, "w") as archive:
        archive.writestr(f"bioscan5m/metadata/csv/{TABLE_5M}", "processid,split,order\nA,train,Diptera\n")
    source = open_source(".", "auto", SourceOptions())
    assert (source.protocol, Path(source.root)) == ("bioscan_5m", tmp_path)
    pairs = open_source(str(real("insect_bold_pairs")), "auto", SourceOptions())
    assert pairs.total == 9300
