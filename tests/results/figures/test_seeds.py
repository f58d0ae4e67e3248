"""Figure 9: means and standard errors over seeds, and what is missing where there is only one."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from results.figures.evaluated import Evaluated
from results.figures.seeds import accuracies_over_seeds, draw_seeds, find_seed_runs
from tests.results.figures.made_up import Row, overlaps, write_evaluated
from workloads.errors import MissingPathError, UsageError
from workloads.record import RunFolder
from workloads.spec import spec_to_dict
from workloads.storage import Folder


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Path:
    """Three seeds of one experiment."""
    folder = tmp_path_factory.mktemp("sweep")
    for seed in (44, 42, 43):
        write_evaluated(folder / f"run-s{seed}", rows, seed=seed)
    return folder


def test_mean_and_standard_error_are_over_the_runs(sweep: Path) -> None:
    runs = find_seed_runs([str(sweep)])
    assert [run.spec.seed for run in runs] == [42, 43, 44]
    found = accuracies_over_seeds(runs, "val")
    assert len(found) == 2 * 2 * 3 * 4  # averages, subsets, retrievals, ranks
    for one in found:
        values = [
            row.value
            for seed in (42, 43, 44)
            for row in RunFolder(Folder(sweep / f"run-s{seed}")).measurements()
            if (row.partition, row.average, row.species) == ("val", one.average, one.subset)
            and (row.level, row.query, row.key) == (one.rank, one.query, one.key)
        ]
        assert [value for _, value in one.values] == values
        assert one.mean == pytest.approx(sum(values) / 3, abs=1e-12)
        assert one.standard_error == pytest.approx(stats.sem(values), abs=1e-12)
    assert len({one.standard_error for one in found}) > 10


def test_runs_may_be_named_one_by_one_or_by_their_sweep(sweep: Path) -> None:
    one_by_one = find_seed_runs([f"{sweep}/run-s{seed}" for seed in (42, 43, 44)])
    assert [run.spec for run in one_by_one] == [run.spec for run in find_seed_runs([str(sweep)])]


def test_one_seed_is_no_figure_and_the_error_says_what_to_do(sweep: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"at least two runs .* run-s42 \(seed 42\). Train others with `--seed N`"):
        find_seed_runs([f"{sweep}/run-s42"])
    with pytest.raises(MissingPathError, match="no evaluated run"):
        find_seed_runs([str(tmp_path)])


def test_runs_of_two_experiments_are_not_averaged(sweep: Path, tmp_path: Path) -> None:
    for seed in (42, 43):
        folder = Folder(tmp_path / f"other-s{seed}")
        shutil.copytree(sweep / f"run-s{seed}", folder.path)
        spec = replace(RunFolder(folder).spec(), epochs=77)
        folder.write_json("spec.json", spec_to_dict(spec))
    with pytest.raises(UsageError, match="several with seeds: name the runs of one"):
        find_seed_runs([str(sweep), str(tmp_path)])
    mixed = find_seed_runs([f"{sweep}/run-s42", f"{sweep}/run-s43", f"{tmp_path}/other-s42"])
    assert [Path(run.address).name for run in mixed] == ["run-s42", "run-s43"]


def test_runs_that_were_measured_by_different_recipes_are_not_averaged(sweep: Path, tmp_path: Path) -> None:
    shutil.copytree(sweep, tmp_path / "sweep")
    folder = Folder(tmp_path / "sweep" / "run-s43")
    folder.write_json("evaluation.json", {**folder.read_json("evaluation.json"), "recipe": "authors"})
    with pytest.raises(UsageError, match=r"different recipes \(authors, corrected\)"):
        accuracies_over_seeds(find_seed_runs([str(tmp_path / "sweep")]), "val")


def test_a_retrieval_that_one_run_lacks_is_left_out(sweep: Path, rows: list[Row], tmp_path: Path) -> None:
    less: Evaluated = write_evaluated(tmp_path / "less", rows, seed=45, pairs=[("dna", "dna")])
    runs = find_seed_runs([str(sweep), str(less.folder)])
    assert {(one.query, one.key) for one in accuracies_over_seeds(runs, "val")} == {("dna", "dna")}
    with pytest.raises(UsageError, match="no train accuracies"):
        accuracies_over_seeds(runs, "train")


def test_the_figure_has_every_run_and_no_text_covers_another(sweep: Path) -> None:
    picture = draw_seeds([str(sweep)])
    assert len(picture.records) == 3 * 48
    assert {record["num_runs"] for record in picture.records} == {3}
    assert overlaps(picture.figure) == []
    assert "seeds 42, 43, 44" in " ".join(text.get_text() for text in picture.figure.texts)
