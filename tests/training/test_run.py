"""A run from its spec to a finished folder, in one process: what it leaves, and how it goes on."""

import json
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.training.training import AT_EVERY_STEP, StopHereError, interruption
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import DamagedError, SpecError
from workloads.execution import Execution
from workloads.models.loaded import open_run, open_untrained
from workloads.placement import Placement
from workloads.recipes import with_recipe
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec
from workloads.storage import Folder
from workloads.training import step
from workloads.training.checkpoint import CheckpointStore
from workloads.training.loss import contrastive_loss
from workloads.training.report import Listener
from workloads.training.run import take_the_selected, train_run
from workloads.training.step import Training
from workloads.weight_files import MODEL


def run_of(
    spec: ExperimentSpec, dataset: PreparedDataset, folder: Path, listeners: tuple[Listener, ...] = ()
) -> RunFolder:
    run = RunFolder(Folder(folder))
    run.begin(spec, {}, {})
    with run.ending() as details:
        details |= train_run(spec, run, dataset, Placement(), AT_EVERY_STEP, listeners)
    return run


@pytest.fixture
def two(tiny_spec: ExperimentSpec) -> ExperimentSpec:
    return replace(tiny_spec, modalities=("image", "dna"), epochs=2)


def test_an_interrupted_run_leaves_the_log_and_the_weights_of_an_undisturbed_one(
    two: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    spec = replace(two, selection="image_to_dna")
    whole = run_of(spec, tiny_dataset, tmp_path / "whole")
    steps = [event["step"] for event in whole.events() if event["event"] == "step"]
    for stop in (0, steps[-1] // 2, steps[-1] // 2 + 1, steps[-1]):
        folder = tmp_path / f"stopped-{stop}"
        with pytest.raises(StopHereError):
            run_of(spec, tiny_dataset, folder, (interruption(stop),))
        again = run_of(spec, tiny_dataset, folder)
        one, other = (load_file(str(Path(run.folder.path) / MODEL)) for run in (whole, again))
        assert all(torch.equal(one[name], other[name]) for name in one)
        logged = [(e["event"], e["step"], e["loss"], e.get("score")) for e in again.events()]
        assert logged == [(e["event"], e["step"], e["loss"], e.get("score")) for e in whole.events()]
        assert again.measurements() == whole.measurements()


def test_from_a_run_to_its_loss_there_are_four_frames(
    two: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways: list[list[tuple[str, str]]] = []
    ours = str(Path(step.__file__).parents[1])

    def recorded(*given: Any, **options: Any) -> Tensor:
        frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(ours)]
        ways.append([(Path(frame.filename).stem, frame.name) for frame in frames])
        return contrastive_loss(*given, **options)

    monkeypatch.setattr(step, "contrastive_loss", recorded)
    run_of(replace(two, epochs=1), tiny_dataset, tmp_path)
    assert len(ways) == tiny_dataset.facts.num_training // two.batch_size
    assert all(way == [("run", "train_run"), ("loop", "fit"), ("step", "take_step")] for way in ways)  # and the loss


def test_the_authors_recipe_keeps_its_best_epoch_and_says_the_rate_it_really_used(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    plain = replace(tiny_spec, epochs=3, dna=replace(tiny_spec.dna, token_dropout=0.0))
    run = run_of(with_recipe(plain, "authors"), tiny_dataset, tmp_path)
    scores = [event["score"] for event in run.events() if event["event"] == "epoch"]
    status = run.status()
    assert status["selected_score"] == max(scores)
    assert status["selected_epoch"] == scores.index(max(scores))
    assert status["max_learning_rate"] == pytest.approx(3e-3 * 16 / 500)
    logged = [event["learning_rate"] for event in run.events() if event["event"] == "step"]
    assert max(logged) == pytest.approx(3e-3 * 16 / 500, rel=0.1)


def test_a_finished_run_is_opened_without_any_hub_and_has_its_weights(
    two: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    run = run_of(two, tiny_dataset, tmp_path)
    weights = load_file(str(tmp_path / MODEL))
    opened = open_run(run)
    assert all(torch.equal(weights[name], value) for name, value in opened.model.state_dict().items())


def test_a_run_begins_with_the_towers_of_another(
    two: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    alone = replace(two, objective="simclr", modalities=("image",), augmentation="simclr", trainable_temperature=False)
    before = run_of(alone, tiny_dataset, tmp_path / "alone")
    learned = load_file(str(tmp_path / "alone" / MODEL))
    spec = replace(two, image=replace(two.image, weights=before.folder.address))
    name = "towers.image.trunk.patch_embed.proj.weight"
    assert torch.equal(open_untrained(spec, tiny_dataset).model.get_parameter(name), learned[name])
    after = run_of(spec, tiny_dataset, tmp_path / "both")
    assert not torch.equal(load_file(str(tmp_path / "both" / MODEL))[name], learned[name])
    assert {(row.query, row.key) for row in before.measurements()} == {("image", "image")}
    assert ("image", "dna") in {(row.query, row.key) for row in after.measurements()}


def test_a_classifier_leaves_its_classes_predictions_and_accuracies(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    spec = replace(tiny_spec, objective="classify", modalities=("image",), augmentation="none", batch_size=8, epochs=2)
    run = run_of(spec, tiny_dataset, tmp_path)
    classes = json.loads((tmp_path / "inputs.json").read_text())["classes"]
    assert classes == sorted(classes)
    predictions = run.folder.read_table("classifier.parquet")
    assert set(predictions.column_names) >= {"specimen_id", "partition", "subset", "predicted", "probability"}
    measured = {row.metric for row in run.measurements()}
    assert "classifier_top1" in measured
    assert open_run(run).classes == tuple(classes)


def test_a_rule_that_cannot_select_is_refused_before_training(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    spec = replace(tiny_spec, objective="simclr", modalities=("image",), selection="mean_of_336")
    with pytest.raises(SpecError, match="no retrieval"):
        run_of(spec, tiny_dataset, tmp_path)
    assert not (tmp_path / "events.jsonl").exists()


def test_best_weights_that_are_lost_are_named(
    two: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    experiment = open_untrained(two, tiny_dataset)
    training = Training(two, experiment.model, 100, Placement(), Execution())
    training.best = (0.5, 3)
    with pytest.raises(DamagedError, match="epoch 3, "):
        take_the_selected(training, CheckpointStore(Folder(tmp_path)))


def test_best_weights_of_a_course_that_was_left_are_not_taken(
    two: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    """A process died between writing them and its checkpoint, and on a GPU the epoch came out otherwise again."""
    experiment, store = open_untrained(two, tiny_dataset), CheckpointStore(Folder(tmp_path))
    weights = {name: value.clone() for name, value in experiment.model.state_dict().items()}
    store.save_best(weights, 0.5, 3)
    store.save_best({name: torch.zeros_like(value) for name, value in weights.items()}, 0.6, 4)
    store.wait()
    training = Training(two, experiment.model, 100, Placement(), Execution())
    training.best = (0.5, 3)
    take_the_selected(training, store)
    assert all(value.equal(weights[name]) for name, value in experiment.model.state_dict().items())
