"""Runs a program several times at once, as workers that meet; and what one leaves that is killed while it writes."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from workloads import leftovers

PATIENCE = 600
"""Seconds for each of them."""


def run_together(program: Path, arguments: Sequence[Sequence[object]]) -> None:
    """Run a program once with each list of arguments, all at the same time, and wait for them to end well."""
    processes = [
        subprocess.Popen(
            [sys.executable, str(program), *map(str, given)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},  # this checkout, not an installed one
            stderr=subprocess.PIPE,
            text=True,
        )
        for given in arguments
    ]
    try:
        for process in processes:
            _, complaint = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, complaint
    finally:
        for process in processes:
            process.kill()
            process.wait()


def left_behind(path: Path, content: bytes = b"half") -> Path:
    """A half-written file of a process that is gone, beside the place where it would have become a file."""
    program = (
        "import sys, pathlib; from workloads.leftovers import aside_of; print(aside_of(pathlib.Path(sys.argv[1])))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    words = [sys.executable, "-c", program, str(path)]
    left = Path(subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.strip())
    left.write_bytes(content)
    leftovers._tidied.cache_clear()  # who writes there next is another process
    return left
