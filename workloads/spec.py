"""What a run is: the experiment spec, its fingerprint and its id.

A spec holds what decides the numbers and nothing else. Workers, devices, paths and loggers belong to
``orchestrator.resources`` and to the command line. This module imports neither torch nor Ray, so that the readers of
results can share it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_args

from workloads.errors import SpecError

Modality = Literal["image", "dna", "text"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)

Rank = Literal["order", "family", "genus", "species"]
RANKS: tuple[Rank, ...] = get_args(Rank)

Recipe = Literal["corrected"]
"""Which reading of the paper decides the details; `docs/fidelity.md` lists what each one does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTower:
    """Embeds images, or image features that someone else computed."""

    kind: Literal["vit", "features"] = "vit"
    """A timm vision transformer over pixels, or an MLP over precomputed features."""
    architecture: str = "vit_base_patch16_224"
    """timm's name of the transformer; without meaning for features."""
    weights: str | None = None
    """None: from scratch; `timm`: timm's published weights; else a local .safetensors or .pth file."""
    image_size: int = 224
    """Side of the square the transformer sees, pixels."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class DnaTower:
    """A BERT over non-overlapping 5-mers, as BarcodeBERT (CLIBD, section 3)."""

    weights: str | None = None
    """None: from scratch; else a Hugging Face id or a local folder of a BERT with a 5-mer vocabulary."""
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    hidden_width: int = 3072
    """Width of the feed-forward layers."""
    dropout: float = 0.1
    token_dropout: float = 0.0
    """Share of 5-mers replaced by the unknown token in training, against learning barcodes by heart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTower:
    """Embeds the taxonomic label of a specimen."""

    kind: Literal["bert", "clip"] = "bert"
    """A BERT pooled over its tokens, or CLIP's text transformer (Table 14, rows with OpenCLIP)."""
    weights: str | None = None
    """None: from scratch with the data set's own word pieces; else a Hugging Face id or a local folder."""
    width: int = 512
    depth: int = 4
    num_heads: int = 8
    hidden_width: int = 2048
    dropout: float = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """Low-rank adaptation of every attention layer's query and value (paper, section C.3)."""

    rank: int = 4
    alpha: int = 4
    """The update is scaled by alpha / rank, hence 1 as in the authors' code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentSpec:
    """Everything that decides a run's numbers, and nothing else."""

    dataset: str
    """Name of the prepared data set."""
    data_fingerprint: str
    """Fingerprint of its specimens and their splits; two data sets with one name are told apart by it."""
    synthetic: bool = False
    """Whether the specimens were drawn by `workloads.data.synthetic`; every number shown says so."""
    modalities: tuple[Modality, ...] = ("image", "dna", "text")
    image: ImageTower = field(default_factory=ImageTower)
    dna: DnaTower = field(default_factory=DnaTower)
    text: TextTower = field(default_factory=TextTower)
    embedding_size: int = 768
    """Size of the shared space."""
    fine_tuning: Literal["full", "lora"] = "full"
    lora: Lora = field(default_factory=Lora)
    batch_size: int = 2000
    """Global batch: specimens the loss sees per step, whatever the number of workers."""
    epochs: int = 15
    max_learning_rate: float = 5e-5
    """Top of the one-cycle schedule (paper, section 4.1: 1e-6 to 5e-5)."""
    initial_learning_rate: float = 1e-6
    """Where the one-cycle schedule starts."""
    weight_decay: float = 0.01
    """AdamW's, on weights but not on the temperature, biases and norms."""
    initial_temperature: float = 0.07
    trainable_temperature: bool = True
    precision: Literal["bf16", "fp32"] = "bf16"
    """bf16 autocast of the towers, or fp32 throughout; the loss is always fp32."""
    recipe: Recipe = "corrected"
    seed: int = 42

    def __post_init__(self) -> None:
        if len(set(self.modalities)) < 2 or len(set(self.modalities)) != len(self.modalities):
            raise SpecError(f"aligning needs two different modalities, got {', '.join(self.modalities) or 'none'}")
        if unknown := set(self.modalities) - set(MODALITIES):
            raise SpecError(f"no such modality: {', '.join(sorted(unknown))}; there are {', '.join(MODALITIES)}")
        if self.batch_size < 2 or self.epochs < 1:
            raise SpecError(f"a run needs a batch of 2 and 1 epoch at least, got {self.batch_size} and {self.epochs}")
        if not 0 < self.initial_learning_rate <= self.max_learning_rate:
            raise SpecError(
                f"the learning rate cannot go from {self.initial_learning_rate} up to {self.max_learning_rate}"
            )
        if self.initial_temperature <= 0:
            raise SpecError(f"the temperature must be positive, got {self.initial_temperature}")

    @property
    def id(self) -> str:
        """Readable and unique, such as ``insects-image+dna+text-b500-e15-s42-9d814901``."""
        names = "+".join(self.modalities)
        return f"{self.dataset}-{names}-b{self.batch_size}-e{self.epochs}-s{self.seed}-{fingerprint(self)}"


def _non_default(value: Any) -> Iterator[tuple[str, Any]]:
    """Fields of a frozen dataclass that differ from their defaults, nested ones as mappings."""
    for item in fields(value):
        current = getattr(value, item.name)
        if item.default is not MISSING and current == item.default:
            continue
        if is_dataclass(current):
            if nested := dict(_non_default(current)):
                yield item.name, nested
            continue
        yield item.name, float(current) if item.type is float else current  # 0 and 0.0 are one value: one id


def fingerprint(spec: ExperimentSpec) -> str:
    """Eight hexadecimal digits over the fields that differ from their defaults.

    A new field with a default therefore keeps the ids of finished runs.
    """
    canonical = json.dumps(dict(_non_default(spec)), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def spec_to_dict(spec: ExperimentSpec) -> dict[str, Any]:
    """The full spec as plain values, defaults included, equal to what JSON gives back."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    return plain


def spec_from_dict(values: Mapping[str, Any]) -> ExperimentSpec:
    """The spec that `spec_to_dict` wrote.

    Raises:
        SpecError: a field is unknown, so the file was written by a newer version.
    """
    nested = {"image": ImageTower, "dna": DnaTower, "text": TextTower, "lora": Lora}
    try:
        built = {name: cls(**values[name]) for name, cls in nested.items() if name in values}
        rest = {name: value for name, value in values.items() if name not in nested}
        return ExperimentSpec(**{**rest, **built, "modalities": tuple(values["modalities"])})
    except (TypeError, KeyError) as error:
        raise SpecError(f"a stored spec cannot be read by this version: {error}") from error


def first_difference(stored: ExperimentSpec, asked: ExperimentSpec) -> tuple[str, str, str] | None:
    """Name and both values of the first field in which two specs differ, or None."""
    one, other = spec_to_dict(stored), spec_to_dict(asked)
    for name, value in one.items():
        if value != other[name]:
            return name, str(value), str(other[name])
    return None
