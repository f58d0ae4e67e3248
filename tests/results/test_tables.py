"""From run folders to the cells of tables, beside the published numbers, with a reason for each empty one."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from results.paper.tables import declared, table_sheets
from results.render import render_sheets
from results.sheet import Cell, Sheet, record
from sweeps.point import Point
from workloads.errors import UsageError
from workloads.record import MEASUREMENT_SCHEMA, Measurement, RunFolder, measurements_to_table
from workloads.seals import unseal_run
from workloads.storage import Folder

Write = Callable[..., str]
Amp = Callable[..., dict[bool, Point]]


def only(sheets: list[Sheet]) -> Sheet:
    [sheet] = sheets
    return sheet


def cell_of(sheet: Sheet, column: str = "DNA to DNA", **row: Any) -> Cell:
    found = [cell for cell in sheet.cells if cell.row == row and cell.column == column and cell.block[:5] != "Macro"]
    return found[0]


def first_cell(runs: Folder, amp: bool = True) -> Cell:
    return cell_of(only(table_sheets(18, runs)), amp=amp)


def entry(point: Point, **changes: Any) -> dict[str, Any]:
    """A point as points.json has it."""
    spec = point.spec
    own = {name: getattr(spec, name) for name in ("recipe", "dataset", "data_fingerprint", "synthetic", "seed")}
    about = {"id": point.id, "row": dict(point.row or {}), "label": point.label, "kind": point.kind, "needs": []}
    return {**about, **own, "scale": "paper", "impossible": None, **changes}


# --- Ours


def test_a_cell_is_the_mean_over_seeds_with_its_standard_error(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    shares = {42: 0.5, 43: 0.7, 44: 0.9}
    ids = [write_run(amp_points(seed)[True], share) for seed, share in shares.items()]
    cell = first_cell(runs)
    assert cell.ours == pytest.approx(0.7)
    assert cell.standard_error == pytest.approx(0.2 / math.sqrt(3))
    assert cell.runs == tuple(sorted(ids))
    assert (cell.low, cell.high, cell.n) == (None, None, 10)


def test_a_single_run_has_its_interval_and_no_standard_error(
    runs: Folder, write_run: Write, amp_points: Amp, rewrite: Callable[..., None]
) -> None:
    rewrite(write_run(amp_points()[True], 0.5), lambda rows: [replace(rows[0], low=0.45, high=0.5678)])
    cell = first_cell(runs)
    assert (cell.ours, cell.standard_error, cell.low, cell.high) == (0.5, None, 0.45, 0.5678)
    text = render_sheets(table_sheets(18, runs), "md")
    assert text.count("50.0 [45.0, 56.8]") == 1
    assert "95 % bootstrap intervals over queries (micro) or classes (macro)" in text


@pytest.fixture
def rewrite(runs: Folder) -> Callable[[str, Callable[[list[Measurement]], list[Measurement]]], None]:
    """Changes the measurements that a run left."""

    def change_in(run: str, change: Callable[[list[Measurement]], list[Measurement]]) -> None:
        folder, name = runs / "amp" / run, "measurements.parquet"
        rows = change([Measurement(**row) for row in folder.read_table(name).to_pylist()])
        unseal_run(folder, name)
        folder.write_table(name, measurements_to_table(rows))

    return change_in


def test_a_cell_is_of_the_nearest_key_among_all_keys(
    runs: Folder, write_run: Write, amp_points: Amp, rewrite: Callable[..., None]
) -> None:
    others = ({"metric": "top5"}, {"keys": "own"}, {"method": "majority"}, {"partition": "test"})
    run = write_run(amp_points()[True], 0.5)
    rewrite(run, lambda rows: [*(replace(rows[0], value=0.9, **other) for other in others), *rows])
    assert first_cell(runs).ours == 0.5


def test_costs_are_hours_an_epoch_and_allocated_plus_reserved_memory(
    runs: Folder, write_run: Write, amp_points: Amp
) -> None:
    write_run(amp_points()[True], 0.5)
    sheet = only(table_sheets(18, runs))
    memory, hours = cell_of(sheet, "CUDA memory, GB", amp=True), cell_of(sheet, "Hours per epoch", amp=True)
    assert (memory.ours, memory.unit, hours.ours, hours.unit) == (61.0, "GB", 1.5, "hours")
    assert not memory.comparable


def test_no_memory_is_claimed_without_a_gpu(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    write_run(amp_points()[True], 0.5, allocated_gb=0.0)
    memory = cell_of(only(table_sheets(18, runs)), "CUDA memory, GB", amp=True)
    assert (memory.ours, memory.reason) == (None, "there was no GPU to measure")


def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(
    runs: Folder, write_run: Write, amp_points: Amp
) -> None:
    old, new = amp_points(42)[True], amp_points(43)[True]
    old = replace(old, spec=replace(old.spec, weight_decay=0.5))
    write_run(old, 0.1, started="2026-01-01T00:00:00Z")
    kept = write_run(new, 0.9, started="2026-01-02T00:00:00Z")
    cell = first_cell(runs)
    assert (cell.ours, cell.runs) == (0.9, (kept,))
    assert "1 older run(s) with another spec were left out." in only(table_sheets(18, runs)).notes


def test_seeds_that_each_begin_with_a_run_of_their_own_are_averaged(
    runs: Folder, write_run: Write, amp_points: Amp
) -> None:
    for seed, share in ((42, 0.5), (43, 0.7)):
        point = amp_points(seed)[True]
        started = replace(point.spec, image=replace(point.spec.image, weights=f"run:insects-simclr-s{seed}"))
        write_run(replace(point, spec=started), share)
    assert first_cell(runs).ours == pytest.approx(0.6)


def test_data_sets_scales_and_recipes_have_sheets_of_their_own(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    write_run(amp_points(dataset="beetles")[True], 0.1)
    write_run(amp_points(dataset="flies", synthetic=True)[True], 0.9)
    write_run(amp_points(43, dataset="flies", synthetic=True)[True], 0.8, scale="small")
    write_run(amp_points(44, dataset="beetles")[True], 0.2, evaluation={"recipe": "authors"})
    sheets = table_sheets(18, runs)
    assert {sheet.about[0] for sheet in sheets} == {
        "Ours: beetles (specimens), scale paper, recipe corrected",
        "Ours: beetles (specimens), scale paper, recipe corrected measured as authors",
        "Ours: flies (SYNTHETIC specimens), scale paper, recipe corrected",
        "Ours: flies (SYNTHETIC specimens), scale small, recipe corrected",
    }
    assert render_sheets(sheets, "md").count("numbers of SYNTHETIC insects") == 2
    found = {(cell.dataset, cell.synthetic) for sheet in sheets for cell in sheet.cells}
    assert found == {("beetles", False), ("flies", True)}


def test_chance_and_floors_stand_below_each_table(golden_runs: Folder) -> None:
    floors = {
        cell.label: cell for cell in only(table_sheets(18, golden_runs)).cells if cell.method not in ("clibd", None)
    }
    assert {label: cell.ours for label, cell in floors.items()} == {
        "chance": 0.01,
        "floor: 5-mer nearest neighbour": 0.875,
    }
    assert all(cell.published is None and not cell.runs for cell in floors.values())


# --- What sweeps have asked for


def test_a_row_of_points_json_is_filled_from_wherever_its_folder_lies(
    runs: Folder, write_run: Write, amp_points: Amp
) -> None:
    point = amp_points()[True]
    name = write_run(point, 0.5)
    unseal_run(runs / "amp" / name, "point.json")
    (runs / "amp" / name).remove("point.json")
    Path(runs.path, "amp", name).rename(Path(runs.path, "elsewhere"))
    Path(runs.path, "batch-size").mkdir()
    Path(runs.path, "elsewhere").rename(Path(runs.path, "batch-size", name))
    (runs / "amp").write_json("points.json", [entry(point)])
    assert first_cell(runs).ours == 0.5


def test_points_of_other_sweeps_do_not_stand_in_a_table(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    point = amp_points()[True]
    write_run(point, 0.5)
    (runs / "lora").write_json("points.json", [entry(point, row={"fine_tuning": "full"})])
    [sheet] = table_sheets(19, runs)
    assert next(cell.ours for cell in sheet.cells if cell.row == {"fine_tuning": "full"}) == 0.5
    [sheet] = table_sheets(20, runs)
    assert not sheet.has_ours


def test_every_empty_cell_says_why(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    points = amp_points(43) | {2: amp_points(44)[True]}
    failed = RunFolder(runs / "amp" / write_run(points[True], 0.5))
    failed.finish("failed", reason="the loss is not finite")
    listed = [entry(points[True]), entry(points[False])]
    listed += [entry(points[False], id=None, row={"amp": "tf32"}, label="tf32", impossible="no such machine")]
    (runs / "amp").write_json("points.json", listed)
    command = (
        f"`clibd-sweep amp --data DIR --scale paper --recipe corrected --runs {runs}`, where DIR is insects, prepared"
    )
    sheet = only(table_sheets(18, runs))
    assert cell_of(sheet, amp=True).reason == f"{failed.id}: it failed: the loss is not finite ({command})"
    assert cell_of(sheet, amp=False).reason == f"not run: {command}"
    assert cell_of(sheet, amp="tf32").reason == "tf32: no such machine"
    text = render_sheets([sheet], "md")
    assert f"- [1] not run: {command}" in text or f"] not run: {command}" in text


def test_a_remedy_can_be_pasted_from_a_folder_with_blanks_too(tmp_path: Path) -> None:
    runs = Folder(tmp_path / "my runs")
    Path(runs.path, "amp").mkdir(parents=True)
    [sheet] = table_sheets(18, runs)
    reasons = {cell.reason for cell in sheet.cells}
    assert reasons == {f"not run: `clibd-sweep amp --demo --runs '{runs}'`"}


def test_a_modality_that_was_left_out_is_named(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    write_run(amp_points()[True], 0.5, evaluation={"left_out": {"image": "its tower takes features, not pixels"}})
    cell = cell_of(only(table_sheets(18, runs)), "Image to Image", amp=True)
    assert cell.reason is not None
    assert cell.reason.endswith(": its tower takes features, not pixels")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("status.json", b"{"),
        ("evaluation.json", b"[]"),
        ("evaluation.json", b"\xff\xfe"),
        ("measurements.parquet", b"PAR1 and no more"),
        ("measurements.parquet", None),
        ("status.json", None),
    ],
)
def test_a_damaged_or_half_written_run_is_one_missing_cell(
    name: str, content: bytes | None, runs: Folder, write_run: Write, amp_points: Amp
) -> None:
    whole, broken = amp_points()[False], amp_points()[True]
    write_run(whole, 0.4)
    run = runs / "amp" / write_run(broken, 0.5, evaluation={})
    (runs / "amp").write_json("points.json", [entry(whole), entry(broken)])
    if content is None:
        run.remove(name)
    else:
        run.write(name, content)
    sheet = only(table_sheets(18, runs))
    assert cell_of(sheet, amp=False).ours == 0.4
    cell = cell_of(sheet, amp=True)
    assert cell.ours is None
    assert cell.reason is not None
    assert broken.spec.id in cell.reason


def test_a_run_of_an_earlier_version_that_cannot_be_read_is_named_below(
    runs: Folder, write_run: Write, amp_points: Amp
) -> None:
    write_run(amp_points()[False], 0.4)
    run = write_run(amp_points()[True], 0.5)
    (runs / "amp" / run).write_json("spec.json", {"field_of_the_future": 1})
    sheet = only(table_sheets(18, runs))
    assert any(note.startswith(f"{run} is left out: it cannot be read") for note in sheet.notes)


def test_what_a_run_has_seen_in_training_is_said_and_the_numbers_exist_without_it(
    runs: Folder, write_run: Write, amp_points: Amp
) -> None:
    seen = {"unseen_species": 121, "num_unseen_species": 140, "specimens": 7, "barcodes": 9, "num_queries": 400}
    run = write_run(amp_points()[True], 0.99, evaluation={"contamination": {"val": seen}})
    folder = runs / "amp" / run
    table = folder.read_table("measurements.parquet").to_pylist()
    import pyarrow as pa

    rows = [
        {**row, "queries": queries, "value": value}
        for row in table
        for queries, value in (("all", 0.99), ("untrained", 0.3))
    ]
    unseal_run(folder, "measurements.parquet")
    folder.write_table("measurements.parquet", pa.Table.from_pylist(rows, schema=MEASUREMENT_SCHEMA))
    sheet = only(table_sheets(18, runs))
    found = {cell.label: cell for cell in sheet.cells if cell.row == {"amp": True} and cell.ours in (0.99, 0.3)}
    clean = found["bf16, without what it was trained on"]
    assert (found["bf16"].ours, clean.ours, clean.published) == (0.99, 0.3, None)
    words = "121/140 unseen species, 7 specimens and 9 barcodes of 400 queries"
    assert found["bf16"].contamination == words
    text = render_sheets([sheet], "md")
    assert "| Seen in training" in text
    assert f"| {words} |" in text
    assert record(found["bf16"])["contamination"] == words


# --- Tables of a data set, and of our own


def test_tables_of_a_data_set_are_read_from_what_data_stats_left(runs: Folder) -> None:
    cell = Cell(table="5", row={"row": "order"}, block="Species seen", column="Train", unit="records", ours=3.5)
    stored = [record(replace(cell, dataset="beetles", synthetic=True))]
    (runs / "statistics").write_json("statistics.json", stored)
    sheet = only(table_sheets(5, runs))
    assert [cell.ours for cell in sheet.cells] == [3.5]
    assert "beetles (SYNTHETIC)" in sheet.about[0]
    [command] = {cell.reason for cell in only(table_sheets(5, Folder("elsewhere"))).cells}
    assert command is not None
    assert command.startswith("not counted: `clibd data stats DIR --out ")


def test_a_table_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match=r"table 21; .*1 to 20"):
        table_sheets(21, None)
    assert {"seeds", "dna-pooling"} <= set(declared())


def test_two_data_sets_under_one_name_are_told_apart(runs: Folder, write_run: Write, amp_points: Amp) -> None:
    for fingerprint in ("0123abcd", "4567ef01"):
        point = amp_points()[True]
        write_run(replace(point, spec=replace(point.spec, data_fingerprint=fingerprint)), 0.5)
    titles = {sheet.about[0] for sheet in table_sheets(18, runs)}
    assert titles == {
        f"Ours: insects (specimens, version {fingerprint}), scale paper, recipe corrected"
        for fingerprint in ("0123abcd", "4567ef01")
    }
