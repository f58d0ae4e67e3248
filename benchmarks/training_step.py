"""One training step of the paper's three towers: its work, its time and its memory, ours beside the authors'.

    python -m benchmarks.training_step

Counts floating-point operations and autograd nodes, then times a batch of 8 on one thread of the processor, the sides
taking turns. Prints and writes JSON with the goals beside the figures. Takes about five minutes.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.authors_path import AuthorsStep, Sizes, as_authors_feed, drawn_batch
from benchmarks.measuring import best_seconds, publish
from benchmarks.our_step import GFLOP_PER_SAMPLE, OurStep, gflop_per_sample
from benchmarks.peak_memory import in_own_process
from workloads.training.loss import contrastive_loss

BATCH_SIZE = 8
GOALS = {
    "gflop_per_sample": (round(GFLOP_PER_SAMPLE * 0.995, 2), round(GFLOP_PER_SAMPLE * 1.005, 2)),
    "autograd_nodes_at_most": 2300,
    "speedup_over_published_bf16": 1.6,
    "speedup_over_published_fp32": 3.0,
}
SIDES = ("ours_bf16", "published_bf16", "published_fp32")
_CPU = torch.device("cpu")


def main() -> None:
    """Measure everything, or in a child process the memory of one side."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--out", type=Path, help="folder of the JSON file; benchmarks/results by itself")
    asked.add_argument("--memory-of", choices=SIDES, help="only train two steps of one side and print its peak")
    options = asked.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        print(json.dumps({"peak_gb": peak_memory(options.memory_of)}))
        return
    # A process keeps what it once took, so the memory of each side is that of a process of its own.
    peaks = {side: in_own_process("benchmarks.training_step", "--memory-of", side)["peak_gb"] for side in SIDES}
    seconds = timed(options.rounds)
    figures = {
        "batch_size": BATCH_SIZE,
        "threads": torch.get_num_threads(),
        "rounds": options.rounds,
        "goals": GOALS,
        **counted(),
        "processor_seconds_per_step": seconds,
        "speedup_over_published_bf16": seconds["published_bf16"] / seconds["ours_bf16"],
        "speedup_over_published_fp32": seconds["published_fp32"] / seconds["ours_bf16"],
        "peak_resident_gb": peaks,
    }
    publish("training_step", figures, options.out)


def counted() -> dict[str, float]:
    """Operations of a sample, forward and backward, and nodes of a step's graph; neither depends on the machine.

    The nodes are those with the fused attention of a GPU, whose host they occupy, and those with the plain attention
    of a processor.
    """
    ours = OurStep(Sizes(), _CPU)
    batch = drawn_batch(Sizes(), 2)
    plain = num_autograd_nodes(ours.loss(batch, "bf16"))
    gflop = gflop_per_sample(ours.model, batch)
    fuse_attention(ours.model)
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        embedded, scale = ours.model(batch)
    return {
        "gflop_per_sample": gflop,
        "autograd_nodes": num_autograd_nodes(contrastive_loss(embedded, scale)),
        "autograd_nodes_with_plain_attention": plain,
    }


def fuse_attention(model: nn.Module) -> None:
    """Let every tower attend as it does on a GPU; without dropout inside, which a processor's fused kernel lacks."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):  # timm's
            setattr(module, "fused_attn", True)  # noqa: B010 - to mypy every attribute of a module is a tensor
        if callable(choose := getattr(module, "set_attn_implementation", None)):  # transformers'
            choose("sdpa")
        if hasattr(module, "query") and isinstance(dropout := getattr(module, "dropout", None), nn.Dropout):
            dropout.p = 0.0


def num_autograd_nodes(loss: torch.Tensor) -> int:
    """How many functions a backward pass from here runs, those that fill `.grad` included."""
    seen = set()
    waiting = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(following for following, _ in node.next_functions)
    return len(seen)


def steps_of(names: tuple[str, ...]) -> dict[str, Callable[[], object]]:
    """A step of each named side; the two published sides share their towers, which fp32 and bf16 treat alike."""
    batch = drawn_batch(Sizes(), BATCH_SIZE)
    fed = as_authors_feed(batch)
    steps: dict[str, Callable[[], object]] = {}
    if "ours_bf16" in names:
        ours = OurStep(Sizes(), _CPU)
        steps["ours_bf16"] = lambda: ours.step(batch, "bf16")
    if set(names) & {"published_bf16", "published_fp32"}:
        theirs = AuthorsStep(Sizes(), _CPU)
        steps["published_bf16"] = lambda: theirs.step(fed, "bf16")
        steps["published_fp32"] = lambda: theirs.step(fed, "fp32")
    return {name: steps[name] for name in names}


def timed(rounds: int) -> dict[str, float]:
    """Processor seconds of the fastest step of each side, after one that warms up."""
    steps = steps_of(SIDES)
    for step in steps.values():
        step()
    return best_seconds(steps, rounds)


def peak_memory(side: str) -> float:
    """Peak resident memory of this process after two steps of a side, GB."""
    step = steps_of((side,))[side]
    step()
    step()
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024 / 1e9


if __name__ == "__main__":
    main()
