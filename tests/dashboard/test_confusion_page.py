"""Confusion pages: every number is that of the queries which its link leads to."""

import html
import re
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from results.dashboard.choosing import choice_of, chosen
from results.dashboard.numbers import answered
from results.dashboard.page import Asked
from tests.dashboard.answered_runs import answered_run, catalog_of
from tests.dashboard.showing import shown, words_of
from tests.results.figures.made_up import Row, made_up_rows
from workloads.storage import Folder


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return made_up_rows(300)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Path:
    folder = tmp_path_factory.mktemp("confused")
    answered_run(folder, rows)
    return folder


@pytest.fixture(scope="module")
def run(runs: Path) -> str:
    return next((runs / "train").iterdir()).name


def _pairs(runs: Path, run: str, rows: list[Row], rank: str) -> Counter[tuple[str, str]]:
    names = {row["specimen_id"]: row[rank] for row in rows}
    counts: Counter[tuple[str, str]] = Counter()
    for row in Folder(runs / "train" / run).read_table("predictions.parquet").to_pylist():
        if (row["partition"], row["query"], row["key"]) == ("val", "image", "dna"):
            truth, found = names[row["specimen_id"]], names[row["key_ids"][0]]
            if truth is not None and found is not None:
                counts[truth, found] += 1
    return counts


@pytest.mark.parametrize("rank", ["order", "family", "genus", "species"])
def test_the_wrong_ones_are_counted_and_the_top_pair_is_in_the_matrix(
    runs: Path, run: str, rows: list[Row], rank: str
) -> None:
    counts = _pairs(runs, run, rows, rank)
    wrong = {pair: count for pair, count in counts.items() if pair[0] != pair[1]}
    page = shown(catalog_of(runs), "confusion", run, rank=rank)
    assert f"{sum(wrong.values())} of n = {counts.total()} validation queries" in words_of(page)
    truth, found = min(wrong, key=lambda pair: (-wrong[pair], pair))
    top, matrix = page.split('class="matrix"')
    first = re.findall(r"<tr>(.*?)</tr>", top, re.S)
    assert any(f">{truth}<" in row and f">{found}<" in row and f">{wrong[truth, found]}<" in row for row in first)
    [line] = [row for row in re.findall(r"<tr>(.*?)</tr>", matrix, re.S) if f">{truth}</a>" in row]
    assert f">{wrong[truth, found]}<" in line


def test_every_count_leads_to_as_many_queries(runs: Path, run: str) -> None:
    catalog = catalog_of(runs)
    evaluation = answered(catalog, run)
    page = shown(catalog, "confusion", run, rank="family", subset="unseen")
    links = re.findall(r'<a href="(/retrieval/[^"]+)"[^>]*>([\d,]+)</a>', page)
    assert len(links) > 5
    for address, words in links:
        parts = urlsplit(html.unescape(address))
        asked = Asked.to("retrieval", unquote(parts.path.rpartition("/")[2]), dict(parse_qsl(parts.query)))
        one = evaluation.retrieval(asked.option("partition"), asked.option("pair"))
        assert len(chosen(evaluation, one, choice_of(asked))) == int(words.replace(",", ""))


def test_ranks_open_within_a_taxon(runs: Path, run: str, rows: list[Row]) -> None:
    catalog = catalog_of(runs)
    page = shown(catalog, "confusion", run, rank="family", within="order 0")
    inside = {row["family"] for row in rows if row["order"] == "order 0"}
    matrix = page.split('class="matrix"')[1]
    heads = set(re.findall(r'scope="row"><a [^>]*>([^<]+)</a>', matrix))
    assert heads <= inside
    assert heads
    assert "above family" in words_of(shown(catalog, "confusion", run, status=404, rank="family", within="nobody"))
    assert "no subset" in words_of(shown(catalog, "confusion", run, status=404, subset="all"))


def test_where_all_is_right_nothing_is_confused(tmp_path: Path, rows: list[Row]) -> None:
    run = answered_run(tmp_path, [{**row, "order": "Diptera"} for row in rows])
    assert "nothing is confused" in words_of(shown(catalog_of(tmp_path), "confusion", run))


def test_without_names_there_is_nothing_to_count(tmp_path: Path, rows: list[Row]) -> None:
    run = answered_run(tmp_path, [{**row, "genus": None} for row in rows])
    text = words_of(shown(catalog_of(tmp_path), "confusion", run, rank="genus"))
    assert "0 of n = 0" in text
