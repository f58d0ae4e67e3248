"""What decides the last bits of a run's numbers beside its spec: machine, threads, libraries, and how work is cut.

It is kept in the provenance. A run that goes on under other circumstances says so, and its provenance keeps when.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from workloads.continued import changes, words
from workloads.execution import Execution
from workloads.placement import Placement, device_name
from workloads.record import RunFolder, provenance

_SETTINGS = (
    *("OMP_NUM_THREADS", "OMP_DYNAMIC", "MKL_NUM_THREADS", "MKL_CBWR", "MKL_DYNAMIC", "OPENBLAS_NUM_THREADS"),
    *("CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "ATEN_CPU_CAPABILITY"),
    *("ONEDNN_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "MKL_ENABLE_INSTRUCTIONS", "NCCL_ALGO", "NCCL_PROTO"),
)
"""Of the environment, those that change kernels, or the order in which they add."""
_VERSION = re.compile(r"\d+\.[\d.]+")
_BESIDE = (
    *("torchvision", "pillow", "simplejpeg", "opencv-python-headless", "tokenizers", "safetensors"),
    *("scipy", "scikit-learn", "nvidia-cudnn-cu12", "nvidia-cublas-cu12", "nvidia-nccl-cu12", "triton"),
)
"""Packages beside those of every provenance: they decode pixels, cut words, or compute floors."""


def circumstances(placement: Placement, **more: Any) -> dict[str, Any]:
    """Those of this process, as plain values by name.

    Args:
        placement: this worker's.
        more: what is known of the work, such as how a batch is cut.
    """
    made = provenance([])
    installed = {package.metadata["Name"].lower(): package.version for package in metadata.distributions()}
    packages = {name: version for name, version in made["packages"].items() if version}
    packages |= {name: installed[name] for name in _BESIDE if name in installed}
    return {
        "device": device_name(placement.device),
        **_of_gpu(placement.device),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "mkl": torch.backends.mkl.is_available(),
        "onednn": torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "workers": placement.num_workers,
        **more,
        **{name: os.environ[name] for name in _SETTINGS if name in os.environ},
        "python": made["python"],
        "code": made["code"],
        **packages,
    }


def _of_gpu(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {}
    cudnn = torch.backends.cudnn
    return {
        "capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
        "cuda": torch.version.cuda,
        "driver": _driver(),
        "cudnn": cudnn.version(),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())),
        "cudnn_benchmark": cudnn.benchmark,
        "cudnn_deterministic": cudnn.deterministic,
        "attention": "flash" if torch.backends.cuda.flash_sdp_enabled() else "math",
    }


def _driver() -> str | None:
    """NVIDIA's, as the kernel says it."""
    try:
        return _VERSION.search(Path("/proc/driver/nvidia/version").read_text())[0]  # type: ignore[index]
    except (OSError, TypeError):
        return None


def of_training(placement: Placement, execution: Execution, precision: str) -> dict[str, Any]:
    """Those of a training; into how many chunks its batches are cut, checkpoints and the status say."""
    how = {"checkpoint_blocks": execution.checkpoint_blocks, "compile": execution.compile}
    return circumstances(placement, precision=precision, **how)


def keep(run: RunFolder, step: int, now: Mapping[str, Any], say: Callable[[str], None] | None = None) -> None:
    """Write them into a run's provenance, and beside, if it goes on under others, what has changed.

    Args:
        run: begun.
        step: steps that are done; at 0 the run begins anew.
        now: the present ones.
        say: told in a sentence what has changed; by default stderr is.
    """
    kept = run.folder.read_json("provenance.json")
    before, continued = kept.get("circumstances", {}) if step else {}, kept.get("continued", []) if step else []
    if before and (changed := changes(before, now)):
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        continued = [*continued, {"step": step, "when": when, "changed": changed}]
        (say or _to_stderr)(words(step, changed))
    beside = {"continued": continued} if continued else {}
    rest = {name: value for name, value in kept.items() if name not in ("circumstances", "continued")}
    run.folder.write_json("provenance.json", {**rest, "circumstances": dict(now), **beside})


def _to_stderr(sentence: str) -> None:
    print(sentence, file=sys.stderr)
