"""Which specimens train, which ask and which answer: the partition of the paper's Appendix A.

    no species                       -> no_split (trains)
    species of 1 record              -> single_species (unused)
    rare species                     -> unseen, half of the species for validation, half for test
    common species,          80 %    -> seen: 70 % train_seen, 10 % val_seen, 10 % test_seen, 10 % seen_keys
                             20 %    -> unseen, split evenly between validation and test
    unseen species                   -> half of the records ask (`val_unseen`), half answer (`val_unseen_keys`)

Shares are rounded down and the remainder goes to the keys, so that every species that is asked for has a key. Two
recipes draw by these rules:

- `paper`: a species is common from 9 records on, as Appendix A says. Species are drawn from their alphabetical order,
  and one random stream serves all draws, so the order of the records matters only within a species.
- `authors`: common from 10 records on, species in order of first appearance, and the same random stream anew for every
  step, as the authors' `create_splits.py` does; equal to that script row by row for a given seed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Indices, Names
from workloads.data.specimens.schema import PROTOCOLS
from workloads.errors import UsageError

PartitionRecipe = Literal["paper", "authors"]

COMMON: Mapping[PartitionRecipe, int] = {"paper": 9, "authors": 10}
"""Records from which on a species can be seen."""

FIFTH = 0.2
"""Zero-shot splits: the share of species that are unseen, and of a seen species' specimens that are asked about."""

_SPLITS = PROTOCOLS["clibd"].splits
_CODE = {name: code for code, name in enumerate(_SPLITS)}

Codes = npt.NDArray[np.int8]


def partition(
    species: pa.ChunkedArray | pa.Array | Sequence[str | None], recipe: PartitionRecipe = "paper", seed: int = 42
) -> pa.StringArray:
    """The split of every specimen, under the names of the protocol `clibd`.

    Args:
        species: species of each specimen, null or blank where it is not known.
        recipe: whose rules: the paper's words, or the authors' script.
        seed: of the random draws.

    Returns:
        A name for each specimen, in their order.

    Raises:
        UsageError: no species has the two records that a query and its key need.
    """
    rows_of = _rows_of_species(species)
    if not any(len(rows) > 1 for rows in rows_of.values()):
        raise UsageError("no species has two records, so nothing could be both asked for and found")
    codes: Codes = np.full(len(species), _CODE["no_split"], dtype=np.int8)
    for rows in rows_of.values():
        if len(rows) == 1:
            codes[rows] = _CODE["single_species"]
    common = [rows for rows in rows_of.values() if len(rows) >= COMMON[recipe]]
    tail = [rows for rows in rows_of.values() if 2 <= len(rows) < COMMON[recipe]]
    draw = _as_the_authors if recipe == "authors" else _as_the_paper
    draw(codes, common, tail, seed)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(_SPLITS)).dictionary_decode()


def _rows_of_species(species: pa.ChunkedArray | pa.Array | Sequence[str | None]) -> dict[str, Indices]:
    """Ascending row numbers of each species, species in alphabetical order (of code points)."""
    column = species if isinstance(species, pa.ChunkedArray | pa.Array) else pa.array(species, pa.string())
    column = column.cast(pa.string())
    names = pc.unique(column).drop_null().sort()
    members = pc.index_in(column, value_set=names).fill_null(len(names)).to_numpy()
    ends = np.cumsum(np.bincount(members, minlength=len(names) + 1))
    groups = np.split(np.argsort(members, kind="stable"), ends[:-1])[: len(names)]
    return {name: rows for name, rows in zip(names.to_pylist(), groups, strict=True) if name.strip()}


def _as_the_paper(codes: Codes, common: list[Indices], tail: list[Indices], seed: int) -> None:
    """One random stream: common species, records of the seen ones, the rest of them, then the rare species."""
    random = np.random.default_rng(seed)
    drawn = _permuted(random, common)
    num_seen = 4 * len(common) // 5
    for rows in drawn[:num_seen]:
        _assign_seen(codes, random.permutation(rows))
    for unseen in (drawn[num_seen:], _permuted(random, tail)):
        for part, members in _halves(unseen):
            for rows in members:
                _assign_unseen(codes, random.permutation(rows), part)


def _as_the_authors(codes: Codes, common: list[Indices], tail: list[Indices], seed: int) -> None:
    """Every draw of species, and every draw of the records of a set of species, starts the same random stream anew."""
    common, tail = _by_appearance(common), _by_appearance(tail)
    drawn = _permuted(np.random.default_rng(seed), common)
    num_seen = 4 * len(common) // 5
    random = np.random.default_rng(seed)
    for rows in _by_appearance(drawn[:num_seen]):
        _assign_seen(codes, random.permutation(rows))
    for unseen in (_by_appearance(drawn[num_seen:]), tail):
        for part, members in _halves(_permuted(np.random.default_rng(seed), unseen)):
            random = np.random.default_rng(seed)
            for rows in _by_appearance(members):
                _assign_unseen(codes, random.permutation(rows), part)


def _by_appearance(groups: Iterable[Indices]) -> list[Indices]:
    """Species in the order of their first records."""
    return sorted(groups, key=lambda rows: int(rows[0]))


def _permuted(random: np.random.Generator, groups: list[Indices]) -> list[Indices]:
    return [groups[number] for number in random.permutation(len(groups))]


def _halves(groups: list[Indices]) -> tuple[tuple[str, list[Indices]], tuple[str, list[Indices]]]:
    """Half of the species for validation, rounded down, the rest for test."""
    half = len(groups) // 2
    return ("val", groups[:half]), ("test", groups[half:])


def _assign_seen(codes: Codes, rows: Indices) -> None:
    """70/10/10/10, rounded down in whole records; what remains are keys."""
    train, tenth = 7 * len(rows) // 10, len(rows) // 10
    parts = np.split(rows, np.cumsum([train, tenth, tenth]))
    for name, part in zip(("train_seen", "val_seen", "test_seen", "seen_keys"), parts, strict=True):
        codes[part] = _CODE[name]


def _assign_unseen(codes: Codes, rows: Indices, part: str) -> None:
    """Half of the records ask, rounded down, the rest answer."""
    codes[rows[: len(rows) // 2]] = _CODE[f"{part}_unseen"]
    codes[rows[len(rows) // 2 :]] = _CODE[f"{part}_unseen_keys"]


def drawn_splits(species: Names, seed: int) -> Names:
    """Splits in the manner of INSECT for specimens that have none.

    A fifth of the species, rounded up, are test_unseen. Of each other species a fifth of the specimens, rounded up but
    not all, are test_seen. The rest is train_seen, and val_classes for a fifth of these species, rounded up.

    Args:
        species: of each specimen, (specimens,).
        seed: of the draw; the order of specimens does not matter to which species are drawn.
    """
    draw = np.random.default_rng(seed)
    names, which, counts = np.unique(species.astype(str), return_inverse=True, return_counts=True)
    shuffled = draw.permutation(len(names))
    num_unseen = math.ceil(FIFTH * len(names))
    num_val = math.ceil(FIFTH * (len(names) - num_unseen))
    group = np.full(len(names), "train_seen", dtype=object)
    group[shuffled[:num_unseen]], group[shuffled[num_unseen : num_unseen + num_val]] = "test_unseen", "val_classes"
    splits = group[which]
    for number in np.flatnonzero(group != "test_unseen"):
        own = draw.permutation(np.flatnonzero(which == number))
        splits[own[: min(math.ceil(FIFTH * counts[number]), counts[number] - 1)]] = "test_seen"
    return splits
