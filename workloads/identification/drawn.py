"""Which specimens a database is asked about when it is calibrated: a few of each species."""

from dataclasses import dataclass

import numpy as np

from workloads.arrays import Indices, Labels, Mask, Names
from workloads.errors import UsageError
from workloads.identification.confidence import FEWEST
from workloads.identification.database import Database
from workloads.spec import RANKS

_OF_A_SPECIES, _MOST = 5, 4000
"""Specimens of a species at most, as more of one say little of others; and of all."""
_FITS = 4
"""Every fourth species makes the scores."""
_SEED = 0


@dataclass(frozen=True, slots=True)
class Drawn:
    """Specimens that are asked about."""

    numbers: Indices
    """In the database that they are of, (specimens,)."""
    labels: Labels
    """Their names, (specimens,) each."""
    ids: Names
    stranger: Mask
    """Whether the run never learned from their species, so that they may stand for new ones."""
    fits: Mask
    """Whether they make the score."""


def draw(source: Database, most: int = _MOST, only_strangers: bool = False) -> Drawn:
    """Specimens with a species, a few of each, in an order that the seed decides.

    Args:
        source: of which they are specimens.
        most: how many at the most, or a few more.
        only_strangers: whether those stay away whose species the run learned from, as they may have taught it.

    Raises:
        UsageError: there are fewer than can be calibrated with.
    """
    species, trained = source.labels[RANKS[-1]], source.specimens["trained"].fill_null(False).to_numpy().astype(bool)
    order = np.random.default_rng(_SEED).permutation(len(species))
    taken: dict[str, list[int]] = {}
    for number in order.tolist():
        if species[number] is None or (only_strangers and trained[number]):
            continue
        if len(of := taken.setdefault(species[number], [])) < _OF_A_SPECIES:
            of.append(number)
    numbers, fits, count = list[int](), list[bool](), 0
    for count, of in enumerate(taken.values()):
        if len(numbers) >= most:
            break
        numbers += of
        fits += [count % _FITS == 0] * len(of)
    if len(numbers) < FEWEST:
        raise UsageError(
            f"{len(numbers)} specimens with a species can be asked about, and no promise is made of fewer than "
            f"{FEWEST} ({_OF_A_SPECIES} of a species count at most); build it of more specimens"
        )
    chosen = np.array(numbers)
    ids = np.array(source.specimens["specimen_id"].to_pylist(), dtype=object)[chosen]
    labels: Labels = {rank: source.labels[rank][chosen] for rank in RANKS}
    return Drawn(chosen, labels, ids, ~trained[chosen], np.array(fits))
