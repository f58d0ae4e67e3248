"""Carries out `clibd data …`."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from orchestrator.prepare import prepare
from orchestrator.progress import counting, stderr_console
from orchestrator.session import ray_session
from workloads.data.partition import partition
from workloads.data.readers import Imported, import_specimens, import_synthetic
from workloads.data.schema import SPECIMEN_SCHEMA, SPLITS, modalities_of
from workloads.errors import DamagedError, MissingPathError
from workloads.storage import Folder

_ROOT, _SEED, _SOURCE = b"clibd.root", b"clibd.synthetic_seed", b"clibd.source"
"""What a specimen table remembers of its import, in its Parquet metadata."""


def import_command(source: str, to: Path, num_synthetic: int, seed: int) -> None:
    """`clibd data import`."""
    console = stderr_console()
    if source == "synthetic":
        with counting(console, f"Growing {num_synthetic:,} synthetic insects", "specimens") as told:
            imported = import_synthetic(num_synthetic, seed, lambda done: told(done, num_synthetic))
    else:
        console.print(f"Reading {source}")
        imported = import_specimens(Path(source))
    metadata = {
        _ROOT: str(Path(imported.root).absolute()) if imported.root else "",
        _SOURCE: source,
        **({_SEED: str(seed)} if imported.synthetic else {}),
    }
    _write(to, imported.table.replace_schema_metadata(metadata))
    _say_rejects(console, imported, to)
    found = ", ".join(modalities_of(imported.table))
    console.print(f"{len(imported.table):,} specimens ({found}) in {to}. Next: clibd data partition {to}")


def _say_rejects(console: Console, imported: Imported, to: Path) -> None:
    if not imported.rejects:
        return
    name = f"{to.stem}.rejects.tsv"
    lines = [f"{identifier}\t{reason}\n" for identifier, reason in imported.rejects]
    Folder(to.parent).write(name, "".join(["specimen_id\treason\n", *lines]).encode())
    identifier, reason = imported.rejects[0]
    console.print(
        f"{len(imported.rejects):,} records refused (first: {identifier}: {reason}); all in {to.parent / name}"
    )


def partition_command(specimens: Path, to: Path, seed: int) -> None:
    """`clibd data partition`."""
    table = _read(specimens)
    split = partition(table["species"].to_pylist(), seed)
    column = table.schema.get_field_index("split")
    _write(to, table.set_column(column, "split", pa.array(split, pa.string())))
    console = stderr_console()
    for name in SPLITS:
        if count := split.count(name):
            console.print(f"{name:<18}{count:>10,} specimens")
    console.print(f"Next: clibd data prepare {to} --to DIR")


def prepare_command(specimens: Path, to: str, name: str | None, image_size: int, address: str | None) -> None:
    """`clibd data prepare`."""
    table = _read(specimens)
    metadata = table.schema.metadata or {}
    target = Folder(to)
    console = stderr_console()
    with ray_session(address), counting(console, f"Preparing {len(table):,} specimens", "shards") as told:
        facts = prepare(
            table,
            target,
            name=name or target.address.rsplit("/", 1)[-1],
            root=metadata.get(_ROOT, b"").decode(),
            image_size=image_size,
            synthetic_seed=int(metadata[_SEED]) if _SEED in metadata else None,
            source=metadata.get(_SOURCE, b"").decode(),
            on_shard=told,
        )
    console.print(f"{sum(facts.num_specimens.values()):,} specimens ({', '.join(facts.modalities)}) in {target}")
    if facts.num_rejects:
        console.print(f"{facts.num_rejects:,} refused, with reasons, in {target}/rejects.tsv")
    console.print(f"Next: clibd-sweep batch-size --data {to} --plan")


def _read(path: Path) -> pa.Table:
    """A specimen table of ours.

    Raises:
        MissingPathError: no such file.
        DamagedError: not a specimen table.
    """
    if not path.is_file():
        raise MissingPathError(str(path), "specimen table", "Make one with `clibd data import SOURCE --to FILE`.")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise DamagedError(str(path), f"not Parquet ({error})") from error
    if table.schema.names != SPECIMEN_SCHEMA.names:
        raise DamagedError(str(path), "not a specimen table of `clibd data import`")
    return table


def _write(path: Path, table: pa.Table) -> None:
    Folder(path.absolute().parent).write_table(path.name, table)
