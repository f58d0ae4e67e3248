"""CLIBD Table 14: larger and pre-aligned encoders. Five runs.

    clibd-sweep encoders --demo

The OpenCLIP rows take CLIP ViT-L/14's two towers, "pre-trained on OpenAI's dataset" (section B.1.3); the authors' code
takes those of CommonPool, and so does their recipe. At the small scale every tower is drawn at random, so the rows
differ in shape and size only.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from sweeps.point import Base, Points, Sweep, point_unless
from sweeps.table import COST, IMAGE_DNA, IMAGE_IMAGE, IMAGE_TEXT, Table, Value, by_subset
from workloads.spec import ExperimentSpec
from workloads.tower_specs import ImageTower, TextTower

_ROW: dict[str, Value] = {"epochs": 15, "batch_size": 200, "dna_encoder": "BarcodeBERT"}
_CLIP: dict[str, Value] = {**_ROW, "image_encoder": "OpenCLIP(L/14)", "text_encoder": "OpenCLIP"}
_BASE: dict[str, Value] = {**_ROW, "image_encoder": "timm(B/16)", "text_encoder": "BERT(small)"}
_LARGE: dict[str, Value] = {**_ROW, "image_encoder": "timm(L/16)", "text_encoder": "BERT(base-uncased)"}


def _points(base: Base) -> Points:
    """The rows of the table: one without DNA, four with it.

    Data sets of image features vary the MLP in place of the transformer. The authors' configurations fix the
    temperature, and so does their recipe.
    """
    trainable = base.spec.trainable_temperature and base.spec.recipe != "authors"
    spec = replace(base.spec, trainable_temperature=trainable)
    encoders = _paper_encoders(spec) if base.scale == "paper" else _small_encoders(spec)
    (clip_image, clip_text), (large_image, large_text) = encoders["clip"], encoders["large"]
    if spec.image.kind == "features":
        clip_image = large_image = replace(spec.image, width=2 * (spec.image.width or 512))
    short = replace(spec, batch_size=base.batch(200))
    long = replace(spec, batch_size=base.batch(500), epochs=round(spec.epochs * 38 / 15))
    clip = replace(short, image=clip_image, text=clip_text)
    large = replace(short, image=large_image, text=large_text)
    without = base.lacks("image", "text")
    no_dna = {**_CLIP, "dna_encoder": None}
    with_dna = (
        (_CLIP, "CLIP towers", clip),
        (_BASE, "base towers", short),
        ({**_BASE, "batch_size": 500, "epochs": 38}, "base towers, longer", long),
        (_LARGE, "large towers", large),
    )
    return [
        point_unless(without, no_dna, "CLIP towers, no DNA", lambda: replace(clip, modalities=("image", "text"))),
        *(point_unless(base.lacks("dna"), row, label, partial(replace, chosen)) for row, label, chosen in with_dna),
    ]


def _paper_encoders(base: ExperimentSpec) -> dict[str, tuple[ImageTower, TextTower]]:
    clip, weights = ("ViT-L-14-quickgelu", "openai")  # OpenAI trained with another form of GELU than CommonPool
    if base.recipe == "authors":
        clip, weights = ("ViT-L-14", "commonpool_xl_laion_s13b_b90k")
    missing_rank = base.text.missing_rank
    shape: dict[str, Any] = {"width": 768, "depth": 12, "num_heads": 12, "hidden_width": 3072}
    return {
        "clip": (
            ImageTower(kind="openclip", architecture=clip, weights=weights),
            TextTower(kind="openclip", architecture=clip, weights=weights, missing_rank=missing_rank, **shape),
        ),
        "large": (
            replace(base.image, architecture="vit_large_patch16_224"),
            replace(base.text, weights="google-bert/bert-base-uncased", **shape),
        ),
    }


def _small_encoders(base: ExperimentSpec) -> dict[str, tuple[ImageTower, TextTower]]:
    """The same contrasts among small towers: another kind of text tower, and twice the width and depth."""
    clip_text = replace(base.text, kind="openclip")
    large = (replace(base.image, width=144, depth=5), replace(base.text, width=128, depth=2, hidden_width=256))
    return {"clip": (replace(base.image, depth=5), clip_text), "large": large}


SWEEP = Sweep(
    name="encoders",
    question="Do larger or pre-aligned encoders help?",
    points=_points,
    tables=(
        Table(
            number=14,
            caption="Different image and text encoders, species level, validation set",
            row_fields=("image_encoder", "dna_encoder", "text_encoder", "batch_size", "epochs"),
            blocks=(*by_subset("macro", IMAGE_IMAGE, IMAGE_DNA, IMAGE_TEXT), COST),
        ),
    ),
)
