"""What stands in the specimens of a source, counted batch by batch: modalities, species, barcodes, images."""

import sys
from collections import Counter
from functools import reduce
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.spec import RANKS

_SIDES = (("image", "image_features"), ("barcode", "dna_features"))
_MODALITIES = (*chain(*_SIDES), *RANKS, "bin")
_SHORT, _LONG = 500, 700
"""Bases between which a barcode is of the usual length; BOLD gives a BIN from 500 on."""
MOST_IMAGES = 20_000
"""References to images that are held, evenly among all of them, for their headers to be looked at."""


class Survey:
    """Counts of a source's specimens; adds a fraction to the time that reading them takes."""

    def __init__(self, root: str, all_images: bool = False) -> None:
        """Count nothing yet.

        Args:
            root: folder that image references are relative to.
            all_images: whether the references of all images are held.
        """
        self.root, self.num_specimens = root, 0
        self.filled: set[str] = set()
        self.num_with: Counter[str] = Counter()
        self.num_pairs = self.num_named = 0
        """Specimens with image and DNA, or features of these; and with a name at any rank."""
        self.species: Counter[str] = Counter()
        self.lengths: Counter[int] = Counter()
        """How many barcodes have how many bases."""
        self.num_ambiguous = 0
        """Barcodes with a base that is none of A, C, G, T."""
        self.images: list[str] = []
        self._most_images = sys.maxsize if all_images else MOST_IMAGES
        self._every, self._seen_images = 1, 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch of the specimen table."""
        self.num_specimens += len(batch)
        valid = {name: pc.is_valid(batch[name]) for name in _MODALITIES}
        for name, mask in valid.items():
            if count := mask.true_count:
                self.num_with[name] += count
                self.filled.add(name)
        image, dna = (pc.or_(valid[own], valid[features]) for own, features in _SIDES)
        self.num_pairs += pc.and_(image, dna).true_count
        self.num_named += reduce(pc.or_, [valid[rank] for rank in RANKS]).true_count
        counted = pc.value_counts(batch["species"].drop_null())
        self.species.update(dict(zip(*map(pa.Array.to_pylist, counted.flatten()), strict=True)))
        barcodes = batch["barcode"].drop_null()
        self.lengths.update(pc.utf8_length(barcodes).to_pylist())
        self.num_ambiguous += pc.match_substring_regex(barcodes, "[^ACGTU]").true_count
        references = batch["image"].drop_null().to_pylist()
        self._keep_images([view for reference in references for view in reference.split("\n")])

    def _keep_images(self, references: list[str]) -> None:
        """Every n-th reference, with n doubled whenever there are too many."""
        self.images += references[-self._seen_images % self._every :: self._every]
        self._seen_images += len(references)
        while len(self.images) > self._most_images:
            self.images, self._every = self.images[::2], self._every * 2

    def facts(self) -> dict[str, Any]:
        """What was counted, as plain numbers and texts."""
        sizes = np.array(list(self.species.values()), dtype=np.int64)
        return {
            "specimens": self.num_specimens,
            "with": {name: self.num_with[name] for name in _MODALITIES if self.num_with[name]},
            "with_image_and_dna": self.num_pairs,
            "without_a_name": self.num_specimens - self.num_named,
            "species": {
                "different": len(sizes),
                "of_one_specimen": int((sizes == 1).sum()),
                "of_nine_or_more": int((sizes >= 9).sum()),
            },
            "barcodes": self._barcodes(),
        }

    def _barcodes(self) -> dict[str, Any]:
        if not self.lengths:
            return {}
        ordered = sorted(self.lengths)
        middle, passed = self.lengths.total() / 2, 0
        for median in ordered:
            passed += self.lengths[median]
            if passed >= middle:
                break
        return {
            "shortest": ordered[0],
            "median": median,
            "longest": ordered[-1],
            "shorter_than_500": sum(count for length, count in self.lengths.items() if length < _SHORT),
            "longer_than_700": sum(count for length, count in self.lengths.items() if length > _LONG),
            "with_uncertain_bases": self.num_ambiguous,
        }
