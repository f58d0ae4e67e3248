"""From finished run folders to the cells of tables, beside the published numbers."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from results.cells import Cell, Row, table_rows
from results.collect import Group, collect
from results.published import find_published, published_table
from results.render import ours_text, render_table
from results.report import write_report
from results.tables import TABLES
from sweeps.point import Point
from workloads.errors import MissingRunsError
from workloads.record import Measurement, RunFolder, measurements_from_table, measurements_to_table
from workloads.storage import Folder

Write = Callable[..., str]
Amp = Callable[..., dict[bool, Point]]
Rewrite = Callable[[str, Callable[[list[Measurement]], list[Measurement]]], None]


@pytest.fixture
def rewrite_measurements(runs: Folder) -> Rewrite:
    """Changes the measurements that a run left."""

    def rewrite(run: str, change: Callable[[list[Measurement]], list[Measurement]]) -> None:
        folder, name = runs / "amp" / run, "measurements.parquet"
        rows = change(measurements_from_table(folder.read_table(name)))
        folder.write_table(name, measurements_to_table(rows))

    return rewrite


def only(groups: list[Group]) -> Group:
    [group] = groups
    return group


def row_of(group: Group, **names: Any) -> Row:
    [row] = [row for row in table_rows(TABLES[18], group) if row.names == names]
    return row


def first_cell(group: Group, amp: bool) -> Cell:
    cell = row_of(group, amp=amp).cells[0]
    assert (cell.column, cell.is_accuracy) == ("DNA to DNA", True)
    return cell


def test_published_accuracies_are_shares_and_costs_keep_their_unit() -> None:
    table = published_table(20)
    assert len(table) == 288
    assert all(0 <= number.value <= 1 for number in table)
    assert {number.where["batch_size"] for number in table} == {500, 1000, 1500, 2000}
    place = {"average": "macro", "level": "species", "query": "image", "key": "dna", "species": "harmonic_mean"}
    found = find_published(20, {**place, "batch_size": 2000})
    assert found is not None
    assert found.value == pytest.approx(0.164)
    hours = find_published(18, {"statistic": "hours_per_epoch", "amp": False})
    assert hours is not None
    assert hours.value == 4.03
    assert find_published(20, {**place, "batch_size": 7}) is None


@pytest.mark.parametrize("number", list(TABLES))
def test_every_declared_column_finds_every_published_number(number: int) -> None:
    """Each printed number has one place in the declared table, and no other."""
    table, places = TABLES[number], []
    for level in table.levels:
        for block in table.blocks:
            for column in block.columns:
                accuracy = {} if "statistic" in column.where else {"level": level, "partition": table.partition}
                where = {**column.where, **accuracy}
                places += [
                    entry
                    for entry in published_table(number)
                    if all(entry.where.get(name) == value for name, value in where.items())
                ]
    assert len(places) == len({id(entry) for entry in places}) == len(published_table(number))


def test_a_cell_is_the_mean_over_seeds_with_its_standard_error_and_difference(
    runs: Folder, write_run: Write, amp_points: Amp
) -> None:
    shares = {42: 0.5, 43: 0.7, 44: 0.9}
    ids = [write_run(amp_points(seed)[True], share) for seed, share in shares.items()]
    cell = first_cell(only(collect(runs, TABLES[18])), amp=True)
    assert cell.ours is not None
    assert cell.ours.mean == pytest.approx(0.7)
    assert cell.ours.standard_error == pytest.approx(0.2 / math.sqrt(3))
    assert cell.ours.runs == tuple(sorted(ids))
    assert cell.published is not None
    assert cell.difference == pytest.approx(0.7 - cell.published)


def test_a_single_run_has_no_standard_error(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    write_run(amp_points()[True], 0.5)
    cell = first_cell(only(collect(runs, TABLES[18])), amp=True)
    assert cell.ours is not None
    assert cell.ours.standard_error is None


def test_a_single_run_has_its_interval_and_several_do_not(
    runs: Folder, write_run: Write, amp_points: Amp, rewrite_measurements: Rewrite
) -> None:
    rewrite_measurements(write_run(amp_points()[True], 0.5), lambda rows: [replace(rows[0], low=0.45, high=0.5678)])
    group = only(collect(runs, TABLES[18]))
    cell = first_cell(group, amp=True)
    assert cell.ours is not None
    assert (cell.ours.mean, cell.ours.low, cell.ours.high) == (0.5, 0.45, 0.5678)
    assert ours_text(cell) == "50.0 [45.0, 56.8]"
    text = render_table(18, [group], "md")
    assert text.count("50.0 [45.0, 56.8]") == 1
    assert "95 % bootstrap intervals over queries (micro) or species (macro)" in text
    [record] = [record for record in json.loads(render_table(18, [group], "json")) if record["low"] is not None]
    assert (record["ours"], record["low"], record["high"]) == (50.0, 45.0, 56.78)
    write_run(amp_points(43)[True], 0.7)
    cell = first_cell(only(collect(runs, TABLES[18])), amp=True)
    assert cell.ours is not None
    assert (cell.ours.mean, cell.ours.low, cell.ours.high) == (pytest.approx(0.6), None, None)


def test_a_cell_is_of_the_nearest_key_among_all_keys(
    runs: Folder, write_run: Write, amp_points: Amp, rewrite_measurements: Rewrite
) -> None:
    others = ({"metric": "top5"}, {"keys": "own"}, {"method": "majority"}, {"partition": "test"})
    run = write_run(amp_points()[True], 0.5)
    rewrite_measurements(run, lambda rows: [*(replace(rows[0], value=0.9, **other) for other in others), *rows])
    cell = first_cell(only(collect(runs, TABLES[18])), amp=True)
    assert cell.ours is not None
    assert cell.ours.mean == 0.5


def test_what_was_not_run_or_not_measured_stays_empty(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    write_run(amp_points()[True], 0.5)
    group = only(collect(runs, TABLES[18]))
    assert row_of(group, amp=False).label is None
    assert all(cell.ours is None for cell in row_of(group, amp=False).cells)
    image_image = row_of(group, amp=True).cells[1]
    assert (image_image.column, image_image.ours, image_image.difference) == ("Image to Image", None, None)


def test_only_finished_runs_count(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    write_run(amp_points(42)[True], 0.5)
    write_run(amp_points(43)[True], 0.9, state="failed")
    cut = RunFolder(runs / "amp" / "begun")
    cut.begin(amp_points(44)[True].spec, {}, {})
    assert len(only(collect(runs, TABLES[18])).runs) == 1


def test_without_a_finished_run_the_remedy_is_named(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    write_run(amp_points()[True], 0.9, state="failed")
    with pytest.raises(MissingRunsError, match="Run `clibd-sweep amp` first"):
        collect(runs, TABLES[18])
    with pytest.raises(MissingRunsError):
        write_report(runs)


def test_costs_are_hours_an_epoch_and_allocated_plus_reserved_memory(
    runs: Folder, write_run: Write, amp_points: Amp
) -> None:
    write_run(amp_points()[True], 0.5)
    memory, hours = row_of(only(collect(runs, TABLES[18])), amp=True).cells[-2:]
    assert memory.ours is not None
    assert hours.ours is not None
    assert (memory.column, memory.ours.mean) == ("CUDA memory, GB", 61.0)
    assert (hours.column, hours.ours.mean) == ("Hours per epoch", 1.5)


def test_no_memory_is_claimed_without_a_gpu(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    write_run(amp_points()[True], 0.5, allocated_gb=0.0)
    memory, hours = row_of(only(collect(runs, TABLES[18])), amp=True).cells[-2:]
    assert memory.ours is None
    assert hours.ours is not None


def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(
    runs: Folder, write_run: Write, amp_points: Amp
) -> None:
    old, new = amp_points(42)[True], amp_points(43)[True]
    old = replace(old, spec=replace(old.spec, weight_decay=0.5))
    write_run(old, 0.1, started="2026-01-01T00:00:00Z")
    kept = write_run(new, 0.9, started="2026-01-02T00:00:00Z")
    group = only(collect(runs, TABLES[18]))
    cell = first_cell(group, amp=True)
    assert cell.ours is not None
    assert (cell.ours.mean, cell.ours.runs) == (0.9, (kept,))
    assert group.num_left_out == 1
    assert "1 older run(s) with another spec were left out." in render_table(18, [group], "md")


def test_a_run_that_was_measured_again_by_another_recipe_has_a_table_of_its_own(
    runs: Folder, write_run: Write, amp_points: Amp
) -> None:
    for seed in (1, 2):
        name = write_run(amp_points(seed)[True], 0.1 * seed)
    (runs / "amp" / name).write_json("evaluation.json", {"recipe": "authors"})
    groups = collect(runs, TABLES[18])
    assert {group.recipe: len(group.runs) for group in groups} == {"corrected": 1, "corrected measured as authors": 1}
