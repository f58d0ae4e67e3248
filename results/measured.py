"""What a command has just measured, as sheets: an evaluated folder, zero-shot learning, and costs of the towers.

Accuracies stand with chance, majority and floors beside, and with the rules by which they were measured.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from results.layout import percent
from results.published import find_published, published_table
from results.sheet import Cell, Sheet, Unit
from sweeps.table import SUBSETS, Value
from workloads.masked_facts import masked_words
from workloads.predictions import CORRECTED, FUSED, FUSED_PAIRS, PAPERS_PAIRS
from workloads.record import EVALUATION, Measurement, RunFolder
from workloads.spec import RANKS
from workloads.storage import Folder

FLOORS: Mapping[str, str] = {
    "random_key": "chance",
    "majority": "majority",
    "kmer_nearest_neighbour": "floor: 5-mer nearest neighbour",
    "linear_cca": "floor: linear CCA",
    "nearest_class_mean": "floor: nearest class mean",
}
"""What an accuracy has to beat, by the method of its measurements."""
BESIDE = tuple(FLOORS)[:-1]
"""Those that stand beside the accuracies of an evaluation; no run is behind them."""
METHODS = {"clibd": "CLIBD", **{method: FLOORS[method].partition(":")[0] for method in BESIDE}}
"""What a column is called that shows what a method reaches."""
BASELINES = (
    "Chance: a key drawn at random. Majority: the commonest name among the keys. Floor: nearest neighbour of 5-mer "
    "counts (DNA to DNA), linear CCA (image to DNA)."
)
_MEANS = "In these columns stands the harmonic mean."
_SHORT = "At the rank of species, of the paper's retrievals; everything: --full, and --format csv or json."
_RULES = {
    "left_out": "is left out there, and a key without one is never right",
    "a_class": "counts as of a class of its own there, and a key without one is its right answer",
}
_SHOWN = (*PAPERS_PAIRS, *FUSED_PAIRS, ("image", "classes"))
_HEADS = {subset: head for head, subset in SUBSETS} | {"all": "All"}


def evaluation_sheet(about: Mapping[str, Any], measurements: Sequence[Measurement], full: bool) -> Sheet:
    """The accuracies of one evaluated folder.

    Args:
        about: its evaluation.json; of a classifier what it would say.
        measurements: of the folder.
        full: all ranks, retrievals, keys and methods; else what fits a screen: top-1 at the rank of species.
    """
    cells = tuple(_every(about, measurements) if full else _short(about, measurements))
    has_baselines = any(cell.method in ("random_key", "majority") for cell in cells)
    notes = () if full else (*((f"{BASELINES} {_MEANS}",) if has_baselines else ()), _SHORT)
    title = f"Top-{'k' if full else '1'} accuracy of {about.get('run') or about['model']}"
    return Sheet(
        title=title,
        cells=cells,
        about=tuple(_about_evaluation(about)),
        notes=notes,
        headers={"partition": "Part"},
        show_rank=full,
    )


def _about_evaluation(about: Mapping[str, Any]) -> Iterator[str]:
    """What was evaluated and by which rules, a line each."""
    kind = "SYNTHETIC specimens" if about["synthetic"] else "specimens"
    official = f", the official split of {about['official_split']}" if about.get("official_split") else ""
    untrained = ", before training" if about.get("untrained") else ""
    precision = f", {about['precision']}" if "precision" in about else ""
    model = about.get("run") or about["model"]
    yield f"{model}{untrained} on {about['dataset']} ({kind}{official}), recipe {about['recipe']}{precision}."
    counts = f": {_counts(about['num_without_name'])}" if "num_without_name" in about else ""  # classifiers keep none
    yield f"A query without a name at a rank {_RULES[about['missing_rank']]}{counts}."
    yield from (
        f"{line[0].upper()}{line[1:]}." for line in (masked_words(about["masked"]) if "masked" in about else ())
    )
    for modality, reason in (about.get("left_out") or {}).items():
        yield f"Left out: {modality}, {reason}."
    yield from _about_searches(about)
    yield from (
        f"Of {part}: {words}." for part in about.get("contamination") or {} if (words := _trained_words(about, part))
    )
    yield from (f"{sentence}." for sentence in about.get("declared") or ())


def _about_searches(about: Mapping[str, Any]) -> Iterator[str]:
    """What was taken off similarities, and what was fused."""
    for pair, chosen in (about.get("constants") or {}).items():
        if tuple(pair.split(" to ")) in _SHOWN:
            value = "all of them first" if chosen["value"] is None else f"{chosen['value']:.4f} less"
            reached = f"best of {chosen['num_tried']:,} on validation, H {percent(chosen['harmonic_mean'])}"
            yield f"Calibrated, {pair}: keys of seen species {value}, {reached}; not the paper's protocol."
    if others := [name for name in CORRECTED[1:] if name in (about.get("keys") or ())]:
        yield f"{' and '.join(others)}: all keys, by similarities that all queries together decide."
    if fusion := about.get("fusion"):
        parts = (
            f"of {part} {counts['both']:,} specimens have both, {counts['image']:,} an image and {counts['dna']:,} a "
            "barcode alone, with which these ask and answer"
            for part, counts in fusion["specimens"].items()
        )
        yield f"{FUSED}, by {fusion['kind']}: {'; '.join(parts)}."


def _trained_words(about: Mapping[str, Any], partition: str) -> str | None:
    """What of a partition's queries the model was trained on; None where nothing is known to be."""
    counts = (about.get("contamination") or {}).get(partition)
    if not counts or not (counts["unseen_species"] or counts["specimens"] or counts["barcodes"]):
        return None
    species = f"{counts['unseen_species']} of {counts['num_unseen_species']} unseen species"
    specimens = f"{counts['specimens']} of {counts['num_queries']} specimens"
    return f"the model was trained on {species}, on {specimens} and on the barcodes of {counts['barcodes']}"


def _counts(without: Mapping[str, Mapping[str, int]]) -> str:
    nameless = [f"{part} {rank} {count}" for part, ranks in without.items() for rank, count in ranks.items() if count]
    return ", ".join(nameless) or "there is none"


def _short(about: Mapping[str, Any], measurements: Sequence[Measurement]) -> Iterator[Cell]:
    shown = [row for row in measurements if row.level == "species" and row.metric.endswith("top1")]
    shown = [row for row in shown if (row.query, row.key) in _SHOWN]
    several = {name for name in ("keys", "queries") if len({getattr(row, name) for row in shown}) > 1}
    rows = {(row.method, *_place(row), row.species): row for row in shown}
    for place in dict.fromkeys(_place(row) for row in shown if row.method == "clibd"):
        for head, subset in SUBSETS:
            if own := rows.get(("clibd", *place, subset)):
                yield _cell(about, own, several, "", head)
        for method in BESIDE:
            if floor := rows.get((method, *place, "harmonic_mean")):
                bare = replace(floor, low=None, high=None)  # exact, or a floor: what is to be beaten, at a glance
                yield replace(_cell(about, bare, several, "", METHODS[method]), n=None)


def _every(about: Mapping[str, Any], measurements: Sequence[Measurement]) -> Iterator[Cell]:
    order = {name: place for place, name in enumerate(METHODS)}
    for row in sorted(measurements, key=lambda row: (order.get(row.method, 99), row.metric, RANKS.index(row.level))):
        block = f"{METHODS.get(row.method, row.method)}, {row.metric}"
        yield _cell(about, row, ("keys", "queries"), block, _HEADS[row.species])


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
        contamination=_trained_words(about, measured.partition),
    )


# --- Zero-shot learning -------------------------------------------------------------------------------------------

_ZERO_SHOT = {"bzsl": "BZSL, ours", "nearest_class_mean": "nearest class mean", "random_key": "random species"}

_FOR_ORIENTATION = (
    "Published rows are of the authors' runs, for orientation; Tables 3, 4 and 16 give differences where they mean "
    "something: `clibd-results table N --run FOLDER`."
)

_PublishedRow = tuple[str, tuple[int, ...], Mapping[str, str | None]]
"""What a published row is called, its tables, and its fields there."""
_ON_INSECT = {
    **{"RN-101": "insect", "CLIBD-I": "run_on_insect", "ViT-B": "tower_on_insect"},
    **{"CNN encoder": "insect", "CLIBD-D": "run_on_insect", "BarcodeBERT": "tower_on_insect"},
}
"""Image and DNA encoders of Table 4, and the origin of ours that are like them."""
_TUNED_ALONE = ("BarcodeBERT", "CLIBD-I", "INSECT", "INSECT")
"""The row whose image tower was first aligned and then fine-tuned alone, which no origin says."""


def zero_shot_sheet(folder: Folder) -> Sheet:
    """The accuracies that `clibd bzsl` left in a folder, at every rank, with the published rows beside."""
    about, rules = folder.read_json("bzsl.json"), folder.read_json(EVALUATION)
    cells = tuple(_zero_shot_cells(RunFolder(folder).measurements(), rules, **about["origins"]))
    asked = about["asked"]
    return Sheet(
        title=f"Bayesian zero-shot learning, top-1 accuracy; recipe {asked['recipe']}, {asked['form']} form",
        cells=cells,
        about=tuple(_about_search(about)),
        notes=(_FOR_ORIENTATION,) if _published_rows(**about["origins"]) else (),
        show_rank=True,
    )


def _about_search(about: Mapping[str, Any]) -> Iterator[str]:
    queries, chosen, best = about["num_queries"], about["chosen"], about["validation"]
    yield (
        f"{'SYNTHETIC specimens. ' if about['synthetic'] else ''}"
        f"{about['num_train']:,} training images of {about['num_seen_species']:,} seen species, "
        f"{about['num_unseen_species']:,} unseen species, "
        f"{queries['seen'] + queries['unseen']:,} queries, {about['num_components']} components"
    )
    yield (
        f"Chosen among {about['num_settings']:,} setting(s) in {about['search_seconds']:.1f} s: "
        f"kappa0 {chosen['kappa0']:.4g}, kappa1 {chosen['kappa1']:.4g}, m {chosen['m']:.4g} x "
        f"{about['num_components']}, s {chosen['s']:.4g}, K {chosen['num_surrogates']}; on validation "
        f"{percent(best['seen'])} seen, {percent(best['unseen'])} unseen, H {percent(best['harmonic_mean'])}"
    )


def _published_rows(images: str, dna: str) -> list[_PublishedRow]:
    if images == dna == "run_on_bioscan_1m":
        return [("published, Tables 3 and 16", (3, 16), {"method": "BZSL"})]
    fields = ("dna_encoder", "image_encoder", "dna_fine_tuning", "image_fine_tuning")
    rows = dict.fromkeys(tuple(number.where[field] for field in fields) for number in published_table(4))
    alike = [row for row in rows if (_ON_INSECT.get(row[1]), _ON_INSECT.get(row[0])) == (images, dna)]
    return [(_row_words(*row), (4,), dict(zip(fields, row, strict=True))) for row in alike if row != _TUNED_ALONE]


def _row_words(dna: str, image: str, dna_tuned: str | None, image_tuned: str | None) -> str:
    tuned = ", both fine-tuned on INSECT" if image_tuned else f", DNA {'' if dna_tuned else 'not '}fine-tuned on INSECT"
    return f"published, Table 4: {dna} and {image}{'' if dna.startswith('CNN') else tuned}"


def _zero_shot_cells(
    measurements: Sequence[Measurement], about: Mapping[str, Any], images: str, dna: str
) -> Iterator[Cell]:
    """Rows by rank and average: ours, the published ones of features of the same origins, and the baselines.

    Args:
        measurements: of the folder.
        about: its evaluation.json.
        images: `insect` (the published features), `run_on_insect` (aligned), `tower_on_insect` (one tower alone),
            `run_on_bioscan_1m`, or anything else.
        dna: the same, of the side information.
    """
    ours = {(m.level, m.average, m.method, m.species): m for m in measurements if m.metric == "top1"}
    for rank, average, (method, label) in product(RANKS, ("micro", "macro"), _ZERO_SHOT.items()):
        for head, subset in SUBSETS:
            if measured := ours.get((rank, average, method, subset)):
                place = {"row": {"average": average, "method": label}, "column": head}
                yield measured_cell(about, measured, table="bzsl", **place)
        for called, tables, where in _published_rows(images, dna) if method == "bzsl" else ():
            for table, (head, subset) in product(tables, SUBSETS):
                printed = {**where, "level": rank, "average": average, "species": subset}
                if number := find_published(table, printed):
                    yield Cell(
                        table="bzsl",
                        row={"average": average, "method": called},
                        column=head,
                        method="published",
                        rank=rank,
                        average=average,
                        subset=subset,
                        **number.in_cell,
                    )


# --- Costs of towers ----------------------------------------------------------------------------------------------

QUANTITIES: Mapping[str, tuple[str, Unit]] = {
    "tokens": ("tokens a sample", "count"),
    "parameters": ("parameters", "count"),
    "forward_flops": ("operations (FLOP) forward, a sample", "count"),
    "step_flops": ("operations (FLOP) forward and backward, a sample", "count"),
    "macs_per_500": ("multiply-adds (MAC) forward, 500 samples", "count"),
    "seconds_per_500": ("seconds to embed 500 samples", "seconds"),
    "seconds_per_batch": ("seconds to embed a batch", "seconds"),
    "bytes_per_sample": ("bytes a sample, 8 bits a letter", "bytes"),
    "bytes_per_sample_2bit": ("bytes a sample, 2 bits a base", "bytes"),
    "bytes_of_labelled": ("bytes of 84,450 samples, 8 bits a letter", "bytes"),
    "bytes_of_labelled_2bit": ("bytes of 84,450 samples, 2 bits a base", "bytes"),
}
"""What a quantity is called, and its unit."""
_MAC = "One multiply-add (MAC) is two operations (FLOP). Ours are counted on shapes; times are medians, waited for."


def costs_sheet(costs: Sequence[Mapping[str, Any]]) -> Sheet:
    """Costs in the order given.

    Args:
        costs: modality, quantity, value and how, as `costs.json` has them.
    """
    cells = tuple(_cost(**cost) for cost in costs)
    return Sheet(title="Costs of the towers (CLIBD, Appendix D.4)", cells=cells, notes=(_MAC,))


def _cost(modality: str, quantity: str, value: float | None, how: str) -> Cell:
    name, unit = QUANTITIES[quantity]
    printed = find_published("D.4", {"modality": modality, "statistic": quantity})
    return Cell(
        table="D.4",
        row={"modality": modality, "quantity": f"{name}{f' ({how})' if how and value is not None else ''}"},
        column="Cost",
        unit=unit,
        **(printed.in_cell if printed else {}),
        ours=value,
        reason=how if value is None else None,
    )
