"""The parts of the GPU benchmark: each measures one thing within its time and returns figures."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.authors_path import AuthorsStep, as_authors_feed
from benchmarks.gpu_measuring import Deadline, Figures, Scale, fastest, free_memory, held_batch, peaks, seconds_of
from benchmarks.our_step import OurStep, gflop_per_sample
from workloads.models.clibd import checkpoint_blocks
from workloads.placement import kernels
from workloads.training.loss import contrastive_loss


def ceiling(scale: Scale, device: torch.device, deadline: Deadline) -> Figures:
    """What the device can do: bf16 matrix products, the largest and those of the towers, and copies."""
    batch, sizes = scale.compared[-1], scale.sizes
    patches = batch * ((sizes.image_size // sizes.patch_size) ** 2 + 1)
    kmers = batch * sizes.dna_tokens
    shapes = {
        "square": (scale.matrix, scale.matrix, scale.matrix),
        "image_qkv": (patches, sizes.image_width, 3 * sizes.image_width),
        "image_mlp": (patches, sizes.image_width, 4 * sizes.image_width),
        "dna_mlp": (kmers, sizes.dna_width, sizes.dna_hidden_width),
    }
    teraflops = {name: _product_teraflops(shape, device, deadline) for name, shape in shapes.items()}
    source = torch.empty(scale.copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    copy_seconds = seconds_of(partial(target.copy_, source), device, 10)
    return {
        "bf16_teraflops": teraflops,
        "copy_gb_per_second": 2 * scale.copied / copy_seconds / 1e9,  # read and written
        "gflop_per_sample": gflop_per_sample(OurStep(sizes, device), sizes),
    }


def _product_teraflops(shape: tuple[int, int, int], device: torch.device, deadline: Deadline) -> float:
    """The best of a few rounds, on random numbers, which take a GPU more power than zeros."""
    rows, inner, columns = shape
    a = torch.randn(rows, inner, device=device, dtype=torch.bfloat16)
    b = torch.randn(inner, columns, device=device, dtype=torch.bfloat16)
    work = partial(torch.matmul, a, b)
    seconds_of(work, device, 3)
    best = float("inf")
    for _ in range(4):
        best = min(best, seconds_of(work, device, 10))
        if deadline.left() < 0:
            break
    return 2 * rows * inner * columns / best / 1e12


def compared(scale: Scale, device: torch.device, deadline: Deadline) -> Figures:
    """Our step beside the authors' in bf16, as published and without anomaly mode.

    Batches come from host memory on both sides: ours as pinned bytes, theirs as fp32 in ordinary memory.
    """
    ours, theirs = OurStep(scale.sizes, device), AuthorsStep(scale.sizes, device)
    found: Figures = {}
    for number, batch_size in enumerate(scale.compared, start=1):
        batch = held_batch(scale.sizes, batch_size, device)
        fed = as_authors_feed(batch)
        sides: dict[str, Callable[[], object]] = {
            "ours": partial(ours.step, batch),
            "published": partial(theirs.step, fed),
            "published_without_anomaly_mode": partial(theirs.step, fed, anomaly=False),
        }
        mine = Deadline(deadline.left() * number / len(scale.compared))
        seconds = fastest(sides, scale, device, mine)
        found[str(batch_size)] = {
            "seconds_per_step": seconds,
            "samples_per_second": {name: batch_size / value for name, value in seconds.items()},
            "speedup_over_published": seconds["published"] / seconds["ours"],
            "speedup_without_anomaly_mode": seconds["published_without_anomaly_mode"] / seconds["ours"],
        }
    return found


def precisions(scale: Scale, device: torch.device, deadline: Deadline) -> Figures:
    """Our step in bf16, fp32 and TF32: time and memory of each."""
    ours, found = OurStep(scale.sizes, device), {}
    batch = held_batch(scale.sizes, scale.precise, device)
    ours.step(batch)
    for precision in ("bf16", "tf32", "fp32"):
        if deadline.left() < 0:
            break
        free_memory(device)
        ours.step(batch, precision)
        seconds = seconds_of(partial(ours.step, batch, precision), device, scale.steps)
        found[precision] = {"samples_per_second": scale.precise / seconds, **peaks(device)}
    return {"batch_size": scale.precise, **found}


def compiled(scale: Scale, device: torch.device, deadline: Deadline, backend: str = "inductor") -> Figures:
    """Our step eager and with towers that torch has compiled, which takes minutes and is not broken off from inside."""
    ours, batch_size = OurStep(scale.sizes, device), scale.compared[-1]
    batch = held_batch(scale.sizes, batch_size, device)
    ours.step(batch)
    eager = seconds_of(partial(ours.step, batch), device, scale.steps)
    for tower in ours.model.towers.values():
        tower.compile(backend=backend)
    first = seconds_of(partial(ours.step, batch), device)
    ours.step(batch)
    seconds = seconds_of(partial(ours.step, batch), device, scale.steps)
    return {
        "batch_size": batch_size,
        "eager_samples_per_second": batch_size / eager,
        "compiled_samples_per_second": batch_size / seconds,
        "speedup": eager / seconds,
        "first_step_seconds": first,
    }


def largest_batches(scale: Scale, device: torch.device, deadline: Deadline) -> Figures:
    """The largest batch in one piece, and with the inside of each block computed again."""
    found: Figures = {}
    modes: tuple[Literal["direct", "checkpointed"], ...] = ("direct", "checkpointed")
    for number, mode in enumerate(modes, start=1):
        ours = OurStep(scale.sizes, device)
        if mode == "checkpointed":
            checkpoint_blocks(ours.model)
        mine = Deadline(deadline.left() * number / len(modes))
        ours.step(held_batch(scale.sizes, 2, device))  # the optimiser's memory counts too
        found[mode] = _largest(ours, scale, device, mine)
        del ours
        free_memory(device)
    return found


def _largest(ours: OurStep, scale: Scale, device: torch.device, deadline: Deadline) -> Figures:
    """By doubling until one is refused, then by halving the distance to within a sixteenth."""
    fitted: Figures = {}
    refused = None
    trial = scale.first_tried
    while deadline.left() > 0 and trial <= scale.largest_tried:
        batch = held_batch(scale.sizes, trial, device)
        free_memory(device)
        try:
            seconds = seconds_of(partial(ours.step, batch), device)
            fitted = {"batch_size": trial, "samples_per_second": trial / seconds, **peaks(device)}
        except torch.OutOfMemoryError:
            refused = trial
        ours.optimizer.zero_grad(set_to_none=True)
        low = int(fitted.get("batch_size", 0))
        trial = 2 * low if refused is None else (low + refused) // 2
        if refused is not None and refused - low <= max(low // 16, 1):
            break
    return {**fitted, "refused_batch_size": refused}


def cached(scale: Scale, device: torch.device, deadline: Deadline) -> Figures:
    """A step with gradient caching at growing batches, as long as there is time for the next one; and its loss."""
    ours = OurStep(scale.sizes, device)
    ours.cached_step(held_batch(scale.sizes, 2 * scale.micro_batch, device), scale.micro_batch)
    found: Figures = {"micro_batch": scale.micro_batch, "loss_seconds": _loss_seconds(scale, device)}
    batch_sizes = list(scale.cached)
    while batch_sizes[-1] < scale.largest_cached:
        batch_sizes.append(2 * batch_sizes[-1])
    per_sample = 0.0
    for batch_size in batch_sizes:
        if deadline.left() < per_sample * batch_size:
            found["left_out"] = f"{batch_size}: no time"
            break
        batch = held_batch(scale.sizes, batch_size, device)
        free_memory(device)
        seconds = seconds_of(partial(ours.cached_step, batch, scale.micro_batch), device)
        per_sample = 1.2 * seconds / batch_size  # with the drawing of the batch
        found[str(batch_size)] = {
            "seconds_per_step": seconds,
            "samples_per_second": batch_size / seconds,
            **peaks(device),
        }
    return found


def _loss_seconds(scale: Scale, device: torch.device) -> Figures:
    """The loss of many unit rows by itself, forward and backward."""
    size = scale.sizes.embedding_size
    rows = {
        name: F.normalize(torch.randn(scale.loss_rows, size, device=device), dim=-1).requires_grad_()
        for name in ("image", "dna", "text")
    }
    log_scale = torch.zeros((), device=device, requires_grad=True)

    def work() -> None:
        contrastive_loss(rows, log_scale.exp()).backward()

    work()
    free_memory(device)
    return {"batch_size": scale.loss_rows, "seconds": seconds_of(work, device), **peaks(device)}


def evaluation(scale: Scale, device: torch.device, deadline: Deadline) -> Figures:
    """Embed every record in three modalities in bf16, then find the five nearest keys for all nine pairs in fp32."""
    ours = OurStep(scale.sizes, device)
    ours.model.eval()
    records = held_batch(scale.sizes, scale.records, device)
    embedded: dict[str, Tensor] = {}

    def embed(count: int) -> None:
        chunks: list[dict[str, Tensor]] = []
        with torch.inference_mode(), kernels(device, "bf16"):
            for start in range(0, count, scale.micro_batch):
                part = {name: values[start : start + scale.micro_batch] for name, values in records.items()}
                moved = {name: values.to(device, non_blocking=True) for name, values in part.items()}
                chunks.append(ours.model(moved)[0])
        embedded.update({name: torch.cat([chunk[name] for chunk in chunks]) for name in records})

    def search() -> None:
        for query in records:
            for key in records:
                nearest_five(embedded[query][: scale.queries], embedded[key][scale.queries :])

    embed(min(scale.micro_batch, scale.records))
    free_memory(device)
    embed_seconds = seconds_of(lambda: embed(scale.records), device)
    search_seconds = seconds_of(search, device)
    return {
        "records": scale.records,
        "embed_seconds": embed_seconds,
        "records_per_second": scale.records / embed_seconds,
        "nine_retrievals_seconds": search_seconds,
        **peaks(device),
    }


def nearest_five(queries: Tensor, keys: Tensor, rows: int = 4096) -> Tensor:
    """Indices of the nearest keys by cosine, exactly, (queries, 5); in fp32, since bf16 changes which is nearest."""
    with torch.inference_mode():
        parts = [(queries[start : start + rows] @ keys.T).topk(5).indices for start in range(0, len(queries), rows)]
        return torch.cat(parts)
