"""A published table as its sweep declares it: which rows, which columns, and where their numbers are found.

A table is a list of blocks that share their rows; a column of a block selects one measurement or one statistic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workloads.spec import Rank

Value = str | int | float | bool | tuple[str, ...] | None
Where = Mapping[str, str]
"""Fields of a measurement, or `statistic`."""


@dataclass(frozen=True, slots=True)
class Column:
    """One published column."""

    header: str
    where: Where
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
    where: Where = field(default_factory=dict)
    """Of its measurements, beside what the columns say; such as the method."""
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
    """Whose official split the published numbers are of, as `workloads.data.prepared.official` names it."""
    notes: tuple[str, ...] = ()
    """What a reader must know of its rows and columns, in sentences below it."""


MODALITY_NAMES = {"image": "images", "dna": "DNA", "text": "text"}
PAIR_NAMES = {"dna": "DNA", "image": "Image", "text": "Text"}
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
    return f"{PAIR_NAMES[query]} to {PAIR_NAMES[key]}"


def is_statistic(where: Mapping[str, Any]) -> bool:
    """Whether a column is a cost and no accuracy."""
    return "statistic" in where
