"""A store of published weights: pushed once, fetched by digest, once on each machine, by many processes at a time."""

import json
import multiprocessing
import shutil
from pathlib import Path

import pytest

import commands.clibd
from tests.processes import left_behind
from workloads.command_line import run_command
from workloads.errors import WeightsError
from workloads.models.published import beginning_words
from workloads.shared_places import held_up, look, runs_place, sees_mark
from workloads.spec import ExperimentSpec
from workloads.storage import Folder
from workloads.tower_specs import DnaTower, ImageTower
from workloads.weight_files import local_file, place_of, published_file
from workloads.weight_store import MANIFEST, fetch_weights, kept_at, kept_folder, push_weights, stored_files

NAME = "hf-hub:owner/small"
FILES = {"config.json": b"{}", "model.safetensors": b"0123456789" * 100_000}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """With some weights, on a machine that has none."""
    folder = tmp_path / "store"
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIBD_WEIGHTS", str(folder))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    push_weights(NAME, written(tmp_path / "pushed", FILES), Folder(folder))
    return Folder(folder)


def written(folder: Path, files: dict[str, bytes]) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in files}


def call(*words: str) -> int | str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["clibd", "weights", *words])
        with pytest.raises(SystemExit) as end:
            run_command(commands.clibd.app)
    return end.value.code or 0


def test_what_a_tower_asks_for_comes_from_the_store_and_stays(store: Folder) -> None:
    assert local_file(NAME, "model.safetensors") is None
    assert place_of(NAME, "model.safetensors") == f"store: {store}"
    path = published_file("image", NAME, "pytorch_model.bin", "model.safetensors")
    assert path == kept_at(NAME) / "model.safetensors"
    assert path.read_bytes() == FILES["model.safetensors"]
    shutil.rmtree(store.path)
    assert published_file("image", NAME, "config.json").read_bytes() == b"{}"
    assert kept_folder(NAME) == kept_at(NAME)


def test_a_run_says_which_published_weights_it_begins_with_and_where_they_are(store: Folder) -> None:
    drawn = DnaTower(weights=None)
    spec = ExperimentSpec(
        dataset="d", data_fingerprint="0", modalities=("image", "dna"), image=ImageTower(weights=NAME), dna=drawn
    )
    assert beginning_words(spec) == [f"image begins with the published weights {NAME} (store: {store})"]


def _fetch(address: str, names: "multiprocessing.Queue[list[str]]") -> None:
    kept = fetch_weights(NAME, Folder(address))
    assert kept is not None
    names.put(sorted(path.name for path in kept.iterdir()))


def test_many_processes_fetch_it_at_once_and_all_have_it_whole(store: Folder) -> None:
    context = multiprocessing.get_context("fork")
    names: multiprocessing.Queue[list[str]] = context.Queue()
    processes = [context.Process(target=_fetch, args=(str(store), names)) for _ in range(8)]
    for process in processes:
        process.start()
    assert [names.get(timeout=120) for _ in processes] == [sorted([*FILES, MANIFEST])] * 8
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    assert sorted(path.name for path in kept_at(NAME).parent.iterdir()) == ["small", "small.lock"]


def test_what_a_killed_process_left_is_no_copy(store: Folder) -> None:
    kept = kept_at(NAME)
    kept.mkdir(parents=True)
    kept.with_name("small.lock").touch()
    (kept / "config.json").write_bytes(b"{}")
    left_behind(kept / "model.safetensors")
    assert kept_folder(NAME) == kept
    assert (kept / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert sorted(path.name for path in kept.iterdir()) == sorted([*FILES, MANIFEST])


def test_a_file_that_is_not_what_was_pushed_is_refused(store: Folder) -> None:
    Path(store.path, "owner", "small", "model.safetensors").write_bytes(b"other")
    with pytest.raises(WeightsError, match="clibd weights push"):
        published_file("image", NAME, "model.safetensors")
    assert not (kept_at(NAME) / "model.safetensors").exists()


def test_a_store_that_cannot_be_read_is_named(store: Folder) -> None:
    (Path(store.path) / "owner" / "small" / MANIFEST).write_text("no JSON")
    with pytest.raises(WeightsError, match=MANIFEST):
        stored_files(NAME, store)


def test_other_weights_under_the_same_name_are_fetched_again(store: Folder, tmp_path: Path) -> None:
    assert fetch_weights(NAME, store)
    push_weights(NAME, written(tmp_path / "again", {"model.safetensors": b"new"}), store)
    assert set(stored_files(NAME, store)) == set(FILES)
    assert fetch_weights(NAME, store)
    assert (kept_at(NAME) / "model.safetensors").read_bytes() == b"new"


def test_a_bucket_is_a_store_and_a_place_that_hosts_share(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIBD_WEIGHTS", f"{bucket}/weights")
    push_weights(NAME, written(tmp_path / "pushed", FILES), Folder(f"{bucket}/weights"))
    assert published_file("image", NAME, "model.safetensors").read_bytes() == FILES["model.safetensors"]
    with held_up([runs_place(f"{bucket}/runs"), runs_place("s3://nowhere/runs")]) as [shown, refused]:
        assert sees_mark(shown, look(shown))
        assert refused.refused
    assert Folder(f"{bucket}/runs").files() == []


def test_the_commands_list_push_and_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.delenv("CLIBD_WEIGHTS", raising=False)
    store, own = str(tmp_path / "store"), {"config.json": b"{}", "model.safetensors": b"1", "vocab.txt": b"a"}
    assert call("fetch") == 2
    assert "CLIBD_WEIGHTS" in capsys.readouterr().err
    written(kept_at("barcodebert-5mer"), own)
    assert call("push", store, "--sweep", "lora") == 1  # the hub is not reached for the others
    said = capsys.readouterr()
    assert "barcodebert-5mer: " in said.out
    assert "prajjwal1/bert-small" in said.err
    shutil.rmtree(tmp_path / "cache")
    assert call("list", store, "--sweep", "lora", "--format", "json") == 0
    listed = {entry["weights"]: entry["where"] for entry in json.loads(capsys.readouterr().out)}
    assert listed["barcodebert-5mer"] == f"store: {store}"
    assert listed["prajjwal1/bert-small"] == ""
    assert call("fetch", store, "--sweep", "lora") == 1
    assert {path.name for path in kept_at("barcodebert-5mer").iterdir()} == {*own, MANIFEST}
