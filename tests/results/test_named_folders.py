"""Folders that somebody names: which row each stands for, and that nothing is mixed, lost or averaged without right."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from results.paper.tables import table_sheets
from results.render import render_sheets
from results.sheet import Cell
from sweeps.table import standing_of
from workloads.errors import DamagedError, MissingPathError
from workloads.experiments import Experiment
from workloads.recipes import with_recipe
from workloads.record import Measurement, measurements_to_table
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

Evaluate = Callable[..., Folder]
SpecOf = Callable[..., ExperimentSpec]
ALL = ("image", "dna", "text")
BIOCLIP = {
    "model": "BioCLIP",
    "aligned": ["image", "text"],
    "weights": "hf-hub:imageomics/bioclip",
    "prompts": "openai",
    "label": "four_ranks",
}


def ours(number: int, *folders: Folder) -> list[Cell]:
    """Cells with a number of ours that is no floor."""
    sheets = table_sheets(number, None, folders)
    return [cell for sheet in sheets for cell in sheet.cells if cell.ours is not None and cell.runs]


def text_of(number: int, *folders: Folder) -> str:
    return render_sheets(table_sheets(number, None, folders), "md")


# --- What a run is


@pytest.mark.parametrize(
    ("name", "standing"),
    [
        ("align", {"training": "clip", "aligned": ALL}),
        ("image-dna", {"training": "clip", "aligned": ("image", "dna")}),
        ("simclr-image", {"training": "simclr", "aligned": ("image",)}),
        ("classify", {"training": "classifier", "aligned": ("image",)}),
        ("bind-image", {"training": "clip", "aligned": ("image", "dna"), "bind_to": ("image",), "frozen": True}),
        ("bind-image-text", {"training": "clip", "aligned": ALL, "bind_to": ("image", "text"), "frozen": True}),
    ],
)
def test_a_run_is_what_its_spec_says(name: Experiment, standing: dict[str, Any], spec_of: SpecOf) -> None:
    usual = {"model": "CLIBD", "bind_to": None, "frozen": False, "simclr_initialised": False}
    found = standing_of(spec_of(name))
    assert {field: found[field] for field in {**usual, **standing}} == {**usual, **standing}


def test_frozen_towers_that_all_pairs_were_aligned_with_are_what_dna_was_bound_to(spec_of: SpecOf) -> None:
    bound = spec_of("bind-image-text")
    assert standing_of(replace(bound, bind_to=None)) == standing_of(bound)
    learning = replace(bound, text=replace(bound.text, fine_tuning="full"))
    assert not standing_of(learning)["frozen"]
    assert standing_of(replace(spec_of("align"), bind_to="image"))["bind_to"] == ("image",)


def test_a_spec_says_the_rows_of_the_ablations(spec_of: SpecOf) -> None:
    spec = replace(spec_of("align"), batch_size=500, epochs=38, precision="fp32", trainable_temperature=False)
    found = standing_of(spec)
    expected = {
        **{"batch_size": 500, "epochs": 38, "amp": False, "fine_tuning": "full", "temperature": "fixed"},
        **{"image_encoder": "timm(B/16)", "dna_encoder": "BarcodeBERT", "text_encoder": "BERT(small)"},
    }
    assert {field: found[field] for field in expected} == expected
    clip = replace(spec.image, kind="openclip", architecture="ViT-L-14-quickgelu")
    found = standing_of(replace(spec, image=clip, modalities=("image", "text")))
    assert (found["image_encoder"], found["dna_encoder"]) == ("OpenCLIP(L/14)", None)


def test_a_run_that_began_with_simclr_is_known_by_that_runs_spec_or_else_by_its_name(
    tmp_path: Path, evaluate: Evaluate, spec_of: SpecOf
) -> None:
    spec = spec_of("align")
    for name, began, expected in (
        ("anything", "simclr-image", True),
        ("named-simclr-image-b5", "align", False),
        ("gone-simclr-image-b5-e1", None, True),
        ("gone-image", None, False),
    ):
        if began:
            evaluate(name, spec_of(began), {})
        started = replace(spec, image=replace(spec.image, weights=str(tmp_path / name)))
        cells = ours(11, evaluate(f"of-{name}", started, {"image": 0.5}))
        assert [cell.row["simclr_initialised"] for cell in cells] == [expected], name
    by_id = replace(spec, image=replace(spec.image, weights="run:insects-simclr-image-b5-e1-s42-01234567"))
    assert standing_of(by_id)["simclr_initialised"] is True


# --- Rows


def test_folders_stand_in_the_rows_of_their_models(evaluate: Evaluate, spec_of: SpecOf) -> None:
    both = evaluate("two", spec_of("image-text"), {"image": 0.5, "text": 0.6})
    every = evaluate("three", spec_of("align"), {"image": 0.55, "dna": 0.45, "text": 0.65})
    bioclip = evaluate("bio", None, {"image": 0.2, "text": 0.04}, BIOCLIP)
    found = {
        (cell.row["model"], cell.row["aligned"], cell.key): (cell.published, cell.ours, cell.runs)
        for cell in ours(2, bioclip, every, both)
    }
    assert found == {
        ("BioCLIP", ("image", "text"), "image"): (0.204, 0.2, ("bio",)),
        ("BioCLIP", ("image", "text"), "text"): (pytest.approx(0.042), 0.04, ("bio",)),
        ("CLIBD", ("image", "text"), "image"): (pytest.approx(0.542), 0.5, ("two",)),
        ("CLIBD", ("image", "text"), "text"): (pytest.approx(0.576), 0.6, ("two",)),
        ("CLIBD", ALL, "image"): (pytest.approx(0.593), 0.55, ("three",)),
        ("CLIBD", ALL, "dna"): (pytest.approx(0.516), 0.45, ("three",)),
        ("CLIBD", ALL, "text"): (pytest.approx(0.56), 0.65, ("three",)),
    }
    floors = [cell for sheet in table_sheets(2, None, [every]) for cell in sheet.cells if cell.method == "linear_cca"]
    assert {cell.ours for cell in floors} == {0.01}


@pytest.mark.parametrize(
    ("number", "name", "facts", "row"),
    [
        (1, "align", {"untrained": True}, {"training": "no_alignment", "aligned": ()}),
        (1, "simclr-image", {}, {"training": "simclr", "aligned": ("image",)}),
        (1, "image-text", {}, {"training": "clip", "aligned": ("image", "text")}),
        (11, "align", {}, {"simclr_initialised": False}),
        (12, "bind-image", {}, {"bind_to": ("image",)}),
        (12, "bind-image-text", {}, {"bind_to": ("image", "text")}),
        (13, "image-text", {}, {"model": "CLIBD", "aligned": ("image", "text")}),
    ],
)
def test_each_table_has_its_own_rows(
    number: int, name: Experiment, facts: dict[str, Any], row: dict[str, Any], evaluate: Evaluate, spec_of: SpecOf
) -> None:
    [cell] = ours(number, evaluate("run", spec_of(name), {"image": 0.5}, facts))
    assert cell.published is not None
    assert cell.row == row


def test_a_row_that_the_paper_lacks_is_added_below(evaluate: Evaluate, spec_of: SpecOf) -> None:
    facts = {**BIOCLIP, "model": "ViT-B-16:openai", "weights": "ViT-B-16:openai"}
    [sheet] = table_sheets(2, None, [evaluate("clip", None, {"image": 0.1}, facts)])
    models = list(dict.fromkeys(cell.row["model"] for cell in sheet.cells if cell.method == "clibd"))
    assert models == ["BioCLIP", "CLIBD", "ViT-B-16:openai"]
    [cell] = ours(20, evaluate("odd", replace(spec_of("align"), batch_size=77), {"image": 0.1}, partition="val"))
    assert (cell.row, cell.published) == ({"batch_size": 77}, None)


def test_partitions_and_averages_are_those_of_the_table(evaluate: Evaluate, spec_of: SpecOf) -> None:
    place = {"partition": "val", "average": "micro", "level": "genus"}
    folder = evaluate("run", spec_of("align"), {"image": 0.5}, **place)
    shown = {number: [cell.rank for cell in ours(number, folder)] for number in (1, 8, 9, 10)}
    assert shown == {1: [], 8: [], 9: [], 10: ["genus"]}


def test_seeds_are_averaged_and_nothing_else_is(evaluate: Evaluate, spec_of: SpecOf) -> None:
    seeds = [evaluate(f"s{seed}", spec_of("align", seed), {"image": seed / 10}) for seed in (4, 6)]
    other = evaluate("longer", replace(spec_of("align"), epochs=51), {"image": 0.9})
    again = evaluate("again", spec_of("align", 4), {"image": 0.4})
    found = ours(11, *seeds, other, again, *seeds)
    assert [(cell.ours, cell.runs, cell.standard_error) for cell in found] == [
        (0.5, ("s4", "s6"), pytest.approx(0.1)),
        (0.9, ("longer",), None),
        (0.4, ("again",), None),
    ]


def test_a_folder_without_a_row_is_named_with_the_reason(evaluate: Evaluate, spec_of: SpecOf) -> None:
    bioclip = evaluate("bio", None, {"image": 0.2}, BIOCLIP)
    text = text_of(1, bioclip)
    assert "Not in this table: bio: its model is BioCLIP, and this table takes CLIBD" in text
    assert ours(1, bioclip) == []


def test_what_cannot_be_compared_is_kept_apart(evaluate: Evaluate, spec_of: SpecOf) -> None:
    real = evaluate("real", spec_of("align"), {"image": 0.5})
    bioclip = evaluate("bio", None, {"image": 0.2}, BIOCLIP)
    other = evaluate("other", spec_of("align"), {"image": 0.6}, {"dataset": "beetles"})
    by_authors = {"recipe": "authors", "missing_rank": "a_class"}
    measured = evaluate("measured", spec_of("align"), {"image": 0.5}, by_authors)
    trained = evaluate("trained", with_recipe(spec_of("align"), "authors"), {"image": 0.6}, by_authors)
    sheets = table_sheets(13, None, [real, bioclip, other, measured, trained])
    runs = [{name for cell in sheet.cells for name in cell.runs} for sheet in sheets]
    assert runs == [{"real", "bio"}, {"other"}, {"measured"}, {"trained"}]
    assert "hf-hub:imageomics/bioclip, openai prompts, labels of four ranks" in render_sheets(sheets[:1], "md")
    assert sheets[2].about[0].endswith("recipe corrected measured as authors")


def test_a_row_says_what_a_reader_could_mistake(evaluate: Evaluate, spec_of: SpecOf) -> None:
    [before] = ours(1, evaluate("b", spec_of("align"), {"image": 0.1}, {"untrained": True}))
    assert before.label == "run b, untrained"
    bound = spec_of("bind-image")
    [frozen] = ours(12, evaluate("f", bound, {"image": 0.3}))
    assert frozen.label == "run f, frozen towers from hf-hub:imageomics/bioclip"
    local = replace(bound, image=replace(bound.image, weights="/far/away/run"))
    [frozen] = ours(12, evaluate("l", local, {"image": 0.3}))
    assert frozen.label == "run l, frozen towers from run"


def test_an_evaluation_inside_a_run_takes_the_runs_spec(evaluate: Evaluate, spec_of: SpecOf) -> None:
    run = evaluate("run", spec_of("image-dna"), {})
    evaluate("run/evaluation-beetles", None, {"image": 0.5})
    [cell] = ours(1, run / "evaluation-beetles")
    assert (cell.runs, cell.label, cell.row["aligned"]) == (("run/evaluation-beetles",), "run run", ("image", "dna"))


def test_what_is_not_an_evaluation_is_refused(evaluate: Evaluate, tmp_path: Path, spec_of: SpecOf) -> None:
    with pytest.raises(MissingPathError, match=r"evaluation\.json"):
        ours(1, Folder(tmp_path / "nothing"))
    evaluate("owner", spec_of("align"), {})
    with pytest.raises(MissingPathError, match="evaluated with another"):
        ours(1, evaluate("owner/evaluation-x", None, {}, {"run": "another"}))
    with pytest.raises(MissingPathError, match=r"no spec\.json"):
        ours(1, evaluate("lost", None, {}, {"run": "lost"}))
    with pytest.raises(DamagedError, match="which modalities"):
        ours(1, evaluate("odd", None, {"dna": 0.1}, {"model": "X"}))


# --- Open-set recognition and zero-shot learning beside a run

SETTINGS = {
    "recipe": "corrected",
    "thresholds": {
        "nn_is_du": {"value": 0.7123456, "rule": "exact", "num_tried": 11_831, "harmonic_mean": 0.39},
        "linear_is_du": {"value": None, "rule": "grid", "num_tried": 1_001, "harmonic_mean": 0.0},
    },
}


def measurement(method: str, species: str, value: float, **place: Any) -> Measurement:
    place = {"partition": "test", "average": "micro", "level": "species", "metric": "top1", "key": "dna", **place}
    return Measurement(method=method, query="image", species=species, value=value, count=10, **place)


@pytest.fixture
def open_set(evaluate: Evaluate, spec_of: SpecOf) -> Folder:
    """A run beside whose own evaluation `clibd open-set` has been."""
    folder = evaluate("run", spec_of("align"), {"image": 0.5})
    measured = [
        measurement("nn_dna", "seen", 0.75, low=0.7, high=0.8),
        measurement("nn_is_du", "unseen", 0.3, key="image+dna"),
        measurement("nn_is_du", "unseen", 0.9, key="image+dna", partition="val"),
        measurement("nn_is_du", "unseen", 0.8, key="image+dna", metric="top5"),
        measurement("linear_is_du", "seen", 0.2, key="class+dna"),
        measurement("nn_is_du", "harmonic_mean", 0.5, key="image+dna", average="macro", level="order"),
        measurement("nn_is_du_oracle", "seen", 0.95, key="image+dna", keys="own"),
        measurement("nn_is_du", "seen", 0.8, key="image+dna", metric="seen_unseen_accuracy"),
        measurement("nn_is_du", "all", 0.91, key="image+dna", metric="auroc"),
        measurement("nn_is_du", "all", 0.345, key="image+dna", metric="fpr_at_95_tpr"),
    ]
    folder.write_table("open_set_measurements.parquet", measurements_to_table(measured))
    folder.write_json("open_set.json", SETTINGS)
    return folder


def by_row(cells: list[Cell]) -> Mapping[tuple[Any, ...], tuple[float | None, float | None]]:
    return {
        (*cell.row.values(), cell.average, cell.rank, cell.column): (
            cell.published and round(cell.published, 4),
            cell.ours,
        )
        for cell in cells
    }


def test_open_set_recognition_stands_in_its_tables(open_set: Folder) -> None:
    assert by_row(ours(3, open_set)) == {
        ("NN", "DNA", "micro", "species", "Seen"): (0.742, 0.75),
        ("NN", "IS+DU", "micro", "species", "Unseen"): (0.262, 0.3),
        ("Linear", "IS+DU", "micro", "species", "Seen"): (0.726, 0.2),
        ("NN, told", "IS+DU", "micro", "species", "Seen"): (None, 0.95),
    }
    assert by_row(ours(16, open_set)) == {("NN", "IS+DU", "macro", "order", "H.M."): (0.941, 0.5)}
    assert by_row(ours(15, open_set)) == {
        ("NN", "IS+DU", False, None, "species", "Seen"): (0.8329, 0.8),
        ("NN", "IS+DU", False, None, "species", "AUROC"): (None, 0.91),
        ("NN", "IS+DU", False, None, "species", "FPR at 95 % TPR"): (None, 0.345),
    }
    assert [cell.method for cell in ours(1, open_set)] == ["clibd"]


def test_the_page_says_where_thresholds_come_from(open_set: Folder) -> None:
    text = text_of(3, open_set)
    assert "nn_is_du: 0.7123; chosen among 11,831 (all that differ), with a harmonic mean of 39.0" in text
    assert "linear_is_du: every query is called seen; chosen among 1,001 (evenly from 0 to 1), of which none" in text


def test_bzsl_stands_beside_what_was_measured_by_the_same_recipe(open_set: Folder) -> None:
    def found() -> dict[str, set[str]]:
        sheets = table_sheets(3, None, [open_set])
        return {
            sheet.about[0].rpartition(" ")[2]: {name for cell in sheet.cells for name in cell.runs} for sheet in sheets
        }

    bzsl, asked = open_set / "bzsl", {"recipe": "corrected", "source": "run", "dna": None}
    rows = [
        measurement(method, "seen", share, average="macro", level="genus", key="classes")
        for method, share in (("bzsl", 0.6), ("random_key", 0.02), ("nearest_class_mean", 0.4))
    ]
    bzsl.write_table("measurements.parquet", measurements_to_table(rows))
    assert found() == {"corrected": {"run"}}  # without bzsl.json it is not whole
    bzsl.write_json("bzsl.json", {"asked": asked})
    assert found() == {"corrected": {"run", "run/bzsl"}}
    [sheet] = table_sheets(3, None, [open_set])
    assert {cell.label: cell.ours for cell in sheet.cells if cell.ours is not None and not cell.runs} == {
        "chance": 0.02,
        "floor: nearest class mean": 0.4,
    }
    bzsl.write_json("bzsl.json", {"asked": {**asked, "recipe": "authors"}})
    assert found() == {"corrected": {"run"}, "authors": {"run/bzsl"}}
