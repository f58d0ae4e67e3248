"""`clibd-sweep`: which sweep, on which data, and where. It chooses; it does not configure."""

from enum import StrEnum
from typing import Annotated

import typer

from sweeps import SWEEPS
from sweeps.point import Sweep
from workloads.command_line import run_command
from workloads.errors import UsageError

app = typer.Typer(
    help="Run one of the paper's experiments as a sweep on Ray, and regenerate its table.\n\n"
    "Try `clibd-sweep batch-size --demo` first: it needs no data, no account and no GPU.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


class Wandb(StrEnum):
    """Where Weights & Biases logs to."""

    OFF = "off"
    OFFLINE = "offline"
    ONLINE = "online"


class Scales(StrEnum):
    """How large a sweep is."""

    PAPER = "paper"
    SMALL = "small"


class Recipes(StrEnum):
    """Readings of the paper."""

    PAPER = "paper"
    AUTHORS = "authors"
    CORRECTED = "corrected"


@app.command("list")
def list_sweeps() -> None:
    """List the sweeps and the tables they regenerate."""
    width = max(map(len, SWEEPS))
    for sweep in SWEEPS.values():
        typer.echo(f"{sweep.name:<{width}}  Table {sweep.table}  {sweep.question}")


def _command(sweep: Sweep) -> None:
    @app.command(sweep.name, help=f"{sweep.question} Regenerates Table {sweep.table}.")
    def run(
        data: Annotated[
            str | None, typer.Option(help="Prepared data set: a folder, or an s3:// or gs:// address.")
        ] = None,
        demo: Annotated[
            bool,
            typer.Option("--demo", help="Small towers; on built-in synthetic insects unless --data is given."),
        ] = False,
        scale: Annotated[
            Scales | None,
            typer.Option(help="The published encoders, or small ones. Default: paper; small with --demo."),
        ] = None,
        recipe: Annotated[
            Recipes | None,
            typer.Option(
                help="The paper's text, its authors' code, or the best we know (docs/fidelity.md). "
                "Default: paper, and corrected at the small scale."
            ),
        ] = None,
        runs: Annotated[
            str, typer.Option(help="Where runs are kept: a folder, or an s3:// or gs:// address.")
        ] = "runs",
        plan: Annotated[
            bool,
            typer.Option("--plan", help="Print what would run, what is finished and what it needs; start nothing."),
        ] = False,
        seeds: Annotated[int, typer.Option(min=1, max=5, help="Runs of each point; the table shows their mean.")] = 1,
        address: Annotated[
            str | None,
            typer.Option(help="Ray cluster to use: `auto` on its head node. Default: this machine."),
        ] = None,
        workers: Annotated[
            int | None, typer.Option(min=1, help="Workers of one run. Default: GPUs, or two CPUs.")
        ] = None,
        offline: Annotated[
            bool, typer.Option("--offline", help="Take published weights from this machine only.")
        ] = False,
        cpu: Annotated[bool, typer.Option("--cpu", help="Train on CPUs, also where there are GPUs.")] = False,
        wandb: Annotated[Wandb, typer.Option(help="Log to Weights & Biases.")] = Wandb.OFF,
    ) -> None:
        from orchestrator.sweep_command import Asked, carry_out

        if data is None and not demo:
            raise UsageError(
                f"`clibd-sweep {sweep.name}` needs data: `--data DIR` with a data set from `clibd data prepare`, "
                "or `--demo` for built-in synthetic insects."
            )
        size = scale or (Scales.SMALL if demo else Scales.PAPER)
        carry_out(
            Asked(
                sweep=sweep.name,
                data=data,
                scale=size.value,
                recipe=(recipe or (Recipes.PAPER if size is Scales.PAPER else Recipes.CORRECTED)).value,
                runs=runs,
                plan_only=plan,
                num_seeds=seeds,
                address=address,
                workers=workers,
                offline=offline,
                cpu_only=cpu,
                wandb=wandb.value,
            )
        )


for _sweep in SWEEPS.values():
    _command(_sweep)


def main() -> None:
    """Entry point of `clibd-sweep`."""
    run_command(app)
