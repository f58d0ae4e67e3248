"""Peak memory and processor time of a piece of work, in a process of its own."""

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_OWN = Path("/proc/self")


def in_own_process(module: str, *arguments: object, return_memory: bool = False) -> dict[str, Any]:
    """What `python -m module arguments` prints as JSON.

    Args:
        module: of the program.
        arguments: its arguments.
        return_memory: have the C library give all but small blocks back as they are freed, so that the peak is what is
            in use and not what its heap has kept; slower.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = {**os.environ, **({"MALLOC_MMAP_THRESHOLD_": "65536"} if return_memory else {})}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def peak_and_seconds(work: Callable[[], object]) -> dict[str, float]:
    """Megabytes by which memory rises above what it was before, at most, and processor seconds."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the system; else work would take it uncounted
    (_OWN / "clear_refs").write_text("5")  # the peak starts anew
    before, started = _kilobytes("VmRSS"), time.process_time()
    work()
    return {"seconds": time.process_time() - started, "extra_peak_mb": (_kilobytes("VmHWM") - before) / 1024}


def _kilobytes(name: str) -> int:
    for line in (_OWN / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise KeyError(name)
