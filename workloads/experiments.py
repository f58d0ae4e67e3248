"""The experiments that can be trained by name, for a prepared data set, at two scales.

`paper` takes the published encoders and hyperparameters, `small` what two CPU cores train in minutes. Imports neither
torch nor Ray.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from workloads.errors import SpecError
from workloads.recipes import with_recipe
from workloads.spec import MODALITIES, ExperimentSpec, Modality, Recipe
from workloads.tower_specs import WITHOUT_HEAD, DnaTower, ImageTower, TextTower

Scale = Literal["paper", "small"]
"""`paper`: the published encoders and batches. `small`: towers of a million parameters and a tenth of the batch."""

Experiment = Literal[
    "align",
    "image-dna",
    "image-text",
    "simclr-image",
    "simclr-dna",
    "pretrain-dna",
    "bind-image",
    "bind-image-text",
    "classify",
    "classify-dna",
]

ALIGNED_EPOCHS = 50
"""Epochs of the paper's main results (section 5, implementation details); its ablations, which are sweeps, have 15."""
BIOCLIP = "hf-hub:imageomics/bioclip"
FROM_SCRATCH = tuple(f"{name}.weights=none" for name in MODALITIES)
"""Settings of `workloads.fields` under which all towers keep their shapes and draw their weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """What an experiment has to know of a prepared data set."""

    name: str
    fingerprint: str
    synthetic: bool
    modalities: tuple[Modality, ...]
    image_features: bool = False
    """Whether its images are features that another model computed."""
    dna_features: bool = False
    """Whether its barcodes are such features."""


def base_spec(scale: Scale, data: Data, recipe: Recipe = "corrected", seed: int = 42) -> ExperimentSpec:
    """The alignment of everything that a data set has, which every sweep varies.

    Args:
        scale: the published encoders, or small ones.
        data: the data set.
        recipe: the reading of the paper.
        seed: of weights, order and dropout.
    """
    return with_recipe(_align(_encoders(scale, data, seed), scale), recipe)


def experiment_spec(
    name: Experiment, scale: Scale, data: Data, recipe: Recipe = "corrected", seed: int = 42
) -> ExperimentSpec:
    """The spec of a named experiment.

    Raises:
        SpecError: the data set lacks a modality that it needs.
    """
    spec = _VARIANTS[name](_encoders(scale, data, seed), scale)
    if scale == "paper" and spec.objective == "align":
        spec = replace(spec, epochs=ALIGNED_EPOCHS)
    return with_recipe(spec, recipe)


def scaled_batch(batch_size: int, scale: Scale) -> int:
    """A published batch size at a scale."""
    return batch_size if scale == "paper" else batch_size // 10


def starting_from(spec: ExperimentSpec, name: str, trained: ExperimentSpec) -> ExperimentSpec:
    """The same experiment with the towers of a finished run, where it has them.

    Args:
        spec: the experiment.
        name: of the finished run, `run:ID`, or of a converted model, `sha256:DIGEST`.
        trained: the spec it was made from; its towers' shapes are taken, and the size of its space where its towers
            have a head into that. An image tower that compared timm's own logits (SimCLR) has none; it gets a new one,
            as in the authors' start of CLIBD (Table 11). So does a tower that was pre-trained, whose layer for hidden
            5-mers is left behind. What is pre-trained itself takes no head.

    Raises:
        SpecError: the run has none of the towers.
    """
    shared = [modality for modality in spec.modalities if modality in trained.modalities]
    if not shared:
        raise SpecError(f"{name} has no tower for {', '.join(spec.modalities)}")
    towers: dict[str, Any] = {}
    for modality in shared:
        own = spec.tower(modality)
        kept: dict[str, Any] = {"fine_tuning": own.fine_tuning, "lora": own.lora}
        kept |= {"head": own.head} if isinstance(own, ImageTower) else {}
        towers[modality] = replace(trained.tower(modality), weights=name, **kept)
    headless = trained.image.head == "pretrained" and trained.modalities == ("image",)
    size = spec.embedding_size if headless else trained.embedding_size
    if spec.objective == "masked":
        size = towers["dna"].width
    elif trained.objective == "masked" and trained.dna.pooling not in WITHOUT_HEAD:
        size = spec.embedding_size
    return replace(spec, embedding_size=size, **towers)


_DNA_FEATURES = DnaTower(kind="features", width=512, depth=3, dropout=0.5)
"""Three linear layers with a hidden width of 512, as the authors' code has for features."""


def _encoders(scale: Scale, data: Data, seed: int) -> ExperimentSpec:
    """Towers for everything that a data set has; one that has a single modality can only be trained alone."""
    paper = ExperimentSpec(
        objective="align" if len(data.modalities) > 1 else "simclr",
        dataset=data.name,
        data_fingerprint=data.fingerprint,
        synthetic=data.synthetic,
        modalities=data.modalities,
        image=ImageTower(kind="features", dropout=0.5) if data.image_features else ImageTower(weights="timm"),
        dna=_DNA_FEATURES if data.dna_features else DnaTower(weights="barcodebert-5mer"),
        text=TextTower(weights="prajjwal1/bert-small"),
        seed=seed,
    )
    return paper if scale == "paper" else _small(paper)


def _small(spec: ExperimentSpec) -> ExperimentSpec:
    """Towers of about a million parameters, from scratch, with learning rates that suit them."""
    has_features = spec.image.kind == "features"
    if has_features:
        image = ImageTower(kind="features", width=2048, depth=2, dropout=0.7)
    else:
        image = ImageTower(
            architecture="vit_tiny_patch16_224", image_size=48, patch_size=8, width=96, depth=3, num_heads=3
        )
    dna = DnaTower(width=64, depth=1, num_heads=2, hidden_width=128, dropout=0.0, token_dropout=0.1)
    return replace(
        spec,
        image=image,
        dna=spec.dna if spec.dna.kind == "features" else dna,
        text=TextTower(width=64, depth=1, num_heads=2, hidden_width=128, dropout=0.0),
        embedding_size=512 if has_features else 256,
        # An MLP over features learns a thousand specimens by heart once the temperature falls (docs/log.md).
        initial_temperature=0.1 if has_features else 0.07,
        trainable_temperature=not has_features,
        batch_size=scaled_batch(spec.batch_size, "small"),
        max_learning_rate=3e-3,
        initial_learning_rate=6e-5,
        epochs=14 if spec.synthetic else 25,
    )


def _present(spec: ExperimentSpec, *names: Modality) -> tuple[Modality, ...]:
    if missing := [name for name in names if name not in spec.modalities]:
        raise SpecError(f"{spec.dataset} has no {' and no '.join(missing)}, which this experiment needs")
    return names


def _align(spec: ExperimentSpec, scale: Scale) -> ExperimentSpec:
    return replace(spec, objective="align")


def _pair(image: Modality, other: Modality, spec: ExperimentSpec, scale: Scale) -> ExperimentSpec:
    return replace(spec, modalities=_present(spec, image, other))


def _simclr(modality: Modality, spec: ExperimentSpec, scale: Scale) -> ExperimentSpec:
    """Section B.1: one tower learns to know two views of a specimen, for 30 epochs at the paper's scale.

    The paper does so for images; for barcodes it is the baseline that its reviewers missed.
    """
    return replace(
        spec,
        objective="simclr",
        modalities=_present(spec, modality),
        augmentation="simclr",
        trainable_temperature=False,
        initial_temperature=0.07,
        epochs=30 if scale == "paper" else spec.epochs,
    )


def _masked(spec: ExperimentSpec, scale: Scale) -> ExperimentSpec:
    """BarcodeBERT's pre-training (arXiv:2311.02401): the tower learns which 5-mers are hidden, from scratch.

    Its code has 35 epochs and one cycle up to 1e-4 for each 64 barcodes of a batch; the batch is ours.
    """
    rates: dict[str, Any] = {"max_learning_rate": 8e-4, "initial_learning_rate": 3.2e-5} if scale == "paper" else {}
    return replace(
        spec,
        objective="masked",
        modalities=_present(spec, "dna"),
        dna=replace(spec.dna, weights=None),
        embedding_size=spec.dna.width,
        trainable_temperature=False,
        batch_size=512 if scale == "paper" else 128,
        epochs=35 if scale == "paper" else spec.epochs,
        **rates,
    )


_PUBLISHED: Mapping[str, Any] = {"kind": "openclip", "architecture": "ViT-B-16", "weights": BIOCLIP}
_BIOCLIP_IMAGE = ImageTower(**_PUBLISHED, fine_tuning="frozen")
_BIOCLIP_TEXT = TextTower(**_PUBLISHED, width=512, depth=12, num_heads=8, hidden_width=2048, fine_tuning="frozen")
"""BioCLIP's towers; the sizes are those of its ViT-B/16."""


def _bound(centre: Modality, spec: ExperimentSpec, scale: Scale) -> ExperimentSpec:
    """Table 12: DNA learns to meet frozen images, or frozen images and text, of BioCLIP.

    Bound to the image, DNA meets only images; bound to the DNA, it meets both. At the small scale the frozen towers
    are those of another run.
    """
    names = _present(spec, *(("image", "dna", "text") if centre == "dna" else ("image", "dna")))
    spec = replace(spec, modalities=names, bind_to=centre)
    if scale == "paper":
        return replace(spec, image=_BIOCLIP_IMAGE, text=_BIOCLIP_TEXT, embedding_size=512)
    return replace(spec, image=replace(spec.image, fine_tuning="frozen"), text=replace(spec.text, fine_tuning="frozen"))


def _classify(modality: Modality, spec: ExperimentSpec, scale: Scale) -> ExperimentSpec:
    """One tower and a linear layer learn the seen species.

    Of images it is the supervised rows of Tables 3, 15 and 16, in the authors' settings: AdamW, one cycle to 1e-4, a
    batch of 150, 15 epochs, images as they are. Of barcodes it is the fine-tuned encoders of Table 4; their code has
    12 epochs in batches of 32, with SGD, for which one cycle of AdamW stands here as elsewhere.
    """
    spec = replace(
        spec,
        objective="classify",
        modalities=_present(spec, modality),
        augmentation="none",
        trainable_temperature=False,
        batch_size=scaled_batch(150, scale) if modality == "image" else 32,
    )
    if scale == "small":
        return spec
    if modality == "image":
        return replace(spec, max_learning_rate=1e-4, initial_learning_rate=4e-6)
    return replace(spec, max_learning_rate=5e-5, initial_learning_rate=2e-6, epochs=12)


_VARIANTS: Mapping[Experiment, Callable[[ExperimentSpec, Scale], ExperimentSpec]] = {
    "align": _align,
    "image-dna": partial(_pair, "image", "dna"),
    "image-text": partial(_pair, "image", "text"),
    "simclr-image": partial(_simclr, "image"),
    "simclr-dna": partial(_simclr, "dna"),
    "pretrain-dna": _masked,
    "bind-image": partial(_bound, "image"),
    "bind-image-text": partial(_bound, "dna"),
    "classify": partial(_classify, "image"),
    "classify-dna": partial(_classify, "dna"),
}
