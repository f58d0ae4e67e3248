"""One rule for every table: when a difference to the paper means something, and when it is more than noise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from results.paper.comparable import differs, why_not
from results.paper.tables import NUMBERS, declared
from results.run import Run
from results.sheet import Cell
from sweeps.table import Row, Table, is_statistic
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

SpecOf = Callable[..., ExperimentSpec]
RETRIEVAL = [number for number in NUMBERS if number in declared()]
PLACE = {"method": "clibd", "partition": "test", "level": "species"}


def run_on(table: Table, spec: ExperimentSpec, **facts: Any) -> Run:
    """A run under the official split of a table, with the published number of epochs."""
    spec = replace(spec, epochs=table.epochs or spec.epochs)
    about = {"dataset": spec.dataset, "data_fingerprint": spec.data_fingerprint, "synthetic": False}
    found = {**about, "official_split": table.dataset, "recipe": "authors", "missing_rank": "a_class", **facts}
    return Run(folder=Folder("run"), name="run", state="finished", spec=spec, facts=found)


def reason(table: Table, run: Run, scale: str = "paper", **where: Any) -> str | None:
    return why_not(table, {}, {**PLACE, **where}, scale, [run])


@pytest.mark.parametrize("number", RETRIEVAL)
def test_the_same_data_split_scale_epochs_and_protocol_can_be_compared_and_nothing_else(
    number: int, spec_of: SpecOf
) -> None:
    _, table = declared()[number]
    spec = spec_of("align")
    assert reason(table, run_on(table, spec)) is None
    for changes, words in (
        ({"synthetic": True}, "SYNTHETIC"),
        ({"official_split": None}, "not of the official split"),
        ({"official_split": "another"}, "not of the official split"),
        ({"dataset": "another"}, "trained on another data set"),
        ({"missing_rank": "left_out"}, "queries without a name"),
    ):
        found = reason(table, run_on(table, spec, **changes))
        assert found is not None, changes
        assert words in found
    assert "the scale is small" in str(reason(table, run_on(table, spec), scale="small"))


def test_an_old_run_that_does_not_say_its_split_is_not_compared(spec_of: SpecOf) -> None:
    _, table = declared()[1]
    run = run_on(table, spec_of("align"))
    facts = {name: value for name, value in run.facts.items() if name != "official_split"}
    found = reason(table, replace(run, facts=facts))
    assert found is not None
    assert "do not say whether their split is the official one" in found
    assert "`clibd evaluate RUN --data DIR`" in found


def test_epochs_are_those_of_the_row_or_of_the_table(spec_of: SpecOf) -> None:
    _, table = declared()[17]
    run = run_on(table, replace(spec_of("align"), epochs=15))
    assert why_not(table, {"epochs": 15}, PLACE, "paper", [run]) is None
    assert why_not(table, {"epochs": 1}, PLACE, "paper", [run]) == (
        "ours was trained for 15 epoch(s), the paper's for 1"
    )
    _, main = declared()[1]
    longer = run_on(replace(main, epochs=None), replace(spec_of("align"), epochs=3))
    assert "trained for 3 epoch(s), the paper's for 50" in str(reason(main, longer))
    assert reason(main, replace(longer, facts={**longer.facts, "untrained": True})) is None


def test_queries_without_a_name_matter_where_there_are_any(spec_of: SpecOf) -> None:
    _, table = declared()[1]
    counts = {"test": {"species": 0, "genus": 1}}
    run = run_on(table, spec_of("align"), missing_rank="left_out", num_without_name=counts)
    assert reason(table, run) is None
    assert "queries without a name" in str(reason(table, run, level="genus"))


def test_thresholds_that_were_chosen_otherwise_are_another_protocol(spec_of: SpecOf) -> None:
    _, table = declared()[3]
    run = run_on(table, spec_of("align"), recipe="corrected")
    assert reason(table, run, method="nn_dna") is None
    assert "threshold" in str(reason(table, run, method="nn_is_du"))
    assert reason(table, run_on(table, spec_of("align"), recipe="paper"), method="nn_is_du") is None


def test_costs_are_those_of_a_machine() -> None:
    _, table = declared()[18]
    columns = [column for block in table.blocks for column in block.columns if is_statistic(column.where)]
    assert len(columns) == 2
    assert all("machine" in str(why_not(table, Row({}).names, column.where, "paper", [])) for column in columns)


CELL = Cell(table="1", row={}, column="Seen", published=0.5, ours=0.4, comparable=True, runs=("run",))


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"low": 0.35, "high": 0.45}, True),
        ({"low": 0.35, "high": 0.5}, False),
        ({"low": 0.35, "high": 0.4996}, False),  # printed with one decimal
        ({"standard_error": 0.04}, True),
        ({"standard_error": 0.05}, False),
        ({}, None),
        ({"low": 0.35, "high": 0.45, "comparable": False}, None),
        ({"low": 0.35, "high": 0.45, "published_note": "a slip"}, None),
        ({"low": 0.35, "high": 0.45, "published": None}, None),
        ({"unit": "records", "published": 39.61, "ours": 39.6, "runs": ()}, True),
        ({"unit": "records", "published": 39.61, "ours": 39.612, "runs": ()}, False),
    ],
)
def test_noise_is_an_interval_or_two_standard_errors(changes: dict[str, Any], verdict: bool | None) -> None:
    assert differs(replace(CELL, **changes)) is verdict
