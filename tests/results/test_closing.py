"""What a sweep prints at its end fits a screen and says what came out."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from results.paper.closing import closing_words
from sweeps import SWEEPS
from sweeps.point import Point
from workloads.record import Measurement
from workloads.storage import Folder

Write = Callable[..., str]
Amp = Callable[..., dict[bool, Point]]
PLACE = ("macro", "all", "image", "dna")


def values(share: float) -> Mapping[tuple[str, str, str, str], float]:
    return {PLACE: share, ("macro", "all", "dna", "dna"): 0.99, ("micro", "all", "image", "dna"): 0.9}


@pytest.fixture
def two_runs(runs: Folder, write_run: Write, amp_points: Amp) -> Folder:
    """fp32 at 0.31, bf16 at 0.28, both beside chance and a floor, in synthetic insects."""
    chance = Measurement(
        **{"partition": "val", "average": "macro", "level": "species", "query": "image", "key": "dna"},
        **{"species": "all", "method": "random_key", "value": 0.01, "count": 10},
    )
    floor = replace(chance, method="linear_cca", value=0.12)
    points = amp_points(synthetic=True)
    write_run(points[False], values(0.31), more=[chance, floor], scale="small")
    write_run(points[True], values(0.28), scale="small")
    return runs


def test_three_lines_of_words_the_table_and_where_the_rest_is(two_runs: Folder) -> None:
    text = closing_words([SWEEPS["amp"]], two_runs)
    lines = text.splitlines()
    assert len(lines) <= 40
    assert lines[0].startswith(
        f"{SWEEPS['amp'].question} 2 of 2 rows have numbers. Ours: insects (SYNTHETIC specimens)"
    )
    assert lines[1] == "Best on validation (Image to DNA, species): fp32, 31.0; chance 1.0, floor: linear CCA 12.0."
    assert lines[2] == "Not compared with the paper: ours are of SYNTHETIC specimens."
    assert "Micro" not in text
    assert lines[-1] == f"Everything: `clibd-results table 18 --runs {two_runs}`"


def test_where_they_can_be_compared_the_differences_are_told(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    official = {"official_split": "bioscan_1m", "missing_rank": "a_class"}
    for seed in (42, 43):
        write_run(amp_points(seed)[False], values(0.31), evaluation=official)
    text = closing_words([SWEEPS["amp"]], runs)
    assert "3 accuracies can be compared with the paper's: −1.2 to +32.6 points." in text
    assert "| Image to DNA, paper" in text


def test_full_prints_every_table_whole(two_runs: Folder) -> None:
    text = closing_words([SWEEPS["amp"]], two_runs, full=True)
    assert "## Micro top-1 accuracy, species" in text
    assert "## Cost" in text


def test_all_sweeps_end_with_a_line_for_each_table(two_runs: Folder) -> None:
    text = closing_words(list(SWEEPS.values()), two_runs)
    lines = text.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 160
    assert sum(line.startswith("Table ") for line in lines) == 17
    assert any(line.startswith("Table 18  Best on validation") for line in lines)
    assert lines[-1] == f"Everything: `clibd-results table N --runs {two_runs}`, N = 1 to 20"


def test_a_sweep_without_runs_or_tables_says_so(runs: Folder) -> None:
    assert "Nothing was measured yet." in closing_words([SWEEPS["amp"]], runs)
    assert str(runs) in closing_words([SWEEPS["costs"]], runs)
