"""The header of delimited text: what stands between its fields, and headers that leave open what is meant."""

from pathlib import Path

import pytest

from workloads.data.sources.delimited import read_delimited
from workloads.data.sources.source import Refused
from workloads.errors import SourceError

MIB = 1 << 20


def header_of(folder: Path, content: bytes, delimiters: str = "\t") -> list[str]:
    (folder / "t.tsv").write_bytes(content)
    return read_delimited(folder / "t.tsv", delimiters).header


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\n\r\n\n", "it is empty"),
        (b"id\tname\tid\na\tb\tc\n", "line 1: .* called 'id'"),
        (b"\nid\t \na\tb\n", "line 2: column 2 has no name"),
        (b" \na\n", "line 1: column 1 has no name"),
        (b"\t\nx\ty\n", "column 2 has no name"),
        (b"i\0d\tname\n", "line 1: .* NUL"),
        (b"i\xff\tname\n", "line 1: .* byte 2 .* UTF-8"),
        (b'id\t"name\n', "line 1: .* quotation marks"),
        (b"A" * (2 * MIB), "line 1: .* 1 MiB"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_table_without_a_usable_header_is_an_error(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=reason):
        header_of(tmp_path, content)


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_the_row_names_that_r_writes_without_a_header_are_an_unnamed_column(
    tmp_path: Path, quote: str, delimiter: str
) -> None:
    lines = [["id", "species"], ["1", "A", "Zoro bus"], ["2", "B", ""], ["3", "C", "Zoro cus"]]
    text = "".join(delimiter.join(f"{quote}{field}{quote}" for field in line) + "\n" for line in lines)
    (tmp_path / "t.tsv").write_text(text)
    header, rows, _ = read_delimited(tmp_path / "t.tsv", "\t,")
    assert header == ["", "id", "species"]
    assert [row[1]["id"] for row in rows if not isinstance(row, Refused)] == ["A", "B", "C"]


@pytest.mark.parametrize("rows", ["1\tA\n", "A\tb\t\nB\tc\t\n", "A\tb\n1\tB\tc\n"])
def test_a_delimiter_too_many_is_no_row_name(tmp_path: Path, rows: str) -> None:
    (tmp_path / "t.tsv").write_text("id\tspecies\n" + rows)
    assert read_delimited(tmp_path / "t.tsv", "\t").header == ["id", "species"]


@pytest.mark.parametrize("text", ['"id" "species"\n"1" "A" "Zoro bus"\n', "id species nuc\nA Zoro ACGT\n"])
def test_fields_between_blanks_are_refused_with_what_to_write(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(SourceError, match=r'line 1: fields between blanks.*sep="\\t"'):
        read_delimited(tmp_path / "t.txt", "\t,;|")
    (tmp_path / "t.txt").write_text("image file\na.jpg\n")
    assert read_delimited(tmp_path / "t.txt", "\t,;|").header == ["image file"]


def test_the_unnamed_row_numbers_of_pandas_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b",id\n0,a\n")
    header, rows, _ = read_delimited(tmp_path / "t", ",")
    assert (header, list(rows)) == (["", "id"], [("line 2", {"": "0", "id": "a"})])


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("a,b", ["a", "b"]),
        ("a\tb", ["a", "b"]),
        ("a;b", ["a", "b"]),
        ("a,b;c", ["a", "b;c"]),
        ("a", ["a"]),
        ("a;b,c;d", ["a", "b,c", "d"]),
    ],
)
def test_the_first_delimiter_that_the_header_holds_is_meant(header: str, expected: list[str], tmp_path: Path) -> None:
    assert header_of(tmp_path, header.encode(), ",\t;") == expected
