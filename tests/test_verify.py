"""`clibd verify`, and what readers notice by themselves: a bit, a file of another run, half of one, none."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import typer

from commands.verify import verify
from tests.results.figures.made_up import made_up_rows, write_evaluated
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import AlteredError, ClibdError, DamagedError, MissingPathError, WeightsError
from workloads.models.weights import load_weights, save_weights
from workloads.predictions import Predictions
from workloads.record import RunFolder, read_evaluation
from workloads.seals import seal_run, sealed_folder, unseal_run
from workloads.storage import Folder
from workloads.verify import Verdict, things_in
from workloads.weight_files import published_file
from workloads.weight_store import fetch_weights, push_weights


def verified(place: Path | str) -> list[Verdict]:
    return [check(lambda done, total: None) for _, check in things_in(Folder(place))]


def flip(path: Path, chance: random.Random) -> Callable[[], None]:
    """Flips one bit of a file; gives what puts it back."""
    whole = path.read_bytes()
    changed = bytearray(whole)
    place = chance.randrange(len(whole))
    changed[place] ^= 1 << chance.randrange(8)
    path.write_bytes(bytes(changed))
    return lambda: path.write_bytes(whole) and None


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with predictions, measurements and embeddings, under the name that its spec has."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    run = RunFolder(write_evaluated(folder, made_up_rows()).folder)
    named = folder.parent / run.spec().id
    folder.rename(named)
    return named


@pytest.fixture
def run(evaluated: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(evaluated, tmp_path / "runs" / "train" / evaluated.name))


@pytest.fixture
def data(tiny_dataset: PreparedDataset, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(tiny_dataset.folder.path, tmp_path / "data"))


def test_what_is_whole_is_said_to_be(run: Path, data: Path) -> None:
    for place in (run, data, run.parent, run.parent.parent):
        [found] = verified(place)
        assert (found.state, found.problems, found.strangers) == ("whole", [], [])
        assert found.num_files > 5


@pytest.mark.parametrize("which", ["run", "data"])
def test_no_flipped_bit_of_any_file_is_missed(which: str, request: pytest.FixtureRequest) -> None:
    folder, chance = request.getfixturevalue(which), random.Random(16)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "floors.parquet")
    assert len(files) > 8
    for path in files:
        for _ in range(4):
            put_back = flip(path, chance)
            try:
                [found] = verified(folder)
                assert found.state == "damaged", path
                assert any(path.name in problem.file for problem in found.problems), path
            finally:
                put_back()
    assert verified(folder)[0].state == "whole"


def reads(run: Path) -> None:
    """Everything that numbers are taken from."""
    folder = RunFolder(Folder(run))
    folder.spec(), folder.point(), folder.status(), folder.measurements(), read_evaluation(folder.folder)
    Predictions.read(folder.folder)
    sealed_folder(folder.folder / "embeddings").read_table("val.parquet")


NUMBERS = (
    *("spec.json", "point.json", "status.json", "manifest.json", "measurements.parquet", "evaluation.json"),
    *("predictions.parquet", "specimens.parquet", "embeddings/val.parquet"),
)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_flipped_bit_is_met_by_whoever_reads_numbers(name: str, run: Path) -> None:
    chance = random.Random(name)
    reads(run)
    for _ in range(25):
        put_back = flip(run / name, chance)
        with pytest.raises(ClibdError):
            reads(run)
        put_back()


@pytest.mark.parametrize("damage", ["another's", "cut", "gone"])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_file_of_another_run_or_half_of_one_is_met(name: str, damage: str, run: Path, tmp_path: Path) -> None:
    write_evaluated(tmp_path / "other", made_up_rows(150, seed=4), seed=43)
    if damage == "another's":
        if (tmp_path / "other" / name).read_bytes() == (run / name).read_bytes():
            return  # it says nothing of its own
        shutil.copy(tmp_path / "other" / name, run / name)
    elif damage == "cut":
        (run / name).write_bytes((run / name).read_bytes()[:-9])
    else:
        (run / name).unlink()
    [found] = verified(run)
    if name != "status.json" or damage == "cut":  # without one it is a run that never ended
        assert found.state == "damaged"
    if (name, damage) != ("status.json", "another's"):
        with pytest.raises((ClibdError, FileNotFoundError)):
            reads(run)


def test_a_run_of_an_earlier_version_is_read_and_said_to_have_no_digests(run: Path) -> None:
    (run / "manifest.json").unlink()
    (run / "status.json").write_text('{"schema": 2, "state": "finished"}')
    reads(run)
    assert verified(run)[0].state == "without digests"


def test_a_data_set_of_an_earlier_version_is_read_and_said_to_have_no_digests(data: Path) -> None:
    stored = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps({k: v for k, v in stored.items() if k not in ("files", "seal")}))
    assert PreparedDataset(Folder(data)).open(["no_split"]) is not None
    assert verified(data)[0].state == "without digests"
    (data / "dataset.json").write_text(json.dumps({k: v for k, v in stored.items() if k != "seal"}))
    with pytest.raises(DamagedError, match="lost its seal"):
        _ = PreparedDataset(Folder(data)).facts


def test_shards_of_another_data_set_are_met_when_they_are_copied(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    first = next(data.glob("split=no_split/*.parquet"))
    table = pq.read_table(first)
    Folder(first.parent).write_table(first.name, table.take([*reversed(range(len(table)))]))
    with pytest.raises(AlteredError, match=f"{first.name}: its SHA-256"):
        PreparedDataset(Folder(data)).open(["no_split"])
    (data / "tokenizer.json").write_text("{}")
    with pytest.raises(AlteredError, match="tokenizer"):
        PreparedDataset(Folder(data)).tokenizer_json()


def test_a_copy_in_the_cache_is_made_again_where_a_bit_of_it_has_changed(
    tiny_dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path))
    whole, chance = tiny_dataset.open(["no_split"]).to_pylist(), random.Random(3)
    [copy] = tmp_path.rglob("*.arrow")
    for _ in range(20):
        flip(copy, chance)
        assert tiny_dataset.open(["no_split"]).to_pylist() == whole
        assert capsys.readouterr().err.count("made again") == 1


def test_a_measurement_that_is_broken_off_is_no_damage_and_seals_none_in(run: Path) -> None:
    folder = Folder(run)
    unseal_run(folder, "measurements.parquet")
    folder.write_table("measurements.parquet", RunFolder(folder).folder.read_table("measurements.parquet"))
    assert (verified(run)[0].state, verified(run)[0].strangers) == ("whole", ["measurements.parquet"])
    flip(run / "predictions.parquet", random.Random(1))
    seal_run(folder)
    [found] = verified(run)
    assert [problem.file for problem in found.problems] == ["predictions.parquet"]
    assert found.problems[0].remedy == f"Measure its own embeddings again: `clibd evaluate {run}`."


def test_a_folder_under_another_runs_name_is_damaged(run: Path) -> None:
    [found] = verified(run.rename(run.with_name("elsewhere-0123abcd")))
    assert [problem.file for problem in found.problems] == ["spec.json"]


def test_a_folder_without_anything_of_ours_is_misuse(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(MissingPathError, match="Name a data set, a database"):
        things_in(Folder(tmp_path))


def test_a_checkpoint_is_compared_and_an_unfinished_run_is_no_damage(run: Path) -> None:
    (run / "status.json").unlink()
    (run / "manifest.json").unlink()
    assert verified(run)[0].state == "unfinished"
    place = Folder(run) / "checkpoints" / "step-00000001"
    place.write("progress.json", b"{}")
    place.write_json("manifest.json", {"progress.json": {"size": 2, "sha256": "0" * 64}})
    assert verified(run)[0].problems[0].file == "checkpoints/step-00000001/progress.json"


def test_the_command_says_what_is_damaged_and_what_to_do(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(str(run.parent))
    assert capsys.readouterr().out.startswith(f"whole: {run} (run, ")
    (run / "predictions.parquet").unlink()
    with pytest.raises(typer.Exit) as end:
        verify(str(run.parent))
    assert end.value.exit_code == 1
    assert "  predictions.parquet: it is gone\n    Measure its own embeddings again" in capsys.readouterr().out
    with pytest.raises(typer.Exit):
        verify(str(run.parent), form="json")
    [said] = json.loads(capsys.readouterr().out)
    assert (said["state"], said["problems"][0]["file"]) == ("damaged", "predictions.parquet")


def test_a_run_in_a_bucket_is_verified(run: Path, bucket: str) -> None:
    place = Folder(f"{bucket}/runs/{run.name}")
    for name in Folder(run).walk():
        place.write(name, Folder(run).read(name))
    assert verified(place.address)[0].state == "whole"
    place.write("evaluation.json", b"{}")
    assert verified(place.address)[0].problems[0].file == "evaluation.json"


def test_no_flipped_bit_of_a_model_is_loaded(run: Path) -> None:
    model, folder = torch.nn.Linear(40, 40), Folder(run)
    save_weights(folder, model)
    seal_run(folder)
    load_weights(sealed_folder(folder), model)
    chance = random.Random(45)
    for _ in range(45):
        put_back = flip(run / "model.safetensors", chance)
        with pytest.raises(AlteredError, match="its SHA-256"):
            load_weights(sealed_folder(folder), model)
        put_back()


def test_published_weights_that_were_changed_in_the_cache_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIBD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    store = Folder(tmp_path / "store")
    push_weights("a/b", {"model.safetensors": tmp_path / "model.safetensors"}, store)
    kept = fetch_weights("a/b", store)
    assert kept is not None
    assert published_file("", "a/b", "model.safetensors").read_bytes() == b"weights"
    assert [found.state for found in (*verified(tmp_path / "store"), *verified(kept))] == ["whole", "whole"]
    flip(kept / "model.safetensors", random.Random(1))
    with pytest.raises(WeightsError, match="beside it says"):
        published_file("", "a/b", "model.safetensors")
    assert verified(kept)[0].state == "damaged"
