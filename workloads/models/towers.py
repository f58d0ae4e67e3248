"""What a tower is, and those over timm's models, and the CNN over bases.

The CNN is that of the Bayesian zero-shot paper (Badirli et al., NeurIPS 2021). It sees a barcode as an image of 660
rows, one a base, and 5 columns, one a letter: A, C, G, T and any other. Three times comes a convolution along the
bases, ReLU, batch norm and the largest of three neighbours; then a layer of 500 values, which are the class
descriptions of that paper once the network has learned its classes.

The shapes are those of BarcodeBERT's restatement in PyTorch, whose kernels are three bases high and one column wide.
The first authors' notebook, in Keras, has kernels three columns wide as well, over 658 aligned positions. As there, the
500 values are taken behind the tanh; the restatement takes them in front of it.
"""

import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from workloads.data.specimens import barcode
from workloads.errors import SpecError, UsageError, WeightsError
from workloads.models.weights import fill, load_tensors, with_first_weights
from workloads.tower_specs import DnaTower, ImageTower
from workloads.weight_files import TENSORS, published_file

TIMM = "timm"
"""What a spec calls timm's own published weights."""
_NUM_LETTERS = barcode.UNCERTAIN_BASE + 1
_DESCRIPTION_SIZE = 500
_CHANNELS = (1, 64, 32, 16)
_HEIGHT = 3  # of kernels and of pools, bases


class Tower(nn.Module):
    """A trunk, pre-trained or from scratch, and a head behind it that gives embeddings of the shared space.

    Args:
        trunk: what published weights fill.
        head: from what the trunk gives to (batch, embedding).
        prepare: what inputs go through first; nothing in it is stored.
    """

    def __init__(self, trunk: nn.Module, head: nn.Module, prepare: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.prepare = prepare or nn.Identity()
        self.trunk = trunk
        self.head = head

    def forward(self, inputs: Tensor) -> Tensor:
        """Embed.

        Args:
            inputs: uint8 pixels (batch, 3, side, side), features (batch, feature), token ids (batch, tokens), or base
                codes (batch, 660): 0 to 3 for A, C, G and T, 4 for any other letter, 5 past the end.

        Returns:
            (batch, embedding), not normalised.
        """
        embedded: Tensor = self.head(self.trunk(self.prepare(inputs)))
        return embedded


class PixelValues(nn.Module):
    """Bytes to [0, 1], and then centred and scaled by the mean and deviation that a network's weights expect.

    The authors feed timm's towers values in [0, 1], although those weights were trained with a mean and deviation of
    0.5 (`docs/fidelity.md`); `unit` does the same. The two constants belong to the architecture and are no weights, so
    they are not stored.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        values: Literal["normalised", "unit"],
        mean: Sequence[float],
        std: Sequence[float],
        layout: torch.memory_format = torch.preserve_format,
    ) -> None:
        super().__init__()
        self.normalised = values == "normalised"
        self.layout = layout
        self.register_buffer("mean", torch.tensor(tuple(mean)).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(tuple(std)).reshape(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Pixels as the network expects them.

        Args:
            image: uint8, (batch, 3, side, side).

        Returns:
            float32 of the same shape.

        Raises:
            UsageError: they are no bytes; what is in [0, 1] already would be divided by 255 again.
        """
        if image.dtype != torch.uint8:
            raise UsageError(f"image is {image.dtype}; pixels are torch.uint8, from 0 to 255")
        pixels = image.to(torch.float32, memory_format=self.layout).div_(255)
        return pixels.sub_(self.mean).div_(self.std) if self.normalised else pixels


def timm_tower(spec: ImageTower, embedding_size: int, weights: str | None) -> Tower:
    """A timm model without its classifier, and a projection into the shared space; or with the classifier instead.

    Networks with batch normalisation (ResNet-101) compute its statistics over what passes at once: with gradient
    caching that is a micro-batch, and on several workers the share of one of them, not the batch of the loss.

    Raises:
        SpecError: the architecture does not exist, or does not take the sizes of the spec.
        WeightsError: the weights cannot be had, or do not fit.
    """
    trunk = timm_model(spec, _timm_file(spec.architecture) if weights == TIMM else None)
    if not torch.cuda.is_available():
        # On CPUs plain matrix products beat timm's fused kernels (docs/log.md); the numbers are the same.
        for layer in (module for module in trunk.modules() if hasattr(module, "fused_attn")):
            layer.fused_attn = False
    config = trunk.pretrained_cfg
    # Convolutions run fastest on interleaved colours; a vision transformer has only one, in front.
    layout = torch.contiguous_format if config["fixed_input_size"] else torch.channels_last
    tower = Tower(
        trunk, _head(spec, trunk, embedding_size), PixelValues(spec.pixel_values, config["mean"], config["std"], layout)
    )
    classifier = _classifier_tensors(spec.architecture) if spec.head == "new" else []

    fill_published = partial(_fill_timm, trunk, classifier)
    return with_first_weights("image", weights, tower, fill_published, ignored=[f"trunk.{name}" for name in classifier])


def _fill_timm(trunk: nn.Module, classifier: Sequence[str], weights: str) -> None:
    if weights == TIMM:
        return  # timm itself did, adapting them to the size of the images
    if not Path(weights).is_file():
        raise WeightsError("image", weights, "there is no such file, and no finished run of that name")
    fill("image", weights, trunk, load_tensors("image", Path(weights)), classifier)


def _head(spec: ImageTower, trunk: Any, embedding_size: int) -> nn.Module:
    if spec.head == "new":
        # Without its classifier many a network gives more numbers than its last feature map has.
        return nn.Linear(int(getattr(trunk, "head_hidden_size", trunk.num_features)), embedding_size)
    if trunk.num_classes != embedding_size:
        raise SpecError(
            f"the classifier of timm's {spec.architecture} gives {trunk.num_classes} numbers, "
            f"so the embedding size cannot be {embedding_size}"
        )
    return nn.Identity()


def timm_model(spec: ImageTower, file: Path | None) -> Any:
    """The model in the spec's sizes, filled with timm's own published weights where their file is given."""
    timm = _timm()
    if not timm.is_model(spec.architecture):
        raise SpecError(f"timm has no model '{spec.architecture}'")
    sizes = {
        # Transformers are built for one size of images, convolutional networks for any.
        "img_size": spec.image_size if _timm_config(spec.architecture).get("fixed_input_size") else None,
        "patch_size": spec.patch_size,
        "embed_dim": spec.width,
        "depth": spec.depth,
        "num_heads": spec.num_heads,
    }
    try:
        model = timm.create_model(
            spec.architecture,
            pretrained=file is not None,
            pretrained_cfg_overlay={"file": str(file), "custom_load": False} if file else None,
            **{name: value for name, value in sizes.items() if value is not None},
        )
    except TypeError as error:  # an argument that the model does not have
        raise SpecError(f"timm's {spec.architecture} does not take every size of the spec ({error})") from error
    except (RuntimeError, OSError, ValueError, KeyError, AssertionError, SafetensorError) as error:
        reason = shorten(str(error) or type(error).__name__, 300)
        if file is None:
            raise SpecError(f"timm's {spec.architecture} cannot be built as the spec asks ({reason})") from error
        raise WeightsError("image", str(file), reason) from error
    if spec.head == "new":
        # Only now: asked for another number of classes, timm takes files that lack any tensor at all.
        model.reset_classifier(0)
    return model


@cache
def _timm() -> Any:
    """The library, without W&B's, which it imports for a logger: half a second, and folders that stay when killed."""
    given = sys.modules.setdefault("wandb", None)  # type: ignore[arg-type] # an import of it fails then, as timm expects
    try:
        import timm
    finally:
        if given is None:
            del sys.modules["wandb"]
    return timm


def _timm_file(architecture: str) -> Path:
    """The file of timm's published weights; timm itself adapts them to the spec's image size."""
    repository, names = timm_published(architecture)
    if not repository:
        raise WeightsError("image", TIMM, f"timm publishes none for {architecture} on the hub")
    return published_file("image", repository, *names)


def timm_published(architecture: str) -> tuple[str, tuple[str, ...]]:
    """The hub's name of timm's published weights, empty where it has none, and the files of which one will do."""
    config = _timm_config(architecture)
    named = config.get("hf_hub_filename")
    return config.get("hf_hub_id") or "", (named,) if named else TENSORS


def _timm_config(architecture: str) -> dict[str, Any]:
    """What timm knows of an architecture's published weights; empty where there are none."""
    config = _timm().get_pretrained_cfg(architecture, allow_unregistered=True)
    return config.to_dict() if config is not None else {}


def _classifier_tensors(architecture: str) -> list[str]:
    """Names of the tensors of a timm model's classifier, which files have and a trunk lacks."""
    layers = _timm_config(architecture).get("classifier") or ()
    return [
        f"{layer}.{part}" for layer in ([layers] if isinstance(layers, str) else layers) for part in ("weight", "bias")
    ]


def _convolutions() -> nn.Sequential:
    """(batch, 1, 660, 5) to (batch, 500)."""
    layers: list[nn.Module] = []
    length = barcode.MAX_BASES
    for before, after in pairwise(_CHANNELS):
        layers += [
            nn.Conv2d(before, after, kernel_size=(_HEIGHT, 1), padding=(1, 0)),
            nn.ReLU(),
            nn.BatchNorm2d(after),
            nn.MaxPool2d(kernel_size=(_HEIGHT, 1)),
        ]
        length //= _HEIGHT  # 660, 220, 73, 24
    flat = _CHANNELS[-1] * length * _NUM_LETTERS  # 1,920
    return nn.Sequential(*layers, nn.Flatten(), nn.BatchNorm1d(flat), nn.Linear(flat, _DESCRIPTION_SIZE), nn.Tanh())


def _letters(codes: Tensor) -> Tensor:
    """Base codes, (batch, 660), as images of the letters, (batch, 1, 660, 5); zero past the end."""
    return F.one_hot(codes, barcode.NO_BASE + 1)[..., :_NUM_LETTERS].unsqueeze(1).to(torch.float32)


def barcode_cnn(_: DnaTower, embedding_size: int, weights: str | None) -> Tower:
    """The small network over the bases of barcodes, whose size is fixed.

    Batch normalisation computes its statistics over what passes at once: with gradient caching that is a micro-batch,
    and on several workers the share of one of them, not the batch of the loss.

    Raises:
        WeightsError: the weights are not those of a finished run, or do not fit.
    """
    tower = Tower(_convolutions(), nn.Linear(_DESCRIPTION_SIZE, embedding_size), _letters)
    nowhere = "nobody publishes any for this network; name the folder of a finished run"
    return with_first_weights("dna", weights, tower, nowhere)
