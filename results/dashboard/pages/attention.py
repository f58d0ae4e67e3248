"""Figures 5 and 11 to 13, interactive: where vision towers look, by which of them name the species."""

import io
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import product
from typing import Any

import numpy as np

from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked, File, Kind, NotThereError, Page
from results.evaluated import EvaluatedFolder
from results.figures.attention_cases import (
    SUBSETS,
    AttentionFigure,
    StoredAttention,
    groups_of_figure,
    overlaid,
    read_attention,
)
from results.run import UNREADABLE
from workloads.data.inputs.image_views import evaluation_view
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import MissingPathError, UsageError
from workloads.shown import read_shown

_PARTITIONS = ("val", "test")
_FIGURES: Mapping[str, AttentionFigure] = {"5": 5, "11": 11, "12": 12, "13": 13}
_ASKS: Mapping[str, str] = {
    "5": "The first model against the last: what became right, and what wrong?",
    "11": "Only the last model names the species: what does it see?",
    "12": "Several aligned models name the species: do they look alike?",
    "13": "No model names the species: where do they look?",
}
_A_PAGE = 12
_SIDE = 160
"""Pixels of a map; a thumbnail has 96 at most."""
_OPTIONS = {"partition": "", "figure": "5", "group": "", "subset": "", "page": ""}


def _attention(catalog: Catalog, asked: Asked) -> Page:
    evaluated, run = catalog.evaluated(asked.of), asked.of.partition("/")[0]
    there = [name for name in _PARTITIONS if evaluated.folder.has(f"attention-{name}.json")]
    about: dict[str, Any] = {"of": asked.of, "run": run, "partitions": there, "figures": _ASKS, "subsets": SUBSETS}
    about["folder"] = shlex.quote(f"{catalog.address}/{catalog.place(run)}")
    if there:
        about |= _told(catalog, asked, evaluated, there)
    else:
        others = [each for each in catalog.evaluations(run) if each != asked.of and _has_some(catalog, each)]
        about |= {"stored": None, "elsewhere": others}
    return Page(
        title=f"Attention of {asked.of}",
        template="attention.html.j2",
        told=about,
        trail=((run, Asked("run", run)),),
        synthetic=bool(evaluated.facts["synthetic"]),
    )


def _told(catalog: Catalog, asked: Asked, evaluated: EvaluatedFolder, there: Sequence[str]) -> dict[str, Any]:
    partition = asked.option("partition") or there[0]
    figure, subset = asked.option("figure", "5"), asked.option("subset")
    if partition not in there or figure not in _FIGURES or subset not in ("", *SUBSETS):
        raise NotThereError(f"There is no such attention; there is that of {' and '.join(there)} queries.")
    stored = _stored(catalog, asked.of, evaluated, partition)
    told = {"stored": stored, "partition": partition, "figure": figure, "subset": subset, "problem": ""}
    try:
        return {**told, **_cases(stored, _FIGURES[figure], asked), "pictures": _kind_of_pictures(catalog, evaluated)}
    except UsageError as error:
        return {**told, "problem": str(error)}


def _has_some(catalog: Catalog, evaluation: str) -> bool:
    return any(catalog.evaluated(evaluation).folder.has(f"attention-{name}.json") for name in _PARTITIONS)


def _stored(catalog: Catalog, evaluation: str, evaluated: EvaluatedFolder, partition: str) -> StoredAttention:
    version = catalog.now.version(catalog.place(evaluation.partition("/")[0]))
    return catalog.kept(("attention", evaluation, partition, version), lambda: read_attention(evaluated, partition))


def _cases(stored: StoredAttention, figure: AttentionFigure, asked: Asked) -> dict[str, Any]:
    """The outcomes of a figure with their counts, and the queries of the chosen one, a page of them."""
    groups = groups_of_figure(figure, stored, every=True)
    names = [" ".join(group.title.split()) for group in groups]
    chosen = asked.option("group") or names[0]
    if chosen not in names:
        raise NotThereError(f"There is no such outcome; there are {', '.join(names)}.")
    group = groups[names.index(chosen)]
    subsets = [asked.option("subset")] if asked.option("subset") else [*SUBSETS]
    cases = [case for subset in subsets for case in group.cases[subset]]
    pages = max(1, -(-len(cases) // _A_PAGE))
    page = min(asked.number("page", 0), pages - 1)
    counts = [(name, sum(one.counts.values()), dict(one.counts)) for name, one in zip(names, groups, strict=True)]
    shown = cases[page * _A_PAGE : (page + 1) * _A_PAGE]
    return {"groups": counts, "group": chosen, "cases": shown, "num": len(cases), "page": page, "pages": pages}


# --- Pictures -----------------------------------------------------------------------------------------------------


def _kind_of_pictures(catalog: Catalog, evaluated: EvaluatedFolder) -> str:
    """Where pictures come from: `data`, `shown` (thumbnails of some), or none."""
    if catalog.dataset is not None and _is_of(catalog.dataset, evaluated):
        return "data"
    return "shown" if read_shown(evaluated.folder) is not None else ""


def _is_of(dataset: PreparedDataset, evaluated: EvaluatedFolder) -> bool:
    return bool(dataset.facts.fingerprint == evaluated.facts["data_fingerprint"])


def _contents(catalog: Catalog, evaluation: str, evaluated: EvaluatedFolder, partition: str) -> dict[str, bytes]:
    """The images of all queries whose attention is stored, and of their nearest keys, as far as there are any."""
    stored = _stored(catalog, evaluation, evaluated, partition)
    queries = {case[0].specimen_id for case in stored.cases}
    keys = {glance.key_id for case in stored.cases for glance in case}

    def read() -> dict[str, bytes]:
        dataset = catalog.dataset
        if dataset is not None and _is_of(dataset, evaluated):
            splits = dataset.facts.splits
            try:
                return {**dataset.images(splits.asking(partition), queries), **dataset.images(splits.keys, keys)}
            except (UsageError, MissingPathError):
                pass  # it has no images, or lacks one of them: thumbnails, if there are any
        shown = read_shown(evaluated.folder)
        found = {} if shown is None else {name: shown.thumbnail(name) for name in queries | keys}
        return {name: content for name, content in found.items() if content is not None}

    version = catalog.now.version(catalog.place(evaluation.partition("/")[0]))
    return catalog.kept(("attention pictures", evaluation, partition, version), read)


def _attention_map(catalog: Catalog, asked: Asked) -> File:
    """A square: a query's picture under the attention of a model, or as it is, or the nearest key of a model."""
    evaluated, partition = catalog.evaluated(asked.of), asked.option("partition")
    if partition not in _PARTITIONS:
        raise NotThereError("There is no such partition.")
    stored = _stored(catalog, asked.of, evaluated, partition)
    case = next((case for case in stored.cases if case[0].specimen_id == asked.option("specimen")), None)
    model = asked.number("model", 0)
    if case is None or model > len(stored.models):
        raise NotThereError("No attention to this specimen is stored.")
    contents = _contents(catalog, asked.of, evaluated, partition)
    if asked.option("what") == "key":
        return _png(_square(contents.get(case[model - 1].key_id)))
    square = _square(contents.get(case[0].specimen_id), stored)
    return _png(overlaid(square, case[model - 1].mask, stored.recipe) if model else square)


def _square(content: bytes | None, stored: StoredAttention | None = None) -> Any:
    """What the towers saw of a picture; grey where there is none."""
    if content is None:
        return np.full((_SIDE, _SIDE, 3), 128, dtype=np.uint8)
    return evaluation_view(content, _SIDE) if stored is None else evaluation_view(content, _SIDE, stored.extent)


def _png(pixels: Any) -> File:
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return File(content=sink.getvalue(), media_type="image/png")


def _listed(catalog: Catalog) -> Iterator[Asked]:
    for run in catalog.finished():
        for evaluation in catalog.evaluations(run):
            with suppress(NotThereError, *UNREADABLE):  # the page of what is damaged says so
                yield from _listed_of(catalog, evaluation)


def _listed_of(catalog: Catalog, evaluation: str) -> Iterator[Asked]:
    evaluated = catalog.evaluated(evaluation)
    there = [name for name in _PARTITIONS if evaluated.folder.has(f"attention-{name}.json")]
    for partition, figure in product(there, _FIGURES):
        groups: list[str | None] = [None]
        with suppress(UsageError):
            outcomes = groups_of_figure(_FIGURES[figure], _stored(catalog, evaluation, evaluated, partition), True)
            groups += [" ".join(outcome.title.split()) for outcome in outcomes]
        for group in groups:
            options = {"partition": None if partition == there[0] else partition, "group": group}
            yield Asked.to("attention", evaluation, {**options, "figure": None if figure == "5" else figure})


KINDS = (
    Kind(name="attention", make=_attention, options=_OPTIONS, listed=_listed),
    Kind(
        name="attention-map",
        make=_attention_map,
        options={"partition": "", "specimen": "", "model": "0", "what": ""},
        suffix=".png",
    ),
)
