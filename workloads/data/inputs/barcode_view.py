"""Two views of one barcode, for contrastive training on DNA alone.

The counterpart for barcodes of SimCLR's crops and colours. It is ours: CLIBD trains no DNA encoder this way, and its
reviewers missed the comparison. As a crop shows part of an image, a view shows a window of at least half of the 5-mers;
as colours are changed, 15 % of the 5-mers shown are hidden as well. What is hidden is written as unknown, so that
every base keeps its place.
"""

import numpy as np
import numpy.typing as npt

from workloads.arrays import Mask
from workloads.data.specimens.barcode import FIRST_KMER_ID, KMER, NUM_TOKENS, UNCERTAIN_BASE, UNKNOWN_ID

LEAST_SHOWN = 0.5
"""Share of the 5-mers that the window holds at least."""
HIDDEN = 0.15
"""Share of the window's 5-mers that are hidden, each by itself."""


def shown_kmers(num_kmers: int, random: np.random.Generator) -> Mask:
    """Which 5-mers of a barcode a view shows, (num_kmers,).

    The window's length is drawn evenly from half of the 5-mers up to all of them, then its place.
    """
    length = int(random.integers(int(np.ceil(LEAST_SHOWN * num_kmers)), num_kmers, endpoint=True))
    start = int(random.integers(0, num_kmers - length, endpoint=True))
    shown = np.zeros(num_kmers, dtype=np.bool_)
    shown[start : start + length] = random.random(length) >= HIDDEN
    return shown


def view_of_token_ids(ids: npt.NDArray[np.integer], random: np.random.Generator) -> npt.NDArray[np.integer]:
    """5-mer ids of which some are unknown, (133,); the first id and padding stay.

    The barcode ends with its last known 5-mer, since the authors' ids do not tell unknown ones from padding.
    """
    known = ids[1:] >= FIRST_KMER_ID
    view = ids.copy()
    view[1:][known & ~_shown(known, random)] = UNKNOWN_ID
    return view


def view_of_base_codes(codes: npt.NDArray[np.uint8], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Base codes of which some 5-mers are uncertain, (660,); past the end nothing changes."""
    known: Mask = np.less(codes, UNCERTAIN_BASE)
    shown = _shown(np.any(known.reshape(-1, KMER), axis=1), random)
    return np.where(known & ~np.repeat(shown, KMER), np.uint8(UNCERTAIN_BASE), codes)


def view_of_text(barcode: str, random: np.random.Generator) -> str:
    """The window as text, its hidden 5-mers written as N, for tokenisers that read letters."""
    shown = np.repeat(shown_kmers(-(-len(barcode) // KMER), random), KMER)[: len(barcode)]
    return "".join(letter if seen else "N" for letter, seen in zip(barcode, shown.tolist(), strict=True)).strip("N")


def _shown(known: Mask, random: np.random.Generator) -> Mask:
    """Which of 132 5-mers a view shows, of a barcode that ends with its last known one, (132,)."""
    num_kmers = int(known.nonzero()[0].max(initial=-1)) + 1
    shown = np.zeros(NUM_TOKENS - 1, dtype=np.bool_)
    shown[:num_kmers] = shown_kmers(num_kmers, random)
    return shown
