"""`clibd`: from sources to a prepared data set, experiments and sweeps, and evaluation of a trained run on any data."""

import typer

from commands import dashboard, data, db, results, sweep, weights
from commands.attention import attention
from commands.bzsl import bzsl
from commands.convert import convert
from commands.costs import costs
from commands.doctor import doctor
from commands.embed import embed
from commands.evaluate import evaluate
from commands.identify import identify
from commands.open_set import open_set
from commands.options import with_version
from commands.serve import serve
from commands.verify import verify
from orchestrator.train import trainer_on_ray
from workloads.command_line import run_program
from workloads.training.command import train

app = typer.Typer(
    help="CLIBD on Ray: align insect images, COI barcodes and taxonomic text.\n\n"
    "clibd data import SOURCE → clibd data partition → clibd data prepare → clibd train, or clibd-sweep, --data DIR",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    callback=with_version,
)
app.add_typer(data.app, name="data")
app.command(context_settings={"obj": trainer_on_ray})(train)
app.command()(evaluate)
app.command()(identify)
app.command()(embed)
app.command()(serve)
app.command()(attention)
app.command()(bzsl)
app.command()(costs)
app.command("open-set")(open_set)
app.command()(convert)
app.command()(doctor)
app.command()(verify)
app.add_typer(db.app, name="db")
app.add_typer(weights.app, name="weights")
app.add_typer(sweep.app, name="sweep")
app.add_typer(results.app, name="results")
app.add_typer(dashboard.app, name="dashboard")


def main() -> None:
    """Entry point of `clibd`."""
    run_program(app)
