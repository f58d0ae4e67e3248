"""Of which gene a sequence is, by what people write into a column of markers."""

import re
from functools import lru_cache
from typing import Literal

from workloads.data.specimens.schema import stands_for_nothing

# COI-5P, CO1, COX1, mtCOI or in words, but neither COII nor cytochrome b.
_COI = re.compile(r"(?<![a-z])(mt)?cox?(i|1)(?=5p|3p|barcode|folmer|[^a-z0-9]|$)|cytochrome.*oxidase.*\b(1|i)\b")
_NOT_THE_GENE = re.compile(r"like|pseudo|numt|nmt")

Fitness = Literal[0, 1, 2]
"""Of a marker: 0 is another gene, or a copy or end of COI that is not the barcode; 1 may be it; 2 is COI-5P."""


@lru_cache(maxsize=1024)
def fitness(marker: str | None) -> Fitness:
    """How well a marker fits: nothing is said, or COI without more, is 1."""
    if marker is None or stands_for_nothing(marker):
        return 1
    words = " ".join(marker.lower().replace("_", " ").split())
    joined = re.sub(r"(?<=\w)-(?=[x1i53])|(?<=\w) (?=[53]p)", "", words)  # CO-I, COI-5P
    if not _COI.search(joined) or _NOT_THE_GENE.search(words):
        return 0
    if "5p" in joined:
        return 2
    return 0 if "3p" in joined else 1
