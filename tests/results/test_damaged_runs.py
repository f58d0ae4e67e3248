"""A damaged file in a folder of good runs: one missing cell or one sentence, and never the end of anything else."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands.results import app as results_app
from commands.sweep import app as sweep_app
from results.comparison.compare import comparison_sheet
from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked
from results.dashboard.site.replies import reply_to
from results.paper.closing import closing_words
from results.paper.tables import table_sheets
from results.render import render_sheets
from results.run_logs import log_text
from sweeps import SWEEPS
from tests.damage import damage
from tests.results.conftest import FACTS, _amp_points, _write_run
from tests.results.figures.made_up import made_up_rows, write_evaluated
from workloads.errors import ClibdError
from workloads.record import RunFolder, find_run
from workloads.seals import MANIFEST
from workloads.storage import Folder
from workloads.training.report import result_words

SEEDS = range(1)
OF_A_SWEEP = (
    *("events.jsonl", "point.json", "provenance.json", "spec.json", "status.json", "evaluation.json"),
    *("measurements.parquet", MANIFEST, "../points.json"),
)
OF_AN_EVALUATION = (
    *("evaluation.json", "spec.json", "point.json", "status.json", "predictions.parquet", "specimens.parquet"),
    *("measurements.parquet", "embeddings/val.parquet"),
)
PLACES = [("amp", name) for name in OF_A_SWEEP] + [("train", name) for name in OF_AN_EVALUATION]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Four finished runs of a sweep and two evaluated ones; and the id of the one that will be damaged."""
    place = tmp_path_factory.mktemp("good") / "runs"
    runs, values = Folder(place), {}
    for average in ("micro", "macro"):
        for species in ("seen", "unseen", "harmonic_mean", "all"):
            values |= {(average, species, query, "dna"): 0.5 for query in ("dna", "image")}
    points = [_amp_points(seed)[amp] for seed in (42, 43) for amp in (True, False)]
    names = [_write_run(runs, point, values, evaluation=FACTS) for point in points]
    entries = [
        {"id": point.id, "row": dict(point.row or {}), "label": point.label, "kind": point.kind, "needs": [], **said}
        for point in points
        if point.spec
        for said in [{name: getattr(point.spec, name) for name in ("recipe", "dataset", "synthetic", "seed")}]
    ]
    (runs / "amp").write_json("points.json", [{**entry, "scale": "paper", "impossible": None} for entry in entries])
    for seed, name in ((42, "one"), (43, "two")):
        write_evaluated(place / "train" / name, made_up_rows(), seed=seed)
    return place, names[0]


def printed(app: object, *words: str) -> str:
    done = CliRunner().invoke(app, words, catch_exceptions=False)  # type: ignore[arg-type]
    assert done.exit_code == 0, done.output
    return done.output


def look_at_pages(runs: Path, name: str) -> None:
    """None of them is a mistake of ours, whatever is damaged."""
    catalog = Catalog(Folder(runs))
    pages = [("overview", ""), ("table", "18"), ("sweep", "amp"), ("run", name), ("run", "one"), ("retrieval", "one")]
    for page, of in pages:
        assert reply_to(catalog, Asked.to(page, of)).status in (200, 404)


ALWAYS: dict[str, Callable[[Path, str], object]] = {
    "table": lambda runs, name: render_sheets(table_sheets(18, Folder(runs)), "md"),
    "pages": lambda runs, name: look_at_pages(runs, name),
    "closing words": lambda runs, name: closing_words([SWEEPS["amp"]], Folder(runs)),
    "list": lambda runs, name: printed(results_app, "list", "--runs", str(runs)),
    "status": lambda runs, name: printed(sweep_app, "status", "--runs", str(runs)),
    "find": lambda runs, name: find_run(Folder(runs), name),
}
"""What goes on whatever is damaged."""
OF_ONE_RUN: dict[str, Callable[[Path, str], object]] = {
    "logs": lambda runs, name: log_text(Folder(runs) / "amp" / name),
    "words": lambda runs, name: result_words(RunFolder(Folder(runs) / "amp" / name)),
    "compare": lambda runs, name: render_sheets(
        [comparison_sheet(Folder(runs) / "train" / "one", Folder(runs) / "train" / "two", None, ["species"], True)],
        "md",
    ),
}
"""What may say that it is damaged."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("sweep", "name"), PLACES, ids="/".join)
def test_damage_costs_a_cell_or_a_sentence(
    sweep: str, name: str, seed: int, good: tuple[Path, str], tmp_path: Path
) -> None:
    runs, victim = shutil.copytree(good[0], tmp_path / "runs"), good[1]
    damage((runs / sweep / (victim if sweep == "amp" else "one") / name).resolve(), seed)
    for read in ALWAYS.values():
        read(runs, victim)
    for read in OF_ONE_RUN.values():
        with suppress(ClibdError):
            read(runs, victim)


@pytest.mark.parametrize("name", [name for name in OF_A_SWEEP if name[0] != "."])
def test_a_number_of_a_damaged_run_stands_nowhere_and_strict_says_so(
    name: str, good: tuple[Path, str], tmp_path: Path
) -> None:
    runs, victim = shutil.copytree(good[0], tmp_path / "runs"), good[1]
    for other in (runs / "amp").glob("*-s43-*"):  # else its numbers would stand there
        shutil.rmtree(other)
    (runs / "amp" / victim / name).write_bytes(b"\0" * 100)
    plain = CliRunner().invoke(results_app, ["table", "18", "--runs", str(runs)], catch_exceptions=False)
    strict = CliRunner().invoke(results_app, ["table", "18", "--runs", str(runs), "--strict"], catch_exceptions=False)
    assert (plain.exit_code, strict.exit_code) == (0, 1)
    assert f"1 run is damaged: {victim}; `clibd verify {runs}` says more." in plain.stderr
    assert len(strict.stderr.splitlines()) > len(plain.stderr.splitlines())
