"""Delimited text, line by line: what is repaired, what is refused, and that nothing else can happen."""

import csv
import gzip
import io
import os
import random
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workloads.data.sources.delimited import read_delimited
from workloads.data.sources.findings import Findings
from workloads.data.sources.lines import LONGEST_LINE, bounded_lines
from workloads.data.sources.source import Refused
from workloads.errors import SourceError

MIB = 1 << 20


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder that the examples of one property may share."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def read(path: Path, content: bytes, delimiters: str = "\t") -> tuple[list[str], list[list[str]], dict[str, str]]:
    """Header, records and refusals by line."""
    path.write_bytes(content)
    header, rows, _ = read_delimited(path, delimiters)
    kept: list[list[str]] = []
    refused: dict[str, str] = {}
    for row in rows:
        if isinstance(row, Refused):
            refused[row.identifier] = row.reason
        else:
            assert list(row[1]) == header
            kept.append(list(row[1].values()))
    return header, kept, refused


FIELD = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(2, 5).flatmap(lambda width: st.lists(st.lists(FIELD, min_size=width, max_size=width), min_size=1)),
    delimiter=st.sampled_from("\t,;"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    packed=st.booleans(),
)
@example(
    rows=[["", ""], ['"', '""'], ["\t", ",;"], [" ", "\x85\u2028"]], delimiter=",", end="\r", quoting=0, packed=True
)
def test_what_a_csv_writer_wrote_reads_back_equal(
    scratch: Path, rows: list[list[str]], delimiter: str, end: str, quoting: int, packed: bool
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    header = [f"c{number}" for number in range(len(rows[0]))]
    writer.writerows([header, *rows])
    content = text.getvalue().encode()
    path = scratch / ("t.csv.gz" if packed else "t.csv")
    # A row of empty fields between blanks is a record; a line without anything is not.
    assert read(path, gzip.compress(content, 1) if packed else content, delimiter) == (header, rows, {})


@settings(max_examples=300, deadline=None)
@given(
    content=st.binary(max_size=300) | st.lists(st.sampled_from(list(b'ab,"\t\r\n\0\xff\xef\xbb\xbf'))).map(bytes),
    headed=st.booleans(),
    packed=st.sampled_from(["no", "yes", "claimed"]),
)
def test_any_bytes_give_records_refusals_or_a_source_error(
    scratch: Path, content: bytes, headed: bool, packed: str
) -> None:
    content = b"a,b\n" + content if headed else content
    path = scratch / ("t.csv" if packed == "no" else "t.csv.gz")
    try:
        header, kept, refused = read(path, gzip.compress(content, 1) if packed == "yes" else content, ",")
    except SourceError as error:
        where = str(error)
    else:
        where = str(path)
        assert all(len(fields) == len(header) for fields in kept)
        assert len(kept) + len(refused) <= content.count(b"\n") + content.count(b"\r")
    assert where.startswith(str(path))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 5, 262_140, 262_144, MIB - 1, MIB, MIB + 1, 3 * MIB]), max_size=5),
    seed=st.integers(0, 9),
)
def test_lines_of_any_length_keep_their_place(scratch: Path, sizes: list[int], seed: int) -> None:
    letters = random.Random(seed).choices(b"ACGT", k=len(sizes))
    lines = [bytes([letter]) * size for letter, size in zip(letters, sizes, strict=True)]
    (scratch / "t").write_bytes(b"\n".join([b"first", *lines]))
    expected = [b"first", *(line if len(line) <= LONGEST_LINE else None for line in lines)]
    assert list(bounded_lines(scratch / "t")) == expected


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    assert read(tmp_path / "t", b"\xef\xbb\xbfid\tname\na\tb\n") == (["id", "name"], [["a", "b"]], {})


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\r\r\n"])
@pytest.mark.parametrize("last", [b"", b"end"])
def test_lines_end_in_every_way_that_is_common(end: bytes, last: bytes, tmp_path: Path) -> None:
    content = b"id\tname" + end + b"a\tb" + end + end + b"c\td" + (end if last else b"")
    assert read(tmp_path / "t", content)[1:] == ([["a", "b"], ["c", "d"]], {})


def test_a_carriage_return_within_a_line_stays_in_its_field(tmp_path: Path) -> None:
    _, kept, refused = read(tmp_path / "t", b"id\tname\na\tx\ry\nb\tz\n")
    assert (kept, refused) == ([["a", "x\ry"], ["b", "z"]], {})


def test_a_line_feed_within_a_line_that_ends_otherwise_stays_in_its_field(tmp_path: Path) -> None:
    filler = b"b\tz\r" * 100_000
    _, kept, refused = read(tmp_path / "t", b"id\tname\r" + filler + b"a\tx\ny\rb\tz\r")
    assert (len(kept), kept[100_000], refused) == (100_002, ["a", "x\ny"], {})


def test_blank_lines_are_no_records_but_are_counted_as_lines(tmp_path: Path) -> None:
    _, kept, refused = read(tmp_path / "t", b"\n\nid\tname\n\na\tb\n   \n\n\tx\ty\n")
    assert (kept, list(refused)) == ([["a", "b"]], ["line 8"])


def test_a_quoted_field_may_hold_the_delimiter(tmp_path: Path) -> None:
    content = b'"id","name"\na,"Zoro bus, 1850"\nb,"the ""true"" one"\n'
    assert read(tmp_path / "t", content, ",")[:2] == (
        ["id", "name"],
        [["a", "Zoro bus, 1850"], ["b", 'the "true" one']],
    )


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (b'b\t"Zoro', ["b", '"Zoro']),
        (b'"b\tZoro', ['"b', "Zoro"]),
        (b'b\t"Zoro" bus', ["b", '"Zoro" bus']),
        (b'b\t"x\xc3\xa9', ["b", '"x\u00e9']),
        (b'b\t6" north', ["b", '6" north']),
        (b'b\t"Zoro bus"', ["b", "Zoro bus"]),
        (b'b\t"Zoro ""x"" bus"', ["b", 'Zoro "x" bus']),
        (b'b\t"Zoro\tbus"', ["b", "Zoro\tbus"]),
        (b'b\t""', ["b", ""]),
    ],
    ids=repr,
)
def test_between_tabs_a_quotation_mark_is_a_letter_but_for_a_field_wholly_in_them(
    line: bytes, fields: list[str], tmp_path: Path
) -> None:
    _, kept, refused = read(tmp_path / "t", b"id\tname\na\tx\n" + line + b'\nc\ty\nd\tz"\n')
    assert kept == [["a", "x"], fields, ["c", "y"], ["d", 'z"']]
    assert refused == {}


@pytest.mark.parametrize("line", [b'"b\tc"d\tx"', b'b\t"Zoro\tx'], ids=repr)
def test_a_lone_quotation_mark_costs_no_other_record(line: bytes, tmp_path: Path) -> None:
    _, kept, refused = read(tmp_path / "t", b"id\tname\na\tx\n" + line + b'\nc\ty\nd\tz"\n')
    assert (kept, list(refused)) == ([["a", "x"], ["c", "y"], ["d", 'z"']], ["line 3"])


@pytest.mark.parametrize("line", [b'b,"Zoro', b'"b,Zoro', b'b,"Zoro" bus'], ids=repr)
def test_between_commas_a_mark_that_does_not_pair_stays_a_letter_and_is_said(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"id,name\na,x\n" + line + b'\nc,y\nd,z"\n')
    findings = Findings()
    rows = list(read_delimited(tmp_path / "t.csv", ",", findings).rows)
    assert [dict(row[1])["id"].strip('"') for row in rows if not isinstance(row, Refused)] == ["a", "b", "c", "d"]
    assert findings.examples == {"quotation marks that do not pair, read as letters": ["line 3"]}


NOTES = ["first\nsecond", 'the "best"\n\nview, from\tabove', "plain", "", "a\r\nb", "\n", '"', "x;y|z"]


@pytest.mark.parametrize("writer", ["pandas", "excel"])
@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_quoted_line_ends_read_back_as_pandas_and_excel_write_them(
    writer: str, delimiter: str, place: int, tmp_path: Path
) -> None:
    rows = [[f"s{number}", "Zoro bus"] for number in range(len(NOTES))]
    for row, note in zip(rows, NOTES, strict=True):
        row.insert(place, note)
    header = ["id", "species"]
    header.insert(place, "notes")
    path = tmp_path / "t.csv"
    if writer == "pandas":
        pd.DataFrame(rows, columns=header).to_csv(path, sep=delimiter, index=False)
    else:
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            file.write(f"sep={delimiter}\r\n")
            csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    _, kept, refused = read(path, path.read_bytes(), "," if writer == "excel" else delimiter)
    assert refused == {}
    ids = [row[header.index("id")] for row in kept]
    assert ids == [row[header.index("id")] for row in rows]
    assert [row[header.index("species")] for row in kept] == ["Zoro bus"] * len(rows)
    notes = [row[place] for row in kept]
    assert [note.split() for note in notes] == [note.split() for note in NOTES]  # blank lines in a field are not kept


def test_a_quoted_field_that_never_ends_costs_one_record(tmp_path: Path) -> None:
    rows = b"".join(b"s%d,x,y\n" % number for number in range(5000))
    _, kept, refused = read(tmp_path / "t.csv", b'id,a,b\nq,"never\n' + rows, ",")
    assert (len(kept), refused) == (5000, {"line 2": "2 columns, and the header has 3"})


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read_with_or_without_its_mark(encoding: str, tmp_path: Path) -> None:
    text = "specimen_id\tname\r\n" + "".join(f"s{n}\tZoro b\u00fcs {n}\r\n" for n in range(60_000))
    _, kept, refused = read(tmp_path / "t.txt", text.encode(encoding))
    assert (len(kept), kept[-1], refused) == (60_000, ["s59999", "Zoro b\u00fcs 59999"], {})


def test_what_is_not_utf_8_is_read_by_a_guess_and_said_of_its_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("id,notes,name\na,Z\u00fcrich,x\nb,\u00e9t\u00e9,y\n".encode("latin-1"))
    findings = Findings()
    rows = [row[1] for row in read_delimited(tmp_path / "t.csv", ",", findings).rows if not isinstance(row, Refused)]
    assert [row["notes"] for row in rows] == ["Z\u00fcrich", "\u00e9t\u00e9"]
    (kind,) = findings.counts
    assert (kind, findings.counts[kind]) == ("values of 'notes' in t.csv are not UTF-8, and read as cp1252", 2)
    assert findings.examples[kind][0] == "line 2, 'Z\u00fcrich'"


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.tsv")
    with pytest.raises(SourceError, match="write it to a file first"):
        read_delimited(tmp_path / "t.tsv", "\t")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"b", "1 columns, and the header has 2"),
        (b"b\tc\t", "3 columns, and the header has 2"),
        (b"b\tZoro b\xe9", "byte 7 of column 'name' is not UTF-8"),
        (b"b\t\xed\xa0\x80", "not UTF-8"),
        (b"b\t" + b"A" * LONGEST_LINE, "longer than 1 MiB"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_bad_line_is_refused_with_its_number_and_the_rest_is_read(line: bytes, reason: str, tmp_path: Path) -> None:
    _, kept, refused = read(tmp_path / "t", b"id\tname\na\tx\n" + line + b"\nc\ty\n")
    assert kept == [["a", "x"], ["c", "y"]]
    assert list(refused) == ["line 3"]
    assert reason in refused["line 3"]


@pytest.mark.parametrize("name", ["t.tsv", "t.tsv.gz"])
def test_a_field_of_ten_megabytes_is_skipped_without_being_held(name: str, tmp_path: Path) -> None:
    content = b"id\tname\na\tx\nb\t" + b"A" * (10 * MIB) + b"\nc\ty\n"
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    del content
    tracemalloc.start()
    try:
        rows = list(read_delimited(tmp_path / name, "\t").rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows[0::2] == [("line 2", {"id": "a", "name": "x"}), ("line 4", {"id": "c", "name": "y"})]
    assert isinstance(rows[1], Refused)
    assert peak < 5 * MIB


def test_a_long_table_is_read_in_bounded_memory(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "t.tsv.gz", "wb", 1) as file:
        file.write(b"id\tname\n")
        for start in range(0, 100_000, 10_000):
            file.writelines(b"%d\t%s\n" % (number, b"A" * 80) for number in range(start, start + 10_000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_delimited(tmp_path / "t.tsv.gz", "\t").rows) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("damage", ["cut", "flipped", "appended", "plain"])
def test_a_damaged_gzip_is_an_error_that_says_how_far_it_was_read(damage: str, tmp_path: Path) -> None:
    numbers = random.Random(0)
    text = b"id\tname\n" + b"".join(b"%d\t%d\n" % (row, numbers.getrandbits(60)) for row in range(60_000))
    content = bytearray(gzip.compress(text, 1))
    middle = len(content) // 2
    if damage == "cut":
        del content[middle:]
    elif damage == "flipped":
        content[-8] ^= 0xFF  # the checksum
    elif damage == "appended":
        content += b"rubbish"
    else:
        content[:] = text
    (tmp_path / "t.tsv.gz").write_bytes(content)
    with pytest.raises(SourceError, match=r"t\.tsv\.gz, after line \d+:"):
        list(read_delimited(tmp_path / "t.tsv.gz", "\t").rows)
