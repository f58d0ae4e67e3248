"""Changing a database: what comes, what goes, what two make together, and what becomes of the calibration."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.identification.databases import BARCODES, ROWS, finished_run, ids, kmer_database, left_out, material
from workloads.command_line import Tell
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.sources.opening import synthetic_source
from workloads.errors import UsageError
from workloads.identification.building import About, Base, Doing, base_of, build
from workloads.identification.changing import add, merge, remove
from workloads.identification.database import Database
from workloads.identification.embedding import KmerEmbedder
from workloads.identification.material import of_dataset, of_source
from workloads.spec import ExperimentSpec

NEW = (
    ("e", "Osmia bicornis", "Osmia", BARCODES[0][6:]),
    ("a", "Apis dorsata", "Apis", BARCODES[1][6:]),
    ("f", "Apis mellifera", "Apis", BARCODES[1]),
)
"""A new species; an id that is there; and a barcode that is there under another name."""
CALIBRATED = Doing(calibrate=lambda database, tell: ("dna",))


def keys_of(database: Database, kind: str = "dna") -> dict[str, bytes]:
    """The key of each specimen, as it is stored."""
    keys, numbers = database.keys(kind), database.specimens[f"{kind}_key"].to_pylist()  # type: ignore[arg-type]
    return {
        name: keys.stored(np.array([number])).tobytes() for name, number in zip(ids(database), numbers, strict=True)
    }


@pytest.fixture
def bees(tmp_path: Path) -> Database:
    return kmer_database(tmp_path / "bees", doing=CALIBRATED)


def reopened(database: Database) -> Database:
    again = Database(database.folder.address)
    again.verify()
    return again


def test_what_is_added_is_as_if_it_had_been_there_from_the_first(bees: Database, tmp_path: Path) -> None:
    change = add(bees, material(tmp_path / "new.tsv", NEW), KmerEmbedder())
    assert (change.num_new, change.num_gone, change.written.num_repeated) == (2, 0, 1)
    assert left_out(change.written) == {"a": "a specimen of this id is there already, which stays"}
    assert change.written.num_other_names == 1
    listed = (tmp_path / "bees" / "other_names.tsv").read_text().splitlines()
    assert listed[1:] == ["f\tits barcode, named Apis mellifera, is also that of Apis cerana"]
    at_once = kmer_database(tmp_path / "both", [*ROWS, NEW[0], NEW[2]])
    assert reopened(bees).specimens.drop_columns("source").equals(at_once.specimens.drop_columns("source"))
    assert keys_of(reopened(bees)) == keys_of(at_once)
    assert reopened(bees).facts.sources == ("bees.tsv", "new.tsv")


def test_new_records_take_the_place_of_those_with_their_ids_where_that_is_asked(bees: Database, tmp_path: Path) -> None:
    change = add(bees, material(tmp_path / "new.tsv", NEW), KmerEmbedder(), replace_records=True)
    assert (change.num_new, change.num_gone) == (3, 1)
    after = reopened(bees)
    names = dict(zip(ids(after), after.specimens["species"].to_pylist(), strict=True))
    assert names == {
        "a": "Apis dorsata",
        "b": "Apis cerana",
        "c": "Bombus hortorum",
        "d": "Apis mellifera",
        "e": "Osmia bicornis",
        "f": "Apis mellifera",
    }
    assert not left_out(change.written)


def test_specimens_go_by_id_and_by_taxon_and_keys_that_nobody_has_go_with_them(bees: Database) -> None:
    before = keys_of(bees)
    change = remove(bees, ids=["a", "nobody"], taxa=["Bombus", "Vespa"])
    assert (change.num_gone, change.unknown) == (2, ["nobody", "Vespa"])
    after = reopened(bees)
    assert keys_of(after) == {name: before[name] for name in ("b", "d")}
    assert after.facts.num_keys == {"dna": 2}


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"taxa": ["Apis melifera"]}, "has nothing of Apis melifera; there is Apis mellifera"),
        ({"taxa": ["Apis", "Bombus"]}, "nothing would be left"),
        ({}, "has nothing of what was named"),
    ],
)
def test_a_removal_of_nothing_or_of_all_is_refused(bees: Database, named: dict[str, list[str]], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        remove(bees, **named)
    assert len(ids(reopened(bees))) == 4


def test_two_databases_make_one_as_if_it_had_been_built_of_both(tmp_path: Path) -> None:
    first, second = kmer_database(tmp_path / "first"), kmer_database(tmp_path / "second", NEW)
    change = merge(first, second, tmp_path / "both")
    assert change.num_new == 2
    both, at_once = Database(tmp_path / "both"), kmer_database(tmp_path / "at once", [*ROWS, NEW[0], NEW[2]])
    assert both.specimens.drop_columns("source").equals(at_once.specimens.drop_columns("source"))
    assert keys_of(both) == keys_of(at_once)
    with pytest.raises(UsageError, match="is a database already"):
        merge(first, second, tmp_path / "both")


@pytest.mark.parametrize(
    "change",
    [
        lambda database, doing, new: add(database, new, KmerEmbedder(), doing=doing),
        lambda database, doing, new: remove(database, ids=["a"], doing=doing),
    ],
)
def test_confidence_is_calibrated_anew_or_is_none_and_says_so(
    bees: Database, tmp_path: Path, change: Callable[..., object]
) -> None:
    assert bees.facts.calibrated == ("dna",)
    change(bees, Doing(), material(tmp_path / "new.tsv", NEW))
    after = reopened(bees)
    assert after.facts.calibrated == ()
    assert after.facts.stale.endswith("since it was calibrated")
    asked: list[int] = []

    def calibrate(database: Database, tell: Tell) -> tuple[str, ...]:
        asked.append(database.facts.num_specimens)
        return ("dna",)

    remove(after, ids=["b"], doing=Doing(calibrate=calibrate))
    assert reopened(after).facts.calibrated == ("dna",)
    assert reopened(after).facts.stale == ""
    assert asked == [reopened(after).facts.num_specimens]


def test_a_change_that_breaks_off_leaves_what_was_there(bees: Database, tmp_path: Path) -> None:
    def calibrate(database: Database, tell: Tell) -> tuple[str, ...]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remove(bees, ids=["a"], doing=Doing(calibrate=calibrate))
    assert ids(reopened(bees)) == ["a", "b", "c", "d"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bees", "bees.tsv"]


def test_a_database_that_somebody_else_changes_meanwhile_is_not_overwritten(bees: Database) -> None:
    def calibrate(database: Database, tell: Tell) -> tuple[str, ...]:
        remove(bees, ids=["b"])
        return ()

    with pytest.raises(UsageError, match="was changed by somebody else meanwhile"):
        remove(Database(bees.folder.address), ids=["a"], doing=Doing(calibrate=calibrate))
    assert ids(reopened(bees)) == ["a", "c", "d"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset) -> Base:
    return base_of(finished_run(tmp_path_factory.mktemp("runs"), tiny_spec, tiny_dataset))


@pytest.fixture(scope="module")
def insects(tmp_path_factory: pytest.TempPathFactory, base: Base, tiny_dataset: PreparedDataset) -> Path:
    folder = tmp_path_factory.mktemp("databases") / "insects"
    build(folder, of_dataset(tiny_dataset, base.trained), base, about=About(thumbnails=True))
    return folder


def test_a_database_of_a_run_keeps_its_run_its_thumbnails_and_what_calibrates(
    insects: Path, base: Base, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    database = Database(shutil.copytree(insects, tmp_path / "insects"))
    before, inner = {kind: keys_of(database, kind) for kind in ("image", "dna")}, database.calibrating
    assert inner is not None
    some = ids(inner)[:3]
    asking = of_dataset(tiny_dataset, base.trained)
    assert asking.calibrating is not None
    moved = replace(asking, known=asking.calibrating, name="more")
    change = add(database, moved, base.embedder)
    after = reopened(database)
    assert change.num_new == len(ids(inner))
    assert after.calibrating is None  # all of it are keys now
    assert {name: key for name, key in keys_of(after, "image").items() if name in before["image"]} == before["image"]
    remove(after, ids=some)
    last = reopened(after)
    assert keys_of(last, "dna").items() >= before["dna"].items()
    assert last.run is not None
    assert base_of(last.run).trained("nobody") is False
    pictures = last.folder.read_table("thumbnails.parquet")["specimen_id"].to_pylist()
    assert sorted(pictures) == sorted(ids(last))


def test_databases_of_other_runs_are_not_merged(
    insects: Path, tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    other = base_of(finished_run(tmp_path, replace(tiny_spec, seed=9), tiny_dataset))
    build(tmp_path / "other", of_source(synthetic_source(10, 9), other.trained, looks=other.looks), other)
    with pytest.raises(UsageError, match="cannot be merged: the keys of the former are of the run"):
        merge(Database(insects), Database(tmp_path / "other"), tmp_path / "both")
    with pytest.raises(UsageError, match="those of the latter of 5-mers, without a model"):
        merge(Database(insects), kmer_database(tmp_path / "bees"), tmp_path / "both")
    assert not os.path.exists(tmp_path / "both")


def test_a_database_merged_with_more_of_its_own_run_keeps_what_calibrates(
    insects: Path, base: Base, tmp_path: Path
) -> None:
    build(tmp_path / "more", of_source(synthetic_source(12, 9), base.trained, looks=base.looks), base)
    merge(Database(insects), Database(tmp_path / "more"), tmp_path / "both")
    both, first = Database(tmp_path / "both"), Database(insects)
    both.verify()
    assert both.calibrating is not None
    assert first.calibrating is not None
    assert set(ids(both.calibrating)) == set(ids(first.calibrating)) - set(ids(both))
    assert len(ids(both)) == len({*ids(first), *ids(Database(tmp_path / "more"))})
