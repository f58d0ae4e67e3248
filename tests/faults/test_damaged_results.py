"""A damaged run among whole ones: what is printed lacks its numbers and says why, and has those of the others."""

import csv
import io
import random
import shutil
from pathlib import Path

import pytest

from commands.sweep import SweepOptions, sweeps_of
from orchestrator.request import points_of
from sweeps.point import Point
from tests.faults.conftest import Seeds
from tests.faults.counts import LEDGER
from tests.faults.damages import damage, files_below
from tests.faults.scenes import Scene, content
from tests.faults.stage import Stage
from tests.results.conftest import FACTS, _write_run
from tests.results.figures.made_up import made_up_rows, write_evaluated

_PLAN = "clibd sweep amp --data data --scale small --plan"
_TABLE = "clibd results table 18 --format csv"
_PAGES = "clibd dashboard export runs --out pages"
_OF_A_SWEEP = (_TABLE, f"{_TABLE} --strict", _PLAN, "clibd results list", "clibd results check", _PAGES)
_OF_AN_EVALUATION = (
    "clibd results figure 9 runs/train --out measured",
    "clibd results figure confusion runs/train/one --out measured",
    "clibd results compare runs/train/one runs/train/two",
)


@pytest.fixture(scope="module")
def before(scenes: dict[str, Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a finished sweep on it of which each row is one run, and two evaluated runs; the numbers are made up."""
    folder = tmp_path_factory.mktemp("results")
    shutil.copytree(scenes["pictures"].before / "data", folder / "data")
    options = SweepOptions(data=str(folder / "data"), scale="small", runs=str(folder / "runs")).checked("amp")
    request = options.request(sweeps_of("amp"))
    places = [(average, "all", query, "dna") for average in ("micro", "macro") for query in ("dna", "image")]
    for number, point in enumerate(points_of(request).all):
        assert isinstance(point, Point)
        values = {place: 0.4 + 0.1 * number + 0.01 * further for further, place in enumerate(places)}
        _write_run(request.runs, point, values, scale="small", evaluation=FACTS)
    for seed, name in ((42, "one"), (43, "two")):
        write_evaluated(folder / "runs" / "train" / name, made_up_rows(), seed=seed)
    return folder


def _cells(printed: str) -> dict[tuple[str, ...], dict[str, str]]:
    text = printed[printed.index("table,row,") :]
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["table"] == "18"]
    return {(row["row"], row["block"], row["column"]): row for row in rows}


def _as_whole(found: str, whole: str) -> bool:
    """Whether each cell is as in the whole table, or has no number and a reason."""
    had, has = _cells(whole), _cells(found)
    numbers = [(has[place]["ours"] or None, cell["ours"], has[place]["reason"]) for place, cell in had.items()]
    return has.keys() == had.keys() and all(ours == was or (not ours and reason) for ours, was, reason in numbers)


@pytest.mark.parametrize("words", [*_OF_A_SWEEP, *_OF_AN_EVALUATION])
def test_a_damaged_run_costs_its_cells_and_says_why(
    words: str, before: Path, seeds: Seeds, stage: Stage, tmp_path: Path
) -> None:
    scene, problems = Scene(words, before, tuple(words.split())), list[str]()
    folder = scene.set_up(tmp_path / "work")
    whole = scene.run(stage, folder)
    assert whole["code"] == 0, whole["said"]
    wanted = content(folder / "measured")
    victims = "runs/train" if words in _OF_AN_EVALUATION else "runs/amp"
    for seed in seeds(8 if words in _OF_A_SWEEP else 5):
        chance, folder = random.Random(seed), scene.set_up(folder)
        victim, *others = chance.sample(sorted((folder / victims).glob("*")), 2)
        place = chance.choice(files_below(victim))
        kind = damage(place, chance, others[0] / place.relative_to(victim))
        met = scene.run(stage, folder)
        LEDGER.faults[f"damage, {' '.join(words.split()[1:3])}: {kind}"] += 1
        which = f"SEED={seed}, {words}, {place.relative_to(folder)}: {kind}: {met['code']}, {met['said'][-2000:]}"
        with LEDGER.collected(problems):
            LEDGER.keep("tracebacks", "Traceback" not in met["said"], which)
            told = met["code"] == 0 or "--strict" in words or (words in _OF_AN_EVALUATION and "error:" in met["said"])
            LEDGER.keep("tracebacks", told, which)
            same = _as_whole(met["said"], whole["said"]) if words.startswith(_TABLE) else True
            measured = met["code"] != 0 or content(folder / "measured") == wanted or victim.name in met["said"]
            LEDGER.keep("undetected damages", same and measured, which)
    assert not problems, "\n".join(problems[:8])
