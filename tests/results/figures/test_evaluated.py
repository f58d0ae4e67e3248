"""What a figure learns of a run, and how it says that something is not there."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from results.evaluated import EvaluatedFolder, read_evaluated
from results.figures.picture import sheet_of
from tests.results.figures.made_up import Row, write_evaluated
from workloads.errors import DamagedError, MissingPathError, UsageError
from workloads.seals import unseal_run
from workloads.storage import Folder


def texts_of(evaluated: EvaluatedFolder, *notes: str) -> list[str]:
    """Title and small print of a figure of it."""
    return [text.get_text() for text in sheet_of(evaluated, 9.0, 5.0, "Confusions", *notes).texts]


def test_a_run_tells_its_data_set_recipe_and_whether_its_insects_are_real(
    made_up: EvaluatedFolder, tiny_evaluated: EvaluatedFolder
) -> None:
    assert texts_of(made_up, "val") == ["Confusions", "insects · recipe corrected · run made-up · val"]
    title, small_print = texts_of(tiny_evaluated)
    assert title == "SYNTHETIC specimens: Confusions"
    assert "tiny (SYNTHETIC specimens)" in small_print


def test_an_evaluation_on_other_specimens_is_of_those_and_of_its_runs_recipe(
    made_up: EvaluatedFolder, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    inside = run / "evaluation-beetles"
    shutil.copytree(made_up.folder.path, inside)
    (inside / "spec.json").rename(run / "spec.json")
    said = {**made_up.folder.read_json("evaluation.json"), "dataset": "beetles", "synthetic": True}
    unseal_run(Folder(inside), "evaluation.json", "spec.json")
    Folder(inside).write_json("evaluation.json", said)
    found = read_evaluated(Folder(inside))
    assert found.facts == said
    assert found.run == "run/evaluation-beetles"
    Folder(inside).remove("evaluation.json")  # what the run was trained on is not what this is of
    with pytest.raises(MissingPathError, match="no evaluation"):
        read_evaluated(Folder(inside))
    Folder(inside).write_json("evaluation.json", said)
    with pytest.raises(MissingPathError, match=f"There is one in {inside}"):
        read_evaluated(Folder(run))


def test_a_run_that_was_not_evaluated_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="clibd evaluate RUN --data DIR"):
        read_evaluated(Folder(tmp_path))


def test_an_evaluation_that_does_not_say_of_what_it_is_is_damaged(made_up: EvaluatedFolder, tmp_path: Path) -> None:
    shutil.copytree(made_up.folder.path, tmp_path / "run")
    unseal_run(Folder(tmp_path / "run"), "evaluation.json")
    Folder(tmp_path / "run").write_json("evaluation.json", {"recipe": "corrected"})
    with pytest.raises(DamagedError, match="dataset, data_fingerprint, synthetic, missing_rank"):
        read_evaluated(Folder(tmp_path / "run"))


def test_a_retrieval_that_was_not_made_lists_those_that_were(rows: list[Row], tmp_path: Path) -> None:
    evaluated = write_evaluated(tmp_path / "run", rows, pairs=[("dna", "dna")])
    with pytest.raises(UsageError, match=r"val queries by image to dna; .*val queries by dna to dna; test"):
        evaluated.answers("val", "image", "dna")
    with pytest.raises(UsageError, match="no train queries"):
        evaluated.pairs("train", [("dna", "dna")])
    assert evaluated.pairs("val", [("image", "dna"), ("dna", "dna")]) == [("dna", "dna")]


def test_what_was_searched_among_fewer_keys_says_so(made_up: EvaluatedFolder, tmp_path: Path) -> None:
    shutil.copytree(made_up.folder.path, tmp_path / "run")
    folder = Folder(tmp_path / "run")
    unseal_run(folder, "predictions.parquet")
    table = folder.read_table("predictions.parquet")
    own = table.set_column(table.column_names.index("keys"), "keys", pa.array(["own"] * len(table)))
    folder.write_table("predictions.parquet", own)
    found = read_evaluated(Folder(folder))
    assert found.answers("val", "image", "dna").place.keys == "own"
    assert "keys searched: own" in texts_of(found)[1]
    folder.write_table("predictions.parquet", pa.concat_tables([own, table]))
    both = read_evaluated(Folder(folder))
    assert both.answers("val", "image", "dna").place.keys == "all"
    assert "searched" not in texts_of(both)[1]


def test_embeddings_come_with_their_names_and_their_loss_is_noticed(made_up: EvaluatedFolder, tmp_path: Path) -> None:
    table, embedded = made_up.embeddings("val")
    assert {name: rows.shape for name, rows in embedded.items()} == {
        name: (len(table), 8) for name in ("image", "dna", "text")
    }
    raw = made_up.folder.read_table("embeddings/val.parquet")
    assert embedded["dna"].tolist() == raw["dna"].to_pylist()
    with pytest.raises(MissingPathError, match="embeddings of train"):
        made_up.embeddings("train")
    shutil.copytree(made_up.folder.path, tmp_path / "run")
    unseal_run(Folder(tmp_path / "run"), "embeddings")
    Folder(tmp_path / "run").write_table("embeddings/val.parquet", raw.drop_columns(["order"]))
    with pytest.raises(DamagedError, match="no names"):
        read_evaluated(Folder(tmp_path / "run")).embeddings("val")
    for broken in (None, [float("nan")] * 8):
        rows = raw["dna"].to_pylist()
        rows[3] = broken
        changed = raw.set_column(raw.column_names.index("dna"), "dna", pa.array(rows, raw["dna"].type))
        Folder(tmp_path / "run").write_table("embeddings/val.parquet", changed)
        with pytest.raises(DamagedError, match=r"val\.parquet: .* finite"):
            read_evaluated(Folder(tmp_path / "run")).embeddings("val")
