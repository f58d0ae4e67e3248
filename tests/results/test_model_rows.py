"""Tables of models: which folder stands in which row, and that nothing is mixed, lost or averaged without right."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from results.model_folders import Standing, read_model, standing_of
from results.model_rows import model_rows, reason_against, render_model_table
from results.model_tables import ALL, MODEL_TABLES
from results.published import published_table
from workloads.errors import DamagedError, MissingPathError, UsageError
from workloads.experiments import Data, Experiment, experiment_spec
from workloads.recipes import with_recipe
from workloads.record import Measurement, measurements_to_table
from workloads.spec import ExperimentSpec, spec_to_dict
from workloads.storage import Folder

DATA = Data(name="insects", fingerprint="0123abcd", synthetic=False, modalities=("image", "dna", "text"))
RULES = {"recipe": "corrected", "missing_rank": "left_out"}
FACTS = {"dataset": "insects", "data_fingerprint": "0123abcd", "synthetic": False, **RULES}
PLACE = {"partition": "test", "average": "macro", "level": "species", "query": "image", "species": "seen"}
BIOCLIP = {
    "model": "BioCLIP",
    "aligned": ["image", "text"],
    "weights": "hf-hub:imageomics/bioclip",
    "prompts": "openai",
    "label": "four_ranks",
}
Evaluate = Callable[..., Folder]


def spec_of(name: Experiment, seed: int = 42) -> ExperimentSpec:
    return experiment_spec(name, "paper", DATA, seed=seed)


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    """Leaves an evaluated folder: of which spec or other model, and which top-1 of images by key."""

    def leave(
        name: str,
        spec: ExperimentSpec | None,
        values: Mapping[str, float],
        facts: Mapping[str, Any] | None = None,
        **where: Any,
    ) -> Folder:
        folder = Folder(tmp_path / name)
        if spec is not None:
            folder.write_json("spec.json", spec_to_dict(spec))
            folder.write_json("point.json", {"label": f"run {name}", "scale": "paper"})
            folder.write_json("status.json", {"state": "finished"})
        folder.write_json("evaluation.json", {**FACTS, **(facts or {})})
        place = {**PLACE, **where}
        rows = [Measurement(**place, key=key, value=value, count=5) for key, value in values.items()]
        decoys = [replace(row, method="random_key", value=0.01) for row in rows]
        decoys += [replace(row, keys="own", value=0.99) for row in rows]
        decoys += [replace(row, metric="top5", value=0.98) for row in rows]
        folder.write_table("measurements.parquet", measurements_to_table([*decoys, *rows]))
        return folder

    return leave


def records(number: int, *folders: Folder) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(render_model_table(number, folders, "json"))
    return found


@pytest.mark.parametrize("number", MODEL_TABLES)
def test_every_published_number_has_its_place(number: int, evaluate: Evaluate) -> None:
    folder = evaluate("elsewhere", spec_of("classify"), {})
    found = records(number, folder)
    printed = sorted(round(100 * entry.value, 4) for entry in published_table(number))
    assert sorted(record["published"] for record in found if record["published"] is not None) == printed
    assert {record["ours"] for record in found} == {None}


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
def test_a_run_is_what_its_spec_says(name: Experiment, standing: dict[str, Any]) -> None:
    assert standing_of(spec_of(name)) == Standing(model="CLIBD", **standing)


def test_frozen_towers_that_all_pairs_were_aligned_with_are_what_dna_was_bound_to() -> None:
    bound = spec_of("bind-image-text")
    assert standing_of(replace(bound, bind_to=None)) == standing_of(bound)
    learning = replace(bound, text=replace(bound.text, fine_tuning="full"))
    assert not standing_of(learning).frozen
    assert standing_of(replace(spec_of("align"), bind_to="image")).bind_to == ("image",)


def test_a_run_that_began_with_simclr_is_known_by_that_runs_spec_or_else_by_its_name(
    tmp_path: Path, evaluate: Evaluate
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
        assert standing_of(started).simclr_initialised is expected, name


def test_folders_stand_in_the_rows_of_their_models(evaluate: Evaluate) -> None:
    both = evaluate("two", spec_of("image-text"), {"image": 0.5, "text": 0.6})
    every = evaluate("three", spec_of("align"), {"image": 0.55, "dna": 0.45, "text": 0.65})
    bioclip = evaluate("bio", None, {"image": 0.2, "text": 0.04}, BIOCLIP)
    found = {
        (record["model"], record["aligned"], record["block"].partition(", ")[2]): record
        for record in records(2, bioclip, every, both)
        if record["column"] == "Seen"
    }
    expected = {
        ("BioCLIP", "image+text", "Image to Image"): (20.4, 20.0),
        ("BioCLIP", "image+text", "Image to DNA"): (None, None),
        ("BioCLIP", "image+text", "Image to Text"): (4.2, 4.0),
        ("CLIBD", "image+text", "Image to Image"): (54.2, 50.0),
        ("CLIBD", "image+text", "Image to DNA"): (None, None),
        ("CLIBD", "image+text", "Image to Text"): (57.6, 60.0),
        ("CLIBD", "image+dna+text", "Image to Image"): (59.3, 55.0),
        ("CLIBD", "image+dna+text", "Image to DNA"): (51.6, 45.0),
        ("CLIBD", "image+dna+text", "Image to Text"): (56.0, 65.0),
    }
    assert {place: (record["published"], record["ours"]) for place, record in found.items()} == expected
    assert found["CLIBD", "image+text", "Image to Text"]["runs"] == ["two"]


def test_a_row_says_what_a_reader_could_mistake(evaluate: Evaluate) -> None:
    bound, before = spec_of("bind-image"), evaluate("b", spec_of("align"), {"image": 0.1}, {"untrained": True})
    assert read_model(before).label == "run b, untrained"
    frozen = read_model(evaluate("f", bound, {"image": 0.3}))
    assert frozen.label == "run f, frozen towers from hf-hub:imageomics/bioclip"
    local = replace(bound, image=replace(bound.image, weights="/far/away/run"))
    assert read_model(evaluate("l", local, {"image": 0.3})).label == "run l, frozen towers from run"
    reason = reason_against(MODEL_TABLES[12], read_model(evaluate("t", spec_of("align"), {})))
    assert reason == "the state of its other towers is trained, and this table takes frozen"


@pytest.mark.parametrize(
    ("number", "name", "facts", "row"),
    [
        (1, "align", {"untrained": True}, {"training": "no_alignment", "aligned": "none"}),
        (1, "simclr-image", {}, {"training": "simclr", "aligned": "image"}),
        (1, "image-text", {}, {"training": "clip", "aligned": "image+text"}),
        (11, "align", {}, {"simclr_initialised": False}),
        (12, "bind-image", {}, {"bind_to": "image"}),
        (12, "bind-image-text", {}, {"bind_to": "image+text"}),
        (13, "image-text", {}, {"model": "CLIBD", "aligned": "image+text"}),
    ],
)
def test_each_table_has_its_own_rows(
    number: int, name: Experiment, facts: dict[str, Any], row: dict[str, Any], evaluate: Evaluate
) -> None:
    [found] = [r for r in records(number, evaluate("run", spec_of(name), {"image": 0.5}, facts)) if r["ours"]]
    assert found["published"] is not None
    assert {field: found[field] for field in row} == row


def test_partitions_and_averages_are_those_of_the_table(evaluate: Evaluate) -> None:
    place = {"partition": "val", "average": "micro", "level": "genus"}
    folder = evaluate("run", spec_of("align"), {"image": 0.5}, **place)
    shown = {number: [r["level"] for r in records(number, folder) if r["ours"]] for number in (1, 8, 9, 10)}
    assert shown == {1: [], 8: [], 9: [], 10: ["genus"]}


def test_seeds_are_averaged_and_nothing_else_is(evaluate: Evaluate) -> None:
    seeds = [evaluate(f"s{seed}", spec_of("align", seed), {"image": seed / 10}) for seed in (4, 6)]
    longer = replace(spec_of("align"), epochs=51)
    other = evaluate("longer", longer, {"image": 0.9})
    again = evaluate("again", spec_of("align", 4), {"image": 0.4})
    found = [r for r in records(11, *seeds, other, again, *seeds) if r["ours"]]
    assert [(r["ours"], r["num_runs"], r["runs"]) for r in found] == [
        (50.0, 2, ["s4", "s6"]),
        (90.0, 1, ["longer"]),
        (40.0, 1, ["again"]),
    ]
    assert found[0]["standard_error"] == pytest.approx(10)
    assert found[1]["standard_error"] is None


def test_models_that_the_paper_lacks_are_added_below(evaluate: Evaluate) -> None:
    facts = {**BIOCLIP, "model": "ViT-B-16:openai", "weights": "ViT-B-16:openai"}
    model = read_model(evaluate("clip", None, {"image": 0.1}, facts))
    rows = model_rows(MODEL_TABLES[2], [model])
    assert [dict(row.names)["model"] for row in rows] == ["BioCLIP", "CLIBD", "CLIBD", "ViT-B-16:openai"]
    assert {cell.published for cell in rows[-1].cells} == {None}


def test_a_folder_without_a_row_is_named_with_the_reason(evaluate: Evaluate) -> None:
    bioclip = evaluate("bio", None, {"image": 0.2}, BIOCLIP)
    bound = evaluate("bound", spec_of("bind-image"), {"image": 0.3})
    text = render_model_table(1, [bioclip, bound], "md")
    assert "- bio: model is BioCLIP, and this table takes CLIBD" in text
    assert "- bound: what DNA is bound to is Image, and this table takes everything" in text
    assert {record["ours"] for record in records(1, bioclip, bound)} == {None}


def test_what_cannot_be_compared_is_kept_apart(evaluate: Evaluate) -> None:
    real = evaluate("real", spec_of("align"), {"image": 0.5})
    bioclip = evaluate("bio", None, {"image": 0.2}, BIOCLIP)
    drawn = evaluate("drawn", spec_of("align"), {"image": 0.6}, {"synthetic": True})
    rule = evaluate("rule", spec_of("align"), {"image": 0.7}, {"missing_rank": "a_class"})
    text = render_model_table(13, [real, bioclip, drawn, rule], "md")
    assert text.count("# Table 13.") == 3
    assert text.count("SYNTHETIC insects") == 1
    [first] = [part for part in text.split("# Table 13.") if "run real" in part]
    assert "hf-hub:imageomics/bioclip, openai prompts, labels of four ranks" in first
    assert "run drawn" not in first
    assert "run rule" not in first


def test_a_run_that_was_measured_by_another_recipe_is_not_among_those_that_were_trained_by_it(
    evaluate: Evaluate,
) -> None:
    by_authors = {"recipe": "authors", "missing_rank": "a_class"}
    measured = evaluate("measured", spec_of("align"), {"image": 0.5}, by_authors)
    trained = evaluate("trained", with_recipe(spec_of("align"), "authors"), {"image": 0.6}, by_authors)
    text = render_model_table(1, [measured, trained], "md")
    titles = [line.partition("recipe ")[2] for line in text.splitlines() if line.startswith("Ours: ")]
    assert sorted(titles) == ["authors", "corrected measured as authors"]


def test_a_single_run_shows_its_interval(evaluate: Evaluate) -> None:
    folder = evaluate("run", spec_of("align"), {"image": 0.5}, low=0.45, high=0.56)
    text = render_model_table(2, [folder], "md")
    assert "50.0 [45.0, 56.0]" in text
    [record] = [r for r in records(2, folder) if r["ours"]]
    assert (record["low"], record["high"]) == (45.0, 56.0)


def test_an_evaluation_inside_a_run_takes_the_runs_spec(evaluate: Evaluate) -> None:
    run = evaluate("run", spec_of("image-dna"), {})
    evaluate("run/evaluation-beetles", None, {"image": 0.5})
    model = read_model(run / "evaluation-beetles")
    assert (model.name, model.label) == ("run/evaluation-beetles", "run run")
    assert model.standing.aligned == ("image", "dna")


def test_csv_holds_what_json_holds(evaluate: Evaluate) -> None:
    folder = evaluate("run", spec_of("align"), {"image": 0.5})
    lines = list(csv.DictReader(io.StringIO(render_model_table(1, [folder], "csv"))))
    for record, line in zip(records(1, folder), lines, strict=True):
        assert list(record) == list(line)
        assert (float(line["ours"]) if line["ours"] else None) == record["ours"]
        assert line["aligned"] == record["aligned"]


def test_what_is_not_an_evaluation_is_refused(evaluate: Evaluate, tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match=r"no evaluation \(evaluation\.json"):
        render_model_table(1, [Folder(tmp_path / "nothing")], "md")
    evaluate("owner", spec_of("align"), {})
    with pytest.raises(MissingPathError, match="It was evaluated with another: leave it in that run's folder"):
        read_model(evaluate("owner/evaluation-x", None, {}, {"run": "another"}))
    with pytest.raises(MissingPathError, match=r"no spec\.json"):
        read_model(evaluate("lost", None, {}))
    with pytest.raises(DamagedError, match="which modalities its model aligns"):
        read_model(evaluate("odd", None, {}, {"model": "X"}))
    with pytest.raises(UsageError, match="table 14 is not one of evaluated models"):
        render_model_table(14, [], "md")
    with pytest.raises(UsageError, match="--run RUN"):
        render_model_table(1, [], "md")
