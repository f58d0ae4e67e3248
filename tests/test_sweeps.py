"""The sweeps: each point stands for a published row, and its run has a name of its own."""

from typing import get_args

import pytest

from results.published import published_table
from results.tables import TABLES
from sweeps import SWEEPS
from sweeps.point import Point, Sweep
from workloads.experiments import Data, Scale, base_spec
from workloads.spec import ExperimentSpec, Modality, Recipe

SCALES: tuple[Scale, ...] = get_args(Scale)
NUM_RUNS = {"batch-size": 4, "amp": 2, "lora": 2, "temperature": 4, "encoders": 5}
ALL: tuple[Modality, ...] = ("image", "dna", "text")

every_sweep = pytest.mark.parametrize("sweep", SWEEPS.values(), ids=list(SWEEPS))
every_scale = pytest.mark.parametrize("scale", SCALES)


def base(
    scale: Scale,
    modalities: tuple[Modality, ...] = ALL,
    has_image_features: bool = False,
    seed: int = 42,
    recipe: Recipe = "corrected",
) -> ExperimentSpec:
    data = Data(
        name="insects",
        fingerprint="0123abcd-256",
        synthetic=False,
        modalities=modalities,
        image_features=has_image_features,
    )
    return base_spec(scale, data, recipe, seed)


def is_published(point: Point, table: int) -> bool:
    return any(
        all(name in number.where and number.where[name] == value for name, value in point.row.items())
        for number in published_table(table)
    )


def test_every_sweep_is_known_by_its_name() -> None:
    assert {name: sweep.name for name, sweep in SWEEPS.items()} == {name: name for name in NUM_RUNS}


@every_sweep
@every_scale
def test_a_sweep_has_the_runs_it_promises_and_each_has_its_own_id(sweep: Sweep, scale: Scale) -> None:
    points = sweep.points(base(scale), scale)
    assert len(points) == NUM_RUNS[sweep.name]
    assert len({point.spec.id for point in points}) == len(points)
    assert len({point.label for point in points}) == len(points)


@every_sweep
@every_scale
def test_every_point_stands_for_a_published_row_of_its_table(sweep: Sweep, scale: Scale) -> None:
    table = TABLES[sweep.table]
    assert table.sweep == sweep.name
    points = sweep.points(base(scale), scale)
    for point in points:
        assert is_published(point, sweep.table), point.row
        assert set(table.row_fields) <= set(point.row)
    published = {tuple(number.where[name] for name in table.row_fields) for number in published_table(sweep.table)}
    assert {tuple(point.row[name] for name in table.row_fields) for point in points} == published


@every_sweep
@every_scale
@pytest.mark.parametrize(
    ("modalities", "has_image_features"),
    [(ALL, True), (("dna", "text"), False), (("image", "dna"), True), (("image", "text"), False)],
    ids=["features", "dna+text", "features+dna", "image+text"],
)
def test_data_sets_of_features_or_without_a_modality_can_be_swept(
    sweep: Sweep, scale: Scale, modalities: tuple[Modality, ...], has_image_features: bool
) -> None:
    points = sweep.points(base(scale, modalities, has_image_features), scale)
    assert len({point.spec.id for point in points}) == len(points)
    for point in points:
        assert set(point.spec.modalities) <= set(modalities)
        assert (point.spec.image.kind == "features") == has_image_features
        assert is_published(point, sweep.table)


@every_sweep
@every_scale
def test_a_seed_changes_every_id_and_nothing_else(sweep: Sweep, scale: Scale) -> None:
    one, other = (sweep.points(base(scale, seed=seed), scale) for seed in (42, 43))
    assert [point.row for point in one] == [point.row for point in other]
    assert {point.spec.id for point in one}.isdisjoint(point.spec.id for point in other)


@every_sweep
@pytest.mark.parametrize("recipe", get_args(Recipe))
def test_every_recipe_can_be_swept_and_names_its_runs(sweep: Sweep, recipe: Recipe) -> None:
    points = sweep.points(base("paper", recipe=recipe), "paper")
    assert {point.spec.recipe for point in points} == {recipe}
    assert len({point.spec.id for point in points}) == NUM_RUNS[sweep.name]


def test_the_authors_recipe_fixes_the_temperature_and_pairs_the_batches_as_their_configurations() -> None:
    for name in ("amp", "encoders"):
        trainable = {
            recipe: {
                point.spec.trainable_temperature for point in SWEEPS[name].points(base("paper", recipe=recipe), "paper")
            }
            for recipe in get_args(Recipe)
        }
        assert trainable == {"paper": {True}, "authors": {False}, "corrected": {True}}
    for recipe, fixed in (("authors", 200), ("paper", 300)):
        points = SWEEPS["temperature"].points(base("paper", recipe=recipe), "paper")
        batches = {(point.spec.trainable_temperature, point.spec.batch_size) for point in points}
        assert batches == {(False, fixed), (True, 300)}


def test_openclips_weights_are_openais_and_in_the_authors_recipe_commonpools() -> None:
    for recipe, tag in (("authors", "commonpool_xl_laion_s13b_b90k"), ("paper", "openai"), ("corrected", "openai")):
        row = SWEEPS["encoders"].points(base("paper", recipe=recipe), "paper")[0]
        assert (row.spec.image.weights, row.spec.text.weights) == (tag, tag)


def test_adapters_replace_full_fine_tuning_in_every_recipe() -> None:
    for recipe, full in (("paper", "full"), ("authors", "full_and_lora"), ("corrected", "full")):
        points = SWEEPS["lora"].points(base("paper", recipe=recipe), "paper")
        assert [point.spec.image.fine_tuning for point in points] == [full, "lora"]
        assert [point.spec.dna.fine_tuning for point in points] == ["full", "lora"]


@every_sweep
def test_the_small_scale_needs_no_published_weights(sweep: Sweep) -> None:
    for point in sweep.points(base("small"), "small"):
        towers = (point.spec.image, point.spec.dna, point.spec.text)
        assert [tower.weights for tower in towers] == [None, None, None]


@every_sweep
def test_paper_batches_are_the_published_ones_and_small_ones_a_tenth(sweep: Sweep) -> None:
    paper, small = (sweep.points(base(scale), scale) for scale in SCALES)
    assert [point.spec.batch_size for point in paper] == [10 * point.spec.batch_size for point in small]
    for point in paper:
        if "batch_size" in point.row:
            assert point.spec.batch_size == point.row["batch_size"]
        if "epochs" in point.row:
            assert point.spec.epochs == point.row["epochs"]


def test_published_ids_of_the_batch_size_sweep_stay() -> None:
    """A diff here orphans every finished run; it is a decision."""
    points = SWEEPS["batch-size"].points(base("paper"), "paper")
    assert [point.spec.id for point in points] == [
        "insects-image+dna+text-b500-e15-s42-74427920",
        "insects-image+dna+text-b1000-e15-s42-fded35ef",
        "insects-image+dna+text-b1500-e15-s42-62e11666",
        "insects-image+dna+text-b2000-e15-s42-8cb4809b",
    ]
