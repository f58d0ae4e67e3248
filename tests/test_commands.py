"""What a user sees who asks for something that cannot be: one sentence with the way out, and exit code 2 for misuse."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import orchestrator.cli
import orchestrator.cli_sweep
import results.cli
from workloads.command_line import run_command
from workloads.data.prepared import PreparedDataset

PROGRAMS = {"clibd": orchestrator.cli.app, "clibd-sweep": orchestrator.cli_sweep.app, "clibd-results": results.cli.app}


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line."""
    monkeypatch.setattr("sys.argv", list(words))
    with pytest.raises(SystemExit) as end:
        run_command(PROGRAMS[words[0]])
    code = end.value.code
    out = capsys.readouterr()
    return (code if isinstance(code, int) else 1), out.out, out.err


MISUSES = [
    (("clibd-sweep", "no-such-sweep", "--demo"), "no-such-sweep"),
    (("clibd-sweep", "lora"), "--demo"),
    (("clibd-sweep", "lora", "--data", "no/such/folder"), "clibd data prepare"),
    (("clibd-sweep", "lora", "--data", "no/such/folder", "--plan"), "clibd data prepare"),
    (("clibd-results", "table", "20", "--runs", "no/such/folder"), "clibd-sweep"),
    (("clibd-results", "table", "3"), "14"),
    (("clibd-results", "report", "--runs", "no/such/folder"), "clibd-sweep"),
    (("clibd", "data", "import", "no/such/file.tsv", "--to", "x.parquet"), "no/such/file.tsv"),
    (("clibd", "data", "partition", "no/such/file.parquet"), "clibd data import"),
    (("clibd", "data", "prepare", "no/such/file.parquet", "--to", "y"), "clibd data import"),
    (("clibd", "evaluate", "no/such/run", "--data", "no/such/folder"), "run"),
]


@pytest.mark.parametrize(("words", "named"), MISUSES)
def test_misuse_is_one_sentence_that_names_the_way_out(
    words: tuple[str, ...],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(monkeypatch, capsys, *words)
    assert code == 2
    assert out == ""
    assert named in err
    assert "Traceback" not in err


def test_a_batch_larger_than_the_data_set_is_refused_before_ray_starts_a_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    data = str(tiny_dataset.folder)
    code, _, err = call(monkeypatch, capsys, "clibd-sweep", "batch-size", "--data", data, "--runs", str(tmp_path))
    assert code == 2
    assert "cannot fill one batch" in err


def test_labels_alone_are_too_few_modalities(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    facts = json.loads(tiny_dataset.folder.read("dataset.json"))
    (tmp_path / "dataset.json").write_text(json.dumps({**facts, "modalities": ["text"]}))
    code, _, err = call(monkeypatch, capsys, "clibd-sweep", "lora", "--data", str(tmp_path), "--plan")
    assert code == 2
    assert "at least two of image, dna and text" in err


def test_the_plan_starts_nothing_and_lists_every_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    words = ("clibd-sweep", "encoders", "--scale", "small", "--data", str(tiny_dataset.folder))
    code, out, _ = call(monkeypatch, capsys, *words, "--runs", str(tmp_path / "runs"), "--plan")
    assert code == 0
    assert out.count("to run") == 5
    assert "5 of 5 runs to do" in out
    assert not (tmp_path / "runs").exists()


def test_every_sweep_is_listed_with_its_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(monkeypatch, capsys, "clibd-sweep", "list")
    assert code == 0
    assert [line.split()[2] for line in out.splitlines()] == ["20", "18", "19", "17", "14"]


def test_bad_records_are_listed_and_the_good_ones_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "good.jpg")
    (tmp_path / "labels.tsv").write_text(
        "id\timage\tbarcode\torder\tspecies\n"
        "a\tgood.jpg\tACGTACGT\tDiptera\tMusca domestica\n"
        "b\tgood.jpg\tACG!ACGT\tDiptera\tMusca domestica\n"
        "c\tgood.jpg\tACGTACGT\t\t\n"
        "d\tgood.jpg\tACGTACGT\tDiptera\tMusca domestica\n"
    )
    table = tmp_path / "specimens.parquet"
    code, _, err = call(monkeypatch, capsys, "clibd", "data", "import", str(tmp_path), "--to", str(table))
    assert code == 0
    assert "2 records refused" in err
    assert pq.read_table(table)["specimen_id"].to_pylist() == ["a", "d"]
    rejects = (tmp_path / "specimens.rejects.tsv").read_text().splitlines()
    assert rejects[1].startswith("b\t")
    assert "'!' at base 4" in rejects[1]
    assert rejects[2] == "c\tline 4: no label at any rank"


def test_a_foreign_parquet_file_is_not_taken_for_a_specimen_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    code, _, err = call(monkeypatch, capsys, "clibd", "data", "partition", str(tmp_path / "x.parquet"))
    assert code == 2
    assert "not a specimen table" in err


def test_an_import_does_not_overwrite_what_is_no_specimen_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = pa.table({"id": ["a"], "barcode": ["ACGTACGT"], "order": ["Diptera"]})
    pq.write_table(source, tmp_path / "specimens.parquet")
    for to, said in (("specimens.parquet", "not overwritten"), ("s.tsv", ".parquet"), (".", ".parquet")):
        code, _, err = call(monkeypatch, capsys, "clibd", "data", "import", str(tmp_path), "--to", str(tmp_path / to))
        assert (code, said in err) == (2, True)
    assert pq.read_table(tmp_path / "specimens.parquet").equals(source)
    assert [path.name for path in tmp_path.iterdir()] == ["specimens.parquet"]


def test_a_partition_with_nothing_to_train_on_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = [f"s{number}\tACGTACGT\tDiptera\tMusca domestica\n" for number in range(4)]
    (tmp_path / "labels.tsv").write_text("".join(["id\tbarcode\torder\tspecies\n", *lines]))
    table = str(tmp_path / "out" / "specimens.parquet")
    assert call(monkeypatch, capsys, "clibd", "data", "import", str(tmp_path), "--to", table)[0] == 0
    code, _, err = call(monkeypatch, capsys, "clibd", "data", "partition", table)
    assert code == 0
    assert "No specimen trains" in err
    assert "No specimen is a key" not in err
