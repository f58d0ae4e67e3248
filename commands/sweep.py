"""`clibd-sweep`, which is `clibd sweep` too: which sweep, on which data, and where."""

import difflib
import inspect
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from commands.options import AddressOption, CpuOption, GpuKindOption, WaitOption, WorkersOption, with_version
from commands.sweep_end import say_what_came_out
from commands.sweep_file import TAKEN, read_sweep, write_template
from commands.sweep_status import logs, status
from sweeps import SWEEPS
from sweeps.point import Sweep
from workloads.command_line import run_program
from workloads.errors import UsageError
from workloads.experiments import FROM_SCRATCH, Scale
from workloads.lease import Busy
from workloads.printed_text import say
from workloads.run_errors import FailedRunsError
from workloads.spec import Recipe
from workloads.training.wandb_log import WandbMode

if TYPE_CHECKING:
    from orchestrator.request import SweepRequest

_PAPER = "paper"


class Sweeps(TyperGroup):
    """All sweeps by their names, and others by their files, as commands with the same options."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Also in the help."""
        return [*super().list_commands(ctx), *SWEEPS]

    def get_command(self, ctx: typer.Context, name: str) -> TyperCommand | None:  # type: ignore[override]
        """A sweep's is that of `paper` by another name."""
        if name in super().list_commands(ctx):
            return super().get_command(ctx, name)  # type: ignore[return-value]
        command = copy(super().get_command(ctx, _PAPER))
        assert isinstance(command, TyperCommand)
        command.name, command.help = name, "Your own sweep."
        if not name.endswith(".py"):
            sweep = _sweep_named(name)
            command.help = f"{sweep.question} {_feeds(sweep)}"
        return command


def _sweep_named(name: str) -> Sweep:
    if name in SWEEPS:
        return SWEEPS[name]
    near = difflib.get_close_matches(name, TAKEN, n=2)
    known = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(SWEEPS)}; {_PAPER} is all of them."
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
    callback=with_version,
    rich_markup_mode="markdown",
)


@app.command("list")
def _list() -> None:
    """List the sweeps, the tables they regenerate, and the questions they answer."""
    width = max(map(len, SWEEPS))
    feeds = {name: _feeds(sweep).rstrip(".") or "-" for name, sweep in SWEEPS.items()}
    for name, sweep in SWEEPS.items():
        say(f"{name:<{width}}  {feeds[name]:<{max(map(len, feeds.values()))}}  {sweep.question}")


app.command("status")(status)
app.command("logs")(logs)


@app.command("new")
def _new(name: Annotated[str, typer.Argument(help="Of the sweep; its file is NAME.py.")]) -> None:
    """Write a sweep of your own, to be changed: NAME.py, which `clibd-sweep NAME.py` runs."""
    file = write_template(name)
    say(f"{file} is written. Change it, then: clibd-sweep {file} --demo --plan")


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What every sweep can be told: the options of its command, in the order of its help."""

    data: Annotated[str | None, typer.Option(help="Prepared data set: a folder, or an s3:// or gs:// address.")] = None
    demo: Annotated[
        bool, typer.Option("--demo", help="Small towers; on built-in synthetic insects unless --data is given.")
    ] = False
    insect: Annotated[
        str | None,
        typer.Option(help="Folder of INSECT's published files, for the rows that need it. With --demo: synthetic."),
    ] = None
    scale: Annotated[
        Scale | None, typer.Option(help="The published encoders, or small ones. Default: paper; small with --demo.")
    ] = None
    recipe: Annotated[
        Recipe | None,
        typer.Option(
            help="The paper's text, its authors' code, or the best we know (docs/fidelity.md). "
            "Default: paper, and corrected at the small scale."
        ),
    ] = None
    runs: Annotated[str, typer.Option(help="Where runs are kept: a folder, or an s3:// or gs:// address.")] = "runs"
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", help="A field of the spec for all points, such as epochs=5 or image.fine_tuning=lora."),
    ] = None
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Towers of the same size that draw all their weights.")
    ] = False
    only: Annotated[
        str | None,
        typer.Option("--filter", help="Only points with this in their label, or FIELD=VALUE, and what they need."),
    ] = None
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="What would run, what is finished, what cannot be and what it takes; start nothing."
        ),
    ] = False
    form: Annotated[Literal["md", "json"], typer.Option("--format", help="Of the plan.")] = "md"
    price: Annotated[float | None, typer.Option(min=0, help="Of a GPU hour, for the plan.")] = None
    rate: Annotated[
        float | None,
        typer.Option(min=1e-6, help="TFLOP/s that a GPU sustains, for the plan. Default: measured, or said."),
    ] = None
    seeds: Annotated[int, typer.Option(min=1, max=5, help="Runs of each point; the table shows their mean.")] = 1
    address: AddressOption = None
    workers: WorkersOption = None
    cpu: CpuOption = False
    gpu_kind: GpuKindOption = None
    wait: WaitOption = None
    most: Annotated[
        int | None, typer.Option("--max-concurrent", min=1, help="Runs side by side at most. Default: all that fit.")
    ] = None
    offline: Annotated[bool, typer.Option("--offline", help="Take published weights from this machine only.")] = False
    busy: Annotated[
        Busy | None,
        typer.Option(
            help="What to do about runs that another command makes now: refuse, wait for it to end, or follow: make "
            "the others, and what it leaves. Default: follow."
        ),
    ] = None
    wandb: Annotated[WandbMode, typer.Option(help="Log to Weights & Biases.")] = "off"
    search: Annotated[
        Literal["asha", "optuna"] | None,
        typer.Option(help="Instead of the sweep's points a free search, for the best on validation; test is not seen."),
    ] = None
    space: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=loguniform:LOW:HIGH, uniform:LOW:HIGH or choice:A,B,… of a search; repeat it."),
    ] = None
    trials: Annotated[int, typer.Option(min=1, help="Of a search.")] = 20
    full: Annotated[bool, typer.Option("--full", help="At the end print every table whole.")] = False

    def checked(self, name: str) -> "SweepOptions":
        """These of the sweep `name`.

        Raises:
            UsageError: one is missing, or two cannot go together.
        """
        if self.data is None and not self.demo:
            raise UsageError(
                f"`clibd-sweep {name}` needs data: `--data DIR` with a data set from `clibd data prepare`, "
                "or `--demo` for built-in synthetic insects."
            )
        if self.space and not self.search:
            raise UsageError("--space is for a search; add --search asha or --search optuna")
        if self.search and (self.plan or self.only or self.busy):
            raise UsageError("--search makes its own points: leave out --plan, --filter and --busy")
        if not self.plan and (self.form != "md" or self.price is not None or self.rate is not None):
            raise UsageError("--format, --price and --rate say what a plan shows; add --plan to see one")
        return self

    def request(self, sweeps: tuple[Sweep, ...]) -> "SweepRequest":
        """What they ask of sweeps."""
        from orchestrator import prepare
        from orchestrator.request import SweepRequest
        from workloads.data.prepared.dataset import PreparedDataset
        from workloads.storage import Folder

        runs, scale = Folder(self.runs), self.scale or ("small" if self.demo else "paper")
        of_insect = any(table.dataset == "insect" for sweep in sweeps for table in sweep.tables)
        return SweepRequest(
            sweeps=sweeps,
            scale=scale,
            data=PreparedDataset(Folder(self.data)) if self.data else prepare.synthetic_insects(runs),
            insect=prepare.insect(self.insect, runs) if of_insect and (self.demo or self.insect) else None,
            runs=runs,
            recipe=self.recipe or ("paper" if scale == "paper" else "corrected"),
            num_seeds=self.seeds,
            fields=(*(FROM_SCRATCH if self.from_scratch else ()), *(self.fields or ())),
            only=self.only,
            wandb=self.wandb,
        )


@app.command(_PAPER)
def run(ctx: typer.Context, **given: Any) -> None:
    """Run all of the paper's sweeps, points that several ask for once, and regenerate its tables."""
    from orchestrator.doctor import needs_of, watching_hosts
    from orchestrator.inventory import at_once, resources_at
    from orchestrator.prepare import OwnDataset
    from orchestrator.progress import SweepDisplay
    from orchestrator.request import points_of, ready
    from orchestrator.session import ray_session
    from orchestrator.sweep import run_sweep
    from orchestrator.workers import Wanted
    from workloads.command_line import stderr_console

    name = ctx.info_name or _PAPER
    sweeps, options = sweeps_of(name), SweepOptions(**given).checked(name)
    request, address, console = options.request(sweeps), options.address, stderr_console()
    wanted = Wanted.of(options.workers, options.cpu, options.gpu_kind, options.wait)
    resources, fleet = resources_at(address, wanted, offline=options.offline)
    look = partial(at_once, resources, address, options.most)
    if options.search:
        from orchestrator.free_search import run_search

        table = run_search(request, options.search, options.space or [], options.trials, resources, address, look)
        say(table)
        return
    points = points_of(request)
    if options.plan:
        from commands.sweep_plan import print_plan
        from orchestrator.fleet import runs_at_once

        print_plan(points, resources, runs_at_once(resources, fleet, options.most), options)
        return
    # What cannot be is said before Ray starts.
    resources = ready(points, resources, console, remote=address is not None)
    failed = None
    with ray_session(address), watching_hosts(address, needs_of(points, resources), console.print):
        for data in (request.data, request.insect):
            if isinstance(data, OwnDataset):
                data.prepare(console)
        try:
            run_sweep(points, resources, SweepDisplay(console), look, options.busy or "follow")
        except FailedRunsError as error:  # the others are of use
            failed = error
    say_what_came_out(request, options.full, options.demo)
    if failed is not None:
        raise failed


run.__signature__ = inspect.Signature(  # type: ignore[attr-defined] # what typer asks it for
    [inspect.signature(run).parameters["ctx"], *inspect.signature(SweepOptions).parameters.values()]
)


def sweeps_of(name: str) -> tuple[Sweep, ...]:
    """The sweep of a name or a file, or all of the paper's.

    Raises:
        UsageError: there is none.
    """
    if name == _PAPER:
        return tuple(SWEEPS.values())
    return (read_sweep(name),) if name.endswith(".py") else (_sweep_named(name),)


def main() -> None:
    """Entry point of `clibd-sweep`."""
    run_program(app)
