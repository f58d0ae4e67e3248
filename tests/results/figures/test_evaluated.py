"""What a figure learns of a run, and how it says that something is not there."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from results.figures.evaluated import Evaluated, read_evaluated
from tests.results.figures.made_up import Row, write_evaluated
from workloads.errors import DamagedError, MissingPathError, UsageError
from workloads.storage import Folder


def test_a_run_tells_its_data_set_recipe_and_whether_its_insects_are_real(
    made_up: Evaluated, tiny_evaluated: Evaluated
) -> None:
    assert (made_up.dataset, made_up.synthetic, made_up.recipe, made_up.run) == (
        "insects",
        False,
        "corrected",
        "made-up",
    )
    assert made_up.title("Confusions") == "Confusions"
    assert made_up.small_print("val") == "insects · recipe corrected · run made-up · val"
    assert tiny_evaluated.title("Confusions") == "SYNTHETIC specimens: Confusions"
    assert "tiny (SYNTHETIC specimens)" in tiny_evaluated.small_print()


def test_an_evaluation_on_other_specimens_is_of_those_and_of_its_runs_recipe(
    made_up: Evaluated, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    inside = run / "evaluation-beetles"
    shutil.copytree(made_up.folder.path, inside)
    (inside / "spec.json").rename(run / "spec.json")
    said = {**made_up.folder.read_json("evaluation.json"), "dataset": "beetles", "synthetic": True}
    Folder(inside).write_json("evaluation.json", said)
    found = read_evaluated(str(inside))
    assert (found.dataset, found.synthetic, found.recipe) == ("beetles", True, "corrected")
    assert found.run == "run/evaluation-beetles"
    Folder(inside).remove("evaluation.json")  # what the run was trained on is not what this is of
    with pytest.raises(MissingPathError, match="no evaluation"):
        read_evaluated(str(inside))
    Folder(inside).write_json("evaluation.json", said)
    with pytest.raises(MissingPathError, match=f"There is one in {inside}"):
        read_evaluated(str(run))


def test_a_run_that_was_not_evaluated_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="clibd evaluate RUN --data DIR"):
        read_evaluated(str(tmp_path))


def test_an_evaluation_that_does_not_say_of_what_it_is_is_damaged(made_up: Evaluated, tmp_path: Path) -> None:
    shutil.copytree(made_up.folder.path, tmp_path / "run")
    Folder(tmp_path / "run").write_json("evaluation.json", {"recipe": "corrected"})
    with pytest.raises(DamagedError, match="does not say dataset, data_fingerprint, synthetic, missing_rank"):
        read_evaluated(str(tmp_path / "run"))


def test_a_retrieval_that_was_not_made_lists_those_that_were(rows: list[Row], tmp_path: Path) -> None:
    evaluated = write_evaluated(tmp_path / "run", rows, pairs=[("dna", "dna")])
    with pytest.raises(UsageError, match="no val queries by image to dna; there are val queries by dna to dna; test"):
        evaluated.answers("val", "image", "dna")
    with pytest.raises(UsageError, match="no train queries"):
        evaluated.pairs("train", [("dna", "dna")])
    assert evaluated.pairs("val", [("image", "dna"), ("dna", "dna")]) == [("dna", "dna")]


def test_what_was_searched_among_fewer_keys_says_so(made_up: Evaluated, tmp_path: Path) -> None:
    shutil.copytree(made_up.folder.path, tmp_path / "run")
    folder = Folder(tmp_path / "run")
    table = folder.read_table("predictions.parquet")
    own = table.set_column(table.column_names.index("keys"), "keys", pa.array(["own"] * len(table)))
    folder.write_table("predictions.parquet", own)
    found = read_evaluated(str(folder))
    assert found.answers("val", "image", "dna").place.keys == "own"
    assert "keys searched: own" in found.small_print()
    folder.write_table("predictions.parquet", pa.concat_tables([own, table]))
    both = read_evaluated(str(folder))
    assert both.answers("val", "image", "dna").place.keys == "all"
    assert "searched" not in both.small_print()


def test_embeddings_come_with_their_names_and_their_loss_is_noticed(made_up: Evaluated, tmp_path: Path) -> None:
    table, embedded = made_up.embeddings("val")
    assert {name: rows.shape for name, rows in embedded.items()} == {
        name: (len(table), 8) for name in ("image", "dna", "text")
    }
    raw = made_up.folder.read_table("embeddings/val.parquet")
    assert embedded["dna"].tolist() == raw["dna"].to_pylist()
    with pytest.raises(MissingPathError, match="no embeddings of train queries"):
        made_up.embeddings("train")
    shutil.copytree(made_up.folder.path, tmp_path / "run")
    Folder(tmp_path / "run").write_table("embeddings/val.parquet", raw.drop_columns(["order"]))
    with pytest.raises(DamagedError, match="no names"):
        read_evaluated(str(tmp_path / "run")).embeddings("val")
    for broken in (None, [float("nan")] * 8):
        rows = raw["dna"].to_pylist()
        rows[3] = broken
        changed = raw.set_column(raw.column_names.index("dna"), "dna", pa.array(rows, raw["dna"].type))
        Folder(tmp_path / "run").write_table("embeddings/val.parquet", changed)
        with pytest.raises(DamagedError, match=r"val.parquet: a specimen has no finite embedding"):
            read_evaluated(str(tmp_path / "run")).embeddings("val")
