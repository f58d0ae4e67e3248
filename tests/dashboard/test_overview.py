"""The overview: what came out, in words made from the numbers."""

import json
import re

from benchmarks.made_up_names import MARKUP
from results.dashboard.catalog import Catalog
from results.dashboard.progress import progress
from results.dashboard.summaries import summaries
from results.layout import percent
from results.paper.tables import NUMBERS
from results.paper.verdicts import counts
from tests.dashboard.making import catalog as catalog
from tests.dashboard.making import hostile_catalog as hostile_catalog
from tests.dashboard.making import in_state
from tests.dashboard.making import made_up as made_up
from tests.dashboard.showing import shown, words_of


def test_the_best_run_stands_beside_chance_with_its_interval(catalog: Catalog) -> None:
    known = [one for one in summaries(catalog, catalog.standings).values() if one.chief]
    best = max(known, key=lambda one: one.chief.value if one.chief else 0.0)
    assert best.chief is not None
    words = words_of(shown(catalog, "overview"))
    assert f"{percent(best.chief.value)} % (95 % interval {percent(best.chief.low)} to" in words
    assert f"n = {best.chief.count:,} species" in words
    assert f"chance {percent(best.beside['random_key'].value)} %" in words
    assert "SYNTHETIC" in words


def test_damaged_runs_are_counted_as_such(catalog: Catalog) -> None:
    damaged = in_state(catalog, "damaged")
    words = words_of(shown(catalog, "overview"))
    assert f"Damaged, and not counted as done: {len(damaged)} run" in words
    done = sum(one.groups.get("done", 0) for one in progress(catalog))
    standing = sum(one.state == "finished" for one in catalog.standings)
    assert done < standing


def test_published_numbers_are_counted_by_verdict(catalog: Catalog) -> None:
    words = words_of(shown(catalog, "overview"))
    for word, count in counts([sheet for number in NUMBERS for sheet in catalog.sheets(number)]).items():
        assert f"{word} {count:,}" in words


def test_states_are_told_for_the_next_visit(catalog: Catalog) -> None:
    [told] = re.findall(r'<script type="application/json">(.*)</script>', shown(catalog, "overview"))
    states = {run: state for run, _, _, state in json.loads(told)}
    assert {run for run, state in states.items() if state == "damaged"} == {*in_state(catalog, "damaged")}
    assert states[in_state(catalog, "training")[0]] == "training"


def test_hostile_names_are_text(hostile_catalog: Catalog) -> None:
    html = shown(hostile_catalog, "overview")
    assert not [name for name in MARKUP if "<" in name and name in html]
