"""Sheets as text, in five forms: what stands beside what, and that no name from a file can do harm."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from results.paper.tables import NUMBERS, table_sheets
from results.render import grid, render_sheets
from results.sheet import RECORD, Cell, Sheet, cell_from_record, record
from sweeps.point import Point
from workloads.storage import Folder

GOLDEN = Path(__file__).parents[1] / "golden" / "table_18.md"
Write = Callable[..., str]
Amp = Callable[..., dict[bool, Point]]


def cell(column: str = "Seen", batch: Any = 500, **fields: Any) -> Cell:
    usual = {"table": "20", "row": {"batch_size": batch}, "block": "Micro, DNA to DNA", "label": f"batch {batch}"}
    return Cell(**{**usual, "column": column, "runs": ("run",), **fields})


def sheet_of(*cells: Cell, **fields: Any) -> Sheet:
    return Sheet(title="Table 20. Batch size", cells=cells, **fields)


def lines_of(sheet: Sheet) -> list[list[str]]:
    """Cells of the first grid of Markdown, without the rule."""
    lines = [line for line in render_sheets([sheet], "md").splitlines() if line.startswith("|")]
    return [[text.strip() for text in line.strip("|").split(" | ")] for line in (lines[0], *lines[2:])]


def test_an_answer_that_was_told_is_not_the_best() -> None:
    methods = {"nn_is_du": 0.2, "linear_is_du": 0.3, "nn_is_du_oracle": 0.9}
    cells = [cell(batch=number, method=name, ours=ours) for number, (name, ours) in enumerate(methods.items())]
    text = render_sheets([sheet_of(*cells)], "latex")
    assert text.count("\\bfseries") == 1
    assert "\\bfseries 30.0" in text


def test_a_rendered_table_is_the_committed_one(golden_runs: Folder) -> None:
    """A diff here is a decision: look at it, then copy it."""
    text = render_sheets(table_sheets(18, golden_runs), "md")
    assert text.replace(str(golden_runs), "RUNS") == GOLDEN.read_text().rstrip("\n")


# --- Markdown


def test_published_stands_beside_ours_and_says_so() -> None:
    sheet = sheet_of(cell(published=0.977, ours=0.5), cell("Ours alone", ours=0.25))
    assert lines_of(sheet) == [
        ["Batch size", "Run", "Seen, paper", "ours", "Ours alone"],
        ["500", "batch 500", "97.7", "50.0", "25.0"],
    ]
    assert "Published: Gong et al., ICLR 2025 (arXiv:2405.17537), Table 20." in render_sheets([sheet], "md")


def test_a_difference_has_a_column_where_one_is_comparable_and_nowhere_else() -> None:
    reason = "ours are not of the official split of BIOSCAN-1M"
    apart = [cell(published=0.9, ours=0.5, reason=reason), cell(batch=1000, published=0.8, ours=0.7, reason=reason)]
    assert "diff" not in lines_of(sheet_of(*apart))[0]
    text = render_sheets([sheet_of(*apart)], "md")
    assert text.count(reason) == 1
    assert "−40" not in text
    head, first, second = lines_of(sheet_of(apart[0], replace(apart[1], comparable=True, reason=None)))
    assert (head[4], first[4], second[4]) == ("diff", "–", "−10.0")


def test_an_empty_cell_has_the_number_of_its_reason() -> None:
    empty = [cell(batch=n, published=0.9, ours=None, label=None, reason="not run: `clibd-sweep x`") for n in (1, 2)]
    sheet = sheet_of(*empty, cell(batch=3, ours=None, label=None, reason="no GPU"), cell(batch=4, ours=None))
    assert [line[3] for line in lines_of(sheet)[1:]] == ["– [1]", "– [1]", "– [2]", "–"]
    text = render_sheets([sheet], "md")
    assert text.count("clibd-sweep x") == 1
    assert "- [2] no GPU" in text


def test_rows_stay_in_the_order_of_their_cells() -> None:
    sheet = sheet_of(*(cell(batch=size, ours=0.5) for size in (50, 100, 150, 1000)))
    assert [line[0] for line in lines_of(sheet)[1:]] == ["50", "100", "150", "1000"]


def test_what_is_behind_a_number_stands_with_it() -> None:
    single = cell(ours=0.5, low=0.45, high=0.5678, n=120, average="micro")
    several = cell(batch=1000, ours=0.91, standard_error=0.01, runs=("a", "b"), n=120, average="micro")
    assert [line[2] for line in lines_of(sheet_of(single, several))[1:]] == ["50.0 [45.0, 56.8]", "91.0 ± 1.0 (n=2)"]
    assert "Number of queries: Seen 120" in render_sheets([sheet_of(single, several)], "md")
    by_rank = [replace(single, rank="order", n=7), replace(single, rank="genus", n=1_234)]
    assert "order Seen 7; genus Seen 1,234" in render_sheets([sheet_of(*by_rank, show_rank=True)], "md")


def test_only_columns_of_numbers_are_aligned_to_the_right() -> None:
    headers = ["text", "count", "ours", "diff"]
    body = [["5-mer counts", "1,500", "91.0 ± 1.0 (n=2)", "−6.8"], ["x", "97.8*", "– [1]", "+1e−05"]]
    rule = grid(headers, body).splitlines()[1]
    assert [part.strip().endswith(":") for part in rule.strip("|").split("|")] == [False, True, True, True]


# --- Long form


def test_csv_and_json_hold_the_same_numbers_with_the_same_keys_for_every_table(golden_runs: Folder) -> None:
    for number in NUMBERS:
        sheets = table_sheets(number, golden_runs)
        from_json = json.loads(render_sheets(sheets, "json"))
        from_csv = list(csv.DictReader(io.StringIO(render_sheets(sheets, "csv"))))
        assert len(from_json) == len(from_csv) > 0
        for found, line in zip(from_json, from_csv, strict=True):
            assert tuple(found) == tuple(line) == RECORD
            for name in ("published", "ours", "difference", "standard_error"):
                assert (float(line[name]) if line[name] else None) == found[name]
            assert line["runs"].split() == found["runs"]


def test_shares_are_percent_and_rows_are_objects() -> None:
    of_pairs = cell(batch=("image", "dna"), published=0.977, ours=0.5, comparable=True)
    found = record(of_pairs)
    assert (found["unit"], found["published"], found["ours"], found["difference"]) == ("percent", 97.7, 50.0, -47.7)
    assert found["row"] == {"batch_size": ["image", "dna"]}
    [line] = csv.DictReader(io.StringIO(render_sheets([sheet_of(of_pairs)], "csv")))
    assert line["row"] == "batch_size=image+dna"
    assert record(cell(unit="hours", ours=1.5))["ours"] == 1.5


def test_a_record_is_the_cell_again() -> None:
    for one in (
        cell(published=0.25, ours=0.5, n=3),
        cell(batch=("a", "b"), unit="hours", ours=1.5),
        cell(unit="points"),
    ):
        assert cell_from_record(json.loads(json.dumps(record(one)))) == one


# --- Names from users' files


@pytest.mark.parametrize("label", ["=1+1", "+cmd", "-2", "@x", " =x", "\uff1d1"])
def test_csv_text_is_never_a_formula(label: str) -> None:
    harmful = cell(label=label, published=0.9, ours=0.5, comparable=True)
    [line] = csv.DictReader(io.StringIO(render_sheets([sheet_of(harmful)], "csv")))
    assert line["label"] == f"'{label}"
    assert float(line["difference"]) < 0  # numbers below zero stay numbers


def test_a_name_breaks_no_table_of_markdown() -> None:
    sheet = sheet_of(cell(label="a | b\nc", batch="x|y", ours=0.5))
    assert lines_of(sheet)[1] == ["x\\|y", "a \\| b c", "50.0"]


class Page(HTMLParser):
    """The tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_name_brings_no_tag_into_html() -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    harmful = cell(evil, evil, block=evil, label=evil, ours=None, reason=evil, published=0.5, published_note=evil)
    page = Page(render_sheets([Sheet(title=evil, cells=(harmful,), about=(evil,), notes=(evil,))], "html"))
    assert not page.tags & {"img", "script"}
    assert page.text.count(evil) == 9


def test_latex_is_booktabs_with_the_best_of_ours_in_bold(tmp_path: Path) -> None:
    names = "50 % & a_b # {x} \\cmd ~ ^ $ | < > [y]"
    cells = [cell(batch=500, label=names, ours=0.5), cell(batch=1000, ours=0.75, published=0.9)]
    floor = cell(batch=None, label="chance", ours=0.9, runs=())
    text = render_sheets([sheet_of(*cells, floor)], "latex")
    for rule in ("toprule", "midrule", "bottomrule"):
        assert f"\\{rule}" in text
    assert text.count("\\bfseries") == 1
    assert "\\bfseries 75.0" in text
    escaped = (
        r"50 \% \& a\_b \# \{x\} \textbackslash{}cmd \textasciitilde{} \textasciicircum{} \$ \textbar{} $<$ $>$ {[}y]"
    )
    assert escaped in text


def test_each_form_is_the_same_whenever_it_is_made(golden_runs: Folder) -> None:
    for form in ("md", "csv", "json", "latex", "html"):
        assert len({render_sheets(table_sheets(18, golden_runs), form) for _ in range(2)}) == 1
