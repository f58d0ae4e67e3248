"""Figure 4, interactive: the accuracy of each taxon against the number of its keys, and means with intervals."""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from results.dashboard.catalog import Catalog
from results.dashboard.charts import SCRIPTS, Axis, Chart, Series, scatter
from results.dashboard.columns import column_file
from results.dashboard.page import Asked, File, Kind, Link, NotThereError, Page
from results.evaluated import EvaluatedFolder
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
    evaluated, choice = _chosen(catalog, asked)
    partition, pair, rank = choice
    taxa, means = _numbers(catalog, asked.of, evaluated, choice)
    run = asked.of.partition("/")[0]
    places = evaluated.predictions.places
    words = _PLURALS[rank]
    many = len(taxa) > _FOR_A_CHART
    about = {"of": asked.of, "run": run, "partition": partition, "pair": pair, "rank": rank, "taxa": taxa}
    choices = {
        "partitions": list(dict.fromkeys(place.partition for place in places)),
        "pairs": list(dict.fromkeys(f"{place.query}-{place.key}" for place in places if place.partition == partition)),
        "ranks": RANKS,
    }
    return Page(
        title=f"Accuracy of {words} by their number of keys",
        template="class_size.html.j2",
        told={**about, **choices, "means": means.to_dict("records"), "words": words, "many": many}
        | {"drawn": lambda link: _drawn(asked.of, choice, taxa, means, link, many), "ticks": _ticks(taxa)},
        scripts=(*(("scatter_draw.js", "scatter.js", "class_size.js") if many else ()), *SCRIPTS),
        trail=((run, Asked("run", run)),),
        synthetic=bool(evaluated.facts["synthetic"]),
    )


_Choice = tuple[str, str, Rank]
"""Partition, pair of features as `image-dna`, and rank."""


def _chosen(catalog: Catalog, asked: Asked) -> tuple[EvaluatedFolder, _Choice]:
    evaluated = catalog.evaluated(asked.of)
    places = evaluated.predictions.places
    if not places:
        raise NotThereError(f"'{asked.of}' has no answers by retrieval.")
    rank = asked.option("rank", "species")
    partition = asked.option("partition") or places[0].partition
    pairs = [f"{place.query}-{place.key}" for place in places if place.partition == partition]
    pair = asked.option("pair") or ("image-dna" if "image-dna" in pairs else next(iter(pairs), ""))
    if rank not in RANKS or pair not in pairs:
        raise NotThereError(f"There is no such retrieval, or no such rank: {', '.join(dict.fromkeys(pairs))}.")
    return evaluated, (partition, pair, cast(Rank, rank))


def _numbers(catalog: Catalog, evaluation: str, evaluated: EvaluatedFolder, choice: _Choice) -> tuple[Any, Any]:
    """The taxa, and the means over those with as many keys, in classes that double."""

    def counted() -> tuple[Any, Any]:
        from results.figures.keys_of_taxa import accuracy_by, doubling, taxa_by_keys

        partition, pair, rank = choice
        query, key = pair.rsplit("-", 1)
        taxa = taxa_by_keys(evaluated, evaluated.answers(partition, query, key), rank)
        taxa = taxa.sort_values(["num_keys", "name"], ascending=[False, True], kind="stable")
        taxa["least"] = doubling(taxa["num_keys"])
        means = accuracy_by(taxa, "least").astype(object)
        return taxa, means.where(means.notna(), None)

    version = catalog.now.version(catalog.place(evaluation.partition("/")[0]))
    return catalog.kept(("class-size", evaluation, version, choice), counted)


def _at(num_keys: Any) -> Any:
    return np.where(num_keys > 0, num_keys, _WITHOUT_KEYS)


def _middle(least: int) -> float:
    """Where the mean of a class of key counts stands: in the middle of it, as the axis goes."""
    return _WITHOUT_KEYS if least == 0 else float(np.sqrt(least * (2 * least - 1)))


def _drawn(of: str, choice: _Choice, taxa: Any, means: Any, link: Link, many: bool) -> Chart:
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
                    links=[link(_species(of, choice, name)) for name in own["name"]],
                    drawn="points",
                )
            )
        mean = means[means["subset"] == subset]
        series.append(
            Series(
                name=f"mean over {subset} {_PLURALS[rank]}",
                x=[_middle(least) * _SIDESTEP[subset] for least in mean["least"]],
                y=mean["accuracy"].astype(float).tolist(),
                low=mean["low"].tolist(),
                high=mean["high"].tolist(),
                words=[_mean_words(*row) for row in mean[["least", "num_taxa", "num_queries"]].to_numpy()],
                drawn="both",
            )
        )
    title = f"Accuracy of {_PLURALS[rank]} by their number of keys"
    note = (
        f"{partition} queries, {pair.replace('-', ' to ')}, top 1. Lines join means over the {_PLURALS[rank]} whose "
        "number of keys is in a class that doubles, with 95 % intervals by bootstrap over them; none where one is "
        "alone. At 0.5 stand those without a key, which are never right."
    )
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
    evaluated, choice = _chosen(catalog, asked)
    taxa, _ = _numbers(catalog, asked.of, evaluated, choice)
    places = {"keys": taxa["num_keys"].to_numpy(), "accuracy": taxa["accuracy"].to_numpy(np.float64)}
    about = {"queries": taxa["num_queries"].to_numpy(), "unseen": (taxa["subset"] == "unseen").to_numpy(np.int8)}
    return column_file("class-size", {**places, **about, "name": taxa["name"].to_list()})


def _listed(catalog: Catalog) -> Iterator[Asked]:
    for run in catalog.finished():
        for evaluation in catalog.evaluations(run):
            yield Asked("class-size", evaluation)


KINDS = (
    Kind(name="class-size", make=_class_size, options=_OPTIONS, listed=_listed),
    Kind(name="class-size-columns", make=_class_size_columns, options=_OPTIONS, suffix=".js"),
)
