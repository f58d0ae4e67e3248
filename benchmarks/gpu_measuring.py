"""How the GPU benchmark measures: its scale, its clock, its memory and its batches.

Times are wall times between two waits for the device.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarks.authors_path import Sizes, drawn_batch

Figures = dict[str, Any]
_DRAWN = 512  # specimens really drawn; larger batches repeat them, which costs the device the same


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How large everything is; the defaults are for a data-centre GPU."""

    sizes: Sizes = field(default_factory=Sizes)
    matrix: int = 8192
    copied: int = 4 << 30
    """Bytes of the buffer whose copy gives the memory bandwidth."""
    compared: tuple[int, ...] = (200, 500)
    """Batches at which our step meets the authors'."""
    steps: int = 5
    """Timed steps of a side before the other has its turn."""
    rounds: int = 4
    precise: int = 200
    """Batch at which fp32 and TF32 are tried."""
    micro_batch: int = 512
    cached: tuple[int, ...] = (2000, 8192, 32768)
    """Batches of a step with gradient caching."""
    largest_cached: int = 131072
    first_tried: int = 256
    largest_tried: int = 16384
    loss_rows: int = 32768
    records: int = 33000
    queries: int = 11830
    """How many of the records ask; the others are the keys (validation of BIOSCAN-1M)."""


class Deadline:
    """What is left of a stretch of time, seconds."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Negative when it is over."""
        return self._end - time.monotonic()


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device, repeats: int = 1) -> float:
    """Mean wall time of a piece of work."""
    wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    wait(device)
    return (time.perf_counter() - started) / repeats


def free_memory(device: torch.device) -> None:
    """Give back what nothing holds, and forget the peaks."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peaks(device: torch.device) -> Figures:
    """Peak memory since `free_memory`, GB; the paper gives the sum of the two, which counts some of it twice."""
    if device.type != "cuda":
        return {}
    allocated = torch.cuda.max_memory_allocated(device) / 1e9
    reserved = torch.cuda.max_memory_reserved(device) / 1e9
    return {"allocated_gb": allocated, "reserved_gb": reserved, "papers_sum_gb": allocated + reserved}


def held_batch(sizes: Sizes, batch_size: int, device: torch.device) -> dict[str, Tensor]:
    """A batch of any size in host memory, pinned where there is a GPU to copy it to."""
    drawn = drawn_batch(sizes, min(batch_size, _DRAWN))
    held: dict[str, Tensor] = {}
    for name, values in drawn.items():
        whole = torch.empty((batch_size, *values.shape[1:]), dtype=values.dtype, pin_memory=device.type == "cuda")
        for start in range(0, batch_size, len(values)):
            part = whole[start : start + len(values)]
            part.copy_(values[: len(part)])
        held[name] = whole
    return held


def fastest(
    sides: Mapping[str, Callable[[], object]], scale: Scale, device: torch.device, deadline: Deadline
) -> dict[str, float]:
    """Seconds per step of each side in its best round; they take turns, and each turn begins with an untimed step."""
    best = dict.fromkeys(sides, float("inf"))
    for number in range(scale.rounds):
        if number and deadline.left() < 0:
            break
        for name, step in sides.items():
            free_memory(device)
            step()
            best[name] = min(best[name], seconds_of(step, device, scale.steps))
    return best
