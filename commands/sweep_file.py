"""A user's own sweep: a Python file with one `SWEEP`, written from a template, read, and run like the others."""

import re
import runpy
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TypeVar

from sweeps import SWEEPS
from sweeps.point import Base, Impossible, Point, Sweep
from workloads.errors import ClibdError, MissingPathError, UsageError

_Result = TypeVar("_Result")
TAKEN = (*SWEEPS, "paper", "list", "new", "status", "logs")
"""Names that mean something on the command line already."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def read_sweep(address: str) -> Sweep:
    """The sweep of a file, which is run as Python: no file of somebody who is not trusted.

    Raises:
        MissingPathError: there is no such file.
        UsageError: it fails, has no sweep, or one whose name cannot be that of its folder.
    """
    path = Path(address)
    if not path.is_file():
        raise MissingPathError(address, "file", f"`clibd-sweep new {path.stem}` writes one in the working directory.")
    sweep = _told(path, lambda: runpy.run_path(str(path.resolve()))).get("SWEEP")
    if not isinstance(sweep, Sweep):
        what = "it has none" if sweep is None else f"it is of type {type(sweep).__name__}"
        raise UsageError(f"{path}: a file of a sweep says SWEEP = Sweep(name=…, question=…, points=…); {what}")
    if sweep.name in TAKEN or not _NAME.fullmatch(str(sweep.name)):
        why = "is taken" if sweep.name in TAKEN else "is no name of a folder: at most 64 small letters, digits, - and _"
        raise UsageError(f"{path}: the sweep's name '{sweep.name}' {why}. Change name=… in its SWEEP")
    return replace(sweep, points=lambda base: _points(path, sweep, base))


def _points(path: Path, sweep: Sweep, base: Base) -> Sequence[Point | Impossible]:
    points = _told(path, lambda: list(sweep.points(base)))
    wrong = [type(point).__name__ for point in points if not isinstance(point, Point | Impossible)]
    if wrong or not points:
        what = f"of type {wrong[0]}" if wrong else "nothing"
        raise UsageError(f"{path}: its points give {what}; they are a list of Point and Impossible (sweeps/point.py)")
    return points


def _told(path: Path, work: Callable[[], _Result]) -> _Result:
    """Do what a file says; what goes wrong there is told with its line."""
    try:
        return work()
    except ClibdError as error:
        raise UsageError(f"{path}{_line(path, error)}: {error}") from error
    except (Exception, SystemExit) as error:
        says = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}"
        raise UsageError(f"{path}{_line(path, error)}: {says}. Correct the file and start again") from error


def _line(path: Path, error: BaseException) -> str:
    """The last line of the file that was at work."""
    if isinstance(error, SyntaxError) and error.filename == str(path.resolve()):
        return f", line {error.lineno}: `{(error.text or '').strip()}`"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path.resolve())]
    return f", line {frames[-1].lineno}: `{frames[-1].line}`" if frames else ""


def write_template(name: str) -> Path:
    """Write a sweep over learning rates, to begin with, into the working directory; it runs as it is.

    Args:
        name: of the sweep, its table and its folder of runs.

    Raises:
        UsageError: the name cannot be one, or is taken, or there is such a file.
    """
    name = name.removesuffix(".py").replace("_", "-")
    if len(name) > 64 or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise UsageError(
            f"'{name}' cannot name a sweep: use at most 64 small letters, digits and hyphens, such as learning-rate"
        )
    if name in TAKEN:
        raise UsageError(f"there is a sweep '{name}' already; choose another name")
    path = Path(f"{name.replace('-', '_')}.py")
    if path.exists():
        raise UsageError(f"{path} is there already and is left as it is. Choose another name, or move it away")
    text = resources.files("sweeps").joinpath("template.txt").read_text(encoding="utf-8")
    path.write_text(text.format(name=name, file=path), encoding="utf-8")
    return path
