"""What a run leaves behind, and how it is found again."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest

from workloads.errors import DamagedError, MissingPathError, NewerVersionError, SpecError
from workloads.record import (
    MEASUREMENT_SCHEMA,
    Measurement,
    RunFolder,
    find_run,
    find_runs,
    measurements_to_table,
    provenance,
    read_evaluation,
)
from workloads.seals import seal_run, unseal_run
from workloads.spec import ExperimentSpec
from workloads.storage import Folder
from workloads.training.report import Listener, StepReport, event_log

SPEC = ExperimentSpec(dataset="beetles", data_fingerprint="0123abcd-64", batch_size=20)
POINT = {"row": {"batch_size": 500}, "scale": "small"}


def measurement(**changes: str | float) -> Measurement:
    values = {
        "partition": "val",
        "average": "macro",
        "level": "species",
        "query": "image",
        "key": "dna",
        "species": "seen",
        "value": 1 / 3,
        "count": 7,
    }
    return Measurement(**{**values, **changes})  # type: ignore[arg-type] # each has its field's type


MEASUREMENTS = [
    measurement(),
    measurement(method="random_key", average="micro", species="harmonic_mean", value=0.0, count=2**40),
    measurement(value=0.1 + 0.2, metric="top3"),
]


def run_at(path: Path) -> RunFolder:
    run = RunFolder(Folder(path) / "runs" / "batch-size" / SPEC.id)
    run.begin(SPEC, POINT, {"python": "3"})
    return run


def report(step: int, loss: float = 0.5) -> StepReport:
    plain = {"temperature": 0.07, "learning_rate": 1e-4, "gradient_norm": 1.0, "specimens_per_second": 100.0}
    return StepReport(epoch=0, step=step, loss=loss, **plain)


def log(run: RunFolder, first_step: int, *steps: int, loss: float = 0.5) -> Listener:
    listener = event_log(run, first_step)
    for step in steps:
        listener(report(step, loss))
    return listener


def test_measurements_come_back_to_the_last_bit() -> None:
    table = measurements_to_table(MEASUREMENTS)
    assert table.schema == MEASUREMENT_SCHEMA
    assert [Measurement(**row) for row in table.to_pylist()] == MEASUREMENTS
    assert measurements_to_table([]).schema == MEASUREMENT_SCHEMA


def test_the_measurements_of_a_run_are_read_from_its_folder(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    run.folder.write_table("measurements.parquet", measurements_to_table(MEASUREMENTS))
    assert run.measurements() == MEASUREMENTS


def test_what_was_known_before_training_is_read_again(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    assert run.spec() == SPEC
    assert run.point() == POINT
    assert run.id == SPEC.id


def test_a_run_is_missing_until_its_status_is_written(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    run.folder.write_table("measurements.parquet", measurements_to_table(MEASUREMENTS))
    log(run, 0, 0, 1)
    assert run.state() == "missing"  # everything is there, but nothing says that it is whole
    run.finish("finished", seconds=12.5)
    assert run.state() == "finished"
    assert run.status() == {"schema": 3, "state": "finished", "seconds": 12.5}


def test_a_failed_run_keeps_its_reason_until_it_is_finished(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    run.finish("failed", reason="out of memory")
    assert run.state() == "failed"
    assert run.status()["reason"] == "out of memory"
    assert run.manifest() == {}
    run.finish("finished")
    assert run.status() == {"schema": 3, "state": "finished"}


def test_a_finished_run_has_a_manifest_of_everything_but_what_passes(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    for name in ("model.safetensors", "embeddings/keys.parquet", "evaluation-a/evaluation.json"):
        run.folder.write(name, name.encode())
    for name in (
        "checkpoints/step-00000001/state.safetensors",
        "attempts/001.json",
        "wandb/x.log",
        "keys.parquet.0.tmp",
    ):
        run.folder.write(name, b"passing")
    run.finish("finished")
    assert sorted(run.manifest()) == [
        "embeddings/keys.parquet",
        "evaluation-a/evaluation.json",
        "model.safetensors",
        "point.json",
        "provenance.json",
        "spec.json",
    ]
    assert run.manifest()["model.safetensors"] == hashlib.sha256(b"model.safetensors").hexdigest()


def test_a_later_measurement_is_sealed_and_damage_to_the_model_is_not(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    run.folder.write("model.safetensors", b"whole")
    run.folder.write("measurements.parquet", b"old")
    run.finish("finished")
    run.folder.write("model.safetensors", b"whale")
    run.folder.write("measurements.parquet", b"new")
    run.folder.write("predictions.parquet", b"more")
    unseal_run(run.folder, "measurements.parquet")
    seal_run(run.folder)
    later = {"model.safetensors": b"whole", "measurements.parquet": b"new", "predictions.parquet": b"more"}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in later.items()}
    assert digests.items() <= run.manifest().items()


def test_an_attempt_anew_forgets_how_the_last_one_ended_and_keeps_what_it_began_with(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    run.keep_weights({"image": {"name": "run:a", "digest": "0", "address": "runs/train/a"}})
    run.finish("finished")
    run.begin(SPEC, POINT, {"python": "4"})
    assert run.state() == "missing"
    assert run.manifest() == {}
    assert run.folder.read_json("provenance.json")["python"] == "4"
    assert run.weights()["image"]["name"] == "run:a"


def test_a_folder_of_an_earlier_version_is_read_and_one_of_a_newer_is_refused(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    run.folder.write_json("status.json", {"state": "finished"})
    assert (run.state(), run.manifest(), run.weights()) == ("finished", {}, {})
    for name in ("manifest.json", "status.json"):
        run.folder.write_json(name, {"schema": 4, "state": "finished", "files": {}})
        with pytest.raises(NewerVersionError) as error:
            run.manifest() if name == "manifest.json" else run.state()
        assert error.value.args == (f"{run.folder}/{name}", 4, 3)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"state": "done"}', '"finished"'])
def test_a_status_without_a_state_is_damaged(content: str, tmp_path: Path) -> None:
    run = run_at(tmp_path)
    run.folder.write("status.json", content.encode())
    with pytest.raises(DamagedError, match=r"status\.json"):
        run.state()


def test_a_spec_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    run.folder.write_json("spec.json", {**run.folder.read_json("spec.json"), "novelty": 1})
    with pytest.raises(DamagedError, match=r"spec\.json: .*there is no field novelty\. .*of another version"):
        run.spec()


def test_a_run_that_has_not_begun_has_no_events(tmp_path: Path) -> None:
    assert run_at(tmp_path).events() == []


def test_events_come_back_in_order(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    log(run, 0, 0, 0, 1, loss=0.5)
    assert [(event["event"], event["step"], event["loss"]) for event in run.events()] == [
        ("step", step, 0.5) for step in (0, 0, 1)
    ]


def test_a_resumed_run_drops_the_events_of_the_steps_it_repeats(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    log(run, 0, 0, 1, 2, 2, loss=1)
    log(run, 2, 2, 3, loss=2)
    assert [(event["step"], event["loss"]) for event in run.events()] == [(0, 1), (1, 1), (2, 2), (3, 2)]


def test_a_run_that_starts_anew_drops_all_events(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    log(run, 0, 0, 1, loss=1)
    log(run, 0, 0, loss=2)
    assert [(event["step"], event["loss"]) for event in run.events()] == [(0, 2)]


def test_an_event_is_seen_as_soon_as_it_is_reported(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    listener = log(run, 0, 0)
    assert [event["step"] for event in run.events()] == [0]
    listener(report(1))
    assert [event["step"] for event in run.events()] == [0, 1]


def test_a_run_that_ends_says_how_and_then_needs_no_checkpoints(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    run.folder.write("checkpoints/step-00000001/state.safetensors", b"1")
    with run.ending() as details:
        details["seconds"] = 12.5
        assert run.state() == "missing"
    assert run.status() == {"schema": 3, "state": "finished", "seconds": 12.5}
    assert not (run.folder / "checkpoints").folders()


def test_a_run_that_fails_says_why_and_keeps_its_checkpoints(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    run.folder.write("checkpoints/step-00000001/state.safetensors", b"1")
    with pytest.raises(SpecError), run.ending():
        raise SpecError("the text is too long")
    assert run.status() == {"schema": 3, "state": "failed", "reason": "the text is too long"}
    assert (run.folder / "checkpoints").folders()


def test_what_may_go_better_next_time_leaves_no_status_but_where_it_is_said_to_be_a_failure(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    with pytest.raises(OSError, match="no space"), run.ending():
        raise OSError("no space")
    assert run.state() == "missing"
    with pytest.raises(OSError, match="no space"), run.ending(Exception):
        raise OSError("no space")
    assert run.status()["reason"] == "OSError: no space"
    assert 'raise OSError("no space")' in run.status()["traceback"]


def test_only_the_worker_that_writes_says_how_a_run_ended(tmp_path: Path) -> None:
    run = run_at(tmp_path)
    with run.ending(writes=False):
        pass
    with pytest.raises(SpecError), run.ending(writes=False):
        raise SpecError("the text is too long")
    assert run.state() == "missing"


def test_the_runs_of_a_sweep_are_found_by_id(tmp_path: Path) -> None:
    sweep = tmp_path / "batch-size"
    for name in ("b", "a"):
        RunFolder(Folder(sweep / name)).begin(SPEC, POINT, {})
    (sweep / "no-run").mkdir()
    (sweep / "notes.txt").write_text("nothing")
    assert [run.id for run in find_runs(Folder(tmp_path), "batch-size")] == ["a", "b"]
    assert find_runs(Folder(tmp_path), "none") == []


def test_a_run_is_found_under_any_sweep_and_a_finished_one_first(tmp_path: Path) -> None:
    for sweep in ("amp", "lora", "temperature"):
        RunFolder(Folder(tmp_path / sweep / "a")).begin(SPEC, POINT, {})
    RunFolder(Folder(tmp_path / "lora" / "a")).finish("finished")
    Folder(tmp_path / "lora" / "point").write_json("point.json", {})
    runs = Folder(tmp_path)
    found = find_run(runs, "a")
    assert found is not None
    assert str(found.folder) == str(tmp_path / "lora" / "a")
    assert find_run(runs, "point") is not None
    assert find_run(runs, "b") is None
    assert find_run(Folder(tmp_path / "nowhere"), "a") is None


def test_provenance_says_with_what_and_how_a_run_was_made() -> None:
    source = json.loads(json.dumps(provenance(["clibd-sweep", "batch-size"])))
    assert source["argv"] == ["clibd-sweep", "batch-size"]
    assert source["packages"]["pyarrow"] == pa.__version__
    assert source["started"].endswith("Z")


def test_an_evaluation_is_read_only_where_it_is_whole(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "run")
    said = {"dataset": "a", "data_fingerprint": "0", "synthetic": True, "recipe": "paper", "missing_rank": "a_class"}
    with pytest.raises(MissingPathError, match="clibd evaluate RUN --data DIR"):
        read_evaluation(folder)
    (folder / "evaluation-a").write_json("evaluation.json", said)
    with pytest.raises(MissingPathError, match="/evaluation-a"):
        read_evaluation(folder)
    assert read_evaluation(folder / "evaluation-a") == said
    for content, wrong in (([], "not an object"), ({**said, "synthetic": "no"}, "synthetic"), ({}, "missing_rank")):
        folder.write_json("evaluation.json", content)
        with pytest.raises(DamagedError, match=wrong):
            read_evaluation(folder)
    folder.write_json("evaluation.json", said)
    folder.write_json("spec.json", {})
    with pytest.raises(MissingPathError, match="finished run"):
        read_evaluation(folder)
    RunFolder(folder).finish("finished")
    assert read_evaluation(folder) == said
