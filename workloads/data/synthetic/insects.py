"""Synthetic insects: a taxonomy, barcodes that evolved along it, and drawings that inherit along it.

The built-in data set, so that everything can be tried without a download. Every number made from it is labelled
synthetic. Everything is a pure function of the seed and a specimen's place in the tree, so a specimen can be made
on any machine without making the others, and a million cost no memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from workloads.arrays import Bytes, Mask
from workloads.errors import RecordError
from workloads.spec import RANKS

SCHEME = "synthetic:"
BARCODE_BASES = 658
_BASES = np.frombuffer(b"ACGT", dtype=np.uint8)
_CODON_BIAS = np.array([0.35, 0.15, 0.13, 0.37])  # insect mitochondria are rich in A and T

# Expected share of third codon positions that change between a node and its parent: order from the root, and so on.
_SUBSTITUTIONS = {"order": 0.45, "family": 0.28, "genus": 0.17, "species": 0.09, "specimen": 0.008}
_YOUNG_SHARE, _YOUNG_RATE = 0.4, 0.01  # species that have only just parted; barcodes confuse some of them
_FIRST_TWO_SHARE = 0.06  # changes at first and second positions, relative to the third


@dataclass(frozen=True, slots=True)
class TreePlace:
    """A specimen's place in the tree: the numbers of its order, family, genus and species, and its own."""

    seed: int
    taxa: tuple[int, int, int, int]
    specimen: int

    @property
    def reference(self) -> str:
        """Written into the `image` column of a specimen table."""
        return f"{SCHEME}{self.seed}/{'/'.join(map(str, self.taxa))}/{self.specimen}"

    @staticmethod
    def parse(reference: str) -> "TreePlace":
        """The place that a reference names.

        Raises:
            RecordError: it names none.
        """
        try:
            numbers = [int(part) for part in reference.removeprefix(SCHEME).split("/")]
            seed, order, family, genus, species, specimen = numbers
            np.random.SeedSequence(numbers)  # refuses negative ones
        except ValueError as error:
            raise RecordError(f"{reference!r} names no synthetic insect") from error
        return TreePlace(seed, (order, family, genus, species), specimen)


def node_random(seed: int, purpose: int, *path: int) -> np.random.Generator:
    """The random stream of one node of the tree for one purpose."""
    return np.random.default_rng([seed, purpose, len(path), *path])


@lru_cache(maxsize=4096)
def _ancestral_barcode(seed: int, path: tuple[int, ...]) -> Bytes:
    """Barcode of a taxon, codes 0 to 3, (658,); the root is at the empty path."""
    if not path:
        root = node_random(seed, 1).choice(4, BARCODE_BASES, p=_CODON_BIAS).astype(np.uint8)
        _codons(root)[_is_stop(root), 1] = 1  # TAA and TAG become TCA and TCG
        return root
    random = node_random(seed, 1, *path)
    rate = _SUBSTITUTIONS[RANKS[len(path) - 1]]
    if len(path) == len(RANKS) and random.random() < _YOUNG_SHARE:
        rate = _YOUNG_RATE
    return _evolve(_ancestral_barcode(seed, path[:-1]), random, rate)


def _evolve(parent: Bytes, random: np.random.Generator, third_position_rate: float) -> Bytes:
    """A descendant: substitutions mostly at third codon positions, towards the mitochondrial base frequencies."""
    rate = np.full(len(parent), third_position_rate * _FIRST_TWO_SHARE)
    rate[2::3] = third_position_rate
    changed = random.random(len(parent)) < rate
    child = parent.copy()
    child[changed] = random.choice(4, changed.sum(), p=_CODON_BIAS)
    stops = _is_stop(child)
    _codons(child)[stops] = _codons(parent)[stops]  # selection: a broken protein leaves no descendants
    return child


def _codons(codes: Bytes) -> Bytes:
    """The reading frame as a view, (219, 3); the last base belongs to no whole codon."""
    return codes[: len(codes) // 3 * 3].reshape(-1, 3)


def _is_stop(codes: Bytes) -> Mask:
    """Which codons are TAA or TAG, the stops of the invertebrate mitochondrial code."""
    first, second, third = _codons(codes).T
    return np.asarray((first == 3) & (second == 0) & ((third == 0) | (third == 2)))


def barcode(place: TreePlace) -> str:
    """The specimen's barcode: its species' with a few differences, some with unread ends."""
    random = node_random(place.seed, 2, *place.taxa, place.specimen)
    codes = _evolve(_ancestral_barcode(place.seed, place.taxa), random, _SUBSTITUTIONS["specimen"])
    letters = _BASES[codes].copy()
    if random.random() < 0.1:
        letters[len(letters) - int(random.integers(5, 60)) :] = ord("N")
    return letters.tobytes().decode().rstrip("N")


def specimens(count: int, seed: int) -> Iterator[dict[str, str | None]]:
    """Rows of a specimen table.

    Species sizes follow a long tail. A third of the records lack the species, and half of these the genus too.
    """
    if count < 1:
        raise ValueError(f"at least one specimen is needed, got {count}")
    for number, taxa in enumerate(_taxon_of_each(count, seed)):
        place = TreePlace(seed, taxa, number)
        names: list[str | None] = list(lineage(taxa))
        unknown = node_random(seed, 3, number).random()
        if unknown < 0.33:
            names[3] = None
        if unknown < 0.16:
            names[2] = None
        yield {
            "specimen_id": f"SYN{seed:03d}-{number:07d}",
            "image": place.reference,
            "barcode": barcode(place),
            **dict(zip(RANKS, names, strict=True)),
            "bin": f"SYN:{'-'.join(map(str, taxa))}",
        }


def _taxon_of_each(count: int, seed: int) -> Iterator[tuple[int, int, int, int]]:
    """The species of each specimen, in random order."""
    random = node_random(seed, 4)
    num_species = max(2, count // 15)
    weights = (1 + np.arange(num_species)) ** -0.6  # a long tail: few common species, many rare ones
    members = random.choice(num_species, count, p=weights / weights.sum())
    ranks = random.permutation(num_species)
    for member in members:
        yield tree_path(int(ranks[member]), num_species)


def tree_path(species: int, num_species: int) -> tuple[int, int, int, int]:
    """Where a species hangs: about four to a genus, three genera to a family, at most 16 orders."""
    genus = species // 4
    family = genus // 3
    num_families = max(1, num_species // 12)
    order = family * min(16, max(2, num_families // 3)) // (num_families + 1)
    return order, family, genus, species


# --- Names --------------------------------------------------------------------------------------------------------

_ONSETS = ("b", "c", "d", "f", "g", "l", "m", "n", "p", "r", "s", "t", "v", "x", "z", "br", "st")
_VOWELS = ("a", "e", "i", "o", "u")


def _stem(number: int, num_syllables: int) -> str:
    """A stem that tells every number apart: its digits in mixed base, as syllables."""
    syllables = []
    for _ in range(num_syllables):
        number, onset = divmod(number, len(_ONSETS))
        number, vowel = divmod(number, len(_VOWELS))
        syllables.append(_ONSETS[onset] + _VOWELS[vowel])
    while number:
        number, onset = divmod(number, len(_ONSETS))
        syllables.append(_ONSETS[onset] + "o")
    return "".join(syllables)


def lineage(taxa: tuple[int, int, int, int]) -> tuple[str, str, str, str]:
    """Order, family, genus and binomial of a place in the tree.

    Pronounceable Latin-like names; no two taxa share one, and none is a real insect's by intent.
    """
    order, family, genus, species = taxa
    # The multipliers are coprime to the number of stems, so neighbours in the tree do not sound alike.
    genus_name = _stem(genus * 4111 % 614_125, 3).capitalize()
    return (
        f"{_stem(order * 37 % 85, 1)}noptera".capitalize(),
        f"{_stem(family * 1237 % 7225, 2)}lidae".capitalize(),
        genus_name,
        f"{genus_name} {_stem(species * 2311 % 614_125, 3)}us",
    )
