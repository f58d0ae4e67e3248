"""Seen against unseen accuracy of a calibrated search, over every constant taken off keys of seen species."""

from collections.abc import Iterator, Sequence

from results.calibrated import Traced, traced
from results.dashboard.catalog import Catalog
from results.dashboard.charts import SCRIPTS, Axis, Chart, Series, scatter
from results.dashboard.names import feature_name, partition_name
from results.dashboard.page import Asked, Kind, NotThereError, Page
from results.run import UNREADABLE
from workloads.predictions import Predictions

_OPTIONS = {"pair": "image-dna"}
_MOST = 1_000
"""Points of a curve that are kept, evenly spaced among its constants."""


def _calibration(catalog: Catalog, asked: Asked) -> Page:
    pair, run = asked.option("pair", "image-dna"), asked.of.partition("/")[0]
    facts = catalog.evaluated(asked.of).facts
    pairs = ["-".join(name.split(" to ")) for name in facts.get("constants", {})]
    if pair not in pairs:
        remedy = "measure it with `clibd evaluate RUN --keys calibrated`"
        raise NotThereError(f"'{asked.of}' has no calibrated search {feature_name(pair)}; {remedy}.")
    version = catalog.now.version(catalog.place(run))
    drawn = catalog.kept(("calibration", asked.of, version, pair), lambda: _drawn(catalog, asked.of, pair))
    constant = facts["constants"][pair.replace("-", " to ")]["value"]
    return Page(
        title="Seen against unseen species",
        template="calibration.html.j2",
        told={"of": asked.of, "run": run, "pair": pair, "pairs": pairs, "drawn": drawn, "constant": constant},
        scripts=SCRIPTS,
        trail=((run, Asked("run", run)),),
        synthetic=bool(facts["synthetic"]),
    )


def _drawn(catalog: Catalog, evaluation: str, pair: str) -> Chart:
    evaluated = catalog.evaluated(evaluation)
    query, key = pair.rsplit("-", 1)
    try:  # not by way of `evaluated.predictions`, which would stay in memory
        curves = traced(Predictions.read(evaluated.folder), evaluated.facts, (query, key), evaluation)
    except UNREADABLE as error:
        raise NotThereError(f"The answers of '{evaluation}' cannot be read: {error}") from error
    series = [each for one in curves for each in _series(one)]
    note = (
        f"{feature_name(pair)}, macro species accuracy, top 1; along a curve the constant that is taken off the "
        "similarity of keys of seen species grows from right to left. It was chosen on validation. Area: of the whole "
        "curve (AUSUC), for which none is chosen."
    )
    return scatter(
        "Seen against unseen species over all constants",
        Axis(title="Accuracy of seen species (%)", share=True),
        Axis(title="Accuracy of unseen species (%)", share=True),
        series,
        note,
    )


def _series(one: Traced) -> Iterator[Series]:
    size, name = len(one.curve.constants), partition_name(one.partition)
    places = range(0, size, -(-size // _MOST))
    area = f"area {100 * one.area:.1f} %, n={one.num_species:,} species"
    yield _points(one, f"{name} ({area})", places)
    marks = {"no constant": one.as_it_is, "the chosen constant": one.chosen}
    yield Series(
        name=f"{name}, chosen and without",
        x=[float(one.curve.seen[at]) for at in marks.values()],
        y=[float(one.curve.unseen[at]) for at in marks.values()],
        words=list(marks),
        drawn="points",
    )


def _points(one: Traced, name: str, places: Sequence[int]) -> Series:
    seen, unseen = (side.tolist() for side in (one.curve.seen, one.curve.unseen))
    return Series(name=name, x=[seen[at] for at in places], y=[unseen[at] for at in places])


def _listed(catalog: Catalog) -> Iterator[Asked]:
    for run in catalog.finished():
        for name in catalog.evaluations(run):
            try:
                constants = catalog.evaluated(name).facts.get("constants", {})
            except (*UNREADABLE, NotThereError):  # its own page says why
                continue
            if "image to dna" in constants:
                yield Asked("calibration", name)


KINDS = (Kind(name="calibration", make=_calibration, options=_OPTIONS, listed=_listed),)
