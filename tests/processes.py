"""Runs a program several times at once, as workers that meet."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

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
