"""Training and evaluation on one GPU: how close to its ceiling, how far from the authors' path, how large a batch.

    python -m benchmarks.gpu            under nine minutes; no Ray, no download
    python -m benchmarks.gpu --tiny     the same parts with tiny towers, on any machine, in seconds

Writes JSON after every part, so that what was measured stays when the command is cut off.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.authors_path import Sizes
from benchmarks.gpu_measuring import Deadline, Figures, Scale, free_memory
from benchmarks.gpu_parts import cached, ceiling, compared, compiled, evaluation, largest_batches, precisions
from benchmarks.measuring import publish

TOTAL_SECONDS = 520.0
GOALS = {"share_of_ceiling": 0.4, "stretch_share_of_ceiling": 0.5, "speedup_over_published_at_500": 2.5}

Part = Callable[[Scale, torch.device, Deadline], Figures]
PARTS: dict[str, tuple[Part, float]] = {
    "ceiling": (ceiling, 40),
    "compared": (compared, 110),
    "precisions": (precisions, 40),
    "evaluation": (evaluation, 50),
    "cached": (cached, 100),
    "largest_batches": (largest_batches, 80),
}
"""In the order of their worth, with the seconds after which each stops beginning new measurements."""

TINY = Scale(
    sizes=Sizes(
        image_size=32,
        image_width=24,
        image_depth=2,
        image_heads=2,
        dna_width=24,
        dna_depth=2,
        dna_heads=2,
        dna_hidden_width=48,
        text_vocabulary=60,
        text_width=16,
        text_depth=1,
        text_heads=2,
        text_hidden_width=32,
        embedding_size=16,
    ),
    matrix=64,
    copied=1 << 16,
    compared=(4,),
    steps=1,
    rounds=1,
    precise=4,
    micro_batch=4,
    cached=(8, 12),
    largest_cached=24,
    first_tried=2,
    largest_tried=8,
    loss_rows=32,
    records=20,
    queries=8,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts one after another; returns how many of them failed."""
    asked = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    asked.add_argument("--tiny", action="store_true", help="tiny towers and batches, to try the script itself")
    asked.add_argument("--out", type=Path, help="folder of the JSON file; benchmarks/results by itself")
    asked.add_argument("--seconds", type=float, default=TOTAL_SECONDS, help="time for everything")
    asked.add_argument(
        "--only-compiled", action="store_true", help="print the figures of the last part and nothing else"
    )
    options = asked.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.tiny:
        asked.error("there is no GPU here; --tiny tries the script without one")
    scale = TINY if options.tiny else Scale()
    if options.only_compiled:
        backend = "eager" if options.tiny else "inductor"
        print(json.dumps(compiled(scale, device, Deadline(options.seconds), backend)))
        return 0
    return measure(scale, device, Deadline(options.seconds), options.out, options.tiny)


def measure(scale: Scale, device: torch.device, total: Deadline, out: Path | None, tiny: bool) -> int:
    """Every part that there is time for; a part that fails leaves its message and does not stop the next."""
    spent: dict[str, float] = {}
    failed: dict[str, str] = {}
    figures: Figures = {"tiny": tiny, "goals": GOALS, "seconds_spent": spent, "failed": failed}
    name = "gpu-tiny" if tiny else "gpu"
    for part, (work, seconds) in PARTS.items():
        started = time.monotonic()
        try:
            figures[part] = work(scale, device, Deadline(min(seconds, total.left())))
        except Exception as error:  # one broken part must not cost the others' figures
            failed[part] = f"{type(error).__name__}: {error}"
        spent[part] = time.monotonic() - started
        free_memory(device)
        figures["reached"] = reached(figures)
        publish(name, figures, out, show=False)
    if total.left() > 0 and not tiny:
        figures["compiled"] = compiled_in_a_process_of_its_own(total.left())
        figures["reached"] = reached(figures)
    publish(name, figures, out)
    return len(failed)


def compiled_in_a_process_of_its_own(seconds: float) -> Figures:
    """Compilation cannot be broken off from inside, so it gets a process that can."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--only-compiled"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        printed, _ = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)  # it and the processes that compile for it
        child.wait()
        return {"left_out": f"not done within the {seconds:.0f} seconds that were left"}
    if child.returncode:
        return {"failed": f"exit status {child.returncode}"}
    found: Figures = json.loads(printed.splitlines()[-1])
    return found


def reached(figures: Figures) -> Figures:
    """The figures that goals are about, as far as they are measured: shares of the same run's ceiling, and ratios."""
    found: Figures = {}
    if "ceiling" not in figures:
        return found
    best = figures["ceiling"]["bf16_teraflops"]["square"]
    work = figures["ceiling"]["gflop_per_sample"] / 1000

    def share(rate: float) -> float:
        return float(rate * work / best)

    for batch_size, row in figures.get("compared", {}).items():
        found[f"share_of_ceiling_at_{batch_size}"] = share(row["samples_per_second"]["ours"])
        found[f"speedup_over_published_at_{batch_size}"] = row["speedup_over_published"]
    for batch_size, row in figures.get("cached", {}).items():
        if batch_size.isdigit():  # the work that counts, without what is embedded twice
            found[f"share_of_ceiling_cached_at_{batch_size}"] = share(row["samples_per_second"])
    if "compiled_samples_per_second" in figures.get("compiled", {}):
        found["share_of_ceiling_compiled"] = share(figures["compiled"]["compiled_samples_per_second"])
    return found


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
