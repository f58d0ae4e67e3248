"""Log-likelihoods of the surrogate-species model themselves, of which predictions keep only the largest."""

import numpy as np

from workloads.arrays import Doubles
from workloads.bzsl.model import SurrogateModel
from workloads.bzsl.settings import Setting


def model_log_likelihoods(model: SurrogateModel, setting: Setting) -> Doubles:
    """Log-likelihood of each of the model's queries under each of its candidates, (queries, candidates)."""
    likelihoods = np.empty((len(model.candidates), len(model.queries)))
    for _, candidates in model.passes([setting]):
        for which, batch in model.batches():
            for some in candidates:
                for _, first, values in some.log_likelihoods(batch):
                    likelihoods[first : first + len(values), which] = values
    return np.ascontiguousarray(likelihoods.T)
