"""Carries out `clibd data …` up to the prepared data set."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from orchestrator.prepare import run_on_ray
from orchestrator.progress import counting, stderr_console
from orchestrator.session import ray_session
from workloads.data.collect import collect
from workloads.data.lineages import Lineage, contradictions
from workloads.data.partition import PartitionRecipe, partition
from workloads.data.partition_checks import barcode_report, check_partition
from workloads.data.preparation import Wanted, prepare
from workloads.data.prepared import REJECTS_HEADER, reject_line
from workloads.data.schema import PROTOCOLS, Protocol
from workloads.data.sources.opening import SourceKind, SourceOptions, open_source
from workloads.data.specimen_table import SpecimenTable
from workloads.data.split_lists import assign_lists, protocol_of, read_split_lists
from workloads.errors import UsageError
from workloads.spec import RANKS
from workloads.storage import Folder

_SHOWN = 5
"""Contradictions, notes or rejects shown on the terminal; the files have all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionAsked:
    """The command line of `clibd data partition`."""

    recipe: PartitionRecipe | None
    lists: Path | None
    seed: int


def import_command(place: str, to: str, kind: SourceKind, options: SourceOptions) -> None:
    """`clibd data import`."""
    console = stderr_console()
    table = SpecimenTable.at(to)
    table.check_can_be_written()
    source = open_source(place, kind, options)
    rejects = _beside(table, "rejects.tsv")
    with (
        table.folder.line_writer(rejects) as write,
        counting(console, f"Reading {source.name}", "specimens") as told,
    ):
        write(REJECTS_HEADER)
        report = collect(
            source,
            table,
            lambda done: told(done, source.total),
            lambda identifier, reason: write(reject_line(identifier, reason)),
        )
    for note in report.notes:
        console.print(note)
    if report.num_rejects:
        identifier, reason = report.rejects[0]
        first = f"{_records(report.num_rejects)} refused (first: {identifier}: {reason})"
        console.print(f"{first}; all in {table.folder}/{rejects}")
    else:
        table.folder.remove(rejects)
    _say_contradictions(console, table)
    found = ", ".join(report.modalities)
    console.print(f"{report.num_specimens:,} specimens ({found}) in {table}. Next: clibd data partition {to}")


def _beside(table: SpecimenTable, ending: str) -> str:
    return f"{table.name.removesuffix('.parquet')}.{ending}"


def _records(count: int) -> str:
    return f"{count:,} record{'' if count == 1 else 's'}"


def _say_contradictions(console: Console, table: SpecimenTable) -> None:
    """Names with two parents are listed, not merged: which one is right cannot be known here."""
    found = [str(item) for item in contradictions(_lineages(table))]
    if not found:
        return
    name = _beside(table, "contradictions.txt")
    table.folder.write(name, "".join(f"{line}\n" for line in found).encode())
    for line in found[:_SHOWN]:
        console.print(line)
    console.print(f"Contradictions among the names: {len(found):,}, none of them changed; all in {table.folder}/{name}")


def _lineages(table: SpecimenTable) -> Iterator[Lineage]:
    """The lineage of every specimen, a batch at a time."""
    for batch in table.batches(RANKS):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def partition_command(specimens: str, to: str, asked: PartitionAsked) -> None:
    """`clibd data partition`."""
    console = stderr_console()
    table, target = SpecimenTable.at(specimens), SpecimenTable.at(to)
    given_by = table.facts.partition
    target.check_can_be_written()
    if asked.lists is not None and asked.recipe is not None:
        raise UsageError("--lists and --recipe are two ways to give splits; name one of them")
    protocol = "clibd"
    if asked.lists is not None:
        given = assign_lists(table.column("specimen_id"), read_split_lists(asked.lists))
        if given.note:
            console.print(given.note)
        splits, by, protocol = given.splits, f"lists {asked.lists}", protocol_of(given.splits.unique().to_pylist())
    elif asked.recipe is None and given_by == "source":
        console.print("The source has its own partition, which is kept; --recipe paper draws another one.")
        splits, by, protocol = table.column("split"), "source", table.facts.protocol
    else:
        recipe = asked.recipe or "paper"
        splits, by = partition(table.column("species"), recipe, asked.seed), f"{recipe}, seed {asked.seed}"
    check_partition(PROTOCOLS[protocol], table.column("species"), splits, table.column("specimen_id"))
    table.with_splits(splits, by, target, protocol)
    counts = target.count_by_split()
    for split, count in counts.items():
        console.print(f"{split or 'no split':<18}{count:>10,} specimens")
    for sentence in empty_roles(PROTOCOLS[protocol], counts):
        console.print(sentence)
    for sentence in barcode_report(target).sentences():
        console.print(sentence)
    console.print(f"Next: clibd data prepare {to} --to DIR")


def empty_roles(protocol: Protocol, counts: Mapping[str | None, int]) -> list[str]:
    """What a partition cannot be used for, since no specimen has the part."""
    asking = [split for part in protocol.queries.values() for split in part.values()]
    roles = (
        (protocol.training, "No specimen trains, so that nothing can be trained on this table alone"),
        (protocol.keys, "No specimen is a key, so that nothing can be found"),
        (asking, "No specimen is a query, so that nothing can be measured"),
    )
    return [f"{sentence}." for splits, sentence in roles if not any(counts.get(split) for split in splits)]


def prepare_command(specimens: str, to: str, wanted: Wanted, address: str | None) -> None:
    """`clibd data prepare`."""
    table, target = SpecimenTable.at(specimens), Folder(to)
    console = stderr_console()
    what = f"Preparing {len(table):,} specimens"
    with ray_session(address), counting(console, what, "shards") as told:
        facts = prepare(table, target, wanted, run_on_ray, told)
    console.print(f"{sum(facts.num_specimens.values()):,} specimens ({', '.join(facts.modalities)}) in {target}")
    if facts.num_rejects:
        console.print(f"{facts.num_rejects:,} refused, with reasons, in {target}/rejects.tsv")
    console.print(f"Next: clibd data stats {to} --out DIR, or clibd-sweep batch-size --data {to} --plan")
