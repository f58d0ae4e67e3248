"""`clibd data partition`: what each rule would give, splits of people's own, and its options."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.test_commands import call
from workloads.data.specimens.specimen_table import SpecimenTable

BASES = "ACGTT" * 30


class Case:
    """A table of specimens that is imported and partitioned by commands."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.table = folder, str(folder / "out" / "specimens.parquet")
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def run(self, *words: str) -> tuple[int, str]:
        code, _, err = call(self._monkeypatch, self._capsys, "clibd", "data", *words)
        return code, " ".join(err.split())

    def imported(self, rows: Sequence[str], header: str = "id,order,species,barcode") -> None:
        (self.folder / "bees.csv").write_text("\n".join([header, *rows]) + "\n")
        code, said = self.run("import", str(self.folder / "bees.csv"), "--to", self.table)
        assert code == 0, said

    def splits(self) -> dict[str, str]:
        rows = pq.read_table(self.table, columns=["specimen_id", "split"]).to_pylist()
        return {row["specimen_id"]: row["split"] for row in rows}


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Case:
    return Case(tmp_path, monkeypatch, capsys)


def bees(sizes: Sequence[int]) -> list[str]:
    return [
        f"s{number}x{copy},Hymenoptera,Apis a{'bcdefghij'[number % 9]}{'k' * (number // 9)},{BASES}"
        for number, size in enumerate(sizes)
        for copy in range(size)
    ]


def test_each_rule_is_told_before_one_is_drawn_and_small_is_named_where_too_little_trains(case: Case) -> None:
    case.imported(bees([1, 2, 3, 4] * 9))
    code, said = case.run("partition", case.table)
    assert code == 0
    assert all(f"{name} " in said for name in ("paper", "authors", "small"))
    assert "No specimen trains" in said
    remedy = f"clibd data partition {case.table} --recipe small"
    assert remedy in said
    code, said = case.run(*remedy.split()[2:])
    assert code == 0
    splits = list(case.splits().values())
    assert splits.count("train_seen") > 60
    assert "--recipe small" not in said.partition("Next")[0].replace("--recipe train", "")
    assert SpecimenTable.at(case.table).facts.protocol == "bioscan_5m"


def test_a_column_of_train_val_and_test_is_kept(case: Case) -> None:
    names = ("Apis mellifera", "Bombus pratorum")
    words = ("Training", "training", "validation", "TEST")
    rows = [f"{n[0]}{i},Hymenoptera,{n},{BASES},{word}" for n in names for i, word in enumerate(words)]
    rows += [f"x{i},Hymenoptera,Osmia rufa,{BASES},validation" for i in range(2)]
    case.imported(rows, "id,order,species,barcode,split")
    code, said = case.run("partition", case.table)
    assert (code, "column of splits is kept" in said) == (0, True)
    splits = case.splits()
    assert [splits[f"A{i}"] for i in range(4)] == ["train_seen", "train_seen", "val_seen", "test_seen"]
    assert sorted(splits[f"x{i}"] for i in range(2)) == ["unseen_keys", "val_unseen"]
    code, said = case.run("partition", case.table, "--recipe", "small")
    assert code == 0
    assert SpecimenTable.at(case.table).facts.partition == "small, seed 42"


def test_a_column_that_holds_something_else_is_not_used_and_said(case: Case) -> None:
    rows = [f"{row},{number % 5}" for number, row in enumerate(bees([12] * 5))]
    case.imported(rows, "id,order,species,barcode,split")
    code, said = case.run("partition", case.table)
    assert (code, "has no train, val and test" in said) == (0, True)
    assert "train_seen" in case.splits().values()
    case.table = str(case.folder / "traps.parquet")
    case.imported(rows, "id,order,species,barcode,set")
    code, said = case.run("partition", case.table)
    assert (code, "column of splits" in said) == (0, False)  # a set of traps is not read at all


@pytest.mark.parametrize("header", ["occurrenceID,split", "Sample ID,set", "voucher,split", "process-id,partition"])
def test_lists_are_taken_under_any_id_name_with_the_usual_words(case: Case, header: str) -> None:
    case.imported([f"a{i},Hymenoptera,Apis mellifera,{BASES}" for i in range(3)])
    lists = case.folder / "lists.csv"
    lists.write_text(f"{header}\na0,train\na1,dev\na2,held-out\n")
    code, said = case.run("partition", case.table, "--lists", str(lists))
    assert code == 0, said
    assert list(case.splits().values()) == ["train_seen", "val_seen", "test_seen"]


def test_labels_to_the_order_only_name_the_ways_out(case: Case) -> None:
    case.imported([f"a{i},Hymenoptera,,{BASES}" for i in range(4)])
    code, said = case.run("partition", case.table)
    assert (code, "--lists FILE" in said) == (2, True)
    code, said = case.run("partition", case.table, "--recipe", "small")
    assert (code, "nothing can be measured" in said) == (0, True)
    assert set(case.splits().values()) == {"no_split"}
    lists = case.folder / "lists.csv"
    lists.write_text("id,split\na0,train\na1,train\na2,val\na3,test\n")
    assert case.run("partition", case.table, "--lists", str(lists))[0] == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--recipe", "small", "--shares", "0.7,0.1,0.1"), "--shares 0.8,0.1,0.1"),
        (("--shares", "0.8,0.1,0.1"), "--shares 0.7,0.1,0.1"),
        (("--shares", "most"), "write a share such as 0.8"),
        (("--seen", "2"), "between 0 and 1"),
        (("--recipe", "authors", "--min-records", "4"), "--recipe small"),
        (("--lists", "x", "--seen", "0.5"), "--seen: --lists gives the splits"),
    ],
)
def test_shares_that_cannot_be_are_refused_with_some_that_can(case: Case, options: tuple[str, ...], said: str) -> None:
    case.imported(bees([12] * 5))
    code, err = case.run("partition", case.table, *options)
    assert (code, said in err) == (2, True), err


def test_the_rules_can_be_changed_and_the_table_remembers_how(case: Case) -> None:
    case.imported(bees([6] * 10))
    assert case.run("partition", case.table, "--min-records", "5", "--seen", "0.5", "--shares", "0.5,0.2,0.1")[0] == 0
    splits = list(case.splits().values())
    assert (splits.count("train_seen"), splits.count("val_seen"), splits.count("seen_keys")) == (15, 5, 10)
    wanted = "paper, seed 42, min_records 5, seen 0.5, shares 0.5,0.2,0.1"
    assert SpecimenTable.at(case.table).facts.partition == wanted
