"""The page of a sweep."""

from collections import Counter

from benchmarks.made_up_names import MARKUP
from results.dashboard.catalog import Catalog
from results.dashboard.summaries import summaries
from results.dashboard.trials import in_order, pareto_chart, trials, varying
from tests.dashboard.making import catalog as catalog
from tests.dashboard.making import hostile_catalog as hostile_catalog
from tests.dashboard.making import in_state
from tests.dashboard.making import made_up as made_up
from tests.dashboard.showing import shown, words_of


def _sweeps(catalog: Catalog) -> list[str]:
    return list(dict.fromkeys(one.sweep for one in catalog.standings))


def test_every_point_has_a_row_and_a_state(catalog: Catalog) -> None:
    damaged = in_state(catalog, "damaged")
    for sweep in _sweeps(catalog):
        words = words_of(shown(catalog, "sweep", sweep))
        own = [one for one in catalog.standings if one.sweep == sweep]
        for state, count in Counter("damaged" if one.run in damaged else one.state for one in own).items():
            assert words.count(f" {state}") >= count


def test_what_is_evaluated_may_be_compared(catalog: Catalog) -> None:
    html = "".join(shown(catalog, "sweep", sweep) for sweep in _sweeps(catalog))
    [damaged, *_] = in_state(catalog, "damaged")
    [run, *_] = [one for one in catalog.finished() if catalog.evaluations(one) and not catalog.run(one).problem]
    assert f'name="a" value="{run}"' in html
    assert f'name="b" value="{damaged}"' not in html
    assert 'action="/compare"' in html


def test_trials_are_sorted_and_what_has_no_number_comes_last(catalog: Catalog) -> None:
    known = summaries(catalog, catalog.standings)
    every = trials(catalog, catalog.standings, known)
    values = [
        one.summary.chief.value for one in in_order(every, "accuracy", down=True) if one.summary and one.summary.chief
    ]
    assert values == sorted(values, reverse=True)
    last = in_order(every, "accuracy", down=True)[-1]
    assert last.summary is None or last.summary.chief is None
    assert in_order(every, "nonsense", down=False) == every
    assert 'aria-sort="descending"' in shown(catalog, "sweep", _sweeps(catalog)[0], sort="loss", order="down")


def test_the_pareto_line_rises(catalog: Catalog) -> None:
    every = trials(catalog, catalog.standings, summaries(catalog, catalog.standings))
    chart = pareto_chart(every, "hours")
    assert chart is not None
    for front in chart.series[1::2]:
        assert [*front.x] == sorted(front.x)  # type: ignore[type-var]  # numbers, of costs
        assert [*front.y] == sorted(value for value in front.y if value is not None)


def test_any_field_may_be_drawn_against_any_number(catalog: Catalog) -> None:
    sweep = next(one for one in _sweeps(catalog) if _varies(catalog, one))
    own = [one for one in catalog.standings if one.sweep == sweep]
    [field, *_] = varying(trials(catalog, own, summaries(catalog, own)))
    assert f"GPU hours by {field}" in words_of(shown(catalog, "sweep", sweep, x=field, y="gpu-hours"))
    assert "Accuracy (%) by" in words_of(shown(catalog, "sweep", sweep, x="nonsense", y="nonsense"))


def _varies(catalog: Catalog, sweep: str) -> bool:
    own = [one for one in catalog.standings if one.sweep == sweep]
    return bool(varying(trials(catalog, own, summaries(catalog, own))))


def test_a_price_is_the_readers(catalog: Catalog) -> None:
    [sweep, *_] = _sweeps(catalog)
    assert " at 2.5 a GPU hour" in words_of(shown(catalog, "sweep", sweep, price="2.5"))
    assert "a GPU hour" not in words_of(shown(catalog, "sweep", sweep, price="-1"))


def test_hostile_names_are_text(hostile_catalog: Catalog) -> None:
    for sweep in _sweeps(hostile_catalog):
        html = shown(hostile_catalog, "sweep", sweep)
        assert not [name for name in MARKUP if "<" in name and name in html]


def test_a_sweep_that_is_not_there(catalog: Catalog) -> None:
    words = words_of(shown(catalog, "sweep", "nothing", status=404))
    assert f"there are: {_sweeps(catalog)[0]}" in words
