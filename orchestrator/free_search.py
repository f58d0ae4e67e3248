"""A free search over fields of the spec by Tune's own schedulers and searchers, for the best score on validation.

Trials are compared by validation's harmonic mean of image to DNA, species (`workloads.evaluation.selection`). The
queries of test are taken out of the data set before a trial sees it. Each trial is a run in RUNS/search-NAME.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from rich.console import Console

from orchestrator.doctor import needs_of_runs, watching_hosts
from orchestrator.fleet import Resources, check_placeable
from orchestrator.others import Others
from orchestrator.prepare import OwnDataset
from orchestrator.readiness import Task
from orchestrator.request import SweepRequest
from orchestrator.session import has_ended, ray_session
from orchestrator.sweep import go_on_words, progress_of
from orchestrator.train import resources_of, train_as_trial
from orchestrator.trials import PATIENCE, SEED, Losses, Turns, run_trials, tune_callback
from results.render import render_sheets
from results.sheet import Cell, Sheet
from sweeps.point import Point
from workloads.command_line import stderr_console
from workloads.errors import UsageError
from workloads.evaluation.floors import stored_floors
from workloads.fields import with_fields
from workloads.lease import held
from workloads.record import RunFolder, command_line, find_runs, provenance
from workloads.run_errors import StoppedSweepError
from workloads.spec import ExperimentSpec, spec_from_dict, spec_to_dict
from workloads.stopping import stop_by_signals
from workloads.storage import Folder

Method = Literal["asha", "optuna"]
"""Draws at random and stops early what is behind; or learns where to draw (a tree of Parzen estimators)."""
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
    request: SweepRequest,
    method: Method,
    texts: Sequence[str],
    trials: int,
    resources: Resources,
    address: str | None,
    look: Callable[[], int],
) -> str:
    """Search, with its own Ray session; what is asked is looked at before. Gives the table of trials as Markdown.

    Raises:
        UsageError: as `parse_space`.
    """
    base, console = request.base().spec, stderr_console()  # the alignment of everything, with the fields that were set
    check_placeable(resources)
    space, folder = parse_space(texts, base), request.runs / f"search-{request.name}"
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # a trial that fails before its first epoch has no score
    job = {
        "base": spec_to_dict(base),
        "folder": str(folder),
        "data": str(request.data.folder),
        "scale": request.scale,
        "resources": asdict(resources),
        "owner": Others("refuse").owner,
        "argv": command_line(),
        "wandb": request.wandb,
    }
    needs = needs_of_runs(request, [Point(row=None, label="", spec=base)])
    with ray_session(address), watching_hosts(address, needs, console.print):
        if isinstance(request.data, OwnDataset):
            request.data.prepare(console)
        stored_floors(request.data)  # of the whole data set, which no trial sees
        console.print(f"{trials} trials in {folder}, {look()} at a time")
        with stop_by_signals(has_ended, PATIENCE) as stop:
            try:
                run_trials(
                    _trial,
                    {"job": job, "set": {one.field: _domain(one) for one in space}},
                    Turns(look, stop),
                    Losses(progress_of),
                    [tune_callback(on_trial_result=partial(_say_score, console))],
                    num_samples=trials,
                    **_algorithm(method, base.epochs),
                )
            except KeyboardInterrupt:
                runs = {run.point()["label"]: run for run in find_runs(request.runs, f"search-{request.name}")}
                raise StoppedSweepError(stop() or "interrupted", go_on_words(runs)) from None
    return _search_table(request)


def _domain(one: Range) -> Any:
    from ray import tune

    if one.kind == "choice":
        return tune.choice(list(one.values))
    return getattr(tune, one.kind)(*map(float, one.values))


def _algorithm(method: Method, epochs: int) -> dict[str, Any]:
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    if method == "optuna":
        return {"searcher": OptunaSearch(metric="score", mode="max", seed=SEED)}
    # One epoch more than there is, or it would also stop runs that have trained to their end, before they are measured.
    most = epochs + 1
    asha = ASHAScheduler(metric="score", mode="max", max_t=most, grace_period=max(1, epochs // 8), reduction_factor=3)
    return {"scheduler": asha}


def _trial(config: Mapping[str, Any]) -> None:
    """Body of a trial: one run, which reports its score after every epoch."""
    from ray import tune

    job, values = config["job"], dict(config["set"])
    spec = spec_of(spec_from_dict(job["base"]), values)
    run = RunFolder(Folder(f"{job['folder']}/{spec.id}"))
    with held(run.folder, "wait", job["owner"], lambda _: None) as lease:  # another search may have drawn the same
        if run.state() != "finished":
            _train(job, values, spec, run, lease.tell)
            return
    for event in _epochs(run):
        tune.report(event)


def _train(
    job: Mapping[str, Any], values: Mapping[str, Any], spec: ExperimentSpec, run: RunFolder, tell: Callable[..., None]
) -> None:
    from ray import tune

    label = ", ".join(f"{name} {value}" for name, value in values.items())
    point = {"sweep": job["folder"].rsplit("/", 1)[-1], "row": values, "label": label, "scale": job["scale"]}
    run.begin(spec, point, provenance(job["argv"]))
    resources = resources_of(job["resources"]).for_batch(spec.batch_size)
    task = Task(spec=spec, run=str(run.folder), data=job["data"], resources=resources, places={}, without=("test",))
    train_as_trial(task, tune.report, tell, job["wandb"])


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
