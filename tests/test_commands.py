"""What a user sees who asks for something that cannot be: one sentence with the way out, and exit code 2 for misuse."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import commands.clibd
import commands.results
from workloads.command_line import run_command
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.specimens.schema import SPECIMEN_SCHEMA
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.storage import Folder

PROGRAMS = {"clibd": commands.clibd.app, "clibd-results": commands.results.app}


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line."""
    monkeypatch.setattr("sys.argv", list(words))
    with pytest.raises(SystemExit) as end:
        run_command(PROGRAMS[words[0]])
    code = end.value.code
    out = capsys.readouterr()
    return (code if isinstance(code, int) else 1), out.out, out.err


MISUSES = [
    (("clibd-results", "table", "20", "--runs", "no/such/folder"), "clibd-sweep"),
    (("clibd-results", "table", "3"), "clibd-sweep"),
    (("clibd-results", "table", "7"), "clibd-sweep"),
    (("clibd", "data", "import", "no/such/file.tsv", "--to", "x.parquet"), "no/such/file.tsv"),
    (("clibd", "data", "partition", "no/such/file.parquet"), "clibd data import"),
    (("clibd", "data", "prepare", "no/such/file.parquet", "--to", "y"), "clibd data import"),
    (("clibd", "evaluate", "no/such/run", "--data", "no/such/folder"), "run"),
    (("clibd", "evaluate", "hf-hub:owner/name"), "--data"),
    (("clibd", "evaluate", "no/such/run", "--keys", "every"), "--keys"),
    (("clibd", "identify", "no/such/file.fasta", "--db", "no/such/db"), "no/such/file.fasta"),
    (("clibd", "identify", "synthetic", "--db", "no/such/db"), "clibd db build"),
    (("clibd", "identify", "synthetic", "--db", "no/such/db", "--confidence", "95"), "0.95"),
    (("clibd", "embed", "synthetic", "--to", "x.npy"), "--db"),
    (("clibd", "bzsl", "no/such/features"), "clibd evaluate"),
    (("clibd", "open-set", "no/such/run"), "clibd evaluate"),
    (("clibd", "attention", "no/such/run", "--data", "no/such/folder"), "clibd data prepare"),
    (("clibd", "costs", "no/such/run"), "RUNS/SWEEP/RUN"),
    (("clibd", "serve", "no/such/database"), "clibd db build"),
    (("clibd-results", "compare", "no/such/run", "no/such/other"), "clibd evaluate"),
    (("clibd-results", "figure", "4", "no/such/run"), "clibd evaluate"),
    (("clibd-results", "figure", "99", "no/such/run"), "confusion"),
    (("clibd-results", "table", "1", "--run", "no/such/run"), "clibd evaluate"),
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
        "e\t\t\tDiptera\tMusca domestica\n"
    )
    table = tmp_path / "specimens.parquet"
    code, _, err = call(monkeypatch, capsys, "clibd", "data", "import", str(tmp_path), "--to", str(table))
    assert code == 0
    assert "1 record refused" in err
    rows = pq.read_table(table)
    assert rows["specimen_id"].to_pylist() == ["a", "b", "c", "d"]
    assert rows["barcode"].to_pylist() == ["ACGTACGT", None, "ACGTACGT", "ACGTACGT"]
    said = " ".join(err.split())
    assert "1 barcodes with a letter that is no nucleotide (such as b: the barcode holds '!' at base 4" in said
    assert "1 specimens without a name at any rank (such as c)" in said
    rejects = (tmp_path / "specimens.rejects.tsv").read_text().splitlines()
    assert rejects[1:] == ["e\tline 6: neither an image nor a barcode, nor features of one"]


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


def test_when_every_record_is_refused_the_list_of_reasons_is_kept_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "labels.tsv").write_text("id\tbarcode\torder\na\tACG!\tDiptera\nb\t\tDiptera\n")
    to = tmp_path / "out" / "specimens.parquet"
    code, _, err = call(monkeypatch, capsys, "clibd", "data", "import", str(tmp_path / "labels.tsv"), "--to", str(to))
    rejects = to.with_name("specimens.rejects.tsv")
    assert code == 1
    assert f"2 records refused, all in {rejects}" in err
    assert [line.split("\t")[0] for line in rejects.read_text().splitlines()] == ["specimen_id", "a", "b"]
    assert list(to.parent.iterdir()) == [rejects]


def test_an_empty_source_leaves_the_lists_of_an_earlier_import_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, to = tmp_path / "labels.tsv", tmp_path / "specimens.parquet"
    words = ("clibd", "data", "import", str(source), "--to", str(to))
    source.write_text("id\tbarcode\torder\na\tACG!\tDiptera\nb\tACGT\tDiptera\n")
    assert call(monkeypatch, capsys, *words)[0] == 0
    before = to.with_name("specimens.rejects.tsv").read_bytes()
    source.write_text("id\tbarcode\torder\n")
    assert call(monkeypatch, capsys, *words)[0] != 0
    assert to.with_name("specimens.rejects.tsv").read_bytes() == before


def test_lists_of_an_earlier_import_go_when_nothing_is_wrong_any_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, to = tmp_path / "labels.tsv", tmp_path / "out" / "specimens.parquet"
    words = ("clibd", "data", "import", str(source), "--to", str(to))
    header, good = "id\tbarcode\torder\tfamily\n", "a\tACGT\tDiptera\tMuscidae\n"
    source.write_text(f"{header}{good}b\tACGT\tColeoptera\tMuscidae\nc\tAC!T\tDiptera\tMuscidae\n")
    assert call(monkeypatch, capsys, *words)[0] == 0
    names = ["specimens.contradictions.txt", "specimens.parquet", "specimens.rejects.tsv"]
    assert sorted(path.name for path in to.parent.iterdir()) == names
    source.write_text(f"{header}{good}")
    assert call(monkeypatch, capsys, *words)[0] == 0
    assert list(to.parent.iterdir()) == [to]


def test_a_seed_is_refused_where_nothing_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    synthetic_table: Callable[[Path, int, int], SpecimenTable],
    tmp_path: Path,
) -> None:
    place = tmp_path / "specimens.parquet"
    table = synthetic_table(place, 60, 4)
    words = ("clibd", "data", "partition", str(place))
    for given, used in (((), 42), (("--seed", "7"), 7), (("--seed", "0"), 0)):
        assert call(monkeypatch, capsys, *words, *given)[0] == 0
        assert SpecimenTable.at(place).facts.partition == f"paper, seed {used}"
    code, _, err = call(monkeypatch, capsys, *words, "--lists", str(tmp_path), "--seed", "42")
    assert (code, "--lists draws nothing" in err) == (2, True)
    table.with_splits(table.column("split"), "source", table)
    code, _, err = call(monkeypatch, capsys, *words, "--seed", "42")
    assert (code, "the source's own partition is kept" in err) == (2, True)
    assert call(monkeypatch, capsys, *words, "--recipe", "paper", "--seed", "42")[0] == 0


def test_statistics_of_a_prepared_data_set_leave_out_what_preparation_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    synthetic_table: Callable[[Path, int, int], SpecimenTable],
    tmp_path: Path,
) -> None:
    table = synthetic_table(tmp_path / "specimens.parquet", 60, 4)
    rows = next(table.batches()).to_pylist()
    emptied = next(row["split"] for row in rows if row["split"] != "no_split")
    for number, row in enumerate(rows):
        row["image"] = "none.jpg" if row["split"] == emptied or number % 9 == 0 else row["image"]
    with table.writer(table.facts) as write:
        write(pa.RecordBatch.from_pylist(rows, schema=SPECIMEN_SCHEMA))
    data = tmp_path / "data"
    facts = prepare(table, Folder(data), DatasetOptions(name="some", image_size=32, max_rejects=1), map)
    assert facts.num_rejects > 5

    words = ("clibd", "data", "stats", str(data), "--out", f"file://{tmp_path}/out", "--format", "json")
    code, out, _ = call(monkeypatch, capsys, *words)

    assert code == 0
    counted = [cell for cell in json.loads(out) if (cell["table"], cell["block"]) == ("figure2", "Splits")]
    records = {cell["row"]["row"]: cell["ours"] for cell in counted if cell["column"] == "Records"}
    assert {split: count for split, count in records.items() if split in facts.splits.splits and count} == {
        split: count for split, count in facts.num_specimens.items() if count
    }
    assert emptied not in {split for split, count in records.items() if count}
    assert all(cell["synthetic"] and cell["dataset"] == "some" for cell in counted)
    assert (tmp_path / "out" / "figure7.svg").is_file()  # an address is no path: its two slashes stay


def test_statistics_of_specimens_without_splits_leave_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "labels.tsv").write_text("id\tbarcode\torder\na\tACGT\tDiptera\n")
    table, out = str(tmp_path / "specimens.parquet"), tmp_path / "out"
    assert call(monkeypatch, capsys, "clibd", "data", "import", str(tmp_path / "labels.tsv"), "--to", table)[0] == 0
    code, _, err = call(monkeypatch, capsys, "clibd", "data", "stats", table, "--out", str(out))
    assert (code, "clibd data partition" in err) == (2, True)
    assert not out.exists()


def test_an_import_does_not_undo_a_partition_unless_told_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = [f"s{number}\tACGTACGT\tDiptera\tMusca domestica\n" for number in range(20)]
    (tmp_path / "labels.tsv").write_text("".join(["id\tbarcode\torder\tspecies\n", *lines]))
    table = str(tmp_path / "my own" / "specimens.parquet")
    words = ("clibd", "data", "import", str(tmp_path / "labels.tsv"), "--to", table)
    assert call(monkeypatch, capsys, *words)[0] == 0
    said = call(monkeypatch, capsys, *words)[2]
    follow = shlex.split(said.partition("Next: ")[2])  # to the letter, though a blank is in the folder's name
    assert call(monkeypatch, capsys, *follow)[0] == 0
    before = Path(table).read_bytes()
    code, _, err = call(monkeypatch, capsys, *words)
    assert (code, "--again" in err, "paper, seed 42" in err) == (2, True, True)
    assert Path(table).read_bytes() == before
    assert call(monkeypatch, capsys, *words, "--again")[0] == 0
    assert SpecimenTable.at(table).facts.partition is None


@pytest.mark.parametrize("content", [b"id\tbarcode\na\tACGT\n", b"PAR1 and then nothing"])
def test_nobody_is_told_to_remove_a_file_of_their_own(
    content: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("mine.tsv", "mine.parquet"):
        (tmp_path / name).write_bytes(content)
        for words in (
            ("partition",),
            ("prepare", "--to", str(tmp_path / "data")),
            ("stats", "--out", str(tmp_path / "o")),
        ):
            code, _, err = call(monkeypatch, capsys, "clibd", "data", words[0], str(tmp_path / name), *words[1:])
            assert code == 2
            assert "remove it" not in err
            assert "clibd data" in err


def test_a_source_is_looked_at_without_anything_being_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"no image")
    (tmp_path / "labels.tsv").write_text(
        "id\tspecies\tCOI\tbin\tnotes\n"
        "a\tAedes vexans Meigen, 1830\tACGTACGT\tBOLD:AAA0001\tred\n"
        "b\tAedes sp.\tACGTAC\tunknown bin\tblue\n"
        "c\t\\N\tACNG\t\t\n"
        "d\tApis mellifera\t\t\t\n"
    )
    there = sorted(path.name for path in tmp_path.iterdir())
    code, out, _ = call(monkeypatch, capsys, "clibd", "data", "look", str(tmp_path))
    assert code == 0
    for part in (
        "COI                          barcode          ACGTACGT, ACGTAC, ACNG",
        "notes                        not read         red, blue",
        "3 specimens: 2 with an image, 3 with a barcode, 1 with a BIN, 2 with image and DNA",
        "Named at the rank of order 0, family 0, genus 2, species 1; 1 at none",
        "Species: 1 different, 1 of one specimen, 0 of nine or more",
        "Barcodes: 4 to 8 bases, half of them up to 6; 3 shorter than 500, 0 longer than 700, 1 with uncertain bases",
        "'Aedes sp.' -> Aedes",
        "'Aedes vexans Meigen, 1830' -> Aedes vexans",
        "1 record refused (such as d: line 5: neither an image",
        "1 values of BIN that are no BIN, left out (such as 'unknown bin' of b)",
        "Images (2 from headers): 1 JPEG, 60 x 40 to 60 x 40 pixels; 1 cannot be read (such as b.jpg: its header",
    ):
        assert part in out
    code, out, _ = call(monkeypatch, capsys, "clibd", "data", "look", str(tmp_path), "--format", "json", "--decode")
    facts = json.loads(out)
    assert (facts["specimens"], facts["refused"]["count"], facts["images"]["how"]) == (3, 1, "decoded")
    assert facts["names"]["open name"] == {"count": 1, "examples": ["'Aedes sp.' -> Aedes"]}
    assert {column["name"]: column["taken_for"] for column in facts["columns"]}["notes"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == there


def test_an_import_ends_with_what_a_look_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "labels.tsv").write_text("id\tspecies\tbarcode\na\tAedes sp. [x]\tACGTACGT\nb\tAedes vexans\tACGT\n")
    source, to = str(tmp_path / "labels.tsv"), str(tmp_path / "out" / "specimens.parquet")
    _, looked, _ = call(monkeypatch, capsys, "clibd", "data", "look", source)
    _, _, err = call(monkeypatch, capsys, "clibd", "data", "import", source, "--to", to)
    assert looked in err
    assert "'Aedes sp. [x]'" in err
