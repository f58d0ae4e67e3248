"""Any OpenCLIP model as a row beside CLIBD's (Tables 2, 12 and 13): BioCLIP, OpenAI's CLIP and others.

Pictures go through the model's own preprocessing and labels through its own tokeniser, whatever the recipe. (The
authors' scripts take the preprocessing of whichever configuration they are started with: image to image their frozen
BioCLIP has 20.4 in Table 2 and 44.1 in Table 12. The ranks above the species of a text key are those of its own record;
theirs are those of the first record of its species.)
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from workloads.arrays import Floats
from workloads.data.files.images import open_image
from workloads.data.inputs.tower_inputs import Groups, filled, groups_of
from workloads.data.prepared.dataset import PreparedDataset, labels_of
from workloads.errors import SpecError
from workloads.evaluation.embed import parts_of, rows_of_all_workers
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.prompts import WORDING, Prompts, Wording, label_texts, templates
from workloads.models.openclip_plan import open_clip_library
from workloads.models.openclip_whole import WholeClip, find_openclip, load_openclip
from workloads.placement import Placement, kernels, matrix_products
from workloads.spec import RANKS, Modality, Recipe

_BATCH_SIZE = 256
"""Pictures, or sentences, of one forward pass."""
_DIGEST_SIZE = 16
Tell = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenClipRow:
    """What a row is of, for `evaluation.json`."""

    model: str
    """Its name in tables."""
    weights: str
    """As it was asked for."""
    weights_digest: str
    """SHA-256 of the file of its tensors."""
    aligned: tuple[Modality, ...]
    preprocessing: Mapping[str, Any]
    """Size, mean, std, interpolation, resize_mode: OpenCLIP's `PreprocessCfg`."""
    prompts: Prompts
    label: Wording
    recipe: Recipe
    precision: Literal["fp16", "fp32"]


def openclip_row(weights: str, recipe: Recipe, prompts: Prompts, device: torch.device) -> OpenClipRow:
    """Describe what `embed_openclip` would embed with; no model is built.

    Raises:
        WeightsError: as `find_openclip`.
    """
    found = find_openclip(weights)
    with found.file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return OpenClipRow(
        model=found.name,
        weights=weights,
        weights_digest=digest,
        aligned=("image", "text"),
        preprocessing=found.preprocessing,
        prompts=prompts,
        label=WORDING[recipe],
        recipe=recipe,
        precision=_precision(recipe, device),
    )


def embed_openclip(
    weights: str,
    dataset: PreparedDataset,
    placement: Placement,
    recipe: Recipe,
    prompts: Prompts = "openai",
    tell: Tell = lambda done, total: None,
) -> dict[str, Embedded]:
    """Unit embeddings of pictures and labels; called on every worker of a group alike, and the same on each.

    A label's embedding is the mean of those of its sentences, all in unit length, brought to unit length again.
    Identical pictures, and identical labels of all parts together, are embedded once.

    On a CPU, and under the recipe `corrected` on a GPU too, everything is fp32; on a GPU the other recipes have fp16
    autocast, as the authors' scripts.

    Args:
        weights: `hf-hub:owner/name`, a local folder in the hub's layout, or `NAME:TAG` of OpenCLIP's own list.
        dataset: with pictures.
        placement: this worker's; its `loader_processes` decode pictures beside it.
        recipe: `authors` says the species alone, the others four ranks.
        prompts: the sentences around a label.
        tell: told how many labels and pictures of this worker's, at most, are done.

    Returns:
        `keys`, and `val` and `test` where the data set has their queries, each with rows of `image` and `text`.

    Raises:
        WeightsError: the model cannot be had.
        SpecError: the data set has no pictures, or some specimens have none.
        MissingPathError: the data set has no keys.
    """
    if dataset.facts.image_feature_size is not None or "image" not in dataset.facts.modalities:
        raise SpecError(f"{dataset.facts.name} has no pictures, which an OpenCLIP model needs")
    parts = parts_of(dataset)
    tables = {part: dataset.load(splits, ["specimen_id", *RANKS]) for part, splits in parts.items()}
    labels = {part: labels_of(table) for part, table in tables.items()}
    texts = {part: label_texts(names, WORDING[recipe]) for part, names in labels.items()}
    clip = load_openclip(find_openclip(weights), placement.device)
    with _exactly(placement.device, _precision(recipe, placement.device)):
        distinct, which = np.unique(np.concatenate(list(texts.values())).astype(str), return_inverse=True)
        count = _Count(tell, len(distinct) + sum(map(len, tables.values())))
        ends = np.cumsum([len(part) for part in texts.values()])[:-1]
        of_texts = np.split(_embed_texts(clip, distinct.tolist(), prompts, placement, count)[which], ends)
        of_images = {part: _embed_images(clip, dataset, splits, placement, count) for part, splits in parts.items()}
    return {
        part: Embedded(
            np.array(tables[part]["specimen_id"].to_pylist(), dtype=object),
            np.array(tables[part]["split"].to_pylist(), dtype=object),
            labels[part],
            {"image": of_images[part], "text": rows},
        )
        for part, rows in zip(parts, of_texts, strict=True)
    }


def _precision(recipe: Recipe, device: torch.device) -> Literal["fp16", "fp32"]:
    return "fp16" if device.type == "cuda" and recipe != "corrected" else "fp32"


@contextmanager
def _exactly(device: torch.device, precision: str) -> Iterator[None]:
    """Forward passes only, in fp32 or with the authors' fp16 autocast."""
    half = torch.autocast(device.type, torch.float16, enabled=precision == "fp16")
    with torch.inference_mode(), matrix_products("fp32"), kernels(device, "fp32"), half:
        yield


class _Count:
    """How much of the work is done; equal pictures, which are embedded once, make it less than its total."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0

    def add(self, more: int) -> None:
        self._done += more
        self._tell(self._done, self._total)


def _embed_texts(
    clip: WholeClip, texts: Sequence[str], prompts: Prompts, placement: Placement, count: _Count
) -> Floats:
    """Unit rows of labels, (labels, size)."""
    sentences = templates(prompts)
    at_once = max(1, _BATCH_SIZE // len(sentences))

    def run(mine: npt.NDArray[np.int64]) -> Tensor:
        columns: Tensor = open_clip_library().build_zero_shot_classifier(
            clip.model,
            clip.tokenizer,
            [texts[label] for label in mine],
            sentences,
            num_classes_per_batch=at_once,
            device=placement.device,
        )
        return columns.T

    return rows_of_all_workers(run, len(texts), placement, at_once, count.add)


class _Pictures(torch.utils.data.Dataset[Tensor]):
    """Some specimens' pictures as the model takes them."""

    def __init__(self, column: pa.ChunkedArray, rows: npt.NDArray[np.int64], clip: WholeClip) -> None:
        self._column, self._rows, self._transform = column, rows, clip.transform

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Tensor:
        content: bytes = self._column[int(self._rows[place])].as_py()
        return self._transform(open_image(content))


def _embed_images(
    clip: WholeClip, dataset: PreparedDataset, splits: Sequence[str], placement: Placement, count: _Count
) -> Floats:
    """Unit rows of the pictures of some splits, (specimens, size)."""
    column = filled(dataset.open(splits), "image", "images")
    first, which = _identical(column)

    def run(mine: npt.NDArray[np.int64]) -> Tensor:
        pictures = _Pictures(column, first[mine], clip)
        loader = torch.utils.data.DataLoader(pictures, _BATCH_SIZE, num_workers=placement.loader_processes)
        return torch.cat([clip.model.encode_image(batch.to(placement.device), normalize=True) for batch in loader])

    # Processes that decode are started for each piece, so with them pieces are larger.
    at_once = _BATCH_SIZE * (16 if placement.loader_processes else 1)
    return rows_of_all_workers(run, len(first), placement, at_once, count.add)[which]


def _identical(column: pa.ChunkedArray) -> Groups:
    """First row of each distinct picture, and for each row which of these it equals; by a digest of the file."""
    digests = [hashlib.blake2b(content.as_buffer(), digest_size=_DIGEST_SIZE).digest() for content in column]
    return groups_of(np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, _DIGEST_SIZE))
