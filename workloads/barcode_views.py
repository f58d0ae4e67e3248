"""What a spec says of how barcodes are read: the strand, the k-mers, and how barcodes vary in training.

Imports neither torch nor Ray.
"""

from dataclasses import dataclass
from typing import Literal

from workloads.errors import SpecError

Strand = Literal["forward", "both"]
LONGEST_KMER = 7
"""Of 16,384 k-mers, most of which a barcode has not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BarcodeViews:
    """How barcodes vary in training, as they do from one laboratory to another; by themselves they do not.

    How much of each happens to a barcode is drawn evenly from none to the most that is said here
    (`workloads.data.inputs.barcode_views`).
    """

    share: float = 1.0
    """Share of the barcodes that vary; the others are shown as they are."""
    shortest: int | None = None
    """Bases of the shortest part that a barcode is cropped to, at any place; None: not cropped."""
    shift: int = 0
    """Bases more or fewer in front, at most."""
    substituted: float = 0.0
    """Share of the bases that are replaced by others, at most."""
    indels: int = 0
    """Bases inserted or deleted, at most."""
    unknown: float = 0.0
    """Share of the bases that are replaced by N, at most."""
    turned: float = 0.0
    """Share of the barcodes that are shown as their reverse complement."""

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("share", "substituted", "unknown", "turned")}
        if wrong := [name for name, share in shares.items() if not 0 <= share <= 1]:
            raise SpecError(f"dna.views.{wrong[0]} is {shares[wrong[0]]}; it is a share, from 0 to 1")
        if self.shift < 0 or self.indels < 0 or (self.shortest is not None and self.shortest < 1):
            raise SpecError("dna.views.shift and dna.views.indels are 0 bases at least, dna.views.shortest 1 or none")

    @property
    def vary(self) -> bool:
        """Whether anything happens to barcodes."""
        happens = self.shift, self.substituted, self.indels, self.unknown, self.turned
        return self.share > 0 and (self.shortest is not None or any(happens))


AS_SEQUENCED = BarcodeViews()
