"""Numbers that nothing can have measured, and answers that no search can give, are refused where they are read."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from workloads.errors import DamagedError
from workloads.measured_values import check_answers, check_measured
from workloads.record import MEASUREMENT_SCHEMA, Measurement, measurements_to_table

PLACE: dict[str, Any] = {
    "partition": "val",
    "average": "micro",
    "level": "species",
    "query": "image",
    "key": "dna",
    "species": "seen",
}
NAN = float("nan")


def measured(*changes: dict[str, Any]) -> pa.Table:
    """One row each, which differ by how many nearest keys they count unless they are told otherwise."""
    plain = [{**PLACE, "metric": f"top{k}", "value": 0.5, "count": 7, "low": 0.25, "high": 0.75} for k in (1, 3)]
    return measurements_to_table(
        [
            *(Measurement(**row) for row in plain),
            *(Measurement(**{**plain[0], "metric": "top5", **row}) for row in changes),
        ]
    )


@pytest.mark.parametrize(
    "row",
    [{}, {"value": 0.0, "low": None, "high": None}, {"value": 1.0, "low": 1.0, "high": 1.0}, {"value": 1 + 1e-12}],
)
def test_what_can_have_been_measured_passes(row: dict[str, Any]) -> None:
    check_measured(measured(row), "here")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"value": 5.0}, "a value is outside of 0 to 1"),  # 500 %
        ({"value": -1.0}, "a value is outside"),
        ({"value": NAN}, "a value is outside"),
        ({"value": float("inf")}, "a value is outside"),
        ({"low": -0.1}, "a low is outside"),
        ({"high": 1.1}, "a high is outside"),
        ({"high": NAN}, "a high is outside"),
        ({"low": 0.8}, "ends before it begins"),
        ({"count": -1}, "a count is negative"),
        ({"metric": "top1"}, "there twice"),
        ({"metric": "top1", "value": 0.6, "count": 8, "low": None}, "there twice"),
    ],
)
def test_what_nothing_can_have_measured_is_refused(row: dict[str, Any], words: str) -> None:
    with pytest.raises(DamagedError, match=f"here: .*{words}"):
        check_measured(measured(row), "here")


def test_no_rows_are_no_contradiction_and_earlier_columns_suffice() -> None:
    check_measured(MEASUREMENT_SCHEMA.empty_table(), "here")
    earlier = measured().select(
        [name for name in MEASUREMENT_SCHEMA.names if name not in ("keys", "low", "high", "queries")]
    )
    check_measured(earlier, "here")
    with pytest.raises(DamagedError, match="there twice"):
        check_measured(pa.concat_tables([earlier, earlier]), "here")


KEYS = ["a", "b", "c"]
SPECIMENS = pa.chunked_array([[*KEYS, "q", "r"]])


def answers(**changes: list[Any]) -> pa.Table:
    columns: dict[str, list[Any]] = {
        "query": ["image"] * 2,
        "key": ["dna"] * 2,
        "specimen_id": ["q", "r"],
        "subset": ["seen", "unseen"],
        "key_ids": [["a", "b"], ["c", "a"]],
        "cosines": [[0.9, 0.9], [1.0, -1.0]],
    }
    types = {"key_ids": pa.list_(pa.string()), "cosines": pa.list_(pa.float32())}
    whole = {**columns, **changes}
    return pa.table({name: pa.array(values, types.get(name, pa.string())) for name, values in whole.items()})


def test_what_a_search_can_have_answered_passes() -> None:
    check_answers(answers(), SPECIMENS, "here")
    check_answers(answers(cosines=[[1.0005, 0.9], [0.1, 0.0]]), SPECIMENS, "here")  # rounded


def test_similarities_that_were_corrected_are_no_cosines() -> None:
    corrected = answers(keys=["calibrated", "all"], cosines=[[1.9, -2.5], [0.5, 0.1]])
    check_answers(corrected, SPECIMENS, "here", ["calibrated"])
    for keys in (["all", "all"], ["calibrated", "csls"]):
        with pytest.raises(DamagedError, match="none of -1 to 1"):
            check_answers(answers(keys=keys, cosines=[[1.9, 0.1], [2.0, 0.1]]), SPECIMENS, "here", ["calibrated"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cosines": [[0.1, 0.9], [1.0, -1.0]]}, "do not stand in their order"),
        ({"cosines": [[0.9, 0.9], [1.0, NAN]]}, "none of -1 to 1"),
        ({"cosines": [[6.0, 0.9], [1.0, 0.0]]}, "none of -1 to 1"),
        ({"cosines": [[0.9, 0.9], [1.0, None]]}, "none of -1 to 1"),
        ({"cosines": [[0.9], [1.0, -1.0]]}, "not a similarity for each"),
        ({"key_ids": [[], ["c", "a"]], "cosines": [[], [1.0, 0.0]]}, "has no keys"),
        ({"key_ids": [None, ["c", "a"]]}, "has no keys"),
        ({"key_ids": [["a", "x"], ["c", "a"]]}, "that there is not"),
        ({"specimen_id": ["q", "x"]}, "that there is not"),
        ({"subset": ["seen", "strange"]}, "that there is not"),
        ({"specimen_id": ["q", "q"]}, "a query is there twice"),
        ({"specimen_id": ["q", None]}, "has gaps"),
    ],
)
def test_what_no_search_can_have_answered_is_refused(changes: dict[str, list[Any]], words: str) -> None:
    with pytest.raises(DamagedError, match=f"here: .*{words}"):
        check_answers(answers(**changes), SPECIMENS, "here")


WRONG: list[tuple[str, Callable[[pa.Table], pa.Table]]] = [
    ("numbers for ids", lambda table: table.set_column(2, "specimen_id", pa.array([1, 2]))),
    ("texts for cosines", lambda table: table.set_column(5, "cosines", pa.array([["1"], ["0"]]))),
    ("no lists", lambda table: table.set_column(4, "key_ids", pa.array(["a", "b"]))),
]


@pytest.mark.parametrize(("_", "change"), WRONG, ids=[name for name, _ in WRONG])
def test_columns_of_another_type_are_refused(_: str, change: Callable[[pa.Table], pa.Table]) -> None:
    with pytest.raises(DamagedError, match="of another type"):
        check_answers(change(answers()), SPECIMENS, "here")


def test_rows_of_many_words_are_told_apart_where_their_places_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workloads.measured_values._MOST_ROWS", 5)
    apart = {"key": ["dna", "text"], "query": ["image", "dna"], "specimen_id": ["q", "q"]}
    check_answers(answers(**apart), SPECIMENS, "here")
    with pytest.raises(DamagedError, match="a query is there twice"):
        check_answers(answers(**{**apart, "key": ["dna"] * 2, "query": ["dna"] * 2}), SPECIMENS, "here")
