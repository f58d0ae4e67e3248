"""`clibd embed`: embeddings of images and barcodes, with their ids."""

from typing import Annotated

import typer

from commands.identify import DeviceOption, FilesArgument, RecursiveOption, placement_on
from commands.look import ImagesOption, MapOption
from workloads.command_line import counting, stderr_console
from workloads.errors import UsageError
from workloads.record import RunFolder
from workloads.storage import Folder


def embed(
    files: FilesArgument,
    to: Annotated[str, typer.Option(help="x.parquet, or x.npy with the ids in x.csv beside it.")],
    run: Annotated[str | None, typer.Option(help="Folder of a finished run, whose towers embed.")] = None,
    db: Annotated[str | None, typer.Option(help="Database, whose run embeds; without one, counts of 5-mers.")] = None,
    columns: MapOption = None,
    images: ImagesOption = None,
    recursive: RecursiveOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Embed images and barcodes as unit vectors, one row an input; what cannot be embedded has its reason.

    Example: clibd embed photos/ barcodes.fasta --run RUN --to embeddings.parquet
    """
    from workloads.data.sources.columns import parse_map
    from workloads.identification.asking import Files, num_queries, queries_of
    from workloads.identification.building import base_of
    from workloads.identification.database import Database
    from workloads.identification.embedded_files import embed_into
    from workloads.identification.embedding import embedder_of
    from workloads.identification.identifying import in_parts
    from workloads.identification.sharing import fetched

    if (run is None) == (db is None):
        raise UsageError("name what embeds: --run RUN or --db DB, and one of them alone")
    asked = Files(names=files, columns=parse_map(columns or []), images=images, recursive=recursive)
    total, placement, console = num_queries(asked), placement_on(device), stderr_console()
    if run is not None:
        embedder = base_of(RunFolder(Folder(fetched(run, "run"))), placement).embedder
    else:
        embedder = embedder_of(Database(db or ""), placement)
    queries = queries_of(asked.names, asked.columns, asked.images, asked.recursive)
    with counting(console, "Embedding", "specimens") as told:
        done, lost = embed_into(to, in_parts(queries), embedder, lambda count: told(count, total))
    console.print(f"{done:,} embeddings in {to}{f'; {lost:,} inputs could not be embedded' if lost else ''}")
