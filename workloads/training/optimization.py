"""The optimiser and the schedule of learning rates that a spec asks for."""

from torch import nn
from torch.optim import Adam, AdamW
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from workloads.recipes import learning_rate_factor
from workloads.spec import ExperimentSpec

_RISING_SHARE = 0.3
"""Share of a one-cycle schedule's steps in which the learning rate grows (OneCycleLR's default, and the authors')."""


def build_optimizer(spec: ExperimentSpec, model: nn.Module) -> Adam:
    """AdamW or Adam over what is not frozen, fused into one kernel.

    With `decayed` "weights" the temperature, biases and norms do not decay; with "everything" they do, as in the
    authors' code.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    everything = spec.decayed == "everything"
    groups = [
        {"params": [p for p in trained if p.ndim >= 2 or everything], "weight_decay": spec.weight_decay},
        {"params": [p for p in trained if p.ndim < 2 and not everything], "weight_decay": 0.0},
    ]
    kind = AdamW if spec.optimizer == "adamw" else Adam
    return kind([group for group in groups if group["params"]], lr=max_learning_rate(spec), fused=True)


def build_schedule(spec: ExperimentSpec, optimizer: Adam, total_steps: int) -> LRScheduler:
    """One cycle from the initial to the maximal learning rate and down to a 10,000th of the initial one, or constant.

    The paper (section 4.1) gives 1e-6 to 5e-5; the authors' code starts at a 25th of a maximum that grows with the
    batch. Both are fields of the spec.
    """
    if spec.schedule == "constant":
        return LambdaLR(optimizer, lambda step: 1.0)
    return OneCycleLR(
        optimizer,
        max_lr=max_learning_rate(spec),
        total_steps=max(total_steps, 2),
        pct_start=_RISING_SHARE,
        div_factor=spec.max_learning_rate / spec.initial_learning_rate,
        cycle_momentum=False,
    )


def max_learning_rate(spec: ExperimentSpec) -> float:
    """The top of the schedule that is really used: the spec's, scaled with the batch as it says."""
    return spec.max_learning_rate * learning_rate_factor(spec)
