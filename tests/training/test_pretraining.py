"""`clibd train pretrain-dna`: the masked loss against its definition, on two workers, resumed, and from end to end."""

import json
import runpy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from commands.clibd import app as clibd
from results.measured import evaluation_sheet
from tests.processes import run_together
from tests.training.training import train
from workloads.data.inputs.barcode_inputs import hidden_kmers
from workloads.data.inputs.batches import EpochBatches, Specimens, View
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import SpecError
from workloads.execution import Execution
from workloads.experiments import experiment_spec, starting_from
from workloads.models.clibd import MaskedModel
from workloads.models.loaded import open_run, open_untrained
from workloads.record import RunFolder, find_runs
from workloads.spec import ExperimentSpec
from workloads.storage import Folder
from workloads.tower_specs import DnaTower
from workloads.training.__main__ import app
from workloads.training.checkpoint import CheckpointStore
from workloads.training.loss import masked_loss

PROGRAM = Path(__file__).with_name("masked_workers.py")
IN_PROGRAM = runpy.run_path(str(PROGRAM))
SIZES = ("dna.width=16", "embedding_size=16", "dna.num_heads=2", "dna.hidden_width=16")


@pytest.fixture(scope="module")
def masked_spec(tiny_spec: ExperimentSpec) -> ExperimentSpec:
    return replace(tiny_spec, objective="masked", modalities=("dna",), genus_weight=0.1, trainable_temperature=False)


# --- The loss -----------------------------------------------------------------------------------------------------


def by_definition(model: MaskedModel, ids: Tensor, genera: Tensor, weight: float, kind: str) -> Tensor:
    """One barcode and one 5-mer at a time; differentiable."""
    told, of_genera = list[Tensor](), list[Tensor]()
    for row, genus in zip(ids, genera.tolist(), strict=True):
        seen = torch.where(row < 0, 2, row)[None]
        states = model.get_submodule("towers.dna").states(seen)[0]
        for place, own in enumerate(row.tolist()):
            if own < 0 or (kind == "all" and own >= 3):
                logits = model.masked.decoder(states[0, place])
                told.append(logits.logsumexp(0) - logits[abs(own) - 3])
        if genus >= 0:
            assert model.genus is not None
            length = int((row != 0).sum())
            logits = model.genus(states[0, :length].mean(0))
            of_genera.append(logits.logsumexp(0) - logits[genus])
    return torch.stack(told).mean() + weight * torch.stack(of_genera).mean()


@pytest.fixture(scope="module")
def defined() -> dict[str, dict[str, Any]]:
    found = {}
    for kind in IN_PROGRAM["KINDS"]:
        model = IN_PROGRAM["masked_model"](kind)
        loss = by_definition(model, IN_PROGRAM["ids"](), IN_PROGRAM["GENERA"], IN_PROGRAM["WEIGHT"], kind)
        loss.backward()
        found[kind] = {"loss": loss.item(), "gradients": IN_PROGRAM["gradients"](model.named_parameters())}
    return found


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("workers")
    outs = [folder / f"{rank}.json" for rank in range(2)]
    run_together(PROGRAM, [(rank, folder / "meeting", out) for rank, out in enumerate(outs)])
    return [json.loads(out.read_text()) for out in outs]


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """To the rounding of float64."""
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-12)
    assert found["gradients"].keys() == expected["gradients"].keys()
    for name, values in expected["gradients"].items():
        assert found["gradients"][name] == pytest.approx(values, abs=1e-12), name


@pytest.mark.parametrize("kind", IN_PROGRAM["KINDS"])
def test_the_loss_and_its_gradient_are_their_definition(kind: str, defined: dict[str, dict[str, Any]]) -> None:
    model = IN_PROGRAM["masked_model"](kind)
    loss = masked_loss(*model({"dna": IN_PROGRAM["ids"]()}), IN_PROGRAM["GENERA"], genus_weight=IN_PROGRAM["WEIGHT"])
    loss.backward()
    assert_equal({"loss": loss.item(), "gradients": IN_PROGRAM["gradients"](model.named_parameters())}, defined[kind])
    for name in ("masked.decoder.weight", "genus.weight", "towers.dna.trunk.embeddings.word_embeddings.weight"):
        assert max(map(abs, defined[kind]["gradients"][name])) > 1e-4


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("kind", IN_PROGRAM["KINDS"])
def test_two_workers_with_uneven_shares_have_the_same(
    kind: str, cached: bool, two_workers: list[dict[str, Any]], defined: dict[str, dict[str, Any]]
) -> None:
    for worker in two_workers:
        assert_equal(worker[f"{kind} {cached}"], defined[kind])


def test_a_batch_without_anything_to_tell_has_a_loss_and_a_gradient_of_0() -> None:
    model = IN_PROGRAM["masked_model"]("hidden")
    nothing = masked_loss(*model({"dna": IN_PROGRAM["ids"]().abs()}), torch.full((7,), -1), genus_weight=1.0)
    nothing.backward()
    assert nothing.item() == 0
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


# --- What is hidden -----------------------------------------------------------------------------------------------


def test_a_share_of_the_known_5_mers_is_hidden_and_nothing_else() -> None:
    ids = np.concatenate([[1], np.tile(np.arange(3, 1003), 20), [2] * 50, [0] * 50]).astype(np.int16)
    hidden = hidden_kmers(ids, np.random.default_rng(0), share=0.3)
    assert np.array_equal(np.abs(hidden), ids)
    assert np.all(ids[hidden < 0] >= 3)
    assert np.mean(hidden[1:20_001] < 0) == pytest.approx(0.3, abs=0.013)  # four standard deviations


def test_what_is_hidden_depends_on_seed_epoch_and_specimen_alone(
    tiny_dataset: PreparedDataset, masked_spec: ExperimentSpec
) -> None:
    splits = tiny_dataset.facts.splits.training
    specimens = Specimens(tiny_dataset, splits, masked_spec, None)
    rows = np.arange(12)
    whole = specimens.inputs("dna", rows, View(5, 2))
    for row in (3, 11):
        assert torch.equal(specimens.inputs("dna", rows[row : row + 1], View(5, 2))[0], whole[row])
    plain = specimens.inputs("dna", rows, View())
    assert torch.equal(whole.abs(), plain)
    assert not torch.equal(specimens.inputs("dna", rows, View(5, 3)), whole)
    assert not torch.equal(specimens.inputs("dna", rows, View(6, 2)), whole)
    batch, parts = (EpochBatches(specimens, masked_spec, 1, part) for part in (slice(None), slice(4, 9)))
    assert torch.equal(batch[0]["dna"][4:9], parts[0]["dna"])
    genera = [specimens.labels["genus"][row] for row in specimens.trained]
    assert None in genera
    assert (batch[0]["label"] >= -1).all()
    assert (specimens.class_of == -1).tolist() == [name is None for name in specimens.labels["genus"]]


# --- Training -----------------------------------------------------------------------------------------------------


def test_a_run_that_was_interrupted_goes_on_to_the_bit(
    tiny_dataset: PreparedDataset, masked_spec: ExperimentSpec, tmp_path: Path
) -> None:
    execution = Execution(checkpoint_seconds=0.0, micro_batch=6)
    whole = train(masked_spec, tiny_dataset, execution=execution)
    store = CheckpointStore(Folder(tmp_path))
    train(masked_spec, tiny_dataset, execution=execution, store=store, stop_after=3)
    resumed = train(masked_spec, tiny_dataset, execution=execution, store=CheckpointStore(Folder(tmp_path)))
    assert resumed.watcher.steps[0].step == 3  # of which nothing was kept yet
    assert whole.weights.keys() == resumed.weights.keys()
    assert all(torch.equal(tensor, resumed.weights[name]) for name, tensor in whole.weights.items())
    assert whole.watcher.epochs[-1].loss < whole.watcher.epochs[0].loss


def words(dataset: PreparedDataset, runs: Path, *more: str, sizes: tuple[str, ...] = SIZES) -> list[str]:
    return [
        *("pretrain-dna", "--data", str(dataset.folder), "--runs", str(runs), "--scale", "small", "--cpu"),
        *("--seed", "3", "--epochs", "2", *(f"--set={size}" for size in sizes), *more),
    ]


def only_run(runs: Path) -> RunFolder:
    (run,) = find_runs(Folder(runs), "train")
    return run


@pytest.fixture(scope="module")
def pretrained(tiny_dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    runs = tmp_path_factory.mktemp("runs")
    app(words(tiny_dataset, runs, "--set=genus_weight=0.1", "--set=precision=bf16"), standalone_mode=False)
    return only_run(runs)


def test_a_run_says_how_well_it_tells_hidden_5_mers_of_barcodes_that_did_not_train(
    pretrained: RunFolder, tiny_dataset: PreparedDataset
) -> None:
    assert pretrained.state() == "finished"
    facts = pretrained.folder.read_json("evaluation.json")["masked"]
    splits = tiny_dataset.facts.splits
    assert set(facts) <= {*splits.asking(), *splits.unused} - {*splits.training}
    experiment = open_run(pretrained)
    model = experiment.model.eval()
    assert isinstance(model, MaskedModel)
    specimens = experiment.specimens(tiny_dataset, ["test_unseen"])
    rows = specimens.groups("dna")[0]
    ids = specimens.inputs("dna", rows, View(experiment.spec.seed, experiment.spec.epochs))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        states = model.get_submodule("towers.dna").states(torch.where(ids < 0, 2, ids))[0]
        logits = model.masked.decoder(states).float()
    hidden, wanted = ids < 0, ids.abs() - 3
    entropies = [-row.log_softmax(-1)[own] for row, own in zip(logits[hidden], wanted[hidden], strict=True)]
    told = facts["test_unseen"]
    assert (told["barcodes"], told["kmers"]) == (len(rows), int(hidden.sum()))
    right = float((logits.argmax(-1) == wanted)[hidden].double().mean())
    assert told["accuracy"] == pytest.approx(right, abs=2e-3)  # ties of bf16
    assert told["perplexity"] == pytest.approx(float(torch.stack(entropies).mean().exp()), rel=1e-2)  # bf16
    assert 0 < told["commonest"] < 1


def test_readers_of_results_show_it(pretrained: RunFolder, tiny_dataset: PreparedDataset) -> None:
    rows = pretrained.measurements()
    assert {(row.query, row.key) for row in rows} == {("dna", "dna")}
    sheet = evaluation_sheet(pretrained.folder.read_json("evaluation.json"), rows, full=True)
    assert any("idden 5-mers of test_unseen" in line for line in sheet.about)
    runs = str(Path(pretrained.folder.path).parents[1])
    for command in (["results", "list", "--runs", runs], ["results", "table", "1", "--run", pretrained.folder.path]):
        done = CliRunner().invoke(clibd, command)
        assert done.exit_code == 0, done.output


def test_an_alignment_begins_with_the_transformer_and_leaves_the_masked_head_behind(
    pretrained: RunFolder, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    options = ["--data", str(tiny_dataset.folder), "--runs", str(tmp_path), "--scale", "small", "--cpu"]
    more = ["--epochs", "1", "--batch-size", "32", "--set=image.depth=1", "--set=image.width=24"]
    app(["image-dna", *options, *more, "--from", pretrained.folder.path], standalone_mode=False)
    run = only_run(tmp_path)
    spec, before = run.spec(), pretrained.spec()
    assert (spec.dna.width, spec.dna.weights) == (16, f"run:{pretrained.id}")
    assert spec.embedding_size == 256  # the experiment's own: the pre-trained tower had no head
    began = open_untrained(spec, tiny_dataset, {}, run.folder).model.state_dict()
    learnt = load_file(f"{pretrained.folder.path}/model.safetensors")
    trunk = {name: tensor for name, tensor in learnt.items() if name.startswith("towers.dna.trunk.")}
    assert len(trunk) > 10
    assert all(torch.equal(tensor, began[name]) for name, tensor in trunk.items())
    assert before.objective == "masked"
    assert not [name for name in began if "masked" in name or "genus" in name]
    assert run.folder.read_json("inputs.json")["frame"] == pretrained.folder.read_json("inputs.json")["frame"]


def test_pre_training_begins_with_an_aligned_tower_without_its_head(
    pretrained: RunFolder, tiny_dataset: PreparedDataset
) -> None:
    name = "run:aligned"
    spec = experiment_spec("pretrain-dna", "small", tiny_dataset.facts.data)
    aligned = experiment_spec("image-dna", "small", tiny_dataset.facts.data)
    begun = starting_from(spec, name, aligned)
    assert (begun.embedding_size, begun.dna.weights) == (begun.dna.width, name)
    once_more = starting_from(spec, name, pretrained.spec())
    assert once_more.embedding_size == once_more.dna.width == 16


# --- What cannot be asked for -------------------------------------------------------------------------------------


def test_only_a_barcodebert_can_be_pre_trained(masked_spec: ExperimentSpec) -> None:
    for kind in ("cnn", "features", "kmers", "dnabert2"):
        with pytest.raises(SpecError, match=f"a DNA tower of kind '{kind}' has none: set dna.kind=barcodebert"):
            replace(masked_spec, dna=DnaTower(kind=kind, width=16))
    with pytest.raises(SpecError, match="another modality has none"):
        replace(masked_spec, modalities=("image",))
    change = partial(replace, masked_spec)
    for wrong, said in (
        (
            partial(change, dna=replace(masked_spec.dna, pooling="softmax_mean")),
            "set dna.pooling to masked_mean or mean",
        ),
        (partial(change, masked_share=1.0), "more than 0 and less than 1"),
        (partial(change, genus_weight=-1.0), "0 or more"),
        (partial(change, embedding_size=17), "set embedding_size to 16, not 17"),
    ):
        with pytest.raises(SpecError, match=said):
            wrong()


def test_without_barcodes_nothing_is_pre_trained(tiny_dataset: PreparedDataset) -> None:
    data = tiny_dataset.facts.data
    with pytest.raises(SpecError, match="tiny has no dna, which this experiment needs"):
        experiment_spec("pretrain-dna", "small", replace(data, modalities=("image", "text")))
    with pytest.raises(SpecError, match="kind 'features' has none"):
        experiment_spec("pretrain-dna", "small", replace(data, dna_features=True))


@pytest.mark.parametrize("recipe", ["paper", "authors"])
def test_the_published_readings_tell_all_5_mers_of_the_authors_tokens(
    tiny_dataset: PreparedDataset, recipe: Any
) -> None:
    spec = experiment_spec("pretrain-dna", "paper", tiny_dataset.facts.data, recipe)
    assert (spec.masked_loss, spec.dna.tokens, spec.dna.pooling) == ("all", "authors", "mean")
    assert (spec.masked_share, spec.dna.weights, spec.epochs) == (0.5, None, 35)
