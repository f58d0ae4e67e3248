"""Which queries are looked at, by what several models answered; and `clibd attention` from runs to stored maps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from commands.attention import attention
from workloads.data.files.images import decode
from workloads.data.inputs.image_views import evaluation_view
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import EmbeddingsError, MissingPathError, SpecError, UsageError
from workloads.evaluation.attention import ROLLOUTS, attention_masks
from workloads.evaluation.embed import embed
from workloads.measuring.attention_folder import (
    SCHEMA,
    by_outcome,
    choose,
    evaluated_folder,
    image_predictions,
    measure_attention,
    to_known,
)
from workloads.models.loaded import LoadedModel, open_run, open_untrained, write_inputs
from workloads.models.weights import save_weights
from workloads.placement import Placement
from workloads.predictions import Answers, Place, Predictions
from workloads.record import RunFolder, read_evaluation
from workloads.spec import RANKS, ExperimentSpec
from workloads.storage import Folder


def model(right: list[bool], ids: list[str] | None = None) -> Answers:
    named = ids or [f"q{number:02}" for number in range(len(right))]
    subset = ["seen" if number % 2 else "unseen" for number in range(len(right))]
    given = answers([1 if hit else 0 for hit in right])
    columns = {"ids": np.array(named, dtype=object), "subset": np.array(subset, dtype=object)}
    return replace(given, **columns)


def test_an_outcome_says_of_every_model_whether_it_was_right() -> None:
    assert by_outcome({"before": before(), "after": after()}) == {
        ("seen", "wrong right"): [1, 5],
        ("seen", "wrong wrong"): [3],
        ("unseen", "right right"): [0],
        ("unseen", "right wrong"): [2, 6],
        ("unseen", "wrong right"): [4],
    }
    assert {outcome for _, outcome in by_outcome({"after": after()})} == {"right", "wrong"}


def before() -> Answers:
    return model([True, False, True, False, False, False, True])


def after() -> Answers:
    return model([True, True, False, False, True, True, False])


def test_so_many_of_each_outcome_are_chosen_and_the_same_for_a_seed() -> None:
    chance = np.random.default_rng(4)
    rows = by_outcome({str(number): model((chance.random(101) < 0.4).tolist()) for number in range(3)})
    chosen = choose(rows, 4, seed=1)
    assert chosen.keys() == rows.keys()
    for place, own in chosen.items():
        assert len(set(own)) == len(own) == min(4, len(rows[place]))
        assert set(own) <= set(rows[place])
    assert chosen == choose(rows, 4, seed=1)
    assert chosen != choose(rows, 4, seed=2)
    assert choose(rows, 1000, seed=1) == rows


def test_models_that_were_asked_other_queries_cannot_be_compared() -> None:
    other = model([True] * 7, ids=[f"p{number}" for number in range(7)])
    with pytest.raises(UsageError, match="before and other were not asked the same queries"):
        by_outcome({"before": before(), "other": other})


def answers(truth: list[int]) -> Answers:
    codes = np.array(truth, dtype=np.int32)
    found = np.full((len(truth), 2), 1, dtype=np.int32)
    ids = np.array([f"q{len(truth) - number}" for number in range(len(truth))], dtype=object)
    keys = np.array([[f"a{number}", f"b{number}"] for number in range(len(truth))], dtype=object)
    names = np.array(["seen"] * len(truth), dtype=object)
    place = Place("val", "image", "image")
    by_rank = dict.fromkeys(RANKS, codes)
    return Answers(place, ids, names, by_rank, dict.fromkeys(RANKS, found), keys, np.zeros(found.shape, np.float32))


def test_queries_without_a_species_are_left_out_and_the_others_stand_by_id() -> None:
    known = to_known(answers([1, -1, 0, 1]), "model")
    assert known.ids.tolist() == ["q1", "q2", "q4"]
    assert known.hits("species").tolist() == [True, False, True]
    assert known.key_ids[:, 0].tolist() == ["a3", "a2", "a0"]
    with pytest.raises(EmbeddingsError, match="no query of val "):
        to_known(answers([-1, -1]), "model")


def finished(spec: ExperimentSpec, dataset: PreparedDataset, path: Path) -> tuple[RunFolder, LoadedModel]:
    """A run with first weights, evaluated by image."""
    run = RunFolder(Folder(path / spec.id))
    experiment = open_untrained(spec, dataset)
    run.begin(spec, {}, {})
    write_inputs(run, experiment)
    save_weights(run.folder, experiment.model)
    image_predictions(experiment, dataset, "val", Placement()).write(run.folder)
    run.finish("finished")
    return run, experiment


@pytest.fixture(scope="module")
def runs(
    tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> list[RunFolder]:
    """Two runs of other seeds; the first has other modalities too."""
    path = tmp_path_factory.mktemp("runs")
    specs = (replace(tiny_spec, modalities=("image", "text"), seed=8), tiny_spec)
    return [finished(spec, tiny_dataset, path)[0] for spec in specs]


def test_predictions_by_image_are_the_nearest_images(tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> None:
    experiment = open_untrained(tiny_spec, tiny_dataset)
    found = image_predictions(experiment, tiny_dataset, "val", Placement()).answers(Place("val", "image", "image"))
    splits = tiny_dataset.facts.splits
    queries = experiment.specimens(tiny_dataset, list(splits.queries["val"].values()), ["image"])
    keys = experiment.specimens(tiny_dataset, splits.keys, ["image"])
    cosines = (
        embed(experiment.model, queries, "image", Placement()) @ embed(experiment.model, keys, "image", Placement()).T
    )
    assert found.ids.tolist() == queries.ids.tolist()
    for row, key in enumerate(found.key_ids[:, 0]):
        assert cosines[row, keys.ids.tolist().index(key)] == pytest.approx(cosines[row].max(), abs=1e-6)
    species = dict(zip([*queries.ids, *keys.ids], [*queries.labels["species"], *keys.labels["species"]], strict=True))
    equal = [species[q] == species[k] for q, k in zip(found.ids, found.key_ids[:, 0], strict=True)]
    assert found.hits("species").tolist() == equal


def test_the_command_stores_what_every_model_sees_and_prints_how_many_queries_had_each_outcome(
    runs: list[RunFolder], tiny_dataset: PreparedDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tiny_dataset.folder)
    before, run = (str(each.folder) for each in runs)
    attention(run, data, [before], True, "val", 2, "corrected", 42)
    printed = capsys.readouterr().out
    table = runs[1].folder.read_table("attention-val.parquet")
    facts = runs[1].folder.read_json("attention-val.json")
    assert table.schema == SCHEMA
    assert facts["models"] == ["No align", "I+T", "I+D+T"]
    assert all(word in printed for word in ("No align", "I+T", "I+D+T", "queries", "seen"))
    queries = tiny_dataset.load(list(tiny_dataset.facts.splits.queries["val"].values()), ["specimen_id", "species"])
    species = dict(zip(queries["specimen_id"].to_pylist(), queries["species"].to_pylist(), strict=True))
    assert sum(row["queries"] for row in facts["outcomes"]) == sum(name is not None for name in species.values())

    rows = table.to_pylist()
    assert {row["model"] for row in rows} == {0, 1, 2}
    for row in rows:
        assert row["truth"] == species[row["specimen_id"]]
        assert row["right"] == (row["found"] == row["truth"])
        assert row["outcome"].split()[row["model"]] == ("right" if row["right"] else "wrong")
    # The last model began where this run's weights are, so before and after are one.
    first, last = ([row["values"] for row in rows if row["model"] == number] for number in (0, 2))
    np.testing.assert_allclose(first, last, rtol=1e-4, atol=1e-6)

    shown = [row for row in rows if row["model"] == 2]
    wanted = {row["specimen_id"] for row in shown}
    contents = tiny_dataset.images(list(tiny_dataset.facts.splits.queries["val"].values()), wanted)
    squares = [evaluation_view(contents[row["specimen_id"]], 32) for row in shown]
    tower = open_run(runs[1]).model.towers["image"]
    expected = attention_masks(tower, torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2), ROLLOUTS["corrected"])
    np.testing.assert_allclose([row["values"] for row in shown], expected.flatten(1), rtol=1e-4, atol=1e-6)
    assert {row["grid_side"] for row in rows} == {2}


def test_models_that_aligned_the_same_are_numbered(
    runs: list[RunFolder], tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    before, target = [runs[1].folder, runs[0].folder], Folder(tmp_path / "point")
    measure_attention(runs[1].folder, tiny_dataset.folder, target, before, untrained=False, number=1)
    assert target.read_json("attention-val.json")["models"] == ["I+D+T (1)", "I+T", "I+D+T (2)"]


def test_the_same_call_stores_the_same(runs: list[RunFolder], tiny_dataset: PreparedDataset) -> None:
    tables = []
    for _ in range(2):
        attention(str(runs[1].folder), str(tiny_dataset.folder), [], False, "val", 3, "paper", 7)
        tables.append(runs[1].folder.read_table("attention-val.parquet"))
    assert tables[0].equals(tables[1])
    assert set(tables[0]["outcome"].to_pylist()) <= {"right", "wrong"}


def test_attention_as_a_point_of_a_sweep_is_a_whole_folder_and_leaves_the_run_alone(
    runs: list[RunFolder], tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    before, target = sorted(runs[1].folder.files()), Folder(tmp_path / "point")
    measure_attention(runs[1].folder, tiny_dataset.folder, target, number=1)
    assert target.read_json("attention-val.json")["models"] == ["No align", "I+D+T"]
    assert read_evaluation(target)["dataset"] == "tiny"
    assert RunFolder(target).measurements() == []
    assert sorted(runs[1].folder.files()) == before


def test_the_recipe_of_the_run_decides_where_none_is_asked_for(
    runs: list[RunFolder], tiny_dataset: PreparedDataset
) -> None:
    attention(str(runs[1].folder), str(tiny_dataset.folder), [], False, "val", 1, None, 7)
    assert runs[1].folder.read_json("attention-val.json")["recipe"] == "corrected"
    with pytest.raises(SpecError, match="of 1 blocks"):
        attention(str(runs[1].folder), str(tiny_dataset.folder), [], False, "val", 1, "authors", 7)


def test_a_run_must_be_finished_and_evaluated_on_the_data_set(
    runs: list[RunFolder], tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    facts, spec = tiny_dataset.facts, runs[1].spec()
    assert str(evaluated_folder(runs[1], spec, facts)) == str(runs[1].folder)
    other = replace(facts, name="elsewhere")
    with pytest.raises(MissingPathError, match="clibd evaluate"):
        evaluated_folder(runs[1], spec, other)
    evaluation = runs[1].folder / "evaluation-elsewhere"
    read = Predictions.read(runs[1].folder)
    try:
        read.write(evaluation)
        said = {"dataset": "elsewhere", "synthetic": True, "recipe": "corrected", "missing_rank": "left_out"}
        for about in (None, {**said, "data_fingerprint": "an older version"}):  # interrupted, and of other specimens
            if about is not None:
                evaluation.write_json("evaluation.json", about)
            with pytest.raises(MissingPathError, match="clibd evaluate"):
                evaluated_folder(runs[1], spec, other)
        evaluation.write_json("evaluation.json", {**said, "data_fingerprint": other.fingerprint})
        assert str(evaluated_folder(runs[1], spec, other)) == str(evaluation)
    finally:
        runs[1].folder.remove_folder("evaluation-elsewhere")
    with pytest.raises(MissingPathError, match="finished run"):
        attention(str(tmp_path), str(tiny_dataset.folder), [], False, "val", 1, None, 7)
    classifier = RunFolder(Folder(tmp_path / "classifier"))
    classifier.begin(replace(spec, objective="classify", modalities=("image",)), {}, {})
    classifier.finish("finished")
    with pytest.raises(UsageError, match="is a classifier"):
        attention(str(classifier.folder), str(tiny_dataset.folder), [], False, "val", 1, None, 7)
    with pytest.raises(UsageError, match="'train'"):
        measure_attention(runs[1].folder, tiny_dataset.folder, untrained=False, partition="train")


def test_pictures_are_the_middle_of_an_image_or_all_of_it(tiny_dataset: PreparedDataset) -> None:
    splits = tiny_dataset.facts.splits.keys
    some = tiny_dataset.load(splits, ["specimen_id", "image"]).slice(3, 2).to_pylist()
    found = tiny_dataset.images(splits, [row["specimen_id"] for row in some])
    assert found == {row["specimen_id"]: row["image"] for row in some}
    content = some[0]["image"]
    whole = decode(content)
    np.testing.assert_array_equal(evaluation_view(content, whole.shape[0], "whole")[:, :, :], whole)
    with pytest.raises(UsageError, match="no specimen stranger"):
        tiny_dataset.images(splits, ["stranger"])
