"""What a run is: the experiment spec, its fingerprint and its id.

A spec holds what decides the numbers and nothing else. Workers, devices, paths and loggers belong to
``orchestrator.fleet`` and to the command line. This module imports neither torch nor Ray, so that the readers of
results can share it.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args

from workloads.barcode_views import AS_SEQUENCED, LONGEST_KMER, BarcodeViews
from workloads.errors import SpecError
from workloads.naming import slug
from workloads.plain_values import misfit
from workloads.tower_specs import BEHIND_TRANSFORM, WITHOUT_HEAD, DnaTower, ImageTower, Lora, TextTower

Modality = Literal["image", "dna", "text"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)

Rank = Literal["order", "family", "genus", "species"]
RANKS: tuple[Rank, ...] = get_args(Rank)

Recipe = Literal["paper", "authors", "corrected"]
"""Which reading of the paper decides the details: its text, its authors' code, or the best we know.

`workloads.recipes` sets the fields of each; `docs/fidelity.md` lists them with the test that pins each.
"""

Fusion = Literal["mean", "concatenation", "gate"]
"""How image and barcode of a specimen become one row (`workloads.evaluation.fusion`)."""

PositivesBy = Literal["specimen", "bin", "species", "ranks"]
RANK_WEIGHTS = (1.0, 0.2, 0.05, 0.02)
"""Of species, genus, family and order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentSpec:
    """Everything that decides a run's numbers, and nothing else."""

    dataset: str
    """Name of the prepared data set."""
    data_fingerprint: str
    """Fingerprint of its specimens and their splits; two data sets with one name are told apart by it."""
    synthetic: bool = False
    """Whether the specimens were drawn by `workloads.data.synthetic.insects`; every number shown says so."""
    objective: Literal["align", "simclr", "classify", "masked"] = "align"
    """Align modalities; teach one tower to know two views of a specimen (section B.1); teach it the seen species
    with a linear layer behind it (section B.2, the supervised rows); or teach a BarcodeBERT which 5-mers of a barcode
    are hidden (arXiv:2311.02401)."""
    masked_share: float = 0.5
    """`masked`: share of a barcode's known 5-mers that are hidden, each by itself, as in BarcodeBERT's code."""
    masked_loss: Literal["hidden", "all"] = "hidden"
    """`masked`: which known 5-mers are to be told: the hidden ones alone, or all, as in BarcodeBERT's code."""
    genus_weight: float = 0.0
    """`masked`: weight of the cross entropy of the genus, over barcodes that have one; 0: without."""
    modalities: tuple[Modality, ...] = ("image", "dna", "text")
    bind_to: Modality | None = None
    """Only pairs with this modality are aligned, as in ImageBind (Table 12); None: all pairs."""
    positives: PositivesBy = "specimen"
    """Whose embeddings a specimen is aligned with: its own alone; also those of its BIN, or of its species; or at
    each rank those that share it, the ranks by weight (`workloads.training.positives`)."""
    rank_weights: tuple[float, ...] = RANK_WEIGHTS
    """Under `ranks` the weights of species, genus, family and order, which those who share a name there share out."""
    image: ImageTower = field(default_factory=ImageTower)
    dna: DnaTower = field(default_factory=DnaTower)
    text: TextTower = field(default_factory=TextTower)
    embedding_size: int = 768
    """Size of the shared space."""
    augmentation: Literal["crop_and_turn", "simclr", "none"] = "crop_and_turn"
    """How images vary in training: the authors' crops, flips and turns; SimCLR's crops, colours and blur; or not."""
    batch_size: int = 2000
    """Global batch: specimens the loss sees per step, whatever the number of workers and of micro-batches."""
    epochs: int = 15
    epoch_order: Literal["fresh", "same"] = "fresh"
    """Whether each epoch is shuffled anew; the authors' code repeats the first epoch's batches."""
    optimizer: Literal["adamw", "adam"] = "adamw"
    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    """One cycle up and down, or the maximum throughout: what the authors' schedule for SimCLR comes to."""
    max_learning_rate: float = 5e-5
    """Top of the one-cycle schedule (paper, section 4.1: 1e-6 to 5e-5), before scaling."""
    initial_learning_rate: float = 1e-6
    """Where the one-cycle schedule starts, before scaling."""
    learning_rate_scaling: Literal["none", "linear", "sqrt"] = "none"
    """How both grow with the batch, from 1 at a batch of 500 (the authors' code: linear)."""
    weight_decay: float = 0.01
    decayed: Literal["weights", "everything"] = "weights"
    """Whether the temperature, biases and norms decay too."""
    initial_temperature: float = 0.07
    trainable_temperature: bool = True
    precision: Literal["bf16", "fp32", "tf32"] = "bf16"
    """bf16 autocast of the towers, fp32 throughout, or fp32 with TF32 matrix products; the loss is always fp32."""
    evaluation_precision: Literal["recipe", "bf16", "tf32", "fp32"] = "recipe"
    """How a trained model embeds, when an epoch is selected and in the end. `recipe`: as it was trained under
    `corrected`, and in fp32 under `paper` and `authors`, as the authors' code does. TF32 takes a GPU a fraction of that
    time and gives other last digits, so it is another run (`workloads.recipes.evaluation_precision`)."""
    selection: Literal["last", "image_to_dna", "mean_of_336"] = "last"
    """Which epoch's weights are kept: the last; the best harmonic mean of image-to-DNA species accuracy (macro) on
    validation; or the best mean of the authors' 336 accuracies on validation. Test is never looked at."""
    fusion: Fusion | None = None
    """Measure queries and keys of image and DNA together too, fused so; the gate is learned behind the trained towers,
    which no choice changes."""
    first_selected_epoch: int = 0
    """Epochs before this one, counted from 0, are not looked at for selection."""
    recipe: Recipe = "corrected"
    """Name of the reading that set the fields above; they, not it, decide."""
    seed: int = 42

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank_weights", tuple(map(float, self.rank_weights)))  # 1 and 1.0 are one: one id
        if unknown := set(self.modalities) - set(MODALITIES):
            raise SpecError(f"no such modality: {', '.join(sorted(unknown))}; there are {', '.join(MODALITIES)}")
        if self.objective == "align":
            self._check_alignment()
        elif len(self.modalities) != 1:
            raise SpecError(f"'{self.objective}' trains one tower, got {', '.join(self.modalities) or 'none'}")
        if self.fusion is not None and (self.objective != "align" or not {"image", "dna"} <= set(self.modalities)):
            raise SpecError(f"fusion '{self.fusion}' is of aligned images and barcodes; leave it out")
        if self.batch_size < 2 or self.epochs < 1:
            raise SpecError(f"a run needs a batch of 2 and 1 epoch at least, got {self.batch_size} and {self.epochs}")
        if not 0 < self.initial_learning_rate <= self.max_learning_rate:
            rates = f"from {self.initial_learning_rate} up to {self.max_learning_rate}"
            raise SpecError(f"the learning rate cannot go {rates}")
        if self.initial_temperature <= 0:
            raise SpecError(f"the temperature must be positive, got {self.initial_temperature}")
        if not 0 <= self.first_selected_epoch < self.epochs:
            raise SpecError(f"of {self.epochs} epoch(s) none is selected from epoch {self.first_selected_epoch} on")
        self._check_positives()
        self._check_dna()
        if self.objective == "masked":
            self._check_masking()

    def _check_positives(self) -> None:
        if self.positives != "specimen" and self.objective != "align":
            raise SpecError(
                f"'{self.objective}' has no positives by {self.positives}, which are of 'align'; "
                "set positives to specimen"
            )
        weights = self.rank_weights
        shown = ",".join(f"{weight:g}" for weight in weights)
        fine = len(weights) == len(RANKS) and all(0 <= weight <= 1 for weight in weights) and any(weights)
        if not fine:
            raise SpecError(
                f"rank_weights is {shown or 'empty'}; it has four numbers from 0 to 1, one at least above 0, of "
                "species, genus, family and order: set rank_weights to 1,0.2,0.05,0.02"
            )
        if self.positives != "ranks" and weights != RANK_WEIGHTS:
            raise SpecError(f"rank_weights {shown} count where positives is ranks; set positives to ranks")

    def _check_alignment(self) -> None:
        if len(set(self.modalities)) < 2 or len(set(self.modalities)) != len(self.modalities):
            raise SpecError(f"aligning needs two different modalities, got {', '.join(self.modalities) or 'none'}")
        if self.bind_to is not None and self.bind_to not in self.modalities:
            raise SpecError(f"nothing can be bound to {self.bind_to}, which is not among {', '.join(self.modalities)}")
        if self.selection == "image_to_dna" and not {"image", "dna"} <= set(self.modalities):
            raise SpecError("selection by image to DNA needs both modalities; choose 'last' or 'mean_of_336'")

    def _check_dna(self) -> None:
        if self.dna.pooling == "masked_mean" and self.dna.tokens == "authors" and self.dna.kind == "barcodebert":
            raise SpecError("the authors' 5-mer ids have no padding to mask; choose pooling 'mean' or 'softmax_mean'")
        masked = self.objective == "masked"
        headless = masked or (self.dna.pooling in WITHOUT_HEAD and "dna" in self.modalities)
        if self.dna.kind == "barcodebert" and headless and self.dna.width != self.embedding_size:
            what = "pre-training" if masked else f"pooling '{self.dna.pooling}'"
            raise SpecError(
                f"{what} has no layer into the shared space, whose size is then the tower's "
                f"width: set embedding_size to {self.dna.width}, not {self.embedding_size}"
            )
        if self.dna.kind == "features" and self.dna.views != AS_SEQUENCED:
            raise SpecError("features of barcodes have no views; leave dna.views out, or choose another dna.kind")
        self._check_kept()
        sizes = self.dna.kmers
        if not sizes or list(sizes) != sorted({*sizes} & {*range(1, LONGEST_KMER + 1)}):
            raise SpecError(
                f"dna.kmers is {', '.join(map(str, sizes)) or 'empty'}; it is sizes from 1 to {LONGEST_KMER}, the "
                "smallest first, such as 5 or 4,6"
            )

    def _check_kept(self) -> None:
        dna = self.dna
        if not 0 <= dna.kept < 1:
            raise SpecError(f"dna.kept is a share of an embedding, from 0 to below 1, got {dna.kept}")
        residual = (dna.kind, dna.counts, dna.hidden) == ("kmers", "hellinger", "residual") and len(dna.kmers) == 1
        if dna.kept and not (residual and self.objective in ("align", "simclr")):
            raise SpecError(
                "dna.kept is for embeddings of dna.kind=kmers with dna.counts=hellinger, dna.hidden=residual and one "
                "size of k-mers, and for no classifier"
            )

    def _check_masking(self) -> None:
        if self.modalities != ("dna",) or self.dna.kind != "barcodebert":
            tower = f"a DNA tower of kind '{self.dna.kind}'" if self.modalities == ("dna",) else "another modality"
            raise SpecError(f"pre-training hides 5-mers of BarcodeBERT, and {tower} has none: set dna.kind=barcodebert")
        if self.dna.pooling in BEHIND_TRANSFORM:
            raise SpecError(
                f"pooling '{self.dna.pooling}' is behind a layer that pre-training does not reach; set dna.pooling to "
                "masked_mean or mean"
            )
        if not 0 < self.masked_share < 1:
            raise SpecError(f"a share of 5-mers is hidden, more than 0 and less than 1: {self.masked_share} is none")
        if not (self.genus_weight >= 0 and math.isfinite(self.genus_weight)):
            raise SpecError(f"the weight of the genus is 0 or more, got {self.genus_weight}")

    def tower(self, modality: Modality) -> ImageTower | DnaTower | TextTower:
        """The tower of a modality."""
        tower: ImageTower | DnaTower | TextTower = getattr(self, modality)
        return tower

    def with_weights(self, weights: Mapping[Modality, str]) -> "ExperimentSpec":
        """The same spec, some of whose towers begin with other weights."""
        towers: dict[str, Any] = {name: replace(self.tower(name), weights=own) for name, own in weights.items()}
        return replace(self, **towers)

    @property
    def id(self) -> str:
        """Readable and unique, such as ``insects-image+dna+text-b500-e15-s42-9d814901``."""
        names = "+".join(self.modalities)
        names = names if self.objective == "align" else f"{self.objective}-{names}"
        return f"{slug(self.dataset)}-{names}-b{self.batch_size}-e{self.epochs}-s{self.seed}-{_fingerprint(self)}"


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


def _fingerprint(spec: ExperimentSpec) -> str:
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
        SpecError: a field is unknown, so the file was written by a newer version, or a value is of another type.
    """
    if reason := misfit(values, ExperimentSpec) or ("it says no modalities" if "modalities" not in values else None):
        raise SpecError(f"a stored spec cannot be read by this version: {reason}")
    towers = {name: _tower(cls, values[name]) for name, cls in _TOWERS.items() if name in values}
    rest = {name: value for name, value in values.items() if name not in towers}
    return ExperimentSpec(**{**rest, **towers, "modalities": tuple(values["modalities"])})


def _tower(cls: Any, values: Mapping[str, Any]) -> Any:
    lora = dict(values.get("lora", {}))
    if lora.get("layers") is not None:
        lora["layers"] = tuple(lora["layers"])
    own: dict[str, Any] = {**values, "lora": Lora(**lora)}
    if "views" in values:
        own["views"] = BarcodeViews(**values["views"])
    if "kmers" in values:
        own["kmers"] = tuple(values["kmers"])
    return cls(**own)


_TOWERS = {"image": ImageTower, "dna": DnaTower, "text": TextTower}


def first_difference(stored: ExperimentSpec, asked: ExperimentSpec) -> tuple[str, str, str] | None:
    """Name and both values of the first field in which two specs differ, or None."""
    one, other = spec_to_dict(stored), spec_to_dict(asked)
    for name, value in one.items():
        if value != other[name]:
            return name, str(value), str(other[name])
    return None
