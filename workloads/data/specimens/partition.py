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

Whoever drew a partition, it is checked to measure what it claims to; the checks raise and cannot be switched off.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Codes, Indices, Mask, Names
from workloads.data.specimens.schema import PROTOCOLS, SplitProtocol, stands_for_nothing
from workloads.errors import PartitionError, UsageError

PartitionRecipe = Literal["paper", "authors"]

COMMON: Mapping[PartitionRecipe, int] = {"paper": 9, "authors": 10}
"""Records from which on a species can be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How species and their records are divided; exact fractions, as 0.7 of ten records are seven."""

    min_records: int
    """Records from which on a species can be seen."""
    seen: Fraction
    """Share of these species that are seen."""
    parts: tuple[Fraction, Fraction, Fraction]
    """Of the records of a seen species: training, validation and test."""


_AS_PUBLISHED = Fraction(4, 5), (Fraction(7, 10), Fraction(1, 10), Fraction(1, 10))
APPENDIX_A: Mapping[PartitionRecipe, Shares] = {
    recipe: Shares(min_records=least, seen=_AS_PUBLISHED[0], parts=_AS_PUBLISHED[1]) for recipe, least in COMMON.items()
}

FIFTH = 0.2
"""Zero-shot splits: the share of species that are unseen, and of a seen species' specimens that are asked about."""

_SPLITS = PROTOCOLS["clibd"].splits
_CODE = {name: code for code, name in enumerate(_SPLITS)}

TextColumn: TypeAlias = pa.ChunkedArray | pa.Array


def partition(
    species: TextColumn | Sequence[str | None],
    recipe: PartitionRecipe = "paper",
    seed: int = 42,
    shares: Shares | None = None,
) -> pa.StringArray:
    """The split of every specimen, under the names of the protocol `clibd`.

    Args:
        species: species of each specimen, null, NaN or a word such as `not_classified` where it is not known.
        recipe: whose rules: the paper's words, or the authors' script.
        seed: of the random draws.
        shares: how it is divided; None: as Appendix A says.

    Returns:
        A name for each specimen, in their order.

    Raises:
        UsageError: no species has the two records that a query and its key need, or there is no such recipe.
    """
    if recipe not in COMMON:
        raise UsageError(f"recipe is {recipe!r}; there are {' and '.join(COMMON)}")
    column = species if isinstance(species, TextColumn) else pa.array(species, pa.string(), from_pandas=True)
    rows_of = rows_of_species(column)
    if not any(len(rows) > 1 for rows in rows_of.values()):
        raise UsageError(
            "no species has two records, so nothing could be both asked for and found; a partition goes by species. "
            "Give splits of your own with --lists FILE, a table of id and train, val or test; or name species in the "
            "source. With --recipe small all of it trains and nothing is measured."
        )
    shares = shares or APPENDIX_A[recipe]
    codes: Codes = np.full(len(species), _CODE["no_split"], dtype=np.int32)
    for rows in rows_of.values():
        if len(rows) == 1:
            codes[rows] = _CODE["single_species"]
    common = [rows for rows in rows_of.values() if len(rows) >= shares.min_records]
    tail = [rows for rows in rows_of.values() if 2 <= len(rows) < shares.min_records]
    draw = _as_the_authors if recipe == "authors" else _as_the_paper
    draw(codes, common, tail, seed, shares)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(_SPLITS)).dictionary_decode()


def numbered(names: TextColumn) -> tuple[pa.Array, Codes]:
    """The distinct names in alphabetical order (of code points), and the number of each row's, (rows,).

    Rows without a name have the number after the last.
    """
    names = names.cast(pa.string())
    distinct = pc.unique(names).drop_null().sort()
    return distinct, pc.index_in(names, value_set=distinct).fill_null(len(distinct)).to_numpy()


def rows_of_species(species: TextColumn) -> dict[str, Indices]:
    """Ascending row numbers of each species, species in alphabetical order."""
    names, members = numbered(species)
    ends = np.cumsum(np.bincount(members, minlength=len(names) + 1))
    groups = np.split(np.argsort(members, kind="stable"), ends[:-1])[: len(names)]
    return {name: rows for name, rows in zip(names.to_pylist(), groups, strict=True) if not stands_for_nothing(name)}


def _as_the_paper(codes: Codes, common: list[Indices], tail: list[Indices], seed: int, shares: Shares) -> None:
    """One random stream: common species, records of the seen ones, the rest of them, then the rare species."""
    random = np.random.default_rng(seed)
    drawn = _permuted(random, common)
    num_seen = int(shares.seen * len(common))
    for rows in drawn[:num_seen]:
        _assign_seen(codes, random.permutation(rows), shares)
    for unseen in (drawn[num_seen:], _permuted(random, tail)):
        for part, members in _halves(unseen):
            for rows in members:
                _assign_unseen(codes, random.permutation(rows), part)


def _as_the_authors(codes: Codes, common: list[Indices], tail: list[Indices], seed: int, shares: Shares) -> None:
    """Every draw of species, and every draw of the records of a set of species, starts the same random stream anew."""
    common, tail = _by_appearance(common), _by_appearance(tail)
    drawn = _permuted(np.random.default_rng(seed), common)
    num_seen = int(shares.seen * len(common))
    random = np.random.default_rng(seed)
    for rows in _by_appearance(drawn[:num_seen]):
        _assign_seen(codes, random.permutation(rows), shares)
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


def _assign_seen(codes: Codes, rows: Indices, shares: Shares) -> None:
    """70/10/10/10, rounded down in whole records; what remains are keys."""
    parts = np.split(rows, np.cumsum([int(share * len(rows)) for share in shares.parts]))
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


# --- Checks -------------------------------------------------------------------------------------------------------


def check_partition(
    protocol: SplitProtocol, species: TextColumn, splits: TextColumn, ids: TextColumn | None = None
) -> None:
    """Check what every accuracy on this partition relies on.

    Args:
        protocol: which of the splits train, answer and ask.
        species: species of each specimen, null where it is not known, (n,).
        splits: split of each specimen, (n,).
        ids: id of each specimen, (n,), when the specimens come from lists that may repeat one.

    Raises:
        PartitionError: a specimen without a split or in two of them; an unseen species that trains or is seen
            elsewhere, or is both in val and test where each has its own keys; a query whose species has no key, or
            that has no species.
    """
    if ids is not None:
        _check_one_split(ids, splits)
    codes = pc.index_in(splits, value_set=pa.array(protocol.splits))
    if codes.null_count:
        strange = pc.unique(pc.filter(splits, pc.is_null(codes))).to_pylist()
        problem = f"{codes.null_count:,} specimen(s) have no split that trains, asks or answers"
        raise PartitionError(problem, [repr(name) for name in strange])
    names, members = numbered(species)
    present = np.zeros((len(protocol.splits), len(names) + 1), dtype=np.bool_)
    present[codes.to_numpy(), members] = True
    for problem, misfits in _misplaced(protocol, dict(zip(protocol.splits, present, strict=True))):
        if misfits.any():
            named = set(names.filter(pa.array(misfits)).to_pylist())
            raise PartitionError(problem, [name for name in pc.unique(species).to_pylist() if name in named])


def _check_one_split(ids: TextColumn, splits: TextColumn) -> None:
    """Check that no specimen stands twice.

    Raises:
        PartitionError: one does; the examples name its splits.
    """
    counted = pc.value_counts(ids)
    repeated = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    if not len(repeated):
        return
    rows = pc.is_in(ids, value_set=repeated)
    where: dict[str, list[str]] = {}
    for identifier, split in zip(ids.filter(rows).to_pylist(), splits.filter(rows).to_pylist(), strict=True):
        where.setdefault(str(identifier), []).append(str(split))
    examples = [f"{identifier} in {' and '.join(found)}" for identifier, found in where.items()]
    raise PartitionError(f"{len(where):,} specimen(s) stand more than once", examples)


def _misplaced(protocol: SplitProtocol, present: Mapping[str, Mask]) -> Iterator[tuple[str, Mask]]:
    """Each way in which a partition can be wrong, with the species that it is wrong for, if any.

    Args:
        protocol: which of the splits train, answer and ask.
        present: which species stand in each split, and last whether specimens without one do, (species + 1,).

    Raises:
        PartitionError: a query without a species.
    """
    in_split = {split: mask[:-1] for split, mask in present.items()}
    unseen = _in_any(in_split, protocol.splits_of("unseen"))
    for split in protocol.splits_of("seen"):
        if split not in protocol.unused:
            role = "trains" if split in protocol.training else "holds seen species"
            shared = unseen & in_split[split]
            yield f"{shared.sum():,} unseen species stand(s) in {split}, which {role}", shared
    sides = [{*protocol.asking(part, "unseen"), *protocol.answering(part, "unseen")} for part in protocol.queries]
    if len(sides) > 1 and not set.intersection(*sides):  # else one partition, or unseen keys that serve both
        shared = np.logical_and.reduce([_in_any(in_split, side) for side in sides])
        yield f"{shared.sum():,} species are unseen in {' and '.join(protocol.queries)}", shared
    answered = _in_any(in_split, protocol.keys)
    for split in protocol.asking():
        if present[split][-1]:
            raise PartitionError(f"queries without a species stand in {split}, and none could be found for them", ())
        missing = in_split[split] & ~answered
        yield f"{missing.sum():,} species of {split} have no key", missing


def _in_any(in_split: Mapping[str, Mask], splits: Iterable[str]) -> Mask:
    return np.asarray(np.logical_or.reduce([in_split[split] for split in splits]))
