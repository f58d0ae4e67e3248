"""What is asked of a database: a specimen with an image, a barcode or both."""

from dataclasses import dataclass, replace
from typing import Literal

from workloads.arrays import Floats

Evidence = Literal["image", "dna", "both"]
"""What a specimen is identified by; `both` where it has an image and a barcode, and the database keys of both."""
PICTURE_SIZE = 256
"""Shorter side, pixels, at most, that a picture is brought to, as in a data set."""


@dataclass(frozen=True, slots=True)
class Query:
    """One specimen to be named."""

    id: str
    """The caller's; of a file its name, of a record in FASTA its first word."""
    image: bytes | Floats | None = None
    """An encoded picture, or features of the model that a run's image tower was trained over, (features,)."""
    barcode: str | None = None
    """Cleaned, and turned where it was the reverse complement (`workloads.data.specimens.barcode_rule`)."""
    where: str = ""
    """The file, and the line or member, that it came from."""
    flags: tuple[str, ...] = ()
    """What is to be said of what it brought, such as a barcode that was turned."""
    problem: str | None = None
    """Why nothing of it can be read; such a query has its row in the answers, and no name."""

    def without(self, modality: Literal["image", "dna"], why: str) -> "Query":
        """The query less a modality that cannot be used; with nothing left, that is its problem."""
        left = replace(self, image=None) if modality == "image" else replace(self, barcode=None)
        if left.image is None and left.barcode is None:
            return replace(left, problem=why)
        return replace(left, flags=(*self.flags, why))
