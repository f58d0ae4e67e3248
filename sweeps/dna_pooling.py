"""How should a barcode's tokens become one embedding? Five runs of what CLIBD aligns; the paper has no such table.

The published towers take the mean over tokens of a softmax over the embedding, which the authors later called a
mistake (bioscan-ml/clibd, issue 33); their branch tries the same without the softmax, the mean of the last states, and
the state of the first token. Ours is the mean over the tokens that are no padding. Which of them a checkpoint was made
with cannot be seen in its tensors.

Two of them have no layer behind the states, so that all five embed into as many dimensions as the DNA tower is wide:
those of the other sweeps at the paper's scale, fewer at the small one.

    clibd-sweep dna-pooling --demo
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from sweeps.point import Base, Points, Sweep, point_unless
from sweeps.table import WITH_DNA, Table, by_subset
from workloads.spec import ExperimentSpec
from workloads.tower_specs import DnaPooling

POOLINGS: Mapping[DnaPooling, str] = {
    "softmax_mean": "softmax, mean (published)",
    "logits_mean": "logits, mean",
    "hidden_mean": "states, mean",
    "cls_token": "first state",
    "masked_mean": "states, mean without padding",
}


def _points(base: Base) -> Points:
    """One run for each way; only our own tokens know what is padding."""
    reason = base.lacks("dna")
    if not reason and base.spec.dna.kind != "barcodebert":
        reason = f"{base.data.name} has features in place of barcodes, so there are no tokens to pool"
    return [
        point_unless(reason, {"pooling": pooling}, label, partial(_pooled, base, pooling))
        for pooling, label in POOLINGS.items()
    ]


def _pooled(base: Base, pooling: DnaPooling) -> ExperimentSpec:
    spec = base.experiment("align")
    tokens = "own" if pooling == "masked_mean" else spec.dna.tokens
    dna = replace(spec.dna, pooling=pooling, tokens=tokens)
    return replace(spec, dna=dna, embedding_size=dna.width)


SWEEP = Sweep(
    name="dna-pooling",
    question="How should the tokens of a barcode become one embedding?",
    points=_points,
    tables=(
        Table(
            number="dna-pooling",
            caption="Ways to pool the tokens of a barcode, species level, validation set",
            row_fields=("pooling",),
            blocks=tuple(block for name in ("micro", "macro") for block in by_subset(name, *WITH_DNA, published=False)),
        ),
    ),
)
