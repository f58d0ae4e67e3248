"""How benchmarks of a GPU measure: its clock, its memory, its matrix products.

Times are wall times between two waits for the device.
"""

import gc
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch

from benchmarks.parts import Figures


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


def fastest(sides: Mapping[str, Callable[[], object]], device: torch.device, steps: int, rounds: int) -> Figures:
    """Seconds per step of each side in its best round; they take turns, and each turn begins with an untimed step."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, step in sides.items():
            free_memory(device)
            step()
            best[name] = min(best[name], seconds_of(step, device, steps))
    return best


def matrix_teraflops(shape: tuple[int, ...], device: torch.device) -> float:
    """Of a bf16 product of (rows, inner) and (inner, columns): the best of a few rounds, on random numbers, which take
    a GPU more power than zeros."""
    rows, inner, columns = shape
    a = torch.randn(rows, inner, device=device, dtype=torch.bfloat16)
    b = torch.randn(inner, columns, device=device, dtype=torch.bfloat16)
    best = fastest({"product": partial(torch.matmul, a, b)}, device, steps=10, rounds=4)["product"]
    return float(2 * rows * inner * columns / best / 1e12)


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
