"""Tells Weights & Biases of one run, from the run's own log, in a process of its own.

The log, events.jsonl, has every point. Which of them W&B has, it says itself when a run is resumed, and it is told the
rest: so a point arrives once, however often this ends or is begun again. A step's row is told when nothing more can
come to it: W&B takes no second part of a row that it has stored.
"""

import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

import typer

from workloads.command_line import run_program
from workloads.errors import ClibdError, UsageError, first_line
from workloads.record import RunFolder
from workloads.spec import spec_to_dict
from workloads.storage import Folder

PATIENCE = "CLIBD_WANDB_PATIENCE"
"""The setting of the environment for `patience`."""
_LOOK, _SHARE = 5.0, 100
"""Seconds between two looks at the log; and how many times as long as a look took, at least."""
_TRY_AGAIN = (5.0, 60.0)
"""Seconds from one attempt to reach W&B to the next, which double."""
_REFUSED = re.compile(r"\b(401|403)\b|api[_ ]key", re.IGNORECASE)


def patience() -> float:
    """Seconds that W&B has at the end of a run for what is still under way; 4, where nobody wants it otherwise."""
    try:
        return max(0.0, float(os.environ.get(PATIENCE, "")))
    except ValueError:
        return 4.0


class UntoldError(ClibdError):
    """W&B has not got all points of a run."""

    sentence = "Weights & Biases was not told of all of {0}: {1}. Its log has every point; try again later."

    def __init__(self, run: str, reason: str, /) -> None: ...


def tell(
    run: Annotated[str, typer.Argument(help="The folder of a run.")],
    offline: Annotated[bool, typer.Option("--offline", help="Write it down for `wandb sync` instead.")] = False,
    beside: Annotated[bool, typer.Option("--beside", hidden=True)] = False,
) -> None:
    """Tell Weights & Biases every point of a run that it has not got."""
    folder = RunFolder(Folder(run))
    if not folder.folder.has("spec.json"):
        raise UsageError(f"{run}: no run there; name a run folder, RUNS/SWEEP/RUN")
    if not beside:
        _tell(folder, _Alone(), offline=offline)
        return
    told = _Beside()
    try:
        _tell(folder, told, offline=offline)
    except Exception as error:
        if not told.over(0.0) or offline:  # else the training says it, with what to do
            told.say(str(error) if isinstance(error, ClibdError) else f"Weights & Biases: {first_line(error)}")
        raise typer.Exit(1) from error


def _tell(folder: RunFolder, told: "_Alone", *, offline: bool) -> None:
    """Tell all; of what cannot be told, why.

    Raises:
        UntoldError: something was not told.
    """
    run = str(folder.folder)
    try:
        import wandb  # noqa: F401
    except ImportError as error:
        raise UntoldError(run, f"its library cannot be imported ({first_line(error)}); `pip install wandb`") from error
    if offline:
        theirs = _begun(folder, "offline")
        _log(theirs, _rows(folder, whole=True))
        theirs.finish(exit_code=0)
        told.say(
            f"what Weights & Biases is to be told of {run} is kept; `wandb sync {theirs.settings.sync_dir}` does so"
        )
        return
    theirs = _reached(folder, told)
    last = _told_while_it_lasts(folder, theirs, told)
    theirs.finish(exit_code=told.exit_code)
    if not _has(theirs.path, last):
        raise UntoldError(run, "it did not answer in time")


class _Alone:
    """By hand: everything is there, and is told once."""

    exit_code = 0
    patient = False

    def say(self, words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    def over(self, seconds: float) -> bool:
        """Whether the run has ended; waits for it."""
        return True


class _Beside(_Alone):
    """Beside a training, until that ends: its end of the pipe is closed then, whatever ended it."""

    patient = True

    def __init__(self) -> None:
        """Say nothing but our own words: W&B's are many, and tracebacks among them."""
        os.nice(10)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._words = os.fdopen(os.dup(2), "w")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        self._over = threading.Event()
        threading.Thread(target=self._listen, name="listen", daemon=True).start()

    def say(self, words: str) -> None:
        with suppress(OSError):  # nobody reads any more
            print(words, file=self._words, flush=True)

    def over(self, seconds: float) -> bool:
        return self._over.wait(seconds)

    def _listen(self) -> None:
        self.exit_code = 0 if sys.stdin.read().strip() == "finished" else 1
        self._over.set()
        time.sleep(patience() + 2)  # also where whoever began this cannot end it any more
        os._exit(1)


def _begun(run: RunFolder, mode: Literal["online", "offline"]) -> Any:
    """Their run for ours, which has its id for ever."""
    import wandb

    place = run.folder.path if run.folder.is_local else os.environ.get("WANDB_DIR", tempfile.gettempdir())
    settings = wandb.Settings(
        init_timeout=60,
        finish_timeout=patience(),
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        x_save_requirements=False,
        x_stats_pid=os.getppid(),
    )
    return wandb.init(
        project=os.environ.get("WANDB_PROJECT", "clibd"),
        name=run.id,
        group=run.point().get("sweep"),
        id=run.id[-64:],
        config=spec_to_dict(run.spec()),
        mode=mode,
        dir=place,
        resume="allow" if mode == "online" else None,
        settings=settings,
    )


def _reached(run: RunFolder, told: _Alone) -> Any:
    """Their run, however long it takes to reach them while the training lasts.

    Raises:
        UntoldError: they refuse the key, or the training has ended.
    """
    import wandb

    wait, said = _TRY_AGAIN[0], False
    while True:
        try:
            theirs = _begun(run, "online")
            told.say(f"Weights & Biases: {theirs.url}")
            return theirs
        except Exception as error:
            reason = first_line(error)
            if _REFUSED.search(str(error)):
                raise UntoldError(
                    str(run.folder), f"it refuses the key, or there is none ({reason}); see `wandb login`"
                ) from error
            if told.over(0.0):
                raise UntoldError(str(run.folder), reason) from error
            if not said:
                told.say(f"Weights & Biases cannot be reached ({reason}); the training goes on, and it is tried again")
            said = True
        with suppress(Exception):
            wandb.teardown()
        told.over(wait)
        wait = min(2 * wait, _TRY_AGAIN[1])


def _told_while_it_lasts(run: RunFolder, theirs: Any, told: _Alone) -> int:
    """Log what they lack until the run ends; gives the last step that they should have, -1 without any."""
    last = int(theirs.starting_step) - 1
    while True:
        over = told.over(0.0)  # asked first: what is logged until then is read afterwards
        began = time.monotonic()
        rows = [(step, values) for step, values in _rows(run, whole=False) if step > last]
        _log(theirs, rows)
        last = max([last, *(step for step, _ in rows)])
        if over:
            return last
        told.over(max(_LOOK, _SHARE * (time.monotonic() - began)))


def _rows(run: RunFolder, *, whole: bool) -> list[tuple[int, dict[str, float]]]:
    """What is logged of each step: an epoch is under the step that ended it.

    Args:
        run: whose log it is.
        whole: whether the last step too, to which an epoch's end may yet come.
    """
    rows: dict[int, dict[str, float]] = {}
    try:
        events = run.events()
    except (ClibdError, OSError, ValueError):  # the next look may find it whole
        return []
    for event in events:
        kind = {"step": "train", "epoch": "epoch"}[event["event"]]
        values = {f"{kind}/{name}": value for name, value in event.items() if isinstance(value, float)}
        rows.setdefault(event["step"], {}).update(values)
    if rows and not whole and events[-1]["event"] == "step":
        del rows[events[-1]["step"]]
    return sorted(rows.items())


def _log(theirs: Any, rows: Sequence[tuple[int, dict[str, float]]]) -> None:
    for step, values in rows:
        theirs.log(values, step)


def _has(path: str, last: int) -> bool:
    """Whether they say that they have a step; they may take a moment to count it."""
    import wandb

    deadline = time.monotonic() + patience() / 2
    while last >= 0:
        with suppress(Exception):
            if wandb.Api(timeout=2).run(path).lastHistoryStep >= last:
                break
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


app = typer.Typer(pretty_exceptions_enable=False)
app.command()(tell)

if __name__ == "__main__":
    run_program(app)
