"""The embeddings of an evaluation in a plane: its map, with before alignment beside where that was evaluated too."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from results.dashboard.catalog import Catalog
from results.dashboard.columns import column_file
from results.dashboard.page import Asked, File, Kind, NotThereError, Page
from results.dashboard.points import COLOURED, Points, asked_places, read_points, specimen_columns
from results.evaluated import EvaluatedFolder
from workloads.shown import MAP, read_shown
from workloads.spec import MODALITIES

SCRIPTS = ("scatter_draw.js", "scatter.js", "map.js")
_METHODS = {
    "umap": "UMAP by cosine (15 neighbours, one seed)",
    "pca": "the two principal components of the embeddings",
}
_CAUTIONS = {
    "umap": "It keeps neighbourhoods: who lies beside whom means something. How far apart groups lie, how large they "
    "are and what lies between them mean little; another seed gives another map.",
    "pca": "Two of several hundred directions are left: groups that cover one another here may be far apart in the "
    "others, and distances mean little.",
}


def _embedding(catalog: Catalog, asked: Asked) -> Page:
    evaluation = asked.of
    evaluated = catalog.evaluated(evaluation)
    rank = asked.option("rank", COLOURED[0])
    if rank not in COLOURED:
        raise NotThereError(f"Names at the rank of '{rank}' have no colours; {' and '.join(COLOURED)} have.")
    maps = [each for each in _before_and_after(catalog, evaluation) if each["points"] is not None or not each["other"]]
    run = evaluation.partition("/")[0]
    return Page(
        title=f"Embeddings of {evaluation}",
        template="embedding.html.j2",
        told={"of": evaluation, "run": run, "maps": maps, "rank": rank, "ranks": COLOURED, "file": MAP},
        scripts=SCRIPTS,
        trail=((run, Asked("run", run)),),
        synthetic=bool(evaluated.facts["synthetic"]),
    )


def _before_and_after(catalog: Catalog, evaluation: str) -> list[dict[str, Any]]:
    """The map asked for, and that of the same run before or after training where there is one; before comes first."""
    own = catalog.evaluated(evaluation)
    is_before = bool(own.facts.get("untrained"))
    maps = [(is_before, _shown_map(catalog, evaluation, own, other=False))]
    if (twin := _twin(catalog, evaluation, own)) is not None:
        maps.append((not is_before, _shown_map(catalog, twin, catalog.evaluated(twin), other=True)))
    headings = {True: "Before alignment", False: "After alignment"}
    return [
        {**shown, "heading": headings[before]} for before, shown in sorted(maps, key=lambda one: one[0], reverse=True)
    ]


def _twin(catalog: Catalog, evaluation: str, own: EvaluatedFolder) -> str | None:
    """The evaluation on the same specimens on the other side of training; None where there is none."""
    run = evaluation.partition("/")[0]
    other = run.removesuffix(_UNTRAINED) if run.endswith(_UNTRAINED) else f"{run}{_UNTRAINED}"
    runs = [run, *([other] if other in catalog.now.places else [])]
    for each in (each for one in runs for each in catalog.evaluations(one) if each != evaluation):
        facts = catalog.evaluated(each).facts
        is_other = bool(facts.get("untrained")) != bool(own.facts.get("untrained"))
        if is_other and all(facts.get(name) == own.facts.get(name) for name in ("dataset", "data_fingerprint")):
            return each
    return None


_UNTRAINED = "-untrained"
"""At the end of the id of a point that measures a run as it was before training."""


def _shown_map(catalog: Catalog, evaluation: str, evaluated: EvaluatedFolder, other: bool) -> dict[str, Any]:
    points = points_of(catalog, evaluation, evaluated)
    about: dict[str, Any] = {"of": evaluation, "other": other, "points": points}
    if points is None:
        return about
    pairs = {place.partition: (place.query, place.key) for place in asked_places(evaluated, points.partitions)}
    parts = ("keys", *(f"{partition} queries" for partition in points.partitions))
    return {
        **about,
        "method": _METHODS.get(points.method, points.method),
        "caution": _CAUTIONS.get(points.method, ""),
        "modalities": [name for name in MODALITIES if points.num_of_modality(name)],
        "every_modality": MODALITIES,
        "parts": parts,
        "pairs": {name: list(pair) for name, pair in pairs.items()},
        "told": {"name": evaluation, "parts": ["", *points.partitions], "modalities": list(MODALITIES)}
        | {"pairs": {name: " to ".join(pair) for name, pair in pairs.items()}},
    }


def points_of(catalog: Catalog, evaluation: str, evaluated: EvaluatedFolder) -> Points | None:
    """The points of an evaluation, kept; None where it has kept none."""
    version = catalog.now.version(catalog.place(evaluation.partition("/")[0]))
    return catalog.kept(("points", evaluation, version), lambda: read_points(evaluated))


def _of_points(catalog: Catalog, asked: Asked) -> tuple[EvaluatedFolder, Points]:
    evaluated = catalog.evaluated(asked.of)
    points = points_of(catalog, asked.of, evaluated)
    if points is None:
        raise NotThereError(f"'{asked.of}' has no map: `clibd evaluate RUN --data DIR` makes one.")
    return evaluated, points


def _map_columns(catalog: Catalog, asked: Asked) -> File:
    _, points = _of_points(catalog, asked)
    return column_file(f"map {asked.of}", points.columns)


def _map_specimens(catalog: Catalog, asked: Asked) -> File:
    evaluated, points = _of_points(catalog, asked)
    return column_file(f"specimens {asked.of}", specimen_columns(points, evaluated))


def _map_pictures(catalog: Catalog, asked: Asked) -> File:
    """Thumbnails of the shown specimens, as addresses that hold their content: pages from disk have them too."""
    shown = read_shown(catalog.evaluated(asked.of).folder)
    contents = {} if shown is None else {name: shown.thumbnail(name) for name in shown.ids}
    there = {name: content for name, content in contents.items() if content is not None}
    pictures = [f"data:image/webp;base64,{b64encode(content).decode()}" for content in there.values()]
    return column_file(f"pictures {asked.of}", {"specimen": list(there), "picture": pictures})


def _listed(catalog: Catalog) -> Iterator[Asked]:
    for run in catalog.finished():
        for evaluation in catalog.evaluations(run):
            yield Asked("embedding", evaluation)
            yield Asked.to("embedding", evaluation, {"rank": COLOURED[1]})


KINDS = (
    Kind(name="embedding", make=_embedding, options={"rank": COLOURED[0]}, listed=_listed),
    Kind(name="map-columns", make=_map_columns, suffix=".js"),
    Kind(name="map-specimens", make=_map_specimens, suffix=".js"),
    Kind(name="map-pictures", make=_map_pictures, suffix=".js"),
)
