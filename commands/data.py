"""`clibd data`: from a source to a prepared data set."""

from functools import partial
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
from rich.console import Console

from commands.look import (
    BarcodeLengthOption,
    ImagesOption,
    KindOption,
    MapOption,
    NamesOption,
    NumSyntheticOption,
    OneFifthOption,
    OnlyCoiOption,
    SourceArgument,
    SyntheticSeedOption,
    TaxonomyOption,
    found_in,
    look,
    open_as_told,
    rules_of,
)
from commands.options import AddressOption
from commands.partition import partition
from commands.statistics import stats
from workloads.command_line import counting, stderr_console
from workloads.data.prepared.dataset import DatasetFacts
from workloads.data.sources.cleaning import Rules
from workloads.data.sources.collect import ImportReport, collect
from workloads.data.sources.source import Source
from workloads.data.specimens.caveats import contradictions
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.delimited_out import reject_list
from workloads.errors import SourceError
from workloads.naming import slug
from workloads.printed_text import in_a_line, say
from workloads.spec import RANKS
from workloads.storage import Folder

app = typer.Typer(help="Import, partition and prepare specimens.", no_args_is_help=True)
app.command()(look)
app.command()(stats)
app.command()(partition)

_SpecimenTable = Annotated[str, typer.Argument(help="Specimen table (.parquet), as `clibd data import` writes it.")]
_SHOWN = 5
"""Contradictions shown on the terminal; the file has all of them."""


@app.command("download")
def _download(
    name: Annotated[str | None, typer.Argument(help="Package; none lists them.")] = None,
    to: Annotated[Path, typer.Option(help="Folder to put it into.")] = Path("."),
    unverified: Annotated[bool, typer.Option(help="Also where no checksum is published.")] = False,
) -> None:
    """Fetch a published package: resumes what broke off, and checks what arrived. Nothing is unpacked.

    Example: clibd data download                      lists the packages with their sizes and licences
    """
    from results.render import grid
    from workloads.data.packages.download import download
    from workloads.data.packages.published import PACKAGES, find_package

    if name is None:
        rows = [[p.name, p.about or "", p.licence, p.content] for p in PACKAGES.values()]
        say(grid(["Package", "Size", "Licence", "What it is"], rows))
        return
    package, console = find_package(name), stderr_console()
    with counting(console, f"Fetching {package.file_name}", "bytes") as told:
        arrival = download(package, to, told, allow_unverified=unverified)
    if not arrival.is_verified:
        console.print(f"No checksum of it is published; its {arrival.algorithm} is {arrival.checksum}")
    for step in package.next_steps(arrival.path.parent):
        console.print(step)
    say(arrival.path)


@app.command("import")
def _import(
    source: SourceArgument,
    to: Annotated[str, typer.Option(help="Specimen table to write (.parquet): a path or an address.")],
    kind: KindOption = "auto",
    columns: MapOption = None,
    images: ImagesOption = None,
    names: NamesOption = "rule",
    barcode_length: BarcodeLengthOption = None,
    only_coi: OnlyCoiOption = False,
    taxonomy: TaxonomyOption = None,
    one_fifth: OneFifthOption = False,
    specimens: NumSyntheticOption = None,
    seed: SyntheticSeedOption = None,
    again: Annotated[bool, typer.Option("--again", help="Also over a table that has been partitioned.")] = False,
) -> None:
    """Read specimens into one table, and say what was found; records of which nothing is left go to a reject list.

    Columns are known by the names that BOLD, Darwin Core, BCDM and BIOSCAN use, or given by --map. Images stay where
    they are: in folders, zip packages or HDF5 files, which `clibd data prepare` reads in place. Barcodes of the other
    strand are turned, what is longer than a barcode is cut to COI's barcode region, and gaps within become N.

    SOURCE, with its images, is on a local or shared disk; the specimen table may also be s3:// or gs://.
    """
    rules = rules_of(names, barcode_length, only_coi)
    console, table = stderr_console(), SpecimenTable.at(to)
    table.check_can_be_written()
    if not again:
        table.check_not_partitioned()
    opened = open_as_told(source, kind, columns, images, taxonomy, one_fifth, specimens, seed)
    report = _collect(opened, table, console, rules)
    _say_contradictions(console, table)
    modalities = ", ".join(report.modalities)
    console.print(
        f"{report.num_specimens:,} specimens ({modalities}) in {table}. Next: clibd data partition {quote(to)}"
    )


def _collect(source: Source, table: SpecimenTable, console: Console, rules: Rules) -> ImportReport:
    """The specimen table, and its list of rejects: also where they are all there is, as then it says what is wrong.

    Raises:
        SourceError: not one record can be used, or the source breaks off.
    """
    from workloads.data.sources.look import look_lines

    rejects, num_rejects = _beside(table, "rejects.tsv"), 0
    with (
        counting(console, f"Reading {source.name}", "specimens") as told,
        reject_list(table.folder, rejects) as write,
    ):

        def reject(identifier: str, reason: str) -> None:
            nonlocal num_rejects
            num_rejects += 1
            write(identifier, reason)

        failure = None
        try:
            report = collect(source, table, lambda done: told(done, source.total), reject, rules)
        except SourceError as error:
            if not num_rejects:
                raise
            failure = error
    refused = f"{num_rejects:,} record{'' if num_rejects == 1 else 's'} refused"
    if failure:
        path, where, reason = failure.args
        raise SourceError(path, where, f"{reason}. {refused}, all in {table.folder}/{rejects}") from failure
    for line in look_lines(found_in(console, source, report, num_rejects)):
        console.print(line)
    if report.rejects:
        console.print(f"{refused}, all in {table.folder}/{rejects}")
    else:
        table.folder.remove(rejects)
    return report


def _beside(table: SpecimenTable, ending: str) -> str:
    return f"{table.name.removesuffix('.parquet')}.{ending}"


def _say_contradictions(console: Console, table: SpecimenTable) -> None:
    """Names with two parents are listed, not merged: which one is right cannot be known here."""

    name = _beside(table, "contradictions.txt")
    lineages = (
        lineage
        for batch in table.batches(RANKS)
        for lineage in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    )
    lines = contradictions(lineages)
    if not lines:
        table.folder.remove(name)
        return
    table.folder.write(name, "".join(f"{in_a_line(line)}\n" for line in lines).encode())
    for line in lines[:_SHOWN]:
        console.print(line)
    console.print(f"Contradictions among the names: {len(lines):,}, none of them changed; all in {table.folder}/{name}")


def lacking_words(facts: DatasetFacts) -> str:
    """How many specimens were kept without a modality that others have, and what becomes of them."""
    total = sum(facts.num_specimens.values())
    lacking = ", ".join(
        f"{count:,} have no {name}" for name in facts.modalities if (count := total - facts.num_having(name))
    )
    return (
        f"Of these {lacking}: each trains in the pairs that it has, and asks and answers in what it has (or --complete)"
    )


@app.command("prepare")
def _prepare(
    specimens: _SpecimenTable,
    to: Annotated[str, typer.Option(help="Folder or address (s3://, gs://) of the prepared data set.")],
    name: Annotated[str | None, typer.Option(help="Name in run ids and tables. Default: the folder's.")] = None,
    image_size: Annotated[int, typer.Option(min=16, help="Shorter side of stored images, pixels, at most.")] = 256,
    text_tokenizer: Annotated[
        str | None, typer.Option(help="Hugging Face tokeniser, by name or folder. Default: learned from the labels.")
    ] = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="Leave out specimens without one of the modalities that others have.")
    ] = False,
    max_rejects: Annotated[
        float, typer.Option(min=0, max=1, help="Share of records that may be refused before it stops.")
    ] = 0.001,
    address: AddressOption = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Shards made at a time. Default: one a core.")] = None,
) -> None:
    """Decode, shrink and tokenise specimens with Ray Data, into Parquet shards and a dataset.json.

    Started again after an interruption, it makes only the shards that are missing.
    """
    from orchestrator.doctor import Needs, watching_hosts
    from orchestrator.fleet import check_placeable
    from orchestrator.inventory import resources_at
    from orchestrator.prepare import run_on_ray
    from orchestrator.session import cpus_of_a_core, ray_session
    from orchestrator.workers import Wanted, Workers
    from workloads.data.prepared import preparation
    from workloads.shared_places import runs_place

    options = preparation.DatasetOptions(
        name=name or Folder(to).name,
        image_size=image_size,
        text_tokenizer=text_tokenizer,
        complete=complete,
        max_rejects=max_rejects,
    )
    console, table, target = stderr_console(), SpecimenTable.at(specimens), Folder(to)
    cpus = 1 if workers or address else cpus_of_a_core()
    count, work = len(table), partial(run_on_ray, most=workers, cpus=cpus)
    resources, _ = resources_at(address, Wanted(workers=Workers(1, 1), cpu_only=True))  # a task, that is
    check_placeable(resources)
    needs = Needs(places=[runs_place(to, "--to")])
    with (
        ray_session(address, dashboard=False),
        watching_hosts(address, needs, console.print),
        counting(console, f"Preparing {count:,} specimens", "shards") as told,
    ):
        facts = preparation.prepare(table, target, options, work, told)
    console.print(f"{sum(facts.num_specimens.values()):,} specimens ({', '.join(facts.modalities)}) in {target}")
    if facts.having:
        console.print(lacking_words(facts))
    if facts.num_rejects:
        console.print(f"{facts.num_rejects:,} refused, with reasons, in {target}/rejects.tsv")
        for reason, count in facts.reject_reasons.items():
            console.print(f"  {count:,}: {reason}")
    if facts.num_lost_views:
        remark = "images cannot be read beside another one of their specimen, which goes without them"
        console.print(f"{facts.num_lost_views:,} {remark}; all in {target}/{preparation.LOST_VIEWS}")
    if (called := slug(facts.name)) != facts.name:
        console.print(f"Runs on {facts.name} are called {called}-…, which can be a folder's name")
    console.print(f"Next: clibd data stats {quote(to)} --out DIR, or clibd-sweep batch-size --data {quote(to)} --plan")
