"""What came of each published number, in words: the one rule, for `clibd-results check` and for every page.

A number that stands on several sheets, as there are runs of several data sets or recipes, counts once, with what says
most about it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from results.paper.comparable import UNMEASURED_NOISE, differs
from results.sheet import Cell, Sheet

Word = Literal["differs", "within noise", "suspect as printed", "not comparable", "not run", "no published number"]
WORDS: tuple[Word, ...] = (
    "differs",
    "within noise",
    "suspect as printed",
    "not comparable",
    "not run",
    "no published number",
)
"""What says most comes first."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a published number."""

    word: Word
    why: str | None = None
    """Why the two are not compared; why there is none of ours, with the command that makes it."""

    def __str__(self) -> str:
        return f"{self.word}: {self.why}" if self.why else self.word


def verdict(cell: Cell) -> Verdict:
    """What came of a cell's published number.

    `differs` and `within noise` are said where ours and published can be compared; what noise is, `comparable.differs`
    says. `not run` is every cell without a number of ours, whatever the reason.
    """
    if cell.published is None:
        return Verdict("no published number")
    if cell.ours is None:
        return Verdict("not run", (cell.reason or "").removeprefix("not run: ") or None)
    if cell.published_note:
        return Verdict("suspect as printed", cell.published_note)
    if not cell.comparable:
        return Verdict("not comparable", cell.reason)
    differing = differs(cell)
    if differing is None:
        return Verdict("not comparable", UNMEASURED_NOISE)
    return Verdict("differs" if differing else "within noise")


def verdicts(sheets: Iterable[Sheet]) -> list[tuple[Cell, Verdict]]:
    """Every published number once, with its cell that says most and the verdict there; in the order of the sheets."""
    said: dict[tuple[Any, ...], tuple[Cell, Verdict]] = {}
    for cell in (cell for sheet in sheets for cell in sheet.cells if cell.published is not None):
        place = (cell.table, *cell.row.items(), cell.block, cell.column, cell.rank)
        found = verdict(cell)
        if place not in said or WORDS.index(found.word) < WORDS.index(said[place][1].word):
            said[place] = cell, found
    return list(said.values())


def counts(sheets: Sequence[Sheet]) -> Mapping[Word, int]:
    """How many published numbers of some sheets came to what; a word for which there are none is 0."""
    counted = Counter(found.word for _, found in verdicts(sheets))
    return {word: counted[word] for word in WORDS if word != "no published number"}
