"""The file that a user's own sweep begins as."""

import re
from importlib import resources

from sweeps import SWEEPS
from workloads.errors import UsageError


def template(name: str) -> str:
    """The text of a sweep over learning rates that runs as it is.

    Args:
        name: of the sweep, its table and its folder of runs.

    Raises:
        UsageError: the name cannot be one, or is taken.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise UsageError(f"'{name}' cannot name a sweep: use small letters, digits and hyphens, such as learning-rate")
    if name in (*SWEEPS, "paper"):
        raise UsageError(f"there is a sweep '{name}' already; choose another name")
    text = resources.files("sweeps").joinpath("template.txt").read_text(encoding="utf-8")
    return text.format(name=name, file=f"{name.replace('-', '_')}.py")
