"""Splits for data sets of people's own: from the words train, val and test that they have given, or by a rule for small
sets that leaves most specimens to training.

Both follow the protocol of BIOSCAN-5M, whose keys of the seen species are the labelled training specimens, so that no
specimen is spent on being a key alone. Species without a training specimen are unseen; half of the specimens of each,
rounded down, ask, and the rest are keys. A species that has one specimen and no training one can be neither asked for
nor found, and is unused.
"""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Indices, Names
from workloads.data.specimens.partition import Shares, TextColumn, rows_of_species
from workloads.errors import UsageError, some_of

Part = Literal["train", "val", "test"]
OWN_PROTOCOL = "bioscan_5m"
PART_WORDS: Mapping[Part, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "tr", "learn", "fit"),
    "val": ("val", "valid", "validation", "dev", "development", "eval", "evaluation", "tune", "tuning"),
    "test": ("test", "testing", "tst", "te", "holdout", "heldout"),
}
"""Words for the three parts, in lower case, without blanks and marks."""


SMALL = Shares(min_records=2, seen=Fraction(9, 10), parts=(Fraction(8, 10), Fraction(1, 10), Fraction(1, 10)))


def part_of_word(word: str) -> Part | None:
    """Which part a word means, None where it is none of the usual ones; capitals, blanks and marks do not matter.

    Digits do: `TR1` is somebody's trap.
    """
    plain = re.sub(r"[^a-z0-9]", "", word.lower())
    return next(
        (part for part, words in PART_WORDS.items() if plain in words or plain.removesuffix("set") in words), None
    )


def with_keys(species: TextColumn, parts: Names, seed: int = 42) -> pa.Array:
    """The splits that follow from train, val and test.

    Args:
        species: of each specimen, null where it is not known, (n,).
        parts: `train`, `val` or `test`, (n,).
        seed: of the draw of the keys of unseen species.

    Returns:
        Splits of the protocol of BIOSCAN-5M, (n,): queries of species that train are seen, others unseen; queries
        without a species, which nobody could find, are `other_heldout`.
    """
    splits = np.where(parts == "train", "no_split", "other_heldout").astype(object)
    random = np.random.default_rng(seed)
    for rows in rows_of_species(species).values():
        trains = parts[rows] == "train"
        if trains.any():
            splits[rows] = [_SEEN[part] for part in parts[rows]]
        elif len(rows) == 1:
            splits[rows] = "single_species"
        else:
            drawn = random.permutation(rows)
            asking, keys = drawn[: len(rows) // 2], drawn[len(rows) // 2 :]
            splits[asking] = [f"{part}_unseen" for part in parts[asking]]
            splits[keys] = "unseen_keys"
    return pa.array(splits.tolist(), pa.string())


_SEEN = {"train": "train_seen", "val": "val_seen", "test": "test_seen"}


def small_parts(species: TextColumn, seed: int = 42, shares: Shares = SMALL) -> Names:
    """Train, val or test for each specimen of a small set.

    Seen species are asked for by their share of all records, not of each species: one of two records gives one query to
    every fifth such species or so. Each keeps a training specimen. Of the unseen species half are for validation.

    Args:
        species: of each specimen, null where it is not known, (n,); those without one train.
        seed: of the draws.
        shares: how it is divided.
    """
    parts = np.full(len(species), "train", dtype=object)
    random = np.random.default_rng(seed)
    groups = [rows for rows in rows_of_species(species).values() if len(rows) >= shares.min_records]
    drawn = [groups[number] for number in random.permutation(len(groups))]
    num_seen = round(shares.seen * len(drawn))
    for number, rows in enumerate(drawn[num_seen:]):
        parts[rows] = ("val", "test")[number % 2]
    _ask_for_seen(parts, drawn[:num_seen], shares, random)
    return parts


def _ask_for_seen(parts: Names, groups: Sequence[Indices], shares: Shares, random: np.random.Generator) -> None:
    """Give each part its share of the records of all species so far, as nearly as whole records allow."""
    wanted: dict[Part, Fraction] = {"val": shares.parts[1], "test": shares.parts[2]}
    owed = dict.fromkeys(wanted, Fraction(0))
    for rows in groups:
        order, free = random.permutation(rows), len(rows) - 1
        for part in wanted:
            owed[part] += wanted[part] * len(rows)
        for part in sorted(wanted, key=lambda part: -owed[part]):
            given = min(round(owed[part]), free)
            parts[order[free - given : free]] = part
            owed[part] -= given
            free -= given


def splits_of_words(species: TextColumn, words: TextColumn, seed: int = 42) -> tuple[pa.Array, str | None]:
    """The splits that follow from a column of words, or from lists.

    Args:
        species: of each specimen, null where it is not known, (n,).
        words: the usual ones for train, val and test, or the splits of a protocol, (n,).
        seed: of the draw of the keys of unseen species.

    Returns:
        Splits, (n,), and `OWN_PROTOCOL`, or None where the words are splits as they are.

    Raises:
        UsageError: words for train, val and test beside others, or specimens without one.
    """
    distinct = [word for word in pc.unique(words).to_pylist() if word is not None]
    meant = {word: part_of_word(word) for word in distinct}
    if not any(meant.values()):
        return words, None
    strange = [repr(word) for word, part in meant.items() if part is None]
    if strange or words.null_count:
        what = some_of([*strange, *(["nothing"] if words.null_count else [])], 5)
        raise UsageError(
            f"some specimens' split is {what}, which is no word for train, val or test. Mend the column, or draw "
            "splits with --recipe small, which does not look at it."
        )
    return with_keys(species, np.array([meant[word] for word in words.to_pylist()], dtype=object), seed), OWN_PROTOCOL
