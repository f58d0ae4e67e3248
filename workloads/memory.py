"""Memory that a machine, or the container around a process, can give, and how torch takes that of a GPU."""

import os
from pathlib import Path

import psutil


def available_bytes(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory that this machine can give, within the limit of the container, if there is one.

    Args:
        groups: where the container's limits are.
    """
    of_machine: int = psutil.virtual_memory().available
    return max(0, min([of_machine, *_available_in_container(groups)]))


def _available_in_container(groups: Path) -> list[int]:
    """By the files of control groups, version 2 and 1; what can be dropped from the page cache is available."""
    available = []
    for limit, usage, statistics, droppable in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        if not (groups / limit).exists() or (text := (groups / limit).read_text().strip()) == "max":
            continue
        cached = dict(line.split() for line in (groups / statistics).read_text().splitlines())
        available.append(int(text) - int((groups / usage).read_text()) + int(cached[droppable]))
    return available


def let_segments_grow() -> None:
    """Have torch's allocator on a GPU grow the pieces that it has, unless the environment has settings of its own.

    Byte pairs make batches of unlike widths, and what was freed by one of them would else be too small for the next.
    Read when CUDA starts, so called before.
    """
    if not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & os.environ.keys():
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
