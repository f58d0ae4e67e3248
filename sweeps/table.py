"""A published table as its sweep declares it: which rows, which columns, and where their numbers are found.

A table is a list of blocks that share their rows; a column of a block selects one measurement or one statistic. For a
run that no sweep has asked for, its spec says which row it stands for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from workloads.experiments import ALIGNED_EPOCHS
from workloads.spec import MODALITIES, RANKS, ExperimentSpec, Rank

Value = str | int | float | bool | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Column:
    """One published column."""

    header: str
    where: Mapping[str, str]
    """Fields of a measurement, or `statistic`."""
    published: bool = True
    """Whether the paper has this column; others are ours beside."""


@dataclass(frozen=True, slots=True)
class Block:
    """Columns that are read together."""

    title: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A row that is told apart by more than the fields of its points."""

    names: Mapping[str, Value]
    where: Mapping[str, str] = field(default_factory=dict)
    """What its measurements say beside what the columns say, such as the method."""
    published: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A published table, or one of our own."""

    number: int | str
    """In the paper; of a table that the paper lacks the name of its sweep."""
    caption: str
    row_fields: tuple[str, ...]
    """Fields of a point's row that name a row of the table, besides the level."""
    blocks: tuple[Block, ...]
    levels: tuple[Rank, ...] = ("species",)
    partition: str = "val"
    takes: Mapping[str, Value] = field(default_factory=dict)
    """What a point's row must say beside for the point to stand in this table."""
    rows: tuple[Row, ...] | None = None
    """The rows, where they are not simply those that the paper prints, in its order, and then ours."""
    epochs: int | None = None
    """Epochs of the published runs, where no field of a row says them."""
    dataset: str = "bioscan_1m"
    """Whose official split the published numbers are of, as `workloads.data.prepared.dataset` names it."""
    notes: tuple[str, ...] = ()
    """What a reader must know of its rows and columns, in sentences below it."""


main_table = partial(Table, levels=RANKS, partition="test", epochs=ALIGNED_EPOCHS)
"""One of the paper's main results: at all ranks, on test, of runs of their epochs."""
_MODALITIES = {"dna": "DNA", "image": "Image", "text": "Text"}
SUBSETS = (("Seen", "seen"), ("Unseen", "unseen"), ("H.M.", "harmonic_mean"))
DNA_DNA, IMAGE_IMAGE = ("dna", "dna"), ("image", "image")
IMAGE_DNA, IMAGE_TEXT = ("image", "dna"), ("image", "text")
WITH_DNA = (DNA_DNA, IMAGE_IMAGE, IMAGE_DNA)
"""Pairs of most tables."""
COST = Block(
    "Cost",
    (
        Column("CUDA memory, GB", {"statistic": "cuda_memory_gb"}),
        Column("Hours per epoch", {"statistic": "hours_per_epoch"}),
    ),
)


def subsets(title: str, published: bool = True, **where: str) -> Block:
    """A block of seen, unseen and harmonic mean; of columns that the paper lacks not `published`."""
    return Block(title, tuple(Column(head, {**where, "species": subset}, published) for head, subset in SUBSETS))


def by_subset(average: str, *pairs: tuple[str, str], published: bool = True) -> tuple[Block, ...]:
    """A block for each pair of query and key: seen, unseen and harmonic mean; of a table of our own not `published`."""
    title = f"{average.title()} top-1 accuracy"
    return tuple(
        subsets(f"{title}, {pair_name(query, key)}", published, query=query, key=key, average=average)
        for query, key in pairs
    )


def over_all(average: str) -> Block:
    """One block of three pairs, over seen and unseen queries together."""
    columns = tuple(
        Column(pair_name(query, key), {"query": query, "key": key, "average": average, "species": "all"})
        for query, key in WITH_DNA
    )
    return Block(f"{average.title()} top-1 accuracy, species", columns)


def pair_name(query: str, key: str) -> str:
    """A retrieval as tables call it."""
    return f"{_MODALITIES[query]} to {_MODALITIES[key]}"


def is_statistic(where: Mapping[str, Any]) -> bool:
    """Whether a column is a cost and no accuracy."""
    return "statistic" in where


_TIMM = {"vit_base_patch16_224": "timm(B/16)", "vit_large_patch16_224": "timm(L/16)"}
_BERT = {(512, 4): "BERT(small)", (768, 12): "BERT(base-uncased)"}
_DNA = {"barcodebert": "BarcodeBERT", "dnabert2": "DNABERT-2", "cnn": "CNN encoder"}

PLAIN: dict[str, Value] = {"bind_to": None, "frozen": False, "simclr_initialised": False}
"""Trained as the paper's main models are: all pairs, every tower, from the usual weights."""


def standing_of(spec: ExperimentSpec, untrained: bool = False, from_simclr: bool | None = None) -> dict[str, Value]:
    """Every field by which tables tell rows apart, and what they take.

    Args:
        spec: of the run.
        untrained: whether it was measured as it was before it was trained.
        from_simclr: whether its image tower began as one of SimCLR; None: the name of its weights tells.
    """
    names = in_order(spec.modalities)
    others = tuple(name for name in names if name != "dna")
    frozen = spec.objective == "align" and "dna" in names and all(_is_frozen(spec, name) for name in others)
    bind_to: tuple[str, ...] | None = None
    if spec.objective == "align" and (spec.bind_to is not None or frozen):
        bind_to = others if spec.bind_to in (None, "dna") else (str(spec.bind_to),)  # frozen pairs teach nothing
    if from_simclr is None:
        from_simclr = "-simclr-" in (spec.image.weights or "").rpartition("/")[2]
    trained = {"align": "clip", "simclr": "simclr", "masked": "masked"}.get(spec.objective, "classifier")
    return {
        "model": "CLIBD",
        "training": "no_alignment" if untrained else trained,
        "aligned": () if untrained else names,
        "bind_to": None if untrained else bind_to,
        "frozen": frozen and not untrained,
        "simclr_initialised": "image" in names and from_simclr,
        "batch_size": spec.batch_size,
        "epochs": spec.epochs,
        "amp": spec.precision == "bf16",
        "fine_tuning": "full" if spec.image.fine_tuning == "full_and_lora" else spec.image.fine_tuning,
        "temperature": "trainable" if spec.trainable_temperature else "fixed",
        "pooling": spec.dna.pooling,
        **{f"{name}_encoder": tower if name in names else None for name, tower in _encoders(spec).items()},
    }


def _encoders(spec: ExperimentSpec) -> dict[str, str]:
    """The towers as Table 14 calls them; others by the name of their architecture."""
    image, text = spec.image, spec.text
    shape = image.architecture.removeprefix("ViT-").removesuffix("-quickgelu").replace("-", "/")
    images = {"timm": _TIMM.get(image.architecture, image.architecture), "openclip": f"OpenCLIP({shape})"}
    bert = _BERT.get((text.width, text.depth), f"BERT({text.depth} x {text.width})")
    return {
        "image": images.get(image.kind, "features"),
        "dna": _DNA.get(spec.dna.kind, "features"),
        "text": "OpenCLIP" if text.kind == "openclip" else bert,
    }


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Modalities in the order image, DNA, text."""
    there = set(names)
    return tuple(name for name in MODALITIES if name in there)


def _is_frozen(spec: ExperimentSpec, modality: str) -> bool:
    return (spec.image if modality == "image" else spec.text).fine_tuning == "frozen"
