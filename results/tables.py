"""The paper's tables, declared: which rows, which columns, and where their numbers are found.

A table is a list of blocks that share their rows; a column of a block selects one measurement or one statistic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from workloads.spec import Rank


@dataclass(frozen=True, slots=True)
class Column:
    """One published column."""

    header: str
    where: Mapping[str, str]
    """Fields of a measurement, or `statistic`."""


@dataclass(frozen=True, slots=True)
class Block:
    """Columns that are read together."""

    title: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A published table."""

    number: int
    caption: str
    sweep: str
    row_fields: tuple[str, ...]
    """Fields of a point that name a row, besides the level."""
    levels: tuple[Rank, ...] = ("species",)
    blocks: tuple[Block, ...] = field(default_factory=tuple)
    partition: str = "val"


_DNA_DNA = {"query": "dna", "key": "dna"}
_IMAGE_IMAGE = {"query": "image", "key": "image"}
_IMAGE_DNA = {"query": "image", "key": "dna"}
_IMAGE_TEXT = {"query": "image", "key": "text"}
_NAMES = {"dna": "DNA", "image": "Image", "text": "Text"}
_SUBSETS = (("Seen", "seen"), ("Unseen", "unseen"), ("H.M.", "harmonic_mean"))
_COST = Block(
    "Cost",
    (
        Column("CUDA memory, GB", {"statistic": "cuda_memory_gb"}),
        Column("Hours per epoch", {"statistic": "hours_per_epoch"}),
    ),
)


def _pair_name(pair: Mapping[str, str]) -> str:
    return f"{_NAMES[pair['query']]} to {_NAMES[pair['key']]}"


def _by_subset(average: str, *pairs: Mapping[str, str]) -> tuple[Block, ...]:
    """A block for each pair of modalities: seen, unseen and harmonic mean."""
    return tuple(
        Block(
            f"{average.title()} top-1 accuracy, {_pair_name(pair)}",
            tuple(Column(head, {**pair, "average": average, "species": subset}) for head, subset in _SUBSETS),
        )
        for pair in pairs
    )


def _over_all(average: str) -> Block:
    """One block of three pairs, over seen and unseen queries together."""
    columns = tuple(
        Column(_pair_name(pair), {**pair, "average": average, "species": "all"})
        for pair in (_DNA_DNA, _IMAGE_IMAGE, _IMAGE_DNA)
    )
    return Block(f"{average.title()} top-1 accuracy, species", columns)


TABLES: dict[int, Table] = {
    table.number: table
    for table in (
        Table(
            number=14,
            caption="Different image and text encoders, species level, validation set",
            sweep="encoders",
            row_fields=("image_encoder", "dna_encoder", "text_encoder", "batch_size", "epochs"),
            blocks=(*_by_subset("macro", _IMAGE_IMAGE, _IMAGE_DNA, _IMAGE_TEXT), _COST),
        ),
        Table(
            number=17,
            caption="Fixed and trainable temperature, species level, validation set",
            sweep="temperature",
            row_fields=("temperature", "epochs"),
            blocks=(_over_all("micro"), _over_all("macro")),
        ),
        Table(
            number=18,
            caption="Automatic mixed precision, species level, validation set",
            sweep="amp",
            row_fields=("amp",),
            blocks=(_over_all("micro"), _over_all("macro"), _COST),
        ),
        Table(
            number=19,
            caption="Low-rank adaptation, species level, validation set",
            sweep="lora",
            row_fields=("fine_tuning",),
            blocks=(_over_all("micro"), _over_all("macro"), _COST),
        ),
        Table(
            number=20,
            caption="Batch size, validation set",
            sweep="batch-size",
            row_fields=("batch_size",),
            levels=("order", "family", "genus", "species"),
            blocks=(
                *_by_subset("micro", _DNA_DNA, _IMAGE_IMAGE, _IMAGE_DNA),
                *_by_subset("macro", _DNA_DNA, _IMAGE_IMAGE, _IMAGE_DNA),
            ),
        ),
    )
}
"""Tables that can be regenerated, by their number in the paper."""
