"""`clibd-sweep`: which sweep, on which data, and where."""

import difflib
from contextlib import suppress
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from commands.sweep_file import read_sweep, write_template
from sweeps import SWEEPS
from sweeps.point import Sweep
from workloads.command_line import run_command
from workloads.errors import FailedRunsError, MissingRunsError, UsageError
from workloads.experiments import Scale
from workloads.spec import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from orchestrator.demo import OwnData
    from orchestrator.request import SweepRequest
    from orchestrator.resources import Resources

PAPER = "paper"


class Sweeps(TyperGroup):
    """All sweeps by their names, and others by their files, as commands with the same options."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Also in the help."""
        return [*super().list_commands(ctx), *SWEEPS]

    def get_command(self, ctx: typer.Context, name: str) -> TyperCommand | None:  # type: ignore[override]
        """A sweep's is that of `paper` by another name."""
        if name in super().list_commands(ctx):
            return super().get_command(ctx, name)  # type: ignore[return-value]
        found = copy(super().get_command(ctx, PAPER))
        assert isinstance(found, TyperCommand)
        found.name, found.help = name, "Your own sweep."
        if not name.endswith(".py"):
            sweep = _sweep_named(name)
            found.help = f"{sweep.question} {_feeds(sweep)}"
        return found


def _sweep_named(name: str) -> Sweep:
    if name in SWEEPS:
        return SWEEPS[name]
    near = difflib.get_close_matches(name, [*SWEEPS, PAPER, "list", "new"], n=2)
    known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(SWEEPS)}; {PAPER} is all of them."
    raise UsageError(
        f"there is no sweep '{name}': {known} `clibd-sweep list` says what each is for; a file of your own is NAME.py"
    )


def _feeds(sweep: Sweep) -> str:
    tables = ", ".join(str(table.number) for table in sweep.tables if isinstance(table.number, int))
    return f"Table {tables}." if tables else ""


app = typer.Typer(
    cls=Sweeps,
    help="Run the paper's experiments as sweeps on Ray, and regenerate its tables: one by its name, all of them as "
    "`paper`, or your own from a FILE.py.\n\n"
    "Try `clibd-sweep batch-size --demo` first: it needs no data, no account and no GPU.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.command("list")
def list_sweeps() -> None:
    """List the sweeps, the tables they regenerate, and the questions they answer."""
    width = max(map(len, SWEEPS))
    feeds = {name: _feeds(sweep).rstrip(".") or "-" for name, sweep in SWEEPS.items()}
    for name, sweep in SWEEPS.items():
        typer.echo(f"{name:<{width}}  {feeds[name]:<{max(map(len, feeds.values()))}}  {sweep.question}")


@app.command("new")
def new(name: Annotated[str, typer.Argument(help="Of the sweep; its file is NAME.py.")]) -> None:
    """Write a sweep of your own, to be changed: NAME.py, which `clibd-sweep NAME.py` runs."""
    file = write_template(name)
    typer.echo(f"{file} is written. Change it, then: clibd-sweep {file} --demo --plan")


@app.command(PAPER)
def run(
    ctx: typer.Context,
    data: Annotated[str | None, typer.Option(help="Prepared data set: a folder, or an s3:// or gs:// address.")] = None,
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Small towers; on built-in synthetic insects unless --data is given."),
    ] = False,
    insect: Annotated[
        str | None,
        typer.Option(help="Folder of INSECT's published files, for the rows that need it. With --demo: synthetic."),
    ] = None,
    scale: Annotated[
        Scale | None,
        typer.Option(help="The published encoders, or small ones. Default: paper; small with --demo."),
    ] = None,
    recipe: Annotated[
        Recipe | None,
        typer.Option(
            help="The paper's text, its authors' code, or the best we know (docs/fidelity.md). "
            "Default: paper, and corrected at the small scale."
        ),
    ] = None,
    runs: Annotated[str, typer.Option(help="Where runs are kept: a folder, or an s3:// or gs:// address.")] = "runs",
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", help="A field of the spec for all points, such as epochs=5 or image.fine_tuning=lora."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--filter", help="Only points with this in their label, or FIELD=VALUE, and what they need."),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="What would run, what is finished, what cannot be and what it takes; start nothing."
        ),
    ] = False,
    form: Annotated[Literal["md", "json"], typer.Option("--format", help="Of the plan.")] = "md",
    price: Annotated[float | None, typer.Option(min=0, help="Of a GPU hour, for the plan.")] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=1e-6, help="TFLOP/s that a GPU sustains, for the plan. Default: measured, or said."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=5, help="Runs of each point; the table shows their mean.")] = 1,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to use: `auto` on its head node. Default: this machine."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Workers of one run. Default: GPUs, or two CPUs.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Take published weights from this machine only.")] = False,
    cpu: Annotated[bool, typer.Option("--cpu", help="Train on CPUs, also where there are GPUs.")] = False,
    wandb: Annotated[Literal["off", "offline", "online"], typer.Option(help="Log to Weights & Biases.")] = "off",
    search: Annotated[
        Literal["asha", "optuna"] | None,
        typer.Option(help="Instead of the sweep's points a free search, for the best on validation; test is not seen."),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=loguniform:LOW:HIGH, uniform:LOW:HIGH or choice:A,B,… of a search; repeat it."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Of a search.")] = 20,
    full: Annotated[bool, typer.Option("--full", help="At the end print every table whole.")] = False,
) -> None:
    """Run all of the paper's sweeps, points that several ask for once, and regenerate its tables."""
    from commands.sweep_plan import print_plan
    from orchestrator.demo import insect as insect_data
    from orchestrator.demo import synthetic_insects
    from orchestrator.progress import stderr_console
    from orchestrator.request import SweepRequest
    from orchestrator.session import resources_here
    from workloads.storage import Folder

    name = ctx.info_name or PAPER
    sweeps = _sweeps_of(name)
    if data is None and not demo:
        raise UsageError(
            f"`clibd-sweep {name}` needs data: `--data DIR` with a data set from `clibd data prepare`, "
            "or `--demo` for built-in synthetic insects."
        )
    if space and not search:
        raise UsageError("--space is for a search; add --search asha or --search optuna")
    if search and (plan or only):
        raise UsageError("--search makes its own points: leave out --plan and --filter")
    if not plan and (form != "md" or price is not None or rate is not None):
        raise UsageError("--format, --price and --rate say what a plan shows; add --plan to see one")
    size = scale or ("small" if demo else "paper")
    of_insect = any(table.dataset == "insect" for sweep in sweeps for table in sweep.tables)
    own = {} if data else {"data": synthetic_insects(Folder(runs))}
    if of_insect and (demo or insect):
        own["insect"] = insect_data(insect, Folder(runs))
    request = SweepRequest(
        sweeps=sweeps,
        scale=size,
        data=Folder(data) if data else own["data"].folder,
        insect=own["insect"].folder if "insect" in own else None,
        runs=Folder(runs),
        recipe=recipe or ("paper" if size == "paper" else "corrected"),
        num_seeds=seeds,
        fields=tuple(fields or ()),
        only=only,
        wandb=wandb,
    )
    resources = replace(resources_here(workers, address, cpu), offline=offline)
    if search:
        from orchestrator.search import run_search

        print(run_search(request, own, search, space or [], trials, resources, address), flush=True)
    elif plan:
        words = ["--data", data, "--scale", size, "--recipe", request.recipe] if data else ["--demo"]
        words += [*(["--insect", insect] if insect else []), "--runs", runs]
        print_plan(request, own, resources, rate, price, form, words)
    else:
        _run(request, own, resources, address, full, stderr_console())


def _sweeps_of(name: str) -> tuple[Sweep, ...]:
    if name == PAPER:
        return tuple(SWEEPS.values())
    return (read_sweep(name),) if name.endswith(".py") else (_sweep_named(name),)


def _run(
    request: "SweepRequest",
    own: "Mapping[str, OwnData]",
    resources: "Resources",
    address: str | None,
    full: bool,
    console: "Console",
) -> None:
    """Data, session, points, tables and report, in this order."""
    from commands.data_stats import statistics_of
    from orchestrator.progress import SweepDisplay
    from orchestrator.request import asked_on, ready
    from orchestrator.session import ray_session
    from orchestrator.sweep import run_sweep
    from results.closing import closing_words
    from results.report import write_report

    if not own:  # what cannot be is said before Ray starts
        resources = ready(request, asked_on(request), resources, console, remote=address is not None)
    if address and request.runs.is_local:
        console.print(
            f"Runs go to {request.runs} on each node's own disk; with several nodes use --runs gs://… or s3://…"
        )
    with ray_session(address):
        for prepared in own.values():
            prepared.prepare(console)
        asked = asked_on(request)
        if own:
            resources = ready(request, asked, resources, console, remote=address is not None)
        failed = None
        try:
            run_sweep(request, asked, resources, SweepDisplay(console))
        except FailedRunsError as error:  # the others are of use
            failed = error
        if len(request.sweeps) > 1:
            statistics_of(str(request.data), f"{request.runs}/statistics", console)
        print(closing_words(request.sweeps, request.runs, full), flush=True)
        console.print(f"Runs: {request.runs}")
        with suppress(MissingRunsError):  # a sweep that only its user knows has no report
            console.print(f"Report: {write_report(request.runs)}")
        if failed is not None:
            raise failed


def main() -> None:
    """Entry point of `clibd-sweep`."""
    run_command(app)
