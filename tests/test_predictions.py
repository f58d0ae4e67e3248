"""What `predictions.parquet` and `specimens.parquet` hold comes back, and says what was right."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import DamagedError, EmbeddingsError
from workloads.predictions import (
    MISSING,
    MISSING_RANK,
    PREDICTIONS,
    SPECIMENS,
    Place,
    Predictions,
    prediction_table,
    specimen_table,
)
from workloads.spec import RANKS
from workloads.storage import Folder

NAMES = ("a", "b", "c", None)
ALL, OWN = Place("val", "image", "dna"), Place("val", "image", "dna", keys="own")


def objects(values: list[str | None]) -> npt.NDArray[np.object_]:
    return np.array([*values, "last"], dtype=object)[:-1]  # a list of Nones alone would be objects all the same


class Case:
    """A few queries and keys with names of which some are missing, and neighbours at random."""

    def __init__(self, seed: int, ragged: bool = True) -> None:
        random = np.random.default_rng(seed)
        self.num_queries, num_keys = int(random.integers(1, 9)), int(random.integers(5, 9))
        self.queries = [f"query {number}" for number in range(self.num_queries)]
        self.keys = [f"key {number}" for number in range(num_keys)]
        self.names: dict[str, dict[str, str | None]] = {
            one: {rank: NAMES[random.integers(0, 4)] for rank in RANKS} for one in [*self.queries, *self.keys]
        }
        self.subset = objects([["seen", "unseen"][random.integers(0, 2)] for _ in self.queries])
        width = random.integers(1, 6, self.num_queries) if ragged else np.full(self.num_queries, 5)
        self.found = [random.permutation(self.keys)[:count].tolist() for count in width]
        self.cosines = [np.sort(random.random(count).astype(np.float32))[::-1] for count in width]

    def predictions(self, order: npt.NDArray[np.int64] | None = None) -> Predictions:
        """The same answers under two places; specimens in some order."""
        ids, cosines = np.full((self.num_queries, 5), None, object), np.full((self.num_queries, 5), np.nan, np.float32)
        for row, (found, similar) in enumerate(zip(self.found, self.cosines, strict=True)):
            ids[row, : len(found)], cosines[row, : len(found)] = found, similar
        queries = objects(list(self.queries))
        tables = [prediction_table(place, queries, self.subset, ids, cosines) for place in (OWN, ALL)]
        everyone = list(self.names)
        labels = {rank: objects([self.names[one][rank] for one in everyone]) for rank in RANKS}
        specimens = specimen_table(everyone, ["test_seen"] * len(everyone), labels)
        return Predictions(pa.concat_tables(tables), specimens if order is None else specimens.take(order))

    def hits(self, rank: str, k: int) -> list[bool]:
        return [
            any(self.names[key][rank] == self.names[query][rank] for key in found[:k])
            for query, found in zip(self.queries, self.found, strict=True)
        ]


@given(seed=st.integers(0, 10**6), k=st.integers(1, 7))
@settings(max_examples=50, deadline=None)
def test_hits_are_their_definition(seed: int, k: int) -> None:
    case = Case(seed)
    answers = case.predictions().answers(ALL)
    for rank in RANKS:
        assert answers.hits(rank, k).tolist() == case.hits(rank, k)
        named = [case.names[query][rank] is not None for query in case.queries]
        assert answers.counted(rank, "left_out").tolist() == named
        assert answers.counted(rank, "a_class").all()
        # Where a missing name is left out, no query that counts is right by a name that is missing.
        missing_keys = answers.found[rank] == MISSING
        assert not (missing_keys & (answers.truth[rank][:, None] == MISSING))[named].any()


def test_a_folder_gives_back_what_was_written(tmp_path: Path) -> None:
    case = Case(3)
    case.predictions().write(Folder(tmp_path))
    read = Predictions.read(Folder(tmp_path))
    assert read.places == [OWN, ALL]
    for place in (OWN, ALL):
        answers = read.answers(place)
        assert answers.place == place
        assert answers.ids.tolist() == case.queries
        assert answers.subset.tolist() == case.subset.tolist()
        assert len(answers) == case.num_queries
        for found, similar, ids, cosines in zip(
            case.found, case.cosines, answers.key_ids, answers.cosines, strict=True
        ):
            assert ids.tolist() == [*found, *[None] * (answers.key_ids.shape[1] - len(found))]
            assert np.array_equal(cosines[: len(found)], similar)
            assert np.isnan(cosines[len(found) :]).all()
        for rank in RANKS:
            names = read.names(rank)
            assert [None if code == MISSING else names[code] for code in answers.truth[rank]] == [
                case.names[query][rank] for query in case.queries
            ]


def test_an_absent_neighbour_is_no_missing_name() -> None:
    labels = {rank: objects([None, None]) for rank in RANKS}
    specimens = specimen_table(["q", "k"], ["test_seen"] * 2, labels)
    ids = np.array([["k", None]], dtype=object)
    other = np.array([[None, None]], dtype=object)
    cosines = np.array([[0.5, np.nan]], dtype=np.float32)
    table = prediction_table(ALL, objects(["q"]), objects(["seen"]), ids, cosines)
    assert Predictions(table, specimens).answers(ALL).hits("species", 2).all()
    nobody = prediction_table(ALL, objects(["q"]), objects(["seen"]), other, cosines)
    assert not Predictions(nobody, specimens).answers(ALL).hits("species", 2).any()


def test_the_recipes_say_what_a_missing_name_does() -> None:
    assert MISSING_RANK == {"paper": "a_class", "authors": "a_class", "corrected": "left_out"}


@pytest.mark.parametrize("seed", range(5))
def test_specimens_may_stand_in_any_order(seed: int) -> None:
    case = Case(seed)
    straight = case.predictions().answers(ALL)
    shuffled = case.predictions(np.random.default_rng(seed).permutation(len(case.names))).answers(ALL)
    assert np.array_equal(straight.key_ids, shuffled.key_ids)
    for rank in RANKS:
        for k in (1, 3, 5):
            assert np.array_equal(straight.hits(rank, k), shuffled.hits(rank, k))
        assert np.array_equal(straight.counted(rank, "left_out"), shuffled.counted(rank, "left_out"))


def test_no_queries_are_no_retrieval() -> None:
    empty = np.empty((0, 5), dtype=object)
    table = prediction_table(ALL, empty[:, 0], empty[:, 0], empty, np.empty((0, 5), dtype=np.float32))
    predictions = Predictions(table, Case(0).predictions().specimens)
    assert predictions.places == []
    with pytest.raises(EmbeddingsError, match="val queries by image to dna"):
        predictions.answers(ALL)


def test_a_retrieval_that_was_not_asked_is_named_beside_those_that_were() -> None:
    with pytest.raises(EmbeddingsError, match=r"test queries by text to dna; .*image to dna"):
        Case(0).predictions().answers(Place("test", "text", "dna"))


@pytest.mark.parametrize("who", ["query 0", "key 1"])
def test_a_specimen_without_labels_is_named(who: str) -> None:
    case = Case(1, ragged=False)
    case.found = [["key 1", "key 0", "key 2", "key 3", "key 4"]] * case.num_queries
    keep = np.array([row for row, one in enumerate(case.names) if one != who])
    with pytest.raises(EmbeddingsError, match=f"specimen {who} has no labels"):
        case.predictions(keep).answers(ALL)


def without(column: str) -> object:
    return lambda table: table.drop_columns([column])


def one_similarity_less(table: pa.Table) -> pa.Table:
    cosines = pa.array([row[1:] for row in table["cosines"].to_pylist()], pa.list_(pa.float32()))
    return table.set_column(table.column_names.index("cosines"), "cosines", cosines)


def no_neighbours(table: pa.Table) -> pa.Table:
    nothing = pa.array([[]] * len(table), pa.list_(pa.string()))
    table = table.set_column(table.column_names.index("key_ids"), "key_ids", nothing)
    return table.set_column(table.column_names.index("cosines"), "cosines", nothing.cast(pa.list_(pa.float32())))


def twice(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table.slice(0, 1)])


DAMAGES = {
    "no neighbours": (PREDICTIONS, without("key_ids"), "no column key_ids"),
    "no subset": (PREDICTIONS, without("subset"), "no column subset"),
    "no genus": (SPECIMENS, without("genus"), "no column genus"),
    "a similarity too few": (PREDICTIONS, one_similarity_less, "not a similarity for each"),
    "nothing found": (PREDICTIONS, no_neighbours, "a query has no keys"),
    "a specimen twice": (SPECIMENS, twice, "there twice"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_not_written_so_is_called_damaged(damage: str, tmp_path: Path) -> None:
    name, spoil, said = DAMAGES[damage]
    folder = Folder(tmp_path)
    Case(2).predictions().write(folder)
    folder.write_table(name, spoil(folder.read_table(name)))  # type: ignore[operator]  # one of the functions above
    with pytest.raises(DamagedError, match=f"{name}: .*{said}"):
        Predictions.read(folder)


@pytest.mark.parametrize("name", [PREDICTIONS, SPECIMENS])
def test_a_file_that_is_cut_off_or_gone_is_called_damaged(name: str, tmp_path: Path) -> None:
    Case(2).predictions().write(Folder(tmp_path))
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedError, match=f"{name}: not Parquet"):
        Predictions.read(Folder(tmp_path))
    (tmp_path / name).unlink()
    with pytest.raises(DamagedError, match=f"{name}: .*not there"):
        Predictions.read(Folder(tmp_path))
