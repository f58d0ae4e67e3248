"""CLIBD Table 12: is it enough that DNA learns to meet frozen images, or images and text? Two runs.

The frozen towers are BioCLIP's; at the small scale, which does without downloads, those of a run of I+T, a third one.

    clibd-sweep binding --demo
"""

from collections.abc import Sequence

from sweeps.modalities import aligned
from sweeps.point import Base, Impossible, Point, Sweep, behind, point_unless, started
from sweeps.table import WITH_DNA, Table, Value, by_subset
from workloads.experiments import ALIGNED_EPOCHS, Experiment
from workloads.spec import RANKS, Modality

BOUND: tuple[tuple[Experiment, tuple[Modality, ...], str], ...] = (
    ("bind-image", ("image",), "DNA bound to images"),
    ("bind-image-text", ("image", "text"), "DNA bound to images and text"),
)


def points(base: Base) -> Sequence[Point | Impossible]:
    """Both ways, and at the small scale the run that gives the frozen towers."""
    if base.scale == "paper":
        return [_with_bioclip(base, *bound) for bound in BOUND]
    frozen = aligned(base, "I+T")
    return [*behind(frozen), *(_with_towers(base, frozen, *bound) for bound in BOUND)]


def _with_bioclip(base: Base, name: Experiment, centre: tuple[Modality, ...], label: str) -> Point | Impossible:
    reason = base.lacks("dna", *centre, pixels=True)
    return point_unless(reason, _row(centre), f"{label} of BioCLIP", lambda: base.experiment(name))


def _with_towers(
    base: Base, frozen: Point | Impossible, name: Experiment, centre: tuple[Modality, ...], label: str
) -> Point | Impossible:
    if reason := base.lacks("dna", *centre):
        return Impossible(_row(centre), label, reason)
    return started(frozen, _row(centre), f"{label} of I+T", lambda: base.experiment(name))


def _row(centre: tuple[Modality, ...]) -> dict[str, Value]:
    return {"bind_to": centre}


SWEEP = Sweep(
    name="binding",
    question="Is it enough to bind DNA to towers that stay as they are?",
    points=points,
    tables=(
        Table(
            number=12,
            caption="DNA bound to frozen image and text towers, test set",
            row_fields=("bind_to",),
            blocks=by_subset("macro", *WITH_DNA),
            levels=RANKS,
            partition="test",
            epochs=ALIGNED_EPOCHS,
        ),
    ),
)
