"""What the towers of a spec cost: tokens, parameters, operations, bytes and time (CLIBD, Appendix D.4).

Operations are counted by torch on its `meta` device, where tensors have shapes and no numbers: the paper's towers take
neither memory nor weights. One multiply-add (MAC) is two operations (FLOP).
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from statistics import mean, median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from workloads.data import barcode
from workloads.models.clibd import TowerInputs, build_model
from workloads.spec import ExperimentSpec, Modality
from workloads.training.placement import kernels, matrix_products

BERT_VOCABULARY = 30_522
"""Word pieces of the paper's text tower."""
BARCODE_BASES = barcode.MAX_BASES
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
