"""The first thing to run on a new GPU: what is there, whether it computes rightly, and how fast it trains.

    python -m benchmarks.first_light DATA --out DIR    under four minutes on a GPU; no Ray, no network
    python -m benchmarks.first_light --out DIR         the same on SYNTHETIC insects

Every part is a line of JSON, printed and kept in DIR when it is done. The towers are the paper's with drawn weights;
without a GPU they are small, and everything takes seconds. `docs/gpu.md` says what each figure would mean.
"""

import argparse
import importlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache, partial
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.parts import Figures, Part, chosen, run_parts
from workloads.execution import Execution

if TYPE_CHECKING:
    from benchmarks.stage import Stage

SECONDS = 220.0
NEEDED = {
    "torch": "torch",
    "transformers": "transformers",
    "timm": "timm",
    "pyarrow": "pyarrow",
    "cv2": "opencv-python-headless",
    "simplejpeg": "simplejpeg",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "tokenizers": "tokenizers",
    "obstore": "obstore",
    "rich": "rich",
    "joblib": "joblib",
    "psutil": "psutil",
    "scipy": "scipy",
}
"""Modules that the parts import, and the packages that have them; of these a machine with torch often lacks some."""
OPTIONAL = {"peft": "peft", "faiss": "faiss-cpu"}
"""Of `benchmarks.gpu`: LoRA, and the search of an evaluation."""


def parts(data: str | None, scratch: Path) -> dict[str, Part]:
    """All parts in the order of their worth; what they need is imported when the first of them runs."""

    @cache
    def stage() -> "Stage":
        from benchmarks.stage import Stage

        return Stage(data, scratch)

    def check(name: str) -> Figures:
        figures: Figures = getattr(importlib.import_module("benchmarks.first_checks"), name)(stage())
        return figures

    return {
        "machine": machine,
        "matrix_product": lambda: {**stage().about, "bf16_teraflops": stage().teraflops, "gflop": stage().gflop},
        "gradients": partial(check, "gradients"),
        "replay": partial(check, "replay"),
        "training": lambda: stage().trained(stage().sizes.batch, profiled=True),
        "large": lambda: stage().trained(stage().sizes.large, profiled=True),
        "large_checkpointed": lambda: stage().trained(stage().sizes.large, Execution(checkpoint_blocks=True)),
        "checkpoint": partial(check, "checkpoint"),
    }


def machine() -> Figures:
    """Processor, memory, disks, GPU, driver, and the versions of packages; what is missing is named."""
    found: Figures = {
        "host": platform.node(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
        "free_gb": {place: shutil.disk_usage(place).free / 1e9 for place in ("/dev/shm", tempfile.gettempdir())},
        "versions": {name: metadata.version(name) for name in (*NEEDED.values(), *OPTIONAL.values()) if _has(name)},
        "missing": [name for module, name in NEEDED.items() if not util.find_spec(module)],
        "missing_for_benchmarks_gpu": [name for module, name in OPTIONAL.items() if not util.find_spec(module)],
    }
    import torch

    found |= {"cuda": torch.version.cuda, "nccl": torch.distributed.is_nccl_available()}
    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        found |= {"gpu": about.name, "gpu_gb": about.total_memory / 1e9, "capability": [about.major, about.minor]}
        found |= {"gpus": torch.cuda.device_count(), "multiprocessors": about.multi_processor_count}
        found["cudnn"] = torch.backends.cudnn.version()
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit,memory.used", "--format=csv"]
        found["nvidia_smi"] = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
    return found


def _has(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; returns how many failed."""
    asked = argparse.ArgumentParser(
        prog="python -m benchmarks.first_light", description=(__doc__ or "").splitlines()[0]
    )
    asked.add_argument("data", nargs="?", help="prepared data set; without one synthetic insects are drawn")
    asked.add_argument("--out", type=Path, required=True, help="folder of the lines")
    asked.add_argument("--parts", help="only these, as machine,gradients")
    asked.add_argument("--seconds", type=float, default=SECONDS, help="after which no part begins")
    options = asked.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            wanted = chosen(parts(options.data, Path(scratch)), options.parts)
        except ValueError as error:
            asked.error(str(error))
        return run_parts(wanted, options.out / "first_light.jsonl", options.seconds)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
