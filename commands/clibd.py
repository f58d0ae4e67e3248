"""`clibd`: from sources to a prepared data set, and evaluation of a trained run on any of them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from commands.attention import attention
from commands.bzsl import bzsl
from commands.convert import convert
from commands.costs import costs
from commands.data_stats import data_stats
from commands.download import download
from commands.evaluate import evaluate
from commands.open_set import open_set
from commands.train import train
from workloads.command_line import run_command

app = typer.Typer(
    help="CLIBD on Ray: align insect images, COI barcodes and taxonomic text.\n\n"
    "clibd data import SOURCE → clibd data partition → clibd data prepare → clibd train, or clibd-sweep, --data DIR",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="Import, partition and prepare specimens.", no_args_is_help=True)
app.add_typer(data, name="data")

data.command()(download)

Kind = Literal["auto", "table", "bioscan-1m", "bioscan-5m", "authors", "insect", "synthetic"]
Specimens = Annotated[str, typer.Argument(help="Specimen table (.parquet), as `clibd data import` writes it.")]


@data.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="A table, a FASTA file, a folder, an HDF5 file, or `synthetic`.")],
    to: Annotated[str, typer.Option(help="Specimen table to write (.parquet): a path or an address.")],
    kind: Annotated[Kind, typer.Option(help="How to read it; authors is their HDF5 file. auto looks.")] = "auto",
    columns: Annotated[
        list[str] | None, typer.Option("--map", help="field=column, such as barcode=COI; repeat it for each field.")
    ] = None,
    taxonomy: Annotated[Path | None, typer.Option(help="INSECT: table of order, family, genus and species.")] = None,
    one_fifth: Annotated[bool, typer.Option(help="BIOSCAN-5M: the authors' fifth of the training records.")] = False,
    specimens: Annotated[int | None, typer.Option(min=1, help="How many synthetic insects. Default: 3000.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the synthetic insects. Default: 7.")] = None,
) -> None:
    """Read specimens into one table; bad records go to a reject list beside it.

    Columns are known by the names that BOLD, Darwin Core, BCDM and BIOSCAN use, or given by --map. Images stay where
    they are: in folders, zip packages or HDF5 files, which `clibd data prepare` reads in place.

    SOURCE, with its images, is on a local or shared disk; the specimen table may also be s3:// or gs://.
    """
    from orchestrator.data_commands import import_command
    from workloads.data.sources.columns import parse_map
    from workloads.data.sources.opening import SourceOptions

    options = SourceOptions(
        columns=parse_map(columns or []), taxonomy=taxonomy, one_fifth=one_fifth, num_synthetic=specimens, seed=seed
    )
    import_command(source, to, kind, options)


@data.command("partition")
def partition(
    specimens: Specimens,
    to: Annotated[str | None, typer.Option(help="Table to write. Default: the same file.")] = None,
    recipe: Annotated[
        Literal["paper", "authors"] | None,
        typer.Option(help="Appendix A, or the authors' script. Default: the source's own partition, else paper."),
    ] = None,
    lists: Annotated[
        Path | None,
        typer.Option(help="Official lists instead: folder or zip of SPLIT.txt, or a table of id and split."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the random draws. Default: 42.")] = None,
) -> None:
    """Give every specimen its split, and check that accuracies measured on it can be believed."""
    from orchestrator.data_commands import partition_command

    partition_command(specimens, to or specimens, recipe, lists, seed)


data.command("stats")(data_stats)


@data.command("prepare")
def prepare(
    specimens: Specimens,
    to: Annotated[str, typer.Option(help="Folder or address (s3://, gs://) of the prepared data set.")],
    name: Annotated[str | None, typer.Option(help="Name in run ids and tables. Default: the folder's.")] = None,
    image_size: Annotated[int, typer.Option(min=16, help="Shorter side of stored images, pixels, at most.")] = 256,
    text_tokenizer: Annotated[
        str | None, typer.Option(help="Hugging Face tokeniser, by name or folder. Default: learned from the labels.")
    ] = None,
    max_rejects: Annotated[
        float, typer.Option(min=0, max=1, help="Share of records that may be refused before it stops.")
    ] = 0.001,
    address: Annotated[str | None, typer.Option(help="Ray cluster to use: `auto` on its head node.")] = None,
) -> None:
    """Decode, shrink and tokenise specimens with Ray Data, into Parquet shards and a dataset.json.

    Started again after an interruption, it makes only the shards that are missing.
    """
    from orchestrator.data_commands import prepare_command
    from workloads.data.prepared.preparation import Wanted

    wanted = Wanted(
        name=name or to.rstrip("/").rsplit("/", 1)[-1],
        image_size=image_size,
        text_tokenizer=text_tokenizer,
        max_rejects=max_rejects,
    )
    prepare_command(specimens, to, wanted, address)


app.command()(train)
app.command()(evaluate)
app.command()(attention)
app.command()(bzsl)
app.command()(costs)
app.command("open-set")(open_set)
app.command()(convert)


def main() -> None:
    """Entry point of `clibd`."""
    run_command(app)
