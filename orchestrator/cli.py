"""`clibd`: from sources to a prepared data set, and evaluation of a trained run on any of them."""

from pathlib import Path
from typing import Annotated

import typer

from workloads.command_line import run_command

app = typer.Typer(
    help="CLIBD on Ray: align insect images, COI barcodes and taxonomic text.\n\n"
    "clibd data import SOURCE → clibd data partition → clibd data prepare → clibd-sweep NAME --data DIR",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="Import, partition and prepare specimens.", no_args_is_help=True)
app.add_typer(data, name="data")

Specimens = Annotated[Path, typer.Argument(help="Specimen table (.parquet), as `clibd data import` writes it.")]


@data.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="A table, a FASTA file, a folder with one, or `synthetic`.")],
    to: Annotated[Path, typer.Option(help="Specimen table to write (.parquet).")],
    specimens: Annotated[int, typer.Option(min=1, help="How many synthetic insects.")] = 3000,
    seed: Annotated[int, typer.Option(help="Of the synthetic insects.")] = 7,
) -> None:
    """Read specimens into one table; bad records go to a reject list beside it."""
    from orchestrator.data_commands import import_command

    import_command(source, to, specimens, seed)


@data.command("partition")
def partition(
    specimens: Specimens,
    to: Annotated[Path | None, typer.Option(help="Table to write. Default: the same file.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random draws.")] = 42,
) -> None:
    """Give every specimen its split, as the paper's Appendix A does."""
    from orchestrator.data_commands import partition_command

    partition_command(specimens, to or specimens, seed)


@data.command("prepare")
def prepare(
    specimens: Specimens,
    to: Annotated[str, typer.Option(help="Folder or address of the prepared data set.")],
    name: Annotated[str | None, typer.Option(help="Name in run ids and tables. Default: the folder's.")] = None,
    image_size: Annotated[int, typer.Option(min=16, help="Shorter side of stored images, pixels, at most.")] = 256,
    address: Annotated[str | None, typer.Option(help="Ray cluster to use: `auto` on its head node.")] = None,
) -> None:
    """Decode, shrink and tokenise specimens with Ray Data, into Parquet shards and a dataset.json."""
    from orchestrator.data_commands import prepare_command

    prepare_command(specimens, to, name, image_size, address)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="Folder of a finished run.")],
    data: Annotated[str, typer.Option(help="Prepared data set to measure it on.")],
    out: Annotated[str | None, typer.Option(help="Folder to write. Default: evaluation-NAME in the run.")] = None,
    form: Annotated[str, typer.Option("--format", help="md or json, on stdout.")] = "md",
) -> None:
    """Embed another data set with a trained run, and measure retrieval in every modality that both have."""
    from orchestrator.evaluate_command import evaluate_command

    evaluate_command(run, data, out, form)


def main() -> None:
    """Entry point of `clibd`."""
    run_command(app)
