"""Zero-shot learning as a sheet: ours, the published rows of features of the same origins, and baselines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from results.measured.evaluation import measured_cell
from results.published import find_published
from results.render import percent
from results.sheet import Cell, Sheet
from sweeps.table import SUBSETS
from workloads.record import EVALUATION, Measurement, RunFolder
from workloads.spec import RANKS
from workloads.storage import Folder

_METHODS = {"bzsl": "BZSL, ours", "nearest_class_mean": "nearest class mean", "random_key": "random species"}

_FOR_ORIENTATION = (
    "Published rows are of the authors' runs, for orientation; Tables 3, 4 and 16 give differences where they mean "
    "something: `clibd-results table N --run FOLDER`."
)

Published = tuple[str, tuple[int, ...], Mapping[str, Any]]
"""What a published row is called, its tables, and its fields there."""


def zero_shot_sheet(folder: Folder) -> Sheet:
    """The accuracies that `clibd bzsl` left in a folder, at every rank, with the published rows beside."""
    about, rules = folder.read_json("bzsl.json"), folder.read_json(EVALUATION)
    published = published_rows(**about["origins"])
    cells = zero_shot_cells(RunFolder(folder).measurements(), published, rules)
    asked = about["asked"]
    title = f"Bayesian zero-shot learning, top-1 accuracy; recipe {asked['recipe']}, {asked['form']} form"
    return Sheet(
        title=title,
        cells=tuple(cells),
        about=tuple(_about(about)),
        notes=(_FOR_ORIENTATION,) if published else (),
        show_rank=True,
    )


def _about(about: Mapping[str, Any]) -> Iterator[str]:
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


def _on_insect(dna: str, image: str, dna_tuned: str | None, image_tuned: str | None = None) -> Published:
    where: dict[str, str | None] = {"dna_encoder": dna, "image_encoder": image}
    where |= {"dna_fine_tuning": dna_tuned, "image_fine_tuning": image_tuned}
    tuned = ", both fine-tuned on INSECT" if image_tuned else f", DNA {'' if dna_tuned else 'not '}fine-tuned on INSECT"
    tuned = "" if dna.startswith("CNN") else tuned
    return f"published, Table 4: {dna} and {image}{tuned}", (4,), where


def published_rows(images: str, dna: str) -> tuple[Published, ...]:
    """Rows of the paper for features of these origins.

    Args:
        images: `insect` (the published features), `run_on_insect` (aligned), `tower_on_insect` (one tower alone),
            `run_on_bioscan_1m`, or anything else.
        dna: the same, of the side information.
    """
    rows = {
        ("insect", "insect"): (_on_insect("CNN encoder", "RN-101", "INSECT"),),
        ("insect", "run_on_insect"): (_on_insect("CLIBD-D", "RN-101", None), _on_insect("CLIBD-D", "RN-101", "INSECT")),
        ("insect", "tower_on_insect"): (
            _on_insect("BarcodeBERT", "RN-101", None),
            _on_insect("BarcodeBERT", "RN-101", "INSECT"),
        ),
        ("tower_on_insect", "tower_on_insect"): (
            _on_insect("BarcodeBERT", "ViT-B", "INSECT"),
            _on_insect("BarcodeBERT", "ViT-B", "INSECT", "INSECT"),
        ),
        ("run_on_insect", "tower_on_insect"): (_on_insect("BarcodeBERT", "CLIBD-I", "INSECT"),),
        ("run_on_insect", "insect"): (_on_insect("CNN encoder", "CLIBD-I", "INSECT"),),
        ("run_on_insect", "run_on_insect"): (
            _on_insect("CLIBD-D", "CLIBD-I", None),
            _on_insect("CLIBD-D", "CLIBD-I", "INSECT", "INSECT"),
        ),
        ("run_on_bioscan_1m", "run_on_bioscan_1m"): (("published, Tables 3 and 16", (3, 16), {"method": "BZSL"}),),
    }
    return rows.get((images, dna), ())


def zero_shot_cells(
    measurements: Sequence[Measurement], published: Sequence[Published], about: Mapping[str, Any]
) -> Iterator[Cell]:
    """Rows by rank and average: ours, the published ones, and the baselines."""
    found = {(m.level, m.average, m.method, m.species): m for m in measurements if m.metric == "top1"}
    for rank in RANKS:
        for average in ("micro", "macro"):
            for method, label in _METHODS.items():
                for head, subset in SUBSETS:
                    if row := found.get((rank, average, method, subset)):
                        place = {"row": {"average": average, "method": label}, "column": head}
                        yield measured_cell(about, row, table="bzsl", **place)
                if method == "bzsl":
                    yield from _published_cells(rank, average, published)


def _published_cells(rank: str, average: str, published: Sequence[Published]) -> Iterator[Cell]:
    for label, tables, where in published:
        for table in tables:
            for head, subset in SUBSETS:
                place = {**where, "level": rank, "average": average, "species": subset}
                if number := find_published(table, place):
                    row = {"average": average, "method": label}
                    cell = Cell(table="bzsl", row=row, column=head, rank=rank, average=average, subset=subset)
                    yield replace(cell, method="published", published=number.value, published_note=number.note)
