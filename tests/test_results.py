"""From finished run folders to tables and the report, beside the published numbers."""

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from results.cells import Cell, Row, table_rows
from results.collect import Group, collect
from results.published import find_published, published_table
from results.render import grid, render_table
from results.report import write_report
from results.sweep_table import render_sweep_table
from results.tables import TABLES
from sweeps import SWEEPS
from sweeps.bases import base_spec
from sweeps.point import Point
from workloads.errors import MissingRunsError
from workloads.record import EventLog, Measurement, RunFolder, State, measurements_to_table
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

GOLDEN = Path(__file__).parent / "golden" / "table_18.md"
Values = Mapping[tuple[str, str, str, str], float]
"""Accuracies by average, species, query and key."""


def base(seed: int = 42, dataset: str = "insects", synthetic: bool = False) -> ExperimentSpec:
    return base_spec(
        "paper",
        dataset=dataset,
        data_fingerprint="0123abcd-256",
        synthetic=synthetic,
        modalities=("image", "dna", "text"),
        has_image_features=False,
        seed=seed,
    )


def measurements(values: Values) -> list[Measurement]:
    return [
        Measurement(
            partition="val",
            level="species",
            average=average,
            species=species,
            query=query,
            key=key,
            value=value,
            count=10,
        )
        for (average, species, query, key), value in values.items()
    ]


def write_run(
    runs: Folder,
    sweep: str,
    point: Point,
    values: Values,
    *,
    state: State = "finished",
    started: str = "2026-01-01T00:00:00Z",
    scale: str = "paper",
    allocated_gb: float = 30.0,
) -> str:
    """A run folder as the orchestrator leaves it; returns its id."""
    run = RunFolder(runs / sweep / point.spec.id)
    source = {"started": started, "commit": "abc", "clibd": "0.1.0", "argv": ["clibd-sweep", sweep]}
    run.begin(point.spec, {"row": dict(point.row), "label": point.label, "scale": scale}, source)
    log = EventLog(run, 0)
    log.add({"event": "step", "epoch": 0, "step": 0, "loss": 3.0})
    for epoch, seconds in enumerate((3600.0, 7200.0)):
        cost = {
            "seconds": seconds,
            "allocated_gb": allocated_gb,
            "reserved_gb": allocated_gb + (epoch if allocated_gb else 0),
        }
        curve = {"loss": 2.0 - epoch, "temperature": 0.07, "specimens_per_second": 100.0}
        log.add({"event": "epoch", "epoch": epoch, **cost, **curve})
    log.flush()
    run.folder.write_table("measurements.parquet", measurements_to_table(measurements(values)))
    counts = {"num_parameters": 10, "num_trained_parameters": 5, "num_workers": 2}
    run.finish(state, training_seconds=9.0, evaluation_seconds=1.0, device="CPU", **counts)
    return run.id


def amp_points(seed: int = 42, dataset: str = "insects", synthetic: bool = False) -> dict[bool, Point]:
    points = SWEEPS["amp"].points(base(seed, dataset, synthetic), "paper")
    return {bool(point.row["amp"]): point for point in points}


def one_value(value: float) -> Values:
    return {("micro", "all", "dna", "dna"): value}


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


@pytest.fixture
def runs(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "runs")


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


def test_a_cell_is_the_mean_over_seeds_with_its_standard_error_and_difference(runs: Folder) -> None:
    shares = {42: 0.5, 43: 0.7, 44: 0.9}
    ids = [write_run(runs, "amp", amp_points(seed)[True], one_value(share)) for seed, share in shares.items()]
    cell = first_cell(only(collect(runs, TABLES[18])), amp=True)
    assert cell.ours is not None
    assert cell.ours.mean == pytest.approx(0.7)
    assert cell.ours.standard_error == pytest.approx(0.2 / math.sqrt(3))
    assert cell.ours.runs == tuple(sorted(ids))
    assert cell.published is not None
    assert cell.difference == pytest.approx(0.7 - cell.published)


def test_a_single_run_has_no_standard_error(runs: Folder) -> None:
    write_run(runs, "amp", amp_points()[True], one_value(0.5))
    cell = first_cell(only(collect(runs, TABLES[18])), amp=True)
    assert cell.ours is not None
    assert cell.ours.standard_error is None


def test_what_was_not_run_or_not_measured_stays_empty(runs: Folder) -> None:
    write_run(runs, "amp", amp_points()[True], one_value(0.5))
    group = only(collect(runs, TABLES[18]))
    assert row_of(group, amp=False).label is None
    assert all(cell.ours is None for cell in row_of(group, amp=False).cells)
    image_image = row_of(group, amp=True).cells[1]
    assert (image_image.column, image_image.ours, image_image.difference) == ("Image to Image", None, None)


def test_only_finished_runs_count(runs: Folder) -> None:
    write_run(runs, "amp", amp_points(42)[True], one_value(0.5))
    write_run(runs, "amp", amp_points(43)[True], one_value(0.9), state="failed")
    cut = RunFolder(runs / "amp" / "begun")
    cut.begin(amp_points(44)[True].spec, {}, {})
    assert len(only(collect(runs, TABLES[18])).runs) == 1


def test_without_a_finished_run_the_remedy_is_named(runs: Folder) -> None:
    write_run(runs, "amp", amp_points()[True], one_value(0.9), state="failed")
    with pytest.raises(MissingRunsError, match="Run `clibd-sweep amp` first"):
        collect(runs, TABLES[18])
    with pytest.raises(MissingRunsError):
        write_report(runs)


def test_costs_are_hours_an_epoch_and_allocated_plus_reserved_memory(runs: Folder) -> None:
    write_run(runs, "amp", amp_points()[True], one_value(0.5))
    memory, hours = row_of(only(collect(runs, TABLES[18])), amp=True).cells[-2:]
    assert memory.ours is not None
    assert hours.ours is not None
    assert (memory.column, memory.ours.mean) == ("CUDA memory, GB", 61.0)
    assert (hours.column, hours.ours.mean) == ("Hours per epoch", 1.5)


def test_no_memory_is_claimed_without_a_gpu(runs: Folder) -> None:
    write_run(runs, "amp", amp_points()[True], one_value(0.5), allocated_gb=0.0)
    memory, hours = row_of(only(collect(runs, TABLES[18])), amp=True).cells[-2:]
    assert memory.ours is None
    assert hours.ours is not None


def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(runs: Folder) -> None:
    old, new = amp_points(42)[True], amp_points(43)[True]
    old = replace(old, spec=replace(old.spec, weight_decay=0.5))
    write_run(runs, "amp", old, one_value(0.1), started="2026-01-01T00:00:00Z")
    kept = write_run(runs, "amp", new, one_value(0.9), started="2026-01-02T00:00:00Z")
    group = only(collect(runs, TABLES[18]))
    cell = first_cell(group, amp=True)
    assert cell.ours is not None
    assert (cell.ours.mean, cell.ours.runs) == (0.9, (kept,))
    assert group.num_left_out == 1
    assert "1 older run(s) with another spec were left out." in render_table(18, [group], "md")


def test_data_sets_and_scales_are_never_mixed(runs: Folder) -> None:
    write_run(runs, "amp", amp_points(dataset="beetles")[True], one_value(0.1))
    write_run(runs, "amp", amp_points(dataset="flies", synthetic=True)[True], one_value(0.9))
    write_run(runs, "amp", amp_points(43, dataset="flies", synthetic=True)[True], one_value(0.8), scale="small")
    groups = collect(runs, TABLES[18])
    assert [group.title for group in groups] == [
        "beetles (specimens), scale paper, recipe corrected",
        "flies (SYNTHETIC specimens), scale paper, recipe corrected",
        "flies (SYNTHETIC specimens), scale small, recipe corrected",
    ]
    text = render_table(18, groups, "md")
    assert text.count("# Table 18.") == 3
    assert text.count("numbers of SYNTHETIC insects") == 2
    assert text.count("not comparable with the paper") == 1
    records = json.loads(render_table(18, groups, "json"))
    assert {(record["dataset"], record["synthetic"]) for record in records} == {("beetles", False), ("flies", True)}


def golden_runs(runs: Folder) -> Folder:
    """Two seeds with bf16, one in fp32, and the floor of one retrieval."""
    places = [(average, "all", q, k) for average in ("micro", "macro") for q, k in (("dna", "dna"), ("image", "dna"))]
    for seed, shift in ((42, 0.0), (43, 0.02)):
        values = {place: 0.9 - 0.1 * number + shift for number, place in enumerate(places)}
        values["micro", "seen", "dna", "dna"] = 0.95 + shift
        write_run(runs, "amp", amp_points(seed, synthetic=True)[True], values)
    write_run(runs, "amp", amp_points(synthetic=True)[False], {places[0]: 0.9867}, allocated_gb=0.0)
    [floor] = measurements({("micro", "seen", "dna", "dna"): 0.875})
    floors = measurements_to_table([replace(floor, method="kmer_nearest_neighbour")])
    (runs / "amp").write_table("floors-insects-0123abcd-256.parquet", floors)
    return runs


def test_a_rendered_table_is_the_committed_one(runs: Folder) -> None:
    """A diff here is a decision: look at it, then copy it."""
    assert render_sweep_table(golden_runs(runs), 18, "md") == GOLDEN.read_text().rstrip("\n")


def test_only_columns_of_numbers_are_aligned_to_the_right() -> None:
    headers = ["text", "count", "ours", "diff"]
    body = [["5-mer counts", "500", "91.0 ± 1.0 (n=2)", "−6.8"], ["x", "97.8*", "–", "+1e−05"]]
    rule = grid(headers, body).splitlines()[1]
    assert [part.strip().endswith(":") for part in rule.strip("|").split("|")] == [False, True, True, True]


def test_csv_and_json_hold_the_same_numbers_in_long_form(runs: Folder) -> None:
    golden_runs(runs)
    from_json = json.loads(render_sweep_table(runs, 18, "json"))
    from_csv = list(csv.DictReader(io.StringIO(render_sweep_table(runs, 18, "csv"))))
    assert len(from_json) == len(from_csv) == 2 * 8
    for record, line in zip(from_json, from_csv, strict=True):
        assert list(record) == list(line)
        for name in ("published", "ours", "difference", "standard_error"):
            assert (float(line[name]) if line[name] else None) == record[name]
        assert line["runs"].split() == record["runs"]
    [record] = [r for r in from_json if (r["amp"], r["block"][:5], r["column"]) == (True, "Micro", "DNA to DNA")]
    assert record["ours"] == 91.0
    assert record["num_runs"] == len(record["runs"]) == 2
    assert record["difference"] == pytest.approx(record["ours"] - record["published"], abs=1e-3)
    assert record["synthetic"] is True


@pytest.mark.parametrize("label", ["=1+1", "+cmd", "-2", "@x", "\tx"])
def test_csv_text_is_never_a_formula(label: str, runs: Folder) -> None:
    write_run(runs, "amp", replace(amp_points()[True], label=label), one_value(0.1))
    lines = list(csv.DictReader(io.StringIO(render_sweep_table(runs, 18, "csv"))))
    assert {line["run_label"] for line in lines if line["runs"]} == {f"'{label}"}
    # Numbers below zero stay numbers.
    assert min(float(line["difference"]) for line in lines if line["difference"]) < 0


class Page(HTMLParser):
    """What a browser would fetch or run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.num_scripts = 0
        self.handlers: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self._raw = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._raw = tag in ("script", "style")
        self.num_scripts += tag == "script"
        for name, value in attrs:
            if name in ("src", "href", "data", "action"):
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.text += data


def test_the_report_opens_without_a_network(runs: Folder) -> None:
    location = write_report(golden_runs(runs))
    content = Path(location).read_text()
    page = Page(content)
    assert "Plotly.newPlot" in content
    assert len(content) > 1_000_000, "plotly's own script is in the page"
    assert page.links
    assert all(link.startswith("#") for link in page.links)
    assert "@import" not in content.split("<script>")[0]
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_the_report_shows_the_numbers_their_runs_and_what_is_synthetic(runs: Folder) -> None:
    golden_runs(runs)
    page = Page(Path(write_report(runs)).read_text())
    assert "91.0 ± 1.0 (n=2)" in page.text
    assert "SYNTHETIC" in page.text
    for point in amp_points(synthetic=True).values():
        assert point.spec.id in page.ids


def test_a_label_cannot_smuggle_a_script_into_the_report(runs: Folder, tmp_path: Path) -> None:
    write_run(runs, "amp", amp_points()[True], one_value(0.1))
    harmless = Page(Path(write_report(runs, tmp_path / "harmless.html")).read_text())
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    write_run(runs, "amp", replace(amp_points()[True], label=evil), one_value(0.1))
    page = Page(Path(write_report(runs, tmp_path / "evil.html")).read_text())
    assert page.num_scripts == harmless.num_scripts
    assert page.handlers == []
    # plotly draws some tags in a curve's name, so none may reach it: it would store one as \\u003cimg.
    assert "\\u003cimg" not in (tmp_path / "evil.html").read_text()
    assert evil in page.text


def test_the_report_goes_where_it_was_asked_to(runs: Folder, tmp_path: Path) -> None:
    write_run(runs, "amp", amp_points()[True], one_value(0.1))
    assert write_report(runs, tmp_path / "deep" / "page.html") == str(tmp_path / "deep" / "page.html")
    assert write_report(runs) == f"{runs}/report.html"
    assert runs.has("report.html")
