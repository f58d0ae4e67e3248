"""A run that was measured, whose files for looking at are looked at."""

import shutil
from pathlib import Path

import pytest

from workloads.data.prepared.dataset import PreparedDataset
from workloads.evaluation.measure import measure
from workloads.models.loaded import open_untrained, write_inputs
from workloads.models.weights import save_weights
from workloads.placement import Placement
from workloads.record import RunFolder
from workloads.spec import ExperimentSpec
from workloads.storage import Folder


def finished(spec: ExperimentSpec, dataset: PreparedDataset, folder: Path) -> RunFolder:
    """A run with first weights that was measured, as if training had ended at once."""
    run = RunFolder(Folder(folder / spec.id))
    experiment = open_untrained(spec, dataset)
    run.begin(spec, {"sweep": "train"}, {})
    write_inputs(run, experiment)
    save_weights(run.folder, experiment.model)
    measure(experiment, dataset, Placement(), run)
    run.finish("finished")
    return run


@pytest.fixture(scope="module")
def measured(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    return finished(tiny_spec, tiny_dataset, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(measured: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy that may be damaged."""
    return RunFolder(Folder(shutil.copytree(measured.folder.path, tmp_path / "runs" / measured.id)))
