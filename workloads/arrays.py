"""Types of arrays, each under one name; a docstring says the shape."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
"""Numbers that stand for names."""
Bytes = npt.NDArray[np.uint8]
"""Letters of barcodes, or codes of bases."""
Digests = npt.NDArray[np.uint64]
KmerIds = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]
Names = npt.NDArray[np.object_]
"""Texts, None where missing."""
Labels = Mapping[str, Names]
"""Names by rank, None where missing."""
