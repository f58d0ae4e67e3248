"""MATLAB files that nobody should trust."""

import contextlib
import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from workloads.data.files.matlab import keep_variables, read_variables, texts
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
    found = read_variables([tmp_path / "a.mat"], ["ids", "absent"])
    assert set(found) == {"ids"}
    assert texts(tmp_path, "ids", found["ids"]) == ["ab", "4"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (mat(matrix(CELL, (1 << 30, 1), TEXT, "ids")), "Unable to allocate"),
        (mat(matrix(CELL, (1, 1), matrix(CELL, (1 << 30, 2), b""), "ids")), "Unable to allocate"),
        (mat(matrix(CELL, (1, 1), matrix(CHAR, (1 << 30, 1), element(16, b"")), "ids")), "too large"),
        (mat(matrix(CELL, (1, 1), deep(3000), "ids")), "ids, record 1: neither a text"),
        (mat(matrix(DOUBLE, (1, 1), element(40, bytes(8)), "ids")), "reading it ended with status"),
        (mat(matrix(CELL, (1, 1), matrix(CHAR, (1, 1), element(200, b"a")), "ids")), "reading it ended with status"),
        (mat(version=0x0200), "use HDF reader"),
        (b"ids,species\n" * 30, "Unknown mat file type"),
    ],
)
def test_a_file_that_ends_its_reader_or_takes_all_memory_is_refused(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(SourceError, match=rf"a\.mat: .*{reason}.*; fetch it again"):
        read_variables([tmp_path / "a.mat"], ["ids"])


@pytest.mark.parametrize(
    "content",
    [
        mat(matrix(OBJECT, (1, 1), element(1, b"cls"), "ids")),
        mat(matrix(CELL, (1, 1), matrix(OBJECT, (1, 1), TEXT), "ids")),
        mat(matrix(CELL, (1, 1), matrix(FUNCTION, (1, 1), TEXT), "ids")),
        mat(matrix(FUNCTION, (1, 1), TEXT, "ids")),
        mat(matrix(CELL, (1, 1), matrix(CELL, (1, 1), matrix(OPAQUE, (1, 1), TEXT)), "ids")),
        mat(matrix(STRUCT, (1, 1), TEXT, "ids")),
        mat(matrix(DOUBLE, (1, 1), element(9, bytes(8)) * 2, "ids", flags=8)),
        mat(matrix(DOUBLE, (1 << 30, 1 << 30), element(9, bytes(8)), "ids")),
        mat(matrix(DOUBLE, (1, 1), element(9, bytes(8)), "ids") * 2),
        mat(element(15, zlib.compress(struct.pack("<II", 14, 1 << 31) + bytes(64)))),
        mat(element(15, b"not deflated")),
        mat(NUMBER, TEXT)[:-8],
        mat(TEXT)[:150],
        b"MATLAB 7.3 MAT-file".ljust(600),
        b"\x89HDF\r\n\x1a\n" + bytes(200),
        b"",
        bytes(200),
    ],
)
def test_a_matlab_file_with_objects_or_lies_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    facts, _ = kept(tmp_path / "a.mat", ["ids"], tmp_path)
    assert facts["path"] == str(tmp_path / "a.mat")
    assert facts["refusal"]


def kept(path: Path, wanted: list[str], folder: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """What the child says and keeps of a file, asked in this process, which is the same question and faster."""
    keep_variables(folder, [str(path)], wanted)
    facts = json.loads((folder / "facts.json").read_text())
    return facts, {} if facts else dict(np.load(folder / "variables.npz"))


def test_what_is_not_wanted_is_not_decoded(tmp_path: Path) -> None:
    runnable = matrix(FUNCTION, (1, 1), TEXT, "other")
    (tmp_path / "a.mat").write_bytes(mat(runnable, matrix(CELL, (1, 1), TEXT, "ids"), runnable))
    assert kept(tmp_path / "a.mat", ["ids"], tmp_path)[1]["ids"].tolist() == [["ab"]]


def samples() -> list[Path]:
    return sorted((Path(scipy.io.__file__).parent / "matlab" / "tests" / "data").glob("*.mat"))


@pytest.mark.skipif(not samples(), reason="this scipy comes without its samples")
def test_the_files_that_scipy_is_tested_on_are_read_as_scipy_reads_them_or_refused(tmp_path: Path) -> None:
    read_whole, refused = 0, 0
    for path in samples():
        try:
            wanted = [name for name, _, _ in scipy.io.whosmat(str(path))]
        except (NotImplementedError, ValueError, TypeError, Warning, zlib.error):
            refused += 1
            continue
        facts, found = kept(path, wanted, tmp_path)
        if facts:
            refused += 1
            continue
        expected = scipy.io.loadmat(str(path), variable_names=list(found)) if found else {}
        read_whole += bool(found)
        for name, value in found.items():
            assert expected[name].dtype == object or repr(value) == repr(expected[name])
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


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    scipy.io.savemat(tmp_path / "a.mat", RES101, do_compression=bool(seed % 2))
    content = bytearray((tmp_path / "a.mat").read_bytes())
    for place in random.integers(len(content), size=1 + seed % 4):
        content[place] = random.integers(256)
    (tmp_path / "a.mat").write_bytes(content[: len(content) if seed % 3 else random.integers(len(content))])
    with contextlib.suppress(SourceError):  # any other error, or a warning, fails
        found = read_variables([tmp_path / "a.mat"], list(RES101))
        assert set(found) <= set(RES101)
        if "ids" in found:
            assert len(texts(tmp_path, "ids", found["ids"])) == found["ids"].size
