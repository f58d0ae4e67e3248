"""The three readings of the paper: each documented difference is a field, and each recipe sets it."""

import math
import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest

from workloads.errors import SpecError
from workloads.experiments import FROM_SCRATCH, Data, Experiment, Scale, base_spec, experiment_spec, starting_from
from workloads.fields import with_fields
from workloads.recipes import learning_rate_factor, with_fine_tuning, with_recipe
from workloads.spec import ExperimentSpec, Recipe, spec_from_dict, spec_to_dict

EXPERIMENTS: tuple[Experiment, ...] = get_args(Experiment)

DATA = Data(name="insects", fingerprint="0123abcd-256", synthetic=False, modalities=("image", "dna", "text"))
ROOT = Path(__file__).parents[1]
RECIPES: tuple[Recipe, ...] = get_args(Recipe)

DIFFERENCES: dict[str, tuple[Any, Any, Any]] = {
    "image.pixel_values": ("unit", "unit", "normalised"),
    "image.fine_tuning": ("full", "full_and_lora", "full"),
    "dna.tokens": ("authors", "authors", "own"),
    "dna.pooling": ("softmax_mean", "softmax_mean", "masked_mean"),
    "text.pooling": ("mean", "mean", "masked_mean"),
    "text.max_tokens": (20, 20, 48),
    "text.missing_rank": ("left_out", "not_classified", "left_out"),
    "epoch_order": ("same", "same", "fresh"),
    "optimizer": ("adam", "adamw", "adamw"),
    "weight_decay": (0.0, 0.01, 0.01),
    "decayed": ("everything", "everything", "weights"),
    "max_learning_rate": (5e-5, 5e-5, 5e-5),
    "initial_learning_rate": (1e-6, 2e-6, 1e-6),
    "learning_rate_scaling": ("none", "linear", "none"),
    "selection": ("mean_of_336", "mean_of_336", "last"),
    "recipe": ("paper", "authors", "corrected"),
}
"""What the paper's text, its authors' code and we do, in this order; the table of docs/fidelity.md."""


def plain(value: Any, prefix: str = "") -> dict[str, Any]:
    """Every field by its dotted name."""
    found: dict[str, Any] = {}
    for item in fields(value):
        current = getattr(value, item.name)
        if is_dataclass(current):
            found |= plain(current, f"{prefix}{item.name}.")
        else:
            found[f"{prefix}{item.name}"] = current
    return found


def test_the_recipes_differ_in_what_is_documented_and_in_nothing_else() -> None:
    specs = [plain(base_spec("paper", DATA, recipe)) for recipe in RECIPES]
    differing = {name for name in specs[0] if len({str(spec[name]) for spec in specs}) > 1}
    assert differing == {name for name, values in DIFFERENCES.items() if len({str(value) for value in values}) > 1}
    for name, values in DIFFERENCES.items():
        assert tuple(spec[name] for spec in specs) == pytest.approx(values), name


def test_every_test_that_the_document_names_is_there() -> None:
    named = re.findall(r"`(tests/[^`]+)`", (ROOT / "docs" / "fidelity.md").read_text())
    assert len(named) > len(DIFFERENCES)
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_documented_difference_is_in_the_document() -> None:
    text = (ROOT / "docs" / "fidelity.md").read_text()
    assert [name for name in DIFFERENCES if f"`{name}`" not in text and name != "recipe"] == []


def test_four_gpus_of_500_learn_from_8e_6_to_2e_4_in_the_authors_code() -> None:
    spec = base_spec("paper", DATA, "authors")
    assert spec.batch_size == 2000
    assert spec.max_learning_rate * learning_rate_factor(spec) == pytest.approx(2e-4)
    assert spec.initial_learning_rate * learning_rate_factor(spec) == pytest.approx(8e-6)


@pytest.mark.parametrize(
    ("scaling", "batch", "factor"),
    [("none", 2000, 1), ("linear", 2000, 4), ("linear", 500, 1), ("linear", 100, 0.2), ("sqrt", 2000, 2)],
)
def test_the_learning_rate_grows_with_the_batch_as_the_spec_says(scaling: Any, batch: int, factor: float) -> None:
    spec = replace(base_spec("paper", DATA), learning_rate_scaling=scaling, batch_size=batch)
    assert math.isclose(learning_rate_factor(spec), factor)


def test_a_recipe_is_applied_once() -> None:
    with pytest.raises(SpecError, match=r"'paper' .*'authors'"):
        with_recipe(base_spec("paper", DATA, "paper"), "authors")


def test_openclip_keeps_its_own_values_in_every_recipe() -> None:
    for recipe in RECIPES:
        spec = experiment_spec("bind-image-text", "paper", DATA, recipe)
        assert spec.image.pixel_values == "normalised"
        assert (spec.image.fine_tuning, spec.text.fine_tuning, spec.dna.fine_tuning) == ("frozen", "frozen", "full")
        assert spec.embedding_size == 512


@pytest.mark.parametrize("scale", get_args(Scale))
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_survives_json_and_has_its_own_id(name: Experiment, recipe: Recipe, scale: Scale) -> None:
    spec = experiment_spec(name, scale, DATA, recipe)
    assert spec_from_dict(spec_to_dict(spec)) == spec
    others = {experiment_spec(other, scale, DATA, recipe).id for other in EXPERIMENTS if other != name}
    assert spec.id not in others


def test_the_authors_simclr_compares_the_logits_of_timms_classifier() -> None:
    spec = experiment_spec("simclr-image", "paper", DATA, "authors")
    assert (spec.image.head, spec.embedding_size, spec.schedule) == ("pretrained", 1000, "constant")
    assert (spec.max_learning_rate, spec.weight_decay, spec.optimizer) == (1e-6, 1e-4, "adam")
    ours = experiment_spec("simclr-image", "paper", DATA, "corrected")
    assert (ours.image.head, ours.embedding_size, ours.schedule) == ("new", 768, "one_cycle")


def test_a_data_set_without_barcodes_cannot_bind_them() -> None:
    data = replace(DATA, modalities=("image", "text"))
    with pytest.raises(SpecError, match="insects has no dna"):
        experiment_spec("bind-image", "paper", data)


@pytest.mark.parametrize("modality", ["image", "dna"])
def test_a_data_set_of_one_modality_trains_its_tower_alone_and_aligns_nothing(modality: Any) -> None:
    data = replace(DATA, modalities=(modality,))
    alone: tuple[Experiment, ...] = (
        ("simclr-image", "classify") if modality == "image" else ("simclr-dna", "pretrain-dna", "classify-dna")
    )
    for name in EXPERIMENTS:
        if name in alone:
            assert experiment_spec(name, "small", data).modalities == (modality,)
        else:
            with pytest.raises(SpecError, match=r"two different modalities|insects has no "):
                experiment_spec(name, "small", data)
    with pytest.raises(SpecError, match="two different modalities"):
        base_spec("small", data)


def test_an_experiment_begins_with_the_towers_of_a_run_and_keeps_its_own_way_with_them() -> None:
    trained = experiment_spec("simclr-image", "small", DATA)
    spec = starting_from(experiment_spec("align", "small", DATA), "run:x", trained)
    assert spec.image == replace(trained.image, weights="run:x")
    assert (spec.dna.weights, spec.text.weights) == (None, None)
    frozen = starting_from(with_fine_tuning(experiment_spec("align", "small", DATA), "frozen"), "run:x", trained)
    assert frozen.image.fine_tuning == "frozen"


@pytest.mark.parametrize("recipe", RECIPES)
def test_clibd_begins_with_simclr_in_the_shared_space_and_not_in_that_of_the_logits(recipe: Recipe) -> None:
    trained = experiment_spec("simclr-image", "paper", DATA, recipe)
    spec = starting_from(experiment_spec("align", "paper", DATA, recipe), "run:x", trained)
    assert (spec.image.head, spec.image.weights, spec.embedding_size) == ("new", "run:x", 768)


def test_a_run_brings_the_size_of_its_shared_space() -> None:
    trained = experiment_spec("bind-image", "paper", DATA)
    spec = starting_from(experiment_spec("align", "paper", DATA), "run:x", trained)
    assert spec.embedding_size == trained.embedding_size == 512


@pytest.mark.parametrize("name", ["align", "image-dna", "image-text", "bind-image", "bind-image-text"])
def test_named_alignments_train_as_long_as_the_paper_says(name: Experiment) -> None:
    assert experiment_spec(name, "paper", DATA, "paper").epochs == 50
    assert experiment_spec(name, "small", DATA, "paper").epochs < 50


def test_a_run_without_the_needed_towers_cannot_be_begun_with() -> None:
    trained: ExperimentSpec = experiment_spec("simclr-dna", "small", DATA)
    with pytest.raises(SpecError, match="no tower for image"):
        starting_from(experiment_spec("classify", "small", DATA), "run:x", trained)


@pytest.mark.parametrize(("recipe", "pooling"), [("paper", "mean"), ("authors", "mean"), ("corrected", "masked_mean")])
def test_a_supervised_barcodebert_has_no_softmax_in_front_of_its_classifier(recipe: Recipe, pooling: str) -> None:
    assert experiment_spec("classify-dna", "paper", DATA, recipe).dna.pooling == pooling
    aligned = experiment_spec("align", "paper", DATA, recipe).dna.pooling
    assert (aligned == pooling) == (recipe == "corrected")


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_towers_from_scratch_are_those_of_the_experiment_without_weights_and_a_run_of_their_own(
    name: Experiment, recipe: Recipe
) -> None:
    published = experiment_spec(name, "paper", DATA, recipe)
    drawn = with_fields(published, FROM_SCRATCH)
    weights = [f"{modality}.weights" for modality in ("image", "dna", "text")]
    without = {"dna.weights"} if name == "pretrain-dna" else set()  # which begins from scratch anyway
    assert {key for key, value in plain(drawn).items() if value != plain(published)[key]} == set(weights) - without
    assert all(plain(drawn)[key] is None for key in weights)
    assert drawn.id != published.id
    small = experiment_spec(name, "small", DATA, recipe)  # which draws all of them anyway
    assert with_fields(small, FROM_SCRATCH).id == small.id
