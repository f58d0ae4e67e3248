"""Every reader that crafted inputs are given to."""

from tests.faults.foreign_readers import FOREIGN
from tests.faults.image_readers import IMAGES
from tests.faults.library_readers import LIBRARY
from tests.faults.mutations import Make, Read
from tests.faults.own_readers import OWN

READERS: dict[str, tuple[int, Make, Read]] = {**FOREIGN, **IMAGES, **LIBRARY, **OWN}
APART = ("MATLAB, decoded", "torch, decoded", "HDF5, text of variable length, decoded")
"""What is decoded in a process that may die of it: here it is the decoder alone, and its end is no promise broken."""
