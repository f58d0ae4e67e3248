"""A free search over fields of the spec by Tune's own schedulers and searchers, for the best score on validation.

Trials are compared by validation's harmonic mean of image to DNA, species (`workloads.evaluation.selection`). The
queries of test are taken out of the data set before a trial sees it. Each trial is a run in RUNS/search-NAME.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from rich.console import Console

from orchestrator.prepare import OwnDataset
from orchestrator.progress import tune_callback
from orchestrator.request import SweepRequest
from orchestrator.session import Resources, ray_session, runs_at_once
from orchestrator.sweep import run_trials
from orchestrator.train import resources_of, trainer_of
from results.render import render_sheets
from results.sheet import Cell, Sheet
from workloads.command_line import stderr_console
from workloads.errors import UsageError
from workloads.evaluation.floors import stored_floors
from workloads.fields import with_fields
from workloads.record import RunFolder, command_line, find_runs, provenance
from workloads.spec import ExperimentSpec, spec_from_dict, spec_to_dict
from workloads.storage import Folder

Method = Literal["asha", "optuna"]
"""Draws at random and stops early what is behind; or learns where to draw (a tree of Parzen estimators)."""
_SEED = 42
_FORMS = "loguniform:LOW:HIGH, uniform:LOW:HIGH or choice:A,B,…"


@dataclass(frozen=True, slots=True)
class Range:
    """What a field may be."""

    field: str
    kind: Literal["loguniform", "uniform", "choice"]
    values: tuple[str, ...]
    """Both ends, or every choice, as text."""


def parse_space(texts: Sequence[str], base: ExperimentSpec) -> list[Range]:
    """The ranges that a command line gives, `FIELD=loguniform:1e-5:1e-2`, each end tried on the spec.

    Raises:
        UsageError: a range that is none, or a field or value that the spec does not have.
    """
    if not texts:
        raise UsageError(f"a search needs --space FIELD={_FORMS}, once for each field")
    space = [_range(text) for text in texts]
    for one in space:
        for value in one.values:
            spec_of(base, {one.field: value})
    return space


def _range(text: str) -> Range:
    field, _, form = text.partition("=")
    kind, _, rest = form.partition(":")
    if kind == "choice" and rest:
        return Range(field, "choice", tuple(rest.split(",")))
    try:
        low, high = (float(end) for end in rest.split(":"))
    except ValueError:
        low = high = 0.0
    if (kind == "loguniform" and 0 < low < high) or (kind == "uniform" and low < high):
        return Range(field, kind, tuple(rest.split(":")))  # type: ignore[arg-type] # one of the two
    raise UsageError(
        f"--space {text}: write FIELD={_FORMS}, with LOW below HIGH, such as max_learning_rate=loguniform:1e-5:1e-2"
    )


def spec_of(base: ExperimentSpec, values: Mapping[str, Any]) -> ExperimentSpec:
    """The spec of a trial; the rate that a cycle starts at keeps its share of the highest."""
    values = {"selection": "image_to_dna", **values}
    if "max_learning_rate" in values and "initial_learning_rate" not in values:
        share = base.initial_learning_rate / base.max_learning_rate
        values["initial_learning_rate"] = share * float(values["max_learning_rate"])
    return with_fields(base, [f"{name}={value}" for name, value in values.items()])


def run_search(
    request: SweepRequest, method: Method, texts: Sequence[str], trials: int, resources: Resources, address: str | None
) -> str:
    """Search, with its own Ray session; what is asked is looked at before. Gives the table of trials as Markdown.

    Raises:
        UsageError: as `parse_space`.
    """
    base, console = request.base().spec, stderr_console()  # the alignment of everything, with the fields that were set
    space, folder = parse_space(texts, base), request.runs / f"search-{request.name}"
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # a trial that fails before its first epoch has no score
    job = {
        "base": spec_to_dict(base),
        "folder": str(folder),
        "data": str(request.data.folder),
        "scale": request.scale,
        "resources": asdict(resources),
        "gpus": 0,
        "argv": command_line(),
    }
    with ray_session(address):
        from ray import cluster_resources

        if isinstance(request.data, OwnDataset):
            request.data.prepare(console)
        stored_floors(request.data)  # of the whole data set, which no trial sees
        at_once = runs_at_once(resources, cluster_resources())
        console.print(f"{trials} trials in {folder}, {at_once} at a time")
        run_trials(
            _trial,
            {"job": job, "set": {one.field: _domain(one) for one in space}},
            folder,
            at_once,
            [tune_callback(on_trial_result=partial(_say_score, console))],
            num_samples=trials,
            **_algorithm(method, base.epochs),
        )
    return _search_table(request)


def _domain(one: Range) -> Any:
    from ray import tune

    if one.kind == "choice":
        return tune.choice(list(one.values))
    return getattr(tune, one.kind)(*map(float, one.values))


def _algorithm(method: Method, epochs: int) -> dict[str, Any]:
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.basic_variant import BasicVariantGenerator
    from ray.tune.search.optuna import OptunaSearch

    if method == "optuna":
        return {"search_alg": OptunaSearch(metric="score", mode="max", seed=_SEED)}
    # One epoch more than there is, or it would also stop runs that have trained to their end, before they are measured.
    most = epochs + 1
    asha = ASHAScheduler(metric="score", mode="max", max_t=most, grace_period=max(1, epochs // 8), reduction_factor=3)
    return {"search_alg": BasicVariantGenerator(random_state=_SEED), "scheduler": asha}


def _trial(config: Mapping[str, Any]) -> None:
    """Body of a trial: one run, which reports its score after every epoch."""
    from ray import tune
    from ray.tune.integration.ray_train import TuneReportCallback

    job, values = config["job"], dict(config["set"])
    spec = spec_of(spec_from_dict(job["base"]), values)
    run = RunFolder(Folder(f"{job['folder']}/{spec.id}"))
    if run.state() == "finished":
        for event in _epochs(run):
            tune.report(event)
        return
    label = ", ".join(f"{name} {value}" for name, value in values.items())
    point = {"sweep": job["folder"].rsplit("/", 1)[-1], "row": values, "label": label, "scale": job["scale"]}
    run.begin(spec, point, provenance(job["argv"]))
    callbacks, resources = [TuneReportCallback()], resources_of(job["resources"])
    with trainer_of(run, spec, job["data"], resources, {}, callbacks, without=("test",)) as trainer:
        trainer.fit()


def _epochs(run: RunFolder) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["event"] == "epoch" and event.get("score") is not None]


def _say_score(console: Console, trials: Sequence[Any], trial: Any, result: Mapping[str, Any], **info: Any) -> None:
    """Tells of an epoch's score."""
    if result.get("score") is not None:
        told = ", ".join(f"{name} {value}" for name, value in trial.config["set"].items())
        place = [other.trial_id for other in trials].index(trial.trial_id) + 1
        console.print(f"trial {place} ({told}): epoch {result['epoch'] + 1}, validation {result['score']:.3f}")


def _search_table(request: SweepRequest) -> str:
    """The trials of a search by their score, with what they set."""
    name, facts = f"search-{request.name}", request.data.facts
    trials = [(run, run.point(), [event["score"] for event in _epochs(run)]) for run in find_runs(request.runs, name)]
    cells = [
        Cell(
            table=name,
            row=point["row"],
            label=run.id,
            column=column,
            unit=unit,  # type: ignore[arg-type] # a literal
            ours=value,
            reason=None if scores else run.status().get("reason") if run.state() == "failed" else "it never began",
            runs=(run.id,),
            partition="val",
            dataset=facts.name,
            synthetic=facts.synthetic,
            scale=request.scale,
            recipe=request.recipe,
        )
        for run, point, scores in sorted(trials, key=lambda trial: -max(trial[2], default=-1.0))
        for column, unit, value in (
            ("H.M., image to DNA, species", "share", max(scores, default=None)),
            ("Epochs", "count", len(scores) or None),
        )
    ]
    about = (f"{facts.name}{' (SYNTHETIC specimens)' if facts.synthetic else ''}, validation; test was not looked at",)
    return render_sheets([Sheet(title=f"Search {request.name}", cells=tuple(cells), about=about)], "md")
