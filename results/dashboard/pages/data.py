"""The data set: counts by split and rank, Tables 5 to 7, what splits share, names that contradict, what was kept out.

Each part is a page of its own, so that nobody waits for what he does not look at; no picture is read for any.
"""

import csv
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from results.dashboard.catalog import Catalog
from results.dashboard.names import feature_name
from results.dashboard.page import Asked, Kind, NotThereError, Page
from results.dashboard.table_blocks import blocks_of
from results.layout import Laid, words_below
from results.paper.data_statistics import COUNTED, count_prepared, statistic_sheets
from results.run import UNREADABLE
from workloads.data.prepared.dataset import SPECIMEN_TABLE, DatasetFacts, PreparedDataset
from workloads.data.specimens.caveats import contradictions, shared_barcodes, shared_images
from workloads.data.specimens.schema import SplitProtocol
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.data.specimens.statistics import TaxonCounts
from workloads.errors import MissingPathError
from workloads.spec import RANKS

_PER_PAGE = 100
_PARTS = {
    "": "Counts",
    "tables": "Taxa, and Tables 5 to 7",
    "shared": "Duplicates across splits",
    "names": "Names that contradict",
    "rejects": "Rejects",
}
"""What an address calls a part, and a reader."""


def _data(catalog: Catalog, asked: Asked) -> Page:
    part = asked.option("part")
    if part not in _PARTS:
        raise NotThereError(f"There is no part '{part}' of the data page; there are {', '.join(filter(None, _PARTS))}.")
    dataset, told, title = catalog.dataset, {**_of_runs(catalog), "facts": None, "problem": None}, "Data"
    if dataset is not None:
        try:
            facts = dataset.facts
            title = f"Data: {facts.name}"
            about = {"facts": facts, "place": str(dataset.folder), "parts": _parts(asked), "part": part}
            told |= {**about, "of_others": _of_others(told["of_runs"], facts), **_MAKE[part](catalog, dataset, asked)}
        except UNREADABLE as error:
            told["problem"] = str(error)
    synthetic = told["facts"].synthetic if told["facts"] else any(each["synthetic"] for each in told["of_runs"])
    return Page(title=title, template="data.html.j2", told=told, synthetic=synthetic)


def _parts(asked: Asked) -> list[tuple[str, Asked, bool]]:
    """Words, address and whether it is this one, of each part."""
    return [
        (words, Asked.to("data", "", {"part": part}), part == asked.option("part")) for part, words in _PARTS.items()
    ]


# --- Without the data set -----------------------------------------------------------------------------------------


def _of_runs(catalog: Catalog) -> dict[str, Any]:
    """The data sets that runs say they are of, and how many runs each has."""
    asked = {one.id: one for one in catalog.known().asked if one.id and one.dataset}
    counted = Counter((one.dataset, one.fingerprint, one.synthetic) for one in asked.values())
    names = ("dataset", "fingerprint", "synthetic")
    found = [{**dict(zip(names, place, strict=True)), "count": count} for place, count in counted.most_common()]
    runs, place = shlex.quote(catalog.address), shlex.quote(f"{catalog.address}/statistics")
    return {
        "of_runs": found,
        "command": f"clibd-dashboard {runs} --data DIR",
        "counting": f"clibd data stats DIR --out {place}",
        "counted": COUNTED,
    }


def _of_others(of_runs: Sequence[Mapping[str, Any]], facts: DatasetFacts) -> list[Mapping[str, Any]]:
    """Data sets of runs that are other ones than this."""
    return [each for each in of_runs if (each["dataset"], each["fingerprint"]) != (facts.name, facts.fingerprint)]


# --- Counts -------------------------------------------------------------------------------------------------------


def _counts(catalog: Catalog, dataset: PreparedDataset, asked: Asked) -> dict[str, Any]:
    facts = dataset.facts
    rows = [_split_row(facts, split) for split in facts.splits.splits if facts.num_specimens.get(split)]
    total = {name: sum(row[name] for row in rows) for name in (*RANKS, "specimens", *facts.modalities)}
    return {"rows": [*rows, {**total, "split": "all", "role": ""}], "ranks": RANKS, "about": _about(facts)}


def _split_row(facts: DatasetFacts, split: str) -> dict[str, Any]:
    labelled = facts.num_labelled.get(split, {})
    return {
        "split": split,
        "role": _role(facts.splits, split),
        "specimens": facts.num_specimens[split],
        **{rank: labelled.get(rank, 0) for rank in RANKS},
        **{name: facts.num_having(name, [split]) for name in facts.modalities},
    }


def _role(protocol: SplitProtocol, split: str) -> str:
    does = {
        "training": protocol.training,
        "keys": protocol.keys,
        "queries": protocol.asking(),
        "unused": protocol.unused,
    }
    return " and ".join(words for words, splits in does.items() if split in splits)


def _about(facts: DatasetFacts) -> dict[str, str]:
    images = f"JPEG, shorter side at most {facts.image_size} pixels"
    features = f"features of {facts.image_feature_size} numbers" if facts.image_feature_size else None
    return {
        "Name": f"{facts.name}{' (SYNTHETIC)' if facts.synthetic else ''}",
        "Fingerprint": facts.fingerprint,
        "Source": facts.source,
        "Splits": f"protocol {facts.protocol}, drawn by: {facts.partition}",
        "Official split": facts.official_split or "none: its numbers are not compared with the paper's",
        "Modalities": feature_name(", ".join(facts.modalities)),
        "Images": features or (images if "image" in facts.modalities else "none"),
        "Several images a specimen": "yes" if facts.views else "no",
        "Kept out": f"{facts.num_rejects:,} specimens",
    }


# --- Taxa and Tables 5 to 7 ---------------------------------------------------------------------------------------


def _tables(catalog: Catalog, dataset: PreparedDataset, asked: Asked) -> dict[str, Any]:
    facts = dataset.facts
    counts = catalog.kept(("taxa", *_version(dataset)), lambda: count_prepared(dataset))
    sheets = statistic_sheets(counts, facts.name, facts.synthetic)
    shown = [
        {"title": sheet.title, "blocks": blocks_of(laid), "notes": words_below(laid)}
        for sheet in sheets.values()
        for laid in [Laid(sheet)]
    ]
    return {"taxa": _taxa(counts), "ranks": RANKS, "shown": shown}


def _taxa(counts: TaxonCounts) -> list[tuple[str, list[int]]]:
    """How many taxa each split has at each rank."""
    splits = [split for split, count in counts.num_records.items() if count]
    by_split = [(split, [counts.num_taxa(rank, [split]) for rank in RANKS]) for split in splits]
    return [*by_split, ("all", [counts.num_taxa(rank, splits) for rank in RANKS])]


# --- What splits share, names, and rejects ------------------------------------------------------------------------


def _shared(catalog: Catalog, dataset: PreparedDataset, asked: Asked) -> dict[str, Any]:
    found = catalog.kept(("shared", *_version(dataset)), lambda: _find_shared(_table_of(dataset)))
    return {"barcodes": found[0], "images": found[1]}


def _find_shared(table: SpecimenTable) -> tuple[list[str], list[str]]:
    return shared_barcodes(table), shared_images(table)


def _names(catalog: Catalog, dataset: PreparedDataset, asked: Asked) -> dict[str, Any]:
    lines = catalog.kept(("names", *_version(dataset)), lambda: _find_contradictions(_table_of(dataset)))
    return _page_of([tuple(line.split(": ", 1)) for line in lines], asked)


def _find_contradictions(table: SpecimenTable) -> list[str]:
    return contradictions(
        lineage
        for batch in table.batches(RANKS)
        for lineage in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    )


def _rejects(catalog: Catalog, dataset: PreparedDataset, asked: Asked) -> dict[str, Any]:
    lines = catalog.kept(("rejects", *_version(dataset)), lambda: _read_rejects(dataset))
    rows = [tuple(row) for row in csv.reader(lines, delimiter="\t")]
    return {**_page_of(rows, asked), "reasons": dataset.facts.reject_reasons}


def _read_rejects(dataset: PreparedDataset) -> list[str]:
    try:
        text = dataset.folder.read("rejects.tsv").decode(errors="replace")
    except (MissingPathError, FileNotFoundError):  # none was refused
        return []
    return [line for line in text.split("\n")[1:] if line]


def _page_of(rows: Sequence[tuple[str, ...]], asked: Asked) -> dict[str, Any]:
    """Some of the rows, and where the others are."""
    last = max(1, -(-len(rows) // _PER_PAGE))
    page = min(max(1, asked.number("page", 1)), last)
    others = {"before": page - 1 if page > 1 else None, "after": page + 1 if page < last else None}
    start = (page - 1) * _PER_PAGE
    return {
        "rows": rows[start : start + _PER_PAGE],
        "num_rows": len(rows),
        "first": start + 1,
        **{
            name: Asked.to("data", "", {"part": asked.option("part"), "page": to if to != 1 else None}) if to else None
            for name, to in others.items()
        },
    }


def _table_of(dataset: PreparedDataset) -> SpecimenTable:
    return SpecimenTable(dataset.folder, SPECIMEN_TABLE)


def _version(dataset: PreparedDataset) -> tuple[str, str, str]:
    return str(dataset.folder), dataset.facts.fingerprint, dataset.facts.content


_MAKE: Mapping[str, Callable[[Catalog, PreparedDataset, Asked], dict[str, Any]]] = {
    "": _counts,
    "tables": _tables,
    "shared": _shared,
    "names": _names,
    "rejects": _rejects,
}


def _listed(catalog: Catalog) -> list[Asked]:
    """Every part; of long lists the first page."""
    return [Asked.to("data", "", {"part": part}) for part in (_PARTS if catalog.dataset else [""])]


KINDS = (Kind(name="data", make=_data, options={"part": "", "page": "1"}, listed=_listed),)
