"""Which specimens train, which ask and which answer: the partition of the paper's Appendix A.

    no species                          -> no_split (trains)
    species of 1 record                 -> single_species (unused)
    species of 2 to 8 records           -> unseen, half of the species for validation, half for test
    species of 9 records or more, 80 %  -> seen: 70 % train_seen, 10 % val_seen, 10 % test_seen, 10 % seen_keys
                                  20 %  -> unseen, split evenly between validation and test
    unseen species                      -> half of the records ask (`val_unseen`), half answer (`val_unseen_keys`)

Shares are rounded down and the remainder goes to the keys, so that every species that is asked for has a key.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from workloads.errors import UsageError

COMMON = 9
"""Records from which on a species can be seen (Appendix A; the authors' script uses 10)."""

Indices = npt.NDArray[np.int64]


def partition(species: Sequence[str | None], seed: int = 42) -> list[str]:
    """The split of every specimen.

    Args:
        species: species of each specimen, None where it is not known.
        seed: of the one random stream that permutes species and records.

    Raises:
        UsageError: no species has the two records that a query and its key need.
    """
    random = np.random.default_rng(seed)
    split = np.full(len(species), "no_split", dtype=object)
    records = _records_by_species(species)
    for rows in records.values():
        if len(rows) == 1:
            split[rows] = "single_species"
    common = [name for name, rows in records.items() if len(rows) >= COMMON]
    tail = [name for name, rows in records.items() if 2 <= len(rows) < COMMON]
    if not common and not tail:
        raise UsageError("no species has two records, so nothing could be both asked for and found")
    common = list(random.permutation(np.array(common, dtype=object)))
    num_seen = int(0.8 * len(common))
    for name in common[:num_seen]:
        _assign_seen(split, random.permutation(records[name]))
    for unseen in (common[num_seen:], list(random.permutation(np.array(tail, dtype=object)))):
        half = len(unseen) // 2
        for part, names in (("val", unseen[:half]), ("test", unseen[half:])):
            for name in names:
                rows = random.permutation(records[name])
                split[rows[: len(rows) // 2]] = f"{part}_unseen"
                split[rows[len(rows) // 2 :]] = f"{part}_unseen_keys"
    return [str(name) for name in split]


def _records_by_species(species: Sequence[str | None]) -> dict[str, Indices]:
    """Row numbers of each species, species in alphabetical order."""
    names = np.array([name or "" for name in species])
    order = np.argsort(names, kind="stable")
    found, starts = np.unique(names[order], return_index=True)
    groups = np.split(order, starts[1:])
    return {str(name): rows for name, rows in zip(found, groups, strict=True) if name}


def _assign_seen(split: npt.NDArray[np.object_], rows: Indices) -> None:
    """70/10/10/10, rounded down in whole records; what remains are keys."""
    count = len(rows)
    train, tenth = 7 * count // 10, count // 10
    bounds = np.cumsum([train, tenth, tenth])
    parts = np.split(rows, bounds)
    for name, part in zip(("train_seen", "val_seen", "test_seen", "seen_keys"), parts, strict=True):
        split[part] = name
