"""The list of all tables: how much of each there is, and what came of it."""

import re
from pathlib import Path

from results.dashboard.catalog import Catalog
from results.paper.tables import NUMBERS
from tests.dashboard.showing import shown, words_of
from workloads.storage import Folder


def test_without_runs_every_published_number_is_not_run(tmp_path: Path) -> None:
    html = shown(Catalog(Folder(tmp_path)), "tables")
    words = words_of(html)
    assert "1,420 numbers are published: 0 reproduced within noise, 0 different by more" in words
    assert "1,420 not run yet" in words
    assert {int(number) for number in re.findall(r'href="/table/(\d+)"', html)} == {*NUMBERS}
    assert 'href="/table/seeds"' in html
    assert "SYNTHETIC" not in words


def test_what_there_is_of_each(golden_runs: Folder) -> None:
    words = words_of(shown(Catalog(golden_runs), "tables"))
    assert "18 Automatic mixed precision, species level, validation set SYNTHETIC 16 8" in words
    assert "SYNTHETIC specimens." in words
    assert "1 run is damaged" not in words


def test_a_damaged_run_is_named_and_breaks_nothing(golden_runs: Folder) -> None:
    broken = next(name for name in (golden_runs / "amp").folders() if "-s42-" in name)
    (golden_runs / "amp" / broken).write("measurements.parquet", b"half")
    words = words_of(shown(Catalog(golden_runs), "tables"))
    assert f"1 run is damaged: {broken}; clibd verify" in words


def test_what_has_not_changed_is_read_once(golden_runs: Folder) -> None:
    catalog = Catalog(golden_runs)
    names = (golden_runs / "amp").folders()
    before = catalog.known()
    first = before.read(names)
    (golden_runs / "amp" / names[0]).write("status.json", b'{"state": "failed", "reason": "no"}')
    catalog.look_again()
    after = catalog.known()
    assert after is not before
    second = after.read(names)
    assert [second[name] is first[name] for name in names] == [False, True, True]
    assert second[names[1]] is catalog.run(names[1])
