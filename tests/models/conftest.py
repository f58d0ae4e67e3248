"""What the tests of several towers share: the folder of a finished run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import nn

from workloads.spec import ExperimentSpec, spec_to_dict

WriteRun = Callable[[Path, ExperimentSpec, nn.Module], str]


@pytest.fixture(scope="session")
def write_run() -> WriteRun:
    """Writes what a finished run leaves of its model: where, of which spec, which weights."""

    def write(folder: Path, spec: ExperimentSpec, model: nn.Module) -> str:
        folder.mkdir(parents=True)
        tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(tensors, folder / "model.safetensors")
        (folder / "spec.json").write_text(json.dumps(spec_to_dict(spec)))
        (folder / "status.json").write_text(json.dumps({"state": "finished"}))
        return str(folder)

    return write
