"""MATLAB files that nobody should trust."""

import contextlib
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.sources.matlab import read_variables, texts
from workloads.errors import SourceError

# What follows writes MATLAB files by hand: tag (type, size), data, padding to eight bytes.
CELL, STRUCT, OBJECT, CHAR, DOUBLE, FUNCTION, OPAQUE = 1, 2, 3, 4, 6, 16, 17


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def matrix(kind: int, shape: tuple[int, ...], content: bytes, name: str = "", flags: int = 0) -> bytes:
    head = element(6, struct.pack("<II", kind | flags << 8, 0))
    dims = element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, head + dims + element(1, name.encode()) + content)


def mat(*variables: bytes, version: int = 0x0100) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", version) + b"IM" + b"".join(variables)


NUMBER = matrix(DOUBLE, (1, 1), element(9, struct.pack("<d", 4.0)))
TEXT = matrix(CHAR, (1, 2), element(16, b"ab"))


def deep(levels: int) -> bytes:
    content = TEXT
    for _ in range(levels):
        content = matrix(CELL, (1, 1), content)
    return content


def test_files_written_by_hand_are_read_as_written(tmp_path: Path) -> None:
    content = mat(matrix(CELL, (2, 1), TEXT + NUMBER, "ids"), matrix(DOUBLE, (1, 1), element(9, bytes(8)), "x"))
    (tmp_path / "a.mat").write_bytes(content)
    found = read_variables(tmp_path / "a.mat", ["ids", "absent"])
    assert set(found) == {"ids"}
    assert texts(tmp_path, "ids", found["ids"]) == ["ab", "4"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (mat(matrix(OBJECT, (1, 1), element(1, b"cls"), "ids")), "it holds an object"),
        (mat(matrix(FUNCTION, (1, 1), TEXT, "other")), "it holds a function handle"),
        (mat(matrix(OPAQUE, (1, 1), TEXT, "ids")), "it holds an object"),
        (mat(matrix(CELL, (1, 1), matrix(OBJECT, (1, 1), TEXT), "ids")), "'ids': it holds an object"),
        (mat(matrix(CELL, (1, 1), matrix(FUNCTION, (1, 1), TEXT), "ids")), "'ids': it holds a function handle"),
        (mat(matrix(CELL, (1, 1), matrix(CELL, (1, 1), matrix(OPAQUE, (1, 1), TEXT)), "ids")), "it holds an object"),
        (mat(matrix(STRUCT, (1, 1), TEXT, "ids")), "'ids': it holds a struct"),
        (mat(matrix(DOUBLE, (1, 1), element(9, bytes(8)), "ids", flags=8)), "complex numbers"),
        (mat(matrix(CELL, (1 << 30, 1), TEXT, "ids")), "1,073,741,824 cells in 64 bytes"),
        (mat(matrix(CELL, (1, 1), matrix(CELL, (1 << 30, 2), b""), "ids")), "2,147,483,648 cells in 0 bytes"),
        (mat(matrix(CELL, (1, 1), matrix(CHAR, (1 << 30, 1), element(16, b"")), "ids")), "values in 0 bytes"),
        (mat(matrix(DOUBLE, (1 << 30, 1 << 30), element(9, bytes(8)), "ids")), "values in 8 bytes"),
        (mat(matrix(DOUBLE, (-1, 1), element(9, bytes(8)), "ids")), "a matrix of shape"),
        (mat(matrix(CELL, (1, 1), deep(3000), "ids")), "cells nested without end"),
        (mat(matrix(CELL, (1, 1), TEXT + TEXT, "ids")), "sizes in it contradict one another"),
        (mat(matrix(DOUBLE, (1, 1), element(9, bytes(8)), "ids") * 2), "two variables are called 'ids'"),
        (mat(element(15, zlib.compress(struct.pack("<II", 14, 1 << 31) + bytes(64)))), "claims more bytes"),
        (mat(element(15, b"not deflated")), "a compressed variable is broken"),
        (mat(TEXT)[:-8], "breaks off"),
        (mat(TEXT)[:150], "breaks off"),
        (mat(version=0x0200), "version 7.3, which is HDF5; save it again with `save -v7`"),
        (b"MATLAB 7.3 MAT-file".ljust(600), "version 7.3"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), "version 7.3"),
        (b"", "too short"),
        (b"ids,species\n" * 30, "not a MATLAB file of version 5 to 7; if it is of version 4, save it again"),
        (mat(matrix(DOUBLE, (1, 1), element(40, bytes(8)), "ids")), "an element of type 40"),
        (mat(matrix(CELL, (1, 1), matrix(CHAR, (1, 1), element(200, b"a")), "ids")), "an element of type 200"),
        (bytes(200), "not a MATLAB file"),
    ],
)
def test_a_matlab_file_with_objects_or_lies_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(SourceError, match=reason):
        read_variables(tmp_path / "a.mat", ["ids"])


def samples() -> list[Path]:
    return sorted((Path(scipy.io.__file__).parent / "matlab" / "tests" / "data").glob("*.mat"))


@pytest.mark.skipif(not samples(), reason="this scipy comes without its samples")
def test_the_files_that_scipy_is_tested_on_are_read_as_scipy_reads_them_or_refused() -> None:
    read_whole, refused = 0, 0
    for path in samples():
        try:
            wanted = [name for name, _, _ in scipy.io.whosmat(str(path))]
        except (NotImplementedError, ValueError, TypeError, zlib.error):  # what scipy itself says of its broken samples
            wanted = ["ids"]
        try:
            found = read_variables(path, wanted)
        except SourceError:
            refused += 1
            continue
        expected = scipy.io.loadmat(str(path), variable_names=list(found)) if found else {}
        read_whole += bool(found)
        for name, value in found.items():
            assert repr(value) == repr(expected[name])
    assert read_whole > 30
    assert refused > 20


def column(values: Sequence[object]) -> np.ndarray:
    """A cell array, one value a row."""
    cells = np.empty((len(values), 1), dtype=object)
    cells[:, 0] = values
    return cells


IDS = ["BC1", "BC2", "BC3", "BC4", "BC5", "BC6"]
RES101 = {
    "features": np.random.default_rng(0).normal(size=(7, 6)),
    "labels": np.array([1, 2, 1, 3, 4, 1], dtype=np.uint16)[:, None],
    "ids": column(IDS),
    "species": column(
        ["Apis mellifera", "Bombus hortorum", "Apis mellifera", "Osmia rufa", "Cis boleti", "Cis boleti"]
    ),
    "nucleotides": column([column([barcode]) for barcode in ("ACGTA", "CCGTA", "GCGTA", "TCGTA", "AAGTA", "CAGTA")]),
    "nucleotides_aligned": column([column([f"-{name}-"]) for name in IDS]).T,
}
"""Variables of the kinds that INSECT's files hold: numbers, texts in cells, and texts in cells in cells."""


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    scipy.io.savemat(folder / "a.mat", RES101, do_compression=data.draw(st.booleans()))
    content = bytearray((folder / "a.mat").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "a.mat").write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    with contextlib.suppress(SourceError):  # any other error, or a warning, fails
        found = read_variables(folder / "a.mat", list(RES101))
        assert set(found) <= set(RES101)
        if "ids" in found:
            assert len(texts(folder, "ids", found["ids"])) == found["ids"].size
