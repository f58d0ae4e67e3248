"""CLIBD Table 11: does an image tower that knows the insects already help? Three runs, one of them SimCLR's.

clibd-sweep simclr-start --demo
"""

from sweeps.modalities import simclr
from sweeps.point import Base, Point, Points, Sweep, behind, started
from sweeps.table import WITH_DNA, by_subset, main_table


def _points(base: Base) -> Points:
    """SimCLR, CLIBD that begins with its image tower, and CLIBD that does not."""
    start = simclr(base, "image")
    without = Point(row={"simclr_initialised": False}, label="not from SimCLR", spec=base.experiment("align"))
    from_it = started(start, {"simclr_initialised": True}, "from SimCLR", lambda: base.experiment("align"))
    return [*behind(start), without, from_it]


SWEEP = Sweep(
    name="simclr-start",
    question="Does an image tower from SimCLR help?",
    points=_points,
    tables=(
        main_table(
            number=11,
            caption="Image tower from SimCLR or not, all three modalities aligned, test set",
            row_fields=("simclr_initialised",),
            blocks=by_subset("macro", *WITH_DNA),
        ),
    ),
)
