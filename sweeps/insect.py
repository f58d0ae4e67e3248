"""CLIBD Table 4: what do aligned encoders bring to zero-shot learning on INSECT? Five runs, six at the paper's scale.

    clibd-sweep insect --demo
    clibd-sweep insect --data BIOSCAN --insect INSECT --scale paper

Fourteen pairs of an image encoder and a DNA encoder. INSECT publishes the features of ResNet-101 and of its own network
over barcodes. The other encoders are as they were published, or as they came out of I+D+T on the base data; or they are
fine-tuned on the species that INSECT trains on, each alone with a linear layer over the species, or CLIBD's two
together by alignment.

Where we differ from the authors: their supervised DNA encoders were told the names of the unseen species too, and the
epoch of their aligned ones was chosen by the test; ours see the training species alone, and the last epoch is taken.
Theirs of DNABERT-2 took the largest state over the tokens, ours take the mean.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sweeps.modalities import aligned
from sweeps.point import Base, Impossible, Point, Points, Sweep, behind, measured, point_unless, started
from sweeps.table import Row, Table, Value, subsets
from workloads.experiments import Experiment, Scale
from workloads.spec import ExperimentSpec
from workloads.tower_specs import DnaTower

PUBLISHED = "insect"
"""In place of a point's id: the features that INSECT publishes."""
_DNABERT2 = DnaTower(kind="dnabert2", weights="zhihan1996/DNABERT-2-117M")
_ROW_FIELDS = ("image_encoder", "dna_encoder", "dna_pretraining", "dna_fine_tuning", "image_fine_tuning")
_ROWS: tuple[Mapping[str, Value], ...] = tuple(
    dict(zip(_ROW_FIELDS, values, strict=True))
    for values in (
        ("RN-101", "CNN encoder", None, "INSECT", None),
        ("RN-101", "DNABERT-2", "M.S.", None, None),
        ("RN-101", "DNABERT-2", "M.S.", "INSECT", None),
        ("RN-101", "BarcodeBERT", "Arthro", None, None),
        ("RN-101", "BarcodeBERT", "Arthro", "INSECT", None),
        ("ViT-B", "BarcodeBERT", "Arthro", "INSECT", None),
        ("ViT-B", "BarcodeBERT", "Arthro", "INSECT", "INSECT"),
        ("CLIBD-I", "CNN encoder", None, "INSECT", None),
        ("CLIBD-I", "BarcodeBERT", "Arthro", "INSECT", None),
        ("CLIBD-I", "BarcodeBERT", "Arthro", "INSECT", "INSECT"),
        ("RN-101", "CLIBD-D", "BS-1M", None, None),
        ("RN-101", "CLIBD-D", "BS-1M", "INSECT", None),
        ("CLIBD-I", "CLIBD-D", "BS-1M", None, None),
        ("CLIBD-I", "CLIBD-D", "BS-1M", "INSECT", "INSECT"),
    )
)
_NO_INSECT = (
    "INSECT was not given; `clibd-sweep insect --insect FOLDER` reads the folder of its res101.mat, att_splits.mat and "
    "images"
)
_NO_PICTURES = "put the folder `images` of INSECT beside its res101.mat, and prepare it anew"
_NO_DNABERT2 = (
    "it is a published model, and the small scale does without downloads; `clibd-sweep insect --scale paper` has this "
    "row"
)
_SHARE = 3e-6 / 5e-5
"""Share of the alignment's learning rates with which its fine-tuning on INSECT is done."""
_Encoder = Point | Impossible | str
"""The point whose embeddings are an encoder's, or `PUBLISHED`."""


def _points(base: Base) -> Points:
    """The runs of the encoders, and the fourteen pairs of them."""
    if base.insect is None:
        return [Impossible(row, _label(row, base.scale), _NO_INSECT) for row in _ROWS]
    insect = replace(base, data=base.insect)
    encoders, spec = _encoders(base, insect), insect.experiment("align")
    pairs = []
    for row in _ROWS:
        dna, images = (encoders[name] for name in _names(row))
        pairs.append(measured("bzsl", row, _label(row, base.scale), {"images": images, "dna": dna}, spec))
    used = {name for pair in pairs if isinstance(pair, Point) for name in pair.needs}
    runs = {run.id: run for run in encoders.values() if isinstance(run, Point) and run.id in used}
    first = aligned(base, "I+D+T")
    if isinstance(first, Point) and any(first.id in run.needs for run in runs.values()):
        runs = {first.id: first, **runs}
    return [*behind(*runs.values()), *pairs]


def _names(row: Mapping[str, Value]) -> tuple[str, str]:
    """What a row's DNA encoder and image encoder are called among the encoders."""
    if row["dna_encoder"] == "CLIBD-D" and row["image_fine_tuning"]:
        return "CLIBD, tuned", "CLIBD, tuned"
    dna, image = (
        f"{row[f'{name}_encoder']}{', tuned' if row[f'{name}_fine_tuning'] else ''}" for name in ("dna", "image")
    )
    return dna.replace("CLIBD-D", "CLIBD"), "CLIBD" if image == "CLIBD-I" else image


def _label(row: Mapping[str, Value], scale: Scale) -> str:
    """Both encoders as they really are at a scale."""
    names = {"RN-101": "published features", "CNN encoder": "published DNA"}
    if scale == "small":
        names |= {"ViT-B": "small ViT", "BarcodeBERT": "small BarcodeBERT"}
    said = {name: str(row[f"{name}_encoder"]) for name in ("image", "dna")}
    tuned = {name: row[f"{name}_fine_tuning"] and said[name] != "CNN encoder" for name in said}
    return " + ".join(f"{'tuned ' if tuned[name] else ''}{names.get(said[name], said[name])}" for name in said)


def _encoders(base: Base, insect: Base) -> dict[str, _Encoder]:
    """Every encoder as it was and, with `, tuned` behind its name, fine-tuned on INSECT."""
    no_dna, no_pictures = insect.lacks("dna"), insect.lacks("image", pixels=True)
    no_pictures = no_pictures and f"{no_pictures}; {_NO_PICTURES}"
    no_dnabert2 = _NO_DNABERT2 if base.scale == "small" else no_dna
    clibd = aligned(base, "I+D+T")
    if reason := base.lacks(pixels=True) or no_pictures or no_dna:
        clibd = Impossible({}, clibd.label, reason)
    tuned = {
        "DNABERT-2": point_unless(
            no_dnabert2, {}, "DNABERT-2", lambda: _decided(insect, "classify-dna", dna=_DNABERT2)
        ),
        "BarcodeBERT": point_unless(no_dna, {}, "BarcodeBERT", lambda: _decided(insect, "classify-dna")),
        "ViT-B": point_unless(no_pictures, {}, "ViT-B", lambda: _classifying_images(insect)),
        "CLIBD": started(clibd, {}, "I+D+T", lambda: _aligning(insect)),
        "CLIBD-I": started(clibd, {}, "images of I+D+T", lambda: _classifying_images(insect)),
    }
    encoders: dict[str, _Encoder] = dict.fromkeys(("RN-101", "CNN encoder, tuned"), PUBLISHED)
    for name, run in tuned.items():
        encoders[name] = encoders[f"{name}, tuned"] = run
        if isinstance(run, Point):
            encoders[name] = replace(run, label=f"{run.label} on INSECT", kind="untrained")
            encoders[f"{name}, tuned"] = replace(run, label=f"{run.label}, fine-tuned on INSECT")
    return encoders


def _classifying_images(insect: Base) -> ExperimentSpec:
    """The authors' settings for INSECT, with one cycle in place of a straight line down: 100 epochs to 1.5e-4."""
    paper = {"max_learning_rate": 1.5e-4, "initial_learning_rate": 6e-6, "epochs": 100}
    more = paper if insect.scale == "paper" else {}
    return _decided(insect, "classify", augmentation="crop_and_turn", batch_size=insect.batch(300), **more)


def _aligning(insect: Base) -> ExperimentSpec:
    """The authors' settings for INSECT: 80 epochs in batches of 100, to 3e-6 where alignment has 5e-5.

    INSECT has no validation by retrieval, so that the last epoch is taken.
    """
    spec = insect.experiment("align")
    fields = {name: _SHARE * getattr(spec, name) for name in ("max_learning_rate", "initial_learning_rate")}
    fields |= {"epochs": 80} if insect.scale == "paper" else {}
    return _decided(insect, "align", selection="last", first_selected_epoch=0, batch_size=100, **fields)


def _decided(insect: Base, name: Experiment, **fields: Any) -> ExperimentSpec:
    """An experiment with fields of this sweep's own; as with others, epochs that were set go before them.

    The small towers embed into more dimensions than they are wide; in bf16 rounding gives each of these a scatter.
    """
    if "epochs" in insect.changed:
        fields.pop("epochs", None)
    if insect.scale == "small":
        fields["precision"] = "fp32"
    return replace(insect.experiment(name), **fields)


SWEEP = Sweep(
    name="insect",
    question="What do aligned encoders bring to Bayesian zero-shot learning on INSECT?",
    points=_points,
    tables=(
        Table(
            number=4,
            caption="Bayesian zero-shot learning on INSECT, macro accuracy",
            row_fields=_ROW_FIELDS,
            blocks=(subsets("Macro top-1 accuracy", average="macro"),),
            partition="test",
            rows=tuple(Row(row, {"method": "bzsl"}) for row in _ROWS),
            dataset="insect",
        ),
    ),
)
