"""Training on specimens that lack modalities: no tower sees what is missing, and no loss knows of it."""

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.processes import run_together
from tests.sealed import say_otherwise
from tests.training.test_masked_loss import by_definition
from tests.training.test_run import run_of
from tests.training.test_shares import END, PROGRAM
from tests.training.training import begun, train
from workloads.data.inputs import loading
from workloads.data.inputs.batches import THERE, Batch, EpochBatches
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import SpecError
from workloads.evaluation.trained_on import of_training
from workloads.execution import Execution
from workloads.models.clibd import Clibd
from workloads.models.loaded import open_untrained
from workloads.spec import MODALITIES, ExperimentSpec, spec_to_dict
from workloads.tower_specs import DnaTower
from workloads.training.gradient_cache import Chunks, accumulate_gradients, embed_at_once
from workloads.training.loss import contrastive_loss, loss_of_alike
from workloads.training.report import collapse_words

CHUNKED = Execution(micro_batch=3, most_workers=3, checkpoint_seconds=1e9)


@pytest.fixture(scope="module")
def spec(tiny_spec: ExperimentSpec) -> ExperimentSpec:
    """Three towers without dropout; a chunk of two or three specimens is often without one of the modalities."""
    dna = replace(tiny_spec.dna, dropout=0.0, token_dropout=0.0)
    return replace(tiny_spec, dna=dna, text=replace(tiny_spec.text, dropout=0.0), epochs=2)


COLUMNS = (("image", "image"), ("dna", "barcode"), ("text", "text"))


def trained_rows(dataset: PreparedDataset) -> list[dict[str, Any]]:
    """Those with two modalities at least."""
    rows = dataset.load(dataset.facts.splits.training).to_pylist()
    return [row for row in rows if sum(row[column] is not None for _, column in COLUMNS) >= 2]


def first_batch(spec: ExperimentSpec, dataset: PreparedDataset) -> tuple[Clibd, Batch]:
    training, specimens, _ = begun(spec, dataset)
    model = training.model.train()
    assert isinstance(model, Clibd)
    return model, EpochBatches(specimens, spec, 0)[0]


def of_one_pass(model: Clibd, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Embeddings, gradients and buffers."""
    model.zero_grad(set_to_none=True)
    embedded, _ = model(batch)
    torch.cat([rows * rows.roll(1, 1) for rows in embedded.values()]).sum().backward()
    gradients = {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    return {name: value.clone() for name, value in {**embedded, **gradients}.items()} | buffers


@pytest.mark.parametrize("kind", ["barcodebert", "cnn"])
def test_what_stands_in_for_a_missing_modality_changes_nothing(
    kind: Any, spec: ExperimentSpec, incomplete_dataset: PreparedDataset
) -> None:
    """Not even the statistics of batch normalisation, which the CNN has."""
    spec = replace(spec, dna=DnaTower(kind="cnn") if kind == "cnn" else spec.dna)
    (model, batch), (again, other) = first_batch(spec, incomplete_dataset), first_batch(spec, incomplete_dataset)
    for name in MODALITIES:
        there = other[name + THERE]
        assert 0 < there.sum() < len(there)
        other[name][~there] = other[name][there][:1].roll(1, -1)
    found, expected = of_one_pass(again, other), of_one_pass(model, batch)
    assert found.keys() == expected.keys()
    assert all(value.equal(expected[name]) for name, value in found.items())


@pytest.mark.parametrize("kind", ["barcodebert", "cnn"])
@pytest.mark.parametrize("count", [0, 1])
def test_a_chunk_in_which_nobody_or_one_has_a_modality(
    count: int, kind: Any, spec: ExperimentSpec, incomplete_dataset: PreparedDataset
) -> None:
    spec = replace(spec, dna=DnaTower(kind="cnn") if kind == "cnn" else spec.dna)
    model, batch = first_batch(spec, incomplete_dataset)
    batch["dna" + THERE] = torch.arange(len(batch["dna"])) < count
    found = of_one_pass(model, batch)
    assert all(value.isfinite().all() for value in found.values())
    assert not found["dna"][count:].any()
    assert all(p.grad is not None for name, p in model.named_parameters() if name.startswith("towers.dna"))
    if count == 0:
        assert not any(
            p.grad.any() for n, p in model.named_parameters() if n.startswith("towers.dna") and p.grad is not None
        )


def test_the_first_loss_is_the_definition_over_those_who_have_both(
    spec: ExperimentSpec, incomplete_dataset: PreparedDataset
) -> None:
    model, batch = first_batch(spec, incomplete_dataset)
    there = {name: batch.pop(name + THERE) for name in MODALITIES}
    embedded, scale = model(batch)  # also of what stands in
    expected = by_definition({name: rows.double() for name, rows in embedded.items()}, there, scale.double())
    found = train(spec, incomplete_dataset).watcher.steps[0].loss
    assert found == pytest.approx(expected.item(), rel=1e-6)


def test_chunks_and_workers_take_the_same_steps(
    spec: ExperimentSpec, incomplete_dataset: PreparedDataset, tmp_path: Path
) -> None:
    whole = [report.loss for report in train(spec, incomplete_dataset).watcher.steps]
    chunked = [report.loss for report in train(spec, incomplete_dataset, execution=CHUNKED).watcher.steps]
    assert chunked == pytest.approx(whole, rel=2e-5)
    case = {"spec": spec_to_dict(spec), "execution": asdict(CHUNKED), "turns": [(2, 3), (3, END)]}
    asked = {"data": str(incomplete_dataset.folder), "cases": {"lacking": case}}
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    run_together(PROGRAM, [(rank, tmp_path) for rank in range(3)])
    assert json.loads((tmp_path / "losses.json").read_text())["lacking"] == pytest.approx(whole[:END], rel=2e-5)


def test_embedded_twice_the_towers_see_the_same(spec: ExperimentSpec, incomplete_dataset: PreparedDataset) -> None:
    """By the statistics of batch normalisation, which tell whether something else was shown."""
    spec = replace(spec, dna=DnaTower(kind="cnn"))
    found = []
    for embed_twice in (False, True):
        model, batch = first_batch(spec, incomplete_dataset)
        there = {name: batch[name + THERE] for name in MODALITIES}
        loss, chunks = partial(contrastive_loss, there=there), Chunks([8, 8], torch.manual_seed)
        if embed_twice:
            value = accumulate_gradients(model, batch, loss, chunks, nullcontext)
        else:
            value = loss(*embed_at_once(model, batch, chunks, nullcontext))
            value.backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found.append((value.detach(), torch.cat(gradients), torch.cat([own.flatten() for own in model.buffers()])))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_other_processes_make_the_same_batches(
    spec: ExperimentSpec, incomplete_dataset: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "PIECE", 5)
    _, specimens, _ = begun(spec, incomplete_dataset)
    batches = EpochBatches(specimens, spec, 0)
    made = loading.loaded(specimens, batches.asked(), torch.device("cpu"), processes=2)
    count = 0
    for number, batch in enumerate(made):
        count += 1
        expected = batches[number]
        assert batch.keys() == expected.keys()
        assert all(values.equal(expected[name]) for name, values in batch.items())
    assert count == len(batches)


def test_a_run_on_them_ends_with_numbers_of_those_who_have_what_is_asked(
    spec: ExperimentSpec, incomplete_dataset: PreparedDataset, tmp_path: Path
) -> None:
    run = run_of(replace(spec, selection="mean_of_336"), incomplete_dataset, tmp_path)
    losses = [event["loss"] for event in run.events() if event["event"] == "epoch"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    have = [{name for name, column in COLUMNS if row[column]} for row in trained_rows(incomplete_dataset)]
    shares = [np.mean([{a, b} <= own for own in have]) for a, b in combinations(MODALITIES, 2)]
    assert run.status()["loss_of_alike"] == pytest.approx(loss_of_alike(spec.batch_size, shares))
    assert collapse_words(run) == []
    say_otherwise(run.folder, "status.json", loss_of_alike=losses[-1])
    assert "all alike" in collapse_words(run)[0]
    wanted = {
        (part, name): sum(row[column] is not None for row in incomplete_dataset.load(splits).to_pylist())
        for part, named in incomplete_dataset.facts.splits.queries.items()
        if (splits := [s for s in named.values() if incomplete_dataset.facts.num_specimens.get(s)])
        for name, column in (("image", "image"), ("dna", "barcode"))
    }
    counts = {
        (row.partition, row.query): row.count
        for row in run.measurements()
        if (row.method, row.level, row.average, row.species, row.key) == ("clibd", "species", "micro", "all", "dna")
        and row.query in ("image", "dna")
    }
    assert counts == wanted
    assert len({*counts.values()}) > 1
    methods = {row.method for row in run.measurements()}
    assert methods == {"clibd", "random_key", "majority", "kmer_nearest_neighbour", "linear_cca"}


def test_what_a_run_has_seen_are_those_who_train_in_it(
    spec: ExperimentSpec, incomplete_dataset: PreparedDataset
) -> None:
    pair = replace(spec, modalities=("image", "dna"))
    _, specimens, _ = begun(pair, incomplete_dataset)
    seen = of_training(pair, incomplete_dataset, (), specimens.trained)
    both = [row for row in trained_rows(incomplete_dataset) if row["image"] and row["barcode"]]
    assert len(seen.specimens) == len(both) < incomplete_dataset.facts.num_training
    assert seen.species == {row["species"] for row in both} - {None}


def test_a_modality_that_nobody_has_who_trains_is_refused(
    spec: ExperimentSpec, incomplete_dataset: PreparedDataset
) -> None:
    specimens = open_untrained(spec, incomplete_dataset).specimens(incomplete_dataset, ["seen_keys"])
    specimens._inputs["image"] = replace(specimens._inputs["image"], there=np.zeros(len(specimens), dtype=bool))
    with pytest.raises(SpecError, match="no specimen that trains has image"):
        _ = specimens.lacked
