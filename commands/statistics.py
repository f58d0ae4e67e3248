"""`clibd data stats`: how many specimens, species and barcodes a data set has, as the paper counts them."""

from typing import Annotated

import typer
from rich.console import Console

from commands.options import FormOption, print_sheets
from results.sheet import Sheet
from workloads.command_line import stderr_console
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.storage import Folder


def stats(
    data: Annotated[str, typer.Argument(help="Prepared data set, or a partitioned specimen table (.parquet).")],
    out: Annotated[str, typer.Option(help="Folder or address (s3://, gs://) for tables and figures.")],
    form: FormOption = "md",
) -> None:
    """Tables 5, 6 and 7 and Figures 2, 7 and 8 of the paper for any data set, beside the published numbers."""

    sheets = statistics_of(data, out, stderr_console())
    print_sheets(sheets.values(), form)


def statistics_of(data: str, out: str, console: Console) -> dict[str, Sheet]:
    """Count, and write every table and figure into a folder; the sheets by name."""
    from results.paper.data_statistics import count_prepared, write_statistics
    from workloads.data.prepared.dataset import PreparedDataset
    from workloads.data.specimens.statistics import count_taxa

    if data.endswith(".parquet"):
        table = SpecimenTable.at(data)
        console.print(f"Counting {len(table):,} specimens")
        facts, counts = table.facts, count_taxa(table.column, table.protocol)
        name, synthetic, partition = facts.source, facts.synthetic_seed is not None, facts.partition
    else:
        dataset = PreparedDataset(Folder(data))
        prepared = dataset.facts
        console.print(f"Counting {sum(prepared.num_specimens.values()):,} specimens")
        counts = count_prepared(dataset)
        name, synthetic, partition = prepared.name, prepared.synthetic, prepared.partition
    sheets, files = write_statistics(counts, out, name, synthetic=synthetic, partition=partition)
    console.print(f"{len(files)} files in {out}: {', '.join(files)}")
    return sheets
