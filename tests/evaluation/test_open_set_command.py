"""`clibd open-set`: from stored embeddings to the tables and the files behind them."""

import json
from pathlib import Path

import numpy as np
import pytest

from commands.open_set import open_set as open_set_command
from tests.evaluation.open_set_cases import Case, classified, specimens
from workloads.errors import MissingPathError
from workloads.evaluation.open_set import open_set, open_set_measurements
from workloads.evaluation.stored import EmbeddingFacts, write_embedded
from workloads.measuring.open_set_folder import measure_open_set
from workloads.record import Measurement, RunFolder, measurements_to_table, read_evaluation
from workloads.storage import Folder


@pytest.fixture
def case() -> Case:
    queries = {"val": specimens("val", 1), "test": specimens("test", 2)}
    return Case(queries, specimens("key", 3), classified(queries))


@pytest.fixture
def folder(case: Case, tmp_path: Path) -> Folder:
    """An evaluated folder."""
    evaluated, parts = Folder(tmp_path / "run"), {**case.queries, "keys": case.keys}
    facts = EmbeddingFacts(
        model="run",
        weights="0",
        dataset="insects",
        data_fingerprint="0",
        data_content="0",
        modalities=("image", "dna"),
        precision="fp32",
    )
    write_embedded(evaluated, facts, parts)
    about = {
        "model": "CLIBD",
        "aligned": ["image", "dna"],
        "dataset": "insects",
        "data_fingerprint": "0",
        "synthetic": True,
    }
    about |= {"recipe": "corrected", "missing_rank": "left_out"}
    evaluated.write_table("measurements.parquet", measurements_to_table([]))
    evaluated.write_json("evaluation.json", about)
    return evaluated


@pytest.fixture
def classifier(case: Case, tmp_path: Path) -> Folder:
    run = Folder(tmp_path / "classifier")
    run.write_table("classifier.parquet", case.classifier)
    return run


def test_the_tables_are_printed_and_everything_behind_them_is_kept(
    case: Case, folder: Folder, classifier: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    open_set_command(str(folder), str(classifier))

    text = capsys.readouterr().out
    assert all(f"# Table {number}." in text for number in (3, 15, 16))
    assert "recipe corrected" in text
    expected = open_set(case.queries, case.keys, "corrected", case.classifier)
    measured = [Measurement(**row) for row in folder.read_table("open_set_measurements.parquet").to_pylist()]
    outcomes, names = folder.read_table("open_set.parquet"), folder.read_table("open_set_specimens.parquet")
    assert outcomes.equals(expected.outcomes)
    assert names.equals(expected.specimens)
    assert open_set_measurements(outcomes, names, "left_out") == measured
    assert all(row.low is not None for row in measured if row.metric == "top1")
    chosen = folder.read_json("open_set.json")["thresholds"]["nn_is_du"]
    threshold = expected.thresholds["nn_is_du"]
    value = None if threshold.value == -np.inf else threshold.value
    assert (chosen["value"], chosen["rule"], chosen["num_tried"]) == (value, "exact", threshold.num_tried)


def test_the_recipe_may_be_chosen(folder: Folder, classifier: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    open_set_command(str(folder), str(classifier), "authors", "json")

    assert {record["recipe"] for record in json.loads(capsys.readouterr().out)} == {"authors"}
    thresholds = folder.read_json("open_set.json")["thresholds"]
    assert thresholds.pop("nn_dna_calibrated")["rule"] == "exact"
    assert {name: (found["rule"], found["num_tried"]) for name, found in thresholds.items()} == {
        "nn_is_du": ("grid", 1000),
        "linear_is_du": ("grid", 1001),
    }


def test_without_a_classifier_its_rows_are_dashes(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    open_set_command(str(folder), None, None, "json")

    records = json.loads(capsys.readouterr().out)
    ours = {method: {r["ours"] for r in records if r["row"]["method"] == method} for method in ("Linear", "NN")}
    assert ours["Linear"] == {None}
    assert None not in ours["NN"]
    assert all("clibd-sweep open-set" in record["reason"] for record in records if record["ours"] is None)


def test_what_is_no_evaluated_folder_is_refused(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="clibd evaluate"):
        open_set_command(str(tmp_path / "nothing"), None, None, "md")
    with pytest.raises(MissingPathError, match="clibd train classify"):
        open_set_command(str(folder), str(folder), None, "md")


def test_rules_do_not_stand_beside_tables_of_other_rules(folder: Folder) -> None:
    open_set_command(str(folder), None, "authors", "csv")
    folder.remove("open_set_measurements.parquet")
    Path(f"{folder.path}/open_set_measurements.parquet").mkdir()  # so that the next call ends half way
    with pytest.raises(OSError, match="open_set_measurements"):
        open_set_command(str(folder), None, "corrected", "csv")
    assert folder.has("open_set.parquet")
    assert not folder.has("open_set.json")


def test_open_set_as_a_point_of_a_sweep_is_a_whole_folder_and_leaves_the_run_alone(
    folder: Folder, classifier: Folder, tmp_path: Path
) -> None:
    before, target = sorted(folder.files()), Folder(tmp_path / "point")
    measure_open_set(folder, classifier, target, "authors")
    measured = RunFolder(target).measurements()
    assert {"nn_is_du", "linear_is_du"} <= {row.method for row in measured}
    about = read_evaluation(target)
    assert (about["dataset"], about["recipe"], about["missing_rank"]) == ("insects", "authors", "a_class")
    assert target.read_json("open_set.json")["recipe"] == "authors"
    assert sorted(folder.files()) == before
