"""Tables that compare models: 1 and 8 to 10, 2 and 13, 11, 12. Which rows, which columns, and who may stand in them.

A row is no point of a sweep but whatever was evaluated: `results.model_folders` says from a folder's spec what it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from results.tables import Block, Column
from workloads.spec import RANKS, Rank

ALL = ("image", "dna", "text")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelTable:
    """A published table whose rows are models."""

    number: int
    caption: str
    row_fields: tuple[str, ...]
    """Fields of a `Standing` that name a row, besides the level."""
    takes: Mapping[str, Any]
    """What a model must be to have a row here, by the other fields."""
    blocks: tuple[Block, ...]
    levels: tuple[Rank, ...] = RANKS
    partition: str = "test"


_NAMES = {"dna": "DNA", "image": "Image", "text": "Text"}
_SUBSETS = (("Seen", "seen"), ("Unseen", "unseen"), ("H.M.", "harmonic_mean"))
_WITH_DNA = (("dna", "dna"), ("image", "image"), ("image", "dna"))
_BY_IMAGE = (("image", "image"), ("image", "dna"), ("image", "text"))
_PLAIN = {"bind_to": None, "frozen": False, "simclr_initialised": False}
"""Trained as the paper's main models are: all pairs, every tower, from the usual weights."""
_SPLITS = {"val": "validation set", "test": "test set"}


def _blocks(average: str, pairs: tuple[tuple[str, str], ...]) -> tuple[Block, ...]:
    """A block for each pair of query and key: seen, unseen and harmonic mean."""
    return tuple(
        Block(
            f"{average.title()} top-1 accuracy, {_NAMES[query]} to {_NAMES[key]}",
            tuple(
                Column(head, {"query": query, "key": key, "average": average, "species": subset})
                for head, subset in _SUBSETS
            ),
        )
        for query, key in pairs
    )


def _alignments(number: int, partition: str, average: str) -> ModelTable:
    return ModelTable(
        number=number,
        caption=f"Models that align different modalities, {average} accuracy, {_SPLITS[partition]}",
        row_fields=("training", "aligned"),
        takes={"model": "CLIBD", **_PLAIN},
        blocks=_blocks(average, _WITH_DNA),
        partition=partition,
    )


def _beside_bioclip(number: int, *levels: Rank) -> ModelTable:
    return ModelTable(
        number=number,
        caption="BioCLIP and CLIBD, image queries, test set",
        row_fields=("model", "aligned"),
        takes={"training": "clip", **_PLAIN},
        blocks=_blocks("macro", _BY_IMAGE),
        levels=levels,
    )


MODEL_TABLES: dict[int, ModelTable] = {
    table.number: table
    for table in (
        _alignments(1, "test", "macro"),
        _beside_bioclip(2, "species"),
        _alignments(8, "test", "micro"),
        _alignments(9, "val", "macro"),
        _alignments(10, "val", "micro"),
        ModelTable(
            number=11,
            caption="Image tower from SimCLR or not, all three modalities aligned, test set",
            row_fields=("simclr_initialised",),
            takes={"model": "CLIBD", "training": "clip", "aligned": ALL, "bind_to": None, "frozen": False},
            blocks=_blocks("macro", _WITH_DNA),
        ),
        ModelTable(
            number=12,
            caption="DNA bound to frozen image and text towers, test set",
            row_fields=("bind_to",),
            takes={"model": "CLIBD", "training": "clip", "frozen": True, "simclr_initialised": False},
            blocks=_blocks("macro", _WITH_DNA),
        ),
        _beside_bioclip(13, *RANKS),
    )
}
"""Tables that evaluated folders regenerate, by their number in the paper."""
