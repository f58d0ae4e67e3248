"""Training and evaluation on one GPU: how close to its ceiling, how far from the authors' path, how large a batch.

    python -m benchmarks.gpu DATA --out DIR                     ten minutes; no Ray, no network
    python -m benchmarks.gpu --parts lora,evaluation --out DIR  only these, on SYNTHETIC insects

Every part is a line of JSON, printed and kept in DIR when it is done, so that nothing is lost when the command is cut
off. `benchmarks.first_light` comes before it. Without a GPU the towers are small, and everything takes seconds.
"""

import argparse
import importlib
import sys
import tempfile
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.parts import Figures, Part, chosen, run_parts

if TYPE_CHECKING:
    from benchmarks.stage import Stage

SECONDS = 540.0
GOALS = {
    "share_of_matrix_product_at_500": 0.4,
    "stretch_share_of_matrix_product_at_500": 0.5,
    "share_of_matrix_product_at_2000_in_two_chunks": 0.36,
    "time_of_a_specimen_at_32768_over_500": 1.4,
    "speedup_over_published_at_500": 2.5,
}
PARTS = ("ceiling", "training", "compared", "evaluation", "precisions", "lora", "probe", "compiled", "large")
"""In the order of their worth; the last two take minutes."""


def parts(data: str | None, scratch: Path) -> dict[str, Part]:
    """All parts; what they need is imported when the first of them runs."""

    @cache
    def stage() -> "Stage":
        from benchmarks.stage import Stage

        return Stage(data, scratch)

    def part(name: str) -> Figures:
        figures: Figures = getattr(importlib.import_module("benchmarks.gpu_parts"), name)(stage())
        return figures

    own = {"training": lambda: stage().trained(stage().sizes.batch)}
    return {"goals": lambda: GOALS, **{name: own.get(name, partial(part, name)) for name in PARTS}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; returns how many failed."""
    asked = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    asked.add_argument("data", nargs="?", help="prepared data set; without one synthetic insects are drawn")
    asked.add_argument("--out", type=Path, required=True, help="folder of the lines")
    asked.add_argument("--parts", help=f"only these of {','.join(PARTS)}")
    asked.add_argument("--seconds", type=float, default=SECONDS, help="after which no part begins")
    options = asked.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            wanted = chosen(parts(options.data, Path(scratch)), options.parts)
        except ValueError as error:
            asked.error(str(error))
        return run_parts(wanted, options.out / "gpu.jsonl", options.seconds)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
