"""Where the first weights of a tower come from, and how they are put in: a file, a folder, the hub, a finished run.

    published_file ──▶ load_tensors ──▶ fill            files in a published layout
                       run_tensors  ──▶ fill_from_run   the same tower of a finished run, its adapters merged
    begin              whichever of the two a spec names

Nothing is silent: a tensor that the tower lacks, or that it needs and does not get, is an error. PyTorch's own files
are read with `weights_only`, so that no code in them is run.
"""

import json
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from workloads.errors import WeightsError, first_line
from workloads.models.fitting import misfit
from workloads.storage import cache_folder

HUB_PREFIX = "hf-hub:"
_HEAD = "head."
_STATUS, _MODEL, _SPEC = "status.json", "model.safetensors", "spec.json"
_SAFETENSORS = ".safetensors"
_WRAPPERS = ("state_dict", "model")
"""Names under which training scripts keep a model inside a larger file."""
_READING = (OSError, RuntimeError, ValueError, KeyError, EOFError, SafetensorError, pickle.UnpicklingError)


def is_run(weights: str) -> bool:
    """Whether weights are named by the folder of a run that has ended and left a model."""
    folder = Path(weights)
    return (folder / _STATUS).is_file() and (folder / _MODEL).is_file()


def run_tensors(tower: str, weights: str, modality: str) -> dict[str, Tensor]:
    """The tensors of one tower of a finished run, named as in a tower without adapters.

    Args:
        tower: name for messages.
        weights: the run folder.
        modality: which tower of the run.

    Returns:
        Tensors without `towers.<modality>.`; adapters are merged into the layers they adapt, and the three parts of a
        split query-key-value layer are one layer again.

    Raises:
        WeightsError: the run is not finished, has no such tower, or is damaged.
    """
    scale = _adapter_scale(tower, weights, modality)
    prefix = f"towers.{modality}."
    stored = load_tensors(tower, Path(weights) / _MODEL)
    own = {name.removeprefix(prefix): tensor for name, tensor in stored.items() if name.startswith(prefix)}
    if not own:
        raise WeightsError(tower, weights, f"the run has no {modality} tower")
    try:
        return fuse_split_layers(merge_adapters(own, scale))
    except (KeyError, RuntimeError) as error:
        raise WeightsError(tower, weights, f"the run's adapters cannot be merged ({first_line(error)})") from error


def _adapter_scale(tower: str, weights: str, modality: str) -> float:
    """By what the run's adapters are multiplied: alpha / rank of its spec."""
    try:
        state = json.loads((Path(weights) / _STATUS).read_text())["state"]
        lora = json.loads((Path(weights) / _SPEC).read_text())[modality]["lora"]
        scale = float(lora["alpha"]) / float(lora["rank"])
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise WeightsError(tower, weights, f"its {_STATUS} or {_SPEC} cannot be read ({first_line(error)})") from error
    if state != "finished":
        raise WeightsError(tower, weights, f"the run is not finished but '{state}'")
    return scale


_FIRST_HALF, _SECOND_HALF = ".lora_A.default.weight", ".lora_B.default.weight"
_ADAPTED = ".base_layer."


def merge_adapters(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Tensors with every low-rank update added to its layer, W + scale B A, under the names of plain layers.

    The sum is made in float64, so that its only rounding is the last one.
    """
    merged = {name.replace(_ADAPTED, "."): t for name, t in tensors.items() if ".lora_" not in name}
    for name, first in tensors.items():
        if not name.endswith(_FIRST_HALF):
            continue
        layer = name.removesuffix(_FIRST_HALF)
        second = tensors[layer + _SECOND_HALF]
        weight = merged[f"{layer}.weight"]
        merged[f"{layer}.weight"] = (weight.double() + scale * second.double() @ first.double()).to(weight.dtype)
    return merged


_PART = re.compile(r"(?P<layer>.*\b(?:qkv|Wqkv|in_proj))\.(?P<part>query|key|value)\.(?P<kind>weight|bias)")
_PARTS = ("query", "key", "value")


def fuse_split_layers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with the parts that `lora.SplitQkv` made joined again, in the order query, key, value."""
    fused: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found = _PART.fullmatch(name)
        if found is None:
            fused[name] = tensor
        elif found["part"] == "query":
            layer, kind = found["layer"], found["kind"]
            parts = [tensors[f"{layer}.{part}.{kind}"] for part in _PARTS]
            # PyTorch's own attention has no layer for the three but bare parameters.
            joint = f"{layer}_{kind}" if layer.endswith("in_proj") else f"{layer}.{kind}"
            fused[joint] = torch.cat(parts)
    return fused


def published_file(tower: str, weights: str, *names: str) -> Path:
    """A file of published weights on this machine, fetched if need be.

    Looks into the local folder `weights`, then into $CLIBD_CACHE/weights/<weights>, then on the Hugging Face Hub.

    Args:
        tower: name for messages.
        weights: a local folder, a name, or a hub id, with or without `hf-hub:`.
        names: file names; the first that is there is taken.

    Raises:
        WeightsError: none of the files can be had; it says where to put them.
    """
    kept = cache_folder() / "weights" / weights.removeprefix(HUB_PREFIX)
    for folder in (Path(weights), kept):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    wanted = " or ".join(names)
    if Path(weights).is_dir():
        raise WeightsError(tower, weights, f"the folder has no {wanted}")
    if weights.startswith(("/", ".", "~")):
        raise WeightsError(tower, weights, "there is no such folder")
    return _from_hub(tower, weights, names, remedy=f"put {wanted} into {kept}, or name a local folder")


def _from_hub(tower: str, weights: str, names: Sequence[str], remedy: str) -> Path:
    from huggingface_hub import errors, hf_hub_download

    wanted = " or ".join(names)
    reachable = True
    for name in names:
        try:
            repository = weights.removeprefix(HUB_PREFIX)
            return Path(hf_hub_download(repository, name, local_files_only=not reachable))
        except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
            reachable = False  # the next name may still be in the hub's cache; asking the network again takes long
        except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
            raise WeightsError(tower, weights, f"the hub has no such model; {remedy}") from error
        except errors.EntryNotFoundError:
            continue
        except OSError as error:
            raise WeightsError(tower, weights, f"the hub failed ({first_line(error)}); {remedy}") from error
    if reachable:
        raise WeightsError(tower, weights, f"that model on the hub has no {wanted}")
    raise WeightsError(tower, weights, f"{wanted} is not on this machine and the hub cannot be reached; {remedy}")


def published_json(tower: str, weights: str, name: str) -> dict[str, Any]:
    """The fields of a JSON file beside published weights.

    Raises:
        WeightsError: it cannot be had or read, or is no object.
    """
    path = published_file(tower, weights, name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(tower, weights, f"its {name} cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise WeightsError(tower, weights, f"its {name} cannot be read (it is no object)")
    return content


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
    if found := misfit(tensors, wanted, ignored=ignored):
        raise WeightsError(tower, weights, found[1])
    module.load_state_dict({name: tensors[name] for name in wanted})


def fill_from_run(tower: str, weights: str, module: nn.Module, modality: str, ignored: Sequence[str] = ()) -> None:
    """Put the same tower of a finished run into a whole tower.

    The run's head comes along where it has one of its own. Where it has none, because the trunk's own output was
    compared (SimCLR, section B.1), the head stays as drawn, as in the authors' start of CLIBD from SimCLR (Table 11).

    Args:
        tower: name for messages.
        weights: the run folder.
        module: the tower, with `trunk` and `head`.
        modality: which tower of the run.
        ignored: exact names that the tower may lack.

    Raises:
        WeightsError: as `run_tensors` and `fill`.
    """
    tensors = run_tensors(tower, weights, modality)
    if not any(name.startswith(_HEAD) for name in tensors):
        tensors |= {name: tensor for name, tensor in module.state_dict().items() if name.startswith(_HEAD)}
    fill(tower, weights, module, tensors, ignored)


def begin(
    tower: str, weights: str | None, module: nn.Module, modality: str, published: Callable[[str], object] | str
) -> None:
    """Put first weights into a whole tower.

    Args:
        tower: name for messages.
        weights: as the spec has them; None leaves the tower as it was drawn.
        module: the tower, with `trunk` and `head`.
        modality: which tower of a finished run.
        published: puts weights of this name in, if they are not those of a run; or why nobody publishes any.

    Raises:
        WeightsError: they cannot be had or do not fit.
    """
    if weights is None:
        return
    if is_run(weights):
        fill_from_run(tower, weights, module, modality)
    elif isinstance(published, str):
        raise WeightsError(tower, weights, published)
    else:
        published(weights)
