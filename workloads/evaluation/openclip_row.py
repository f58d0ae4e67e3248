"""Any OpenCLIP model as a row beside CLIBD's (Tables 2, 12 and 13): BioCLIP, OpenAI's CLIP and others.

Pictures go through the model's own preprocessing and labels through its own tokeniser, whatever the recipe. (The
authors' scripts take the preprocessing of whichever configuration they are started with: image to image their frozen
BioCLIP has 20.4 in Table 2 and 44.1 in Table 12. The ranks above the species of a text key are those of its own record;
theirs are those of the first record of its species.)
"""

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from workloads.arrays import Floats, Indices, Labels, Names
from workloads.command_line import Tell
from workloads.data.files.images import open_image
from workloads.data.inputs.tower_inputs import equal_rows
from workloads.data.prepared.dataset import PreparedDataset, labels_of
from workloads.data.specimens.schema import lineage_text
from workloads.errors import SpecError
from workloads.evaluation.embed import all_splits, as_parts, parts_of
from workloads.evaluation.embedded import Embedded, embedded_of
from workloads.models.openclip import WholeClip, find_openclip, load_openclip, open_clip_library
from workloads.placement import kernels, matrix_products
from workloads.spec import RANKS, Recipe

_BATCH_SIZE = 256
"""Pictures, or sentences, of one forward pass."""
_DIGEST_SIZE = 16

Prompts = Literal["openai", "plain", "photo"]
"""The 80 sentences that OpenAI made for ImageNet, as OpenCLIP ships them; the label as it is; or one sentence."""

_SENTENCES = {"plain": ["{}"], "photo": ["a photo of {}."]}

Wording = Literal["species", "four_ranks"]
"""Which names a label is made of."""
WORDING: dict[Recipe, Wording] = {"paper": "four_ranks", "authors": "species", "corrected": "four_ranks"}
"""The paper puts "the four concatenated taxonomic levels" into OpenAI's sentences (section 5.2); of the authors' two
scripts the one that runs takes the species alone."""


def openclip_row(weights: str, recipe: Recipe, prompts: Prompts, device: torch.device) -> dict[str, Any]:
    """What evaluation.json says of what `embed_openclip` would embed with; no model is built.

    Returns:
        `model`, its name in tables; `weights`, as it was asked for; `weights_digest`, SHA-256 of the file of its
        tensors; `aligned`, the modalities; `preprocessing`, OpenCLIP's `PreprocessCfg` (size, mean, std,
        interpolation, resize_mode); `prompts`; `label`, the wording; `recipe`; and `precision`, fp16 or fp32.

    Raises:
        WeightsError: as `find_openclip`.
    """
    published = find_openclip(weights)
    with published.file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "model": published.name,
        "weights": weights,
        "weights_digest": digest,
        "aligned": ["image", "text"],
        "preprocessing": dict(published.preprocessing),
        "prompts": prompts,
        "label": WORDING[recipe],
        "recipe": recipe,
        "precision": _precision(recipe, device),
    }


def embed_openclip(
    weights: str,
    dataset: PreparedDataset,
    device: torch.device,
    recipe: Recipe,
    prompts: Prompts = "openai",
    tell: Tell = lambda done, total: None,
) -> dict[str, Embedded]:
    """Unit embeddings of pictures and labels.

    A label's embedding is the mean of those of its sentences, all in unit length, brought to unit length again.
    Identical pictures and identical labels of all parts together are embedded once.

    On a CPU, and under the recipe `corrected` on a GPU too, everything is fp32; on a GPU the other recipes have fp16
    autocast, as the authors' scripts.

    Args:
        weights: `hf-hub:owner/name`, a local folder in the hub's layout, or `NAME:TAG` of OpenCLIP's own list.
        dataset: with pictures.
        device: where the model runs.
        recipe: `authors` says the species alone, the others four ranks.
        prompts: the sentences around a label.
        tell: told how many labels and pictures are done.

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
    splits = all_splits(parts)
    table, pictures = dataset.load(splits, ["specimen_id", *RANKS]), dataset.open(splits)["image"]
    if pictures.null_count:
        raise SpecError(
            f"{pictures.null_count:,} of {len(pictures):,} specimens have no image, which an OpenCLIP model needs; "
            "`clibd data prepare --complete` leaves them out"
        )
    labels, of_label = np.unique(label_texts(labels_of(table), WORDING[recipe]).astype(str), return_inverse=True)
    digests = b"".join(hashlib.blake2b(content.as_buffer(), digest_size=_DIGEST_SIZE).digest() for content in pictures)
    first, of_picture = equal_rows(np.frombuffer(digests, dtype=np.uint8).reshape(-1, _DIGEST_SIZE))
    clip = load_openclip(find_openclip(weights), device)
    sentences = list(open_clip_library().OPENAI_IMAGENET_TEMPLATES) if prompts == "openai" else _SENTENCES[prompts]
    texts = partial(_embed_texts, clip, sentences, device), labels, max(1, _BATCH_SIZE // len(sentences)), of_label
    images = partial(_embed_images, clip, pictures, device), first, _BATCH_SIZE, of_picture
    half, rows, done = _precision(recipe, device) == "fp16", dict[str, Floats](), 0
    autocast = torch.autocast(device.type, torch.float16, enabled=half)
    with torch.inference_mode(), matrix_products("fp32"), kernels(device, "fp32"), autocast:
        for modality, (embed, distinct, at_once, which) in {"image": images, "text": texts}.items():
            made = []
            for start in range(0, len(distinct), at_once):
                made.append(embed(distinct[start : start + at_once]).float())
                done += len(made[-1])
                tell(done, len(labels) + len(first))
            rows[modality] = torch.cat(made).cpu().numpy()[which]
    return as_parts(embedded_of(table, rows), parts)


def _precision(recipe: Recipe, device: torch.device) -> Literal["fp16", "fp32"]:
    return "fp16" if device.type == "cuda" and recipe != "corrected" else "fp32"


def label_texts(labels: Labels, wording: Wording) -> Names:
    """The label of each specimen, (specimens,).

    Four ranks are said as CLIBD's own text tower hears them: missing ones are left out, and the genus is not said
    twice. Where the species alone is asked for, a specimen without one is called by its lowest rank that has a name.
    One without any name has an empty label.

    Args:
        labels: names by rank, None where missing, (specimens,) each.
        wording: which of them are said.
    """
    texts = []
    for names in zip(*(labels[rank] for rank in RANKS), strict=True):
        lowest = next((name for name in reversed(names) if name is not None), "")
        texts.append(lowest if wording == "species" else lineage_text(dict(zip(RANKS, names, strict=True))))
    return np.array([*texts, None], dtype=object)[:-1]


def _embed_texts(clip: WholeClip, sentences: Sequence[Any], device: torch.device, texts: Names) -> Tensor:
    """Unit rows of labels, (labels, size)."""
    columns: Tensor = open_clip_library().build_zero_shot_classifier(
        clip.model, clip.tokenizer, texts.tolist(), sentences, num_classes_per_batch=len(texts), device=device
    )
    return columns.T


def _embed_images(clip: WholeClip, column: pa.ChunkedArray, device: torch.device, rows: Indices) -> Tensor:
    """Unit rows of some pictures of a column, (rows, size)."""
    squares = [clip.transform(open_image(column[int(row)].as_py())) for row in rows]
    embedded: Tensor = clip.model.encode_image(torch.stack(squares).to(device), normalize=True)
    return embedded
