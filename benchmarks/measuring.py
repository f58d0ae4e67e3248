"""How benchmarks measure on a busy machine, and where they write.

Both sides run in turn in one process, the best of five counts, and time is that of the processor, not of the clock.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workloads.record import provenance

ROUNDS = 5


def best_seconds(sides: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Processor seconds of the best round of each side, the sides taking turns."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, work in sides.items():
            started = time.process_time()
            work()
            best[name] = min(best[name], time.process_time() - started)
    return best


def publish(name: str, figures: Mapping[str, Any], folder: Path | None = None, show: bool = True) -> Path:
    """Write figures as JSON to a file named after benchmark, commit and hardware, and print them.

    Args:
        name: of the benchmark.
        figures: what it measured.
        folder: where the file goes; None: `benchmarks/results`.
        show: whether to print too, which a benchmark that publishes after each of its parts does only at the end.

    Returns:
        The file.
    """
    source = provenance()
    about = {"hardware": hardware(), "commit": source["commit"], "packages": source["packages"]}
    text = json.dumps({**figures, **about}, indent=1)
    out = (folder or Path(__file__).parent / "results") / f"{name}-{source['commit']}-{hardware()}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(text + "\n")
    if show:
        print(text)
    return out


def hardware() -> str:
    """A word for the machine: its accelerator, or processor and cores."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name().replace(" ", "-").lower()
    return f"{platform.machine()}-{os.cpu_count()}cores"
