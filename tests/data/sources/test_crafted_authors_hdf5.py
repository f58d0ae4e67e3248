"""The authors' HDF5 files with odd values, and crafted or damaged ones."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from workloads.data.files.image_source import ImageSource
from workloads.data.sources.authors_hdf5 import authors_hdf5_source
from workloads.data.sources.collect import collect
from workloads.data.sources.source import Refused
from workloads.data.specimens.barcode_rule import NO_BASES
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import MissingPathError, RecordError, SourceError

Write = Callable[..., Path]


def test_missing_pictures_odd_texts_and_impossible_lengths_cost_one_record_each(
    tmp_path: Path, write_authors_1m: Write
) -> None:
    path = write_authors_1m(tmp_path / "a.hdf5", ["val_seen"], each=6)
    with h5py.File(path, "a") as file:
        file["val_seen/image_mask"][...] = [0, -3, 10**9, 700, 700, 700]
        file["val_seen/species"][3] = b"\xff\xfe"
        file["val_seen/barcode"][4] = b"no barcode!"
        file["extra/x"] = np.zeros(3)
    source = authors_hdf5_source(path)
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    report = collect(source, table)
    assert report.num_specimens == 3
    assert table.column("image").to_pylist() == [None, *(f"hdf5:a.hdf5#val_seen/image#{row}" for row in (4, 5))]
    assert table.column("barcode").null_count == 1
    assert report.findings.counts[NO_BASES] == 1
    assert dict(report.rejects[:3]) == {
        "val_seen row 1": "a row of 2,000 bytes cannot hold an image of -3",
        "val_seen row 2": "a row of 2,000 bytes cannot hold an image of 1,000,000,000",
        "val_seen row 3": "the value of 'species' is not UTF-8",
    }
    assert report.notes == ("group 'extra' is not known and not read",)


def replace_by(path: Path, name: str, make: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "a", libver="latest") as file:
        del file[name]
        make(file)


def _external(file: h5py.File) -> None:
    file["val_seen/species"] = h5py.ExternalLink("canary.hdf5", "/val_seen/species")


def _soft(file: h5py.File) -> None:
    file["val_seen/species"] = h5py.SoftLink("/test_seen/species")


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "S20")
    layout[:] = h5py.VirtualSource("canary.hdf5", "val_seen/species", (4,))
    file.create_virtual_dataset("val_seen/species", layout)


def _elsewhere(file: h5py.File) -> None:
    file.create_dataset("val_seen/species", (4,), "S20", external=[("canary.raw", 0, 80)])


def _references(file: h5py.File) -> None:
    file.create_dataset("val_seen/species", data=[file["val_seen/family"].ref] * 4, dtype=h5py.ref_dtype)


def _short(file: h5py.File) -> None:
    file["val_seen/species"] = np.array(["Aus bus"] * 3, "S")


def _square(file: h5py.File) -> None:
    file["val_seen/species"] = np.array([["Aus bus"] * 2] * 4, "S")


def _endless(file: h5py.File) -> None:
    for name in list(file["val_seen"]):
        del file[f"val_seen/{name}"]
    file.create_dataset("val_seen/sampleid", (10**12,), "S20", chunks=(1000,))
    file.create_dataset("val_seen/order", (10**12,), "S20", chunks=(1000,))


def _broad(file: h5py.File) -> None:
    file.create_dataset("val_seen/species", (4,), "S3000000")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_external, "val_seen/species: a link"),
        (_soft, "val_seen/species: a link"),
        (_virtual, "val_seen/species: a virtual dataset"),
        (_elsewhere, "val_seen/species: its values lie in"),
        (_references, "val_seen/species: .* neither text"),
        (_short, "val_seen: .* equally many"),
        (_square, "val_seen: .* shapes"),
        (_endless, "val_seen: .* 1,000,000,000,000 rows"),
        (_broad, "val_seen/species: texts of 3,000,000 "),
    ],
)
def test_a_crafted_dataset_is_refused_before_anything_is_read(
    tmp_path: Path, make: Callable[[h5py.File], None], reason: str, write_authors_1m: Write
) -> None:
    # What the links lead to is there and would be readable.
    write_authors_1m(tmp_path / "canary.hdf5", ["val_seen"])
    (tmp_path / "canary.raw").write_bytes(b"Chironomus secretus " * 4)
    path = write_authors_1m(tmp_path / "a.hdf5", ["val_seen", "test_seen"])
    replace_by(path, "val_seen/species", make)
    with pytest.raises(SourceError, match=reason):
        authors_hdf5_source(path)


def test_an_external_group_an_unknown_filter_and_images_that_are_no_bytes_are_refused(
    tmp_path: Path, write_authors_1m: Write
) -> None:
    write_authors_1m(tmp_path / "canary.hdf5", ["val_seen"])
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["val_seen"] = h5py.ExternalLink("canary.hdf5", "/val_seen")
    with pytest.raises(SourceError, match="val_seen: a link"):
        authors_hdf5_source(tmp_path / "a.hdf5")

    path = write_authors_1m(tmp_path / "b.hdf5", ["val_seen"])
    replace_by(
        path, "val_seen/image_mask", lambda f: f.create_dataset("val_seen/image_mask", (4,), "i8", scaleoffset=0)
    )
    with pytest.raises(SourceError, match="val_seen/image_mask: the filter 6 "):
        authors_hdf5_source(path)

    path = write_authors_1m(tmp_path / "c.hdf5", ["val_seen"])
    replace_by(path, "val_seen/image", lambda f: f.create_dataset("val_seen/image", (4, 5), "i8"))
    with pytest.raises(SourceError, match="are not bytes"):
        authors_hdf5_source(path)


def test_groups_without_ids_and_files_that_are_not_hdf5_are_typed_errors(
    tmp_path: Path, write_authors_1m: Write
) -> None:
    path = write_authors_1m(tmp_path / "a.hdf5", ["val_seen"])
    with h5py.File(path, "a") as file:
        del file["val_seen/sampleid"]
    with pytest.raises(SourceError, match="'sampleid'"):
        list(authors_hdf5_source(path).records)
    content = path.read_bytes()
    for broken in (b"", b"no HDF5", content[:1000]):
        (tmp_path / "b.hdf5").write_bytes(broken)
        with pytest.raises(SourceError, match="as HDF5"):
            authors_hdf5_source(tmp_path / "b.hdf5")
    with pytest.raises(MissingPathError):
        authors_hdf5_source(tmp_path / "absent.hdf5")


def test_randomly_damaged_files_give_records_or_typed_errors(tmp_path: Path, write_authors_1m: Write) -> None:
    # Text of fixed length, as in 1M: on damaged text of variable length the HDF5 library itself may never come back.
    whole = write_authors_1m(tmp_path / "whole.hdf5", ["val_seen", "all_keys"]).read_bytes()
    draws = np.random.default_rng(0)
    outcomes: Counter[str] = Counter()
    for number in range(200):
        content = np.frombuffer(whole, np.uint8).copy()
        structure = np.flatnonzero(content)  # the padding of images is most of the file
        content[draws.choice(structure, 20)] = draws.integers(0, 256, 20)
        path = tmp_path / f"{number}.hdf5"
        content.tofile(path)
        try:
            for record in authors_hdf5_source(path).records:
                if not isinstance(record, Refused) and record["image"]:
                    with ImageSource(str(tmp_path)) as images:
                        images.read(record["image"])
            outcomes["read"] += 1
        except (SourceError, RecordError) as error:
            outcomes[type(error).__name__] += 1
        path.unlink()
    assert sum(outcomes.values()) == 200
    assert outcomes["SourceError"] > 20
