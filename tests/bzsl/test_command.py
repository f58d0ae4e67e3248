"""`clibd bzsl` from a source to a table, and what it leaves."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer

from commands.bzsl import bzsl
from commands.clibd import app as whole
from workloads.command_line import run_command
from workloads.errors import ZeroShotError
from workloads.measuring.points import measure_point
from workloads.measuring.zero_shot_folder import measure_zero_shot
from workloads.record import RunFolder, provenance, read_evaluation
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

REAL = Path(__file__).parents[3] / "shared" / "real" / "insect_bold_pairs"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Runs `clibd bzsl` in a folder of its own; gives exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        app = typer.Typer(pretty_exceptions_enable=False)
        app.command()(bzsl)
        monkeypatch.setattr("sys.argv", ["clibd-bzsl", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            run_command(app)
        found = capsys.readouterr()
        return int(end.value.code or 0), found.out, found.err

    return run


def lines_of(text: str, level: str = "species", average: str = "macro") -> dict[str, list[str]]:
    """Numbers of the lines at a rank, by method."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[:2] == [level, average]:
            found[cells[2]] = [cell for cell in cells[3:] if cell != "–"]
    return found


def test_insect_is_tuned_and_measured_with_the_published_row_beside(
    call: Call, tmp_path: Path, write_insect: Callable[..., Any]
) -> None:
    write_insect(tmp_path / "insect")
    code, out, err = call(tmp_path / "insect", "--recipe", "paper", "--pca", "6")
    assert code == 0, err
    assert "recipe paper, published form" in out
    assert "Chosen among 144 setting(s)" in out
    lines = lines_of(out)
    assert list(lines)[:2] == ["BZSL, ours", "published, Table 4: CNN encoder and RN-101"]
    assert lines["published, Table 4: CNN encoder and RN-101"] == ["38.3", "20.8", "27.0"]
    assert lines["random species"] == ["8.3", "8.3", "8.3"]  # 9 seen species and 3 unseen ones
    about = json.loads((tmp_path / "bzsl" / "bzsl.json").read_text())
    assert (about["num_settings"], about["num_components"], about["num_seen_species"]) == (144, 6, 9)
    assert about["asked"]["form"] == "published"
    search = pq.read_table(tmp_path / "bzsl" / "bzsl_search.parquet").to_pylist()
    best = max(search, key=lambda row: row["harmonic_mean"])  # the first of equals, as max does
    assert about["chosen"] == {name: best[name] for name in about["chosen"]}
    assert about["validation"]["harmonic_mean"] == best["harmonic_mean"]


def test_accuracies_follow_from_the_predictions_that_are_left(
    call: Call, tmp_path: Path, write_insect: Callable[..., Any]
) -> None:
    write_insect(tmp_path / "insect")
    code, out, err = call(tmp_path / "insect", "--pca", "6", "--format", "json", "--out", tmp_path / "here")
    assert code == 0, err
    shown = json.loads(out)
    rows = pq.read_table(tmp_path / "here" / "bzsl_predictions.parquet").to_pylist()
    measured = RunFolder(Folder(tmp_path / "here")).measurements()
    assert {row.method for row in measured if row.low is None} == {"random_key"}  # which is exact
    assert all(row.low <= row.value <= row.high for row in measured if row.low is not None and row.high is not None)
    values = {(row["row"]["method"], row["rank"], row["average"], row["subset"]): row["ours"] for row in shown}
    for subset in ("seen", "unseen"):
        own = [row for row in rows if row["subset"] == subset]
        by_species: dict[str, list[bool]] = {}
        for row in own:
            by_species.setdefault(row["species"], []).append(row["species"] == row["predicted"])
        macro = np.mean([np.mean(hits) for hits in by_species.values()])
        micro = np.mean([row["species"] == row["predicted"] for row in own])
        for average, expected in (("macro", macro), ("micro", micro)):
            (row,) = (
                m for m in measured if (m.method, m.level, m.average, m.species) == ("bzsl", "species", average, subset)
            )
            assert row.value == pytest.approx(expected)
            assert values["BZSL, ours", "species", average, subset] == pytest.approx(100 * row.value, abs=5.1e-5)
    assert {m.method for m in measured} == {"bzsl", "nearest_class_mean", "random_key"}


def test_insects_images_with_the_dna_of_a_run_and_the_other_way_round(
    call: Call, tmp_path: Path, write_insect: Callable[..., Any], write_arrays: Callable[..., Path]
) -> None:
    content = write_insect(tmp_path / "insect")
    names = [content["class_names"][row % 12] for row in range(100)]
    write_arrays(tmp_path / "dna", species=names)
    code, out, err = call(
        tmp_path / "insect", "--dna", tmp_path / "dna", "--pca", "6", "--search", "published-defaults"
    )
    assert code == 0, err
    assert "Chosen among 1 setting(s)" in out
    assert "kappa0 0.1, kappa1 10, m 5 x 6, s 10, K 3" in out
    assert "published" not in " ".join(lines_of(out))
    code, out, err = call(
        tmp_path / "dna", "--dna", tmp_path / "insect", "--pca", "5", "--search", "published-defaults"
    )
    assert code == 0, err
    code, _, err = call(tmp_path / "insect", "--dna", write_arrays(tmp_path / "other"))
    assert (code, "no DNA of Genus" in err) == (1, True)


def test_a_run_stands_beside_tables_3_and_16(call: Call, tmp_path: Path, write_run: Callable[..., Path]) -> None:
    run = write_run(tmp_path / "run")
    code, out, err = call(run, "--pca", "5", "--search", "optuna", "--trials", "4", "--format", "csv")
    assert code == 0, err
    rows = [row for row in csv.DictReader(io.StringIO(out)) if "Tables 3 and 16" in row["row"]]
    printed = {(row["rank"], row["average"], row["subset"]): (row["published"], row["ours"]) for row in rows}
    assert printed["genus", "macro", "unseen"] == ("14.4", "")
    assert printed["order", "micro", "harmonic_mean"] == ("98.8", "")
    assert len(pq.read_table(run / "bzsl" / "bzsl_search.parquet")) == 4
    assert "trial 1: best H" in err
    assert "images of seen_keys" in err


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("nowhere",), 2, "nowhere: no features"),
        (("insect", "--trials", "3"), 2, "--trials and --hours belong to --search optuna"),
        (("insect", "--pca", "500", "--recipe", "paper", "--format", "yaml"), 2, "yaml"),
        (("short",), 1, "Ask for fewer components (--pca"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    call: Call, tmp_path: Path, write_insect: Callable[..., Any], words: tuple[str, ...], code: int, reason: str
) -> None:
    write_insect(tmp_path / "insect")
    write_insect(tmp_path / "short", sizes=[1, 1, 1, 1, 2, 2])
    found, out, err = call(*words)
    assert (found, out) == (code, "")
    assert reason in err
    assert "Traceback" not in err


def test_it_is_a_command_of_clibd() -> None:
    assert bzsl in [command.callback for command in whole.registered_commands]


def test_help_says_how_without_loading_what_only_the_work_needs(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom commands.bzsl import bzsl\nimport typer\n"
        "app = typer.Typer()\napp.command()(bzsl)\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'ray', 'optuna', 'scipy'} & set(sys.modules)))\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert "clibd bzsl INSECT --recipe paper" in done.stdout
    assert done.stdout.strip().endswith("[]")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real pairs at {REAL}")
def test_real_insects_are_told_apart_far_better_than_by_chance(call: Call, tmp_path: Path) -> None:
    table = pq.read_table(REAL / "pairs.parquet", columns=["processid", "order", "family", "genus", "species"])
    species = np.array(table["species"].to_pylist())
    rows = np.flatnonzero(np.isin(species, np.unique(species)[:120]))
    (tmp_path / "pairs").mkdir()
    pq.write_table(table.take(rows), tmp_path / "pairs" / "pairs.parquet")
    for file in REAL.glob("*_features*.npy"):
        np.save(tmp_path / "pairs" / file.name, np.load(file)[rows])
    code, out, err = call(tmp_path / "pairs", "--pca", "60")
    assert code == 0, err
    lines = lines_of(out)
    ours, chance = ([float(c.split()[0]) for c in lines[method]] for method in ("BZSL, ours", "random species"))
    assert ours[0] > 20 * chance[0]
    assert ours[1] > 3 * chance[1]


def test_a_run_s_measurements_are_not_overwritten(call: Call, tmp_path: Path, write_insect: Callable[..., Any]) -> None:
    write_insect(tmp_path / "insect")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "spec.json").write_text("{}")
    code, _, err = call(tmp_path / "insect", "--pca", "6", "--out", tmp_path / "run")
    assert code == 2
    assert "measurements would be lost" in err
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["spec.json"]


def test_zero_shot_as_a_point_of_a_sweep_is_a_whole_folder(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    run, target = write_run(tmp_path / "run"), Folder(tmp_path / "point")
    spec = ExperimentSpec(dataset="d", data_fingerprint="f", recipe="authors")
    RunFolder(target).begin(None, {}, provenance(["clibd-sweep", "zero-shot"]))
    measure_point("bzsl", spec, RunFolder(target), Folder(tmp_path), {"images": str(run)}, "")
    assert target.read_json("bzsl.json")["provenance"] == target.read_json("provenance.json")
    assert read_evaluation(target)["recipe"] == "authors"
    assert read_evaluation(target)["data_fingerprint"] == read_evaluation(Folder(run))["data_fingerprint"]
    assert {"measurements.parquet", "bzsl_predictions.parquet", "bzsl.json"} <= set(target.files())
    assert not (run / "bzsl").exists()


def test_a_point_takes_as_many_components_as_its_specimens_allow(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    run, target = write_run(tmp_path / "run", size=64), Folder(tmp_path / "point")
    with pytest.raises(ZeroShotError, match="singular"):
        measure_zero_shot(str(run), None, target, "corrected", 42, num_components=500, search="published-defaults")
    measure_zero_shot(str(run), None, target, "corrected", 42, num_components=None, search="published-defaults")
    about = target.read_json("bzsl.json")
    assert 1 <= about["num_components"] < about["num_train"]


def test_numbers_of_drawn_specimens_say_so(call: Call, tmp_path: Path, write_run: Callable[..., Path]) -> None:
    run = Folder(write_run(tmp_path / "run"))
    for synthetic in (False, True):
        run.write_json("evaluation.json", {**run.read_json("evaluation.json"), "synthetic": synthetic})
        code, out, err = call(run, "--pca", "5")
        assert code == 0, err
        assert ("SYNTHETIC" in out) == synthetic
        assert (run / "bzsl").read_json("bzsl.json")["synthetic"] is synthetic
