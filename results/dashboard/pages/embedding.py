"""The embeddings of an evaluation in a plane: its map, with before alignment beside where that was evaluated too."""

import shlex
from collections.abc import Iterator
from typing import Any

from results.dashboard.catalog import Catalog
from results.dashboard.columns import column_file
from results.dashboard.names import feature_name, partition_name
from results.dashboard.numbers import answered
from results.dashboard.page import Asked, File, Kind, NotThereError, Page
from results.dashboard.pages.retrieval import evaluations
from results.dashboard.pages.retrieval_columns import PORTRAITS, SPECIMENS, name_of
from results.dashboard.points import COLOURED, OTHER, Points, answer_columns, read_points
from results.evaluated import EvaluatedFolder
from results.run import UNREADABLE
from workloads.shown import MAP
from workloads.spec import MODALITIES

SCRIPTS = ("scatter_draw.js", "scatter.js", "map.js")
_UNTRAINED = "-untrained"
"""At the end of the id of a point that measures a run as it was before training."""
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
    maps = _before_and_after(catalog, evaluation)
    run = evaluation.partition("/")[0]
    return Page(
        title=f"Embeddings of {evaluation}",
        template="embedding.html.j2",
        told={"of": evaluation, "run": run, "maps": maps, "rank": rank, "ranks": COLOURED, "file": MAP}
        | {"folder": shlex.quote(f"{catalog.address}/{catalog.place(run)}")}
        | {"specimens": SPECIMENS, "portraits": PORTRAITS, "others": OTHER},
        scripts=SCRIPTS,
        trail=((run, Asked("run", run)),),
        synthetic=bool(evaluated.facts["synthetic"]),
    )


def _before_and_after(catalog: Catalog, evaluation: str) -> list[dict[str, Any]]:
    """The map asked for, and that of the same run before or after training where there is one; before comes first."""
    own = catalog.evaluated(evaluation)
    is_before = bool(own.facts.get("untrained"))
    maps = [(is_before, _shown_map(catalog, evaluation, other=False))]
    if (twin := _twin(catalog, evaluation, own)) is not None:
        try:
            maps.append((not is_before, _shown_map(catalog, twin, other=True)))
        except (NotThereError, *UNREADABLE) as error:
            maps.append((not is_before, {"of": twin, "other": True, "points": None, "problem": str(error)}))
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
        try:
            facts = catalog.evaluated(each).facts
        except NotThereError:  # its own page says why
            continue
        is_other = bool(facts.get("untrained")) != bool(own.facts.get("untrained"))
        if is_other and all(facts.get(name) == own.facts.get(name) for name in ("dataset", "data_fingerprint")):
            return each
    return None


def _shown_map(catalog: Catalog, of: str, other: bool) -> dict[str, Any]:
    points = points_of(catalog, of)
    about: dict[str, Any] = {"of": of, "other": other, "points": points, "problem": ""}
    if points is None:
        return about
    evaluation = answered(catalog, of)
    pairs = {each: feature_name(evaluation.retrieval(each).words) for each in evaluation.partitions}
    parts = ("keys", *(f"{partition_name(partition)} queries" for partition in points.partitions))
    return {
        **about,
        "method": _METHODS.get(points.method, points.method),
        "caution": _CAUTIONS.get(points.method, ""),
        "modalities": [name for name in MODALITIES if points.num_of_modality(name)],
        "every_modality": MODALITIES,
        "parts": parts,
        "told": {"map": f"map {of}", "answers": f"answers {of}", "specimens": name_of(SPECIMENS, evaluation)}
        | {"portraits": name_of(PORTRAITS, evaluation), "pairs": pairs}
        | {"parts": ["", *points.partitions], "modalities": list(MODALITIES)}
        | {"called": ["key", *(f"{partition_name(partition)} query" for partition in points.partitions)]},
    }


def points_of(catalog: Catalog, of: str) -> Points | None:
    """The points of an evaluation, kept; None where it has kept none."""
    version = catalog.now.version(catalog.place(of.partition("/")[0]))
    folder = catalog.evaluated(of).folder
    return catalog.kept(("points", of, version), lambda: read_points(folder, answered(catalog, of)))


def _map_columns(catalog: Catalog, asked: Asked) -> File:
    points = points_of(catalog, asked.of)
    if points is None:
        raise NotThereError(f"'{asked.of}' has no map: `clibd evaluate RUN --data DIR` makes one.")
    return column_file(f"map {asked.of}", points.columns)


def _map_answers(catalog: Catalog, asked: Asked) -> File:
    return column_file(f"answers {asked.of}", answer_columns(answered(catalog, asked.of)))


def _listed(catalog: Catalog) -> Iterator[Asked]:
    for evaluation in evaluations(catalog):
        yield Asked("embedding", evaluation.name)
        yield Asked.to("embedding", evaluation.name, {"rank": COLOURED[1]})


KINDS = (
    Kind(name="embedding", make=_embedding, options={"rank": COLOURED[0]}, listed=_listed),
    Kind(name="map-columns", make=_map_columns, suffix=".js"),
    Kind(name="map-answers", make=_map_answers, suffix=".js"),
)
