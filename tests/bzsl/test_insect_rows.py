"""Cheap rows of Table 4, from drawn files to measured folders, on a small synthetic INSECT."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweeps import SWEEPS
from sweeps.point import Base, Point
from workloads.bzsl.feature_source import read_source
from workloads.bzsl.task import species_dna
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.preparation import DatasetOptions, prepare
from workloads.data.sources.collect import collect
from workloads.data.sources.insect import insect_source
from workloads.data.sources.synthetic_insect import write_synthetic_insect
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.execution import Execution
from workloads.experiments import base_spec
from workloads.measuring.evaluation_folder import measure_untrained
from workloads.measuring.zero_shot_folder import measure_zero_shot
from workloads.placement import Placement
from workloads.record import RunFolder
from workloads.storage import Folder
from workloads.training.run import train_run

SPLITS = {"train_seen", "val_classes", "test_seen", "test_unseen"}


@pytest.fixture(scope="module")
def insect(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("insect")
    write_synthetic_insect(folder / "files", 15, seed=5)
    table = SpecimenTable.at(folder / "specimens.parquet")
    collect(insect_source(folder / "files", None), table)
    prepare(table, Folder(folder / "data"), DatasetOptions(name="synthetic-insect", image_size=64), map)
    return PreparedDataset(Folder(folder / "data"))


@pytest.fixture(scope="module")
def points(insect: PreparedDataset) -> dict[tuple[str, str, bool], Point]:
    """Rows of Table 4 by their encoders and whether that of DNA is fine-tuned, and the runs that they need by id."""
    data = insect.facts.data
    base = Base(spec=base_spec("small", data), scale="small", data=data, insect=data)
    found = {}
    for point in SWEEPS["insect"].points(base):
        if isinstance(point, Point):
            row = point.row or {"image_encoder": "", "dna_encoder": point.id, "dna_fine_tuning": None}
            found[str(row["image_encoder"]), str(row["dna_encoder"]), bool(row["dna_fine_tuning"])] = point
    return found


def measured(folder: Folder) -> dict[str, float]:
    rows = RunFolder(folder).measurements()
    return {
        row.species: row.value
        for row in rows
        if (row.method, row.level, row.average, row.metric) == ("bzsl", "species", "macro", "top1")
    }


def made(point: Point, insect: PreparedDataset, folder: Path) -> RunFolder:
    """The folder of a run, as a sweep leaves it but for fewer epochs."""
    run = RunFolder(Folder(folder / point.id))
    run.begin(replace(point.spec, epochs=4), {}, {})
    if point.kind == "untrained":
        measure_untrained(run, insect.folder)
        run.finish("finished")
    else:
        run.finish("finished", **train_run(run.spec(), run, insect, Placement(), Execution()))
    return run


def test_the_published_features_fill_the_first_row(
    points: dict[tuple[str, str, bool], Point], insect: PreparedDataset, tmp_path: Path
) -> None:
    point = points["RN-101", "CNN encoder", True]
    assert point.uses == {"images": "insect", "dna": "insect"}
    data = insect.folder.address
    target = measure_zero_shot(data, data, Folder(tmp_path), point.spec.recipe, point.spec.seed)
    found = measured(target)
    assert found["seen"] > 0.5  # by chance a fifteenth
    assert found["unseen"] > 0.15
    about = target.read_json("evaluation.json")
    assert (about["dataset"], about["data_fingerprint"]) == ("synthetic-insect", insect.facts.fingerprint)
    assert about["synthetic"]
    assert target.read_json("bzsl.json")["num_settings"] == 144  # the published grid


@pytest.mark.parametrize("is_tuned", [False, True], ids=["untrained", "fine-tuned"])
def test_a_barcodebert_that_stands_beside_published_features_is_the_mean_of_its_specimens(
    is_tuned: bool, points: dict[tuple[str, str, bool], Point], insect: PreparedDataset, tmp_path: Path
) -> None:
    point = points["RN-101", "BarcodeBERT", is_tuned]
    encoder = points["", point.uses["dna"], False]
    assert encoder.kind == ("train" if is_tuned else "untrained")
    run = made(encoder, insect, tmp_path)
    source = read_source(run.folder.address, 0)
    assert set(source.split) == SPLITS
    assert source.synthetic
    assert source.images is None
    assert source.dna is not None
    assert source.dna.shape[1] == encoder.spec.dna.width  # in front of the new layers
    everyone, _ = species_dna(source, "authors")
    for name in list(everyone)[:3]:
        own = source.dna[source.species == name].mean(axis=0)
        np.testing.assert_allclose(everyone[name], own, atol=1e-6)
    keys, _ = species_dna(source, "corrected")
    name = next(iter(keys))
    of_keys = (source.species == name) & source.within("train_seen", "val_classes")
    chosen = of_keys if of_keys.any() else source.species == name
    np.testing.assert_allclose(keys[name], source.dna[chosen].mean(axis=0), atol=1e-6)

    target = measure_zero_shot(insect.folder.address, run.folder.address, Folder(tmp_path / "row"), "corrected")
    assert measured(target)["harmonic_mean"] > 0.1
    if is_tuned:
        rows = [row for row in run.measurements() if (row.metric, row.level) == ("classifier_top1", "species")]
        assert {row.query for row in rows} == {"dna"}
        assert min(row.value for row in rows) > 0.3  # by chance a tenth


def test_a_fine_tuned_image_encoder_gives_the_images(
    points: dict[tuple[str, str, bool], Point], insect: PreparedDataset, tmp_path: Path
) -> None:
    run = made(points["", points["ViT-B", "BarcodeBERT", True].uses["images"], False], insect, tmp_path)
    source = read_source(run.folder.address, 0)
    assert source.dna is None
    assert set(source.split) == SPLITS
    assert run.folder.read_json("evaluation.json")["aligned"] == ["image"]
    target = measure_zero_shot(run.folder.address, insect.folder.address, Folder(tmp_path / "row"), "paper")
    assert target.read_json("evaluation.json")["run"] == run.id
    assert measured(target)["seen"] > 0.15
