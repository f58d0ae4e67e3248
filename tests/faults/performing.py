"""What the process of `stage` does when it is asked: read a crafted input, or run a command in a fork of it."""

import importlib
import random
import resource
import shutil
import signal
import time
import traceback
from pathlib import Path
from typing import Any

from workloads.errors import ClibdError, RecordError

LONGEST = 5.0
"""Seconds of a processor in which an input has to be read."""
_NEEDED = {"read": "tests.faults.readers", "run": "tests.faults.forking"}
"""What takes seconds to import; the first that is asked is not to wait for it."""


def perform(asked: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked, and say what came of it."""
    if asked["do"] == "import":
        importlib.import_module(_NEEDED[asked["what"]])
        return {}
    if asked["do"] == "read":
        return _read(asked["reader"], asked["seed"], Path(asked["folder"]))
    from tests.faults.forking import run_forked

    return run_forked(**{name: value for name, value in asked.items() if name not in ("do", "patience")})


def _read(name: str, seed: int | None, folder: Path) -> dict[str, Any]:
    """Make an input and read it; without a seed the sound one.

    Returns:
        `outcome` (`records`, `sentence` or `traceback`), what was `said`, `seconds` of the processor, and `grown`,
        bytes by which the memory has grown beyond what it ever was.
    """
    from tests.faults.mutations import Sound
    from tests.faults.readers import READERS

    _, make, read = READERS[name]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file, content in make(Sound(0) if seed is None else random.Random(seed)).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    before, began = _peak(), time.process_time()
    outcome, said = "records", ""
    signal.setitimer(signal.ITIMER_PROF, 2 * LONGEST)  # ends this process, also within a library that never comes back
    try:
        read(folder)
    except RecordError as error:
        outcome, said = "sentence", f"{type(error).__name__}: {error}"
    except (ClibdError, OSError) as error:
        said = f"{type(error).__name__}: {error} {getattr(error, 'filename', '')}"
        outcome = "sentence" if str(folder) in said else "traceback"  # it has to name the file
    except BaseException:  # such as a panic of a library in Rust
        outcome, said = "traceback", traceback.format_exc()[-3000:]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return {"outcome": outcome, "said": said, "seconds": time.process_time() - began, "grown": _peak() - before}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
