"""Reads a checkpoint that somebody else pickled, in a process of its own.

`torch.load(weights_only=True)` has had holes (CVE-2025-32434, CVE-2026-24747), so it is not the only wall: the file is
opened by a child that has none of this process's environment, may open no connection and start no program, and hands
over nothing but a .safetensors file and a JSON.

    read_checkpoint ──▶ python -m <this module> FOLDER FILE ──▶ tensors.safetensors, facts.json
"""

import hashlib
import json
import pickle
import re
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from workloads.disk_errors import free_at
from workloads.errors import ConversionError, MissingPathError, first_line
from workloads.foreign_file import FACTS, REFUSAL, read_apart

_TENSORS = "tensors.safetensors"
_WRAPPERS = ("state_dict", "model")
"""Names under which training scripts keep a model beside its epoch and optimiser."""
_DISTRIBUTED = "module."
"""What DistributedDataParallel puts before every name."""
_CONFIG = "bert_config"
_FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "urllib.")
"""Audit events that end the child's reading."""

_LARGEST_GROWTH = 4
"""Tensors of a whole file against its bytes; two names of one tensor make it more than 1."""


@dataclass(frozen=True, slots=True)
class ForeignCheckpoint:
    """What was in a file that somebody else wrote."""

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]
    """By name, without the prefix of distributed training; no two share memory."""
    config: Mapping[str, str | int | float | bool]
    """Sizes of a BERT, where the file names them."""
    beside: tuple[str, ...]
    """What else it held and is not looked at, such as an optimiser's state."""


def read_checkpoint(path: Path) -> ForeignCheckpoint:
    """Tensors of a file that `torch.save` wrote.

    Raises:
        MissingPathError: there is no such file.
        ConversionError: it is no such file, holds something else than tensors by name, or would run code.
    """
    if not path.is_file():
        raise MissingPathError(str(path), "file", "Name a checkpoint, or one of the published names.")
    with open(path, "rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    with tempfile.TemporaryDirectory() as scratch:
        facts = read_apart(__name__, Path(scratch), str(path.absolute()))
        if REFUSAL in facts:
            raise ConversionError(str(path), facts[REFUSAL])
        try:
            tensors = load_file(Path(scratch) / _TENSORS)
        except (SafetensorError, OSError) as error:
            raise ConversionError(str(path), f"its tensors cannot be kept ({error})") from error
    return ForeignCheckpoint(path, checksum, tensors, facts["config"], tuple(facts["beside"]))


def refuse_event(event: str, _: object) -> None:
    """Audit hook of the child.

    Raises:
        PermissionError: something wants to reach the network or to start a program.
    """
    if event.startswith(_FORBIDDEN):
        raise PermissionError(f"it wants to do {event}, which no checkpoint needs")


def keep_tensors(path: Path, scratch: Path) -> None:
    """What the child does: read a file, check it, and write its tensors, or why it is refused, into a folder."""
    try:
        # Files of PyTorch before 1.6 are no zip archives and cannot be mapped.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        tensors, config, beside = _contents(content)
        _check_size(path, tensors)
        own = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
    except Exception as error:  # damaged files fail in every way there is, and the reason is all that is wanted
        facts: dict[str, Any] = {REFUSAL: _reason(error)}
    else:
        facts = {"config": config, "beside": beside} | _written(own, scratch)
    (scratch / FACTS).write_text(json.dumps(facts))


def _written(tensors: dict[str, Tensor], scratch: Path) -> dict[str, str]:
    """Write the tensors; why that cannot be."""
    try:
        save_file(tensors, scratch / _TENSORS)
    except (SafetensorError, OSError) as error:
        wanted = sum(tensor.nbytes for tensor in tensors.values())
        needs = f"{first_line(error)}; {wanted:,} bytes are needed, and {free_at(scratch) or 0:,} are free"
        where = f"its tensors cannot be written to {scratch.parent}"
        return {REFUSAL: f"{where} ({needs}); make room there, or set TMPDIR to another folder"}
    return {}


def _check_size(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A few bytes can claim to be a tensor of any size, all of whose numbers are the same one."""
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > _LARGEST_GROWTH * path.stat().st_size:
        raise ValueError(f"its tensors claim {claimed:,} bytes, which is more than the file can hold")


def _contents(content: Any) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Tensors by plain name, the sizes of a BERT, and the names of what else is there."""
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}, not tensors by name")
    wrapper = next((name for name in _WRAPPERS if isinstance(content.get(name), Mapping)), None)
    config = content.get(_CONFIG) if wrapper else None
    beside = sorted(str(name) for name in content if name not in (wrapper, _CONFIG)) if wrapper else []
    tensors = _plain_names(content[wrapper] if wrapper else content)
    named = config.items() if isinstance(config, Mapping) else ()
    return tensors, {str(name): own for name, own in named if isinstance(own, str | int | float | bool)}, beside


def _plain_names(state: Mapping[Any, Any]) -> dict[str, Tensor]:
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{name!r} in it is a {type(value).__name__}, not a tensor")
        if value.layout is not torch.strided or value.is_quantized or value.is_complex():
            raise ValueError(f"{name} in it is no plain tensor of numbers")
    names = list(state)
    while names and all(name.startswith(_DISTRIBUTED) for name in names):
        names = [name.removeprefix(_DISTRIBUTED) for name in names]
    if not names:
        raise ValueError("there is no tensor in it")
    return dict(zip(names, state.values(), strict=True))


_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


def _reason(error: Exception) -> str:
    """One line out of what PyTorch says in many, without its advice to read the file at any risk."""
    if asked := _GLOBAL.search(str(error)):
        return f"it is a pickle that asks for {asked[1]}, which is no tensor; loading that could run code"
    if isinstance(error, pickle.UnpicklingError):
        return "PyTorch cannot read it (it is no pickle of tensors alone)"
    first = first_line(error)[:300]
    return first if isinstance(error, ValueError | PermissionError) else f"PyTorch cannot read it ({first})"


if __name__ == "__main__":
    sys.addaudithook(refuse_event)
    keep_tensors(Path(sys.argv[2]), Path(sys.argv[1]))
