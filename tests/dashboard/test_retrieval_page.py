"""Retrieval pages: what is listed is what a plain count over the files finds, and names are text."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from benchmarks.made_up_names import HOSTILE
from results.dashboard.choosing import Choice, chosen
from results.dashboard.numbers import DEPTHS, answered
from results.dashboard.site.answers import answer
from results.dashboard.site.kinds import kinds
from tests.dashboard.answered_runs import answered_run, catalog_of, rows_of, shown_of
from tests.dashboard.showing import columns_of, sent, shown, words_of
from tests.results.figures.made_up import Row, made_up_rows
from workloads.data.prepared.dataset import PreparedDataset
from workloads.spec import RANKS, Rank
from workloads.storage import Folder


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return made_up_rows(300)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Path:
    folder = tmp_path_factory.mktemp("answered")
    answered_run(folder, rows)
    return folder


@pytest.fixture(scope="module")
def run(runs: Path) -> str:
    return next((runs / "train").iterdir()).name


def _depth(one: Row, other: Row) -> str:
    same = [rank for rank in RANKS if one[rank] is not None and one[rank] == other[rank]]
    return same[-1] if same else "none"


def _by_hand(runs: Path, run: str, rows: list[Row]) -> list[tuple[Row, Row, str, float]]:
    """Queries by image, their nearest barcodes, subsets and cosines."""
    by_id = {row["specimen_id"]: row for row in rows}
    table = Folder(runs / "train" / run).read_table("predictions.parquet").to_pylist()
    return [
        (by_id[row["specimen_id"]], by_id[row["key_ids"][0]], row["subset"], row["cosines"][0])
        for row in table
        if (row["partition"], row["query"], row["key"]) == ("val", "image", "dna")
    ]


def _ids(runs: Path, run: str, choice: Choice) -> set[str]:
    evaluation = answered(catalog_of(runs), run)
    one = evaluation.retrieval("val", "image-dna")
    return {evaluation.id(one.queries[row]) for row in chosen(evaluation, one, choice)}


def test_choices_are_what_a_plain_count_finds(runs: Path, run: str, rows: list[Row]) -> None:
    every = _by_hand(runs, run, rows)
    cosine = float(np.median([row[3] for row in every]))
    for depth in DEPTHS:
        assert _ids(runs, run, Choice(outcome=depth)) == {
            a["specimen_id"] for a, b, *_ in every if _depth(a, b) == depth
        }
    rank: Rank
    for rank in ("species", "family"):
        named = [(a, b) for a, b, *_ in every if a[rank] is not None]
        right = {a["specimen_id"] for a, b in named if a[rank] == b[rank]}
        assert _ids(runs, run, Choice(outcome="right", rank=rank)) == right
        assert _ids(runs, run, Choice(outcome="wrong", rank=rank)) == {a["specimen_id"] for a, _ in named} - right
    unseen = Choice(subset="unseen", least=cosine)
    assert _ids(runs, run, unseen) == {
        a["specimen_id"] for a, _, subset, own in every if subset == "unseen" and own >= np.float32(cosine)
    }
    taken = Choice(taxon="genus 1", at="genus", found="genus 0", rank="genus")
    assert _ids(runs, run, taken) == {
        a["specimen_id"] for a, b, *_ in every if a["genus"] == "genus 1" and b["genus"] == "genus 0"
    }


def test_a_taxon_is_exact_before_it_is_a_beginning(runs: Path, run: str, rows: list[Row]) -> None:
    every = [a for a, *_ in _by_hand(runs, run, rows)]
    exact = {a["specimen_id"] for a in every if a["species"] == "species 1"}
    assert exact
    assert _ids(runs, run, Choice(taxon="species 1")) == exact
    assert _ids(runs, run, Choice(taxon="SPECIES 1")) == exact
    begins = {a["specimen_id"] for a in every if str(a["species"]).startswith("species ")}
    assert _ids(runs, run, Choice(taxon="species ")) == begins
    assert _ids(runs, run, Choice(taxon="nothing like it")) == set()
    within = Choice(taxon="species 1", at="species", within="order 0")
    assert _ids(runs, run, within) == {
        a["specimen_id"] for a in every if a["species"] == "species 1" and a["order"] == "order 0"
    }


def test_pages_of_24_and_a_link_to_each(runs: Path, run: str, rows: list[Row]) -> None:
    catalog, every = catalog_of(runs), _by_hand(runs, run, rows)
    pages = -(-len(every) // 24)
    assert pages > 1
    listed = [
        re.findall(r'<p class="id">([^<]+)</p>\s*</li>', shown(catalog, "retrieval", run, page=page))
        for page in range(1, pages + 1)
    ]
    assert [len(each) for each in listed[:-1]] == [24] * (pages - 1)
    assert [each for page in listed for each in page] == [a["specimen_id"] for a, *_ in every]
    query, key, _, cosine = every[30]
    text = words_of(shown(catalog, "retrieval", run, specimen=query["specimen_id"]))
    assert f"31 of {len(every)}" in text
    assert f"cosine {cosine:.4f}" in text
    assert str(key["specimen_id"]) in text
    page = shown(catalog, "retrieval", run, specimen=query["specimen_id"])
    assert page.count('<figure class="key') == 5
    [before] = re.findall(r'rel="prev" href="[^"]*specimen=(\w+)"', page)
    assert before == every[29][0]["specimen_id"]


def test_the_lowest_shared_rank_is_a_border_and_words(runs: Path, run: str, rows: list[Row]) -> None:
    for depth, words in {"species": "same species", "genus": "same genus", "none": "no rank shared"}.items():
        page = shown(catalog_of(runs), "retrieval", run, outcome=depth)
        assert f'<li class="shared-{depth}">' in page
        assert words in words_of(page)


def test_what_is_not_there_is_said(runs: Path, run: str) -> None:
    catalog = catalog_of(runs)
    assert "kept no pictures" in words_of(shown(catalog, "retrieval", run))
    assert "--data DIR" in words_of(shown(catalog, "retrieval", run))
    wrong: dict[str, tuple[str, str]] = {
        "pair": ("image-sound", "there are val image-dna"),
        "outcome": ("x", "there are right, wrong"),
        "rank": ("tribe", "there are order"),
        "least": ("much", "from -1 to 1"),
        "specimen": ("s?", "is no val query"),
    }
    for name, (value, said) in wrong.items():
        assert said in words_of(shown(catalog, "retrieval", run, status=404, **{name: value}))
    assert "No query fits" in words_of(shown(catalog, "retrieval", run, taxon="nothing like it"))
    assert "evaluated yet" in words_of(shown(catalog, "retrieval", f"{run}/evaluation-none", status=404))


def test_damaged_answers_say_so(tmp_path: Path, rows: list[Row]) -> None:
    run = answered_run(tmp_path, rows)
    (tmp_path / "train" / run / "predictions.parquet").write_bytes(b"PAR1")
    assert "cannot be read" in words_of(shown(catalog_of(tmp_path), "retrieval", run, status=404))


def test_names_are_text(tmp_path: Path, rows: list[Row]) -> None:
    strange = {
        "species 0": "<img src=x onerror=alert(1)>",
        "species 1": '"><script>alert(2)</script>',
        "species 2": "{{7*7}}",
    }
    named = [{**row, "species": strange.get(str(row["species"]), row["species"])} for row in rows]
    run = answered_run(tmp_path, named)
    catalog = catalog_of(tmp_path)
    for name in strange.values():
        for page in (
            shown(catalog, "retrieval", run, taxon=name),
            shown(catalog, "species", run, name=name),
            shown(catalog, "confusion", run, rank="species"),
        ):
            assert html.escape(name, quote=True).replace("&quot;", "&#34;") in page or "confusion" in page
            assert "<img src=x" not in page
            assert "<script>alert" not in page
            assert " 49 " not in words_of(page)


# --- Pictures and barcodes ------------------------------------------------------------------------------------------


def test_the_kept_pictures_and_barcodes_stand_beside(tmp_path: Path, tiny_dataset: PreparedDataset) -> None:
    rows = rows_of(tiny_dataset)
    kept = shown_of(tiny_dataset, rows[::2])
    run = answered_run(tmp_path, rows, tiny_dataset.facts.name, tiny_dataset.facts.fingerprint, kept)
    catalog = catalog_of(tmp_path)
    page = shown(catalog, "retrieval", run)
    assert f"Of {len(rows)} specimens {len(kept)} were kept" in words_of(page)
    [first, *_] = re.findall(r'<img class="specimen" src="([^"]+)"', page)
    assert "specimen=" in html.unescape(first)
    shown_ids = set(kept["specimen_id"].to_pylist())
    listed = re.findall(r'<p class="id">([^<]+)</p>\s*</li>', page)
    assert listed[0] in shown_ids  # those with a picture come first
    assert '<svg class="barcode"' in page


def test_the_data_set_shows_all(tmp_path: Path, tiny_dataset: PreparedDataset) -> None:
    rows = rows_of(tiny_dataset)
    run = answered_run(tmp_path, rows, tiny_dataset.facts.name, tiny_dataset.facts.fingerprint)
    page = shown(catalog_of(tmp_path, tiny_dataset), "retrieval", run)
    assert page.count("no picture kept") == 0
    assert re.search(r"\d+ of \d+ bases differ", words_of(page))
    other = answered_run(tmp_path, rows, tiny_dataset.facts.name, "other-64")
    text = words_of(shown(catalog_of(tmp_path, tiny_dataset), "retrieval", other))
    assert "this evaluation is of" in text


def test_columns_of_the_export_hold_every_answer(tmp_path: Path, tiny_dataset: PreparedDataset) -> None:
    rows = rows_of(tiny_dataset)
    kept = shown_of(tiny_dataset, rows[::2])
    run = answered_run(tmp_path, rows, tiny_dataset.facts.name, tiny_dataset.facts.fingerprint, kept)
    catalog = catalog_of(tmp_path)
    specimens = columns_of(sent(catalog, "retrieval-specimens", run))
    by_id = {row["specimen_id"]: row for row in rows}
    assert specimens["species"] == [by_id[name]["species"] for name in specimens["id"]]
    columns = columns_of(sent(catalog, "retrieval-rows", run, partition="test", pair="dna-dna"))
    table = Folder(tmp_path / "train" / run).read_table("predictions.parquet").to_pylist()
    own = [row for row in table if (row["partition"], row["query"], row["key"]) == ("test", "dna", "dna")]
    first, ids = columns["query"], specimens["id"]
    queries = first if len(first) == len(own) else range(first[0], first[0] + len(own))
    assert [ids[query] for query in queries] == [row["specimen_id"] for row in own]
    assert [specimens["unseen"][query] for query in queries] == [row["subset"] == "unseen" for row in own]
    assert [ids[key] for key in columns["keys"]] == [key for row in own for key in row["key_ids"]]
    cosines = [cosine for row in own for cosine in row["cosines"]]
    assert np.array(columns["cosines"]) / 10_000 == pytest.approx(np.array(cosines), abs=5.1e-5)
    portraits = columns_of(sent(catalog, "retrieval-portraits", run))
    assert {ids[row] for row in portraits["row"]} == set(kept["specimen_id"].to_pylist())
    assert all(picture.startswith("data:image/webp;base64,") for picture in portraits["picture"])


def test_the_export_lists_the_papers_pairs_of_each_evaluation(runs: Path, run: str) -> None:
    listed = [
        asked for name in ("retrieval", "confusion", "species") for asked in kinds()[name].listed(catalog_of(runs))
    ]
    places = {asked.options for asked in listed if asked.page == "retrieval"}
    assert len(places) == 6  # two partitions, three pairs
    for asked in listed[::7]:
        assert answer(catalog_of(runs), asked).status == 200


class _Elements(HTMLParser):
    """Elements of a page, and all of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.attributes = set[str](), list[tuple[str, str | None]]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs


def test_hostile_names_are_text_everywhere(tmp_path: Path, runs: Path, run: str, rows: list[Row]) -> None:
    kinds_of_pages = ("confusion", "species", "retrieval")
    plain = [shown(catalog_of(runs), kind, run) for kind in kinds_of_pages]
    plain += [
        shown(catalog_of(runs), "species", run, name="species 1"),
        shown(catalog_of(runs), "retrieval", run, taxon="-"),
    ]
    ours = set[str]().union(*(_Elements(page).tags for page in plain))
    waiting = iter(HOSTILE)
    strange: dict[str | None, str] = {}
    for rank in reversed(RANKS):
        names = sorted({str(row[rank]) for row in rows if row[rank] is not None})
        strange |= dict(zip(names, waiting, strict=False))
    named: list[Row] = [{**row, **{rank: strange.get(row[rank], row[rank]) for rank in RANKS}} for row in rows]
    hostile = answered_run(tmp_path, named)
    catalog = catalog_of(tmp_path)
    there = sorted({str(row["species"]) for row in named if row["species"] and str(row["split"]).startswith("val")})
    pages = [shown(catalog, kind, hostile, rank=rank) for kind in kinds_of_pages for rank in RANKS]
    pages += [shown(catalog, "species", hostile, name=name) for name in there]
    pages += [shown(catalog, "retrieval", hostile, taxon=name, at="species") for name in there]
    for page in pages:
        found = _Elements(page)
        assert found.tags <= ours
        for name, value in found.attributes:
            assert not name.startswith(("on", "style"))
            assert name not in ("href", "src", "action", "hx-get") or str(value).startswith(("/", "data:,", "#"))
            assert name not in ("href", "src", "action", "hx-get") or not str(value).startswith("//")
