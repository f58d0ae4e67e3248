"""The points of sweeps: runs with names of their own, what they need before them, and reasons for what cannot be."""

from collections import Counter
from dataclasses import replace
from typing import Any, get_args

import pytest

from sweeps import SWEEPS
from sweeps.point import Impossible, Point, Sweep
from tests.sweep_cases import (
    ALL,
    DATA,
    INSECT,
    SCALES,
    base,
    every_recipe,
    every_scale,
    every_sweep,
    possible,
    trained,
)
from workloads.experiments import Data, Scale
from workloads.fields import with_fields
from workloads.spec import Modality, Recipe, spec_from_dict, spec_to_dict

NUM_RUNS = {
    "costs": 0,
    "modalities": 5,
    "open-set": 2,
    "simclr-start": 3,
    "binding": 2,
    "temperature": 4,
    "amp": 2,
    "lora": 2,
    "batch-size": 4,
    "encoders": 5,
    "insect": 6,
    "dna-pooling": 5,
    "improvements": 8,
    "seeds": 4,
}
"""Distinct trained runs of each sweep at the paper's scale."""
ABLATIONS = ("temperature", "amp", "lora", "batch-size", "encoders")


def test_every_sweep_is_known_by_its_name() -> None:
    assert {name: sweep.name for name, sweep in SWEEPS.items()} == {name: name for name in NUM_RUNS}


@every_sweep
@every_scale
@every_recipe
def test_a_sweep_is_whole_by_itself(sweep: Sweep, scale: Scale, recipe: Recipe) -> None:
    """Its runs are as many as it promises, told apart by their labels, and whatever they need stands before them."""
    found = sweep.points(base(scale, recipe))
    assert len({point.label for point in found}) == len(found)
    # At the small scale binding needs the run of its frozen towers, and INSECT's published DNABERT-2 cannot be had.
    more = {"binding": 1, "insect": -1}.get(sweep.name, 0) if scale == "small" else 0
    assert len(trained(found)) == NUM_RUNS[sweep.name] + more
    before: set[str] = set()
    for point in possible(found):
        assert set(point.needs) <= before, point.label
        assert point.spec.recipe == recipe
        assert spec_from_dict(spec_to_dict(point.spec)) == point.spec
        before.add(point.id)
    assert (
        len({(point.id, str(point.row)) for point in possible(found)}) == len(possible(found)) or sweep.name == "seeds"
    )


@every_scale
def test_one_spec_is_one_run_whichever_sweeps_ask_for_it(scale: Scale) -> None:
    points = [point for sweep in SWEEPS.values() for point in sweep.points(base(scale))]
    runs = trained(points)
    assert len(runs) == {"small": 42, "paper": 43}[scale]
    assert sum(run.spec.epochs == 1 for run in runs.values()) == 2
    ids = {id(point): point.id for point in possible(points)}
    assert Counter(ids.values()).most_common(1)[0][1] >= 5  # I+D+T, of five questions at least


def test_the_small_runs_of_all_sweeps_meet_where_the_paper_has_one_setting() -> None:
    def run(sweep: str, **row: Any) -> str:
        points = possible(SWEEPS[sweep].points(base("small")))
        [found] = {p.id for p in points if p.row is not None and row.items() <= p.row.items()}
        return found

    aligned = run("modalities", aligned=ALL, training="clip")
    assert aligned == run("batch-size", batch_size=2000) == run("simclr-start", simclr_initialised=False)
    assert aligned in {
        point.id for sweep in ("open-set", "seeds") for point in possible(SWEEPS[sweep].points(base("small")))
    }
    assert run("amp", amp=True) == run("temperature", temperature="trainable", epochs=15)
    assert run("amp", amp=False) == run("lora", fine_tuning="full")


def test_a_field_that_was_set_reaches_every_run_that_does_not_decide_it_itself() -> None:
    settings = ("epochs=3", "image.fine_tuning=lora", "precision=fp32")
    plain = base()
    changed = replace(plain, spec=with_fields(plain.spec, settings), fields=settings)
    runs = [
        point.spec
        for name in ("modalities", "open-set", "simclr-start", "binding", "seeds")
        for point in possible(SWEEPS[name].points(changed))
        if point.kind == "train"
    ]
    assert {run.epochs for run in runs} == {3}
    assert {run.precision for run in runs} == {"fp32"}
    assert {run.image.fine_tuning for run in runs if run.bind_to} == {"frozen"}
    assert {run.image.fine_tuning for run in runs if not run.bind_to} == {"lora"}


@pytest.mark.parametrize("modalities", [ALL, ("dna", "text"), ("image", "dna"), ("image", "text")], ids="+".join)
@pytest.mark.parametrize("features", [False, True], ids=["pixels", "features"])
@every_sweep
@every_scale
def test_what_a_data_set_lacks_is_a_reason_and_no_missing_row(
    sweep: Sweep, scale: Scale, modalities: tuple[Modality, ...], features: bool
) -> None:
    data = replace(DATA, modalities=modalities, image_features=features, dna_features=features)
    whole, found = sweep.points(base(scale)), sweep.points(base(scale, data=data))
    rows = [point.row for point in whole if point.row]
    assert [point.row for point in found if point.row][:1] == rows[:1]
    assert all(row in [point.row for point in found] for row in rows)
    known = {point.id for point in possible(found)}
    for point in found:
        if isinstance(point, Impossible):
            assert point.reason.startswith(("insects has ", "it is a published model"))
            continue
        assert set(point.needs) <= known
        if point.kind == "train" and point.spec.dataset == data.name:
            assert set(point.spec.modalities) <= set(modalities)
            assert "image" not in point.spec.modalities or (point.spec.image.kind == "features") == features


def test_reasons_name_what_is_lacking() -> None:
    def reasons(sweep: str, **changes: Any) -> dict[str, str]:
        found = SWEEPS[sweep].points(base(data=replace(DATA, **changes)))
        return {point.label: point.reason for point in found if isinstance(point, Impossible)}

    without_dna = reasons("modalities", modalities=("image", "text"))
    assert without_dna["I+D+T"] == without_dna["SimCLR, DNA"] == "insects has no DNA, which this row needs"
    assert len(reasons("open-set", modalities=("image", "text"))) == 8
    pixels = "insects has features in place of images, and this row needs pixels"
    assert set(reasons("binding", image_features=True).values()) == {pixels}
    assert reasons("modalities", image_features=True) == {"BioCLIP": pixels, "attention of I+D+T": pixels}
    assert "no tokens to pool" in reasons("dna-pooling", dna_features=True)["first state"]


def test_bioclip_is_measured_at_the_papers_scale_and_named_with_its_command_at_the_small_one() -> None:
    row = {"model": "BioCLIP", "training": "clip", "aligned": ("image", "text")}
    [paper], [small] = (
        [point for point in SWEEPS["modalities"].points(base(scale)) if point.row == row]
        for scale in ("paper", "small")
    )
    assert isinstance(paper, Point)
    assert (paper.kind, paper.model) == ("openclip", "hf-hub:imageomics/bioclip")
    assert isinstance(small, Impossible)
    assert "clibd evaluate hf-hub:imageomics/bioclip --data DIR" in small.reason


@every_scale
def test_runs_begin_with_others_by_the_name_of_the_run(scale: Scale) -> None:
    found = possible(SWEEPS["simclr-start"].points(base(scale)))
    start, _, begun = found
    assert (start.row, start.spec.objective) == (None, "simclr")
    assert (begun.spec.image.weights, begun.needs) == (f"run:{start.id}", (start.id,))
    assert begun.spec.image.head == "new"
    bound = possible(SWEEPS["binding"].points(base(scale)))
    frozen = {point.spec.image.fine_tuning for point in bound if point.spec.bind_to}
    weights = {point.spec.image.weights for point in bound if point.spec.bind_to}
    assert frozen == {"frozen"}
    assert weights == ({"hf-hub:imageomics/bioclip"} if scale == "paper" else {f"run:{bound[0].id}"})


def test_measurements_of_open_set_recognition_are_one_folder_and_zero_shot_learning_another() -> None:
    found = possible(SWEEPS["open-set"].points(base()))
    run, classifier, *measured = found
    assert {(point.kind, point.id) for point in measured} == {
        ("open_set", measured[0].id),
        ("bzsl", next(point.id for point in measured if point.kind == "bzsl")),
    }
    assert measured[0].uses == {"run": run.id, "classifier": classifier.id}
    assert classifier.spec.objective == "classify"


@every_recipe
def test_every_pooling_is_tried_and_only_our_own_tokens_are_masked(recipe: Recipe) -> None:
    towers = {
        point.row["pooling"]: point.spec.dna
        for point in possible(SWEEPS["dna-pooling"].points(base("paper", recipe)))
        if point.row
    }
    assert all(tower.pooling == name for name, tower in towers.items())
    authors = "own" if recipe == "corrected" else "authors"
    assert {name: tower.tokens for name, tower in towers.items()} == {
        **dict.fromkeys(towers, authors),
        "masked_mean": "own",
    }


@every_sweep
@every_scale
def test_a_seed_changes_every_run_and_no_row(sweep: Sweep, scale: Scale) -> None:
    one, other = (sweep.points(base(scale, seed=seed)) for seed in (42, 142))
    assert [point.row for point in one] == [point.row for point in other]
    assert {point.id for point in possible(one)}.isdisjoint(point.id for point in possible(other))


@every_sweep
def test_runs_at_the_papers_scale_have_the_epochs_of_their_table(sweep: Sweep) -> None:
    for table in sweep.tables:
        for point in possible(sweep.points(base())):
            if (
                point.row is None
                or point.kind != "train"
                or point.row.get("training") == "simclr"
                or table.epochs is None
            ):
                continue
            assert point.spec.epochs == table.epochs


def test_the_authors_recipe_fixes_the_temperature_and_pairs_the_batches_as_their_configurations() -> None:
    for name in ("amp", "encoders"):
        trainable = {
            recipe: {point.spec.trainable_temperature for point in possible(SWEEPS[name].points(base("paper", recipe)))}
            for recipe in get_args(Recipe)
        }
        assert trainable == {"paper": {True}, "authors": {False}, "corrected": {True}}
    for recipe, fixed in (("authors", 200), ("paper", 300)):
        points = possible(SWEEPS["temperature"].points(base("paper", recipe)))
        batches = {(point.spec.trainable_temperature, point.spec.batch_size) for point in points}
        assert batches == {(False, fixed), (True, 300)}


def test_openclips_weights_are_openais_and_in_the_authors_recipe_commonpools() -> None:
    for recipe, tag in (("authors", "commonpool_xl_laion_s13b_b90k"), ("paper", "openai"), ("corrected", "openai")):
        row = possible(SWEEPS["encoders"].points(base("paper", recipe)))[0]
        assert (row.spec.image.weights, row.spec.text.weights) == (tag, tag)


def test_adapters_replace_full_fine_tuning_in_every_recipe() -> None:
    for recipe, full in (("paper", "full"), ("authors", "full_and_lora"), ("corrected", "full")):
        points = possible(SWEEPS["lora"].points(base("paper", recipe)))
        assert [point.spec.image.fine_tuning for point in points] == [full, "lora"]
        assert [point.spec.dna.fine_tuning for point in points] == ["full", "lora"]


@every_sweep
def test_the_small_scale_needs_no_published_weights(sweep: Sweep) -> None:
    for point in possible(sweep.points(base("small"))):
        weights = [tower.weights for tower in (point.spec.image, point.spec.dna, point.spec.text)]
        assert all(name is None or name.startswith("run:") for name in weights)
        assert point.kind != "openclip"


@pytest.mark.parametrize("name", ABLATIONS)
def test_paper_batches_are_the_published_ones_and_small_ones_a_tenth(name: str) -> None:
    paper, small = (possible(SWEEPS[name].points(base(scale))) for scale in SCALES)
    assert [point.spec.batch_size for point in paper] == [10 * point.spec.batch_size for point in small]
    for point in paper:
        assert point.row is not None
        assert point.spec.batch_size == point.row.get("batch_size", point.spec.batch_size)
        assert point.spec.epochs == point.row.get("epochs", 15)


def test_published_ids_of_the_batch_size_sweep_stay() -> None:
    """A diff here orphans every finished run; it is a decision."""
    points = possible(SWEEPS["batch-size"].points(base()))
    assert [point.spec.id for point in points] == [
        "insects-image+dna+text-b500-e15-s42-74427920",
        "insects-image+dna+text-b1000-e15-s42-fded35ef",
        "insects-image+dna+text-b1500-e15-s42-62e11666",
        "insects-image+dna+text-b2000-e15-s42-8cb4809b",
    ]


# --- INSECT ---------------------------------------------------------------------------------------------------------


@every_scale
@every_recipe
def test_every_encoder_of_table_4_is_trained_once_and_on_the_data_set_that_the_row_says(
    scale: Scale, recipe: Recipe
) -> None:
    found = possible(SWEEPS["insect"].points(base(scale, recipe)))
    by_id = {point.id: point for point in found}
    rows = [point for point in found if point.row]
    assert {point.kind for point in rows} == {"bzsl"}
    assert len(rows) == (14 if scale == "paper" else 12)
    for point in rows:
        assert point.row is not None
        images, dna = (by_id.get(point.uses[name]) for name in ("images", "dna"))
        assert (images is None) == (point.row["image_encoder"] == "RN-101")  # INSECT's own features
        assert (dna is None) == (point.row["dna_encoder"] == "CNN encoder")
        for run, name, fine_tuned in ((images, "image", "image_fine_tuning"), (dna, "dna", "dna_fine_tuning")):
            if run is None:
                continue
            assert name in run.spec.modalities
            assert (run.spec.dataset, run.kind) == ("INSECT", "train" if point.row[fine_tuned] else "untrained")
            starts = [by_id[key].spec.dataset for key in run.needs]
            assert starts == (["insects"] if str(point.row[f"{name}_encoder"]).startswith("CLIBD") else [])
            assert run.spec.selection == "last"
    together = next(
        point for point in rows if point.row and set(point.row.values()) >= {"CLIBD-I", "CLIBD-D", "INSECT"}
    )
    assert together.uses["images"] == together.uses["dna"]


def test_insect_that_is_not_there_or_has_no_pictures_is_a_reason() -> None:
    def reasons(insect: Data | None) -> dict[str, int]:
        found = SWEEPS["insect"].points(replace(base("small"), insect=insect))
        assert len([point for point in found if point.row]) == 14
        assert {point.id for point in possible(found)} >= {name for point in possible(found) for name in point.needs}
        return Counter(point.reason for point in found if isinstance(point, Impossible))

    [(without, count)] = reasons(None).items()
    assert count == 14
    assert "`clibd-sweep insect --insect FOLDER`" in without
    of_features = reasons(replace(INSECT, image_features=True))
    [reason] = [reason for reason in of_features if reason.startswith("INSECT has features in place of images")]
    assert reason.endswith("put the folder `images` of INSECT beside its res101.mat, and prepare it anew")
    assert sorted(of_features.values()) == [2, 9]


def test_epochs_that_were_set_go_before_insects_own() -> None:
    found = possible(SWEEPS["insect"].points(replace(base(), fields=("epochs=3",))))
    assert {point.spec.epochs for point in found if point.kind == "train"} == {3}
