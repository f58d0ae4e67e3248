"""The whole training loop on 150 synthetic insects, without a cluster."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from tests.training.training import Watcher, begun, train
from workloads.data.inputs.batches import EpochBatches
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import NonFiniteLossError, TooFewSpecimensError, UsageError
from workloads.execution import Execution
from workloads.models.loaded import LoadedModel, open_untrained
from workloads.placement import Placement
from workloads.recipes import with_fine_tuning, with_recipe
from workloads.spec import ExperimentSpec, Recipe
from workloads.storage import Folder
from workloads.tower_specs import FineTuning
from workloads.training import loop
from workloads.training.checkpoint import CheckpointStore
from workloads.training.loop import fit
from workloads.training.step import Training


@pytest.fixture
def two(tiny_spec: ExperimentSpec) -> ExperimentSpec:
    """Two modalities, which is quicker."""
    return replace(tiny_spec, modalities=("dna", "text"))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_loss_starts_at_a_guess_and_falls(two: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    losses = [report.loss for report in train(replace(two, epochs=16), tiny_dataset).watcher.epochs]
    assert len(losses) == 16
    # Guessing among the 16 of a batch costs log 16.
    assert losses[0] == pytest.approx(math.log(16), abs=0.5)
    assert losses[-1] < math.log(16) - 0.5


def test_a_run_interrupted_after_any_step_goes_on_to_the_same_weights_to_the_bit(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    spec = replace(tiny_spec, epochs=2)
    undisturbed = train(spec, tiny_dataset)
    total = spec.epochs * (tiny_dataset.facts.num_training // spec.batch_size)
    assert total >= 6
    for stop in range(total - 1):
        store = CheckpointStore(Folder(tmp_path / str(stop)))
        before = train(spec, tiny_dataset, store=store, stop_after=stop)
        torch.manual_seed(stop)  # the state of the process that resumes does not matter
        again = train(spec, tiny_dataset, store=store)
        assert same(again.weights, undisturbed.weights), stop
        assert [report.loss for report in again.watcher.epochs] == [
            report.loss for report in undisturbed.watcher.epochs[len(before.watcher.epochs) :]
        ]
        first = again.watcher.steps[0].step
        assert first in (stop, stop + 1)  # the step that was being reported may have no checkpoint yet


def test_what_a_checkpoint_holds_is_the_step_after_it(
    two: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    store = CheckpointStore(Folder(tmp_path))
    train(replace(two, epochs=1), tiny_dataset, store=store)
    again = train(replace(two, epochs=1), tiny_dataset, store=store)
    assert again.watcher.steps == []
    assert again.watcher.epochs == []


def test_micro_batches_change_rounding_only_where_nothing_is_random(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    spec = replace(
        tiny_spec,
        dna=replace(tiny_spec.dna, dropout=0.0, token_dropout=0.0),
        text=replace(tiny_spec.text, dropout=0.0),
        epochs=1,
    )
    whole = train(spec, tiny_dataset, execution=Execution(micro_batch=16))
    for size in (1, 5, 8):
        parts = train(spec, tiny_dataset, execution=Execution(micro_batch=size))
        # fp32: the gradients differ by the order of sums, and AdamW's first steps are of size lr whatever the gradient.
        assert [s.loss for s in parts.watcher.steps] == pytest.approx([s.loss for s in whole.watcher.steps], abs=1e-3)


def test_a_batch_that_fits_is_one_chunk(two: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    shares = train(replace(two, epochs=1), tiny_dataset).training.shares
    assert shares is not None
    assert (shares.num_chunks, shares.sizes) == (1, [two.batch_size])


@pytest.mark.parametrize("trainable", [True, False])
def test_only_a_trainable_temperature_moves(
    trainable: bool, two: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    spec = replace(two, trainable_temperature=trainable, epochs=2)
    reports = train(spec, tiny_dataset).watcher.epochs
    moved = [abs(report.temperature - spec.initial_temperature) > 1e-6 for report in reports]
    assert moved == [trainable, trainable]


@pytest.mark.parametrize("precision", ["bf16", "fp32", "tf32"])
@pytest.mark.parametrize("fine_tuning", ["full", "lora", "full_and_lora", "frozen"])
def test_every_precision_and_fine_tuning_trains_what_it_should(
    precision: Literal["bf16", "fp32", "tf32"],
    fine_tuning: FineTuning,
    tiny_spec: ExperimentSpec,
    tiny_dataset: PreparedDataset,
) -> None:
    spec = with_fine_tuning(replace(tiny_spec, precision=precision, epochs=1), fine_tuning)
    before = open_untrained(spec, tiny_dataset).model
    trained = {name for name, parameter in before.named_parameters() if parameter.requires_grad}
    run = train(spec, tiny_dataset)
    moved = {name for name, value in before.state_dict().items() if not torch.equal(value, run.weights[name])}
    assert moved == trained
    assert {weight.dtype for weight in run.weights.values() if weight.is_floating_point()} == {torch.float32}
    frozen = {name for name, _ in before.named_parameters()} - trained
    assert bool(frozen) == (fine_tuning in ("lora", "frozen"))


@pytest.mark.parametrize("recipe", ["paper", "authors"])
def test_the_other_recipes_train_too(recipe: Recipe, tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    plain = replace(tiny_spec, epochs=1, dna=replace(tiny_spec.dna, token_dropout=0.0))
    run = train(with_recipe(plain, recipe), tiny_dataset)
    assert all(math.isfinite(step.loss) for step in run.watcher.steps)
    # A mean of softmaxes is nearly flat at first, so all barcodes look alike and a guess costs log 16.
    assert run.watcher.steps[0].loss == pytest.approx(math.log(16), abs=0.7)


@pytest.mark.parametrize("modality", ["image", "dna"])
def test_one_tower_learns_to_know_two_views(
    modality: Literal["image", "dna"], tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    spec = replace(
        tiny_spec,
        objective="simclr",
        modalities=(modality,),
        augmentation="simclr",
        trainable_temperature=False,
        epochs=4,
        initial_temperature=0.5,
    )
    losses = [report.loss for report in train(spec, tiny_dataset).watcher.epochs]
    # Guessing among 31 others costs log 31.
    assert losses[0] < math.log(31) + 0.5
    assert losses[-1] < losses[0]


def test_a_classifier_learns_the_training_species(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    spec = replace(tiny_spec, objective="classify", modalities=("image",), augmentation="none", batch_size=8, epochs=30)
    run = train(spec, tiny_dataset)
    classes = len(open_untrained(spec, tiny_dataset).classes)
    assert run.weights["classifier.weight"].shape[0] == classes
    losses = [report.loss for report in run.watcher.epochs]
    assert losses[0] == pytest.approx(math.log(classes), abs=0.7)
    assert losses[-1] < losses[0] - 0.3


def test_binding_to_one_modality_leaves_the_other_pairs_alone(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    spec = replace(tiny_spec, epochs=1, batch_size=32)
    bound, two = (
        train(replace(spec, bind_to="dna", modalities=names), tiny_dataset)
        for names in (("image", "dna", "text"), ("image", "dna"))
    )
    unbound = train(spec, tiny_dataset)
    assert bound.watcher.steps[0].loss != unbound.watcher.steps[0].loss
    assert bound.watcher.steps[0].loss != two.watcher.steps[0].loss


def test_the_best_epoch_is_kept_and_earlier_ones_are_not_looked_at(
    two: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    scores = iter([0.2, 0.6, 0.6, 0.1])
    seen: list[dict[str, Tensor]] = []

    def score(experiment: LoadedModel) -> float:
        seen.append({name: value.clone() for name, value in experiment.model.state_dict().items()})
        return next(scores)

    spec, store = replace(two, epochs=5, first_selected_epoch=1), CheckpointStore(Folder(tmp_path))
    run = train(spec, tiny_dataset, store=store, score=score)
    best = store.best()
    assert best is not None
    tensors, value, epoch = best
    assert (value, epoch) == (0.6, 2)  # the first of two that are as good
    assert same(dict(tensors), seen[1])
    assert [report.score for report in run.watcher.epochs] == [None, 0.2, 0.6, 0.6, 0.1]


def test_every_step_of_a_short_epoch_is_logged(two: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    spec = replace(two, epochs=2)
    watcher = train(spec, tiny_dataset).watcher
    steps = tiny_dataset.facts.num_training // spec.batch_size
    assert [report.step for report in watcher.steps] == list(range(2 * steps))
    assert watcher.steps[0].learning_rate == pytest.approx(spec.initial_learning_rate)
    for report in watcher.epochs:
        logged = [step.loss for step in watcher.steps if step.epoch == report.epoch]
        assert report.loss == pytest.approx(sum(logged) / steps)
        assert report.gradient_norm > 0
        assert 0 <= report.waited <= 1
        assert (report.allocated_gb, report.reserved_gb, report.papers_memory_gb) == (0, 0, 0)
    assert watcher.epochs[-1].step == 2 * steps - 1


def test_a_long_epoch_logs_its_last_step_and_at_most_21(two: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    watcher = train(replace(two, epochs=1, batch_size=2), tiny_dataset).watcher
    steps = tiny_dataset.facts.num_training // 2
    assert steps > 40
    assert watcher.steps[-1].step == steps - 1
    assert len(watcher.steps) <= 21


@pytest.mark.parametrize("name", ["towers.dna.head.weight", "towers.text.head.bias"])
def test_what_is_not_finite_ends_the_run_with_its_step_and_name_and_keeps_the_last_checkpoint(
    name: str, two: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    store = CheckpointStore(Folder(tmp_path))
    train(replace(two, epochs=2), tiny_dataset, store=store, stop_after=3)
    training, specimens, experiment = begun(replace(two, epochs=2), tiny_dataset)
    training.resume(store, pytest.fail)
    step = training.step
    with torch.no_grad():
        experiment.model.get_parameter(name).fill_(math.nan)
    with pytest.raises(NonFiniteLossError, match=rf"step {step}: .*weights of {name}"):
        fit(training, specimens, store=store)
    kept = store.newest(pytest.fail)
    assert kept is not None
    assert kept.progress["step"] == step
    assert all(tensor.isfinite().all() for tensor in kept.tensors.values())


def test_a_rate_that_no_number_stands_ends_in_the_sentence_too(
    two: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    wild = replace(two, epochs=1, batch_size=2, max_learning_rate=1e30, initial_learning_rate=1e30)
    with pytest.raises(NonFiniteLossError, match="a lower learning rate"):
        train(wild, tiny_dataset)


def test_a_gradient_that_is_not_finite_leaves_the_weights_as_they_were(
    two: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    training, specimens, experiment = begun(two, tiny_dataset, Execution(micro_batch=16))
    before = {name: value.clone() for name, value in experiment.model.state_dict().items()}
    head = experiment.model.get_parameter("towers.text.head.weight")
    head.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(NonFiniteLossError, match=r"gradient of towers\.text\.head\.weight"):
        fit(training, specimens)
    assert same(dict(experiment.model.state_dict()), before)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_blocks_may_be_computed_again_without_a_difference(
    precision: Literal["bf16", "fp32"], tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    # OpenCLIP's text tower keeps torch's own attention, which has to be the same one in the backward pass.
    text = replace(tiny_spec.text, kind="openclip", architecture="ViT-B-32")
    spec = replace(tiny_spec, epochs=1, batch_size=32, precision=precision, text=text)
    plain, again = (
        train(spec, tiny_dataset, execution=Execution(micro_batch=32, checkpoint_blocks=blocks))
        for blocks in (False, True)
    )
    assert same(plain.weights, again.weights)


def test_fewer_specimens_than_a_batch_are_refused(two: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    count = tiny_dataset.facts.num_training
    with pytest.raises(TooFewSpecimensError, match=f"{count} training specimen"):
        train(replace(two, batch_size=count + 1), tiny_dataset)


def test_more_workers_than_specimens_in_a_batch_are_refused(two: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    model = open_untrained(two, tiny_dataset).model
    with pytest.raises(UsageError, match="17 workers"):
        Training(two, model, 100, Placement(num_workers=17), Execution())


@pytest.mark.parametrize("micro_batch", [None, 6])  # all at once; and 6, 5 and 5 at a time
def test_dropout_is_its_own_in_every_chunk_of_every_step_and_comes_back(
    micro_batch: int | None, two: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    """The masks of one batch, in three chunks at three steps; a sum of step and chunk would repeat some."""
    spec = replace(two, text=replace(two.text, dropout=0.5))

    def masks() -> list[bytes]:
        execution = Execution(micro_batch=micro_batch, most_workers=3)
        training, specimens, experiment = begun(spec, tiny_dataset, execution)
        training.cut(specimens)
        drawn: list[bytes] = []
        dropout = next(m for m in experiment.model.towers["text"].modules() if isinstance(m, torch.nn.Dropout))
        dropout.register_forward_hook(lambda _, __, out: drawn.append((out == 0).numpy().tobytes()))
        batch = EpochBatches(specimens, spec, 0)[0]
        for _ in range(3):
            training.take_step(dict(batch))
        return drawn

    drawn = masks()
    assert len(set(drawn)) == 9
    assert len(drawn) == (9 if micro_batch is None else 15)  # all but the last are embedded twice, with the same masks
    assert masks() == drawn


def test_specimens_per_second_are_those_trained_by_the_time_it_took(
    two: ExperimentSpec, tiny_dataset: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that moves by hand: a batch of 3 takes 0.5 s to arrive and 2 s to train, 1.2 specimens a second."""
    clock, spec = [100.0], replace(two, batch_size=3, epochs=2)  # some 26 steps, of which every second one is logged
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    training, specimens, _ = begun(spec, tiny_dataset)
    take_step, inputs, watcher = training.take_step, specimens.inputs, Watcher()

    def slow_step(batch: dict[str, Tensor]) -> bool:
        clock[0] += 2
        return take_step(batch)

    def slow_inputs(*asked: Any) -> Tensor:
        clock[0] += 0.25  # once for each of two modalities
        return inputs(*asked)

    monkeypatch.setattr(training, "take_step", slow_step)
    monkeypatch.setattr(specimens, "inputs", slow_inputs)
    fit(training, specimens, [watcher])
    assert len(watcher.steps) < spec.epochs * training.steps_per_epoch
    assert [report.specimens_per_second for report in watcher.steps] == pytest.approx([1.2] * len(watcher.steps))
    assert [report.specimens_per_second for report in watcher.epochs] == pytest.approx([1.2] * spec.epochs)
    assert [report.seconds for report in watcher.epochs] == pytest.approx(
        [2.5 * training.steps_per_epoch] * spec.epochs
    )
    assert [report.waited for report in watcher.epochs] == pytest.approx([0.2] * spec.epochs)
