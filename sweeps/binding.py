"""CLIBD Table 12: is it enough that DNA learns to meet frozen images, or images and text? Two runs.

The frozen towers are BioCLIP's; at the small scale, which does without downloads, those of a run of I+T, a third one.

    clibd-sweep binding --demo
"""

from sweeps.modalities import aligned
from sweeps.point import Base, Impossible, Point, Points, Sweep, behind, point_unless, started
from sweeps.table import WITH_DNA, Value, by_subset, main_table
from workloads.experiments import Experiment
from workloads.spec import Modality

BOUND: tuple[tuple[Experiment, tuple[Modality, ...], str], ...] = (
    ("bind-image", ("image",), "DNA bound to images"),
    ("bind-image-text", ("image", "text"), "DNA bound to images and text"),
)


def _points(base: Base) -> Points:
    """Both ways, and at the small scale the run that gives the frozen towers."""
    if base.scale == "paper":
        return [_bound(base, None, *bound) for bound in BOUND]
    frozen = aligned(base, "I+T")
    return [*behind(frozen), *(_bound(base, frozen, *bound) for bound in BOUND)]


def _bound(
    base: Base, frozen: Point | Impossible | None, name: Experiment, centre: tuple[Modality, ...], label: str
) -> Point | Impossible:
    """Bound to the towers of a run, or of BioCLIP."""
    row: dict[str, Value] = {"bind_to": centre}
    label = f"{label} of {'I+T' if frozen else 'BioCLIP'}"
    reason = base.lacks("dna", *centre, pixels=not frozen)
    if frozen and not reason:
        return started(frozen, row, label, lambda: base.experiment(name))
    return point_unless(reason, row, label, lambda: base.experiment(name))


SWEEP = Sweep(
    name="binding",
    question="Is it enough to bind DNA to towers that stay as they are?",
    points=_points,
    tables=(
        main_table(
            number=12,
            caption="DNA bound to frozen image and text towers, test set",
            row_fields=("bind_to",),
            blocks=by_subset("macro", *WITH_DNA),
        ),
    ),
)
