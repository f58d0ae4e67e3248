"""An evaluated folder as a sheet: accuracies with chance, majority and floors beside, and by which rules."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from results.sheet import Cell, Sheet
from sweeps.table import SUBSETS, Value
from workloads.predictions import PAPERS_PAIRS
from workloads.record import Measurement
from workloads.spec import RANKS

METHODS = {
    "clibd": "CLIBD",
    "random_key": "chance",
    "majority": "majority",
    "kmer_nearest_neighbour": "floor",
    "linear_cca": "floor",
}
"""What a column is called that shows what a method reaches."""
BESIDE = tuple(METHODS)[1:]
"""Those that no run is behind."""
BASELINES = (
    "Chance: a key drawn at random. Majority: the commonest name among the keys. Floor: nearest neighbour of 5-mer "
    "counts (DNA to DNA), linear CCA (image to DNA)."
)
_MEANS = "In these columns stands the harmonic mean."
SHORT = "At the rank of species, of the paper's retrievals; everything: --full, and --format csv or json."
_RULES = {
    "left_out": "is left out there, and a key without one is never right",
    "a_class": "counts as of a class of its own there, and a key without one is its right answer",
}
_SHOWN = (*PAPERS_PAIRS, ("image", "classes"))
_HEADS = {subset: head for head, subset in SUBSETS} | {"all": "All"}
_ROW = {"partition": "Part"}


def evaluation_sheet(about: Mapping[str, Any], measurements: Sequence[Measurement], full: bool) -> Sheet:
    """The accuracies of one evaluated folder.

    Args:
        about: its evaluation.json; of a classifier what it would say.
        measurements: of the folder.
        full: all ranks, retrievals, keys and methods; else what fits a screen: top-1 at the rank of species.
    """
    cells = tuple(_every(about, measurements) if full else _short(about, measurements))
    has_baselines = any(cell.method in ("random_key", "majority") for cell in cells)
    notes = () if full else (*((f"{BASELINES} {_MEANS}",) if has_baselines else ()), SHORT)
    title = f"Top-{'k' if full else '1'} accuracy of {about.get('run') or about['model']}"
    return Sheet(title=title, cells=cells, about=tuple(describe(about)), notes=notes, headers=_ROW, show_rank=full)


def describe(about: Mapping[str, Any]) -> Iterator[str]:
    """What was evaluated and by which rules, a line each."""
    kind = "SYNTHETIC specimens" if about["synthetic"] else "specimens"
    official = f", the official split of {about['official_split']}" if about.get("official_split") else ""
    untrained = ", before training" if about.get("untrained") else ""
    precision = f", {about['precision']}" if "precision" in about else ""
    model = about.get("run") or about["model"]
    yield f"{model}{untrained} on {about['dataset']} ({kind}{official}), recipe {about['recipe']}{precision}."
    counts = f": {_counts(about['num_without_name'])}" if "num_without_name" in about else ""  # classifiers keep none
    yield f"A query without a name at a rank {_RULES[about['missing_rank']]}{counts}."
    for modality, reason in (about.get("left_out") or {}).items():
        yield f"Left out: {modality}, {reason}."
    yield from (
        f"Of {part}: {words}." for part in about.get("contamination") or {} if (words := trained_words(about, part))
    )
    yield from (f"{sentence}." for sentence in about.get("declared") or ())


def trained_words(about: Mapping[str, Any], partition: str) -> str | None:
    """What of a partition's queries the model was trained on; None where nothing is known to be."""
    found = (about.get("contamination") or {}).get(partition)
    if not found or not (found["unseen_species"] or found["specimens"] or found["barcodes"]):
        return None
    species = f"{found['unseen_species']} of {found['num_unseen_species']} unseen species"
    specimens = f"{found['specimens']} of {found['num_queries']} specimens"
    return f"the model was trained on {species}, on {specimens} and on the barcodes of {found['barcodes']}"


def _counts(without: Mapping[str, Mapping[str, int]]) -> str:
    found = [f"{part} {rank} {count}" for part, ranks in without.items() for rank, count in ranks.items() if count]
    return ", ".join(found) or "there is none"


def _short(about: Mapping[str, Any], measurements: Sequence[Measurement]) -> Iterator[Cell]:
    shown = [row for row in measurements if row.level == "species" and row.metric.endswith("top1")]
    shown = [row for row in shown if (row.query, row.key) in _SHOWN]
    several = {name for name in ("keys", "queries") if len({getattr(row, name) for row in shown}) > 1}
    rows = {(row.method, *_place(row), row.species): row for row in shown}
    for place in dict.fromkeys(_place(row) for row in shown if row.method == "clibd"):
        for head, subset in SUBSETS:
            if own := rows.get(("clibd", *place, subset)):
                yield _cell(about, own, several, "", head)
        for method in METHODS:
            found = rows.get((method, *place, "harmonic_mean"))
            if found and method in BESIDE:
                bare = replace(found, low=None, high=None)  # exact, or a floor: what is to be beaten, at a glance
                yield replace(_cell(about, bare, several, "", METHODS[method]), n=None)


def _every(about: Mapping[str, Any], measurements: Sequence[Measurement]) -> Iterator[Cell]:
    order = {name: place for place, name in enumerate(METHODS)}
    for row in sorted(measurements, key=lambda row: (order.get(row.method, 99), row.metric, RANKS.index(row.level))):
        yield _cell(
            about, row, {"keys", "queries"}, f"{METHODS.get(row.method, row.method)}, {row.metric}", _HEADS[row.species]
        )


def _place(row: Measurement) -> tuple[str, ...]:
    return row.partition, row.query, row.key, row.keys, row.average, row.queries


def _cell(about: Mapping[str, Any], row: Measurement, several: Collection[str], block: str, column: str) -> Cell:
    names: dict[str, Value] = {"partition": row.partition, "retrieval": f"{row.query} to {row.key}"}
    names |= {**{name: getattr(row, name) for name in sorted(several)}, "average": row.average}
    return measured_cell(about, row, table="evaluate", row=names, block=block, column=column)


def measured_cell(about: Mapping[str, Any], measured: Measurement, **place: Any) -> Cell:
    """The cell of one measurement: the fields that it says by itself, beside where it stands."""
    digits = measured.metric.rpartition("top")[2]
    return Cell(
        **place,
        method=measured.method,
        partition=measured.partition,
        rank=measured.level,
        average=measured.average,
        subset=measured.species,
        query=measured.query,
        key=measured.key,
        k=int(digits) if digits.isdigit() else None,
        ours=measured.value,
        low=measured.low,
        high=measured.high,
        n=measured.count,
        runs=() if measured.method in BESIDE else tuple(filter(None, [about.get("run") or about.get("model")])),
        recipe=about["recipe"],
        dataset=about["dataset"],
        synthetic=about["synthetic"],
        contamination=trained_words(about, measured.partition),
    )
