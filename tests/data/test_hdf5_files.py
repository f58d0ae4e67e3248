"""Images in HDF5 files: rows and datasets are read, and nothing leads to another file."""

import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from workloads.data.files.hdf5_files import dataset, datasets_of, groups_of, open_hdf5
from workloads.data.files.image_source import ImageSource, hdf5_reference
from workloads.errors import RecordError, SourceError


def padded(images: list[bytes]) -> np.ndarray:
    rows = np.zeros((len(images), max(map(len, images)) + 7), np.uint8)
    for row, content in zip(rows, images, strict=True):
        row[: len(content)] = np.frombuffer(content, np.uint8)
    return rows


@pytest.fixture
def rows(tmp_path: Path, jpegs: list[bytes]) -> Path:
    with h5py.File(tmp_path / "rows.hdf5", "w") as file:
        file["val_seen/image"] = padded(jpegs)
        file["val_seen/image_mask"] = np.array([len(content) for content in jpegs])
        file.create_dataset("gzip/image", data=padded(jpegs), chunks=(2, 50), compression="gzip", shuffle=True)
        file["gzip/image_mask"] = np.array([len(content) for content in jpegs], np.uint16)
        file["images/BC 12"] = np.frombuffer(jpegs[2], np.uint8)
        file["bad/image"] = padded(jpegs)
        file["bad/image_mask"] = np.array([0, -1, 10**6, 5, 2**62])
    return tmp_path


def test_rows_and_whole_datasets_are_read_without_their_padding(rows: Path, jpegs: list[bytes]) -> None:
    with ImageSource(str(rows)) as images:
        for row in (4, 0, 2, 1, 3):
            assert images.read(hdf5_reference("rows.hdf5", "val_seen/image", row)) == jpegs[row]
            assert images.read(hdf5_reference("rows.hdf5", "gzip/image", row)) == jpegs[row]
        assert images.read(hdf5_reference("rows.hdf5", "images/BC 12")) == jpegs[2]
        assert pickle.loads(pickle.dumps(images)).read("hdf5:rows.hdf5#val_seen/image#1") == jpegs[1]


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("val_seen/image#5", "5 rows, none of number 5"),
        ("val_seen/image#999999999999999", "none of number"),
        ("bad/image#0", "an image of 0 bytes"),
        ("bad/image#1", "an image of -1 bytes"),
        ("bad/image#2", "an image of 1,000,000 bytes"),
        ("bad/image#4", "cannot hold"),
        ("val_seen/image", "not one row of bytes"),
        ("val_seen/image_mask", "not one row of bytes"),
        ("images/BC 12#0", "not there"),
        ("val_seen", "not a dataset"),
        ("val_seen/../val_seen/image#0", "not there"),
        ("absent/image#0", "not there"),
        ("/#0", "not there"),
    ],
)
def test_a_row_or_dataset_that_is_not_there_is_a_bad_record(rows: Path, reference: str, reason: str) -> None:
    with pytest.raises(RecordError, match=reason), ImageSource(str(rows)) as images:
        images.read(f"hdf5:rows.hdf5#{reference}")


def test_a_file_that_is_not_hdf5_or_lies_elsewhere_is_a_bad_record(rows: Path, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "text.hdf5").write_text("no HDF5")
    images = ImageSource(str(tmp_path / "inner"))
    for name, reason in (("text.hdf5", "not readable"), ("../rows.hdf5", "leads out"), ("no.hdf5", "No such")):
        with pytest.raises(RecordError, match=reason):
            images.read(f"hdf5:{name}#val_seen/image#0")


def test_a_damaged_chunk_and_a_mask_of_absurd_length_are_bad_records(tmp_path: Path, jpegs: list[bytes]) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        data = file.create_dataset("a/image", data=padded(jpegs), chunks=(5, 100), fletcher32=True, compression="gzip")
        file["a/image_mask"] = np.array([len(content) for content in jpegs])
        place = data.id.get_chunk_info(0)
        file.create_dataset("b/image", (10**12, 10), "u1", chunks=(1000, 10))
        file.create_dataset("b/image_mask", (10**12,), "i8", chunks=(1000,))
    content = bytearray((tmp_path / "a.hdf5").read_bytes())
    middle = place.byte_offset + place.size // 2
    content[middle : middle + 3] = b"\x55\xaa\x55"
    (tmp_path / "a.hdf5").write_bytes(content)
    with ImageSource(str(tmp_path)) as images:
        with pytest.raises(RecordError):
            images.read("hdf5:a.hdf5#a/image#0")
        with pytest.raises(RecordError, match="1,000,000,000,000 rows"):
            images.read("hdf5:a.hdf5#b/image#0")


class Watch:
    """Counts how often files of a folder are opened or read, as the kernel sees it."""

    def __init__(self, folder: Path) -> None:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        self._file = libc.inotify_init1(os.O_NONBLOCK)
        opened_or_read = 0x20 | 0x1
        if libc.inotify_add_watch(self._file, os.fsencode(folder), opened_or_read) < 0:
            pytest.skip("this kernel does not report opened files")

    def events(self) -> int:
        try:
            return len(os.read(self._file, 4096))
        except BlockingIOError:
            return 0


@pytest.fixture
def crafted(tmp_path: Path) -> Path:
    """A file whose datasets lead to `canary/`, in every way that HDF5 has."""
    canary = tmp_path / "canary"
    canary.mkdir()
    with h5py.File(canary / "c.hdf5", "w") as file:
        file["x"] = np.arange(10, dtype=np.uint8)
        file.create_dataset("grows", (10, 4), "u1", maxshape=(None, 4))
    (canary / "raw").write_bytes(b"a secret of ten bytes")
    (tmp_path / "in").mkdir()
    with h5py.File(tmp_path / "in" / "a.hdf5", "w", libver="latest") as file:
        file["external"] = h5py.ExternalLink("../canary/c.hdf5", "/x")
        file["soft"] = h5py.SoftLink("/external")
        fixed = h5py.VirtualLayout((10,), "u1")
        fixed[:] = h5py.VirtualSource("../canary/c.hdf5", "x", (10,))
        file.create_virtual_dataset("virtual", fixed)
        growing = h5py.VirtualLayout((10, 4), "u1", maxshape=(None, 4))
        source = h5py.VirtualSource("../canary/c.hdf5", "grows", (10, 4), maxshape=(None, 4))
        growing[: h5py.h5s.UNLIMITED, :] = source[: h5py.h5s.UNLIMITED, :]
        file.create_virtual_dataset("growing", growing)
        file.create_dataset("raw", (10,), "u1", external=[(str(canary / "raw"), 0, 10)])
        file["group/inner"] = h5py.ExternalLink("../canary/c.hdf5", "/")
    return tmp_path


@pytest.mark.parametrize("name", ["external", "soft", "virtual", "growing", "raw", "group/inner/x"])
def test_a_dataset_that_leads_to_another_file_is_refused_and_that_file_never_opened(crafted: Path, name: str) -> None:
    watch = Watch(crafted / "canary")
    with ImageSource(str(crafted / "in")) as images, pytest.raises(RecordError, match="other files"):
        images.read(f"hdf5:a.hdf5#{name}")
    assert watch.events() == 0
    (crafted / "canary" / "raw").read_bytes()
    assert watch.events() > 0  # the watch does see what is opened


def test_filters_that_need_a_plugin_and_values_that_are_no_data_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        plain = file.create_dataset("plain", data=np.arange(10, dtype=np.uint8))
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk((10,))
        layout.set_scaleoffset(h5py.h5z.SO_INT, 0)
        h5py.h5d.create(file.id, b"scaled", h5py.h5t.NATIVE_UINT8, h5py.h5s.create_simple((10,)), layout)
        file.create_dataset("reference", data=[plain.ref], dtype=h5py.ref_dtype)
        file.create_dataset("region", data=[plain.regionref[0:2]], dtype=h5py.regionref_dtype)
        file.create_dataset("ragged", (2,), h5py.vlen_dtype(np.uint8))
        file["compound"] = np.zeros(2, [("a", "u1"), ("b", "f4")])
        file["opaque"] = np.zeros(2, np.dtype("V4"))
        file["float"] = np.zeros(2)
        file.create_dataset("giant", (2**15, 2**15), "u1", chunks=(2**15, 2**15))
        kinds: dict[str, dict[str, str | bool]]
        kinds = {"g": {"compression": "gzip"}, "l": {"compression": "lzf"}, "f": {"fletcher32": True}}
        for name, options in kinds.items():
            file.create_dataset(name, data=np.arange(10, dtype=np.uint8), shuffle=True, **options)
    with open_hdf5(tmp_path / "a.hdf5") as file:
        for name in ("plain", "g", "l", "f"):
            assert dataset(file, name)[:].tolist() == list(range(10))
        with pytest.raises(SourceError, match="filter 6 "):
            dataset(file, "scaled")
        for name in ("reference", "region", "ragged", "compound", "opaque", "float"):
            with pytest.raises(SourceError, match="neither text"):
                dataset(file, name)
        with pytest.raises(SourceError, match="chunk of 1,073,741,824 "):
            dataset(file, "giant")


def test_a_name_that_is_no_utf8_is_that_of_nothing_of_ours(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "odd.hdf5", "w") as file:
        file.create_group("val_seen").create_dataset("image", data=[1])
        for place in (file, file["val_seen"]):
            h5py.h5g.create(place.id, b"\xff\xfe")
    with open_hdf5(tmp_path / "odd.hdf5") as file:
        assert groups_of(file) == ["val_seen"]
        assert datasets_of(file, "val_seen") == datasets_of(file, "val_seen", own=True) == ["image"]
