"""The whole training loop on 150 synthetic insects, without a cluster."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from workloads.data.batches import Specimens
from workloads.data.prepared import PreparedDataset
from workloads.data.schema import PROTOCOLS
from workloads.errors import NonFiniteLossError, SpecError, TooFewSpecimensError
from workloads.experiment import open_model
from workloads.models.clibd import Clibd
from workloads.spec import ExperimentSpec
from workloads.training.loop import EpochReport, Event, Save, build_optimizer, build_schedule, fit
from workloads.training.placement import Placement

PROTOCOL = PROTOCOLS["clibd"]


@dataclass
class Watcher:
    """Keeps what the loop reports, and a checkpoint of every epoch where it was given a folder."""

    folder: Path | None = None
    reports: list[EpochReport] = field(default_factory=list)
    steps: list[Event] = field(default_factory=list)

    def __call__(self, report: EpochReport, steps: Sequence[Event], save: Save) -> None:
        self.reports.append(report)
        self.steps += steps
        if self.folder is not None:
            checkpoint = self.folder / str(report.epoch)
            checkpoint.mkdir()
            save(checkpoint)


def train(
    spec: ExperimentSpec, dataset: PreparedDataset, watcher: Watcher, *, resume: Path | None = None
) -> dict[str, Tensor]:
    """The weights that training ends with."""
    model, specimens = prepared(spec, dataset)
    fit(spec, model, specimens, Placement(), resume=resume, on_epoch=watcher)
    return model.state_dict()


def prepared(spec: ExperimentSpec, dataset: PreparedDataset) -> tuple[Clibd, Specimens]:
    model, tokenizer = open_model(spec, dataset.facts.feature_size, dataset.tokenizer_json())
    return model, Specimens(dataset, PROTOCOL.training, spec, tokenizer)


def test_the_loss_falls(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    watcher = Watcher()
    spec = replace(tiny_spec, epochs=16, max_learning_rate=1e-2, modalities=("dna", "text"))
    train(spec, tiny_dataset, watcher)
    losses = [report.loss for report in watcher.reports]
    assert len(losses) == 16
    # Guessing among the 16 of a batch costs log 16.
    assert losses[0] == pytest.approx(math.log(16), abs=0.5)
    assert losses[-1] < math.log(16) - 0.5


def test_resuming_after_any_epoch_gives_the_same_weights_to_the_bit(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    watcher = Watcher(tmp_path)
    undisturbed = train(tiny_spec, tiny_dataset, watcher)
    for epoch in range(tiny_spec.epochs - 1):
        torch.manual_seed(epoch)  # the state of the process that resumes does not matter
        resumed = Watcher()
        weights = train(tiny_spec, tiny_dataset, resumed, resume=tmp_path / str(epoch))
        assert [report.epoch for report in resumed.reports] == list(range(epoch + 1, tiny_spec.epochs))
        assert [report.loss for report in resumed.reports] == [r.loss for r in watcher.reports[epoch + 1 :]]
        assert all(torch.equal(weights[name], undisturbed[name]) for name in undisturbed)


def test_resuming_after_the_last_epoch_trains_no_more(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    spec, watcher = replace(tiny_spec, epochs=1, modalities=("dna", "text")), Watcher(tmp_path)
    undisturbed = train(spec, tiny_dataset, watcher)
    resumed = Watcher()
    weights = train(spec, tiny_dataset, resumed, resume=tmp_path / "0")
    assert resumed.reports == []
    assert all(torch.equal(weights[name], undisturbed[name]) for name in undisturbed)


@pytest.mark.parametrize("trainable", [True, False])
def test_only_a_trainable_temperature_moves(
    trainable: bool, tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    spec = replace(tiny_spec, trainable_temperature=trainable, epochs=2, modalities=("dna", "text"))
    watcher = Watcher()
    train(spec, tiny_dataset, watcher)
    moved = [abs(report.temperature - spec.initial_temperature) > 1e-6 for report in watcher.reports]
    assert moved == [trainable, trainable]


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("fine_tuning", ["full", "lora"])
def test_both_precisions_train_in_full_and_with_adapters(
    precision: Literal["bf16", "fp32"],
    fine_tuning: Literal["full", "lora"],
    tiny_spec: ExperimentSpec,
    tiny_dataset: PreparedDataset,
) -> None:
    spec = replace(tiny_spec, precision=precision, fine_tuning=fine_tuning, epochs=1)
    watcher = Watcher()
    weights = train(spec, tiny_dataset, watcher)
    assert all(math.isfinite(event["loss"]) for event in watcher.steps)
    assert all(weight.isfinite().all() for weight in weights.values())
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_the_precisions_differ_and_agree_roughly(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    first = []
    for precision in ("fp32", "bf16"):
        watcher = Watcher()
        spec = replace(tiny_spec, epochs=1, modalities=("dna", "text"))
        train(replace(spec, precision="bf16") if precision == "bf16" else spec, tiny_dataset, watcher)
        first.append(watcher.steps[0]["loss"])
    assert first[0] != first[1]
    # bf16 keeps 8 bits: embeddings differ by about 1/256, and the scale of 14 magnifies that.
    assert first[0] == pytest.approx(first[1], abs=14 / 128)


def test_every_step_of_a_short_epoch_is_logged(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    watcher = Watcher()
    spec = replace(tiny_spec, epochs=2, modalities=("dna", "text"))
    train(spec, tiny_dataset, watcher)
    steps = tiny_dataset.facts.num_training // spec.batch_size
    assert [event["step"] for event in watcher.steps] == list(range(2 * steps))
    for report in watcher.reports:
        logged = [event["loss"] for event in watcher.steps if event["epoch"] == report.epoch]
        assert report.loss == pytest.approx(sum(logged) / steps, abs=1e-5)
        assert report.gradient_norm > 0
        assert 0 <= report.waited <= 1
        assert report.event()["event"] == "epoch"


def test_a_long_epoch_logs_its_last_step_and_at_most_21(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    watcher = Watcher()
    spec = replace(tiny_spec, epochs=1, batch_size=2, modalities=("dna", "text"))
    train(spec, tiny_dataset, watcher)
    steps = tiny_dataset.facts.num_training // 2
    assert steps > 40
    assert watcher.steps[-1]["step"] == steps - 1
    assert len(watcher.steps) <= 21


def test_a_loss_that_is_not_finite_ends_the_run(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    model, specimens = prepared(replace(tiny_spec, modalities=("dna", "text")), tiny_dataset)
    with torch.no_grad():
        next(model.towers["dna"].parameters()).fill_(math.nan)
    with pytest.raises(NonFiniteLossError, match="step 0"):
        fit(tiny_spec, model, specimens, Placement(), resume=None, on_epoch=Watcher())


def test_fewer_specimens_than_a_batch_are_refused(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    count = tiny_dataset.facts.num_training
    spec = replace(tiny_spec, batch_size=count + 1, modalities=("dna", "text"))
    with pytest.raises(TooFewSpecimensError, match=f"{count} training specimen"):
        train(spec, tiny_dataset, Watcher())


def test_a_batch_that_does_not_divide_among_the_workers_is_refused(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    spec = replace(tiny_spec, modalities=("dna", "text"))
    model, specimens = prepared(spec, tiny_dataset)
    with pytest.raises(SpecError, match="does not divide among 3 workers"):
        fit(spec, model, specimens, Placement(num_workers=3), resume=None, on_epoch=Watcher())


def test_the_learning_rate_goes_up_to_its_maximum_and_down_again(tiny_spec: ExperimentSpec) -> None:
    layer = torch.nn.Linear(2, 2)
    optimizer = build_optimizer(tiny_spec, layer)
    schedule = build_schedule(tiny_spec, optimizer, 100)
    rates = []
    for _ in range(100):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step() if len(rates) < 100 else None
    assert rates[0] == pytest.approx(tiny_spec.initial_learning_rate)
    assert max(rates) == pytest.approx(tiny_spec.max_learning_rate)
    assert rates.index(max(rates)) == 29
    assert rates[-1] < tiny_spec.initial_learning_rate


def test_weights_decay_but_temperature_biases_and_norms_do_not(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    model, _ = prepared(tiny_spec, tiny_dataset)
    decays = {
        id(parameter): group["weight_decay"]
        for group in build_optimizer(tiny_spec, model).param_groups
        for parameter in group["params"]
    }
    named = {name: decays[id(parameter)] for name, parameter in model.named_parameters()}
    assert named["towers.dna.head.weight"] == tiny_spec.weight_decay
    undecayed = [name for name, decay in named.items() if decay == 0]
    assert "log_scale" in undecayed
    assert all(name == "log_scale" or name.endswith(".bias") or "norm" in name.lower() for name in undecayed)
