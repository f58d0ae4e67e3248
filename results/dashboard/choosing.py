"""Which answers of a retrieval somebody wants to see: by outcome, taxon, subset and similarity."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from results.dashboard.numbers import DEPTHS, UNSEEN, Answered, Retrieval
from results.dashboard.page import Asked, NotThereError
from workloads.arrays import Indices, Mask, Names
from workloads.spec import RANKS, Rank

OUTCOMES = ("right", "wrong", *DEPTHS)
"""Right or wrong at the rank that is looked at; or the lowest rank that a query shares with its nearest key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What is wanted; what is empty chooses nothing out."""

    rank: Rank = "species"
    """At which answers are right or wrong, and `found` is a name."""
    outcome: str = ""
    """One of `OUTCOMES`."""
    taxon: str = ""
    """A name of the query: as it is written, else in other letters, else how some names begin."""
    at: Rank | None = None
    """The rank of that name; None for any."""
    within: str = ""
    """The name of a higher taxon than of that rank, which the query is of."""
    found: str = ""
    """The name of the nearest key."""
    subset: str = ""
    least: float | None = None
    """Cosine of the nearest key."""
    most: float | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing is chosen out."""
        return self == Choice(rank=self.rank, at=self.at)


def rank_of(asked: Asked, name: str = "rank", default: Rank = "species") -> Rank:
    """A rank of an address.

    Raises:
        NotThereError: it is none.
    """
    text = asked.option(name, default)
    for rank in RANKS:
        if rank == text:
            return rank
    raise NotThereError(f"'{text}' is no rank; there are {', '.join(RANKS)}.")


def choice_of(asked: Asked) -> Choice:
    """The choice that an address makes.

    Raises:
        NotThereError: a word of it is none of those that there are.
    """
    for name, known in (("outcome", OUTCOMES), ("subset", tuple(UNSEEN))):
        if asked.option(name) and asked.option(name) not in known:
            raise NotThereError(f"'{asked.option(name)}' is no {name}; there are {', '.join(known)}.")
    return Choice(
        rank=rank_of(asked),
        outcome=asked.option("outcome"),
        taxon=asked.option("taxon"),
        at=rank_of(asked, "at") if asked.option("at") else None,
        within=asked.option("within"),
        found=asked.option("found"),
        subset=asked.option("subset"),
        least=_cosine(asked, "least"),
        most=_cosine(asked, "most"),
    )


def _cosine(asked: Asked, name: str) -> float | None:
    text = asked.option(name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise NotThereError(f"'{text}' is no similarity: they are from -1 to 1.") from error
    if not -1 <= value <= 1:
        raise NotThereError(f"{text} is no similarity: they are from -1 to 1.")
    return value


def chosen(answered: Answered, one: Retrieval, choice: Choice) -> Indices:
    """Rows of the retrieval that fit, in its order."""
    mask = np.ones(len(one), dtype=bool)
    if choice.outcome in DEPTHS:
        mask &= one.depth == DEPTHS.index(choice.outcome)
    elif choice.outcome:
        hits = answered.hits(one, choice.rank)
        mask &= answered.counted(one, choice.rank) & (hits if choice.outcome == "right" else ~hits)
    if choice.subset:
        mask &= one.unseen == UNSEEN[choice.subset]
    if choice.taxon:
        mask &= _specimens_of(answered, choice.taxon, (choice.at,) if choice.at else RANKS)[one.queries]
    if choice.within:
        mask &= within(answered, one, choice.rank, choice.within)
    if choice.found:
        mask &= (one.nearest >= 0) & _specimens_of(answered, choice.found, (choice.rank,))[one.nearest]
    if choice.least is not None:
        mask &= one.similarity >= np.float32(choice.least)
    if choice.most is not None:
        mask &= one.similarity <= np.float32(choice.most)
    return np.flatnonzero(mask)


def within(answered: Answered, one: Retrieval, rank: Rank, taxon: str) -> Mask:
    """Which queries have the name of a taxon at a higher rank, (queries,)."""
    inside = np.zeros(len(one), dtype=bool)
    for above in RANKS[: RANKS.index(rank)]:
        inside |= np.isin(answered.truth(one, above), np.flatnonzero(answered.names[above] == taxon))
    return inside


def _specimens_of(answered: Answered, text: str, ranks: tuple[Rank, ...]) -> Mask:
    """Which specimens have a name at one of some ranks, (specimens,)."""
    folded = text.casefold()
    ways: tuple[Callable[[str], bool], ...] = (
        lambda name: name == text,
        lambda name: name.casefold() == folded,
        lambda name: name.casefold().startswith(folded),
    )
    mask = np.zeros(len(answered.ids), dtype=bool)
    for fits in ways:
        for rank in ranks:
            wanted = _fitting(answered.names[rank], fits)
            if wanted.any():
                mask |= np.append(wanted, False)[answered.codes[rank]]  # a missing name, -1, is the last one
        if mask.any():
            return mask
    return mask


def _fitting(names: Names, fits: Callable[[str], bool]) -> Mask:
    return np.fromiter((fits(name) for name in names), dtype=bool, count=len(names))
