"""The files that the authors published under one roof on the Hugging Face Hub, by short names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workloads.errors import ConversionError, first_line
from workloads.spec import DnaPooling

REPOSITORY = "bioscan-ml/clibd"


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One file, and what its name says of it."""

    file: str
    """In the repository."""
    dataset: str = "bioscan_1m"
    """What a model was trained on."""
    epochs: int = 50

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"https://huggingface.co/{REPOSITORY}/resolve/main/{self.file}"


_MODELS = {"image-dna": "image_dna_4gpu", "image-dna-text": "image_dna_text_4gpu", "image-text": "image_text_4gpu"}
_DATASETS = {"": ("bioscan_1m", 50), "5m-": ("bioscan_5m", 20)}
"""Prefix of the short name, and for how many epochs the paper trains on the data set."""

BARCODEBERT = "barcodebert-5mer"
PUBLISHED: Mapping[str, Published] = {
    BARCODEBERT: Published(file="ckpt/BarcodeBERT/old_checkpoints/trained_with_canada_1_5M/model_41.pth"),
    **{
        f"clibd-{prefix}{name}": Published(
            file=f"ckpt/bioscan_clip/ver_1_0/{dataset}/{folder}/best.pth", dataset=dataset, epochs=epochs
        )
        for prefix, (dataset, epochs) in _DATASETS.items()
        for name, folder in _MODELS.items()
    },
}
"""By the names that `clibd convert` takes instead of a path."""


_POOLINGS: Mapping[str, DnaPooling] = {
    "_using_logit_without_softmax": "logits_mean",
    "_4gpu_logits_mean": "logits_mean",
    "_using_hidden_state_mean": "hidden_mean",
    "_4gpu_hidden_state_mean": "hidden_mean",
    "_using_cls_for_dna": "cls_token",
    "_text_cls_token": "cls_token",
}
"""What the authors' branch 33 calls configurations, and folders of their checkpoints, that pool DNA in another way."""


def pooling_of(path: Path) -> DnaPooling | None:
    """How a checkpoint pools DNA as far as its own name or its folder's tells; its tensors do not."""
    if published_as(path):
        return "softmax_mean"
    return next((way for mark, way in _POOLINGS.items() if any(mark in part for part in path.parts[-2:])), None)


def fetch(name: str, target: str) -> Path:
    """A published file in the hub's cache on this machine, fetched if need be.

    Args:
        name: a key of `PUBLISHED`.
        target: folder that the conversion is for, for messages.

    Raises:
        ConversionError: the hub cannot be reached or has no such file; it says what to fetch by hand.
    """
    from huggingface_hub import hf_hub_download

    published = PUBLISHED[name]
    try:
        return Path(hf_hub_download(REPOSITORY, published.file))
    except OSError as error:  # what the hub's client raises for every refusal, offline mode and broken network
        raise ConversionError(
            name,
            f"the hub did not give {published.address} ({first_line(error)}); where there is a network, run "
            f"`hf download {REPOSITORY} {published.file} --local-dir .`, bring the folder here, and run "
            f"`clibd convert {published.file} --to {target}`",
        ) from error


def published_as(path: Path) -> Published | None:
    """Which published file a path is of, if the folders it lies in are still named as in the repository."""
    found = [published for published in PUBLISHED.values() if path.absolute().as_posix().endswith(f"/{published.file}")]
    return found[0] if found else None


def revision_of(path: Path) -> str | None:
    """The commit of the hub's repository that a fetched file is of; None for any other file."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else None
