"""Made-up run folders are as real ones: every reader takes them, also with hostile names, and a seed decides all."""

import hashlib
import shutil
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.made_up_folders import damage
from benchmarks.made_up_names import HOSTILE
from benchmarks.made_up_runs import make_runs
from benchmarks.made_up_training import beat, live_run
from results.paper.tables import table_sheets
from results.run import Run
from results.runs import Runs
from results.sweep_status import Statuses
from workloads.attempts import Attempts
from workloads.errors import DamagedError, UsageError
from workloads.predictions import PREDICTIONS, Predictions
from workloads.record import RunFolder
from workloads.run_files import read_points
from workloads.seals import LEASE
from workloads.spec import RANKS
from workloads.storage import Folder
from workloads.verify import things_in

NUM_RUNS, NUM_PREDICTIONS = 10, 2000
BY_STATE = {"finished": 6, "failed": 1, "interrupted": 1, "running": 1, "damaged": 1}


def _make(folder: Path, hostile: bool) -> Folder:
    made = make_runs(Folder(folder), NUM_RUNS, NUM_PREDICTIONS, seed=3, hostile=hostile)
    assert made == {**BY_STATE, "predictions": NUM_PREDICTIONS}
    return Folder(folder)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "hostile"])
def hostile(request: pytest.FixtureRequest) -> bool:
    """Whether names are."""
    return bool(request.param)


@pytest.fixture(scope="module")
def made_up(hostile: bool, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Ten runs."""
    return _make(tmp_path_factory.mktemp("made-up") / "runs", hostile)


def _read(runs: Folder) -> list[Run]:
    known = Runs(runs)
    found = list(known.read(list(known.places)).values())
    assert (known.unreadable, known.damaged) == ([], {})
    return found


def test_the_states_are_those_that_readers_see(made_up: Folder) -> None:
    beat(made_up)
    states = {standing.folder: standing.state for standing in Statuses(made_up).read() if standing.folder}
    assert len(states) == NUM_RUNS
    assert "impossible" in {standing.state for standing in Statuses(made_up).read()}
    assert {"training", "interrupted", "failed", "finished"} == set(states.values())
    assert Counter(run.state for run in _read(made_up)) == {"finished": 6, "missing": 2, "failed": 1, "damaged": 1}
    verdicts = Counter(check(lambda done, total: None).state for _, check in things_in(made_up))
    assert verdicts == {"whole": 6, "unfinished": 2, "being written": 1, "damaged": 1}


def test_a_table_has_their_numbers_and_says_that_they_are_synthetic(made_up: Folder) -> None:
    [sheet] = table_sheets(20, made_up)
    ours = [cell for cell in sheet.cells if cell.ours is not None]
    assert ours
    assert all(cell.synthetic for cell in ours)
    measured = [cell for cell in ours if cell.method == "clibd"]
    assert all(cell.low is not None and cell.n for cell in measured)


def test_the_predictions_of_finished_runs_sum_up_and_one_run_has_most(made_up: Folder) -> None:
    counts, same = [], set()
    for run in _read(made_up):
        if run.state == "finished" and run.folder.has(PREDICTIONS):
            predictions = Predictions.read(run.folder)
            answers = [predictions.answers(place) for place in predictions.places]
            counts.append(sum(map(len, answers)))
            assert all(len(set(keys)) == 5 for one in answers for keys in one.key_ids)
            asked = tuple(answers[0].ids)
            same |= {(run.facts["dataset"], answers[0].place.partition, asked)}
    assert sum(counts) == NUM_PREDICTIONS
    assert max(counts) >= NUM_PREDICTIONS // 4
    assert len(same) == 2, "runs on one data set are asked the same queries"


def test_their_logs_and_attempts_can_be_read(made_up: Folder) -> None:
    trained = [run for run in _read(made_up) if run.folder.has("events.jsonl")]
    assert len(trained) >= 5
    for run in trained:
        assert run.log_problem is None
        assert run.spec is not None
        epochs = run.spec.epochs
        assert len(run.epochs) == (epochs if run.state in ("finished", "damaged") else max(1, epochs // 3))
        attempts = Attempts(run.folder)
        assert all(attempts.logs(attempt.number) and len(attempt.hosts) == 2 for attempt in attempts.all())


def test_hostile_strings_stand_wherever_names_come_from_data(made_up: Folder, hostile: bool) -> None:
    [run] = [run for run in _read(made_up) if run.facts.get("data_fingerprint", "").startswith("1")]
    assert (run.facts["dataset"] in HOSTILE) == hostile
    specimens = Predictions.read(run.folder).specimens
    expected = set(HOSTILE) if hostile else set()
    names = {rank: {*specimens[rank].to_pylist()} & {*HOSTILE} for rank in RANKS}
    assert names["species"] == names["genus"] == expected
    assert len(names["order"]) == len(specimens["order"].unique()) * hostile
    assert {*specimens["specimen_id"].to_pylist()} & {*HOSTILE} == expected
    labels = {entry["label"] for sweep in made_up.folders() for entry in read_points(made_up / sweep)}
    assert len(labels & {*HOSTILE}) >= 55 * hostile
    [failed] = [run for run in _read(made_up) if run.state == "failed"]
    assert any(text in str(failed.problem) for text in HOSTILE) == hostile


def test_there_are_sixty_hostile_strings() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) == 60


def test_a_seed_decides_every_byte_but_those_of_leases(made_up: Folder, hostile: bool, tmp_path: Path) -> None:
    first, second = (
        {name: _digest(runs, name) for name in runs.walk()} for runs in (made_up, _make(tmp_path, hostile))
    )
    assert len(first) > 8 * BY_STATE["finished"]
    assert first == second


def _digest(runs: Folder, name: str) -> str:
    return "" if name.endswith(LEASE) else hashlib.sha256(runs.read(name)).hexdigest()


def test_a_running_run_goes_on(tmp_path: Path) -> None:
    runs, statuses = _make(tmp_path / "runs", hostile=False), Statuses(Folder(tmp_path / "runs"))
    [before] = [standing for standing in statuses.read() if standing.state == "training"]
    place = live_run(runs)
    [after] = [standing for standing in statuses.read() if standing.state == "training"]
    assert before.epoch is not None
    assert (after.folder, after.epoch) == (f"{place.parent.name}/{place.name}", before.epoch + 1)
    epochs = [event["epoch"] for event in RunFolder(place).events() if event["event"] == "epoch"]
    assert epochs == list(range(before.epoch + 1))
    spec = RunFolder(place).spec()
    for _ in range(before.epoch + 1, spec.epochs):
        live_run(runs)
    with pytest.raises(UsageError, match="has epochs left"):
        live_run(runs)


def test_what_cannot_be_made_is_refused(tmp_path: Path) -> None:
    runs = Folder(tmp_path)
    with pytest.raises(UsageError, match="ten runs"):
        make_runs(runs, 9, NUM_PREDICTIONS)
    with pytest.raises(UsageError, match="are too few: name"):
        make_runs(runs, NUM_RUNS, 3)
    (runs / "amp").write_json("points.json", [])
    with pytest.raises(UsageError, match="is not empty"):
        make_runs(runs, NUM_RUNS, NUM_PREDICTIONS)


def test_damage_is_of_seven_kinds(made_up: Folder, tmp_path: Path) -> None:
    run = next(run for run in _read(made_up) if run.state == "finished" and run.spec and run.folder.has(PREDICTIONS))
    found = []
    for kind in range(7):
        place = Folder(tmp_path / f"runs-{kind}") / "amp" / run.name
        shutil.copytree(run.folder.path, place.path)
        damage(place, kind)
        [one] = _read(place.parent.parent)
        found.append(one)
    assert [kind for kind, one in enumerate(found) if one.is_damaged] == [0, 1, 3, 4, 5]
    assert [kind for kind, one in enumerate(found) if one.log_problem] == [1, 6]
    assert [kind for kind, one in enumerate(found) if _loses_predictions(one)] == [1, 2]


def _loses_predictions(run: Run) -> bool:
    try:
        Predictions.read(run.folder)
    except DamagedError:
        return True
    return False
