"""The files that an evaluation leaves for looking at: sealed, damaged, made anew, and of earlier versions."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from tests.damage import damage
from tests.evaluation.looking_cases import measured as measured
from tests.evaluation.looking_cases import run as run
from tests.results.figures.made_up import made_up_rows, write_evaluated
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import AlteredError, ClibdError, DamagedError
from workloads.evaluation.looking import look_at
from workloads.evaluation.stored import read_parts
from workloads.measuring.evaluation_folder import measure_again, measure_run
from workloads.predictions import Predictions
from workloads.record import RunFolder, read_evaluation
from workloads.seals import unseal_run
from workloads.shown import MAP, MAP_SCHEMA, MOST_SHOWN, SHOWN, SHOWN_SCHEMA, read_map, read_shown
from workloads.storage import Folder
from workloads.verify import things_in


def test_measuring_twice_leaves_the_same_bytes(run: RunFolder, tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    evaluation, again = Folder(tmp_path / "evaluation"), Folder(tmp_path / "again")
    measure_run(run, tiny_dataset.folder, evaluation)
    measure_again(run, again)
    for name in (SHOWN, MAP):
        assert evaluation.read(name) == run.folder.read(name) == again.read(name), name
    assert {folder.read_json("evaluation.json")["shown"]["specimens"] for folder in (evaluation, again)} != {0}


def test_they_are_sealed_and_verified(run: RunFolder, tiny_dataset: PreparedDataset) -> None:
    measure_run(run, tiny_dataset.folder)
    sealed = run.manifest()
    for place in ("", "evaluation-tiny/"):
        for name in (SHOWN, MAP):
            assert sealed[f"{place}{name}"] == run.folder.digest(f"{place}{name}")
            damage(Path(run.folder.path, place, name), 1)
    [(_, check)] = things_in(run.folder)
    problems = {problem.file: problem.remedy for problem in check(lambda done, total: None).problems}
    assert problems.keys() == {f"{place}{name}" for place in ("", "evaluation-tiny/") for name in (SHOWN, MAP)}
    assert f"clibd evaluate {run.folder}`" in problems[MAP]
    assert f"clibd evaluate {run.folder} --data DIR`" in problems[SHOWN]
    assert "--data DIR --again" in problems[f"evaluation-tiny/{SHOWN}"]
    with pytest.raises(AlteredError):
        read_shown(run.folder)
    with pytest.raises(AlteredError):
        read_map(run.folder / "evaluation-tiny")


def test_damaged_pictures_cost_no_number_and_measuring_again_goes_without(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before, numbers = run.measurements(), read_evaluation(run.folder)
    for seed, name in enumerate((SHOWN, MAP)):
        damage(Path(run.folder.path, name), seed)
    assert run.measurements() == before
    measure_again(run)
    assert "no pictures are kept" in capsys.readouterr().err
    assert run.measurements() == before
    assert read_shown(run.folder) is None
    assert read_map(run.folder) is not None
    shown = numbers["shown"] | {"specimens": 0}
    assert read_evaluation(run.folder) == {**numbers, "shown": shown}
    assert [check(lambda done, total: None).state for _, check in things_in(run.folder)] == ["whole"]


def test_measuring_with_its_data_set_makes_what_is_damaged_of_its_own_anew(
    run: RunFolder, tiny_dataset: PreparedDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: run.folder.read(name) for name in run.folder.walk()}
    for seed, name in enumerate((SHOWN, MAP)):
        damage(Path(run.folder.path, name), seed)
    measure_run(run, tiny_dataset.folder)
    assert "are made anew" in capsys.readouterr().err
    measure_run(run, tiny_dataset.folder)
    assert "are made anew" not in capsys.readouterr().err
    manifest = "manifest.json"  # the evaluation that was asked for is in it now
    assert {name for name in before if run.folder.read(name) != before[name]} == {manifest}
    assert [check(lambda done, total: None).state for _, check in things_in(run.folder)] == ["whole"]


def test_of_damaged_predictions_nothing_is_shown_anew(
    run: RunFolder, tiny_dataset: PreparedDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate((SHOWN, "predictions.parquet")):
        damage(Path(run.folder.path, name), seed)
    damaged = run.folder.read(SHOWN)
    made = measure_run(run, tiny_dataset.folder)
    assert made.measurements
    assert "is not made anew" in capsys.readouterr().err
    assert run.folder.read(SHOWN) == damaged


def _shown_of(rows: list[dict[str, object]]) -> tuple[str, pa.Table]:
    return SHOWN, pa.Table.from_pylist(rows, SHOWN_SCHEMA)


def _points_of(**changed: object) -> tuple[str, pa.Table]:
    point = {"specimen_id": "a", "partition": "val", "kind": "query", "modality": "dna", "x": 0.0, "y": 1.0}
    return MAP, pa.Table.from_pylist([{**point, "specimen_id": "b"}, {**point, **changed}], MAP_SCHEMA)


WRONG: dict[str, tuple[tuple[str, pa.Table], str]] = {
    "too many": (_shown_of([{"specimen_id": str(number)} for number in range(MOST_SHOWN + 1)]), "2,001 specimens"),
    "twice": (_shown_of([{"specimen_id": "a"}] * 2), "there twice"),
    "no id": (_shown_of([{"barcode": "ACGT"}]), "no value"),
    "a page": (_shown_of([{"specimen_id": "a", "thumbnail": b"<html><script>"}]), "thumbnail is none"),
    "a giant": (_shown_of([{"specimen_id": "a", "thumbnail": b"RIFF1234WEBP" + bytes(2**15)}]), "thumbnail is none"),
    "no thumbnails": ((SHOWN, pa.table({"specimen_id": ["a"], "barcode": ["ACGT"]})), "no column thumbnail"),
    "no points": ((MAP, MAP_SCHEMA.empty_table()), "no row"),
    "nowhere": (_points_of(x=float("nan")), "lies nowhere"),
    "no kind": (_points_of(kind="neither"), "no such kind"),
    "no modality": (_points_of(modality="smell"), "no such modality"),
    "a key of a partition": (_points_of(kind="key"), "of no partition"),
    "a point twice": (_points_of(specimen_id="b"), "there twice"),
}


@pytest.mark.parametrize("which", WRONG)
def test_files_that_nobody_can_have_written_are_refused(which: str, run: RunFolder) -> None:
    (name, table), reason = WRONG[which]
    unseal_run(run.folder, name)
    run.folder.write_table(name, table)
    with pytest.raises(DamagedError, match=reason):
        (read_shown if name == SHOWN else read_map)(run.folder)


@pytest.mark.parametrize(("name", "read"), [(SHOWN, read_shown), (MAP, read_map)])
def test_damage_without_seals_is_met_with_a_typed_error_or_is_none(
    name: str, read: Callable[[Folder], object], run: RunFolder
) -> None:
    unseal_run(run.folder, name)
    whole = run.folder.read(name)
    for seed in range(25):
        damage(Path(run.folder.path, name), seed)
        with suppress(ClibdError):
            read(run.folder)
        run.folder.write(name, whole)


def test_folders_of_earlier_versions_have_neither(tmp_path: Path) -> None:
    folder = write_evaluated(tmp_path / "old", made_up_rows()).folder
    assert read_shown(folder) is None
    assert read_map(folder) is None


def test_without_images_to_be_had_the_map_is_left_alone(run: RunFolder) -> None:
    looking = look_at(read_parts(run.folder), Predictions.read(run.folder), None)
    assert looking.shown is None
    assert looking.about["shown"]["specimens"] == 0
    looking.write(run.folder)
    assert not run.folder.has(SHOWN)
    assert run.folder.has(MAP)
