"""CLIBD Tables 3, 15 and 16: are images of species that have barcodes only told from others, and named? Two runs.

A run of I+D+T, asked in the ways that `workloads.evaluation.open_set` and `workloads.bzsl` know, and a classifier of
the seen species. One folder of measurements stands for all rows but BZSL's.

    clibd-sweep open-set --demo
"""

from collections.abc import Mapping

from sweeps.modalities import aligned
from sweeps.point import Base, Impossible, Point, Points, Sweep, behind, measured, point_unless
from sweeps.table import SUBSETS, Block, Column, Row, Table, Value, main_table, subsets
from workloads.spec import Rank

METHODS: Mapping[str, tuple[str, str]] = {
    "nn_dna": ("NN", "DNA"),
    "nn_dna_calibrated": ("NN, calibrated", "DNA"),
    "nn_is_du": ("NN", "IS+DU"),
    "linear_is_du": ("Linear", "IS+DU"),
    "bzsl": ("BZSL", "IS+DU"),
    "nn_dna_oracle": ("NN, told", "DNA"),
    "nn_is_du_oracle": ("NN, told", "IS+DU"),
    "linear_is_du_oracle": ("Linear, told", "IS+DU"),
}
"""Method and strategy as the paper's rows say them, by the method of our measurements."""
_DETECTING = ("nn_dna", "nn_dna_calibrated", "nn_is_du", "linear_is_du")


_CALIBRATED = (
    "calibrated: a constant, chosen on validation, is taken off the similarity of keys of seen species (Chao et al. "
    "2016); not the paper's protocol, and not published."
)


def _is_published(method: str) -> bool:
    return not method.endswith(("_oracle", "_calibrated"))


def _points(base: Base) -> Points:
    """The run, the classifier, and the measurements of both."""
    run = aligned(base, "I+D+T")
    classifier = point_unless(base.lacks("image"), {}, "classifier", lambda: base.experiment("classify"))
    return [*behind(run, classifier), *(_measured(method, run, classifier) for method in METHODS)]


def _measured(method: str, run: Point | Impossible, classifier: Point | Impossible) -> Point | Impossible:
    label = ", ".join(METHODS[method])
    if method == "bzsl":
        return measured("bzsl", _row(method), label, {"images": run})
    return measured("open_set", _row(method), label, {"run": run, "classifier": classifier})


def _row(method: str) -> dict[str, Value]:
    name, strategy = METHODS[method]
    return {
        "method": name,
        "strategy": strategy,
        "oracle": method in ("nn_dna", "nn_dna_calibrated") or method.endswith("_oracle"),
    }


def _table(number: int, caption: str, *levels: Rank) -> Table:
    return main_table(
        number=number,
        caption=f"{caption} in open-set recognition, image queries, test set",
        row_fields=("method", "strategy"),
        blocks=tuple(subsets(f"{average.title()} top-1 accuracy", average=average) for average in ("micro", "macro")),
        rows=tuple(
            Row({"method": name, "strategy": strategy}, {"method": method}, published=_is_published(method))
            for method, (name, strategy) in METHODS.items()
        ),
        levels=levels,
        notes=(
            _CALIBRATED,
            "told: it is known whether a query's species is seen, so that no threshold can be wrong; not published.",
        ),
    )


SWEEP = Sweep(
    name="open-set",
    question="Are images of species that have barcodes only told from the others, and named?",
    points=_points,
    tables=(
        _table(3, "Genus and species", "genus", "species"),
        main_table(
            number=15,
            caption="Telling seen from unseen species, image queries, test set",
            row_fields=("method", "strategy", "oracle"),
            blocks=(
                Block(
                    "Seen or unseen",
                    (
                        *(Column(head, {"metric": "seen_unseen_accuracy", "species": part}) for head, part in SUBSETS),
                        Column("AUROC", {"metric": "auroc", "species": "all"}, published=False),
                        Column("FPR at 95 % TPR", {"metric": "fpr_at_95_tpr", "species": "all"}, published=False),
                    ),
                ),
            ),
            rows=tuple(
                Row(_row(method), where={"method": method}, published=_is_published(method)) for method in _DETECTING
            ),
            levels=("species",),
            notes=(
                _CALIBRATED,
                "oracle: has samples of the unseen species to look at. AUROC and FPR: seen is the positive class, and "
                "the score is the confidence before any threshold; for the oracle, how much nearer the nearest DNA key "
                "of a seen species is.",
            ),
        ),
        _table(16, "Order and family", "order", "family"),
    ),
)
