"""Stored embeddings: they come back as they were, and nothing else is taken for them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from workloads.errors import ClibdError, DamagedError, EmbeddingsError
from workloads.evaluation.embedded import Embedded, queries_of
from workloads.evaluation.stored import EmbeddingFacts, read_embedded, stored_facts, stored_parts, write_embedded
from workloads.spec import RANKS
from workloads.storage import Folder

FACTS = EmbeddingFacts(
    model="run",
    weights="1f",
    dataset="insects",
    data_fingerprint="2e",
    data_content="3d",
    modalities=("image", "dna"),
    precision="fp32",
)


def objects(values: Sequence[str | None]) -> npt.NDArray[np.object_]:
    return np.array([*values, None], dtype=object)[:-1]  # None keeps numpy from making strings of its own


def part(name: str, count: int, modalities: Sequence[str] = FACTS.modalities) -> Embedded:
    random = np.random.default_rng(count)
    return Embedded(
        objects([f"{name} {row}" for row in range(count)]),
        objects([f"{name}_seen"] * count),
        {rank: objects([None if row % 3 == 2 else f"{rank} {row}" for row in range(count)]) for rank in RANKS},
        {modality: random.standard_normal((count, 6)).astype(np.float32) for modality in modalities},
    )


PARTS = {"keys": part("keys", 9), "val": part("val", 4), "test": part("test", 1)}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An evaluated folder."""
    write_embedded(Folder(tmp_path), FACTS, PARTS)
    return Folder(tmp_path)


def test_what_was_written_comes_back_to_the_bit(folder: Folder) -> None:
    assert stored_facts(folder) == FACTS
    assert stored_parts(folder) == ["keys", "val", "test"]
    for name, written in PARTS.items():
        read = read_embedded(folder, name)
        assert read.ids.tolist() == written.ids.tolist()
        assert read.split.tolist() == written.split.tolist()
        assert {rank: names.tolist() for rank, names in read.labels.items()} == {
            rank: names.tolist() for rank, names in written.labels.items()
        }
        assert read.rows.keys() == written.rows.keys()
        for modality, rows in written.rows.items():
            assert read.rows[modality].dtype == np.float32
            assert np.array_equal(read.rows[modality], rows)


def test_rows_may_be_a_view_into_others(tmp_path: Path) -> None:
    wide = np.arange(80, dtype=np.float32).reshape(8, 10)
    written = replace(part("keys", 4), rows={"image": wide[::2, 1:7], "dna": np.asfortranarray(wide[:4, :6])})
    write_embedded(Folder(tmp_path), FACTS, {"keys": written})
    read = read_embedded(Folder(tmp_path), "keys")
    assert all(np.array_equal(read.rows[name], rows) for name, rows in written.rows.items())


def test_parts_that_ask_are_the_queries() -> None:
    assert list(queries_of({**PARTS, "rest": part("rest", 2)})) == ["val", "test"]


def test_what_is_stored_anew_leaves_nothing_of_the_old(folder: Folder) -> None:
    write_embedded(folder, replace(FACTS, weights="other"), {"keys": part("keys", 2), "val": part("val", 2)})
    assert stored_facts(folder) == replace(FACTS, weights="other")
    assert stored_parts(folder) == ["keys", "val"]
    with pytest.raises(EmbeddingsError, match=r"test\.parquet: there are none"):
        read_embedded(folder, "test")


def test_writing_that_broke_off_left_nothing_that_is_used(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Folder.write_table

    def breaks_off(self: Folder, name: str, table: pa.Table) -> None:
        if name == "val.parquet":
            raise KeyboardInterrupt
        before(self, name, table)

    monkeypatch.setattr(Folder, "write_table", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        write_embedded(folder, FACTS, PARTS)
    assert stored_facts(folder) is None
    with pytest.raises(EmbeddingsError, match="there are none"):
        read_embedded(folder, "keys")


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert stored_facts(Folder(tmp_path)) is None
    assert stored_parts(Folder(tmp_path)) == []
    with pytest.raises(EmbeddingsError, match="there are none"):
        read_embedded(Folder(tmp_path), "keys")


Change = Callable[[pa.Table], pa.Table]


def column(name: str, make: Callable[[list[list[float]]], pa.Array]) -> Change:
    """Replaces a column by what is made of its values."""
    return lambda table: table.set_column(
        table.column_names.index(name), name, make([list(row) for row in table[name].to_pylist()])
    )


def spoiled(row: int, value: float | None) -> Callable[[list[list[float]]], pa.Array]:
    def make(rows: list[list[float]]) -> pa.Array:
        changed: list[list[float | None]] = [[*values] for values in rows]
        changed[row][2] = value
        return pa.array(changed, pa.list_(pa.float32(), 6))

    return make


def ragged(rows: list[list[float]]) -> pa.Array:
    """One number less in one row and one more in the next: as many in all."""
    return pa.array([rows[0][:5], [*rows[1], 0.5], *rows[2:]], pa.list_(pa.float32()))


DAMAGES: dict[str, tuple[Change, type[ClibdError], str]] = {
    "a row less": (lambda table: table.slice(1), EmbeddingsError, "8 .* 9"),
    "a row twice": (
        lambda table: pa.concat_tables([table, table.slice(3, 1)]),
        EmbeddingsError,
        "10 .* 9",
    ),
    "NaN": (column("dna", spoiled(4, float("nan"))), EmbeddingsError, "'dna' is not finite.*keys 4"),
    "infinity": (column("dna", spoiled(0, float("inf"))), EmbeddingsError, "'dna' is not finite.*keys 0"),
    "an empty number": (column("dna", spoiled(7, None)), EmbeddingsError, "'dna' is not finite.*keys 7"),
    "an empty row": (
        column("image", lambda rows: pa.array([None, *rows[1:]], pa.list_(pa.float32(), 6))),
        EmbeddingsError,
        "1 .* none",
    ),
    "rows of different sizes": (column("image", ragged), EmbeddingsError, "different sizes"),
    "modalities of different sizes": (
        column("image", lambda rows: pa.array([row[:4] for row in rows], pa.list_(pa.float32(), 4))),
        EmbeddingsError,
        "'image': 4.*share no space",
    ),
    "a modality less": (lambda table: table.drop_columns(["dna"]), DamagedError, "no column dna"),
    "a rank less": (lambda table: table.drop_columns(["genus"]), DamagedError, "no column genus"),
    "no ids": (lambda table: table.drop_columns(["specimen_id"]), DamagedError, "no column specimen_id"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_whole_is_refused_by_the_name_of_its_file(damage: str, folder: Folder) -> None:
    change, kind, said = DAMAGES[damage]
    inside = folder / "embeddings"
    inside.write_table("keys.parquet", change(inside.read_table("keys.parquet")))
    with pytest.raises(kind, match=f"keys.parquet: .*{said}"):
        read_embedded(folder, "keys")
    assert len(read_embedded(folder, "val")) == 4


def test_lists_of_no_fixed_size_are_read_if_they_have_one(folder: Folder) -> None:
    inside = folder / "embeddings"
    table = column("dna", lambda rows: pa.array(rows, pa.list_(pa.float64())))(inside.read_table("keys.parquet"))
    inside.write_table("keys.parquet", pa.concat_tables([table.slice(0, 4), table.slice(4)]))
    assert np.array_equal(read_embedded(folder, "keys").rows["dna"], PARTS["keys"].rows["dna"])


def test_a_file_cut_off_is_damaged(folder: Folder, tmp_path: Path) -> None:
    file = tmp_path / "embeddings" / "keys.parquet"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(DamagedError, match=r"keys.parquet: not Parquet"):
        read_embedded(folder, "keys")


OTHER_FACTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a field more": lambda facts: {**facts, "shard": 3},
    "a field less": lambda facts: {name: value for name, value in facts.items() if name != "precision"},
    "no counts": lambda facts: {name: value for name, value in facts.items() if name != "rows"},
    "no modalities": lambda facts: {**facts, "modalities": None},
    "a list": lambda facts: list(facts),
}


@pytest.mark.parametrize("other", OTHER_FACTS)
def test_facts_of_another_version_are_refused(other: str, folder: Folder) -> None:
    inside = folder / "embeddings"
    inside.write_json("embeddings.json", OTHER_FACTS[other](inside.read_json("embeddings.json")))
    with pytest.raises(DamagedError, match=r"embeddings\.json: not the fields"):
        stored_facts(folder)
    with pytest.raises(DamagedError, match="not the fields"):
        read_embedded(folder, "keys")


def test_the_facts_are_readable_json(folder: Folder, tmp_path: Path) -> None:
    facts = json.loads((tmp_path / "embeddings" / "embeddings.json").read_text())
    assert facts.pop("rows") == {"keys": 9, "val": 4, "test": 1}
    assert facts == {**asdict(FACTS), "modalities": ["image", "dna"]}
    assert stored_facts(folder) == FACTS


def test_what_was_made_of_other_embeddings_no_longer_counts(folder: Folder) -> None:
    files = ("evaluation.json", "open_set.json", "attention-val.json", "bzsl/bzsl.json")
    for name in files:
        folder.write_json(name, {})
    write_embedded(folder, FACTS, {**PARTS, "rest": part("rest", 2)})
    assert all(folder.has(name) for name in files)  # the same again, and more specimens
    write_embedded(folder, replace(FACTS, weights="2a"), PARTS)
    assert not any(folder.has(name) for name in files)

    folder.write_json("evaluation.json", {})
    folder.write("embeddings/embeddings.json", b"{")
    write_embedded(folder, FACTS, PARTS)
    assert not folder.has("evaluation.json")  # nobody knows of which embeddings it was
