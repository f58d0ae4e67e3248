"""Keys and queries embedded at once: each distinct input in one forward pass, in the precision of the recipe."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from workloads.data.inputs.batches import View
from workloads.data.prepared.dataset import PreparedDataset
from workloads.evaluation.embed import all_splits, as_parts, embed, embed_parts, embedded_specimens, parts_of
from workloads.evaluation.measure import embedding_facts
from workloads.models.loaded import LoadedModel, open_untrained
from workloads.models.weights import save_weights
from workloads.placement import Placement
from workloads.record import RunFolder
from workloads.spec import RANKS, ExperimentSpec, Recipe
from workloads.storage import Folder

Rows = npt.NDArray[np.float32]


@pytest.fixture
def experiment(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> LoadedModel:
    return open_untrained(tiny_spec, tiny_dataset)


@contextmanager
def counted(experiment: LoadedModel) -> Iterator[Counter[str]]:
    """How many inputs each tower was given."""
    given: Counter[str] = Counter()

    def count(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            given[name] += len(inputs[0])

        return experiment.model.towers[name].register_forward_pre_hook(hook)

    handles = [count(name) for name in experiment.model.towers]
    yield given
    for handle in handles:
        handle.remove()


def inputs_of(experiment: LoadedModel, dataset: PreparedDataset, modality: str) -> dict[str, bytes]:
    """What a tower is given for each specimen, by id."""
    specimens = experiment.specimens(dataset, all_splits(parts_of(dataset)))
    inputs = specimens.inputs(modality, np.arange(len(specimens)), View())
    return {one: row.numpy().tobytes() for one, row in zip(specimens.ids, inputs, strict=True)}


@pytest.mark.parametrize("modality", ["dna", "text"])
def test_what_is_identical_in_keys_and_queries_is_embedded_once_and_to_the_same_bits(
    modality: str, experiment: LoadedModel, tiny_dataset: PreparedDataset
) -> None:
    inputs = inputs_of(experiment, tiny_dataset, modality)
    with counted(experiment) as given:
        parts = embed_parts(experiment, tiny_dataset, Placement())
    assert given[modality] == len(set(inputs.values())) < len(inputs) == given["image"]
    rows: dict[bytes, list[Rows]] = {}
    shared = {inputs[one] for one in parts["keys"].ids} & {
        inputs[one] for name in ("val", "test") for one in parts[name].ids
    }
    assert shared
    for part in parts.values():
        for one, row in zip(part.ids, part.rows[modality], strict=True):
            rows.setdefault(inputs[one], []).append(row)
    for same in rows.values():
        assert all(np.array_equal(row, same[0]) for row in same)


def test_a_part_holds_the_specimens_of_its_splits_as_they_are_embedded_alone(
    experiment: LoadedModel, tiny_dataset: PreparedDataset
) -> None:
    parts, wanted = embed_parts(experiment, tiny_dataset, Placement()), parts_of(tiny_dataset)
    assert parts.keys() == wanted.keys() == {"keys", "val", "test"}
    for name, part in parts.items():
        alone = experiment.specimens(tiny_dataset, wanted[name])
        assert part.ids.tolist() == alone.ids.tolist()
        assert part.split.tolist() == alone.split.tolist()
        assert all(part.labels[rank].tolist() == alone.labels[rank].tolist() for rank in RANKS)
        for modality in alone.modalities:
            rows = embed(experiment.model, alone, modality, Placement())
            # fp32 matrix products group their sums by the batch: a few units in the last place of a unit vector.
            np.testing.assert_allclose(part.rows[modality], rows, rtol=0, atol=1e-6)


def test_rows_are_dealt_to_the_parts_whose_splits_they_are_of(
    experiment: LoadedModel, tiny_dataset: PreparedDataset
) -> None:
    parts = parts_of(tiny_dataset)
    specimens = experiment.specimens(tiny_dataset, all_splits(parts))
    numbered = np.arange(len(specimens), dtype=np.float32)[:, None]
    dealt = as_parts(embedded_specimens(specimens, {"image": numbered}), parts)
    for name, part in dealt.items():
        expected = [row for row, split in enumerate(specimens.split) if split in parts[name]]
        assert part.rows["image"][:, 0].tolist() == expected
        assert part.ids.tolist() == specimens.ids[expected].tolist()
    assert sum(map(len, dealt.values())) == len(specimens)


def test_the_rest_is_what_trains_and_has_a_name(tiny_dataset: PreparedDataset) -> None:
    parts, counts = parts_of(tiny_dataset, with_rest=True), tiny_dataset.facts.num_specimens
    assert set(parts) == {"keys", "val", "test", "rest"}
    others = {split for name, splits in parts.items() if name != "rest" for split in splits}
    assert not others & set(parts["rest"])
    training = {split for split in tiny_dataset.facts.splits.training if counts.get(split)}
    assert training - others - set(parts["rest"]) <= {"no_split"}


@pytest.mark.parametrize(
    ("recipe", "precision", "said", "expected"),
    [
        ("corrected", "bf16", "recipe", "bf16"),
        ("corrected", "fp32", "recipe", "fp32"),
        ("corrected", "tf32", "recipe", "fp32"),
        ("authors", "bf16", "recipe", "fp32"),
        ("paper", "bf16", "recipe", "fp32"),
        ("paper", "bf16", "tf32", "tf32"),
        ("authors", "bf16", "bf16", "bf16"),
        ("corrected", "bf16", "fp32", "fp32"),
    ],
)
def test_towers_run_in_the_precision_that_the_spec_says_or_its_recipe_and_training(
    recipe: Recipe,
    precision: str,
    said: str,
    expected: str,
    tiny_spec: ExperimentSpec,
    tiny_dataset: PreparedDataset,
    tmp_path: Path,
) -> None:
    spec = replace(tiny_spec, recipe=recipe, precision=precision, evaluation_precision=said)  # type: ignore[arg-type]  # literals
    experiment = open_untrained(spec, tiny_dataset)
    products: set[tuple[torch.dtype, str, bool]] = set()

    def note(_: nn.Module, __: object, output: Tensor) -> None:
        products.add((output.dtype, torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))

    layers = [layer for tower in experiment.model.towers.values() for layer in tower.modules()]
    for layer in layers:
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(note)
    parts = embed_parts(experiment, tiny_dataset, Placement())
    is_tf32 = expected == "tf32"
    kind = torch.bfloat16 if expected == "bf16" else torch.float32
    assert products == {(kind, "high" if is_tf32 else "highest", is_tf32)}
    for part in parts.values():
        for rows in part.rows.values():
            assert rows.dtype == np.float32
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=0, atol=1e-6)
    run = RunFolder(Folder(tmp_path))
    run.begin(spec, {}, {})
    save_weights(run.folder, experiment.model)
    assert embedding_facts(run, experiment, tiny_dataset.facts, spec.modalities).precision == expected
