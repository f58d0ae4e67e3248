"""How a command ends: a sentence and an exit code, whatever went wrong."""

import errno

import pytest

from workloads.command_line import run_command
from workloads.errors import SourceError, UsageError


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (UsageError("name a file"), 2, "error: name a file"),
        (SourceError("a.tsv", "line 3", "cut off"), 1, "error: a.tsv, line 3: cut off"),
        (OSError(errno.ENOSPC, "No space left on device", "data/x"), 1, "No space left on device: 'data/x'. Start"),
        (KeyboardInterrupt(), 130, "start the same command again"),
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
