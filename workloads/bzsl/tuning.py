"""Which setting is best on validation: the published grid, or a search over a far larger space.

The test partition is never looked at here. All settings share one fitted model, so that a setting costs little more
than its logarithms.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from workloads.bzsl.model import SurrogateModel
from workloads.bzsl.scoring import Score, scores
from workloads.bzsl.settings import ScaleForm, Setting
from workloads.bzsl.task import ZeroShotTask
from workloads.command_line import Tell
from workloads.errors import ZeroShotError

if TYPE_CHECKING:
    from optuna import Trial

PUBLISHED_HOURS = 4.0
"""What the published grid took (CLIBD, B.2)."""
_BOUNDS = {"kappa0": (1e-3, 1e2), "kappa1": (1e-2, 1e3), "m": (2.0, 1e4), "s": (0.1, 100.0)}
"""Bounds of the free search, on a logarithmic scale."""
_MOST_SURROGATES = 10


@dataclass(frozen=True, slots=True)
class Tuned:
    """Every setting that was tried, in that order, with what it scored on validation."""

    settings: tuple[Setting, ...]
    scores: tuple[Score, ...]
    seconds: float

    @property
    def best(self) -> int:
        """The first setting with the highest harmonic mean."""
        return int(np.argmax([score.harmonic_mean for score in self.scores]))


def tune_on_grid(
    task: ZeroShotTask,
    settings: Sequence[Setting],
    num_components: int,
    form: ScaleForm,
    tell: Tell | None = None,
) -> Tuned:
    """Score settings on the validation queries, all in one pass.

    Args:
        task: of which the tuning partition is used.
        settings: one at least.
        num_components: principal components; 0: the features as they are.
        form: of the model.
        tell: takes how many of how many queries are done.

    Raises:
        ZeroShotError: a setting cannot be used with these features.
    """
    started = time.perf_counter()
    model = SurrogateModel(task, task.tuning, num_components, form)
    scored = scores(task, task.tuning, model.predict(settings, tell))
    return Tuned(tuple(settings), tuple(scored), time.perf_counter() - started)


def tune_freely(
    task: ZeroShotTask,
    num_components: int,
    form: ScaleForm,
    seed: int,
    num_trials: int | None = None,
    hours: float | None = None,
    start: Sequence[Setting] = (),
    tell: Callable[[int, Score], None] = lambda done, best: None,
) -> Tuned:
    """Score settings that a tree-structured Parzen estimator proposes (Optuna's TPE), one after another.

    Args:
        task: of which the tuning partition is used.
        num_components: principal components; 0: the features as they are.
        form: of the model.
        seed: of the proposals; with it and a number of trials the search is reproducible.
        num_trials: after which it ends; None: only the time ends it.
        hours: after which no further trial begins. Default: 4 without a number of trials, as the paper took.
        start: settings to try first, those of them that are within the bounds.
        tell: takes the number of trials done and the best score, after every trial.
    """
    import optuna

    if num_trials is None and hours is None:
        hours = PUBLISHED_HOURS
    started = time.perf_counter()
    model = SurrogateModel(task, task.tuning, num_components, form, keep=True)
    least = 1 + 2 / model.species.size  # degrees of freedom for all components
    bounds = _BOUNDS | {"m": (max(_BOUNDS["m"][0], least), _BOUNDS["m"][1])}
    most = min(_MOST_SURROGATES, len(model.species.numbers))
    tried: list[Setting] = []
    scored: list[Score] = []

    def objective(trial: "Trial") -> float:
        proposed = {name: trial.suggest_float(name, *limits, log=True) for name, limits in bounds.items()}
        tried.append(Setting(**proposed, num_surrogates=trial.suggest_int("num_surrogates", 1, most)))
        scored.extend(scores(task, task.tuning, model.predict(tried[-1:])))
        tell(len(scored), max(scored, key=lambda score: score.harmonic_mean))
        return scored[-1].harmonic_mean

    quiet = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        for setting in start:
            in_bounds = all(low <= getattr(setting, name) <= high for name, (low, high) in bounds.items())
            if in_bounds and setting.num_surrogates <= most:
                study.enqueue_trial(asdict(setting))
        study.optimize(objective, n_trials=num_trials, timeout=None if hours is None else hours * 3600)
    finally:
        optuna.logging.set_verbosity(quiet)
    if not scored:
        raise ZeroShotError("the time was over before a setting was tried", "Allow more hours or ask for trials.")
    return Tuned(tuple(tried), tuple(scored), time.perf_counter() - started)
