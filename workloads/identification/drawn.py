"""Which specimens a database is asked about when it is calibrated: a few of each species."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workloads.arrays import Indices, Labels, Mask, Names
from workloads.errors import UsageError
from workloads.identification.confidence import FEWEST
from workloads.identification.database import Database
from workloads.spec import RANKS

_OF_A_SPECIES, _MOST = 5, 4000
"""Specimens of a species at most, as more of one say little of others; and of all."""
_FITS, _FITS_OF_RUN = 4, 6
"""Every fourth species makes the scores; where a run embeds every sixth, as few species stand for new ones then, and
what a score is worth is borne out by those that are left."""
_SEED = 0


@dataclass(frozen=True, slots=True)
class Drawn:
    """Specimens that are asked about."""

    lot: Indices
    """Of which database each is, by its place among those that they were drawn from, (specimens,)."""
    numbers: Indices
    """In that database, (specimens,)."""
    labels: Labels
    """Their names, (specimens,) each."""
    ids: Names
    stranger: Mask
    """Whether the run never learned from their species, so that they may stand for new ones."""
    fits: Mask
    """Whether they make the score."""


def draw(lots: Sequence[Database], has_run: bool, most: int = _MOST) -> Drawn:
    """Specimens with a species, a few of each, in an order that the seed decides.

    Args:
        lots: of which they are specimens: those set aside, and the keys; or the keys alone.
        has_run: whether a run embeds. Of keys, which may have taught it, only those are drawn then whose species it
            did not learn from; all of those that are set aside are.
        most: how many at the most, or a few more.

    Raises:
        UsageError: there are fewer than can be calibrated with.
    """
    trained = [lot.specimens["trained"].fill_null(False).to_numpy().astype(bool) for lot in lots]
    taken: dict[str, list[tuple[int, int]]] = {}
    for place, lot in enumerate(lots):
        species, are_keys = lot.labels[RANKS[-1]], lot is lots[-1]
        for number in np.random.default_rng(_SEED).permutation(len(species)).tolist():
            if species[number] is None or (has_run and are_keys and trained[place][number]):
                continue
            if len(of := taken.setdefault(species[number], [])) < _OF_A_SPECIES:
                of.append((place, number))
    drawn, fits = list[tuple[int, int]](), list[bool]()
    for count, of in enumerate(taken.values()):
        if len(drawn) >= most:
            break
        drawn += of
        fits += [count % (_FITS_OF_RUN if has_run else _FITS) == 0] * len(of)
    if len(drawn) < FEWEST:
        raise UsageError(
            f"{len(drawn)} specimens with a species can be asked about, and no promise is made of fewer than "
            f"{FEWEST} ({_OF_A_SPECIES} of a species count at most); build it of more specimens"
        )
    place, numbers = np.array(drawn).T
    ids = [lot.specimens["specimen_id"].to_pylist() for lot in lots]
    labels: Labels = {rank: _of(drawn, [lot.labels[rank] for lot in lots]) for rank in RANKS}
    return Drawn(place, numbers, labels, _of(drawn, ids), ~_of(drawn, trained).astype(bool), np.array(fits))


def _of(drawn: Sequence[tuple[int, int]], columns: Sequence[Sequence[object] | Names | Mask]) -> Names:
    """A column of those drawn, from that of each lot, (specimens,)."""
    return np.array([columns[place][number] for place, number in drawn], dtype=object)
