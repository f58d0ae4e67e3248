"""CLIBD Appendix D.4: what do the published towers cost? Counted and timed; nothing is trained.

clibd-sweep costs --demo
"""

from sweeps.point import Base, Point, Points, Sweep


def _points(base: Base) -> Points:
    """The published towers, whatever the scale, on barcodes and labels of the data set."""
    return [Point(row={"towers": "published"}, label="published towers", spec=base.spec, kind="costs")]


SWEEP = Sweep(name="costs", question="What do the towers cost in operations, time and storage?", points=_points)
