"""The specimen table on disk: written whole, read in pieces, sorted by split."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.specimens.schema import PROTOCOLS, SPECIMEN_SCHEMA
from workloads.data.specimens.specimen_table import ROWS_PER_GROUP, SpecimenTable, TableFacts
from workloads.errors import ClibdError, DamagedError, MissingPathError, UsageError
from workloads.storage import Folder

FACTS = TableFacts(source="beetles.tsv", root="/somewhere", partition="paper, seed 42")
SPLITS = PROTOCOLS["clibd"].splits


def rows_of(count: int, **columns: list[Any]) -> pa.RecordBatch:
    values = {"specimen_id": [f"s{number}" for number in range(count)], "order": ["Diptera"] * count, **columns}
    arrays = [pa.array(values.get(field.name, [None] * count), field.type) for field in SPECIMEN_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SPECIMEN_SCHEMA)


def written(path: Path, *batches: pa.RecordBatch) -> SpecimenTable:
    table = SpecimenTable.at(path / "specimens.parquet")
    with table.writer(FACTS) as write:
        for batch in batches:
            write(batch)
    return table


def ids(table: SpecimenTable) -> list[str]:
    return list(table.column("specimen_id").to_pylist())


def test_what_was_written_is_read_with_its_facts(tmp_path: Path) -> None:
    table = written(tmp_path, rows_of(3), rows_of(2))
    again = SpecimenTable.at(str(tmp_path / "specimens.parquet"))
    assert len(again) == 5
    assert again.facts == FACTS
    assert ids(again) == ["s0", "s1", "s2", "s0", "s1"]
    assert pa.Table.from_batches(table.batches()).to_pylist() == [*rows_of(3).to_pylist(), *rows_of(2).to_pylist()]


def test_a_table_that_breaks_off_while_it_is_written_is_not_there(tmp_path: Path) -> None:
    table = SpecimenTable.at(tmp_path / "specimens.parquet")

    def broken_off() -> None:
        with table.writer(FACTS) as write:
            write(rows_of(ROWS_PER_GROUP))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        broken_off()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MissingPathError, match="clibd data import"):
        len(table)


def test_any_run_of_rows_can_be_read(tmp_path: Path) -> None:
    count = 2 * ROWS_PER_GROUP + 10
    table = written(tmp_path, rows_of(count))
    for start, stop in ((0, 3), (ROWS_PER_GROUP - 1, ROWS_PER_GROUP + 1), (ROWS_PER_GROUP, count), (5, 5)):
        rows = pa.Table.from_batches(table.slices(start, stop, 4096), SPECIMEN_SCHEMA)
        assert rows["specimen_id"].to_pylist() == [f"s{number}" for number in range(start, stop)]


@settings(deadline=None)
@given(choices=st.lists(st.sampled_from(SPLITS), min_size=1, max_size=60))
def test_sorting_by_split_keeps_the_order_within_a_split(
    choices: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sorted")
    half = len(choices) // 2
    whole = rows_of(len(choices), split=choices)
    table = written(folder, whole.slice(0, half), whole.slice(half))
    target = SpecimenTable.at(folder / "target.parquet")
    table.sorted_by_split(target)
    expected = sorted(range(len(choices)), key=lambda number: SPLITS.index(choices[number]))
    assert ids(target) == [f"s{number}" for number in expected]
    assert target.facts == table.facts
    assert target.column("split").to_pylist() == sorted(choices, key=SPLITS.index)


def test_splits_can_be_written_into_the_very_table_they_were_drawn_for(tmp_path: Path) -> None:
    table = written(tmp_path, rows_of(5), rows_of(4))
    splits = ["no_split", "val_seen", "seen_keys"] * 3
    table.with_splits(pa.array(splits), "lists", table)
    assert table.column("split").to_pylist() == splits
    assert table.facts.partition == "lists"
    assert table.facts.root == FACTS.root


@pytest.mark.parametrize("kind", ["text", "other columns", "no metadata", "broken metadata"])
def test_other_files_are_no_specimen_tables(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "specimens.parquet"
    if kind == "text":
        path.write_text("specimen_id\n1\n")
    elif kind == "other columns":
        pq.write_table(pa.table({"a": [1]}), path)
    else:
        metadata = {b"clibd": b"{"} if kind == "broken metadata" else None
        pq.write_table(pa.Table.from_batches([rows_of(1)]).replace_schema_metadata(metadata), path)
    error = DamagedError if kind == "broken metadata" else UsageError
    with pytest.raises(error):
        _ = SpecimenTable.at(path).facts
    with pytest.raises(UsageError, match="not overwritten"):
        SpecimenTable.at(path).check_can_be_written()


def test_only_a_new_place_or_a_specimen_table_may_be_written_to(tmp_path: Path) -> None:
    written(tmp_path, rows_of(1)).check_can_be_written()
    SpecimenTable.at(tmp_path / "new.parquet").check_can_be_written()
    (tmp_path / "folder.parquet").mkdir()
    for name, reason in (("table.tsv", "ends in .parquet"), ("folder.parquet", "is a folder")):
        with pytest.raises(UsageError, match=reason):
            SpecimenTable.at(tmp_path / name).check_can_be_written()


class Canary(pa.ExtensionType):
    """A registered type, as Ray registers its own: Arrow calls it as soon as it reads a footer that names it."""

    built = 0

    def __init__(self) -> None:
        super().__init__(pa.string(), "canary")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> "Canary":
        cls.built += 1
        return cls()


def test_extension_types_are_refused_before_they_are_built(tmp_path: Path) -> None:
    path = tmp_path / "specimens.parquet"
    pa.register_extension_type(Canary())
    try:
        pq.write_table(pa.table({"specimen_id": pa.ExtensionArray.from_storage(Canary(), pa.array(["a"]))}), path)
        Canary.built = 0
        with pytest.raises(UsageError, match="extension types"):
            len(SpecimenTable.at(path))
        with pytest.raises(DamagedError, match="extension types"):
            Folder(tmp_path).read_table(path.name)
        assert Canary.built == 0
        pq.read_schema(path)
        assert Canary.built > 0
    finally:
        pa.unregister_extension_type("canary")


def test_a_flipped_bit_anywhere_in_the_footer_is_found(tmp_path: Path) -> None:
    table = written(tmp_path, rows_of(3, species=["A b", None, "C d"]))
    path, whole = tmp_path / table.name, (tmp_path / table.name).read_bytes()
    read, draw = pa.Table.from_batches(table.batches()), random.Random(5)
    length = int.from_bytes(whole[-8:-4], "little")
    names = [length - whole[-8 - length :].index(name.encode()) for name in ("species", "footer_sha256", "clibd")]
    places = [length + 8 - draw.randrange(length + 8) for _ in range(200)] + [place + 8 for place in names]
    for place in places:
        changed = bytearray(whole)
        changed[-place] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(ClibdError, match=table.name):
            _ = SpecimenTable.at(path).facts
    path.write_bytes(whole)
    assert pa.Table.from_batches(SpecimenTable.at(path).batches()) == read
