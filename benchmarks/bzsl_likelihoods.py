"""Log-likelihoods of the surrogate-species model themselves, of which predictions keep only the largest."""

import numpy as np

from workloads.arrays import Doubles, Floats
from workloads.bzsl.model import Model
from workloads.bzsl.plan import Plan
from workloads.bzsl.settings import Setting
from workloads.bzsl.student import Emit


def model_log_likelihoods(model: Model, images: Floats, setting: Setting) -> Doubles:
    """Log-likelihood of each query under each of the model's candidates, (queries, candidates)."""
    plan, queries = Plan(model.species, model.form, model.surrogates, [setting]), model.batches(images)
    found = np.empty((len(model.candidates), len(queries)))
    unseen, seen = np.split(found, [len(model.candidates) - len(model.species.numbers)])
    for evaluate in plan.passes():
        for start, batch in queries:
            columns = slice(start, start + len(batch.square))
            evaluate(batch, _keeping(seen[:, columns]), _keeping(unseen[:, columns]))
    return np.ascontiguousarray(found.T)


def _keeping(rows: Doubles) -> Emit:
    def keep(_: int, first: int, values: Doubles) -> None:
        rows[first : first + len(values)] = values

    return keep
