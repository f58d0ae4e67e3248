"""Files that somebody else wrote, read in a process of its own that may die of it.

The child has none of this process's environment, and hands over nothing but files.

    read_apart ──▶ python -m MODULE FOLDER WORDS ──▶ FOLDER/facts.json, and what else it has to say
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FACTS = "facts.json"
REFUSAL = "refusal"
_KEPT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")


def read_apart(module: str, folder: Path, *words: str, seconds: float | None = None) -> dict[str, Any]:
    """What a child says of a file, or of several.

    Args:
        module: what the child runs.
        folder: empty; the child leaves there what it read, and its facts.
        words: its further arguments, such as the absolute path of the file.
        seconds: after which it is ended.

    Returns:
        The facts. If it refuses the file, or dies, they have the key `refusal`, with the reason.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    root = str(Path(__file__).parents[1])
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, str(folder), *words],
            env={**kept, "PYTHONPATH": root, "CUDA_VISIBLE_DEVICES": "", "OPENBLAS_NUM_THREADS": "1"},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return {REFUSAL: f"reading it took more than {seconds:g} s"}
    if done.returncode != 0 or not (folder / FACTS).is_file():
        last = (done.stderr.strip() or "no word").splitlines()[-1]
        return {REFUSAL: f"reading it ended with status {done.returncode} ({last})"}
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text())
    return facts
