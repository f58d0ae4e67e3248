"""Carries out `clibd evaluate`: a trained run on another prepared data set."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import torch

from orchestrator.progress import stderr_console
from results.render import grid, percent
from workloads.data.prepared import DatasetFacts, PreparedDataset
from workloads.errors import MissingPathError, ModalitiesError
from workloads.evaluation.measure import measure
from workloads.experiment import Experiment, open_run
from workloads.record import Measurement, RunFolder
from workloads.spec import RANKS
from workloads.storage import Folder
from workloads.training.placement import Placement


def evaluate_command(run_address: str, data: str, out: str | None, form: str) -> None:
    """Embed, retrieve, measure; print the top-1 accuracies."""
    console = stderr_console()
    run, dataset = RunFolder(Folder(run_address)), PreparedDataset(Folder(data))
    if run.state() != "finished":
        raise MissingPathError(run_address, "finished run", "Name a run folder of a sweep, RUNS/SWEEP/RUN.")
    experiment, facts = open_run(run), dataset.facts
    shared = [
        name for name in experiment.spec.modalities if name in facts.modalities and _fits(name, experiment, facts)
    ]
    if not shared:
        raise ModalitiesError(facts.name, ())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    experiment.model.to(device)
    console.print(f"Embedding {facts.name} ({', '.join(shared)}) with {run.id}")
    target = Folder(out) if out else run.folder / f"evaluation-{facts.name}"
    measurements = measure(experiment, dataset, Placement.here(device), RunFolder(target), shared)
    if form == "json":
        print(json.dumps([asdict(row) for row in measurements], indent=1))
    else:
        print(_table(measurements))
    console.print(f"Predictions and measurements: {target}")


def _fits(modality: str, experiment: Experiment, facts: DatasetFacts) -> bool:
    """Whether the data set has what the tower takes: pixels or bases, or features of the same length."""
    towers = experiment.inputs
    if modality == "image":
        return towers.image_feature_size == facts.image_feature_size
    if modality == "dna" and experiment.spec.dna.kind == "features":
        return towers.dna_feature_size == facts.dna_feature_size
    return modality != "dna" or facts.barcodes


def _table(measurements: Sequence[Measurement]) -> str:
    """Top-1 accuracies by rank, with chance beside where there is one."""
    measurements = [m for m in measurements if m.metric.endswith("top1")]
    places = dict.fromkeys((m.partition, m.query, m.key, m.species, m.average) for m in measurements)
    value = {(m.method, m.partition, m.query, m.key, m.species, m.average, m.level): m.value for m in measurements}
    body = [
        [
            place[0],
            f"{place[1]} to {place[2]}",
            *place[3:],
            *(percent(value.get(("clibd", *place, rank))) for rank in RANKS),
            percent(value.get(("random_key", *place, "species"))),
        ]
        for place in places
    ]
    headers = ["Partition", "Retrieval", "Species", "Average", *RANKS, "chance (species)"]
    return f"Top-1 accuracy, percent\n\n{grid(headers, body)}"
