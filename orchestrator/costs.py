"""Costs as a function: Appendix D.4's, of the paper's towers or of those of a run."""

from dataclasses import asdict

import pyarrow.compute as pc
from rich.console import Console

from orchestrator.evaluating import this_device
from orchestrator.progress import stderr_console
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import MissingPathError
from workloads.evaluation.costs import BATCH, BERT_VOCABULARY, CPU_BATCH, Cost, list_costs
from workloads.evaluation.measure import write_evaluation
from workloads.experiments import Data, base_spec
from workloads.models.clibd import TowerInputs
from workloads.placement import device_name
from workloads.record import RunFolder
from workloads.spec import MODALITIES, ExperimentSpec
from workloads.storage import Folder


def measure_costs(
    run: Folder | None,
    data: Folder | None,
    target: Folder | None = None,
    batch_size: int | None = None,
    console: Console | None = None,
) -> list[Cost]:
    """Count and time what the towers of a run take, or the paper's (Appendix D.4).

    Args:
        run: folder of a run; None: the paper's towers.
        data: prepared data set whose labels are measured for storage.
        target: where to write `costs.json`; None: nowhere.
        batch_size: samples of a timed batch; None: 500 on a GPU, 4 without one.
        console: told of progress.

    Raises:
        MissingPathError: there is no run, or no data set.
    """
    spec, inputs = _towers(run)
    device = this_device()
    batch_size = batch_size or (BATCH if device.type == "cuda" else CPU_BATCH)
    said = f"Counting operations, then timing batches of {batch_size} on {device_name(device)}"
    (console or stderr_console()).print(said)
    labels = _labels(data) if data is not None and "text" in spec.modalities else ([], "")
    costs = list_costs(spec, inputs, batch_size, device, *labels)
    if target is not None:
        about = {"dataset": spec.dataset, "data_fingerprint": spec.data_fingerprint, "synthetic": spec.synthetic}
        write_evaluation(target, {**about, "recipe": spec.recipe}, [])
        name = None if run is None else RunFolder(run).id
        target.write_json("costs.json", {"run": name, "costs": [*map(asdict, costs)]})
    return costs


def _towers(run: Folder | None) -> tuple[ExperimentSpec, TowerInputs]:
    if run is None:
        data = Data(name="none", fingerprint="none", synthetic=False, modalities=MODALITIES)
        return base_spec("paper", data, "paper"), TowerInputs(vocabulary_size=BERT_VOCABULARY)
    if not (run.has("spec.json") and run.has("inputs.json")):
        raise MissingPathError(str(run), "run", "Name a run folder of a sweep, RUNS/SWEEP/RUN.")
    return RunFolder(run).spec(), TowerInputs(**run.read_json("inputs.json")["towers"])


def _labels(data: Folder) -> tuple[list[str], str]:
    """Labels of the specimens with a species, and whose they are."""
    dataset = PreparedDataset(data)
    table = dataset.load(list(dataset.facts.num_specimens), ["text", "species"])
    kind = "labels of SYNTHETIC specimens in" if dataset.facts.synthetic else "labels of"
    return table.filter(pc.is_valid(table["species"]))["text"].to_pylist(), f"{kind} {dataset.facts.name}"
