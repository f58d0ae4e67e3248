"""The page of a run, in every state."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.made_up_names import MARKUP
from benchmarks.made_up_training import live_run
from results.dashboard.catalog import Catalog
from results.dashboard.training_log import training_log
from results.layout import percent
from tests.dashboard.making import catalog as catalog
from tests.dashboard.making import hostile_catalog as hostile_catalog
from tests.dashboard.making import in_state
from tests.dashboard.making import made_up as made_up
from tests.dashboard.serving import served
from tests.dashboard.showing import sent, shown, words_of
from workloads.data.prepared.dataset import PreparedDataset
from workloads.evaluation.measure import measure_classifier
from workloads.models.loaded import open_untrained
from workloads.placement import Placement
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

_CHIEF = {"partition": "val", "average": "macro", "level": "species", "query": "image", "key": "dna", "metric": "top1"}


def test_a_finished_run_shows_its_accuracies_with_what_they_have_to_beat(catalog: Catalog) -> None:
    runs = [run for run in in_state(catalog, "finished") if catalog.run(run).find({"method": "clibd", **_CHIEF})]
    words = words_of(shown(catalog, "run", runs[0]))
    for method in ("clibd", "random_key"):
        found = catalog.run(runs[0]).find({"method": method, **_CHIEF, "species": "harmonic_mean"})
        assert found is not None
        assert percent(found.value) in words
    assert "SYNTHETIC" in words
    assert "species macro validation" in words
    assert "Training loss" in words


def test_a_failed_run_says_why_and_what_was_printed(catalog: Catalog) -> None:
    words = words_of(shown(catalog, "run", in_state(catalog, "failed")[0]))
    assert "It failed: made-up error: out of memory" in words
    assert "attempt 1" in words.lower()


def test_a_damaged_run_is_no_finished_one(catalog: Catalog) -> None:
    for run in in_state(catalog, "damaged"):
        words = words_of(shown(catalog, "run", run))
        assert "✗ damaged" in words
        assert "It cannot be read" in words
        assert "✓ finished" not in words


@pytest.fixture
def going_on(made_up: Folder, tmp_path: Path) -> Folder:
    """A copy that a test may let go on."""
    shutil.copytree(made_up.address, tmp_path / "runs")
    return Folder(tmp_path / "runs")


def test_a_running_run_asks_for_new_points_alone(going_on: Folder) -> None:
    place = live_run(going_on)
    run = place.name
    before = Catalog(going_on)
    html = shown(before, "run", run)
    assert "▶ training" in words_of(html)
    told_so_far = r'data-more="/run-log/[^"]*" data-run="[^"]*" data-after="(\d+)" data-mark="([0-9a-f]{16})"'
    [(after, mark), *others] = re.findall(told_so_far, html)
    assert set(others) == {(after, mark)}
    assert int(after) == len(training_log(before, run))
    live_run(going_on)
    told = sent(Catalog(going_on), "run-log", run, after=after, mark=mark).content.decode()
    assert told.startswith(f"clibd.columns({json.dumps(f'run-log-{run}-{after}')}, ")
    assert len(training_log(Catalog(going_on), run)) == int(after) + 1
    columns, start, _ = training_log(Catalog(going_on), run).since(int(after), mark)
    assert (start, len(columns["step"])) == (int(after), 1)


def test_what_was_read_of_a_log_is_not_read_again(going_on: Folder) -> None:
    run = live_run(going_on).name
    catalog = Catalog(going_on)
    log = training_log(catalog, run)
    known, rows = log.columns(), len(log)
    live_run(going_on)
    catalog.look_again()
    assert training_log(catalog, run) is log
    assert len(log) == rows + 1
    assert [*log.columns()["step"][:rows]] == [*known["step"]]


def test_a_log_that_was_cut_at_a_checkpoint_is_read_anew(going_on: Folder) -> None:
    place = live_run(going_on)
    catalog = Catalog(going_on)
    log = training_log(catalog, place.name)
    lines = place.read("events.jsonl").splitlines(keepends=True)
    again = [line.replace(b'"loss": ', b'"loss": 1') for line in lines[-3:-1]]
    place.write("events.jsonl", b"".join([*lines[:-3], *again]))
    known, mark = len(log), log.mark
    catalog.look_again()
    assert len(training_log(catalog, place.name)) == len(lines) - 1
    for rows, of in ((known, mark), (known - 1, mark), (known - 2, mark), (1, mark), (0, "")):
        columns, start, _ = log.since(rows, of)
        assert (start, len(columns["step"])) == (0, len(lines) - 1), rows
    assert [*log.columns()["step"]] == [*training_log(Catalog(going_on), place.name).columns()["step"]]
    assert log.last("loss") == training_log(Catalog(going_on), place.name).last("loss")


def test_a_classifier_shows_its_accuracies_and_says_what_it_lacks(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path: Path
) -> None:
    spec = replace(tiny_spec, objective="classify", modalities=("image",))
    run = RunFolder(Folder(tmp_path / "train" / spec.id))
    run.begin(spec, {"sweep": "train", "label": "classifier"}, {})
    measured = measure_classifier(open_untrained(spec, tiny_dataset), tiny_dataset, Placement(), run.folder)
    run.finish("finished")
    words = words_of(shown(Catalog(Folder(tmp_path)), "run", spec.id))
    assert "It is a classifier" in words
    assert "classifier.parquet" in words
    assert "No accuracies yet" not in words
    for one in measured:
        if one.metric == "classifier_top1" and one.level == "genus" and one.average == "macro":
            assert f"{one.level} {percent(one.value)}" in words


def test_hostile_names_are_text(hostile_catalog: Catalog) -> None:
    for one in hostile_catalog.standings:
        if one.run and one.folder:
            html = shown(hostile_catalog, "run", one.run)
            assert not [name for name in MARKUP if "<" in name and name in html]


def test_runs_that_are_not_there(catalog: Catalog) -> None:
    assert "There is no run 'nothing'" in words_of(shown(catalog, "run", "nothing", status=404))
    waiting = next(one.run for one in catalog.standings if one.run and one.state == "not begun")
    assert "has not begun" in words_of(shown(catalog, "run", waiting, status=404))


def test_who_renews_a_page_is_not_sent_its_curves_again(going_on: Folder) -> None:
    run = live_run(going_on).name
    with served(going_on) as desk:
        whole, parts = desk.ask(f"/run/{run}"), desk.ask(f"/run/{run}", clibd_renews="1")
        assert whole.text.count("data-more=") > 3
        assert "data-more=" not in parts.text
        assert len(parts.text) < len(whole.text) / 2
        for part in re.findall(r'<section id="([^"]*)" data-renew', whole.text):
            assert f'id="{part}"' in parts.text
