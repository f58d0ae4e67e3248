"""Carries out `clibd-sweep NAME`: data, session, sweep, table and report, in this order."""

from dataclasses import dataclass, replace
from typing import Literal, cast

from rich.console import Console

from orchestrator.demo import prepare_demo
from orchestrator.plan import Plan
from orchestrator.progress import SweepDisplay, stderr_console
from orchestrator.resources import Resources
from orchestrator.session import ray_session, resources_here
from orchestrator.sweep import SweepRequest, plan_of, ready, run_sweep
from results.report import write_report
from results.sweep_table import render_sweep_table
from sweeps import SWEEPS
from workloads.data.prepared import DatasetFacts, PreparedDataset
from workloads.errors import FailedRunsError
from workloads.experiments import Scale
from workloads.record import find_runs
from workloads.spec import Recipe
from workloads.storage import Folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The command line of a sweep."""

    sweep: str
    data: str | None
    """None: the built-in synthetic insects."""
    scale: str
    runs: str
    plan_only: bool
    num_seeds: int
    address: str | None
    workers: int | None
    recipe: str
    offline: bool
    cpu_only: bool
    wandb: str


def carry_out(asked: Asked) -> None:
    """Run a sweep, or print its plan."""
    console = stderr_console()
    resources = replace(resources_here(asked.workers, asked.address, asked.cpu_only), offline=asked.offline)
    demo = Folder(f"{asked.runs.rstrip('/')}/synthetic-insects")
    request = SweepRequest(
        name=asked.sweep,
        scale=cast(Scale, asked.scale),
        data=Folder(asked.data) if asked.data else demo,
        runs=Folder(asked.runs),
        recipe=cast(Recipe, asked.recipe),
        num_seeds=asked.num_seeds,
        wandb=asked.wandb,
    )
    if asked.plan_only:
        facts = _facts_for_plan(request, made=asked.data is not None)
        print(describe_plan(request, facts, plan_of(request, facts), resources))
        return
    if asked.data is not None:
        ready(request, PreparedDataset(request.data).facts, resources)  # what cannot be is said before Ray starts
    if asked.address and request.runs.is_local:
        console.print(
            f"Runs go to {request.runs} on each node's own disk; with several nodes use --runs gs://… or s3://…"
        )
    with ray_session(asked.address):
        if asked.data is None:
            prepare_demo(demo, console)
        try:
            run_sweep(request, resources, SweepDisplay(console))
        except FailedRunsError:
            if any(run.state() == "finished" for run in find_runs(request.runs, request.name)):
                _show(request, console)
            raise
    _show(request, console)


def _show(request: SweepRequest, console: Console) -> None:
    """The regenerated table on stdout, and where everything is."""
    print(render_sweep_table(request.runs, SWEEPS[request.name].table, "md"), flush=True)
    report = write_report(request.runs)
    console.print(f"Runs: {request.runs / request.name}\nReport: {report}")


def _facts_for_plan(request: SweepRequest, made: bool) -> DatasetFacts:
    """The data set's facts; those of the demo are known before it is prepared."""
    if made or request.data.has("dataset.json"):
        return PreparedDataset(request.data).facts
    from orchestrator.demo import demo_facts

    return demo_facts()


def describe_plan(request: SweepRequest, facts: DatasetFacts, todo: Plan, resources: Resources) -> str:
    """The plan as a person reads it: what would run, what is finished, what it needs."""
    sweep = SWEEPS[request.name]
    kind = "synthetic specimens" if facts.synthetic else "specimens"
    lines = [
        f"{sweep.name} (Table {sweep.table}): {sweep.question}",
        f"data      {facts.name}: {facts.num_training:,} training {kind}, {', '.join(facts.modalities)}",
        f"scale     {request.scale}, recipe {_recipe(todo)}",
        f"runs      {request.runs / request.name}",
        f"needs     {resources.describe} a run; {_weights(todo)}",
        "",
    ]
    state: list[tuple[Literal["finished", "to run"], str]] = [
        *(("finished", f"{point.label:<28}{point.spec.id}") for point in todo.finished),
        *(("to run", f"{point.label:<28}{point.spec.id}") for point in todo.to_run),
    ]
    lines += [f"{what:<10}{which}" for what, which in state]
    seen = sum(point.spec.epochs * facts.num_training for point in todo.to_run)
    lines += [
        "",
        f"{len(todo.to_run)} of {len(state)} runs to do, {seen:,} specimens to be seen. Nothing was started.",
    ]
    return "\n".join(lines)


def _recipe(todo: Plan) -> str:
    return ", ".join(sorted({point.spec.recipe for point in (*todo.finished, *todo.to_run)}))


def _weights(todo: Plan) -> str:
    """Published weights that the runs start from."""
    wanted = {
        weights if weights != "timm" else f"timm/{point.spec.image.architecture}"
        for point in todo.to_run
        for weights in (
            point.spec.image.weights if "image" in point.spec.modalities else None,
            point.spec.dna.weights if "dna" in point.spec.modalities else None,
            point.spec.text.weights if "text" in point.spec.modalities else None,
        )
        if weights
    }
    return f"weights {', '.join(sorted(wanted))}" if wanted else "no weights to fetch"
