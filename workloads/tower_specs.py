"""What an experiment says of its towers: their kinds, sizes and weights, and what of them is trained.

Parts of `workloads.spec.ExperimentSpec`. Imports neither torch nor Ray.
"""

from dataclasses import dataclass, field
from typing import Literal

from workloads.barcode_views import BarcodeViews, Strand

FineTuning = Literal["full", "lora", "full_and_lora", "frozen"]
"""What of a tower is trained, beside its new head: everything; adapters only; everything and adapters beside, as the
authors' "full fine-tuning" of the vision transformer really is; or nothing."""


RUN_PREFIX, DIGEST_PREFIX = "run:", "sha256:"
"""Weights of a finished run by its id, and of a folder or file from elsewhere by the SHA-256 of its tensors' file.

Any tower takes both. Where they lie is no part of a spec (`workloads.models.places`); older specs have a path instead.
"""

DnaPooling = Literal["masked_mean", "mean", "softmax_mean", "logits_mean", "hidden_mean", "cls_token"]
WITHOUT_HEAD: tuple[DnaPooling, ...] = ("hidden_mean", "cls_token")
"""Poolings of DNA whose embedding is a state itself, with no layer behind it."""
BEHIND_TRANSFORM: tuple[DnaPooling, ...] = ("softmax_mean", "logits_mean")
"""Those that have the transform of BERT's masked-language head in front of that layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """Low-rank adaptation of the query and value of attention layers (paper, section C.3)."""

    rank: int = 4
    alpha: int = 4
    """The update is scaled by alpha / rank, hence 1 as in the authors' code."""
    layers: tuple[int, ...] | None = None
    """Which blocks are adapted, counted from 0; None: all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTower:
    """Embeds images, or image features that someone else computed."""

    kind: Literal["timm", "openclip", "features"] = "timm"
    """Any timm model over pixels, the image tower of an OpenCLIP model, or an MLP over precomputed features."""
    architecture: str = "vit_base_patch16_224"
    """timm's or OpenCLIP's name of the model; without meaning for features and for a whole model from the hub."""
    weights: str | None = None
    """None: from scratch. `timm`: timm's published weights. For OpenCLIP a published tag, or `hf-hub:owner/name`. Else
    `run:ID` or `sha256:DIGEST`."""
    image_size: int = 224
    """Side of the square the tower sees, pixels."""
    patch_size: int | None = None
    """Overrides the architecture's patch, pixels."""
    width: int | None = None
    """Overrides the embedding width; for features the hidden width (None: 512, as in the authors' code)."""
    depth: int | None = None
    """Overrides the number of blocks; for features the number of linear layers (None: 3)."""
    num_heads: int | None = None
    """Overrides the number of attention heads."""
    dropout: float = 0.0
    """Dropout between the layers of the MLP over features."""
    noise: float = 0.0
    """Deviation of the normal noise that training adds to each normalised feature, whose own is 1, against learning
    specimens by heart."""
    hidden: Literal["relu", "residual"] = "relu"
    """Hidden layers over features, as `DnaTower.hidden` has them over counts."""
    head: Literal["new", "pretrained"] = "new"
    """A new linear layer into the shared space, or timm's own classifier (the authors' SimCLR compares its logits)."""
    pixel_values: Literal["normalised", "unit"] = "normalised"
    """With the mean and deviation that the weights expect, or in [0, 1] as the authors feed timm models."""
    fine_tuning: FineTuning = "full"
    lora: Lora = field(default_factory=Lora)


@dataclass(frozen=True, kw_only=True, slots=True)
class DnaTower:
    """Embeds barcodes, or DNA features that someone else computed."""

    kind: Literal["barcodebert", "dnabert2", "cnn", "features", "kmers"] = "barcodebert"
    """A BERT over non-overlapping 5-mers (CLIBD, section 3); DNABERT-2; the CNN of the Bayesian zero-shot paper; an MLP
    over precomputed features, or over how often each k-mer occurs at any offset."""
    weights: str | None = None
    """None: from scratch. `barcodebert-5mer` as `clibd convert` keeps it, a Hugging Face id, `run:ID` or
    `sha256:DIGEST`."""
    width: int = 768
    """Width of the states; for features and counts the hidden width."""
    depth: int = 12
    """Number of blocks; for features and counts the number of linear layers."""
    num_heads: int = 12
    hidden_width: int = 3072
    """Width of the feed-forward layers."""
    dropout: float = 0.1
    token_dropout: float = 0.0
    """Share of 5-mers replaced by the unknown token in training, against learning barcodes by heart."""
    tokens: Literal["own", "authors"] = "own"
    """Which of the two stored 5-mer tokenisations (`specimens.barcode`); only our own has padding to mask."""
    pooling: DnaPooling = "masked_mean"
    """What of a barcode's tokens is its embedding (`workloads.models.bert`). `masked_mean`, `mean`: the mean of
    the last states over real tokens (CLIBD, section 3), or over all positions, and a new layer. `softmax_mean`: the
    authors' published form, the mean over all positions of a softmax over the embedding, behind the transform of
    BERT's masked-language head. Their later variants (github.com/bioscan-ml/clibd, issue 33): `logits_mean`, the same
    without the softmax; `hidden_mean` and `cls_token`, the mean of all last states and the first of them, themselves
    the embedding, so that the shared space has the tower's width."""
    kmers: tuple[int, ...] = (5,)
    """Bases of the k-mers that are counted, of each size side by side."""
    strand: Strand = "forward"
    """Whether a k-mer is counted as it is, or as one with its reverse complement, so that a turned barcode counts the
    same."""
    counts: Literal["standardised", "hellinger"] = "standardised"
    """Each count less its mean and over its deviation, or the square roots of the shares at unit length: cosines of
    these are Bhattacharyya's coefficients, and parts of barcodes have about the angles of the whole."""
    hidden: Literal["relu", "residual"] = "relu"
    """Hidden layers over counts: with ReLU and dropout; or with layer norm, GELU and dropout, whose result stands
    beside the counts themselves before the last layer (`workloads.models.kmer_tower`)."""
    kept: float = 0.0
    """Share of an embedding's squared length that `hellinger` counts themselves have, of one size of k-mers, in
    dimensions of the shared space that other modalities leave empty: what barcodes tell of each other stays, whatever
    they learn of images. A cosine with an image is thereby sqrt(1 - kept) at most, and a temperature has to follow."""
    views: BarcodeViews = field(default_factory=BarcodeViews)
    """How barcodes vary in training; features of them cannot."""
    fine_tuning: FineTuning = "full"
    lora: Lora = field(default_factory=Lora)


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTower:
    """Embeds the taxonomic label of a specimen."""

    kind: Literal["bert", "openclip"] = "bert"
    """A BERT pooled over its tokens, or the text tower of an OpenCLIP model (Tables 12 and 14)."""
    architecture: str = "ViT-L-14"
    """OpenCLIP's name of the model; without meaning for BERT and for a whole model from the hub."""
    weights: str | None = None
    """None: from scratch, for BERT with the data set's own word pieces. A Hugging Face id, for OpenCLIP as for images;
    `run:ID` or `sha256:DIGEST`."""
    width: int = 512
    depth: int = 4
    num_heads: int = 8
    hidden_width: int = 2048
    dropout: float = 0.1
    pooling: Literal["masked_mean", "mean"] = "masked_mean"
    """Mean over real tokens, or over all `max_tokens` positions as in the authors' code; OpenCLIP has its own."""
    max_tokens: int = 48
    """Longer labels are cut; the longest of BIOSCAN-1M have some 30 word pieces. The authors cut at 20."""
    missing_rank: Literal["left_out", "not_classified"] = "left_out"
    """What stands for a rank without a name."""
    fine_tuning: FineTuning = "full"
    lora: Lora = field(default_factory=Lora)
