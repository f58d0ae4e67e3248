"""Weights by name: the same name wherever a run lies, found again, brought here whole, and checked by digest."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from workloads.data.inputs.who_trains import num_trained
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import UsageError, WeightsDriftError, WeightsError
from workloads.experiments import starting_from
from workloads.measuring.chunks import EmbeddingJob
from workloads.models.loaded import open_untrained
from workloads.models.places import Addresses, located, name_of, weights_of, with_settings
from workloads.record import RunFolder
from workloads.seals import unseal_run
from workloads.spec import ExperimentSpec, spec_from_dict, spec_to_dict
from workloads.storage import Folder, cache_folder
from workloads.tower_specs import ImageTower
from workloads.training.__main__ import app
from workloads.training.run import asked_spec
from workloads.training.sizing import fitted

BODY = "towers.image.trunk.blocks.0.mlp.fc1.weight"


ASKED: dict[str, Any] = {
    "experiment": "image-dna",
    "scale": "small",
    "recipe": "corrected",
    "seed": 3,
    "batch_size": 32,
    "epochs": 1,
}


def spec_of(dataset: PreparedDataset, **changes: Any) -> tuple[ExperimentSpec, Addresses]:
    spec, places = asked_spec(dataset.facts.data, **{**ASKED, **changes})
    return fitted(spec, num_trained(spec, dataset.facts), chosen=("batch_size", "epochs")), places


def train(dataset: PreparedDataset, runs: Path | str, **changes: Any) -> RunFolder:
    words = [str(changes.get("experiment", "image-dna")), "--data", str(dataset.folder), "--runs", str(runs), "--cpu"]
    words += ["--scale", "small", "--seed", "3", "--batch-size", "32", "--epochs", "1"]
    words += ["--from", changes["start_from"]] if "start_from" in changes else []
    words += [word for setting in changes.get("settings", ()) for word in ("--set", setting)]
    app(words, standalone_mode=False)
    return RunFolder(Folder(runs) / "train" / spec_of(dataset, **changes)[0].id)


@pytest.fixture(scope="module")
def simclr(tiny_dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run to begin with."""
    return train(tiny_dataset, tmp_path_factory.mktemp("runs"), experiment="simclr-image")


@pytest.fixture
def runs(simclr: RunFolder, tmp_path: Path) -> Path:
    """A folder of runs of one's own, with that run in it."""
    shutil.copytree(Path(simclr.folder.path).parents[1], tmp_path / "runs")
    return tmp_path / "runs"


def upload(run: Path | str, address: str) -> str:
    here, there = Folder(run), Folder(address)
    for name in here.walk():
        there.write(name, here.read(name))
    return address


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_run_has_one_name_wherever_it_lies_and_however_it_is_written(
    simclr: RunFolder, tiny_dataset: PreparedDataset, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(simclr.folder.path, tmp_path / "renamed")
    copied = f"{runs}/train/{simclr.id}"
    places = [simclr.folder.path, copied, f"{copied}/", f"file://{copied}", "renamed", "./renamed/", "~/renamed"]
    found = [spec_of(tiny_dataset, start_from=place) for place in places]
    assert {spec.image.weights for spec, _ in found} == {f"run:{simclr.id}"}
    assert len({spec.id for spec, _ in found}) == 1
    assert [where[f"run:{simclr.id}"] for _, where in found[4:]] == [str(tmp_path / "renamed")] * 3
    assert "/" not in json.dumps(spec_to_dict(found[0][0])["image"]["weights"])


def test_a_run_begins_with_the_weights_of_another_in_an_object_store_and_says_which(
    simclr: RunFolder, tiny_dataset: PreparedDataset, runs: Path, bucket: str, tmp_path: Path
) -> None:
    address = upload(simclr.folder.path, f"{bucket}/moved/anything")
    run = train(tiny_dataset, tmp_path / "far", start_from=address)
    near = train(tiny_dataset, runs, start_from=simclr.folder.path)
    assert run.id == near.id
    digest = sha256(Path(simclr.folder.path) / "model.safetensors")
    assert run.weights() == {"image": {"name": f"run:{simclr.id}", "digest": digest, "address": address}}
    one, other = (load_file(f"{each.folder.path}/model.safetensors") for each in (run, near))
    assert all(torch.equal(one[name], other[name]) for name in one)
    copy = cache_folder() / "weights" / f"run-{simclr.id}-{digest[:16]}"
    assert sha256(copy / "model.safetensors") == digest
    assert not (copy / "measurements.parquet").exists()
    assert (copy / "spec.json").exists()

    # A copy that was spoiled is made again; one that cannot be made leaves nothing that looks whole.
    (copy / "model.safetensors").write_bytes(b"half")
    spec, places = run.spec(), {f"run:{simclr.id}": address}
    assert weights_of(spec, places)["image"].digest == digest
    shutil.rmtree(copy)
    Folder(address).write("model.safetensors", b"damaged on the way")
    with pytest.raises(WeightsError, match=f"{address}/model.safetensors has .*, not {digest}"):
        weights_of(spec, {f"run:{simclr.id}": address})
    assert not copy.exists()


def test_the_folder_beside_is_found_without_being_told(
    simclr: RunFolder, tiny_dataset: PreparedDataset, runs: Path
) -> None:
    (runs / "train").rename(runs / "modalities")
    spec, _ = spec_of(tiny_dataset, start_from=simclr.folder.path)
    found = weights_of(spec, near=Folder(runs / "train" / spec.id))
    assert found["image"].address == str(runs / "modalities" / simclr.id)
    assert open_untrained(spec, tiny_dataset, near=Folder(runs / "train" / spec.id)).weights == found
    run = RunFolder(Folder(runs / "train" / spec.id))
    run.begin(spec, {}, {})
    job = EmbeddingJob(run=str(run.folder), data=str(tiny_dataset.folder), modalities=("image",), untrained=True)
    assert job.experiment(tiny_dataset).weights == found
    (runs / "modalities").rename(runs.parent / "other")
    name = f"run:{simclr.id}"
    with pytest.raises(WeightsError, match="finished run at"):
        job.experiment(tiny_dataset)
    told = open_untrained(spec, tiny_dataset, {name: str(runs.parent / "other" / simclr.id)}, run.folder)
    assert told.weights["image"].digest == found["image"].digest


def test_weights_that_are_nowhere_are_said_to_be_so_and_the_remedy_works(
    simclr: RunFolder, tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    spec, _ = spec_of(tiny_dataset, start_from=simclr.folder.path)
    near = Folder(tmp_path / "runs" / "train" / spec.id)
    with pytest.raises(WeightsError) as caught:
        weights_of(spec, {f"run:{simclr.id}": str(tmp_path / "gone")}, near)
    message = str(caught.value)
    assert message.startswith(f"image tower: the weights 'run:{simclr.id}' cannot be used: they are not at ")
    assert f"{tmp_path}/gone, nor at {tmp_path}/runs/*/{simclr.id}" in message
    place = message.rpartition("Put the folder of that finished run at ")[2].removesuffix(".")
    shutil.copytree(simclr.folder.path, place)
    assert weights_of(spec, near=near)["image"].address == place


def test_a_file_is_named_by_its_digest_and_found_in_the_cache(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "vit.safetensors")
    digest = sha256(tmp_path / "vit.safetensors")
    plain = ExperimentSpec(dataset="insects", data_fingerprint="0")
    spec, places = with_settings(plain, [f"image.weights={tmp_path}/vit.safetensors", "image.depth=3"])
    assert spec == replace(plain, image=ImageTower(weights=f"sha256:{digest}", depth=3))
    assert located(spec, weights_of(spec, places)).image.weights == str(tmp_path / "vit.safetensors")

    with pytest.raises(WeightsError) as caught:
        weights_of(spec)
    place = Path(str(caught.value).rpartition(" into ")[2].removesuffix("."))
    place.mkdir(parents=True)
    shutil.copy(tmp_path / "vit.safetensors", place / "model.safetensors")
    assert weights_of(spec)["image"].digest == digest
    save_file({"a": torch.zeros(2)}, place / "model.safetensors")
    with pytest.raises(WeightsError, match=f", not {digest}"):
        weights_of(spec)


def test_a_file_in_an_object_store_is_named_and_brought(bucket: str, tmp_path: Path) -> None:
    save_file({"a": torch.full((2,), 7.0)}, tmp_path / "vit.safetensors")
    address = f"{bucket}/files/vit.safetensors"
    Folder(f"{bucket}/files").write("vit.safetensors", (tmp_path / "vit.safetensors").read_bytes())
    name, where = name_of(address)
    assert (name, where) == (f"sha256:{sha256(tmp_path / 'vit.safetensors')}", address)
    spec = ExperimentSpec(dataset="insects", data_fingerprint="0", image=ImageTower(weights=name))
    assert weights_of(spec, {name: address})["image"].file.read_bytes() == (tmp_path / "vit.safetensors").read_bytes()


def test_a_converted_model_is_named_by_its_digest(simclr: RunFolder, runs: Path, tiny_dataset: PreparedDataset) -> None:
    folder = Folder(runs / "train" / simclr.id)
    unseal_run(folder, "point.json")
    folder.write_json("point.json", {"converted": True})
    spec, places = spec_of(tiny_dataset, start_from=str(folder))
    assert spec.image.weights == f"sha256:{folder.digest('model.safetensors')}"
    loaded = open_untrained(spec, tiny_dataset, places)
    assert torch.equal(loaded.model.get_parameter(BODY), load_file(f"{folder}/model.safetensors")[BODY])
    assert loaded.spec.image.weights == spec.image.weights  # what is recorded keeps the name


def test_published_names_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = ExperimentSpec(dataset="insects", data_fingerprint="0")
    for name in ("timm", "hf-hub:imageomics/bioclip", "run:a-b2-e1-s42-00000000"):
        assert with_settings(plain, [f"image.weights={name}"])[0].image.weights == name


def test_a_spec_of_an_earlier_version_with_a_path_is_read_and_built(
    simclr: RunFolder, tiny_dataset: PreparedDataset
) -> None:
    trained = simclr.spec()
    old = starting_from(replace(trained, objective="align", modalities=("image", "dna")), simclr.folder.path, trained)
    again = spec_from_dict(json.loads(json.dumps(spec_to_dict(old))))
    assert again.image.weights == simclr.folder.path
    model = open_untrained(again, tiny_dataset).model
    assert torch.equal(model.get_parameter(BODY), load_file(f"{simclr.folder.path}/model.safetensors")[BODY])


def test_other_weights_under_the_same_name_are_noticed_when_a_run_is_asked_for_again(
    simclr: RunFolder, tiny_dataset: PreparedDataset, runs: Path
) -> None:
    start = runs / "train" / simclr.id
    run = train(tiny_dataset, runs, start_from=str(start))
    before = sha256(start / "model.safetensors")
    shutil.copytree(start, runs / "kept")
    trained_again(start)
    now = sha256(start / "model.safetensors")
    with pytest.raises(WeightsDriftError) as finished:
        train(tiny_dataset, runs, start_from=str(start))
    run.folder.remove("status.json")
    with pytest.raises(WeightsDriftError) as going_on:
        train(tiny_dataset, runs, start_from=str(start))
    for error in (finished, going_on):
        where, *told, _ = error.value.args
        assert where.endswith(run.id)
        assert told == [f"run:{simclr.id}", before, now]
    assert run.state() == "failed"
    # The first remedy; then the other one, with the weights that are there now.
    kept = train(tiny_dataset, runs, start_from=str(runs / "kept"))
    assert kept.state() == "finished"
    os.rename(run.folder.path, runs / "away")
    assert train(tiny_dataset, runs, start_from=str(start)).weights()["image"]["digest"] == now


def trained_again(start: Path) -> None:
    """What another training of the same spec leaves."""
    tensors = load_file(start / "model.safetensors")
    save_file({name: tensor + 0.01 for name, tensor in tensors.items()}, start / "model.safetensors")
    run = RunFolder(Folder(start))
    run.finish("finished")


def test_a_finished_run_asked_for_again_needs_its_first_weights_no_more(
    simclr: RunFolder, tiny_dataset: PreparedDataset, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"run:{simclr.id}"
    towers = [f"image.weights={name}"]
    train(tiny_dataset, runs, settings=towers)
    shutil.rmtree(runs / "train" / simclr.id)
    train(tiny_dataset, runs, settings=towers)
    assert "is finished already" in capsys.readouterr().err


def test_damage_since_the_run_was_finished_is_noticed(simclr: RunFolder, runs: Path) -> None:
    start = runs / "train" / simclr.id
    save_file({BODY: torch.zeros(2)}, start / "model.safetensors")
    spec = ExperimentSpec(dataset="insects", data_fingerprint="0", image=ImageTower(weights=f"run:{simclr.id}"))
    with pytest.raises(WeightsError, match="has the SHA-256"):
        weights_of(spec, near=Folder(runs / "train" / "x"))


@pytest.mark.parametrize(
    ("state", "message"), [("failed", "is not finished but 'failed'"), ("missing", r"the run at .* is not finished\.")]
)
def test_a_run_that_is_not_finished_has_no_name_yet(
    state: str, message: str, simclr: RunFolder, tiny_dataset: PreparedDataset, runs: Path
) -> None:
    start = RunFolder(Folder(runs / "train" / simclr.id))
    start.folder.remove("status.json")
    if state == "failed":
        start.finish("failed", reason="out of memory")
    spec = ExperimentSpec(dataset="insects", data_fingerprint="0", image=ImageTower(weights=f"run:{simclr.id}"))
    for whole in (True, False):
        if not whole:
            start.folder.remove("model.safetensors")
        with pytest.raises(WeightsError, match=message):
            spec_of(tiny_dataset, start_from=str(start.folder))
        with pytest.raises(WeightsError, match=message):
            weights_of(spec, near=Folder(runs / "train" / "x"))


@pytest.mark.parametrize("name", ["run:../../etc", "run:", "sha256:abc"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    spec = ExperimentSpec(dataset="insects", data_fingerprint="0", image=ImageTower(weights=name))
    with pytest.raises(WeightsError, match=r"after run: .*after sha256: 64 "):
        weights_of(spec)


@pytest.mark.parametrize("place", ["gone/", "/gone/model.safetensors", "ftp://host/run", "s3://no-such-bucket-1/run"])
def test_a_place_without_weights_is_one_sentence(place: str, bucket: str, tiny_dataset: PreparedDataset) -> None:
    with pytest.raises(WeightsError) as caught:
        name_of(place)
    assert f"'{place}'" in str(caught.value)
    assert str(caught.value).isprintable()
    with pytest.raises((WeightsError, UsageError), match=place):
        spec_of(tiny_dataset, start_from=place)


def test_any_field_is_set_on_the_command_line_and_a_wrong_one_is_answered(
    tiny_dataset: PreparedDataset, tmp_path: Path
) -> None:
    arguments = ["image-dna", "--data", str(tiny_dataset.folder), "--runs", str(tmp_path), "--scale", "small", "--cpu"]
    settings = ["--set", "batch_size=32", "--set", "epochs=1", "--set", "image.fine_tuning=lora"]
    done = CliRunner().invoke(app, [*arguments, *settings], catch_exceptions=False)
    run = RunFolder(Folder(done.stdout.strip().splitlines()[-1]))
    assert run.spec().image.fine_tuning == "lora"
    assert (run.spec().batch_size, run.spec().epochs) == (32, 1)
    assert run.id == run.spec().id
    with pytest.raises(UsageError, match=r"did you mean lora\?"):
        CliRunner().invoke(app, [*arguments, "--set", "image.fine_tuning=lorra"], catch_exceptions=False)
