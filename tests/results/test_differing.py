"""In which fields runs differ, from one another and from the paper's rows."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from results.differing import differing_fields
from results.paper.row_spec import from_the_paper, spec_of_row
from results.paper.tables import NUMBERS, declared
from workloads.spec import ExperimentSpec

SpecOf = Callable[..., ExperimentSpec]


def test_only_fields_that_differ_with_the_value_of_each(spec_of: SpecOf) -> None:
    one = spec_of("align")
    other = replace(one, batch_size=7, image=replace(one.image, weights=None), seed=1)
    found = differing_fields([one, other, one], leave_out=("seed",))
    assert found == {
        "batch_size": (str(one.batch_size), "7", str(one.batch_size)),
        "image.weights": (str(one.image.weights), "None", str(one.image.weights)),
    }
    assert differing_fields([one, one]) == {} == differing_fields([])


def test_a_run_in_the_papers_reading_differs_from_its_row_in_nothing(spec_of: SpecOf) -> None:
    usual = spec_of("align")
    published = spec_of_row(20, {"batch_size": 1000}, usual)
    assert published is not None
    assert (published.batch_size, published.recipe, published.epochs) == (1000, "paper", 15)
    assert from_the_paper(20, {"batch_size": 1000}, replace(published, seed=7, dataset="another")) == {}
    assert from_the_paper(20, {"batch_size": 1000}, replace(published, epochs=3)) == {"epochs": ("15", "3")}


@pytest.mark.parametrize("number", [number for number in (*NUMBERS, "seeds") if number in declared()])
def test_a_row_that_nobody_trains_differs_from_nothing(number: int | str, spec_of: SpecOf) -> None:
    assert from_the_paper(number, {"nobody": "has it"}, spec_of("align")) == {}


def test_a_start_from_another_run_is_no_difference(spec_of: SpecOf) -> None:
    base = spec_of("align")
    published = spec_of_row(20, {"batch_size": 500}, base)
    assert published is not None
    starts = [replace(published, image=replace(published.image, weights=f"run:{name}")) for name in "ab"]
    assert "image.weights" in from_the_paper(20, {"batch_size": 500}, starts[0])
