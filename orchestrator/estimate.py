"""What points will take before they are made: operations counted on shapes alone, over a rate that is said.

Nothing here is exact. Operations are counted, the rate is given, measured on a few steps or assumed; what a run takes
beside its arithmetic is a mean of what runs took. `orchestrator.plan.Pace` corrects all of it as runs go on.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from orchestrator.plan import Expected
from orchestrator.request import Asked
from orchestrator.resources import Resources
from sweeps.point import Kind, Point
from workloads.data.inputs.batches import num_trained
from workloads.data.prepared.dataset import DatasetFacts
from workloads.errors import ClibdError
from workloads.evaluation.costs import BERT_VOCABULARY, TowerCost, drawn_inputs, median_seconds, tower_costs
from workloads.experiments import Scale
from workloads.models.clibd import TowerInputs, build_model
from workloads.placement import kernels, matrix_products
from workloads.spec import ExperimentSpec, Modality

A100 = 80.0
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
"""Of a trained parameter in fp32: itself, its gradient and the two moments of Adam."""
_START, _END = 13.0, 12.0
"""Seconds of a run before its first batch (workers start and import) and behind its last (it is measured)."""
_MEASURING: dict[Kind, float] = {
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """What a point takes."""

    flops: float
    """Of training and of embedding; 0 of measurements that do neither."""
    seconds: float
    """On the clock."""
    device_hours: float
    """Of GPUs; of a machine without, its own."""
    memory: float
    """Of the busiest device, bytes: an estimate from below, without what libraries and caches take."""
    disk: float
    """Weights and embeddings, bytes."""
    expected: Expected


@cache
def _tower(spec: ExperimentSpec, inputs: TowerInputs) -> TowerCost | None:
    """Of the one tower of a spec; None where it cannot be built without weights that are not here."""
    try:
        return tower_costs(spec, inputs)[0]
    except ClibdError:
        return None


def _alone(spec: ExperimentSpec, modality: Modality) -> ExperimentSpec:
    """One tower, and of all else nothing: towers that many points share are counted once."""
    blank = ExperimentSpec(dataset="", data_fingerprint="", objective="simclr", modalities=(modality,))
    tower = {modality: replace(getattr(spec, modality), weights=None)}
    kept = tower if getattr(spec, modality).kind != "openclip" else {modality: getattr(spec, modality)}
    return replace(blank, embedding_size=spec.embedding_size, **kept)


def inputs_of(spec: ExperimentSpec, facts: DatasetFacts) -> TowerInputs:
    """What a data set adds to the shapes of towers; learned word pieces are not counted but assumed."""
    words = BERT_VOCABULARY if spec.text.weights else _WORDS
    return TowerInputs(
        image_feature_size=facts.image_feature_size,
        dna_feature_size=facts.dna_feature_size,
        vocabulary_size=words,
        num_classes=2,
    )


def towers_of(spec: ExperimentSpec, facts: DatasetFacts) -> list[TowerCost]:
    """What each tower of a spec takes of a sample, as far as it can be counted."""
    inputs = inputs_of(spec, facts)
    return [cost for name in spec.modalities if (cost := _tower(_alone(spec, name), inputs))]


def effort_of(point: Point, facts: DatasetFacts, resources: Resources, rate: Rate, scale: Scale) -> Effort:
    """What a point takes, on its data set, with these workers at this rate."""
    spec, towers = point.spec, towers_of(point.spec, facts) if point.kind in ("train", "untrained") else []
    step, forward = sum(cost.step_flops for cost in towers), sum(cost.forward_flops for cost in towers)
    parameters = sum(cost.parameters for cost in towers)
    views = 2 if spec.objective == "simclr" else 1
    asking = {split for kinds in facts.splits.queries.values() for split in kinds.values()}
    measured = sum(facts.num_specimens.get(split, 0) for split in asking.union(facts.splits.keys))
    training = step * views * num_trained(spec, facts) * spec.epochs if point.kind == "train" else 0.0
    devices = num_devices(resources, rate)
    speed = rate.flops * devices / (_SLOWER[spec.precision] if rate.of_gpu else 1.0)
    large = 1.0 if scale == "small" else 10.0
    expected = Expected(
        kind=point.kind,
        training=_BESIDE * training / speed,
        start=_START if point.kind == "train" else 0.0,
        end=(forward * measured / speed + _END * large) if point.kind == "train" else _MEASURING[point.kind] * large,
    )
    seconds = expected.training + expected.start + expected.end
    share = spec.batch_size // resources.num_workers
    micro = min(share, resources.execution.micro_batch or share) if training else 0
    return Effort(
        flops=training + forward * measured,
        seconds=seconds,
        device_hours=seconds * (devices if rate.of_gpu else 1) / 3600,
        memory=parameters * (_STATE_BYTES if training else 4) + micro * views * _kept(spec, facts),
        disk=4.0 * (parameters * (point.kind == "train") + measured * len(towers) * spec.embedding_size),
        expected=expected,
    )


def _kept(spec: ExperimentSpec, facts: DatasetFacts) -> float:
    """Bytes that all towers keep of a specimen until its gradient; bf16 halves them."""
    inputs = inputs_of(spec, facts)
    known = [name for name in spec.modalities if _tower(_alone(spec, name), inputs)]
    return sum(_activations(_alone(spec, name), inputs) for name in known) / (2 if spec.precision == "bf16" else 1)


@cache
def _activations(spec: ExperimentSpec, inputs: TowerInputs) -> float:
    """Bytes of what the one tower of a spec keeps of a specimen for its gradient, in fp32; counted on shapes alone."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, nn.Parameter):
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.device("meta"):
        tower = build_model(spec, inputs, pretrained=False).towers[spec.modalities[0]]
    batch = drawn_inputs(spec, inputs, spec.modalities[0], 2, torch.device("meta"))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        embedded = tower(batch)  # kept until here, so that no storage takes the place of another
    del embedded
    return sum(kept.values()) / 2


ASSUMED = Rate(A100 * 1e12, "assumed of an NVIDIA A100: a quarter of its peak in bf16; say yours with --rate")


def rate_here(points: Sequence[Point], asked: Asked, resources: Resources, given: float | None, idle: bool) -> Rate:
    """The rate to reckon with: given, measured with the smallest run, or assumed.

    Args:
        points: to be made.
        asked: on which data sets.
        resources: of a run.
        given: TFLOP/s, or None.
        idle: whether this process may use the GPU; its memory then stays taken until the process ends.
    """
    if given is not None:
        return Rate(given * 1e12, "as given by --rate")
    whole = [point for point in points if point.kind == "train" and _step_flops(point, asked)]
    if not whole or resources.num_workers * resources.gpus_per_worker > 1 or (resources.gpus_per_worker and not idle):
        return ASSUMED
    # Of the points with most towers the smallest, since towers differ in how well they use a device.
    chosen = min(whole, key=lambda point: (-len(point.spec.modalities), _step_flops(point, asked)))
    device = torch.device("cuda" if resources.gpus_per_worker else "cpu")
    return calibrated_rate(chosen, asked.facts_of(chosen.spec), device)


def _step_flops(point: Point, asked: Asked) -> float:
    return sum(cost.step_flops for cost in towers_of(point.spec, asked.facts_of(point.spec)))


def num_devices(resources: Resources, rate: Rate) -> int:
    """GPUs of a run, or cores; where the rate is a GPU's and there is none, as on the machine that only plans, one."""
    if rate.of_gpu:
        return resources.num_workers * resources.gpus_per_worker or 1
    return resources.num_workers * resources.threads


def calibrated_rate(point: Point, facts: DatasetFacts, device: torch.device) -> Rate:
    """Time a few steps of a point's towers on drawn inputs; weights are drawn too."""
    spec, inputs = point.spec, inputs_of(point.spec, facts)
    per_specimen = sum(cost.step_flops for cost in towers_of(spec, facts))
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
    seconds = _core_seconds(step)
    return Rate(count * per_specimen / seconds, f"of a core, measured in a few steps of '{point.label}'", of_gpu=False)


def _core_seconds(work: Callable[[], None]) -> float:
    """Mean time of a core, behind one untimed: that other programs are busy does not count."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        work()
        began = time.process_time()
        for _ in range(_REPEATS):
            work()
        return (time.process_time() - began) / _REPEATS
    finally:
        torch.set_num_threads(threads)
