"""`python -m workloads.training`: one process, several under torchrun, one that is killed, and W&B."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.test_lease import another
from workloads import lease
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import TooFewSpecimensError, UsageError
from workloads.record import RunFolder, find_runs
from workloads.run_errors import RunBusyError
from workloads.storage import Folder
from workloads.training.__main__ import app

ROOT = Path(__file__).parents[2]


def words(dataset: PreparedDataset, runs: Path, epochs: int = 2, batch_size: int = 32) -> list[str]:
    return [
        *("image-dna", "--data", str(dataset.folder), "--runs", str(runs), "--scale", "small", "--seed", "3", "--cpu"),
        *("--batch-size", str(batch_size), "--epochs", str(epochs)),
    ]


def train_small(dataset: PreparedDataset, runs: Path, *options: str, epochs: int = 2, batch: int = 32) -> RunFolder:
    app([*words(dataset, runs, epochs, batch), *options], standalone_mode=False)
    return only_run(runs)


def command(dataset: PreparedDataset, runs: Path, *, processes: int = 1, epochs: int = 2) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    return [
        *(sys.executable, *(launcher if processes > 1 else []), "-m", "workloads.training"),
        *words(dataset, runs, epochs),
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def only_run(runs: Path) -> RunFolder:
    (run,) = find_runs(Folder(runs), "train")
    return run


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(f"{run.folder.path}/model.safetensors")


@pytest.fixture(scope="module")
def trained(tiny_dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run in this process."""
    return train_small(tiny_dataset, tmp_path_factory.mktemp("runs"))


def test_a_run_is_finished_once(
    trained: RunFolder, tiny_dataset: PreparedDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    before = trained.folder.read("status.json")
    runs = Path(trained.folder.path).parents[1]
    again = train_small(tiny_dataset, runs)
    said = capsys.readouterr().err
    assert "finished already" in said
    assert said.splitlines()[-1].startswith(f"next: clibd evaluate {trained.folder} --data {tiny_dataset.folder}")
    assert again.folder.read("status.json") == before
    assert not (trained.folder / "checkpoints").folders()


def test_specimens_that_lack_modalities_train_and_the_run_ends_with_numbers(
    incomplete_dataset: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--data", str(incomplete_dataset.folder), "--runs", str(tmp_path), "--scale", "small", "--cpu")
    app(["align", *options, "--epochs", "2", "--batch-size", "16"], standalone_mode=False)
    said = capsys.readouterr().err
    trains = sum(
        count
        for split in incomplete_dataset.facts.splits.training
        for what, count in incomplete_dataset.facts.having.get(split, {}).items()
        if len({*what.split("+")} & {"image", "dna", "text"}) >= 2
    )
    assert f"{trains:,} specimens train" in said
    assert "image to dna, species, macro, validation: seen" in said
    assert "linear CCA" in said
    run = only_run(tmp_path)
    assert run.state() == "finished"
    evaluation = run.folder.read_json("evaluation.json")
    assert evaluation["num_lacking"]["val"]["image"] > 0


def test_published_towers_from_scratch_train_without_any_weights(
    tiny_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))  # holds no weights
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    small = "image.depth=1 image.width=24 image.num_heads=3 dna.depth=1 dna.width=16 dna.num_heads=2 text.depth=1"
    words = ["--data", str(tiny_dataset.folder), "--runs", str(tmp_path), "--cpu", "--from-scratch"]
    words += ["--epochs", "1", "--batch-size", "32", *(f"--set={setting}" for setting in small.split())]
    app(words, standalone_mode=False)
    run = only_run(tmp_path)
    assert run.state() == "finished"
    assert {run.spec().tower(name).weights for name in run.spec().modalities} == {None}
    with pytest.raises(UsageError, match="--from-scratch draws all weights and --from takes"):
        app([*words, "--from", run.folder.path], standalone_mode=False)


def test_the_evaluation_shows_how_far_it_is(
    tiny_dataset: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_small(tiny_dataset, tmp_path, epochs=1)
    said = capsys.readouterr().err.splitlines()
    images = sum(tiny_dataset.facts.num_specimens[split] for split in tiny_dataset.facts.num_specimens)
    (embedded,) = (line for line in said if line.startswith("embedding image: "))
    done, of = embedded.split()[2], embedded.split()[4]
    assert done == of
    assert 0 < int(of.replace(",", "")) <= images
    assert any(line.startswith("embedding dna: ") for line in said)
    (searched,) = (line for line in said if line.startswith("searching: "))
    assert searched.split()[1] == searched.split()[3]


def test_weights_that_are_nowhere_are_all_named_before_training_with_what_brings_them(
    tiny_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))  # holds no weights
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError) as refused:
        app(["--data", str(tiny_dataset.folder), "--runs", str(tmp_path), "--cpu"], standalone_mode=False)
    said = str(refused.value)
    assert "barcodebert-5mer: run `clibd convert barcodebert-5mer`" in said
    assert (
        f"put config.json and model.safetensors or pytorch_model.bin and tokenizer.json or vocab.txt into {tmp_path}"
        in said
    )
    assert "vit_base_patch16_224" in said
    assert "--scale small" in said
    assert not find_runs(Folder(tmp_path), "train")


def test_two_processes_under_torchrun_train_as_one_does(
    trained: RunFolder, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    done = subprocess.run(
        command(tiny_dataset, tmp_path, processes=2), env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    both = only_run(tmp_path)
    assert both.status()["num_workers"] == 2
    alone = [event["loss"] for event in trained.events() if event["event"] == "step"]
    # bf16 towers round by the size of a batch, and token dropout is drawn by each worker.
    assert [e["loss"] for e in both.events() if e["event"] == "step"] == pytest.approx(alone, rel=0.05)
    assert [(m.query, m.key, m.level) for m in both.measurements()] == [
        (m.query, m.key, m.level) for m in trained.measurements()
    ]


def test_a_killed_process_started_again_ends_with_the_weights_of_an_undisturbed_one(
    tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    whole = train_small(tiny_dataset, tmp_path / "whole", epochs=15)
    killed = subprocess.Popen(
        command(tiny_dataset, tmp_path / "killed", epochs=15),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("train/*/checkpoints/*/manifest.json")):
        assert time.monotonic() < deadline
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert only_run(tmp_path / "killed").state() == "missing"

    again = train_small(tiny_dataset, tmp_path / "killed", epochs=15)

    one, other = weights(whole), weights(again)
    assert all(torch.equal(one[name], other[name]) for name in one)
    logged, expected = ([(e["step"], e["loss"]) for e in run.events()] for run in (again, whole))
    assert logged == expected


def test_wandb_offline_keeps_the_curves_on_this_machine(
    tiny_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_API_KEY", "c0ffee" * 6 + "cafe")
    monkeypatch.setenv("CLIBD_WANDB_PATIENCE", "120")  # on a busy machine
    run = train_small(tiny_dataset, tmp_path, "--wandb", "offline", epochs=1)
    (file,) = Path(run.folder.path).glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + 60
    while b"epoch/specimens_per_second" not in file.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)  # a process of W&B's own writes it
    kept = file.read_bytes()
    assert b"train/loss" in kept
    assert b"epoch/specimens_per_second" in kept
    assert b"c0ffee" * 6 not in kept


def test_a_run_that_fails_says_why_in_its_status_and_the_remedy_works(
    tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    with pytest.raises(TooFewSpecimensError) as refused:
        train_small(tiny_dataset, tmp_path, batch=5000)
    assert only_run(tmp_path).state() == "failed"
    assert "cannot fill one batch of 5000" in only_run(tmp_path).status()["reason"]
    largest = int(str(refused.value).partition("clibd train --batch-size ")[2].partition("`")[0])
    assert train_small(tiny_dataset, tmp_path / "fits", batch=largest, epochs=1).state() == "finished"


def test_a_folder_without_a_run_cannot_be_begun_with(tiny_dataset: PreparedDataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run there"):
        train_small(tiny_dataset, tmp_path, "--from", str(tmp_path))


def test_misuse_is_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workloads.training", "align", "--data", str(tmp_path), "--scale", "small"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "clibd data prepare" in done.stderr
    assert json.dumps(done.stdout) == '""'


def test_a_run_that_another_process_trains_is_refused_or_waited_for(
    tiny_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train_small(tiny_dataset, tmp_path, epochs=1)
    assert "lease.json" not in {*first.manifest(), *first.folder.files()}
    first.folder.remove("status.json")
    another(first.folder)
    with pytest.raises(RunBusyError, match="--busy wait"):
        train_small(tiny_dataset, tmp_path, epochs=1)
    assert first.state() == "missing"
    for name, seconds in {"BEAT": 0.5, "ABANDONED": 2.0, "LOOK": 0.1}.items():
        monkeypatch.setattr(lease, name, seconds)
    told = list[dict[str, object]]()
    before = lease.Lease.tell
    monkeypatch.setattr(lease.Lease, "tell", lambda mine, **facts: (told.append(facts), before(mine, **facts)))
    train_small(tiny_dataset, tmp_path, "--busy", "follow", epochs=1)
    assert first.state() == "finished"
    assert "lease.json" not in {*first.manifest(), *first.folder.files()}
    assert [facts["state"] for facts in told][-2:] == ["training", "measuring"]
    assert all(facts["epoch"] == facts["epochs"] == 1 for facts in told)


def test_a_run_that_another_process_has_finished_meanwhile_is_not_trained_again(
    tiny_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_small(tiny_dataset, tmp_path, epochs=1)
    status = run.folder.read("status.json")
    run.folder.remove("status.json")
    left = another(run.folder)

    def finish(found: object) -> None:
        run.folder.write("status.json", status)
        left.end()

    monkeypatch.setattr(lease, "_saying", lambda busy: finish)
    monkeypatch.setattr(lease, "LOOK", 0.1)
    train_small(tiny_dataset, tmp_path, "--busy", "wait", epochs=1)
    assert "is finished already" in capsys.readouterr().err
    assert run.folder.read("status.json") == status


def test_what_a_process_left_that_was_killed_at_its_very_end_goes_with_the_next(
    tiny_dataset: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_small(tiny_dataset, tmp_path, epochs=1)
    files = run.folder.walk()
    run.folder.write("checkpoints/step-00000006/state.safetensors", b"half of them")
    train_small(tiny_dataset, tmp_path, epochs=1)
    assert "is finished already" in capsys.readouterr().err
    assert run.folder.walk() == files


def test_several_processes_do_not_wait(
    tiny_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="--busy wait is for one process"):
        train_small(tiny_dataset, tmp_path, "--busy", "wait")
