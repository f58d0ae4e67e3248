"""`clibd-sweep status` and `logs`: what the folders of a sweep say, in every state that a point can be in."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import commands.sweep_status
from commands.sweep import app
from orchestrator.plan import Plan
from orchestrator.request import SweepRequest, entry_of, points_of, write_points
from results.sweep_status import Statuses
from sweeps import SWEEPS
from sweeps.point import Impossible, Point
from tests.test_lease import another, beating
from workloads import lease
from workloads.attempts import Attempts
from workloads.command_line import run_command
from workloads.data.prepared.dataset import PreparedDataset
from workloads.lease import held
from workloads.leftovers import machine
from workloads.record import RunFolder, provenance
from workloads.storage import Folder
from workloads.training.report import LeaseTeller, StepReport

COMMAND = ["clibd-sweep", "batch-size", "--data", "my data"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are tenths, so that nobody waits for a minute."""
    for name, seconds in {"BEAT": 0.5, "ABANDONED": 3.0, "LOOK": 0.1}.items():
        monkeypatch.setattr(lease, name, seconds)
    monkeypatch.setattr(commands.sweep_status, "_EVERY", 0.2)


@pytest.fixture(params=["disk", "store"])
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A folder of runs, on a disk and in an object store."""
    if request.param == "disk":
        return Folder(tmp_path / "my runs")
    return Folder(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def clibd_sweep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Calls the command; gives exit code, stdout and stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["clibd-sweep", *words])
        with pytest.raises(SystemExit) as end:
            run_command(app)
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call


class AskedSweep:
    """A sweep that was asked for, of which nothing has begun."""

    def __init__(self, runs: Folder, data: PreparedDataset) -> None:
        self.request = SweepRequest(sweeps=(SWEEPS["batch-size"],), scale="small", data=data, runs=runs)
        self.points = points_of(self.request)
        self.wanted = [point for point in self.points.all if isinstance(point, Point) and point.row]
        impossible = Impossible(label="batch 9000", reason="it is larger\nthan the data", row={"batch_size": 9000})
        asked = {"batch-size": [*self.points.by_sweep["batch-size"], impossible]}
        write_points(replace(self.points, by_sweep=asked), Plan((), ()))

    def begin(self, number: int, sweep: str = "batch-size") -> RunFolder:
        """Begin one of its points as a trial does."""
        point = self.wanted[number]
        run = RunFolder(self.request.runs / sweep / point.id)
        run.begin(point.spec, entry_of(self.request, point, {}), provenance(COMMAND))
        return run


@pytest.fixture
def asked(runs: Folder, tiny_dataset: PreparedDataset) -> AskedSweep:
    return AskedSweep(runs, tiny_dataset)


def states(clibd_sweep: Command, runs: Folder, *words: str) -> dict[str, dict[str, Any]]:
    """What status says of each point, by its label."""
    code, out, err = clibd_sweep("status", *words, "--runs", str(runs), "--format", "json")
    assert code == 0, err
    found = json.loads(out)
    assert sum(found["totals"].values()) == len(found["points"])
    return {point["label"]: point for point in found["points"]}


def test_every_state_of_a_point_is_told_apart(asked: AskedSweep, runs: Folder, clibd_sweep: Command) -> None:
    labels = [point.label for point in asked.wanted]
    finished, failed, interrupted = (asked.begin(number) for number in range(3))
    finished.finish("finished")
    failed.finish("failed", reason="step 7: the loss\nis nan")
    interrupted.folder.write("events.jsonl", b'{"event": "step", "epoch": 0}\n{"event": "epoch", "epoch": 0}\n')
    found = states(clibd_sweep, runs)
    assert {label: point["state"] for label, point in found.items()} == {
        labels[0]: "finished",
        labels[1]: "failed",
        labels[2]: "interrupted",
        labels[3]: "not begun",
        "batch 9000": "impossible",
    }
    assert found[labels[1]]["error"] == "step 7: the loss is nan"
    assert found["batch 9000"]["error"] == "it is larger than the data"
    assert (found[labels[2]]["epoch"], found[labels[2]]["epochs"]) == (1, asked.wanted[2].spec.epochs)
    code, out, err = clibd_sweep("status", "batch-size", "--runs", str(runs))
    assert (code, err) == (0, "")
    assert "5 points: 1 finished, 1 failed, 1 interrupted, 1 not begun, 1 impossible" in out
    assert f"clibd-sweep logs {failed.id} --runs " in out
    assert out.endswith("the same command goes on: clibd-sweep batch-size --data 'my data'\n")


def test_a_run_that_somebody_is_at_says_how_far_it_is(asked: AskedSweep, runs: Folder, clibd_sweep: Command) -> None:
    label = asked.wanted[0].label
    run = asked.begin(0)
    with held(run.folder) as mine:
        teller = LeaseTeller(mine, 15, 600)
        numbers = {"loss": 1.0, "temperature": 0.07, "learning_rate": 1e-3, "gradient_norm": 1.0}
        for step in (120, 121):
            teller(StepReport(epoch=3, step=step, specimens_per_second=812.4, **numbers))
            time.sleep(0.1)
        teller(StepReport(epoch=3, step=122, specimens_per_second=812.4, **numbers))
        mine.tell(hosts=["gpu-1", "gpu-1", "gpu-2", "gpu-3"], restarts=2)
        time.sleep(1.2)
        point = states(clibd_sweep, runs)[label]
        assert (point["state"], point["epoch"], point["epochs"], point["restarts"]) == ("training", 4, 15, 2)
        assert point["specimens_per_second"] == 812.4
        assert point["seconds_left"] > 0
        assert point["hosts"] == ["gpu-1", "gpu-2", "gpu-3"]
        _, out, _ = clibd_sweep("status", "--runs", str(runs))
        [line] = [line for line in out.splitlines() if line.startswith(f"| {label}")]
        assert "| training" in line
        assert "4 of 15" in line
        assert "812" in line
        assert "gpu-1, gpu-2 and 1 more" in line
        assert out.rstrip().endswith("--watch")
        mine.tell(state="waiting", waiting_for="2 GPUs of kind A100", since=time.time() - 240)
        time.sleep(1.2)
        _, out, _ = clibd_sweep("status", "--runs", str(runs))
        assert "waiting for 2 GPUs of kind A100, 4:0" in out


def test_a_lease_is_live_when_it_beats_and_to_whoever_looks_twice_whatever_clocks_say(
    asked: AskedSweep, runs: Folder, clibd_sweep: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = asked.wanted[0].label
    left = another(asked.begin(0).folder)
    end, clock = beating(left), time.time
    try:
        assert states(clibd_sweep, runs)[label]["state"] == "starting"
        for skew in (600.0, -600.0):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("results.sweep_status.time.time", lambda skew=skew: clock() + skew)
                statuses = Statuses(runs)
                for expected in ("interrupted", "starting"):
                    assert {one.label: one.state for one in statuses.read()}[label] == expected
                    time.sleep(1.5)
    finally:
        end()
    time.sleep(3.2)
    point = states(clibd_sweep, runs)[label]
    assert point["state"] == "interrupted"
    assert point["silence"] > 3
    monkeypatch.setattr(commands.sweep_status, "_SILENT", 1.0)
    _, out, _ = clibd_sweep("status", "--runs", str(runs))
    assert "interrupted, no beat for 0:" in out


def test_a_run_whose_process_is_known_to_be_gone_is_interrupted_at_once(
    asked: AskedSweep, runs: Folder, clibd_sweep: Command
) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    another(asked.begin(0).folder, machine=machine(), pid=int(gone.stdout))
    assert states(clibd_sweep, runs)[asked.wanted[0].label]["state"] == "interrupted"


def test_attempts_say_where_how_often_and_what_went_wrong(
    asked: AskedSweep, runs: Folder, clibd_sweep: Command
) -> None:
    run = asked.begin(0)
    attempts = Attempts(run.folder)
    for hosts, outcome, reason in (
        (["a", "b"], "lost", "the node a was lost"),
        (["b", "c"], "failed", "no room\nleft"),
    ):
        number = attempts.begin(2)
        attempts.place(number, hosts)
        attempts.keep_log(number, 0, f"began on {hosts[0]}\n".encode())
        attempts.keep_log(number, 1, f"began on {hosts[1]}\n".encode())
        attempts.end(number, outcome, reason, "Traceback (most recent call last):\n  …\nOSError: no room left\n")  # type: ignore[arg-type]
    point = states(clibd_sweep, runs)[asked.wanted[0].label]
    assert (point["restarts"], point["hosts"], point["error"]) == (1, ["b", "c"], "no room left")
    code, out, err = clibd_sweep("logs", run.id, "--runs", str(runs))
    assert (code, err) == (0, "")
    assert "attempt 1: began 20" in out
    assert re.search(r"2 worker\(s\) on a, b; lost after 0:0\d: the node a was lost", out)
    assert "OSError: no room left" in out
    assert "--- worker 1 on c, attempt 2 ---\nbegan on c" in out
    assert "began on a" not in out
    assert out.rstrip().endswith("now: nobody is at it; the command that began it goes on with it")
    _, out, _ = clibd_sweep("logs", run.id[:-2], "--runs", str(runs), "--attempt", "1", "--worker", "0")
    assert "began on a" in out
    assert "began on b" not in out
    code, _, err = clibd_sweep("logs", run.id, "--runs", str(runs), "--attempt", "7")
    assert (code, "there are 1, 2" in err) == (2, True)
    code, _, err = clibd_sweep("logs", run.id, "--runs", str(runs), "--worker", "7")
    assert (code, "there are workers 0, 1" in err) == (2, True)


def test_logs_of_a_run_without_attempts_say_what_is_known(
    asked: AskedSweep, runs: Folder, clibd_sweep: Command
) -> None:
    run = asked.begin(0)
    run.finish("failed", reason="ValueError: odd", traceback="Traceback …\nValueError: odd\n")
    code, out, _ = clibd_sweep("logs", asked.wanted[0].label, "--runs", str(runs))
    assert code == 0
    assert "No attempts are kept" in out
    assert out.endswith("now: failed: ValueError: odd\nTraceback …\nValueError: odd\n")


def test_a_name_of_no_run_or_of_several_is_misuse(asked: AskedSweep, runs: Folder, clibd_sweep: Command) -> None:
    ids = [asked.begin(number).id for number in range(2)]
    code, _, err = clibd_sweep("logs", ids[0][:4], "--runs", str(runs))
    assert code == 2
    assert all(name in err for name in ids)
    code, _, err = clibd_sweep("logs", "no-such-run", "--runs", str(runs))
    assert code == 2
    assert "clibd-sweep status" in err


def test_a_point_lies_where_another_sweep_made_it(asked: AskedSweep, runs: Folder, clibd_sweep: Command) -> None:
    asked.begin(0, sweep="amp").finish("finished")
    label = asked.wanted[0].label
    assert states(clibd_sweep, runs, "batch-size")[label]["state"] == "finished"
    assert list(states(clibd_sweep, runs, "amp")) == [label]


def test_status_of_what_is_not_there_says_so(runs: Folder, clibd_sweep: Command) -> None:
    code, out, err = clibd_sweep("status", "--runs", str(runs))
    assert (code, out) == (2, "")
    assert "--runs" in err


def test_damaged_files_hide_nothing_else(asked: AskedSweep, runs: Folder, clibd_sweep: Command) -> None:
    asked.begin(0).finish("finished")
    for number, name in enumerate(("lease.json", "status.json", "events.jsonl"), start=1):
        asked.begin(number).folder.write(name, b"\xff\x00 not json")
    (runs / "lora").write("points.json", b"{")
    asked.begin(0, "lora")
    found = states(clibd_sweep, runs)
    assert found[asked.wanted[0].label]["state"] == "finished"
    assert len(found) == 5


def test_watching_says_what_changes_and_ends_with_the_sweep(
    asked: AskedSweep, runs: Folder, clibd_sweep: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    todo = [asked.begin(number) for number in range(len(asked.wanted))]
    others = [run for run in asked.points.distinct if run not in {point.id for point in asked.wanted}]
    assert others == []

    def sleep(seconds: float) -> None:
        todo.pop().finish("finished")

    monkeypatch.setattr("commands.sweep_status.time.sleep", sleep)
    code, out, _ = clibd_sweep("status", "batch-size", "--runs", str(runs), "--watch")
    assert code == 0
    counts = [line for line in out.splitlines() if line.startswith("5 points:")]
    assert [f"{number} finished" in line for number, line in enumerate(counts)] == [False] + [True] * len(asked.wanted)
    code, out, _ = clibd_sweep("status", "batch-size", "--runs", str(runs), "--watch", "--format", "json")
    assert [json.loads(line)["totals"]["finished"] for line in out.splitlines()] == [len(asked.wanted)]


def test_status_and_logs_are_no_names_of_sweeps(clibd_sweep: Command, tmp_path: Path) -> None:
    _, out, _ = clibd_sweep("--help")
    assert "status" in out
    assert "logs" in out
    for name in ("status", "logs"):
        code, _, err = clibd_sweep("new", name)
        assert (code, "choose another name" in err) == (2, True)


def test_status_loads_neither_ray_nor_torch() -> None:
    program = (
        "import sys, results.sweep_status, results.run_logs, commands.sweep_status\n"
        "print(sorted({'ray', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
