"""CLIBD Tables 1, 2, 8, 9, 10 and 13, Figures 3 to 5 and 10 to 13: which modalities to align? Five runs.

Beside them stand the towers as they were, BioCLIP as it was published, and a row that the paper's reviewers missed:
barcodes that learned to know themselves, as SimCLR does it with images.

    clibd-sweep modalities --demo
"""

from collections.abc import Mapping

from sweeps.point import Base, Impossible, Point, Points, Sweep, measured, point_unless
from sweeps.table import IMAGE_DNA, IMAGE_IMAGE, IMAGE_TEXT, WITH_DNA, Table, Value, by_subset, main_table
from workloads.experiments import BIOCLIP, Experiment
from workloads.spec import MODALITIES, RANKS, Modality, Rank

ALIGNMENTS: Mapping[str, tuple[Experiment, tuple[Modality, ...]]] = {
    "I+T": ("image-text", ("image", "text")),
    "I+D": ("image-dna", ("image", "dna")),
    "I+D+T": ("align", MODALITIES),
}


def _points(base: Base) -> Points:
    """No alignment, SimCLR, BioCLIP, and every alignment with images."""
    return [
        Point(row=_row("no_alignment"), label="no alignment", spec=base.experiment("align"), kind="untrained"),
        *(simclr(base, modality) for modality in ("image", "dna")),
        _bioclip(base),
        *(aligned(base, label) for label in ALIGNMENTS),
        _attention(base),
    ]


def aligned(base: Base, label: str) -> Point | Impossible:
    """The run of one alignment, `I+T`, `I+D` or `I+D+T`."""
    experiment, names = ALIGNMENTS[label]
    return point_unless(base.lacks(*names), _row("clip", *names), label, lambda: base.experiment(experiment))


def simclr(base: Base, modality: Modality) -> Point | Impossible:
    """The run of one tower that learned to know two views of a specimen."""
    experiment: Experiment = "simclr-image" if modality == "image" else "simclr-dna"
    label = f"SimCLR, {'images' if modality == 'image' else 'DNA'}"
    return point_unless(base.lacks(modality), _row("simclr", modality), label, lambda: base.experiment(experiment))


def _bioclip(base: Base) -> Point | Impossible:
    row = {**_row("clip", "image", "text"), "model": "BioCLIP"}
    published = (
        "it is a published model, and the small scale does without downloads; where the hub can be reached: "
        f"`clibd evaluate {BIOCLIP} --data DIR --out FOLDER`, then "
        "`clibd-results table 2 --runs RUNS --run FOLDER`"
    )
    if reason := base.lacks("image", "text", pixels=True) or (published if base.scale == "small" else None):
        return Impossible(row, "BioCLIP", reason)
    return Point(row=row, label="BioCLIP", spec=base.experiment("align"), kind="openclip", model=BIOCLIP)


def _attention(base: Base) -> Point | Impossible:
    """Where the vision transformer of I+D+T looks."""
    row: dict[str, Value] = {"figure": 5}
    if reason := base.lacks("image", pixels=True):
        return Impossible(row, "attention of I+D+T", reason)
    return measured("attention", row, "attention of I+D+T", {"run": aligned(base, "I+D+T")})


def _row(training: str, *names: Modality) -> dict[str, Value]:
    return {"model": "CLIBD", "training": training, "aligned": names}


def _alignments(number: int, partition: str, average: str) -> Table:
    split = {"val": "validation set", "test": "test set"}[partition]
    return main_table(
        number=number,
        caption=f"Models that align different modalities, {average} accuracy, {split}",
        row_fields=("training", "aligned"),
        takes={"model": "CLIBD"},
        blocks=by_subset(average, *WITH_DNA),
        partition=partition,
    )


def _beside_bioclip(number: int, *levels: Rank) -> Table:
    return main_table(
        number=number,
        caption="BioCLIP and CLIBD, image queries, test set",
        row_fields=("model", "aligned"),
        takes={"training": "clip"},
        blocks=by_subset("macro", IMAGE_IMAGE, IMAGE_DNA, IMAGE_TEXT),
        levels=levels,
        notes=("BioCLIP's training set contains BIOSCAN-1M, so that it may have seen unseen species.",),
    )


SWEEP = Sweep(
    name="modalities",
    question="Which modalities should be aligned, and what does each alignment add?",
    points=_points,
    tables=(
        _alignments(1, "test", "macro"),
        _beside_bioclip(2, "species"),
        _alignments(8, "test", "micro"),
        _alignments(9, "val", "macro"),
        _alignments(10, "val", "micro"),
        _beside_bioclip(13, *RANKS),
    ),
)
