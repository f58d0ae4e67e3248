"""No field that is written is a formula, and every record is one line, in whatever program it is opened."""

import csv
import io
import re
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.sheet import records_text
from workloads.data.sources.delimited import read_delimited
from workloads.delimited_out import delimited, reject_list
from workloads.storage import Folder

FORMULAS = ["=cmd|' /C calc'!A0", "+1", "-1+2", "@SUM(1)", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201", " =1"]
COMPUTED = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
BROKEN = {"\t=1": "\\t=1", "\r=1": "\\r=1", "\0=1": "\\x00=1", "\n=1": "\\n=1", "a\n=1": "a\\n=1", "a\0b": "a\\x00b"}


def fields_of(text: str, delimiter: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


@pytest.mark.parametrize("delimiter", [",", "\t"])
@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_shown_and_not_computed(text: str, delimiter: str) -> None:
    assert fields_of(delimited([("a", text)], delimiter), delimiter) == [["a", f"'{text}"]]


@pytest.mark.parametrize("delimiter", [",", "\t"])
@pytest.mark.parametrize("text", BROKEN)
def test_nothing_in_a_field_ends_it(text: str, delimiter: str) -> None:
    assert fields_of(delimited([(text, "b")], delimiter), delimiter) == [[BROKEN[text], "b"]]


def test_numbers_stay_numbers_and_words_as_they_are() -> None:
    row = [-1, -0.5, True, None, "a-b", "a,b", 'say "so"', "Käfer", "昆虫", "'quoted'", "a=b"]
    [read] = fields_of(delimited([row]), ",")
    assert read == ["-1", "-0.5", "True", "", *row[4:]]


@settings(max_examples=500, deadline=None)
@given(rows=st.lists(st.lists(st.text(max_size=12) | st.integers(), min_size=2, max_size=2), min_size=1, max_size=4))
def test_whatever_stands_in_rows_a_line_is_a_record_without_formulas(rows: list[list[Any]]) -> None:
    for delimiter in (",", "\t"):
        text = delimited(rows, delimiter)
        assert text.count("\n") == len(rows)
        assert not re.search(r"[\0-\x08\x0b-\x1f\x7f-\x9f]", text)
        read = fields_of(text, delimiter)
        assert [len(row) for row in read] == [2] * len(rows)
        for value, field in zip(chain(*rows), chain(*read), strict=True):
            assert field == str(value) if isinstance(value, int) else not field.strip(" ").startswith(COMPUTED)


def test_records_of_a_table_are_written_by_the_same_rule() -> None:
    text = records_text([{"label": "=1\n+2", "row": {"a": "=x"}, "runs": ["-a", "b"], "ours": -0.5}], "csv")
    assert fields_of(text, ",") == [["label", "row", "runs", "ours"], ["'=1\\n+2", "a==x", "'-a b", "-0.5"]]


def test_the_reject_list_has_one_line_a_reject_and_is_read_by_our_own_reader(tmp_path: Path) -> None:
    told = [
        ("s1", "no label"),
        ("s\t2\nx", 'it says "no"'),
        ("=1+1", "the image\ndoes not decode"),
    ]
    with reject_list(Folder(tmp_path)) as write:
        for reject in told:
            write(*reject)
    header, rows, _ = read_delimited(tmp_path / "rejects.tsv", "\t,;")
    assert header == ["specimen_id", "reason"]
    assert [list(row[1].values()) for row in rows if isinstance(row, tuple)] == [
        ["s1", "no label"],
        ["s\\t2\\nx", 'it says "no"'],
        ["'=1+1", "the image\\ndoes not decode"],
    ]
