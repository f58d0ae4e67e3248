"""Does what others have published since make the alignment of images and barcodes better? Each idea alone, and all.

The paper has no such table. Every run aligns images with barcodes in the recipe of the sweep, which at the small scale
is `corrected`, and differs from the first one in the fields of its idea alone; where two ideas set one field, the later
one holds among all together. Whether a difference is more than chance is what a paired test of two runs says:

    clibd-sweep improvements --data DIR --scale small --seeds 3
    clibd-results compare RUN OTHER
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial, reduce
from typing import Any

from sweeps.point import Base, Points, Sweep, point_unless
from sweeps.table import DNA_DNA, IMAGE_DNA, Table, by_subset
from workloads.spec import ExperimentSpec

IDEAS: Mapping[str, Mapping[str, Any]] = {
    "positives by species": {"positives": "species"},
    "positives by rank": {"positives": "ranks"},
}
"""Fields of the spec that an idea sets; those of a tower as `dna`, a mapping of its own fields."""


def _points(base: Base) -> Points:
    """One run without any idea, one with each, and one with all of them."""
    reason = base.lacks("image", "dna")
    tried: Mapping[str, list[Mapping[str, Any]]] = {
        "none": [],
        **{name: [fields] for name, fields in IDEAS.items()},
        "all": list(IDEAS.values()),
    }
    return [
        point_unless(reason, {"improvement": name}, _label(name), partial(_improved, base, ideas))
        for name, ideas in tried.items()
    ]


def _label(name: str) -> str:
    return {"none": "as it is", "all": "all together"}.get(name, name)


def _improved(base: Base, ideas: list[Mapping[str, Any]]) -> ExperimentSpec:
    return reduce(_with, ideas, base.experiment("image-dna"))


def _with(spec: ExperimentSpec, fields: Mapping[str, Any]) -> ExperimentSpec:
    """The spec with the fields of one idea."""
    towers = {
        name: replace(getattr(spec, name), **own) if isinstance(own, Mapping) else own for name, own in fields.items()
    }
    return replace(spec, **towers)


SWEEP = Sweep(
    name="improvements",
    question="What does each published improvement bring, alone and with the others?",
    points=_points,
    tables=(
        Table(
            number="improvements",
            caption="Ideas published since, each alone and all together, validation set",
            row_fields=("improvement",),
            blocks=by_subset("macro", IMAGE_DNA, DNA_DNA, published=False),
            levels=("genus", "species"),
        ),
    ),
)
