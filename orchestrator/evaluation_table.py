"""What `clibd evaluate` shows: the rules of an evaluation, and its accuracies with chance and majority beside."""

from collections.abc import Mapping, Sequence
from typing import Any

from results.render import grid, percent
from workloads.predictions import PAPERS_PAIRS
from workloads.record import Measurement
from workloads.spec import RANKS

_RULES = {
    "left_out": "is left out there, and a key without one is never right",
    "a_class": "counts as of a class of its own there, and a key without one is its right answer",
}
_SHOWN = {*PAPERS_PAIRS, ("image", "classes")}
"""The files have all retrievals."""

Place = tuple[str, str, str, str, str, str]


def evaluation_notes(about: Mapping[str, Any]) -> str:
    """What was evaluated and by which rules."""
    kind = "SYNTHETIC specimens" if about["synthetic"] else "specimens"
    untrained = ", before training" if about.get("untrained") else ""
    model = about.get("run") or about["model"]
    precision = f", {about['precision']}" if "precision" in about else ""
    line = f"{model}{untrained} on {about['dataset']} ({kind}), recipe {about['recipe']}{precision}."
    counts = f": {_counts(about['num_without_name'])}" if "num_without_name" in about else ""  # classifiers keep none
    return f"{line}\nA query without a name at a rank {_RULES[about['missing_rank']]}{counts}."


def _counts(without: Mapping[str, Mapping[str, int]]) -> str:
    found = [f"{part} {rank} {count}" for part, ranks in without.items() for rank, count in ranks.items() if count]
    return ", ".join(found) or "there is none"


def evaluation_table(measurements: Sequence[Measurement]) -> str:
    """Top-1 accuracies by rank, that of the species with its interval."""
    rows = {_key(row): row for row in measurements if row.metric.endswith("top1")}
    places: dict[Place, None] = dict.fromkeys(
        (row.partition, row.query, row.key, row.keys, row.species, row.average)
        for row in rows.values()
        if (row.query, row.key) in _SHOWN and row.method == "clibd"
    )
    body = [
        [
            place[0],
            f"{place[1]} to {place[2]}",
            *([place[3]] if len({p[3] for p in places}) > 1 else []),
            *place[4:],
            *(percent(_value(rows.get((*place, "clibd", rank)))) for rank in RANKS),
            _interval(rows.get((*place, "clibd", "species"))),
            percent(_value(rows.get((*place, "random_key", "species")))),
            percent(_value(rows.get((*place, "majority", "species")))),
        ]
        for place in places
    ]
    own = ["Keys"] if len({p[3] for p in places}) > 1 else []
    headers = ["Partition", "Retrieval", *own, "Species", "Average", *RANKS, "95 % (species)", "chance", "majority"]
    return f"Top-1 accuracy, percent\n\n{grid(headers, body)}"


def _key(row: Measurement) -> tuple[str, ...]:
    return (row.partition, row.query, row.key, row.keys, row.species, row.average, row.method, row.level)


def _value(row: Measurement | None) -> float | None:
    return None if row is None else row.value


def _interval(row: Measurement | None) -> str:
    if row is None or row.low is None or row.high is None:
        return "–"
    return f"{percent(row.low)} to {percent(row.high)}"
