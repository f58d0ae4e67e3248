"""Trials under Ray Tune, to their ends: where they sit, how many go side by side, and what the loss of one costs.

A trial is a light driver: it waits for workers or for a task. It sits on the node of the command itself, which it would
not outlive anyway, so that losing other nodes loses no driver, and Tune's own files need no place that all nodes see.
"""

import fcntl
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator.messages import ask_to_stop
from workloads.run_errors import LostDriverError
from workloads.stopping import Stop

SEED = 42
"""Of what is drawn."""
_LOSSES = 5
"""Losses of a driver in a row that a trial survives without any progress between them."""
_GRACE = 6.0
"""Seconds for the runs to save what they have, of `PATIENCE`."""
PATIENCE = 8.0
"""Seconds in which a command is to end, after which it stands in something that ended before it."""
_LOOK_EVERY = 5.0
"""Seconds between two looks at how many go side by side."""
_QUIET, _REST = 0.1, 0.4
"""Seconds of Tune's loop in which nothing came, and those that it then rests: by itself it would look ten times a
second."""
_PREFIX = "clibd-ray-"


class Turns:
    """How many trials go side by side, looked at again as nodes come and go; none begins once a stop was asked for."""

    def __init__(self, at_once: Callable[[], int], stop: Stop) -> None:
        self._look, self._stop = at_once, stop
        self._limit, self._looked = 1, float("-inf")
        self._asked: float | None = None
        self._turned = 0.0

    @property
    def limit(self) -> int:
        """Of trials side by side, at least 1."""
        now = time.monotonic()
        if now - self._looked > _LOOK_EVERY:
            self._limit, self._looked = max(1, self._look()), now
        return self._limit

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._asked is not None

    def on_step_begin(self, trials: Sequence[Any], **info: Any) -> None:
        """Tune's, before every turn of its loop.

        Raises:
            KeyboardInterrupt: it was asked to stop, and every run has saved what it has, or had time to.
        """
        running = [trial for trial in trials if trial.status == "RUNNING"]
        now = time.monotonic()
        if self._asked is None and (reason := self._stop()):
            self._asked = now
            for trial in trials:
                trial.max_failures = 0  # what ends now does not begin again
            ask_to_stop(reason)
        if self._asked is None:
            time.sleep(_REST if now - self._turned > _QUIET else 0.0)
            self._turned = time.monotonic()
        elif not running or now - self._asked > _GRACE:
            raise KeyboardInterrupt  # no Exception, for which Tune would wait and tidy up by itself


class Losses:
    """What became of drivers: one that is lost starts again, unless it is lost again and again without progress.

    Args:
        progress: of the run with this configuration; any value that changes when there is some.
    """

    def __init__(self, progress: Callable[[Mapping[str, Any]], object]) -> None:
        self._progress = progress
        self._before: dict[str, object] = {}

    def on_trial_recover(self, trial: Any, **info: Any) -> None:
        """Tune's, when a trial failed and is about to start again: decides which failure of it would be the last."""
        from ray.exceptions import RayTaskError

        before, now = self._before.get(trial.trial_id), self._progress(trial.config)
        self._before[trial.trial_id] = now
        own = isinstance(pickle.loads(Path(trial.pickled_error_file).read_bytes()), RayTaskError)
        # An error of its own would come again, so that it is tried once more; what kills a driver may be gone.
        if own:
            trial.max_failures = trial.num_failures
        elif before is None or now != before:
            trial.max_failures = trial.num_failures + _LOSSES


def run_trials(
    trial: Callable[[Mapping[str, Any]], None],
    space: Mapping[str, Any],
    turns: Turns,
    losses: Losses,
    callbacks: Sequence[Any],
    searcher: Any = None,
    **how: Any,
) -> Any:
    """Run trials with Tune, to their ends.

    Args:
        trial: what one does with its configuration.
        space: of their configurations.
        turns: how many go side by side, and whether to go on.
        losses: what becomes of lost drivers.
        callbacks: Tune's, beside those of `turns` and `losses`.
        searcher: that learns where to draw from `space`, or None to draw without learning.
        how: Tune is to search, where it is.

    Returns:
        Tune's results, one a trial.

    Raises:
        KeyboardInterrupt: it was asked to stop.
    """
    from ray import tune

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C is ours: Tune would kill what has not saved yet
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "1000"  # `turns` decides
    ours = tune_callback(on_step_begin=turns.on_step_begin, on_trial_recover=losses.on_trial_recover)
    with scratch_folder() as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trial, beside_the_command()),
            param_space=dict(space),
            tune_config=tune.TuneConfig(
                search_alg=_in_turns(turns, searcher), trial_dirname_creator=lambda t: f"trial_{t.trial_id}", **how
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(scratch),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=_LOSSES),
                callbacks=[ours, *callbacks],
            ),
        )
        return tuner.fit()


def how_it_was_lost(run: str, error: Exception) -> str:
    """Why a trial has no end of its own, in a sentence."""
    from ray.exceptions import RayActorError

    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    return str(LostDriverError(run, _LOSSES + 1, last)) if isinstance(error, RayActorError) else last


def beside_the_command() -> dict[str, float]:
    """What a driver takes: no processor, and the node on which the command itself runs."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    resources = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == here)
    names = [name for name in resources if name.startswith("node:")]
    return {"cpu": 0, min(names, key=lambda name: not name.startswith("node:__")): 0.001}  # the head by its own name


def tune_callback(**told: Callable[..., None]) -> Any:
    """A callback of Tune that calls what it is given, by the names of Tune's own methods, such as `on_trial_result`."""
    from ray import tune

    class Feed(tune.Callback):  # type: ignore[misc] # Ray ships no types here
        def __getstate__(self) -> dict[str, Any]:
            return {}  # Tune pickles its callbacks; who is told belongs to this process

    feed = Feed()
    feed.__dict__.update(told)
    return feed


def _in_turns(turns: Turns, searcher: Any) -> Any:
    """Tune's search algorithm, whose limit of trials side by side is read anew each time."""
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.basic_variant import BasicVariantGenerator

    limit = property(lambda _: turns.limit, lambda _, __: None)

    class Unkept:
        """Tune keeps what it could go on with; we never do, as run folders say all."""

        def __reduce__(self) -> tuple[type, tuple[()]]:
            return object, ()

    class Drawn(Unkept, BasicVariantGenerator):  # type: ignore[misc] # Ray ships no types here
        max_concurrent = limit

        def next_trial(self) -> Any:
            return None if turns.stopping else super().next_trial()

    class Learnt(Unkept, ConcurrencyLimiter):  # type: ignore[misc] # nor here
        max_concurrent = limit

        def suggest(self, trial_id: str) -> Any:
            return None if turns.stopping else super().suggest(trial_id)

    return Drawn(random_state=SEED) if searcher is None else Learnt(searcher, max_concurrent=1)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for Ray's own files, which are of no further use; those that killed processes left go away first."""
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError), (left / "lock").open("r+b") as lock:  # of another user, or being made
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # whoever lives still holds it
            shutil.rmtree(left, ignore_errors=True)
    made = tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)
    with made as scratch, (Path(scratch) / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(scratch)
