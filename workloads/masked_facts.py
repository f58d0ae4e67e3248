"""How well hidden 5-mers of barcodes are told that trained nobody: what evaluation.json says of it, and in words."""

from collections.abc import Iterator, Mapping
from typing import TypedDict

ONE_KMER = 1 / 1024
"""Chance of a 5-mer drawn at random."""


class MaskedFacts(TypedDict):
    """Of one split; every barcode counts once, however many specimens have it."""

    barcodes: int
    kmers: int
    """Hidden, one time each; all that follows is of these."""
    accuracy: float
    """Share that is told right."""
    perplexity: float
    """exp of the mean cross entropy, natural logarithm: as if so many 5-mers were equally likely."""
    commonest: float
    """Share that would be right of the 5-mer that training barcodes have most often at the same place."""


def masked_words(facts: Mapping[str, MaskedFacts]) -> Iterator[str]:
    """A line each split; or that there is none."""
    for split, told in facts.items():
        beside = f"the commonest at its place {told['commonest']:.1%}, chance {ONE_KMER:.1%}"
        yield (
            f"hidden 5-mers of {split}: {told['accuracy']:.1%} right ({beside}), perplexity {told['perplexity']:.3g} "
            f"({told['kmers']:,} of {told['barcodes']:,} barcodes)"
        )
    if not facts:
        yield "hidden 5-mers: no barcode is held out from training, so that nothing is measured on any"
