"""Carries out `clibd costs`: Appendix D.4's costs for the paper's towers or those of a run."""

import platform
from collections.abc import Iterable

import pyarrow.compute as pc
import torch

from orchestrator.progress import stderr_console
from results.cost_table import Format, OwnCost, render_costs
from results.published_costs import BATCH, NUM_LABELLED
from workloads.data.prepared import PreparedDataset
from workloads.errors import MissingPathError
from workloads.evaluation.costs import (
    BARCODE_BASES,
    BERT_VOCABULARY,
    TowerCost,
    barcode_bytes,
    label_bytes,
    tower_costs,
    tower_times,
)
from workloads.experiments import Data, base_spec
from workloads.models.clibd import TowerInputs
from workloads.record import RunFolder
from workloads.spec import MODALITIES, ExperimentSpec
from workloads.storage import Folder

CPU_BATCH = 4
"""Samples of a timed batch where there is no GPU: 500 take a CPU minutes."""


def costs_command(run_address: str | None, data: str | None, batch: int | None, form: Format) -> None:
    """Count, measure, print."""
    console = stderr_console()
    spec, inputs = _towers(run_address)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = batch or (BATCH if device.type == "cuda" else CPU_BATCH)
    console.print(f"Counting operations, then timing batches of {batch} on {_device_name(device)}")
    found = [*_counted(tower_costs(spec, inputs)), *_timed(spec, inputs, batch, device), *_stored(spec, data)]
    order = [*MODALITIES, "all"]
    print(render_costs(sorted(found, key=lambda cost: order.index(cost.modality)), form))


def _towers(run_address: str | None) -> tuple[ExperimentSpec, TowerInputs]:
    """Those of a run, or the paper's."""
    if run_address is None:
        data = Data(name="none", fingerprint="none", synthetic=False, modalities=MODALITIES)
        return base_spec("paper", data, "paper"), TowerInputs(vocabulary_size=BERT_VOCABULARY)
    run = RunFolder(Folder(run_address))
    if not (run.folder.has("spec.json") and run.folder.has("inputs.json")):
        raise MissingPathError(run_address, "run", "Name a run folder of a sweep, RUNS/SWEEP/RUN.")
    return run.spec(), TowerInputs(**run.folder.read_json("inputs.json")["towers"])


def _counted(costs: list[TowerCost]) -> Iterable[OwnCost]:
    for cost in costs:
        if cost.tokens is not None:
            yield OwnCost(cost.modality, "tokens", cost.tokens)
        yield OwnCost(cost.modality, "parameters", cost.parameters)
        yield OwnCost(cost.modality, "forward_flops", cost.forward_flops)
        yield OwnCost(cost.modality, "step_flops", cost.step_flops)
        yield OwnCost(cost.modality, "macs_per_500", BATCH * cost.forward_macs)
    yield OwnCost("all", "parameters", sum(cost.parameters for cost in costs))
    yield OwnCost("all", "forward_flops", sum(cost.forward_flops for cost in costs))
    yield OwnCost("all", "step_flops", sum(cost.step_flops for cost in costs))


def _timed(spec: ExperimentSpec, inputs: TowerInputs, batch: int, device: torch.device) -> Iterable[OwnCost]:
    """Times as they were measured; those of a batch of 500 are no multiple of a smaller one's."""
    on_gpu = device.type == "cuda"
    times = tower_times(spec, inputs, batch, device, ("fp32", "bf16") if on_gpu else ("fp32",), 5 if on_gpu else 3)
    for taken in times:
        how = f"{taken.precision}, {_device_name(device)}"
        if batch == BATCH:
            yield OwnCost(taken.modality, "seconds_per_500", taken.seconds, how)
        else:
            yield OwnCost(taken.modality, "seconds_per_batch", taken.seconds, f"{batch} samples, {how}")
    if batch != BATCH:
        for modality in spec.modalities:
            yield OwnCost(modality, "seconds_per_500", None, f"not measured; --batch {BATCH} does")


def _stored(spec: ExperimentSpec, data: str | None) -> Iterable[OwnCost]:
    """Bytes of a whole barcode; of labels with a species, where there is a data set to look at."""
    if "dna" in spec.modalities and spec.dna.kind != "features":
        for bits, suffix in ((8, ""), (2, "_2bit")):
            size = barcode_bytes(BARCODE_BASES, bits)
            yield OwnCost("dna", f"bytes_per_sample{suffix}", size)
            yield OwnCost("dna", f"bytes_of_labelled{suffix}", NUM_LABELLED * size)
    if "text" not in spec.modalities:
        return
    if data is None:
        yield OwnCost("text", "bytes_of_labelled", None, "not measured; --data DIR does")
        return
    dataset = PreparedDataset(Folder(data))
    table = dataset.load(list(dataset.facts.num_specimens), ["text", "species"])
    labels = table.filter(pc.is_valid(table["species"]))["text"].to_pylist()
    kind = "labels of SYNTHETIC specimens in" if dataset.facts.synthetic else "labels of"
    how = f"mean of {len(labels):,} {kind} {dataset.facts.name}"
    yield OwnCost("text", "bytes_per_sample", label_bytes(labels), how)
    yield OwnCost("text", "bytes_of_labelled", NUM_LABELLED * label_bytes(labels), how)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
