"""What points will take before they are made: operations counted on shapes alone, over a rate that is said.

Nothing here is exact. Operations are counted, the rate is given, measured on a few steps or assumed; what a run takes
beside its arithmetic is a mean of what runs took. `orchestrator.plan.Pace` corrects all of it as runs go on.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.fleet import Resources
from orchestrator.plan import Effort
from orchestrator.request import SweepPoints
from sweeps.point import Point, PointKind
from workloads.data.inputs.who_trains import num_trained
from workloads.data.prepared.dataset import DatasetFacts
from workloads.errors import ClibdError
from workloads.evaluation.selection import PARTITION
from workloads.experiments import Scale
from workloads.measuring.costs_folder import BERT_VOCABULARY, TowerCost, drawn_inputs, median_seconds, tower_costs
from workloads.models.build import TowerInputs, build_model
from workloads.placement import kernels, matrix_products
from workloads.recipes import evaluation_precision
from workloads.spec import ExperimentSpec, Modality

_A100 = 80.0
"""TFLOP/s that an NVIDIA A100 is assumed to sustain in bf16, a quarter of what it has at most (312)."""
_SLOWER = {"bf16": 1.0, "tf32": 2.0, "fp32": 8.0}
"""Times that a GPU takes longer in other precisions."""
_WORDS = 1_000
"""Word pieces that are learned from some thousand labels, about."""
_STEP_FLOPS = 1e11
"""Size of a timed step at most: seconds on one core."""
_BESIDE = 1.3
"""Times that training takes as long as the steps of its towers: batches, loss and optimiser; measured on two cores."""
_REPEATS = 2
_STATE_BYTES = 16
"""What a trained parameter in fp32 takes: itself, its gradient and the two moments of Adam."""
_START, _END = 13.0, 12.0
"""Seconds of a run before its first batch (workers start and import) and behind its last (it is measured)."""
_MEASURING: dict[PointKind, float] = {
    "untrained": 25,
    "openclip": 60,
    "open_set": 20,
    "bzsl": 40,
    "attention": 20,
    "costs": 15,
}
"""Seconds that measurements take at the small scale; of the paper's scale ten times as many are assumed."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Operations a second of a GPU, or of one core of a processor."""

    flops: float
    source: str
    """Given, measured here, or assumed."""
    of_gpu: bool = True

    @property
    def describe(self) -> str:
        """In words."""
        return f"{self.flops / 1e12:.3g} TFLOP/s, {self.source}"


@cache
def _tower(spec: ExperimentSpec, inputs: TowerInputs) -> tuple[TowerCost, float] | None:
    """What the one tower of a spec takes, and the bytes that it keeps of a specimen for its gradient, in fp32; both are
    counted on shapes alone. None where it cannot be built without weights that are not here."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, nn.Parameter):
            kept[storage._cdata] = storage.nbytes()
        return tensor

    try:
        [cost] = tower_costs(spec, inputs)
    except ClibdError:
        return None
    with torch.device("meta"):
        tower = build_model(spec, inputs, pretrained=False).towers[cost.modality]
    batch = drawn_inputs(spec, inputs, cost.modality, 2, torch.device("meta"))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        embedded = tower(batch)  # kept until here, so that no storage takes the place of another
    del embedded
    return cost, sum(kept.values()) / 2


def _alone(spec: ExperimentSpec, modality: Modality) -> ExperimentSpec:
    """One tower, and of all else nothing: towers that many points share are counted once."""
    blank = ExperimentSpec(dataset="", data_fingerprint="", objective="simclr", modalities=(modality,))
    tower = spec.tower(modality)
    kept: dict[str, Any] = {modality: tower if tower.kind == "openclip" else replace(tower, weights=None)}
    return replace(blank, embedding_size=spec.embedding_size, **kept)


def _inputs_of(spec: ExperimentSpec, facts: DatasetFacts) -> TowerInputs:
    """What a data set adds to the shapes of towers; learned word pieces are not counted but assumed."""
    return TowerInputs(
        image_feature_size=facts.image_feature_size,
        dna_feature_size=facts.dna_feature_size,
        vocabulary_size=BERT_VOCABULARY if spec.text.weights else _WORDS,
        num_classes=2,
    )


def _towers_of(spec: ExperimentSpec, facts: DatasetFacts) -> list[tuple[TowerCost, float]]:
    """What each tower of a spec takes of a specimen and keeps of it, as far as it can be counted."""
    inputs = _inputs_of(spec, facts)
    return [tower for name in spec.modalities if (tower := _tower(_alone(spec, name), inputs))]


def _step_flops(spec: ExperimentSpec, facts: DatasetFacts) -> float:
    return sum(cost.step_flops for cost, _ in _towers_of(spec, facts))


def _num_embedded(facts: DatasetFacts, partitions: Iterable[str]) -> int:
    """Keys, and the queries of some partitions."""
    asking = {split for name in partitions for split in facts.splits.queries.get(name, {}).values()}
    return sum(facts.num_specimens.get(split, 0) for split in asking.union(facts.splits.keys))


def _effort(point: Point, facts: DatasetFacts, resources: Resources, rate: Rate, scale: Scale) -> Effort:
    """What a point takes, on its data set, with these workers at this rate."""
    spec, towers = point.spec, _towers_of(point.spec, facts) if point.kind in ("train", "untrained") else []
    forward, parameters = (sum(getattr(cost, of) for cost, _ in towers) for of in ("forward_flops", "parameters"))
    views = 2 if spec.objective == "simclr" else 1
    measured, looked_at = _num_embedded(facts, facts.splits.queries), _num_embedded(facts, [PARTITION])
    looks = spec.epochs - spec.first_selected_epoch if point.kind == "train" and spec.selection != "last" else 0
    steps = views * num_trained(spec, facts) * spec.epochs if point.kind == "train" else 0
    training = steps * _step_flops(spec, facts) if steps else 0.0
    resources = resources.for_batch(spec.batch_size)
    workers = resources.num_workers
    # Where the rate is a GPU's and there is none, as on the machine that only plans, there is one.
    devices = workers * resources.gpus_per_worker or 1 if rate.of_gpu else workers * resources.threads
    full = rate.flops * devices
    speed, embedding = (
        full / (_SLOWER[name] if rate.of_gpu else 1.0) for name in (spec.precision, evaluation_precision(spec))
    )
    large = 1.0 if scale == "small" else 10.0
    share = -(-spec.batch_size // workers)
    micro = min(share, resources.execution.micro_batch or share) if training else 0
    kept = sum(kept for _, kept in towers) / (2 if spec.precision == "bf16" else 1)
    return Effort(
        kind=point.kind,
        training=_BESIDE * training / speed,
        start=_START if point.kind == "train" else 0.0,
        selecting=looks * forward * looked_at / embedding,
        end=(forward * measured / embedding + _END * large)
        if point.kind == "train"
        else _MEASURING[point.kind] * large,
        flops=training + forward * (measured + looks * looked_at),
        devices=devices if rate.of_gpu else 1,
        memory=parameters * (_STATE_BYTES if training else 4) + micro * views * kept,
        disk=4.0 * (parameters * (point.kind == "train") + measured * len(towers) * spec.embedding_size),
    )


_ASSUMED = Rate(_A100 * 1e12, "assumed of an NVIDIA A100: a quarter of its peak in bf16; say yours with --rate")


def estimate(
    todo: Sequence[Point], points: SweepPoints, resources: Resources, given: float | None = None, planning: bool = False
) -> tuple[Rate, dict[str, Effort]]:
    """The rate to reckon with, and what each point takes at it, by id.

    Args:
        todo: to be made.
        points: among which.
        resources: of a run.
        given: TFLOP/s, or None: measured with the smallest run, or assumed.
        planning: whether nothing is made here, so that this process may use the GPU, whose memory then stays taken
            until it ends.
    """
    rate = _rate(todo, points, resources, planning) if given is None else Rate(given * 1e12, "as given by --rate")
    scale = points.request.scale
    return rate, {p.id: _effort(p, points.data_of(p).facts, resources, rate, scale) for p in todo}


def _rate(todo: Sequence[Point], points: SweepPoints, resources: Resources, planning: bool) -> Rate:
    """Measured with the smallest run, or assumed."""
    flops = {p.id: _step_flops(p.spec, points.data_of(p).facts) for p in todo if p.kind == "train"}
    whole = [point for point in todo if flops.get(point.id)]
    gpus = resources.num_workers * resources.gpus_per_worker
    elsewhere = planning and points.request.scale == "paper" and not gpus  # nobody trains these towers on a CPU
    if not whole or elsewhere or gpus > 1 or (gpus and not (planning and torch.cuda.is_available())):
        return _ASSUMED
    # Of the points with most towers the smallest, since towers differ in how well they use a device.
    chosen = min(whole, key=lambda point: (-len(point.spec.modalities), flops[point.id]))
    device = torch.device("cuda" if resources.gpus_per_worker else "cpu")
    return _calibrated_rate(chosen, points.data_of(chosen).facts, device)


def _calibrated_rate(point: Point, facts: DatasetFacts, device: torch.device) -> Rate:
    """Time a few steps of a point's towers on drawn inputs; weights are drawn too."""
    spec, inputs = point.spec, _inputs_of(point.spec, facts)
    per_specimen = _step_flops(spec, facts)
    count = max(2, min(spec.batch_size, int(_STEP_FLOPS / max(per_specimen, 1.0))))
    model = build_model(spec, inputs, pretrained=False).to(device)
    batches = [(model.towers[name], drawn_inputs(spec, inputs, name, count, device)) for name in spec.modalities]

    def step() -> None:
        with matrix_products(spec.precision), kernels(device, spec.precision):
            embedded: list[Tensor] = [tower(batch) for tower, batch in batches]
            sum((tensor.float().sum() for tensor in embedded), torch.zeros((), device=device)).backward()

    if device.type == "cuda":
        seconds = median_seconds(step, device, _REPEATS)
        return Rate(count * per_specimen / seconds, f"measured on {torch.cuda.get_device_name(device)}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = median_seconds(step, device, _REPEATS, time.process_time)  # that other programs are busy is no matter
    finally:
        torch.set_num_threads(threads)
    return Rate(count * per_specimen / seconds, f"of a core, measured in a few steps of '{point.label}'", of_gpu=False)
