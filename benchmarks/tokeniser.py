"""5-mer ids of 100,000 barcodes: whole blocks at once against a dictionary asked for every 5-mer.

    python -m benchmarks.tokeniser

The plain side is the authors' tokeniser in its simplest form. Prints and writes JSON; the goal is five times its speed.
"""

import itertools

import numpy as np
import numpy.typing as npt

from benchmarks.measuring import best_seconds, publish
from workloads.data.specimens.barcode import authors_token_ids, token_ids

NUM_BARCODES = 100_000
_KMERS = {"".join(letters): number for number, letters in enumerate(itertools.product("ACGT", repeat=5), start=3)}


def main() -> None:
    barcodes = drawn_barcodes(NUM_BARCODES)
    seconds = best_seconds(
        {
            "plain": lambda: plain_authors_ids(barcodes),
            "authors_token_ids": lambda: authors_token_ids(barcodes),
            "token_ids": lambda: token_ids(barcodes),
        }
    )
    figures = {
        "barcodes": len(barcodes),
        "plain_per_second": len(barcodes) / seconds["plain"],
        "authors_token_ids_per_second": len(barcodes) / seconds["authors_token_ids"],
        "token_ids_per_second": len(barcodes) / seconds["token_ids"],
        "authors_token_ids_over_plain": seconds["plain"] / seconds["authors_token_ids"],
        "token_ids_over_plain": seconds["plain"] / seconds["token_ids"],
        "authors_ids_equal": bool((authors_token_ids(barcodes) == plain_authors_ids(barcodes)).all()),
        "corrected_ids_equal": bool((token_ids(barcodes) == plain_corrected_ids(barcodes)).all()),
    }
    publish("tokeniser", figures)


def drawn_barcodes(count: int) -> list[str]:
    """Random barcodes: most of full length, some short, long or empty, with unknown bases, gaps and lower case."""
    random = np.random.default_rng(0)
    letters = random.choice(list("ACGT"), (count, 720)).astype("U1")
    letters[random.random(letters.shape) < 0.003] = "N"
    barcodes = ["".join(row[:length]) for row, length in zip(letters, random.integers(640, 661, count), strict=True)]
    for number in range(0, count, 10):
        barcode = barcodes[number]
        odd = [
            barcode[:317],
            "".join(letters[number]),
            "",
            barcode.lower(),
            barcode[:50] + "--RY" + barcode[54:],
            "ACG",
        ]
        barcodes[number] = odd[number // 10 % len(odd)]
    return barcodes


def plain_authors_ids(barcodes: list[str]) -> npt.NDArray[np.int16]:
    """Cut or padded with N, then one dictionary look-up a 5-mer."""
    ids = np.empty((len(barcodes), 133), dtype=np.int16)
    for row, barcode in enumerate(barcodes):
        padded = barcode[:660].ljust(660, "N")
        ids[row] = [0, *[_KMERS.get(padded[start : start + 5], 2) for start in range(0, 660, 5)]]
    return ids


def plain_corrected_ids(barcodes: list[str]) -> npt.NDArray[np.int16]:
    """One dictionary look-up a 5-mer of what is there, then padding."""
    ids = np.zeros((len(barcodes), 133), dtype=np.int16)
    for row, barcode in enumerate(barcodes):
        cut = barcode[:660].replace("U", "T")
        found = [1, *[_KMERS.get(cut[start : start + 5], 2) for start in range(0, len(cut), 5)]]
        ids[row, : len(found)] = found
    return ids


if __name__ == "__main__":
    main()
