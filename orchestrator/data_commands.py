"""Carries out `clibd data …` up to the prepared data set."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from orchestrator.prepare import run_on_ray
from orchestrator.progress import counting, stderr_console
from orchestrator.session import ray_session
from workloads.data.prepared.dataset import REJECTS_HEADER, reject_line
from workloads.data.prepared.preparation import Wanted, prepare
from workloads.data.sources.collect import ImportReport, collect
from workloads.data.sources.opening import SourceKind, SourceOptions, open_source
from workloads.data.sources.source import Source
from workloads.data.sources.split_lists import assign_lists, protocol_of, read_split_lists
from workloads.data.specimens.lineages import Lineage, contradictions
from workloads.data.specimens.partition import PartitionRecipe, partition
from workloads.data.specimens.partition_checks import barcode_report, check_partition
from workloads.data.specimens.schema import PROTOCOLS, Protocol
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import SourceError, UsageError
from workloads.spec import RANKS
from workloads.storage import Folder

_SHOWN = 5
"""Contradictions, notes or rejects shown on the terminal; the files have all of them."""
_SEED = 42
"""Of the draw, where none is asked for."""


def import_command(place: str, to: str, kind: SourceKind, options: SourceOptions) -> None:
    """`clibd data import`."""
    console = stderr_console()
    table = SpecimenTable.at(to)
    table.check_can_be_written()
    source = open_source(place, kind, options)
    rejects = _beside(table, "rejects.tsv")
    with counting(console, f"Reading {source.name}", "specimens") as told:
        report = _collect(source, table, rejects, lambda done: told(done, source.total))
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


def _collect(source: Source, table: SpecimenTable, rejects: str, on_record: Callable[[int], None]) -> ImportReport:
    """The specimen table, and its list of rejects: also where they are all there is, as then it says what is wrong.

    Raises:
        SourceError: not one record can be used, or the source breaks off.
    """
    num_rejects = 0
    with table.folder.line_writer(rejects) as write:
        write(REJECTS_HEADER)

        def reject(identifier: str, reason: str) -> None:
            nonlocal num_rejects
            num_rejects += 1
            write(reject_line(identifier, reason))

        try:
            return collect(source, table, on_record, reject)
        except SourceError as error:
            if not num_rejects:
                raise
            failure = error
    path, where, reason = failure.args
    listed = f"{_records(num_rejects)} refused, all in {table.folder}/{rejects}"
    raise SourceError(path, where, f"{reason}. {listed}") from failure


def _beside(table: SpecimenTable, ending: str) -> str:
    return f"{table.name.removesuffix('.parquet')}.{ending}"


def _records(count: int) -> str:
    return f"{count:,} record{'' if count == 1 else 's'}"


def _say_contradictions(console: Console, table: SpecimenTable) -> None:
    """Names with two parents are listed, not merged: which one is right cannot be known here."""
    name = _beside(table, "contradictions.txt")
    rows = (zip(*(column.to_pylist() for column in batch.columns), strict=True) for batch in table.batches(RANKS))
    lineages: Iterator[Lineage] = chain.from_iterable(rows)
    found = [str(item) for item in contradictions(lineages)]
    if not found:
        table.folder.remove(name)
        return
    table.folder.write(name, "".join(f"{line}\n" for line in found).encode())
    for line in found[:_SHOWN]:
        console.print(line)
    console.print(f"Contradictions among the names: {len(found):,}, none of them changed; all in {table.folder}/{name}")


def partition_command(
    specimens: str, to: str, recipe: PartitionRecipe | None, lists: Path | None, seed: int | None
) -> None:
    """`clibd data partition`; no seed takes the default, and is the only choice where nothing is drawn."""
    console = stderr_console()
    table, target = SpecimenTable.at(specimens), SpecimenTable.at(to)
    given_by = table.facts.partition  # read first: that there is no such table matters more than the target
    target.check_can_be_written()
    splits, by, protocol = _splits(console, table, given_by, recipe, lists, seed)
    check_partition(PROTOCOLS[protocol], table.column("species"), splits, table.column("specimen_id"))
    table.with_splits(splits, by, target, protocol)
    counts = target.count_by_split()
    for split, count in counts.items():
        console.print(f"{split or 'no split':<18}{count:>10,} specimens")
    for sentence in (*empty_roles(PROTOCOLS[protocol], counts), *barcode_report(target).sentences()):
        console.print(sentence)
    console.print(f"Next: clibd data prepare {to} --to DIR")


def _splits(
    console: Console,
    table: SpecimenTable,
    given_by: str | None,
    recipe: PartitionRecipe | None,
    lists: Path | None,
    seed: int | None,
) -> tuple[pa.Array | pa.ChunkedArray, str, str]:
    """The split of every specimen, what gave it, and the protocol it is of.

    Raises:
        UsageError: lists and a recipe, or a seed where nothing is drawn.
    """
    if lists is not None:
        if recipe is not None:
            raise UsageError("--lists and --recipe are two ways to give splits; name one of them")
        if seed is not None:
            raise UsageError("--seed is of a random draw, and --lists draws nothing; leave out one of them")
        given = assign_lists(table.column("specimen_id"), read_split_lists(lists))
        if given.note:
            console.print(given.note)
        return given.splits, f"lists {lists}", protocol_of(given.splits.unique().to_pylist())
    if recipe is None and given_by == "source":
        if seed is not None:
            raise UsageError(
                "--seed is of a random draw, and the source's own partition is kept; --recipe paper draws another one"
            )
        console.print("The source has its own partition, which is kept; --recipe paper draws another one.")
        return table.column("split"), "source", table.facts.protocol
    recipe, seed = recipe or "paper", _SEED if seed is None else seed
    return partition(table.column("species"), recipe, seed), f"{recipe}, seed {seed}", "clibd"


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
