"""Parts of a benchmark that are run by name: each is one line of JSON, printed and kept as soon as it is done.

Knows neither torch nor our packages: what a new machine lacks is to be said by the part that needs it.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
Part = Callable[[], Figures]


class UnfitError(Exception):
    """What was measured makes all that would follow worthless; carries the figures that say so."""

    def __init__(self, reason: str, figures: Figures) -> None:
        super().__init__(reason, figures)


def run_parts(parts: Mapping[str, Part], file: Path, seconds: float) -> int:
    """Run parts one after another.

    A part that fails says why, and the next ones are still measured; none begins after the time is over.

    Args:
        parts: by name, in the order of their worth.
        file: of JSON lines; what is in it is written over.
        seconds: after which no part begins.

    Returns:
        How many failed; those that were left out because an earlier one said so are among them.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    failed, stopped, began = 0, "", time.monotonic()
    with file.open("w") as kept:
        for name, part in parts.items():
            line: Figures = {"part": name}
            started = time.monotonic()
            if stopped or started - began > seconds:
                line["left_out"] = stopped or f"the {seconds:.0f} seconds for all parts are over"
            else:
                try:
                    line |= part()
                except UnfitError as error:
                    stopped, figures = error.args
                    line |= {"stopped": stopped, **figures}
                except ModuleNotFoundError as error:
                    line["failed"] = f"needs the package {error.name}; docs/gpu.md has what to bring along"
                except Exception as error:  # one broken part must not cost the others' figures
                    line["failed"] = f"{type(error).__name__}: {error}"
            failed += bool(stopped) or "failed" in line
            line["seconds"] = round(time.monotonic() - started, 3)
            text = json.dumps(line)
            print(text, flush=True)
            kept.write(f"{text}\n")
            kept.flush()
    return failed


def chosen(parts: Mapping[str, Part], names: str | None) -> dict[str, Part]:
    """Those of a list of names with commas; all where there is none.

    Raises:
        ValueError: there is no such part.
    """
    wanted = names.split(",") if names else list(parts)
    if unknown := set(wanted) - parts.keys():
        raise ValueError(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    return {name: part for name, part in parts.items() if name in wanted}
