"""How a command shows its work, and how it ends: a sentence and an exit code, whatever went wrong."""

import errno
import io
import os
import signal
import subprocess
import sys

import pytest
import typer
from rich.console import Console
from rich.progress import TextColumn

from workloads.command_line import Bars, clock, counting, run_command
from workloads.errors import SourceError, UsageError
from workloads.run_errors import StoppedError


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (UsageError("name a file"), 2, "error: name a file"),
        (SourceError("a.tsv", "line 3", "cut off"), 1, "error: a.tsv, line 3: cut off"),
        (OSError(errno.ENOSPC, "No space left on device", "data/x"), 1, "make room there: 'data/x'. Start"),
        (KeyboardInterrupt(), 130, "interrupted; start the same command again"),
        (StoppedError("interrupted", 7), 130, "interrupted: saved after step 7; start the same command again to go on"),
        (StoppedError("preempted", 7), 143, "preempted: saved after step 7"),
    ],
)
def test_a_command_ends_with_a_sentence(
    problem: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise problem

    with pytest.raises(SystemExit) as ended:
        run_command(command)
    assert ended.value.code == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert (shown.out, "Traceback" in shown.err) == ("", False)


def test_without_a_terminal_progress_is_a_line_now_and_then_and_when_one_is_due() -> None:
    for line_every, expected in ((1000.0, ["2 of 3"]), (0.0, ["1 of 3", "2 of 3", "3 of 3"])):
        told = io.StringIO()
        with Bars(Console(file=told), TextColumn("{task.completed}"), line_every=line_every) as bars:
            task = bars.add_task("work", total=3)
            for done in (1, 2, 3):
                bars.show(task, f"{done} of 3", due=done == 2, completed=done)
        assert told.getvalue().split("\n")[:-1] == expected


def test_on_a_terminal_progress_is_a_bar() -> None:
    told = io.StringIO()
    with counting(Console(file=told, force_terminal=True, width=100), "Reading a.tsv", "specimens") as tell:
        tell(2, 3)
    assert "2/3" in told.getvalue()
    assert told.getvalue().endswith("Reading a.tsv: done\n")


def test_work_that_counts_says_first_what_it_is() -> None:
    told = io.StringIO()
    with counting(Console(file=told), "Reading a.tsv", "specimens") as tell:
        tell(2, None)  # no line is due yet
    assert told.getvalue() == "Reading a.tsv\n"


@pytest.mark.parametrize(("seconds", "expected"), [(0.4, "0:00"), (61.0, "1:01"), (3599.6, "1:00:00")])
def test_a_clock_has_hours_only_where_there_are_any(seconds: float, expected: str) -> None:
    assert clock(seconds) == expected


def test_a_typer_command_that_is_interrupted_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()

    @app.command()
    def work() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["work"])
    with pytest.raises(SystemExit) as end:
        run_command(app)
    assert end.value.code == 130
    assert "start the same command again" in capsys.readouterr().err


def test_sigterm_ends_a_command_as_ctrl_c_does_but_for_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    closed: list[str] = []

    def command() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            closed.append("what was open")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        run_command(command)
    assert (ended.value.code, closed) == (143, ["what was open"])
    assert capsys.readouterr().err.startswith("terminated; start the same command again to go on from here: ")
    assert signal.getsignal(signal.SIGTERM) == before


def test_work_goes_on_where_nobody_reads_of_it_any_more() -> None:
    code = (
        "import sys; from workloads.command_line import stderr_console; console = stderr_console()\n"
        "sys.stdin.readline(); [console.print('x' * 100) for _ in range(3)]; print('to the end')"
    )
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stderr.close()
        process.stdin.close()
        assert process.stdout.read() == "to the end\n"
    assert process.returncode == 0
