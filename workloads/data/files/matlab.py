"""Variables of MATLAB files: decoded by scipy in a process that may die of them, unwrapped, and counted from 0.

scipy trusts what a file says of itself: sizes that its bytes do not back up take all memory, and some ends the process.
"""

import contextlib
import json
import resource
import sys
import tempfile
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workloads.arrays import Indices
from workloads.errors import MissingPathError, SourceError
from workloads.foreign_file import FACTS, REFUSAL, read_apart

Array = npt.NDArray[np.generic]

_MEMORY = 4 << 30  # INSECT's features, the largest variable we read, have 350 MB
_SECONDS = 600.0
_DEEPEST = 8
_VARIABLES = "variables.npz"
_ABSENT = "\0"
"""Name of no variable: while it is wanted, scipy goes through the whole file."""


def read_variables(paths: Sequence[Path], wanted: Collection[str]) -> dict[str, Array]:
    """Those of the wanted variables that MATLAB files (version 4 to 7.2) hold; the others are not decoded.

    Cells are arrays of texts, however deeply each is nested; empty where they are. The last of several files that hold
    a variable gives it.

    Raises:
        MissingPathError: one of the files is not there.
        SourceError: one is no MATLAB file, of version 7.3 or broken; or has a struct, an object or a function for one
            of these variables.
    """
    if missing := [path for path in paths if not path.is_file()]:
        raise MissingPathError(missing[0], "MATLAB file", "Name a folder that holds it.")
    with tempfile.TemporaryDirectory() as scratch:
        files = json.dumps([str(path.absolute()) for path in paths])
        facts = read_apart(__name__, Path(scratch), files, *wanted, seconds=_SECONDS)
        if reason := facts.get(REFUSAL):
            culprit = str(facts.get("path", " or ".join(map(str, paths))))
            remedy = "fetch it again, or save it again with `save -v7`"
            raise SourceError(culprit, "", f"not readable as a MATLAB file ({reason}); {remedy}")
        with np.load(Path(scratch) / _VARIABLES, allow_pickle=False) as kept:
            return dict(kept)


def texts(path: Path, name: str, cells: Array) -> list[str | None]:
    """The texts of a row or column; None for an empty one.

    Raises:
        SourceError: several rows and columns, or something else than a text or whole number.
    """
    if cells.size != max(cells.shape, default=0):
        raise SourceError(path, name, f"shape {cells.shape}, neither a row nor a column")
    try:
        return [_text(name, index, cell) or None for index, cell in enumerate(cells.ravel().tolist(), start=1)]
    except ValueError as error:
        raise SourceError(path, "", str(error)) from error


def zero_based(path: Path, name: str, values: Array, count: int) -> Indices:
    """MATLAB's indices, which count from 1, as indices that count from 0; all of them between 1 and `count`.

    Raises:
        SourceError: not whole numbers, or one that is below 1 or above `count`.
    """
    indices = values.ravel()
    if indices.dtype.kind not in "iuf":
        raise SourceError(path, name, f"holds {indices.dtype}, not indices")
    numbers = indices.astype(np.float64)
    whole = np.isfinite(numbers) & (numbers == np.floor(numbers))
    if len(wrong := np.flatnonzero(~(whole & (numbers >= 1) & (numbers <= count)))):
        reason = f"{numbers[wrong[0]]:g} is no index of {count} records; MATLAB counts from 1"
        raise SourceError(path, f"{name}, entry {wrong[0] + 1}", reason)
    return numbers.astype(np.int64) - 1


def keep_variables(folder: Path, paths: Sequence[str], wanted: Collection[str]) -> None:
    """What the child does: write the wanted variables, or why they are refused, into a folder."""
    path, facts, variables = "", dict[str, str](), dict[str, Any]()
    try:
        for path in paths:
            variables |= _decoded(Path(path), wanted)
        np.savez(folder / _VARIABLES, **variables)
    except Exception as error:  # damaged files fail in every way there is, and the reason is all that is wanted
        facts = {REFUSAL: " ".join(str(error).split())[:300] or type(error).__name__, "path": path}
    (folder / FACTS).write_text(json.dumps(facts))


def _decoded(path: Path, wanted: Collection[str]) -> dict[str, Array]:
    """What `read_variables` does, for files that one may trust.

    Raises:
        Exception: of any kind that scipy raises; ValueError for what is not read.
    """
    from scipy.io import loadmat

    with path.open("rb") as stream, warnings.catch_warnings():
        warnings.simplefilter("error")  # such as of two variables of one name
        loaded = loadmat(stream, variable_names=[*wanted, _ABSENT])
        if stream.tell() >= path.stat().st_size:  # scipy skips what is not wanted without a look whether it is there
            raise ValueError("it breaks off")
    return {name: _plain(name, loaded[name]) for name in wanted if name in loaded}


def _plain(name: str, values: object) -> Array:
    """Numbers as they are, cells as their texts."""
    if type(values) is not np.ndarray or values.dtype.kind not in "biufUO":
        raise ValueError(f"{name} is neither cells nor texts nor numbers")
    if values.dtype != object:
        return values
    cells = [_text(name, index, cell) for index, cell in enumerate(values.ravel(), start=1)]
    return np.array(cells, dtype=np.str_).reshape(values.shape)


def _text(name: str, index: int, cell: object) -> str:
    for _ in range(_DEEPEST):
        if type(cell) is not np.ndarray or cell.size > 1:
            break
        cell = cell.item() if cell.size else ""
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, int | float) and not isinstance(cell, bool) and float(cell).is_integer():
        return str(int(cell))
    raise ValueError(f"{name}, record {index}: neither a text nor a whole number")


if __name__ == "__main__":
    with contextlib.suppress(ValueError, OSError):  # a system that knows no such limit, or a stricter one
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    keep_variables(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:])
