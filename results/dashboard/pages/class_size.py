"""Figure 4, interactive: the accuracy of each taxon against the number of its keys, and means with intervals."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from results.dashboard.catalog import Catalog
from results.dashboard.charts import SCRIPTS, Axis, Chart, Series, scatter
from results.dashboard.columns import column_file
from results.dashboard.names import feature_name, partition_name
from results.dashboard.numbers import Answered, answered
from results.dashboard.page import Asked, File, Kind, NotThereError, Page
from results.dashboard.pages.retrieval import evaluations
from results.evaluated import EvaluatedFolder
from results.measured import FLOORS
from results.run import UNREADABLE, Measured
from workloads.record import RunFolder
from workloads.spec import RANKS, Rank

_FOR_A_CHART = 2_000
"""Taxa that a chart draws at most; more are a field of points."""
_SUBSETS = ("seen", "unseen")
_OPTIONS = {"partition": "", "pair": "", "rank": "species"}
_SIDESTEP = {"seen": 0.97, "unseen": 1.03}
"""Factors of the places along x, so that equal points of both subsets lie side by side."""
_WITHOUT_KEYS = 0.5
"""Where taxa without a key stand on the logarithmic axis."""
_PLURALS = {"species": "species", "genus": "genera", "family": "families", "order": "orders"}


def _class_size(catalog: Catalog, asked: Asked) -> Page:
    evaluation, choice = _chosen(catalog, asked)
    partition, pair, rank = choice
    taxa, means = _numbers(catalog, evaluation, choice)
    run = asked.of.partition("/")[0]
    words = _PLURALS[rank]
    many = len(taxa) > _FOR_A_CHART
    about = {"of": asked.of, "run": run, "partition": partition, "pair": pair, "rank": rank, "taxa": taxa}
    choices = {
        "partitions": evaluation.partitions,
        "pairs": [one.words for one in evaluation.pairs(partition)],
        "ranks": RANKS,
    }
    return Page(
        title=f"Accuracy of {words} by their number of keys",
        template="class_size.html.j2",
        told={**about, **choices, "means": means.to_dict("records"), "words": words, "many": many}
        | {"beside": _beside(catalog.evaluated(asked.of), choice)}
        | {"drawn": _drawn(asked.of, choice, taxa, means, many), "ticks": _ticks(taxa)},
        scripts=(*(("scatter_draw.js", "scatter.js", "class_size.js") if many else ()), *SCRIPTS),
        trail=((run, Asked("run", run)),),
        synthetic=evaluation.synthetic,
    )


_Choice = tuple[str, str, Rank]
"""Partition, pair of features as `image-dna`, and rank."""


def _chosen(catalog: Catalog, asked: Asked) -> tuple[Answered, _Choice]:
    evaluation = answered(catalog, asked.of)
    rank = asked.option("rank", "species")
    if rank not in RANKS:
        raise NotThereError(f"There is no rank '{rank}'; there are {', '.join(RANKS)}.")
    one = evaluation.retrieval(asked.option("partition"), asked.option("pair"))
    return evaluation, (one.place.partition, one.words, rank)


def _numbers(catalog: Catalog, evaluation: Answered, choice: _Choice) -> tuple[Any, Any]:
    """The taxa, and the means over those with as many keys, in classes that double."""

    def counted() -> tuple[Any, Any]:
        from results.figures.keys_of_taxa import accuracy_by, doubling, taxa_by_keys

        partition, pair, rank = choice
        one = evaluation.retrieval(partition, pair)
        subset = np.where(one.unseen, "unseen", "seen").astype(object)
        keys = evaluation.codes[rank][evaluation.searched(one.place)]
        hits = evaluation.hits(one, rank)
        taxa = taxa_by_keys(evaluation.names[rank], evaluation.truth(one, rank), hits, subset, keys)
        taxa = taxa.sort_values(["num_keys", "name"], ascending=[False, True], kind="stable")
        taxa["least"] = doubling(taxa["num_keys"])
        logs = np.log(_at(taxa["num_keys"].to_numpy()))
        middles = taxa.assign(middle=logs).groupby(["subset", "least"], as_index=False)["middle"].mean()
        means = accuracy_by(taxa, "least").merge(middles, on=["subset", "least"]).astype(object)
        return taxa, means.where(means.notna(), None)

    version = catalog.now.version(catalog.place(evaluation.name.partition("/")[0]))
    return catalog.kept(("class-size", evaluation.name, version, choice), counted)


def _at(num_keys: Any) -> Any:
    return np.where(num_keys > 0, num_keys, _WITHOUT_KEYS)


def _beside(evaluated: EvaluatedFolder, choice: _Choice) -> list[tuple[str, str, float, float | None, float | None]]:
    """What the same queries come to over all taxa, with chance and floors, by subset; nothing if it cannot be read."""
    partition, pair, rank = choice
    query, key = pair.rsplit("-", 1)
    try:
        measured = Measured(RunFolder(evaluated.folder).measurement_table())
    except UNREADABLE:
        return []
    place = {"partition": partition, "query": query, "key": key, "level": rank, "average": "macro", "metric": "top1"}
    found = []
    for subset, (method, words) in product(_SUBSETS, {"clibd": "accuracy", **FLOORS}.items()):
        one = measured.find({**place, "species": subset, "method": method, "keys": "all"})
        if one is not None:
            found.append((subset, words, one.value, one.low, one.high))
    return found


def _drawn(of: str, choice: _Choice, taxa: Any, means: Any, many: bool) -> Chart:
    """Means with their intervals, and each taxon where these are few enough, with a link to its page."""
    partition, pair, rank = choice
    series = []
    for subset in _SUBSETS:
        own = taxa[taxa["subset"] == subset]
        if not len(own):
            continue
        if not many:
            series.append(
                Series(
                    name=f"{subset} {_PLURALS[rank]} (n={len(own):,})",
                    x=[float(x) for x in _at(own["num_keys"].to_numpy()) * _SIDESTEP[subset]],
                    y=own["accuracy"].astype(float).tolist(),
                    words=[_words(*row) for row in own[["name", "accuracy", "num_queries", "num_keys"]].to_numpy()],
                    links=[_species(of, choice, name) for name in own["name"]],
                    drawn="points",
                )
            )
        mean = means[means["subset"] == subset]
        series.append(
            Series(
                name=f"mean over {subset} {_PLURALS[rank]}",
                x=[float(np.exp(middle)) * _SIDESTEP[subset] for middle in mean["middle"]],
                y=mean["accuracy"].astype(float).tolist(),
                low=mean["low"].tolist(),
                high=mean["high"].tolist(),
                words=[_mean_words(*row) for row in mean[["least", "num_taxa", "num_queries"]].to_numpy()],
                drawn="both",
            )
        )
    title = f"Accuracy of {_PLURALS[rank]} by their number of keys"
    note = (
        f"{partition_name(partition).capitalize()} queries, {feature_name(pair)}, top 1. Lines join the means of "
        f"{_PLURALS[rank]} with 1, 2 to 3, 4 to 7, … keys, with 95 % intervals by bootstrap over "
        "them; none where one is alone."
    )
    if not taxa["num_keys"].all():
        note += f" At {_WITHOUT_KEYS} stand those without a key, which are never right."
    return scatter(
        title,
        Axis(title=f"Keys of the {rank} (number)", log=True),
        Axis(title="Accuracy (%)", share=True),
        series,
        note,
    )


def _species(of: str, choice: _Choice, name: str) -> Asked:
    partition, _, rank = choice
    return Asked.to("species", of, {"name": name, "rank": rank, "partition": partition})


def _words(name: str, accuracy: float, num_queries: int, num_keys: int) -> str:
    return f"{name}: {100 * accuracy:.1f} % of {_several(num_queries, 'query', 'queries')}, {_several(num_keys, 'key')}"


def _mean_words(least: int, num_taxa: int, num_queries: int) -> str:
    keys = f"{least:,}" if least < 2 else f"{least:,} to {2 * least - 1:,}"
    return f"{keys} keys: mean over {num_taxa:,} with {_several(num_queries, 'query', 'queries')}"


def _several(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


# --- As a field of points -----------------------------------------------------------------------------------------


def _ticks(taxa: Any) -> dict[str, Any]:
    """What the axes of the field say, and the ends of the horizontal one as powers of ten."""
    most = max(1, int(taxa["num_keys"].max())) if len(taxa) else 1
    numbers = [number for number in (10**power * step for power in range(8) for step in (1, 2, 5)) if number <= most]
    return {"low": float(np.log10(_WITHOUT_KEYS)), "high": float(np.log10(most * 1.1)), "numbers": numbers}


def _class_size_columns(catalog: Catalog, asked: Asked) -> File:
    evaluation, choice = _chosen(catalog, asked)
    taxa, _ = _numbers(catalog, evaluation, choice)
    places = {"keys": taxa["num_keys"].to_numpy(), "accuracy": taxa["accuracy"].to_numpy(np.float64)}
    about = {"queries": taxa["num_queries"].to_numpy(), "unseen": (taxa["subset"] == "unseen").to_numpy(np.int8)}
    return column_file("class-size", {**places, **about, "name": taxa["name"].to_list()})


def _listed(catalog: Catalog) -> Iterator[Asked]:
    for evaluation in evaluations(catalog):
        if evaluation.retrievals:
            yield Asked("class-size", evaluation.name)


KINDS = (
    Kind(name="class-size", make=_class_size, options=_OPTIONS, listed=_listed),
    Kind(name="class-size-columns", make=_class_size_columns, options=_OPTIONS, suffix=".js"),
)
