"""Texts of variable length whose heap is damaged are refused by a process apart, and sound ones are let through."""

import struct
from pathlib import Path

import h5py
import pytest

from workloads.data.files.hdf5_texts import check_texts
from workloads.data.sources.authors_hdf5 import authors_hdf5_source
from workloads.errors import SourceError


def write(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["val_seen/sampleid"] = ["S1", "S2"]
        file["val_seen/species"] = ["Zoro bus", "Zoro bar"]
    return path


def test_a_sound_file_passes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    check_texts(str(path))
    assert [record["species"] for record in authors_hdf5_source(path).records if isinstance(record, dict)] == [
        "Zoro bus",
        "Zoro bar",
    ]


@pytest.mark.parametrize("claimed", [2**33, 2**40])
def test_a_heap_that_claims_gigabytes_is_refused(claimed: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    content = bytearray(path.read_bytes())
    heap = content.find(b"GCOL")
    content[heap + 8 : heap + 16] = struct.pack("<Q", claimed)
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.hdf5: its texts of variable length are damaged"):
        list(authors_hdf5_source(path).records)
