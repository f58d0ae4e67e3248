"""What the towers of a spec cost: tokens, parameters, operations, bytes and time (CLIBD, Appendix D.4).

Operations are counted by torch on its `meta` device, where tensors have shapes and no numbers: the paper's towers take
neither memory nor weights. One multiply-add (MAC) is two operations (FLOP).
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from workloads.data.specimens import barcode
from workloads.models.clibd import TowerInputs, build_model
from workloads.placement import device_name, kernels, matrix_products
from workloads.spec import MODALITIES, ExperimentSpec, Modality

BERT_VOCABULARY = 30_522
"""Word pieces of the paper's text tower."""
BARCODE_BASES = barcode.MAX_BASES
NUM_LABELLED = 84_450
"""Samples of BIOSCAN-1M with a species, by which D.4 counts bytes."""
BATCH = 500
"""Samples of the batch by which D.4 counts operations and time."""
CPU_BATCH = 4
"""Samples of a timed batch where there is no GPU: 500 take a CPU minutes."""
_CLIP_CONTEXT = 77
_COUNTED = 2  # samples; batch normalisation needs two


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerCost:
    """What one tower takes of a sample."""

    modality: Modality
    tokens: int | None
    """Positions that it attends between; None where it has none."""
    parameters: int
    forward_flops: float
    """Operations of a forward pass, a sample."""
    step_flops: float
    """Operations of a forward and a backward pass, a sample."""

    @property
    def forward_macs(self) -> float:
        """Multiply-adds of a forward pass, a sample: what the paper calls FLOPS."""
        return self.forward_flops / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerTime:
    """How long one tower takes to embed a batch."""

    modality: Modality
    precision: str
    batch_size: int
    seconds: float
    """Median over the repeats, each between two waits for the device."""


def tower_costs(spec: ExperimentSpec, inputs: TowerInputs) -> list[TowerCost]:
    """Count what each tower of a spec takes; nothing is computed.

    Args:
        spec: the experiment; what it leaves frozen has no gradients to count.
        inputs: what its data set adds to the shapes.
    """
    with torch.device("meta"):
        model = build_model(spec, inputs, pretrained=False)
    return [_cost(spec, inputs, name, model.towers[name]) for name in spec.modalities]


def _cost(spec: ExperimentSpec, inputs: TowerInputs, modality: Modality, tower: nn.Module) -> TowerCost:
    batch = drawn_inputs(spec, inputs, modality, _COUNTED, torch.device("meta"))
    # Fused attention is counted in another way; as plain products it is the same operations.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        embedded: Tensor = tower(batch)
        forward = counter.get_total_flops()
        embedded.sum().backward()
    return TowerCost(
        modality=modality,
        tokens=num_tokens(spec, modality, tower),
        parameters=sum(parameter.numel() for parameter in tower.parameters()),
        forward_flops=forward / _COUNTED,
        step_flops=counter.get_total_flops() / _COUNTED,
    )


def num_tokens(spec: ExperimentSpec, modality: Modality, tower: nn.Module) -> int | None:
    """Positions that a tower attends between, None for networks without attention; labels at their longest."""
    if modality == "text":
        return _CLIP_CONTEXT if spec.text.kind == "openclip" else spec.text.max_tokens
    if modality == "dna":
        # DNABERT-2's byte pairs cover about five bases, as the 5-mers do.
        return barcode.NUM_TOKENS if spec.dna.kind in ("barcodebert", "dnabert2") else None
    trunk: Any = getattr(tower, "trunk", None)
    if spec.image.kind == "timm" and hasattr(trunk, "blocks") and hasattr(trunk, "num_prefix_tokens"):
        return int(trunk.num_prefix_tokens + trunk.patch_embed.num_patches)
    if spec.image.kind == "openclip" and hasattr(trunk, "positional_embedding"):
        return int(trunk.positional_embedding.shape[0])
    return None


def drawn_inputs(
    spec: ExperimentSpec, inputs: TowerInputs, modality: Modality, count: int, device: torch.device
) -> Tensor:
    """A batch of what a tower takes, drawn at random; labels are of the longest length."""

    def ids(length: int, low: int, high: int) -> Tensor:
        return torch.randint(low, high, (count, length), device=device)

    if modality == "image":
        if spec.image.kind == "features":
            return torch.randn(count, inputs.image_feature_size or 0, device=device)
        size = (count, 3, spec.image.image_size, spec.image.image_size)
        return torch.randint(0, 256, size, dtype=torch.uint8, device=device)
    if modality == "dna":
        if spec.dna.kind == "features":
            return torch.randn(count, inputs.dna_feature_size or 0, device=device)
        if spec.dna.kind == "cnn":
            return ids(barcode.MAX_BASES, 0, barcode.UNCERTAIN_BASE)
        return ids(barcode.NUM_TOKENS, barcode.FIRST_KMER_ID, barcode.VOCABULARY_SIZE)
    length = _CLIP_CONTEXT if spec.text.kind == "openclip" else spec.text.max_tokens
    return ids(length, inputs.pad_id + 1, inputs.vocabulary_size)


def tower_times(
    spec: ExperimentSpec,
    inputs: TowerInputs,
    batch_size: int,
    device: torch.device,
    precisions: Iterable[str] = ("fp32",),
    repeats: int = 5,
) -> list[TowerTime]:
    """Time each tower of a spec on drawn inputs that are on the device already; its weights are drawn too.

    Args:
        spec: the experiment.
        inputs: what its data set adds to the shapes.
        batch_size: samples embedded at once.
        device: where.
        precisions: `fp32`, and `bf16` where the towers run under autocast; an evaluation's is its recipe's.
        repeats: timed passes, behind one that is not.
    """
    model = build_model(spec, inputs, pretrained=False).to(device).eval()
    times = []
    for modality in spec.modalities:
        batch = drawn_inputs(spec, inputs, modality, batch_size, device)
        for precision in precisions:
            with torch.inference_mode(), matrix_products(precision), kernels(device, precision):
                seconds = median_seconds(partial(model.towers[modality], batch), device, repeats)
            times.append(TowerTime(modality=modality, precision=precision, batch_size=batch_size, seconds=seconds))
    return times


def median_seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median wall time of a piece of work, behind one untimed; the device is waited for before and after each."""
    work()
    taken = []
    for _ in range(repeats):
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        taken.append(time.perf_counter() - started)
    return median(taken)


def _wait(device: torch.device) -> None:
    """Without this, what is timed on a GPU is the launch of its kernels."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def barcode_bytes(bases: int, bits: int) -> int:
    """Bytes of a barcode: 8 bits a base as text, or 2 where all bases are A, C, G or T."""
    return math.ceil(bases * bits / 8)


def label_bytes(labels: Iterable[str]) -> float:
    """Mean bytes of labels in UTF-8, 0 without any."""
    lengths = [len(label.encode()) for label in labels]
    return mean(lengths) if lengths else 0.0


# --- As D.4 lists them --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cost:
    """One number, in plain counts, operations, bytes or seconds."""

    modality: str
    """Or `all` of them together."""
    quantity: str
    value: float | None
    """None: not measured, and `how` says why."""
    how: str = ""
    """How it came about, where that is no counting: device, precision and batch of a time."""


def list_costs(
    spec: ExperimentSpec,
    inputs: TowerInputs,
    batch_size: int,
    device: torch.device,
    labels: Sequence[str] = (),
    labels_are: str = "",
) -> list[Cost]:
    """Everything that the towers of a spec cost, by modality.

    Args:
        spec: the experiment.
        inputs: what its data set adds to the shapes.
        batch_size: samples of a timed batch.
        device: where it is timed.
        labels: of specimens with a species, whose bytes are counted; none where there is no data set to look at.
        labels_are: whose they are, in words.
    """
    found = [*_counted(tower_costs(spec, inputs)), *_timed(spec, inputs, batch_size, device)]
    if "dna" in spec.modalities and spec.dna.kind != "features":
        found += _stored("dna", {"": barcode_bytes(BARCODE_BASES, 8), "_2bit": barcode_bytes(BARCODE_BASES, 2)})
    if "text" in spec.modalities and not labels:
        found.append(Cost("text", "bytes_of_labelled", None, "not measured; --data DIR does"))
    elif "text" in spec.modalities:
        found += _stored("text", {"": label_bytes(labels)}, f"mean of {len(labels):,} {labels_are}")
    order = [*MODALITIES, "all"]
    return sorted(found, key=lambda cost: order.index(cost.modality))


def _counted(costs: Sequence[TowerCost]) -> Iterator[Cost]:
    for cost in costs:
        if cost.tokens is not None:
            yield Cost(cost.modality, "tokens", cost.tokens)
        yield Cost(cost.modality, "parameters", cost.parameters)
        yield Cost(cost.modality, "forward_flops", cost.forward_flops)
        yield Cost(cost.modality, "step_flops", cost.step_flops)
        yield Cost(cost.modality, "macs_per_500", BATCH * cost.forward_macs)
    for quantity in ("parameters", "forward_flops", "step_flops"):
        yield Cost("all", quantity, sum(getattr(cost, quantity) for cost in costs))


def _timed(spec: ExperimentSpec, inputs: TowerInputs, batch_size: int, device: torch.device) -> Iterator[Cost]:
    """Times as they were measured; those of a batch of 500 are no multiple of a smaller one's."""
    on_gpu = device.type == "cuda"
    quantity = "seconds_per_500" if batch_size == BATCH else "seconds_per_batch"
    samples = "" if batch_size == BATCH else f"{batch_size} samples, "
    precisions = ("fp32", "bf16") if on_gpu else ("fp32",)
    for taken in tower_times(spec, inputs, batch_size, device, precisions, 5 if on_gpu else 3):
        yield Cost(taken.modality, quantity, taken.seconds, f"{samples}{taken.precision}, {device_name(device)}")
    if batch_size != BATCH:
        for modality in spec.modalities:
            yield Cost(modality, "seconds_per_500", None, f"not measured; --batch {BATCH} does")


def _stored(modality: str, sizes: dict[str, float], how: str = "") -> Iterator[Cost]:
    for suffix, size in sizes.items():
        yield Cost(modality, f"bytes_per_sample{suffix}", size, how)
        yield Cost(modality, f"bytes_of_labelled{suffix}", NUM_LABELLED * size, how)
