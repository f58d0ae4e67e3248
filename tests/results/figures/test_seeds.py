"""Figure 9: means and standard errors over seeds, and what is missing where there is only one."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from results.evaluated import EvaluatedFolder
from results.figures.picture import FigureChoice, Picture
from results.figures.seed_spread import draw_seeds
from tests.results.figures.made_up import Row, overlaps, write_evaluated
from workloads.errors import MissingPathError, UsageError
from workloads.record import RunFolder
from workloads.seals import unseal_run
from workloads.spec import spec_to_dict
from workloads.storage import Folder


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Path:
    """Three seeds of one experiment."""
    folder = tmp_path_factory.mktemp("sweep")
    for seed in (44, 42, 43):
        write_evaluated(folder / f"run-s{seed}", rows, seed=seed)
    return folder


def draw(*runs: object, partition: str = "val") -> Picture:
    """The figure of some folders."""
    return draw_seeds(FigureChoice(runs=tuple(map(str, runs)), partition=partition))


def test_mean_and_standard_error_are_over_the_runs(sweep: Path) -> None:
    found = pd.DataFrame(draw(sweep).records).groupby(["average", "subset", "rank", "query", "key"])
    assert len(found) == 2 * 2 * 3 * 4  # averages, subsets, retrievals, ranks
    for place, over_seeds in found:
        values = [
            row.value
            for seed in (42, 43, 44)
            for row in RunFolder(Folder(sweep / f"run-s{seed}")).measurements()
            if row.partition == "val" and (row.average, row.species, row.level, row.query, row.key) == place
        ]
        assert over_seeds["seed"].tolist() == [42, 43, 44]
        assert over_seeds["value"].tolist() == pytest.approx(values, abs=1e-6)
        assert over_seeds["mean"].tolist() == pytest.approx([sum(values) / 3] * 3, abs=1e-6)
        assert over_seeds["standard_error"].tolist() == pytest.approx([stats.sem(values)] * 3, abs=1e-6)
    assert found["standard_error"].first().nunique() > 10


def test_runs_may_be_named_one_by_one_or_by_their_sweep(sweep: Path) -> None:
    one_by_one = draw(*(f"{sweep}/run-s{seed}" for seed in (42, 43, 44)))
    assert one_by_one.records == draw(sweep).records


def test_one_seed_is_no_figure_and_the_error_says_what_to_do(sweep: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"at least two runs .* run-s42 \(seed 42\). Train others with `--seed N`"):
        draw(f"{sweep}/run-s42")
    with pytest.raises(MissingPathError, match="no evaluated run"):
        draw(tmp_path)


def test_runs_of_two_experiments_are_not_averaged(sweep: Path, tmp_path: Path) -> None:
    for seed in (42, 43):
        folder = Folder(tmp_path / f"other-s{seed}")
        shutil.copytree(sweep / f"run-s{seed}", folder.path)
        spec = replace(RunFolder(folder).spec(), epochs=77)
        unseal_run(folder, "spec.json")
        folder.write_json("spec.json", spec_to_dict(spec))
    with pytest.raises(UsageError, match="several with seeds: name the runs of one"):
        draw(sweep, tmp_path)
    mixed = draw(f"{sweep}/run-s42", f"{sweep}/run-s43", f"{tmp_path}/other-s42")
    assert {record["seed"] for record in mixed.records} == {42, 43}


def test_runs_that_were_measured_by_different_recipes_are_not_averaged(sweep: Path, tmp_path: Path) -> None:
    shutil.copytree(sweep, tmp_path / "sweep")
    folder = Folder(tmp_path / "sweep" / "run-s43")
    unseal_run(folder, "evaluation.json")
    folder.write_json("evaluation.json", {**folder.read_json("evaluation.json"), "recipe": "authors"})
    with pytest.raises(UsageError, match=r"different recipes \(authors, corrected\)"):
        draw(tmp_path / "sweep")


def test_a_retrieval_that_one_run_lacks_is_left_out(sweep: Path, rows: list[Row], tmp_path: Path) -> None:
    less: EvaluatedFolder = write_evaluated(tmp_path / "less", rows, seed=45, pairs=[("dna", "dna")])
    records = draw(sweep, less.folder).records
    assert {(record["query"], record["key"]) for record in records} == {("dna", "dna")}
    with pytest.raises(UsageError, match="no train accuracies"):
        draw(sweep, partition="train")


def test_the_figure_has_every_run_and_no_text_covers_another(sweep: Path) -> None:
    picture = draw(sweep)
    assert len(picture.records) == 3 * 48
    assert {record["num_runs"] for record in picture.records} == {3}
    assert overlaps(picture.figure) == []
    assert "seeds 42, 43, 44" in " ".join(text.get_text() for text in picture.figure.texts)
