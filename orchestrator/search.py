"""A free search over fields of the spec by Tune's own schedulers and searchers, for the best score on validation.

Trials are compared by validation's harmonic mean of image to DNA, species (`workloads.evaluation.selection`). The
queries of test are taken out of the data set before a trial sees it. Each trial is a run in RUNS/search-NAME.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console

from orchestrator.demo import OwnData
from orchestrator.progress import stderr_console
from orchestrator.request import SweepRequest
from orchestrator.resources import Resources
from orchestrator.session import ray_session, runs_at_once
from orchestrator.train import run_training
from orchestrator.trial import command_line, resources_of
from results.render import render_sheets
from results.sheet import Cell, Sheet
from workloads.data.prepared.dataset import DatasetFacts, PreparedDataset
from workloads.errors import UsageError
from workloads.evaluation.floors import stored_floors
from workloads.experiments import base_spec
from workloads.fields import with_fields
from workloads.record import RunFolder, find_runs, provenance
from workloads.spec import ExperimentSpec, spec_from_dict, spec_to_dict
from workloads.storage import Folder

Method = Literal["asha", "optuna"]
"""Draws at random and stops early what is behind; or learns where to draw (a tree of Parzen estimators)."""
SEED = 42
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
    found = [_range(text) for text in texts]
    if not found:
        raise UsageError(f"a search needs --space FIELD={_FORMS}, once for each field")
    for one in found:
        for value in one.values:
            spec_of(base, {one.field: value})
    return found


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


def base_of(request: SweepRequest, facts: DatasetFacts) -> ExperimentSpec:
    """What a search varies: the alignment of everything, with the fields that were set."""
    return with_fields(base_spec(request.scale, facts.data, request.recipe), request.fields)


def run_search(
    request: SweepRequest,
    own: Mapping[str, OwnData],
    method: Method,
    texts: Sequence[str],
    trials: int,
    resources: Resources,
    address: str | None,
) -> str:
    """Search, with its own Ray session; what is asked is looked at before. Gives the table of trials as Markdown.

    Raises:
        UsageError: as `parse_space`.
    """
    facts = own["data"].facts() if "data" in own else PreparedDataset(request.data).facts
    space, console = parse_space(texts, base_of(request, facts)), stderr_console()
    with ray_session(address):
        if "data" in own:
            own["data"].prepare(console)
        _search(request, method, space, trials, resources, console)
    return search_table(request, PreparedDataset(request.data).facts)


def _search(
    request: SweepRequest, method: Method, space: Sequence[Range], trials: int, resources: Resources, console: Console
) -> None:
    from ray import tune

    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # a trial that fails before its first epoch has no score
    dataset = PreparedDataset(request.data)
    stored_floors(dataset)  # of the whole data set, which no trial sees
    base, at_once = base_of(request, dataset.facts), runs_at_once(resources)
    folder = request.runs / f"search-{request.name}"
    job = {
        "base": spec_to_dict(base),
        "folder": str(folder),
        "data": str(request.data),
        "scale": request.scale,
        "resources": asdict(resources),
        "argv": command_line(),
    }
    console.print(f"{trials} trials in {folder}, {at_once} at a time")
    with tempfile.TemporaryDirectory(prefix="clibd-tune-") as scratch:
        tune.Tuner(
            tune.with_resources(_trial, {"cpu": 0.01}),
            param_space={"job": job, "set": {one.field: _domain(one) for one in space}},
            tune_config=tune.TuneConfig(
                num_samples=trials,
                max_concurrent_trials=at_once,
                trial_dirname_creator=lambda trial: f"trial_{trial.trial_id}",
                **_algorithm(method, base.epochs),
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=scratch if request.runs.is_local else str(folder / "tune"),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),
                callbacks=[_feed(console)],
            ),
        ).fit()


def _domain(one: Range) -> Any:
    from ray import tune

    if one.kind == "choice":
        return tune.choice(list(one.values))
    low, high = map(float, one.values)
    return tune.loguniform(low, high) if one.kind == "loguniform" else tune.uniform(low, high)


def _algorithm(method: Method, epochs: int) -> dict[str, Any]:
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.basic_variant import BasicVariantGenerator
    from ray.tune.search.optuna import OptunaSearch

    if method == "optuna":
        return {"search_alg": OptunaSearch(metric="score", mode="max", seed=SEED)}
    # One epoch more than there is, or it would also stop runs that have trained to their end, before they are measured.
    most = epochs + 1
    asha = ASHAScheduler(metric="score", mode="max", max_t=most, grace_period=max(1, epochs // 8), reduction_factor=3)
    return {"search_alg": BasicVariantGenerator(random_state=SEED), "scheduler": asha}


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
    run_training(spec, run, job["data"], resources_of(job["resources"]), [TuneReportCallback()], without=("test",))
    if run.state() == "finished":
        run.folder.remove_folder("checkpoints")


def _epochs(run: RunFolder) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["event"] == "epoch" and event.get("score") is not None]


def _feed(console: Console) -> Any:
    """Tells of every epoch's score."""
    from ray import tune

    class Feed(tune.Callback):  # type: ignore[misc] # Ray ships no types here
        def __init__(self, console: Console) -> None:
            self.console = console

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Tune pickles its callbacks; a console belongs to this process

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            told = ", ".join(f"{name} {value}" for name, value in trial.config["set"].items())
            if result.get("score") is not None:
                place = [other.trial_id for other in trials].index(trial.trial_id) + 1
                self.console.print(
                    f"trial {place} ({told}): epoch {result['epoch'] + 1}, validation {result['score']:.3f}"
                )

    return Feed(console)


def search_table(request: SweepRequest, facts: DatasetFacts) -> str:
    """The trials of a search by their score, with what they set."""
    found = [(run, run.point(), _epochs(run)) for run in find_runs(request.runs, f"search-{request.name}")]
    ranked = sorted(found, key=lambda entry: -max((event["score"] for event in entry[2]), default=-1.0))
    cells = [
        Cell(
            table=f"search-{request.name}",
            row=point["row"],
            label=run.id,
            column=column,
            unit=unit,  # type: ignore[arg-type] # a literal
            ours=value,
            reason=None if epochs else run.status().get("reason") if run.state() == "failed" else "it never began",
            runs=(run.id,),
            partition="val",
            dataset=facts.name,
            synthetic=facts.synthetic,
            scale=request.scale,
            recipe=request.recipe,
        )
        for run, point, epochs in ranked
        for column, unit, value in (
            ("H.M., image to DNA, species", "share", max((event["score"] for event in epochs), default=None)),
            ("Epochs", "count", len(epochs) or None),
        )
    ]
    about = (f"{facts.name}{' (SYNTHETIC specimens)' if facts.synthetic else ''}, validation; test was not looked at",)
    return render_sheets([Sheet(title=f"Search {request.name}", cells=tuple(cells), about=about)], "md")
