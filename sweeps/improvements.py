"""Does what others have published since make the alignment of images and barcodes better? Each idea alone, and all.

The paper has no such table. Every run aligns images with barcodes in the recipe of the sweep, which at the small scale
is `corrected`, and differs from the first one in the fields of its idea alone; where two ideas set one field, the later
one holds among all together. So these count k-mers, of which none can be hidden, and begin from no pre-training. Views
of barcodes were tried and are left out, as they cost 56 points (docs/log.md). Whether a difference is more than chance
is what a paired test of two runs says:

    clibd-sweep improvements --data DIR --scale small --seeds 3
    clibd-results compare RUN OTHER
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from sweeps.point import Base, Impossible, Point, Points, Sweep, behind, point_unless, started
from sweeps.table import DNA_DNA, IMAGE_DNA, Table, by_subset
from workloads.fields import with_fields
from workloads.spec import ExperimentSpec

_FRAMELESS = (
    *("dna.kind=kmers", "dna.weights=none", "dna.strand=both", "dna.counts=hellinger", "dna.hidden=residual"),
    *("dna.width=1024", "dna.depth=2", "dna.dropout=0.3"),
)
_NOISY = (
    *("image.noise=1.2", "image.hidden=residual"),
    *("image.width=1024", "image.depth=2", "image.dropout=0.3"),
)
_KEPT, _OF_COSINES = 0.75, 0.5
"""Share of an embedding that counts have; a cosine with an image is sqrt(1 - it) at most."""
IDEAS: Mapping[str, Sequence[str]] = {
    "positives by species": ("positives=species",),
    "positives by rank": ("positives=ranks",),
    "noise on image features": _NOISY,
    "k-mers, no frame": _FRAMELESS,
    "k-mers, counts kept": (*_FRAMELESS, f"dna.kept={_KEPT}", "embedding_size=1280"),
}
"""`NAME=VALUE` of the fields that an idea sets."""
_PRETRAINED = "barcodes pre-trained"


def _points(base: Base) -> Points:
    """One run without any idea, one with each, and one with all of them."""
    points: list[Point | Impossible] = [_point(base, "none")]
    points += [_point(base, name, name) for name in IDEAS]
    points += _pretrained(base)
    possible = [name for name in IDEAS if not _lacks(base, name)]
    return [*points, _point(base, "all", *possible)]


def _point(base: Base, row: str, *ideas: str) -> Point | Impossible:
    reason = base.lacks("image", "dna") or next(filter(None, (_lacks(base, idea) for idea in ideas)), None)
    label = {"none": "as it is", "all": "all together"}.get(row, row)
    return point_unless(reason, {"improvement": row}, label, partial(_improved, base, ideas))


def _lacks(base: Base, idea: str) -> str | None:
    """What an idea needs and the data set has not."""
    if "features" in idea and not base.data.image_features:
        return f"{base.data.name} has images, and this row needs features of them"
    if any(name.startswith("dna.") for name in IDEAS.get(idea, ["dna."])) and base.spec.dna.kind != "barcodebert":
        return f"{base.data.name} has features in place of barcodes, which this row needs"
    return None


def _improved(base: Base, ideas: Sequence[str]) -> ExperimentSpec:
    spec = with_fields(base.experiment("image-dna"), [field for idea in ideas for field in IDEAS[idea]])
    return replace(spec, initial_temperature=spec.initial_temperature * _OF_COSINES) if spec.dna.kept else spec


def _pretrained(base: Base) -> Points:
    """A run that begins with a DNA tower which has told hidden 5-mers, behind that run itself."""
    reason = base.lacks("image", "dna") or _lacks(base, _PRETRAINED)
    row = {"improvement": _PRETRAINED}
    start = point_unless(reason, row, "hidden 5-mers", lambda: base.experiment("pretrain-dna"))
    begun = started(start, row, _PRETRAINED, lambda: base.experiment("image-dna"))
    return [*behind(start), begun]


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
