"""Building a database: whole or not at all, of barcodes alone and of a run, with what is left out and why."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.identification.databases import BARCODES, ROWS, finished_run, ids, kmer_database, left_out, material
from workloads.command_line import Tell
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.sources.opening import synthetic_source
from workloads.errors import AlteredError, DamagedError, MissingPathError, NewerVersionError, SourceError, UsageError
from workloads.evaluation.embed import embed_all
from workloads.identification.building import About, Doing, base_of, build
from workloads.identification.database import FACTS, Database, write_facts
from workloads.identification.keys import counted
from workloads.identification.material import Material, of_dataset, of_source
from workloads.identification.query import Query
from workloads.identification.writing import Known, Refuse
from workloads.leftovers import aside_of
from workloads.models.loaded import open_run
from workloads.placement import Placement
from workloads.record import RunFolder
from workloads.seals import with_seal
from workloads.spec import RANKS, ExperimentSpec
from workloads.storage import Folder


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> RunFolder:
    return finished_run(tmp_path_factory.mktemp("runs"), tiny_spec, tiny_dataset)


@pytest.fixture(scope="module")
def of_run(tmp_path_factory: pytest.TempPathFactory, run: RunFolder, tiny_dataset: PreparedDataset) -> Database:
    """A database of the run and its data set."""
    folder = tmp_path_factory.mktemp("databases") / "insects"
    base = base_of(run)
    build(folder, of_dataset(tiny_dataset, base.trained), base, about=About(thumbnails=True, license="cc0-1.0"))
    return Database(folder)


def test_equal_barcodes_are_one_key_and_keys_are_counts(tmp_path: Path) -> None:
    database = kmer_database(tmp_path / "bees")
    assert ids(database) == ["a", "b", "c", "d"]
    assert database.specimens["dna_key"].to_pylist() == [0, 1, 2, 0]
    assert np.array_equal(database.keys("dna").stored(np.arange(3)), counted(BARCODES))
    assert database.facts.num_taxa == {"order": 0, "family": 0, "genus": 2, "species": 3}
    assert database.facts.num_keys == {"dna": 3}
    assert database.facts.model is None
    database.verify()


def test_what_is_left_out_has_its_reason_and_what_has_two_names_is_listed(tmp_path: Path) -> None:
    rows = [*ROWS, ("e", "", "", BARCODES[0]), ("f", "Osmia rufa", "Osmia", BARCODES[1]), ("g", "Osmia rufa", "", "")]
    written = build(tmp_path / "bees", material(tmp_path / "t.tsv", rows), base_of(None))
    assert written.num_specimens == 5
    assert left_out(written)["e"] == "it has no name at any rank"
    assert (tmp_path / "bees" / "left_out.tsv").read_text().count("\n") == 1 + written.num_left_out == 3
    named = (tmp_path / "bees" / "other_names.tsv").read_text().splitlines()
    assert named[1:] == ["f\tits barcode, named Osmia rufa, is also that of Apis cerana"]
    assert Database(tmp_path / "bees").facts.num_other_names == written.num_other_names == 1


def test_a_run_and_its_data_set_make_a_database_that_anybody_can_read(
    of_run: Database, run: RunFolder, tiny_dataset: PreparedDataset
) -> None:
    facts, counts = of_run.facts, tiny_dataset.facts.num_specimens
    keys = ("no_split", "train_seen", "seen_keys", "val_unseen_keys", "test_unseen_keys")
    assert facts.num_specimens == sum(counts.get(split, 0) for split in keys)
    assert facts.modalities == ("image", "dna")
    assert (facts.model, facts.synthetic, facts.license) == (run.id, True, "cc0-1.0")
    assert of_run.calibrating is not None
    asking = sum(counts.get(split, 0) for split in ("val_seen", "val_unseen"))
    assert of_run.calibrating.facts.num_specimens == asking
    assert not {*ids(of_run)} & {*ids(of_run.calibrating)}
    assert len(of_run.folder.read_table("thumbnails.parquet")) == facts.num_specimens
    assert not (of_run.folder / "run").has("provenance.json")
    of_run.verify()


def test_the_keys_of_a_run_are_the_embeddings_that_it_is_measured_by(
    of_run: Database, run: RunFolder, tiny_dataset: PreparedDataset
) -> None:
    experiment, splits = open_run(run), ["seen_keys"]
    embedded = embed_all(experiment, experiment.specimens(tiny_dataset, splits, ["image", "dna"]), Placement())
    rows = {name: row for row, name in enumerate(ids(of_run))}
    for kind in ("image", "dna"):
        numbers = of_run.specimens[f"{kind}_key"].to_pylist()
        stored = of_run.keys(kind).stored(np.array([numbers[rows[name]] for name in embedded.ids]))
        np.testing.assert_allclose(stored, embedded.rows[kind], atol=2e-6)


def test_species_say_whether_the_run_learned_from_them(of_run: Database, tiny_dataset: PreparedDataset) -> None:
    trained = {*tiny_dataset.load(["no_split", "train_seen"], ["species"])["species"].drop_null().to_pylist()}
    for species, said in zip(*(of_run.specimens[name].to_pylist() for name in ("species", "trained")), strict=True):
        assert said is (None if species is None else species in trained)


def test_a_run_and_a_table_with_images_make_a_database(tmp_path: Path, run: RunFolder) -> None:
    base = base_of(run)
    written = build(tmp_path / "drawn", of_source(synthetic_source(20, 9), base.trained, looks=base.looks), base)
    assert written.num_specimens == 20
    assert written.num_keys["image"] == 20
    assert Database(tmp_path / "drawn").facts.synthetic


def streaming(rows: list[Known], then: BaseException | None = None) -> Material:
    def known(tell: Tell, refuse: Refuse) -> Iterator[list[Known]]:
        yield rows
        if then is not None:
            raise then

    return Material(name="made up", known=known)


def known(name: str, **brings: str) -> Known:
    return Known(Query(name, **brings), {**dict.fromkeys(RANKS), "species": "Apis mellifera"})  # type: ignore[arg-type]


def test_a_picture_that_cannot_be_read_costs_the_picture(tmp_path: Path, run: RunFolder) -> None:
    both = replace(known("a", barcode=BARCODES[0]), lost={"image": "it is a text"})
    alone = replace(known("b"), lost={"image": "it is a text"})
    written = build(tmp_path / "db", streaming([both, alone]), base_of(run))
    assert (written.num_specimens, written.num_lost) == (1, {"image": 1})
    assert left_out(written) == {"b": "it is a text"}
    assert Database(tmp_path / "db").facts.modalities == ("dna",)


def test_a_making_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    before = kmer_database(tmp_path / "db")
    broken = streaming([known("x", barcode=BARCODES[0])], then=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "db", broken, base_of(None), replace_it=True)
    assert ids(Database(before.folder.address)) == ["a", "b", "c", "d"]
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "new", broken, base_of(None))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db", "db.tsv"]


def test_a_process_that_was_killed_is_told_of_and_its_half_is_removed(tmp_path: Path) -> None:
    half = Path(str(aside_of(tmp_path / "db")).replace(f"-{os.getpid()}-", "-4194305-"))
    half.mkdir()
    (half / "specimens.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingPathError, match="one that was broken off is made anew"):
        _ = Database(half).facts
    remarks: list[str] = []
    kmer_database(tmp_path / "db", doing=Doing(on_remark=remarks.append))
    assert remarks[:1] == [f"An earlier making of {tmp_path}/db was broken off; this one begins anew"]
    assert not half.exists()


def test_what_was_killed_between_two_renamings_is_put_back(tmp_path: Path) -> None:
    kmer_database(tmp_path / "db")
    (tmp_path / "db").rename(tmp_path / "db.before")
    with pytest.raises(UsageError, match="is a database already"):
        kmer_database(tmp_path / "db")
    assert ids(Database(tmp_path / "db")) == ["a", "b", "c", "d"]


def test_nothing_is_overwritten_but_a_database_and_only_when_asked(tmp_path: Path) -> None:
    kmer_database(tmp_path / "db")
    with pytest.raises(UsageError, match="add --replace to make it anew"):
        kmer_database(tmp_path / "db", ROWS[:2])
    build(tmp_path / "db", material(tmp_path / "t.tsv", ROWS[:2]), base_of(None), replace_it=True)
    assert ids(Database(tmp_path / "db")) == ["a", "b"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is there and is no database"):
        build(tmp_path / "mine", material(tmp_path / "t.tsv"), base_of(None), replace_it=True)


def test_specimens_of_which_none_can_be_used_make_no_database(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the first: it has no name at any rank"):
        kmer_database(tmp_path / "db", [("a", "", "", BARCODES[0])])
    assert not (tmp_path / "db").exists()


def test_a_run_that_is_not_finished_makes_none(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="no finished run there"):
        base_of(RunFolder(Folder(tmp_path)))


def test_calibration_is_written_before_the_facts_and_what_prevents_it_is_said(tmp_path: Path) -> None:
    def calibrate(database: Database, tell: Tell) -> tuple[str, ...]:
        database.folder.write("calibration.parquet", b"what was named")
        assert database.facts.calibrated == ()
        if database.facts.num_specimens < 4:
            raise UsageError("50 queries are needed, and there are 3")
        return ("dna",)

    remarks: list[str] = []
    doing = Doing(calibrate=calibrate, on_remark=remarks.append)
    assert kmer_database(tmp_path / "db", doing=doing).facts.calibrated == ("dna",)
    few = kmer_database(tmp_path / "few", ROWS[:3], doing=doing)
    assert few.facts.calibrated == ()
    assert not few.folder.has("calibration.parquet")
    remarks = [remark for remark in remarks if not remark.startswith("Noticed")]
    assert remarks == ["It has no calibration, so that names come without a confidence: 50 queries are needed, and "
                       "there are 3"]  # fmt: skip
    few.verify()


@pytest.mark.parametrize("name", ["specimens.parquet", "keys-dna.npy", "README.md", FACTS])
def test_one_changed_byte_is_found(tmp_path: Path, name: str) -> None:
    database = kmer_database(tmp_path / "db")
    path = tmp_path / "db" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises((AlteredError, DamagedError)):
        Database(database.folder.address).verify()


def test_a_database_of_another_version_and_one_that_says_what_it_was_not_told(tmp_path: Path) -> None:
    database = kmer_database(tmp_path / "db")
    write_facts(database.folder, replace(database.facts, version=2))
    with pytest.raises(NewerVersionError, match="schema 2; this one knows up to 1"):
        _ = Database(tmp_path / "db").facts
    write_facts(database.folder, replace(database.facts, version=0))
    with pytest.raises(UsageError, match="version 0, not 1"):
        _ = Database(tmp_path / "db").facts
    Folder(tmp_path / "db").write_json(FACTS, {"version": 1})
    with pytest.raises(DamagedError, match="lost its seal"):
        _ = Database(tmp_path / "db").facts


def test_another_run_than_the_one_that_made_the_keys_is_noticed(
    of_run: Database, tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(of_run.folder.address, tmp_path / "copy"))
    assert Database(copy).run is not None
    shutil.rmtree(copy / "run")
    other = finished_run(tmp_path, replace(tiny_spec, seed=6), tiny_dataset)
    shutil.copytree(other.folder.address, copy / "run")
    with pytest.raises(DamagedError, match="and the keys were embedded by those of"):
        _ = Database(copy).run


def test_facts_that_lack_what_was_added_later_are_read(tmp_path: Path) -> None:
    folder = kmer_database(tmp_path / "db").folder
    content = folder.read_json(FACTS)
    folder.write_json(
        FACTS, with_seal({key: content[key] for key in content if key not in ("seal", "license", "made")})
    )
    assert Database(folder.address).facts.license == "unknown"
