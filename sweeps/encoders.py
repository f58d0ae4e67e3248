"""CLIBD Table 14: larger and pre-aligned encoders. Five runs.

    clibd-sweep encoders --demo

The OpenCLIP rows take CLIP ViT-L/14's two towers, "pre-trained on OpenAI's dataset" (section B.1.3); the authors' code
takes those of CommonPool, and so does their recipe. At the small scale every tower is drawn at random, so the rows
differ in shape and size only.
"""

from dataclasses import replace

from sweeps.point import Point, Sweep, Value
from workloads.experiments import Scale, scaled_batch
from workloads.spec import ExperimentSpec, ImageTower, Modality, TextTower

_ROW: dict[str, Value] = {"epochs": 15, "batch_size": 200, "dna_encoder": "BarcodeBERT"}


def points(base: ExperimentSpec, scale: Scale) -> list[Point]:
    """The rows of the table that the data can fill, five with all modalities.

    Data sets of image features vary the MLP in place of the transformer. The authors' configurations fix the
    temperature, and so does their recipe.
    """
    base = replace(base, trainable_temperature=base.trainable_temperature and base.recipe != "authors")
    encoders = _paper_encoders(base) if scale == "paper" else _small_encoders(base)
    (clip_image, clip_text), (large_image, large_text) = encoders["clip"], encoders["large"]
    if base.image.kind == "features":
        clip_image = large_image = replace(base.image, width=2 * (base.image.width or 512))
    without_dna: tuple[Modality, ...] = tuple(name for name in base.modalities if name != "dna")
    small_row: dict[str, Value] = {"image_encoder": "timm(B/16)", "text_encoder": "BERT(small)"}
    clip_row: dict[str, Value] = {"image_encoder": "OpenCLIP(L/14)", "text_encoder": "OpenCLIP"}
    large_row: dict[str, Value] = {"image_encoder": "timm(L/16)", "text_encoder": "BERT(base-uncased)"}
    short = replace(base, batch_size=scaled_batch(200, scale))
    clip = replace(short, image=clip_image, text=clip_text)
    long = replace(base, batch_size=scaled_batch(500, scale), epochs=round(base.epochs * 38 / 15))
    no_dna = (
        Point({**_ROW, **clip_row, "dna_encoder": None}, "CLIP towers, no DNA", replace(clip, modalities=without_dna))
        if len(without_dna) >= 2
        else None
    )
    if "dna" not in base.modalities:  # the other rows of the table all align DNA
        return [no_dna] if no_dna else []
    with_dna = [
        Point({**_ROW, **clip_row}, "CLIP towers", clip),
        Point({**_ROW, **small_row}, "base towers", short),
        Point({**_ROW, **small_row, "batch_size": 500, "epochs": 38}, "base towers, longer", long),
        Point({**_ROW, **large_row}, "large towers", replace(short, image=large_image, text=large_text)),
    ]
    return [no_dna, *with_dna] if no_dna else with_dna


def _paper_encoders(base: ExperimentSpec) -> dict[str, tuple[ImageTower, TextTower]]:
    clip, weights = ("ViT-L-14-quickgelu", "openai")  # OpenAI trained with another form of GELU than CommonPool
    if base.recipe == "authors":
        clip, weights = ("ViT-L-14", "commonpool_xl_laion_s13b_b90k")
    bert_base = "google-bert/bert-base-uncased"
    return {
        "clip": (
            ImageTower(kind="openclip", architecture=clip, weights=weights),
            TextTower(
                kind="openclip",
                architecture=clip,
                weights=weights,
                width=768,
                depth=12,
                num_heads=12,
                hidden_width=3072,
                missing_rank=base.text.missing_rank,
            ),
        ),
        "large": (
            replace(base.image, architecture="vit_large_patch16_224"),
            replace(base.text, weights=bert_base, width=768, depth=12, num_heads=12, hidden_width=3072),
        ),
    }


def _small_encoders(base: ExperimentSpec) -> dict[str, tuple[ImageTower, TextTower]]:
    """The same contrasts among small towers: another kind of text tower, and twice the width and depth."""
    clip_text = replace(base.text, kind="openclip")
    large = (
        replace(base.image, width=144, depth=5),
        replace(base.text, width=128, depth=2, hidden_width=256),
    )
    return {"clip": (replace(base.image, depth=5), clip_text), "large": large}


SWEEP = Sweep("encoders", 14, "Do larger or pre-aligned encoders help?", points)
