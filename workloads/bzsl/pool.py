"""Specimens with image features, DNA features or both, as a source gives them, and the DNA of each species."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workloads.arrays import Floats, Indices, Names
from workloads.errors import ZeroShotError
from workloads.spec import RANKS, Recipe


@dataclass(frozen=True, slots=True)
class Pool:
    """Specimens whose species is known."""

    ids: Names
    split: Names
    """Name of each specimen's split."""
    labels: Mapping[str, Names]
    """Names by rank, None where missing; all ranks are there."""
    images: Floats | None
    """(specimens, size)."""
    dna: Floats | None
    """(specimens, other size)."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def species(self) -> Names:
        """Species of each specimen."""
        return self.labels["species"]

    def take(self, chosen: npt.NDArray[np.bool_] | Indices) -> "Pool":
        """Some of the specimens."""
        return Pool(
            self.ids[chosen],
            self.split[chosen],
            {rank: names[chosen] for rank, names in self.labels.items()},
            None if self.images is None else self.images[chosen],
            None if self.dna is None else self.dna[chosen],
        )

    def within(self, *splits: str) -> npt.NDArray[np.bool_]:
        """Which specimens are in one of the splits."""
        return np.isin(self.split.astype(str), splits)


@dataclass(frozen=True, slots=True)
class Side:
    """Side information of species: one row of DNA features each."""

    species: tuple[str, ...]
    rows: Floats
    """(species, size)."""
    num_without_keys: int = 0
    """Species that have none of the preferred records, so that all of their records speak for them."""

    def of(self, species: Iterable[str]) -> Floats:
        """The rows of some species.

        Raises:
            ZeroShotError: there is none of one of them.
        """
        place = {name: row for row, name in enumerate(self.species)}
        wanted = list(species)
        if absent := [name for name in wanted if name not in place]:
            more = f" and {len(absent) - 1:,} more species" if len(absent) > 1 else ""
            raise ZeroShotError(f"no DNA of {absent[0]}{more}", "Give a source that has DNA of them with --dna.")
        return self.rows[[place[name] for name in wanted]]


def side_of(pool: Pool, recipe: Recipe) -> Side:
    """Mean DNA features of each species.

    Of its key records, of which a user has the barcodes. Where a species has none, as the unseen ones of INSECT, of all
    its records. The authors take training and query records, the queries' own barcodes among them, and no keys.

    Raises:
        ZeroShotError: the specimens have no DNA features.
    """
    if pool.dna is None:
        raise ZeroShotError("the specimens have no DNA features", "Give a source that has with --dna.")
    preferred = ~_has_key_split(pool) if recipe == "authors" else _keys(pool)
    names, which = np.unique(pool.species.astype(str), return_inverse=True)
    has_preferred = np.bincount(which[preferred], minlength=len(names)) > 0
    used = preferred | ~has_preferred[which]
    sums = np.zeros((len(names), pool.dna.shape[1]))
    np.add.at(sums, which[used], pool.dna[used].astype(np.float64))
    means = sums / np.bincount(which[used], minlength=len(names))[:, None]
    return Side(tuple(names.tolist()), means.astype(np.float32), int((~has_preferred).sum()))


def _keys(pool: Pool) -> npt.NDArray[np.bool_]:
    """Key records; where seen species have no split of their own for them, those to train on are the keys (INSECT)."""
    keys = _has_key_split(pool)
    if not pool.within("seen_keys").any():
        keys |= pool.within("train_seen", "val_classes")
    return keys


def _has_key_split(pool: Pool) -> npt.NDArray[np.bool_]:
    return np.array([str(name).endswith("keys") for name in pool.split], dtype=bool)


def lineages_of(pool: Pool, classes: Iterable[str]) -> dict[str, Names]:
    """Name of each class at the ranks above species, that of its first specimen; None where that has none."""
    names, first = np.unique(pool.species.astype(str), return_index=True)
    row = dict(zip(names.tolist(), first.tolist(), strict=True))
    chosen = [row[name] for name in classes]
    return {rank: pool.labels[rank][chosen] for rank in RANKS if rank != "species"}
