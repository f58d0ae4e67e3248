"""Makes torchvision importable beside a torch without CUDA.

timm and parts of transformers import torchvision. The torchvision wheel on the package index is built for CUDA; next to
a CPU-only torch its compiled part does not load, and its Python part then fails on two operators it expects
("operator torchvision::nms does not exist", pytorch/vision#9077). Declaring the two schemas first is enough for
everything used here. Beside a matching torchvision this does nothing.
"""

import importlib.util
from functools import cache
from pathlib import Path

import torch

_OPERATORS = ("nms", "qnms")


@cache
def declare_missing_operators() -> torch.library.Library | None:
    """Call before the first import of timm or transformers; the result must stay alive, and the cache keeps it."""
    module = importlib.util.find_spec("torchvision")
    if module is None or not module.submodule_search_locations:
        return None
    for compiled in Path(module.submodule_search_locations[0]).glob("_C*"):
        try:
            torch.ops.load_library(str(compiled))
            return None
        except OSError:
            continue
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in _OPERATORS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
