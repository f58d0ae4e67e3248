"""The page that compares two evaluations."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from results.comparison.compare import compare
from results.dashboard.accuracies import accuracies
from results.dashboard.catalog import Catalog
from results.dashboard.contest import contest
from results.dashboard.page import Asked
from results.dashboard.site.replies import reply_to
from results.differing import differing_fields
from results.evaluated import pair
from tests.dashboard.making import catalog as catalog
from tests.dashboard.making import made_up as made_up
from tests.dashboard.showing import columns_of, sent, shown, words_of
from tests.results.comparison.conftest import IMAGE_DNA
from workloads.errors import IncomparableError
from workloads.record import MEASUREMENTS
from workloads.spec import RANKS
from workloads.storage import Folder


@pytest.fixture
def two(catalog: Catalog) -> tuple[str, str]:
    """Two evaluations that were asked the same."""
    asked: dict[tuple[str, ...], str] = {}
    for run in catalog.finished():
        if not catalog.run(run).problem and catalog.evaluations(run):
            predictions = catalog.evaluated(run).predictions
            if IMAGE_DNA in predictions.places:
                ids = tuple(sorted(predictions.answers(IMAGE_DNA).ids))
                if ids in asked:
                    return asked[ids], run
                asked[ids] = run
    raise AssertionError("no two made-up runs were asked the same")


def test_the_numbers_are_those_of_the_command(catalog: Catalog, two: tuple[str, str]) -> None:
    made = contest(catalog, *two, "val", ("image", "dna")).result()
    folders = [catalog.folder / catalog.place(run) for run in two]
    pairing = pair(folders[0], folders[1], "val")
    both = [one for one in pairing.pairs if one[0].place == IMAGE_DNA]
    assert list(made.rows) == compare(both, pairing.facts["missing_rank"], RANKS)
    own = made.by_name["species"]
    counted = both[0][0].counted("species", "left_out")
    assert own.queries.sum() == counted.sum()
    assert own.second.sum() == np.sum(both[0][1].hits("species") & counted)


def test_the_page_shows_what_differs(catalog: Catalog, two: tuple[str, str]) -> None:
    contest(catalog, *two, "val", ("image", "dna")).result()
    words = words_of(shown(catalog, "compare", a=two[0], b=two[1]))
    assert "Fields in which they differ" in words
    assert "p (Holm)" in words
    assert "species won and lost" in words.lower()
    assert "SYNTHETIC" in words


def test_names_won_and_lost_add_up(catalog: Catalog, two: tuple[str, str]) -> None:
    there = contest(catalog, *two, "val", ("image", "dna")).result()
    back = contest(catalog, *reversed(two), "val", ("image", "dna")).result()
    for rank in RANKS:
        assert there.tally(rank).first == back.tally(rank).second
        gains = [one.second - one.first for one in there.won(rank, 5)]
        assert gains == sorted(gains, reverse=True)
        assert [one.queries for one in there.won(rank, 99)] == [one.queries for one in back.lost(rank, 99)]


def test_what_cannot_be_compared_says_why(catalog: Catalog) -> None:
    runs = [run for run in catalog.finished() if not catalog.run(run).problem and catalog.evaluations(run)]
    datasets = {catalog.evaluated(run).facts["dataset"]: run for run in runs}
    a, b, *_ = datasets.values()
    with pytest.raises(IncomparableError):
        contest(catalog, a, b, "val", ("image", "dna")).result()
    assert "They cannot be compared." in words_of(shown(catalog, "compare", a=a, b=b))


def test_without_two_there_is_a_choice(catalog: Catalog, two: tuple[str, str]) -> None:
    html = shown(catalog, "compare")
    assert f'<option value="{two[0]}"' in html
    assert "is not evaluated yet" in words_of(shown(catalog, "compare", status=404, a=two[0], b=f"{two[1]}/none"))


def test_an_export_has_what_any_two_differ_in(catalog: Catalog, two: tuple[str, str]) -> None:
    columns = columns_of(sent(catalog, "compare-sides"))
    rows = [columns["id"].index(run) for run in two]
    told = {name: tuple(values[row] for row in rows) for name, values in columns.items()}
    fields = {name.removeprefix("field "): sides for name, sides in told.items() if name.startswith("field ")}
    specs = [spec for run in two if (spec := catalog.run(run).spec)]
    assert {name: sides for name, sides in fields.items() if sides[0] != sides[1]} == differing_fields(specs)
    assert [side.rpartition("/")[2] for side in told["folder"]] == list(two)
    for place, run in enumerate(two):
        first = accuracies(catalog, run).retrievals[0]
        for row in first.rows:
            here = f"accuracy {first.name}, {row.partition}, {row.average}, {row.rank}"
            assert [told[f"{here}: {subset}"][place] for subset in first.subsets] == list(row.values)
            assert told[f"{here}: n"][place] == row.n


def test_a_damaged_run_leaves_the_others_in_the_export(catalog: Catalog, two: tuple[str, str], tmp_path: Path) -> None:
    runs = Path(shutil.copytree(catalog.address, tmp_path / "runs"))
    (runs / catalog.place(two[0]) / MEASUREMENTS).write_bytes(b"PAR1 and no more")
    (runs / catalog.place(two[0]) / "status.json").write_text('{"state": "fini')
    columns = columns_of(sent(Catalog(Folder(runs)), "compare-sides"))
    names = [name for name in columns if name.startswith("accuracy")]
    told = {run: any(columns[name][row] for name in names) for row, run in enumerate(columns["id"])}
    assert told[two[1]]
    assert not told.get(two[0])


def test_a_page_that_waits_is_another_once_the_comparison_is_made(
    catalog: Catalog, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("results.dashboard.pages.compare._PATIENCE", 0.0)
    asked = Asked.to("compare", "", {"a": two[0], "b": two[1], "partition": "test", "pair": "dna-dna"})
    assert b"They are being compared" in reply_to(catalog, asked).content
    contest(catalog, *two, "test", ("dna", "dna")).result()
    assert b"p (Holm)" in reply_to(catalog, asked).content, "though nothing in the folder has changed"
