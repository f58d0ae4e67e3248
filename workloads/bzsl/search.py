"""Which setting is best on validation: the published grid, or a search over a far larger space.

The test partition is never looked at here. All settings share one fitted model, so that a setting costs little more
than its logarithms.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from workloads.bzsl.features import Features
from workloads.bzsl.model import Model, Tell
from workloads.bzsl.scoring import Score, best_of, query_images, scores
from workloads.bzsl.settings import Form, Setting, Space
from workloads.errors import ZeroShotError

if TYPE_CHECKING:
    from optuna import Trial

PUBLISHED_HOURS = 4.0
"""What the published grid took (CLIBD, B.2)."""

TellTrial = Callable[[int, Score, Score], None]
"""Takes the number of trials done, the last score and the best one."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """Every setting that was tried, in that order, with what it scored on validation."""

    settings: tuple[Setting, ...]
    scores: tuple[Score, ...]
    seconds: float

    @property
    def best(self) -> int:
        """The first setting with the highest harmonic mean."""
        return best_of(self.scores)


def tune_on_grid(
    features: Features, settings: Sequence[Setting], num_components: int, form: Form, tell: Tell | None = None
) -> Tuned:
    """Score settings on the validation queries, all in one pass.

    Raises:
        ZeroShotError: no setting is given, or one cannot be used with these features.
    """
    if not settings:
        raise ZeroShotError("there is no setting to try", "Give one at least.")
    started = time.perf_counter()
    model = Model(features, features.tuning, num_components, form)
    predicted = model.predict(model.batches(query_images(features, features.tuning)), settings, tell)
    found = scores(features, features.tuning, predicted)
    return Tuned(tuple(settings), tuple(found), time.perf_counter() - started)


def tune_freely(
    features: Features,
    num_components: int,
    form: Form,
    seed: int,
    num_trials: int | None = None,
    hours: float | None = None,
    start: Sequence[Setting] = (),
    space: Space | None = None,
    tell: TellTrial | None = None,
) -> Tuned:
    """Score settings that a tree-structured Parzen estimator proposes (Optuna's TPE), one after another.

    Args:
        features: of which the tuning partition is used.
        num_components: principal components.
        form: of the model.
        seed: of the proposals; with it and a number of trials the search is reproducible.
        num_trials: after which it ends; None: only the time ends it.
        hours: after which no further trial begins. Default: 4 without a number of trials, as the paper took.
        start: settings to try first, those of them that are within the bounds.
        space: bounds. Default: `Space()`, with no more surrogates than there are seen species.
        tell: is told of every trial.
    """
    import optuna

    if num_trials is None and hours is None:
        hours = PUBLISHED_HOURS
    started = time.perf_counter()
    model = Model(features, features.tuning, num_components, form)
    queries = model.batches(query_images(features, features.tuning), keep=True)
    bounds = (space or Space()).fitted(model.species.size, len(model.species.numbers))
    tried: list[Setting] = []
    found: list[Score] = []

    def objective(trial: optuna.Trial) -> float:
        tried.append(_proposed(trial, bounds))
        found.extend(scores(features, features.tuning, model.predict(queries, tried[-1:])))
        if tell is not None:
            tell(len(found), found[-1], found[best_of(found)])
        return found[-1].harmonic_mean

    quiet = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        for setting in start:
            if bounds.holds(setting):
                study.enqueue_trial(asdict(setting))
        study.optimize(objective, n_trials=num_trials, timeout=None if hours is None else hours * 3600)
    finally:
        optuna.logging.set_verbosity(quiet)
    if not found:
        raise ZeroShotError("the time was over before a setting was tried", "Allow more hours or ask for trials.")
    return Tuned(tuple(tried), tuple(found), time.perf_counter() - started)


def _proposed(trial: "Trial", bounds: Space) -> Setting:
    return Setting(
        kappa0=trial.suggest_float("kappa0", *bounds.kappa0, log=True),
        kappa1=trial.suggest_float("kappa1", *bounds.kappa1, log=True),
        m=trial.suggest_float("m", *bounds.m, log=True),
        s=trial.suggest_float("s", *bounds.s, log=True),
        num_surrogates=trial.suggest_int("num_surrogates", *bounds.num_surrogates),
    )
