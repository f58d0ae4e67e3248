"""Measures costs: what towers take in tokens, parameters, operations, bytes and time (CLIBD, Appendix D.4).

Operations are counted by torch on its `meta` device, where tensors have shapes and no numbers: the paper's towers take
neither memory nor weights. One multiply-add (MAC) is two operations (FLOP).
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import mean, median
from typing import Any

import pyarrow.compute as pc
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from workloads.command_line import stderr_console
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens import barcode
from workloads.data.specimens.kmers import num_kmers
from workloads.errors import MissingPathError
from workloads.evaluation.measure import write_evaluation
from workloads.experiments import Data, base_spec
from workloads.models.build import TowerInputs, build_model
from workloads.placement import device_name, kernels, matrix_products, this_device
from workloads.record import RunFolder
from workloads.seals import sealed_folder
from workloads.spec import MODALITIES, ExperimentSpec, Modality
from workloads.storage import Folder

BERT_VOCABULARY = 30_522
"""Word pieces of the paper's text tower."""
_NUM_LABELLED = 84_450
"""Samples of BIOSCAN-1M with a species, by which D.4 counts bytes."""
_BATCH = 500
"""Samples of the batch by which D.4 counts operations and time."""
_CPU_BATCH = 4
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
        tokens=_num_tokens(spec, modality, tower),
        parameters=sum(parameter.numel() for parameter in tower.parameters()),
        forward_flops=forward / _COUNTED,
        step_flops=counter.get_total_flops() / _COUNTED,
    )


def _num_tokens(spec: ExperimentSpec, modality: Modality, tower: nn.Module) -> int | None:
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
    if modality == "image":
        if spec.image.kind == "features":
            return torch.randn(count, inputs.image_feature_size or 0, device=device)
        pixels = (count, 3, spec.image.image_size, spec.image.image_size)
        return torch.randint(0, 256, pixels, dtype=torch.uint8, device=device)
    if modality == "text":
        length = _CLIP_CONTEXT if spec.text.kind == "openclip" else spec.text.max_tokens
        ids = inputs.pad_id + 1, inputs.vocabulary_size
    elif spec.dna.kind == "features":
        return torch.randn(count, inputs.dna_feature_size or 0, device=device)
    elif spec.dna.kind == "kmers":
        num_counts = sum(num_kmers(size, spec.dna.strand) for size in spec.dna.kmers)
        return torch.randint(0, 8, (count, num_counts), device=device).float()
    elif spec.dna.kind == "cnn":
        length, ids = barcode.MAX_BASES, (0, barcode.UNCERTAIN_BASE)
    else:
        length, ids = barcode.NUM_TOKENS, (barcode.FIRST_KMER_ID, barcode.VOCABULARY_SIZE)
    return torch.randint(*ids, (count, length), device=device)


def median_seconds(
    work: Callable[[], object], device: torch.device, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Median time of a piece of work, behind one untimed; the device is waited for before and after each."""
    work()
    taken = []
    for _ in range(repeats):
        _wait(device)
        started = clock()
        work()
        _wait(device)
        taken.append(clock() - started)
    return median(taken)


def _wait(device: torch.device) -> None:
    """Without this, what is timed on a GPU is the launch of its kernels."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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


def measure_costs(
    run: Folder | None, data: Folder | None, target: Folder | None = None, batch_size: int | None = None
) -> list[Cost]:
    """Count and time what the towers of a run take, or the paper's (Appendix D.4).

    Args:
        run: folder of a run; None: the paper's towers.
        data: prepared data set whose labels are measured for storage.
        target: where to write `costs.json`; None: nowhere.
        batch_size: samples of a timed batch; None: 500 on a GPU, 4 without one.

    Raises:
        MissingPathError: there is no run, or no data set.
    """
    spec, inputs = _towers(run)
    device = this_device()
    batch_size = batch_size or (_BATCH if device.type == "cuda" else _CPU_BATCH)
    said = f"Counting operations, then timing batches of {batch_size} on {device_name(device)}"
    stderr_console().print(said)
    labels = _labels(data) if data is not None and "text" in spec.modalities else ([], "")
    costs = _listed(spec, inputs, batch_size, device, *labels)
    if target is not None:
        about = {"dataset": spec.dataset, "data_fingerprint": spec.data_fingerprint, "synthetic": spec.synthetic}
        write_evaluation(target, {**about, "recipe": spec.recipe}, [])
        name = None if run is None else RunFolder(run).id
        target.write_json("costs.json", {"run": name, "costs": [*map(asdict, costs)]})
    return costs


def _listed(
    spec: ExperimentSpec, inputs: TowerInputs, batch_size: int, device: torch.device, labels: Sequence[str], whose: str
) -> list[Cost]:
    """Everything that the towers of a spec cost, by modality; `whose` says of which specimens the labels are."""
    costs = [*_counted(tower_costs(spec, inputs)), *_timed(spec, inputs, batch_size, device)]
    if "dna" in spec.modalities and spec.dna.kind != "features":
        costs += _stored("dna", "", barcode.MAX_BASES)  # as text
        costs += _stored("dna", "_2bit", math.ceil(barcode.MAX_BASES * 2 / 8))  # where all bases are A, C, G or T
    if "text" in spec.modalities and not labels:
        costs.append(Cost("text", "bytes_of_labelled", None, "not measured; --data DIR does"))
    elif "text" in spec.modalities:
        size = mean(len(label.encode()) for label in labels)
        costs += _stored("text", "", size, f"mean of {len(labels):,} {whose}")
    order = [*MODALITIES, "all"]
    return sorted(costs, key=lambda cost: order.index(cost.modality))


def _counted(costs: Sequence[TowerCost]) -> Iterator[Cost]:
    for cost in costs:
        if cost.tokens is not None:
            yield Cost(cost.modality, "tokens", cost.tokens)
        yield Cost(cost.modality, "parameters", cost.parameters)
        yield Cost(cost.modality, "forward_flops", cost.forward_flops)
        yield Cost(cost.modality, "step_flops", cost.step_flops)
        yield Cost(cost.modality, "macs_per_500", _BATCH * cost.forward_flops / 2)  # what the paper calls FLOPS
    for quantity in ("parameters", "forward_flops", "step_flops"):
        yield Cost("all", quantity, sum(getattr(cost, quantity) for cost in costs))


def _timed(spec: ExperimentSpec, inputs: TowerInputs, batch_size: int, device: torch.device) -> Iterator[Cost]:
    """How long each tower takes to embed a batch, of drawn inputs that are on the device already, with drawn weights.

    Times are as they were measured; those of a batch of 500 are no multiple of a smaller one's.
    """
    on_gpu, whole = device.type == "cuda", batch_size == _BATCH
    quantity, samples = ("seconds_per_500", "") if whole else ("seconds_per_batch", f"{batch_size} samples, ")
    model = build_model(spec, inputs, pretrained=False).to(device).eval()
    for modality in spec.modalities:
        work = partial(model.towers[modality], drawn_inputs(spec, inputs, modality, batch_size, device))
        for precision in ("fp32", "bf16")[: 1 + on_gpu]:
            with torch.inference_mode(), matrix_products(precision), kernels(device, precision):
                seconds = median_seconds(work, device, 5 if on_gpu else 3)
            yield Cost(modality, quantity, seconds, f"{samples}{precision}, {device_name(device)}")
    for modality in () if whole else spec.modalities:
        yield Cost(modality, "seconds_per_500", None, f"not measured; --batch {_BATCH} does")


def _stored(modality: str, suffix: str, size: float, how: str = "") -> list[Cost]:
    of_labelled = Cost(modality, f"bytes_of_labelled{suffix}", _NUM_LABELLED * size, how)
    return [Cost(modality, f"bytes_per_sample{suffix}", size, how), of_labelled]


def _towers(run: Folder | None) -> tuple[ExperimentSpec, TowerInputs]:
    if run is None:
        data = Data(name="none", fingerprint="none", synthetic=False, modalities=MODALITIES)
        return base_spec("paper", data, "paper"), TowerInputs(vocabulary_size=BERT_VOCABULARY)
    if not (run.has("spec.json") and run.has("inputs.json")):
        raise MissingPathError(str(run), "run", "Name a run folder of a sweep, RUNS/SWEEP/RUN.")
    return RunFolder(run).spec(), TowerInputs(**sealed_folder(run).read_json("inputs.json")["towers"])


def _labels(data: Folder) -> tuple[list[str], str]:
    """Labels of the specimens with a species, and whose they are."""
    dataset = PreparedDataset(data)
    table = dataset.load(list(dataset.facts.num_specimens), ["text", "species"])
    kind = "labels of SYNTHETIC specimens in" if dataset.facts.synthetic else "labels of"
    return table.filter(pc.is_valid(table["species"]))["text"].to_pylist(), f"{kind} {dataset.facts.name}"
