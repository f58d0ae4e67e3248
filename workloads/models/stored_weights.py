"""The trained weights of a run, in one safetensors file: written whole, read back only where they fit."""

import json
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from workloads.errors import DamagedError
from workloads.models.fitting import misfit
from workloads.sealed_folder import read_file
from workloads.storage import Folder

MODEL = "model.safetensors"

Tensors = Mapping[str, Tensor]

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The names that the format gives to types."""


class HostCopy:
    """Memory that holds one content, and is used again for the next.

    The library writes such a content only into local files, or into a second copy during which it keeps every other
    thread waiting. The format is a JSON header behind its length, and then the tensors.
    """

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8)

    @torch.no_grad()
    def take(self, tensors: Mapping[str, Tensor]) -> memoryview:
        """Copy tensors from any device; they may change afterwards.

        Returns:
            The content of the file, good until the next call.
        """
        ordered = dict(sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])))  # all are aligned
        front, starts, size = _layout(ordered)
        devices = {tensor.device for tensor in ordered.values() if tensor.is_cuda}
        memory = self._room(size, pinned=bool(devices))
        memory[: len(front)] = torch.frombuffer(bytearray(front), dtype=torch.uint8)
        for (_, tensor), start in zip(ordered.items(), starts, strict=True):
            place = memory[start : start + tensor.nbytes]
            place.view(tensor.dtype).view(tensor.shape).copy_(tensor, non_blocking=True)
        for device in devices:
            torch.cuda.synchronize(device)
        return memory.numpy().data

    def _room(self, size: int, pinned: bool) -> Tensor:
        if len(self._memory) < size:
            self._memory = torch.empty(0, dtype=torch.uint8)  # gives the old memory back first
            self._memory = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
        return self._memory[:size]


def _layout(tensors: Mapping[str, Tensor]) -> tuple[bytes, list[int], int]:
    """What precedes the tensors, where each begins, and the size of it all, in bytes."""
    header, stop = {}, 0
    for name, tensor in tensors.items():
        start, stop = stop, stop + tensor.nbytes
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": [*tensor.shape], "data_offsets": [start, stop]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    front = len(text).to_bytes(8, "little") + text
    return front, [len(front) + place["data_offsets"][0] for place in header.values()], len(front) + stop


def check_fit(path: str, found: Tensors, expected: Tensors) -> None:
    """Refuse tensors that are not those expected, naming the first.

    Raises:
        DamagedError: one is missing, of no use, or of another shape or type.
    """
    if wrong := misfit(found, expected, types=True):
        raise DamagedError(path, wrong[1])


def save_weights(folder: Folder, model: nn.Module) -> None:
    """Write the model's weights, whole or not at all."""
    folder.write(MODEL, HostCopy().take(model.state_dict()))


def load_weights(folder: Folder, model: nn.Module) -> None:
    """Read weights that `save_weights` wrote for the same spec.

    Raises:
        DamagedError: the file is not there, damaged, or of another model.
    """
    content = read_file(folder, MODEL)
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise DamagedError(f"{folder}/{MODEL}", str(error)) from error
    check_fit(f"{folder}/{MODEL}", tensors, model.state_dict())
    model.load_state_dict(tensors)
