"""Weights in files: the first ones of a tower, and the trained ones of a run.

    load_tensors ──▶ fill                       files in a published layout (`workloads.weight_files` finds them)
    with_first_weights                          these, or the same tower of a finished run, its adapters merged
    save_weights ──▶ load_weights               the trained weights of a run, in one safetensors file

Nothing is silent: a tensor that the tower lacks, or that it needs and does not get, is an error. PyTorch's own files
are read with `weights_only`, so that no code in them is run.
"""

import json
import pickle
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor, nn

from workloads.errors import ClibdError, DamagedError, WeightsError, first_line
from workloads.models.fine_tuning import plain_layers
from workloads.record import RunFolder
from workloads.seals import STATUS, sealed_folder
from workloads.spec import ExperimentSpec, Modality
from workloads.storage import Folder, read_file
from workloads.weight_files import MODEL

TOWER_NAMES: Mapping[Modality, str] = {"image": "image", "dna": "DNA", "text": "text"}
"""As messages call them."""
_Module = TypeVar("_Module", bound=nn.Module)
_HEAD = "head."
_SAFETENSORS = ".safetensors"
_WRAPPERS = ("state_dict", "model")
"""Names under which training scripts keep a model inside a larger file."""
_READING = (OSError, RuntimeError, ValueError, KeyError, EOFError, SafetensorError, pickle.UnpicklingError)


def is_run(weights: str) -> bool:
    """Whether weights are named by the folder of a run that has ended and left a model."""
    folder = Path(weights)
    return (folder / STATUS).is_file() and (folder / MODEL).is_file()


def run_spec(tower: str, weights: str) -> ExperimentSpec:
    """The spec of a finished run.

    Raises:
        WeightsError: the run is not finished, or is damaged.
    """
    run = RunFolder(Folder(weights))
    try:
        spec, state = run.spec(), run.state()
    except (ClibdError, OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(tower, weights, f"its {STATUS} or spec.json cannot be read ({first_line(error)})") from error
    if state != "finished":
        raise WeightsError(tower, weights, f"the run is not finished but '{state}'")
    return spec


def with_first_weights(
    modality: Modality,
    weights: str | None,
    module: _Module,
    published: Callable[[str], object] | str,
    ignored: Sequence[str] = (),
) -> _Module:
    """Put first weights into a whole tower, and give it back.

    The head of a run comes along where it has one of its own. Where it has none, because the trunk's own output was
    compared (SimCLR, section B.1), the head stays as drawn, as in the authors' start of CLIBD from SimCLR (Table 11).

    Args:
        modality: of the tower, and of the tower of a finished run that fills it.
        weights: as the spec has them; None leaves the tower as it was drawn.
        module: the tower, with `trunk` and `head`.
        published: puts weights of this name in, if they are not those of a run; or why nobody publishes any.
        ignored: exact names that a run's tower may have and this one lacks.

    Raises:
        WeightsError: they cannot be had or do not fit.
    """
    if weights is None:
        return module
    if is_run(weights):
        tensors = _run_tensors(modality, weights)
        if not any(name.startswith(_HEAD) for name in tensors):
            tensors |= {name: tensor for name, tensor in module.state_dict().items() if name.startswith(_HEAD)}
        fill(TOWER_NAMES[modality], weights, module, tensors, ignored)
    elif isinstance(published, str):
        raise WeightsError(TOWER_NAMES[modality], weights, published)
    else:
        published(weights)
    return module


def _run_tensors(modality: Modality, weights: str) -> dict[str, Tensor]:
    """The tensors of one tower of a finished run, named as in a tower without adapters: `trunk.…` and `head.…`."""
    tower, prefix = TOWER_NAMES[modality], f"towers.{modality}."
    lora = run_spec(tower, weights).tower(modality).lora
    try:
        stored = load(sealed_folder(Folder(weights)).read(MODEL))
    except (DamagedError, *_READING) as error:
        raise WeightsError(tower, weights, f"its {MODEL} cannot be read ({first_line(error)})") from error
    own = {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
    if not own:
        raise WeightsError(tower, weights, f"the run has no {modality} tower")
    try:
        return plain_layers(own, lora.alpha / lora.rank)
    except (KeyError, RuntimeError, ZeroDivisionError) as error:
        raise WeightsError(tower, weights, f"the run's adapters cannot be merged ({first_line(error)})") from error


def load_tensors(tower: str, path: Path) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU.

    Args:
        tower: name for messages.
        path: a .safetensors file, or one that `torch.save` wrote and that holds tensors by name, whether bare or under
            `state_dict` or `model`.

    Raises:
        WeightsError: the file cannot be read, or holds something else.
    """
    try:
        if path.suffix == _SAFETENSORS:
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _READING as error:
        raise WeightsError(tower, str(path), f"it cannot be read ({first_line(error)})") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(tower, str(path), "it holds something else than tensors by name")
    return {str(name): tensor for name, tensor in content.items()}


def fill(
    tower: str, weights: str, module: nn.Module, tensors: Mapping[str, Tensor], ignored: Sequence[str] = ()
) -> None:
    """Put tensors into a module of the same names and shapes.

    Args:
        tower: name for messages.
        weights: where the tensors are from, for messages.
        module: what is filled, in place and in its own precision.
        tensors: by name.
        ignored: exact names that the module may lack.

    Raises:
        WeightsError: a tensor is missing, not used or of another shape; the first is named.
    """
    wanted = module.state_dict()
    if wrong := misfit(tensors, wanted, ignored=ignored):
        raise WeightsError(tower, weights, wrong[1])
    module.load_state_dict({name: tensors[name] for name in wanted})


# --- The weights of a run -------------------------------------------------------------------------------------------


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
        if len(self._memory) < size:
            self._memory = torch.empty(0, dtype=torch.uint8)  # gives the old memory back first
            self._memory = torch.empty(size, dtype=torch.uint8, pin_memory=bool(devices))
        memory = self._memory[:size]
        memory[: len(front)] = torch.frombuffer(bytearray(front), dtype=torch.uint8)
        for (_, tensor), start in zip(ordered.items(), starts, strict=True):
            place = memory[start : start + tensor.nbytes]
            place.view(tensor.dtype).view(tensor.shape).copy_(tensor, non_blocking=True)
        for device in devices:
            torch.cuda.synchronize(device)
        return memory.numpy().data


def _type_name(dtype: torch.dtype) -> str:
    """What the format calls a type: F32, BF16, I64, U8, BOOL."""
    if dtype == torch.bool:
        return "BOOL"
    kind = "BF" if dtype == torch.bfloat16 else "F" if dtype.is_floating_point else "I" if dtype.is_signed else "U"
    return f"{kind}{8 * dtype.itemsize}"


def _layout(tensors: Mapping[str, Tensor]) -> tuple[bytes, list[int], int]:
    """What precedes the tensors, where each begins, and the size of it all, in bytes."""
    header, stop = {}, 0
    for name, tensor in tensors.items():
        start, stop = stop, stop + tensor.nbytes
        header[name] = {"dtype": _type_name(tensor.dtype), "shape": [*tensor.shape], "data_offsets": [start, stop]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    front = len(text).to_bytes(8, "little") + text
    return front, [len(front) + place["data_offsets"][0] for place in header.values()], len(front) + stop


def misfit(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    ignored: Collection[str] = (),
    types: bool = False,
) -> tuple[str, str] | None:
    """The first tensor that is not as expected, and what is wrong, as the end of a sentence; None where all fit.

    Args:
        tensors: from a file, by name.
        expected: of the model; their numbers do not matter.
        ignored: exact names of what the model may lack.
        types: whether numbers must be of the same type too.
    """
    missing, over = expected.keys() - tensors.keys(), tensors.keys() - expected.keys() - set(ignored)
    if missing:
        return min(missing), f"it lacks {len(missing)} tensor(s), {min(missing)} first"
    if over:
        return min(over), f"{len(over)} of its tensor(s) would not be used, {min(over)} first"
    for name, wanted in expected.items():
        own = tensors[name]
        if own.shape != wanted.shape or (types and own.dtype != wanted.dtype):
            is_, needed = (f"{f'{one.dtype} ' if types else ''}{tuple(one.shape)}" for one in (own, wanted))
            return name, f"{name} is {is_} where {needed} is needed"
    return None


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
    if wrong := misfit(tensors, model.state_dict(), types=True):
        raise DamagedError(f"{folder}/{MODEL}", wrong[1])
    model.load_state_dict(tensors)
