"""Optimiser and learning rate: what each field of the spec does."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim import Adam, AdamW

from workloads.recipes import with_recipe
from workloads.spec import ExperimentSpec
from workloads.training.optimization import build_optimizer, build_schedule, max_learning_rate

SPEC = ExperimentSpec(dataset="d", data_fingerprint="f", max_learning_rate=3e-3, initial_learning_rate=1e-3)


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    layers.register_parameter("log_scale", nn.Parameter(torch.tensor(2.0)))
    return layers


def rates(spec: ExperimentSpec, steps: int) -> list[float]:
    optimizer = build_optimizer(spec, model())
    schedule = build_schedule(spec, optimizer, steps)
    found = []
    for _ in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return found


def test_the_learning_rate_goes_up_to_its_maximum_and_down_again() -> None:
    found = rates(SPEC, 100)
    assert found[0] == pytest.approx(1e-3)
    assert max(found) == pytest.approx(3e-3)
    assert found.index(max(found)) == 29
    assert found[-1] < 1e-6


def test_a_constant_learning_rate_stays() -> None:
    assert rates(replace(SPEC, schedule="constant"), 5) == [3e-3] * 5


def test_the_whole_curve_grows_with_the_batch_where_the_spec_says_so() -> None:
    plain, scaled = (
        rates(replace(SPEC, batch_size=2000, learning_rate_scaling=scaling), 20) for scaling in ("none", "linear")
    )
    assert scaled == pytest.approx([4 * rate for rate in plain])


def test_the_authors_curve_is_that_of_their_code() -> None:
    spec = with_recipe(ExperimentSpec(dataset="d", data_fingerprint="f", batch_size=2000), "authors")
    theirs = AdamW([nn.Parameter(torch.zeros(1))])
    schedule = torch.optim.lr_scheduler.OneCycleLR(theirs, max_lr=5e-5 * 4, total_steps=50, cycle_momentum=False)
    expected = []
    for _ in range(50):
        expected.append(schedule.get_last_lr()[0])
        theirs.step()
        schedule.step()
    assert rates(spec, 50) == pytest.approx(expected)
    assert max_learning_rate(spec) == pytest.approx(2e-4)


def test_the_papers_optimiser_is_adam_and_the_others_adamw() -> None:
    assert type(build_optimizer(replace(SPEC, optimizer="adam"), model())) is Adam
    assert type(build_optimizer(SPEC, model())) is AdamW


@pytest.mark.parametrize(
    ("decayed", "names"),
    [("weights", {"0.weight"}), ("everything", {"0.weight", "0.bias", "1.weight", "1.bias", "log_scale"})],
)
def test_weights_decay_and_the_rest_only_where_the_spec_says_so(decayed: str, names: set[str]) -> None:
    layers = model()
    optimizer = build_optimizer(replace(SPEC, decayed=decayed), layers)  # type: ignore[arg-type] # one of two words
    decays = {id(parameter): group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    assert {name for name, p in layers.named_parameters() if decays[id(p)] == SPEC.weight_decay} == names
    assert len(decays) == 5


def test_what_is_frozen_is_not_optimised() -> None:
    layers = model()
    layers.get_submodule("0").requires_grad_(False)
    assert sum(len(group["params"]) for group in build_optimizer(SPEC, layers).param_groups) == 3
