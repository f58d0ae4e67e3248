"""Images of species that nobody trained on, among the barcodes of all: runs beside linear CCA on the same split.

    python -m benchmarks.unseen_species --data DIR --run RUN [--run RUN ...]

DIR is a prepared data set with image features and barcodes, and each RUN a finished run or an evaluation of it that
holds embeddings; several are seeds of one experiment, whose mean is printed. Image to DNA among all keys, validation
and test: the genus of unseen species, macro; the species with a constant off keys of seen species, chosen on
validation, as harmonic mean of seen and unseen macro accuracy (`workloads.calibration`); and seen species, macro, with
no constant. The linear canonical correlation analysis is that of the floors (`workloads.evaluation.floors`: both
covariances with a ridge of a thousandth of their mean variance, 256 components), between image features and counts of
overlapping 5-mers, fitted on the training specimens of the same split. 95 % intervals are over species.

Features of `insect_bold_pairs` come from an encoder that saw some of the species: figures are relative to one another,
and no measure of images of species that are new to it.
"""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.measuring import publish
from workloads.calibration import areas_of, constants_told, with_calibrated
from workloads.data.inputs.tower_inputs import Rows
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.kmers import kmer_counts
from workloads.evaluation.accuracy import accuracies_of
from workloads.evaluation.embed import parts_of
from workloads.evaluation.embedded import KEYS, REST, Embedded, embedded_of, queries_of, unit
from workloads.evaluation.evaluate import Questions, find_answers
from workloads.evaluation.floors import linear_cca
from workloads.evaluation.stored import read_parts
from workloads.intervals import with_intervals
from workloads.record import Measurement
from workloads.spec import RANKS
from workloads.storage import Folder

RELATIVE = "features of an encoder that saw some of the species: relative numbers only"
_QUESTIONS = Questions(keys=("all", "seen", "unseen"), pairs=[("image", "dna")])
_FIGURES: Mapping[str, tuple[str, ...]] = {
    "unseen genus, macro": ("all", "genus", "unseen"),
    "species, calibrated, harmonic mean": ("calibrated", "species", "harmonic_mean"),
    "species, calibrated, seen": ("calibrated", "species", "seen"),
    "species, calibrated, unseen": ("calibrated", "species", "unseen"),
    "seen species, macro": ("all", "species", "seen"),
    "unseen species, macro": ("all", "species", "unseen"),
    "area of seen against unseen species": ("ausuc",),
}


def main() -> None:
    """Measure, print, and keep the figures."""
    parser = ArgumentParser(description="Image to DNA of unseen species: runs beside linear CCA.")
    parser.add_argument("--data", required=True, help="prepared data set")
    parser.add_argument("--run", action="append", default=[], help="evaluated folder; several are seeds of one")
    asked = parser.parse_args()
    dataset = PreparedDataset(Folder(asked.data))
    rows = {"linear CCA": [measured(of_cca(dataset))]}
    if asked.run:
        rows["runs"] = [measured(read_parts(Folder(run))) for run in asked.run]
    figures = {name: averaged(found) for name, found in rows.items()}
    print_table(figures)
    about = {"dataset": dataset.facts.name, "synthetic": dataset.facts.synthetic, "note": RELATIVE}
    publish(
        "unseen_species", {**about, "runs": [Folder(run).name for run in asked.run], "figures": figures}, show=False
    )


def of_cca(dataset: PreparedDataset) -> dict[str, Embedded]:
    """Keys and queries in the canonical variates of linear CCA, fitted on the training specimens."""
    columns = ["image_features", "barcode"]
    training = dataset.load(dataset.facts.splits.training, columns)
    both = training.filter(training["barcode"].is_valid()).drop_null()
    _, of_images, of_barcodes = linear_cca(_images(both), _counts(both))
    parts = {}
    for part, splits in parts_of(dataset).items():
        if part != REST:
            table = dataset.load(splits, ["specimen_id", *RANKS, *columns])
            rows = {"image": unit(of_images(_images(table))), "dna": unit(of_barcodes(_counts(table)))}
            parts[part] = embedded_of(table, rows)
    return parts


def _images(table: pa.Table) -> Any:
    return Rows(table["image_features"]).take(np.arange(len(table))).astype(np.float64)


def _counts(table: pa.Table) -> Any:
    return kmer_counts(table["barcode"].to_pylist()).astype(np.float64)


def measured(parts: Mapping[str, Embedded]) -> dict[str, Any]:
    """Every figure of one model by partition, with the constant that validation has chosen."""
    found, constants = with_calibrated(find_answers(parts[KEYS], queries_of(parts), _QUESTIONS), "left_out")
    answers = [found.answers(place) for place in found.places if place.keys in ("all", "calibrated")]
    rows = [row for one in answers for row in accuracies_of(one, "left_out", (1,))]
    rows = [*with_intervals(rows, answers, "left_out", (1,)), *areas_of(found, "left_out")]
    by_place = {(row.partition, *_place(row)): row for row in rows if row.average == "macro"}
    return {
        "constant": constants_told(constants)["image to dna"]["value"],
        **{
            part: {name: by_place[part, *place] for name, place in _FIGURES.items() if (part, *place) in by_place}
            for part in queries_of(parts)
        },
    }


def _place(row: Measurement) -> tuple[str, ...]:
    return (row.metric,) if row.metric == "ausuc" else (row.keys, row.level, row.species)


def averaged(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over models; of one its interval, of several the standard error."""
    figures: dict[str, Any] = {"models": len(models), "constants": [model["constant"] for model in models]}
    for part in models[0]:
        if part != "constant":
            figures[part] = {name: _averaged([model[part][name] for model in models]) for name in models[0][part]}
    return figures


def _averaged(rows: Sequence[Measurement]) -> dict[str, Any]:
    values = [row.value for row in rows]
    spread: dict[str, Any] = {"low": rows[0].low, "high": rows[0].high}
    if len(rows) > 1:
        spread = {"standard_error": stdev(values) / len(values) ** 0.5, "each": values}
    return {"value": fmean(values), "n": rows[0].count, **spread}


def print_table(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """A line a figure, validation/test in percent, with 95 % intervals or standard errors, and species behind it."""
    for model, found in figures.items():
        constants = ", ".join("all seen" if each is None else f"{each:.4f}" for each in found["constants"])
        print(f"{model} ({found['models']}); constant {constants}")
        for name in _FIGURES:
            cells = [_text(found[part][name]) for part in ("val", "test") if name in found.get(part, {})]
            print(f"  {name:40} {'   /   '.join(cells)}")
    print(f"In percent, validation / test; n: species. {RELATIVE[0].upper()}{RELATIVE[1:]}.")


def _text(figure: Mapping[str, Any]) -> str:
    value, n = 100 * figure["value"], figure["n"]
    if "standard_error" in figure:
        return f"{value:.1f} ± {100 * figure['standard_error']:.1f} (n {n})"
    ends = f" [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]" if figure["low"] is not None else ""
    return f"{value:.1f}{ends} (n {n})"


if __name__ == "__main__":
    main()
