"""Preparation: any order of work gives the same bytes, what is finished stays, and too many bad records stop it."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from tests.processes import left_behind
from workloads.data.prepared.dataset import DatasetFacts, PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, Work, first_facts, prepare
from workloads.data.prepared.shards import Shard, ShardReport
from workloads.data.specimens.schema import SPECIMEN_SCHEMA
from workloads.data.specimens.specimen_table import SpecimenTable, TableFacts
from workloads.errors import (
    MissingPathError,
    PartitionError,
    SourceError,
    TooManyRejectsError,
    UsageError,
    WeightsError,
)
from workloads.spec import RANKS
from workloads.storage import Folder

Make = Callable[[Path, int, int], SpecimenTable]
WANTED = DatasetOptions(name="insects", image_size=32)


def in_order(work: Work, shards: Sequence[Shard]) -> Iterable[ShardReport]:
    return map(work, shards)


def backwards(work: Work, shards: Sequence[Shard]) -> Iterable[ShardReport]:
    return map(work, reversed(shards))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def table(synthetic_table: Make, tmp_path_factory: pytest.TempPathFactory) -> SpecimenTable:
    return synthetic_table(tmp_path_factory.mktemp("table") / "specimens.parquet", 60, 4)


@pytest.fixture(scope="module")
def prepared(table: SpecimenTable, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DatasetFacts]:
    target = tmp_path_factory.mktemp("prepared") / "data"
    return target, prepare(table, Folder(target), WANTED, in_order)


def with_images(table: SpecimenTable, target: Path, images: dict[int, str]) -> SpecimenTable:
    """A copy in which some specimens have other images."""
    copy = SpecimenTable.at(target)
    with copy.writer(table.facts) as write:
        rows = next(table.batches()).to_pylist()
        for number, reference in images.items():
            rows[number]["image"] = reference
        write(pa.RecordBatch.from_pylist(rows, schema=SPECIMEN_SCHEMA))
    return copy


def test_the_order_of_the_work_changes_no_byte(
    table: SpecimenTable, prepared: tuple[Path, DatasetFacts], tmp_path: Path
) -> None:
    assert prepare(table, Folder(tmp_path / "data"), WANTED, backwards) == prepared[1]
    assert content(tmp_path / "data") == content(prepared[0])


def test_every_specimen_is_in_its_split_once(table: SpecimenTable, prepared: tuple[Path, DatasetFacts]) -> None:
    facts = prepared[1]
    assert facts.num_specimens == Counter(table.column("split").to_pylist())
    loaded = PreparedDataset(Folder(prepared[0])).load(list(facts.num_specimens), ["specimen_id"])
    expected = zip(table.column("specimen_id").to_pylist(), table.column("split").to_pylist(), strict=True)
    assert sorted(zip(loaded["specimen_id"].to_pylist(), loaded["split"].to_pylist(), strict=True)) == sorted(expected)


def test_names_are_counted_by_split_and_rank(table: SpecimenTable, prepared: tuple[Path, DatasetFacts]) -> None:
    rows = next(table.batches()).to_pylist()
    for split, counts in prepared[1].num_labelled.items():
        for rank in RANKS:
            assert counts[rank] == sum(row["split"] == split and row[rank] is not None for row in rows)
    assert first_facts(table, WANTED).num_labelled == prepared[1].num_labelled  # where nothing is refused


def test_an_interrupted_preparation_makes_only_what_is_missing(
    table: SpecimenTable, prepared: tuple[Path, DatasetFacts], tmp_path: Path
) -> None:
    target = tmp_path / "data"

    def breaks_off(work: Work, shards: Sequence[Shard]) -> Iterator[ShardReport]:
        yield from map(work, shards[:3])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(table, Folder(target), WANTED, breaks_off)
    assert not (target / "dataset.json").exists()
    before = {path: path.stat().st_mtime_ns for path in target.rglob("part-*")}
    assert len(before) == 6
    made: list[Shard] = []

    def noting(work: Work, shards: Sequence[Shard]) -> Iterator[ShardReport]:
        for shard in shards:
            made.append(shard)
            yield work(shard)

    assert prepare(table, Folder(target), WANTED, noting) == prepared[1]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert content(target) == content(prepared[0])
    assert len(made) > 3


def test_a_preparation_that_is_stopped_before_its_first_shard_can_be_started_again(
    table: SpecimenTable, tmp_path: Path, prepared: tuple[Path, DatasetFacts]
) -> None:
    target = tmp_path / "data"
    prepare(table, Folder(target), WANTED, in_order)
    for path in [*target.rglob("*.parquet"), *target.rglob("*.parquet.json"), target / "dataset.json"]:
        path.unlink(missing_ok=True)
    prepare(table, Folder(target), WANTED, in_order)
    assert content(target) == content(prepared[0])


def test_a_specimen_table_of_another_is_not_gone_on_with(
    table: SpecimenTable, synthetic_table: Make, tmp_path: Path, prepared: tuple[Path, DatasetFacts]
) -> None:
    target = tmp_path / "data"
    prepare(table, Folder(target), WANTED, in_order)
    for path in [*target.rglob("part-*"), target / "dataset.json"]:
        path.unlink()
    synthetic_table(target / "specimens.parquet", 60, 5)  # whole, by its own checksums
    prepare(table, Folder(target), WANTED, in_order)
    assert content(target) == content(prepared[0])


def test_another_table_or_another_image_size_needs_another_folder(
    table: SpecimenTable, synthetic_table: Make, tmp_path: Path
) -> None:
    target = Folder(tmp_path / "data")
    prepare(table, target, WANTED, in_order)
    with pytest.raises(UsageError, match="another data set"):
        prepare(synthetic_table(tmp_path / "other.parquet", 60, 5), target, WANTED, in_order)
    with pytest.raises(UsageError, match="another preparation"):
        prepare(table, target, DatasetOptions(name="insects", image_size=24), in_order)


def test_a_table_without_splits_is_refused(tmp_path: Path) -> None:
    table = SpecimenTable.at(tmp_path / "specimens.parquet")
    with table.writer(TableFacts(source="test")) as write:
        row = dict.fromkeys(SPECIMEN_SCHEMA.names) | {"specimen_id": "a", "order": "Diptera", "barcode": "ACGT"}
        write(pa.RecordBatch.from_pylist([row], schema=SPECIMEN_SCHEMA))
    with pytest.raises(UsageError, match="clibd data partition"):
        prepare(table, Folder(tmp_path / "data"), WANTED, in_order)


def test_a_share_of_bad_records_above_the_allowed_one_stops_it_with_the_list(
    table: SpecimenTable, tmp_path: Path
) -> None:
    bad = with_images(table, tmp_path / "bad.parquet", {7: "no-such-file.jpg"})
    with pytest.raises(TooManyRejectsError) as error:
        prepare(bad, Folder(tmp_path / "data"), WANTED, in_order)
    assert error.value.args[:3] == (1, 60, 0.001)
    assert not (tmp_path / "data" / "dataset.json").exists()
    assert "no-such-file.jpg" in (tmp_path / "data" / "rejects.tsv").read_text()
    with pytest.raises(MissingPathError):
        _ = PreparedDataset(Folder(tmp_path / "data")).facts

    facts = prepare(
        bad, Folder(tmp_path / "data"), DatasetOptions(name="insects", image_size=32, max_rejects=0.02), in_order
    )

    assert (facts.num_rejects, sum(facts.num_specimens.values())) == (1, 59)
    [(reason, count)] = facts.reject_reasons.items()
    assert (count, "no-such-file" in reason, "…" in reason) == (1, False, True)
    lines = (tmp_path / "data" / "rejects.tsv").read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(table.column("specimen_id")[7].as_py())


def test_the_share_to_allow_is_of_all_records_so_that_it_is_asked_for_once(
    table: SpecimenTable, tmp_path: Path
) -> None:
    bad = with_images(table, tmp_path / "bad.parquet", {number: f"{number}.jpg" for number in range(0, 60, 7)})
    target = Folder(tmp_path / "data")
    with pytest.raises(TooManyRejectsError) as error:
        prepare(bad, target, WANTED, in_order)
    assert str(error.value).startswith(
        "9 of all 60 records cannot be used (15.00%), and a share of 0.001 is allowed; the list is "
    )
    [said] = re.findall(r"--max-rejects ([\d.]+)`", str(error.value))
    facts = prepare(bad, target, DatasetOptions(name="insects", image_size=32, max_rejects=float(said)), in_order)
    assert facts.num_rejects == 9


def pictures(table: SpecimenTable, folder: Path, missing: int | None = None) -> SpecimenTable:
    """A copy whose images are files in a folder, one of which may be missing."""
    folder.mkdir()
    for number in range(len(table)):
        if number != missing:
            Image.new("RGB", (40, 40), (number, 0, 0)).save(folder / f"{number}.jpg")
    copy = SpecimenTable.at(folder / "specimens.parquet")
    with copy.writer(replace(table.facts, root=str(folder))) as write:
        rows = next(table.batches()).to_pylist()
        for number, row in enumerate(rows):
            row["image"] = f"{number}.jpg"
        write(pa.RecordBatch.from_pylist(rows, schema=SPECIMEN_SCHEMA))
    return copy


def test_what_was_mended_is_taken_when_it_is_started_again(table: SpecimenTable, tmp_path: Path) -> None:
    copy = pictures(table, tmp_path / "images", missing=7)
    with pytest.raises(TooManyRejectsError):
        prepare(copy, Folder(tmp_path / "data"), WANTED, in_order)
    Image.new("RGB", (40, 40)).save(tmp_path / "images" / "7.jpg")
    facts = prepare(copy, Folder(tmp_path / "data"), WANTED, in_order)
    assert (facts.num_rejects, sum(facts.num_specimens.values())) == (0, 60)


def test_images_that_have_moved_are_found_in_their_new_place(table: SpecimenTable, tmp_path: Path) -> None:
    old = pictures(table, tmp_path / "old")
    before = prepare(old, Folder(tmp_path / "before"), WANTED, in_order)

    def breaks_off(work: Work, shards: Sequence[Shard]) -> Iterator[ShardReport]:
        yield work(shards[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(old, Folder(tmp_path / "data"), WANTED, breaks_off)
    (tmp_path / "old").rename(tmp_path / "new")
    new = SpecimenTable.at(tmp_path / "new.parquet")
    with new.writer(replace(old.facts, root=str(tmp_path / "new"))) as write:
        for batch in SpecimenTable.at(tmp_path / "new" / "specimens.parquet").batches():
            write(batch)
    after = prepare(new, Folder(tmp_path / "data"), WANTED, in_order)
    assert (after.num_rejects, after.content) == (0, before.content)


def test_a_data_set_made_anew_in_its_folder_is_read_as_it_is_now(
    table: SpecimenTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    copy = pictures(table, tmp_path / "images", missing=7)
    lenient = DatasetOptions(name="insects", image_size=32, max_rejects=0.1)
    first = prepare(copy, Folder(tmp_path / "data"), lenient, in_order)
    splits = list(first.num_specimens)
    assert len(PreparedDataset(Folder(tmp_path / "data")).open(splits)) == 59
    Image.new("RGB", (40, 40)).save(tmp_path / "images" / "7.jpg")
    second = prepare(copy, Folder(tmp_path / "data"), lenient, in_order)
    assert (first.fingerprint, first.content != second.content) == (second.fingerprint, True)
    assert len(PreparedDataset(Folder(tmp_path / "data")).open(splits)) == 60


def test_the_checks_of_a_partition_cannot_be_gone_round(table: SpecimenTable, tmp_path: Path) -> None:
    leaking = {"test_unseen_keys": "train_seen"}
    queries = [leaking.get(split, split) for split in table.column("split").to_pylist()]
    bad = SpecimenTable.at(tmp_path / "bad.parquet")
    table.with_splits(pa.array(queries), "source", bad)
    with pytest.raises(PartitionError):
        prepare(bad, Folder(tmp_path / "data"), WANTED, in_order)
    assert not (tmp_path / "data").exists()


def test_what_killed_tasks_left_is_removed(table: SpecimenTable, tmp_path: Path) -> None:
    target = tmp_path / "data"

    def leaves_a_half(work: Work, shards: Sequence[Shard]) -> Iterator[ShardReport]:
        yield from map(work, shards)
        left_behind(target / shards[0].path)

    prepare(table, Folder(target), WANTED, leaves_a_half)
    assert not list(target.rglob("*.tmp"))


def test_a_table_of_bad_records_alone_is_an_error(table: SpecimenTable, tmp_path: Path) -> None:
    bad = with_images(table, tmp_path / "bad.parquet", dict.fromkeys(range(60), "none.jpg"))
    with pytest.raises(SourceError, match="no specimen"):
        prepare(bad, Folder(tmp_path / "data"), DatasetOptions(name="bad", image_size=32, max_rejects=1), in_order)


def test_a_reference_to_no_synthetic_insect_costs_one_record(table: SpecimenTable, tmp_path: Path) -> None:
    bad = with_images(
        table, tmp_path / "bad.parquet", {0: "synthetic:", 1: "synthetic:1/2", 2: "synthetic:-1/0/0/0/0/0"}
    )
    facts = prepare(
        bad, Folder(tmp_path / "data"), DatasetOptions(name="bad", image_size=32, max_rejects=0.1), in_order
    )
    assert facts.num_rejects == 3


def test_a_published_tokeniser_is_kept_with_the_data_set(table: SpecimenTable, tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    own = Tokenizer(WordPiece({"[PAD]": 0, "[UNK]": 1, "diptera": 2}, unk_token="[UNK]"))
    own.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=own, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(tmp_path / "hf")
    wanted = DatasetOptions(name="insects", image_size=32, text_tokenizer=str(tmp_path / "hf"))

    facts = prepare(table, Folder(tmp_path / "data"), wanted, in_order)

    assert facts.text_tokenizer == str(tmp_path / "hf")
    kept = Tokenizer.from_buffer(PreparedDataset(Folder(tmp_path / "data")).tokenizer_json())
    assert kept.get_vocab() == own.get_vocab()
    nowhere = DatasetOptions(name="insects", image_size=32, text_tokenizer=str(tmp_path / "no-such-model"))
    with pytest.raises(WeightsError, match="no-such-model"):
        prepare(table, Folder(tmp_path / "other"), nowhere, in_order)


def test_both_tokenisations_of_barcodes_are_stored(prepared: tuple[Path, DatasetFacts]) -> None:
    loaded = PreparedDataset(Folder(prepared[0])).load(["no_split"])
    assert {len(ids) for ids in loaded["dna_ids"].to_pylist()} == {133}
    assert {ids[0] for ids in loaded["dna_ids"].to_pylist()} == {1}
    assert {ids[0] for ids in loaded["authors_dna_ids"].to_pylist()} == {0}


def test_nothing_is_written_outside_the_target(prepared: tuple[Path, DatasetFacts]) -> None:
    assert {path.name for path in prepared[0].parent.iterdir()} == {"data"}
    assert not [path for path in prepared[0].rglob("*") if path.name.endswith(".tmp")]
    assert os.path.isfile(prepared[0] / "specimens.parquet")
