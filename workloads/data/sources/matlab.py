"""Variables of MATLAB files: read by scipy once their layout has been checked, unwrapped, and counted from 0."""

import warnings
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workloads.data.sources.matlab_layout import DEEPEST, checked_names
from workloads.errors import MissingPathError, SourceError

Array = npt.NDArray[np.generic]


def read_variables(path: Path, wanted: Collection[str]) -> dict[str, Array]:
    """Those of the wanted variables that a MATLAB file (version 5 to 7.2) holds; the others are not decoded.

    Cells are arrays of objects, each of them an array again.

    Raises:
        MissingPathError: there is no such file.
        SourceError: not a MATLAB file, version 4 or 7.3, broken, or with an object or a function in it.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if not path.is_file():
        raise MissingPathError(str(path), "MATLAB file", "Name a folder that holds it.")
    found = sorted(set(checked_names(path, wanted)) & set(wanted))
    if not found:
        return {}
    broken = (
        ValueError,
        TypeError,
        LookupError,
        OverflowError,
        EOFError,
        zlib.error,
        MatReadError,
        MemoryError,
        Warning,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded = loadmat(str(path), appendmat=False, variable_names=found)
    except broken as error:
        raise SourceError(str(path), "", f"not readable as a MATLAB file ({' '.join(str(error).split())})") from error
    return {name: np.asarray(loaded[name]) for name in found}


def texts(path: Path, name: str, cells: Array) -> list[str | None]:
    """The texts of a row or column of cells, however deeply each is nested; None for an empty cell.

    Raises:
        SourceError: several rows and columns, or a cell with something else than one text or whole number.
    """
    if cells.size != max(cells.shape, default=0):
        raise SourceError(str(path), name, f"shape {cells.shape}, neither a row nor a column")
    return [_text(path, f"{name}, record {index}", cell) for index, cell in enumerate(cells.ravel(), start=1)]


def zero_based(path: Path, name: str, values: Array, count: int) -> npt.NDArray[np.int64]:
    """MATLAB's indices, which count from 1, as indices that count from 0; all of them between 1 and `count`.

    Raises:
        SourceError: not whole numbers, or one that is below 1 or above `count`.
    """
    indices = values.ravel()
    if indices.dtype.kind not in "iuf":
        raise SourceError(str(path), name, f"holds {indices.dtype}, not indices")
    numbers = indices.astype(np.float64)
    whole = np.isfinite(numbers) & (numbers == np.floor(numbers))
    if len(wrong := np.flatnonzero(~(whole & (numbers >= 1) & (numbers <= count)))):
        reason = f"{numbers[wrong[0]]:g} is no index of {count} records; MATLAB counts from 1"
        raise SourceError(str(path), f"{name}, entry {wrong[0] + 1}", reason)
    return numbers.astype(np.int64) - 1


def _text(path: Path, where: str, cell: object) -> str | None:
    for _ in range(DEEPEST):
        if not isinstance(cell, np.ndarray) or cell.size > 1:
            break
        if cell.size == 0:
            return None
        cell = cell.item()
    if isinstance(cell, str):
        return cell.strip() or None
    if isinstance(cell, int | float) and not isinstance(cell, bool) and float(cell).is_integer():
        return str(int(cell))
    raise SourceError(str(path), where, "neither a text nor a whole number")
