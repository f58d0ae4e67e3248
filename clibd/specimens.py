"""Specimens as tables: read from any source, and divided into those that train, ask and answer."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clibd.showing import Rows, table_html
from workloads.arrays import Names
from workloads.command_line import Tell
from workloads.data.sources.collect import cleaned
from workloads.data.sources.opening import SourceKind, SourceOptions, open_source
from workloads.data.sources.source import Refused
from workloads.data.specimens.partition import check_partition
from workloads.data.specimens.partition_rules import SEED, PartitionRule, draw, shares_of
from workloads.data.specimens.schema import PROTOCOLS
from workloads.errors import SourceError, UsageError
from workloads.spec import RANKS


@dataclass(frozen=True, slots=True)
class Specimens:
    """A specimen table, and what became of its source."""

    table: pa.Table
    """The columns of a specimen table (docs/files.md): id, image reference, barcode, names, BIN, split."""
    root: str = ""
    """Folder that image references are relative to."""
    rejects: tuple[tuple[str, str], ...] = ()
    """Id and reason of each record of which nothing could be used."""
    findings: Mapping[str, int] | None = None
    """What was noticed, such as barcodes that were turned, and how often."""
    notes: tuple[str, ...] = ()
    synthetic: bool = False
    """Whether the specimens were drawn."""
    protocol: str | None = None
    """Which splits the table has (`clibd.partition`); None: not divided."""

    def __len__(self) -> int:
        return len(self.table)

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame."""
        return self.table.to_pandas()

    def _repr_html_(self) -> str:
        kind = "SYNTHETIC specimens" if self.synthetic else "specimens"
        lost = f"; {len(self.rejects):,} records could not be used" if self.rejects else ""
        return table_html(self.table, f"{len(self):,} {kind}{lost}")


def read_table(
    path: "str | os.PathLike[str]",
    *,
    kind: SourceKind = "auto",
    columns: Mapping[str, str] | None = None,
    images: "str | os.PathLike[str] | None" = None,
    count: int | None = None,
    progress: Tell = lambda done, total: None,
) -> Specimens:
    """Specimens from whatever `clibd data import` reads: tables, FASTA, archives, folders of images, packages.

    Names and barcodes are cleaned as there. All of it is held in memory; millions are imported by the command.

    Args:
        path: file or folder, or `synthetic`.
        kind: how to read it; `auto` looks what lies there.
        columns: field of a specimen and the column of the table that holds it, such as `{"species": "taxon"}`.
        images: folder or zip archive of a table's images, where they do not lie beside it.
        count: of synthetic insects to draw; 3,000 if not said.
        progress: told now and then how many records of how many, if that is known, are read.

    Raises:
        MissingPathError: there is nothing.
        UsageError: an option that means nothing for this kind of source.
        SourceError: not what it claims to be, or no record can be used.
    """
    place = None if images is None else Path(images)
    options = SourceOptions(columns=columns or {}, images=place, num_synthetic=count)
    source = open_source(os.fspath(path), kind, options)
    rejects: list[tuple[str, str]] = []

    def refuse(refused: Refused) -> None:
        rejects.append((refused.identifier, refused.reason))

    batches = list(cleaned(source, refuse, lambda done: progress(done, source.total)))
    if not batches:
        first = f" (the first: {rejects[0][1]})" if rejects else ""
        raise SourceError(os.fspath(path), "", f"no record can be used{first}. {source.remedy}")
    return Specimens(
        pa.Table.from_batches(batches),
        source.root,
        tuple(rejects),
        dict(source.findings.counts),
        tuple(source.notes),
        source.synthetic_seed is not None,
        source.protocol if source.has_splits else None,
    )


def partition(
    specimens: "Specimens | Rows | pa.Table | Any",
    recipe: PartitionRule = "paper",
    *,
    min_records: int | None = None,
    seen: float | Fraction | None = None,
    shares: Sequence[float | Fraction] | None = None,
    seed: int = SEED,
) -> Specimens:
    """The specimens with a `split` each: who trains, who asks and who answers.

    Args:
        specimens: of `read_table`, or any table with a column `species`: Arrow's, or a pandas DataFrame.
        recipe: `paper` (Appendix A), `authors` (their script), or `small`, by which most of few specimens trains.
        min_records: records from which on a species can be seen, or of `small`, be asked for.
        seen: share of these species that are seen.
        shares: of a seen species' records: training, validation, test; what remains are keys, and of `small` nothing.
        seed: of the random draws.

    Raises:
        UsageError: shares that leave nothing to train, or to ask, or no keys; or no species has two records.
        PartitionError: it would not measure what it claims to.
    """
    given = specimens if isinstance(specimens, Specimens) else Specimens(table_of(specimens))
    if "species" not in given.table.column_names:
        raise UsageError(f"the table has no column species, only {', '.join(given.table.column_names)}")
    parts = None if shares is None else [_exact(share) for share in shares]
    rule = shares_of(recipe, min_records, None if seen is None else _exact(seen), parts)
    species = given.table["species"].cast(pa.string())
    splits, protocol = draw(species, recipe, seed, rule)
    ids = given.table["specimen_id"] if "specimen_id" in given.table.column_names else None
    check_partition(PROTOCOLS[protocol], species, splits, ids)
    table = given.table.drop_columns("split") if "split" in given.table.column_names else given.table
    return replace(given, table=table.append_column("split", splits), protocol=protocol)


def _exact(share: float | Fraction) -> Fraction:
    """0.7 of ten records are seven, and in binary a little less."""
    return share if isinstance(share, Fraction) else Fraction(str(share))


def table_of(given: Any) -> pa.Table:
    """An Arrow table from any kind of table.

    Raises:
        UsageError: it is none.
    """
    if isinstance(given, pa.Table):
        return given
    if isinstance(given, pa.RecordBatch):
        return pa.Table.from_batches([given])
    if isinstance(inner := getattr(given, "table", None), pa.Table):
        return inner
    if hasattr(given, "columns") and hasattr(given, "to_dict"):
        return pa.Table.from_pandas(given, preserve_index=False)
    if isinstance(given, Mapping):
        names = {str(name): pa.array(list(values), from_pandas=True) for name, values in given.items()}
        return pa.table(names)
    raise UsageError(
        f"a {type(given).__name__} is no table; give Arrow's, a pandas DataFrame, or columns by name, "
        f"such as {RANKS[-1]}=[…]"
    )


def names_of(values: Sequence[Any]) -> Names:
    """Names as an array, None where one is missing, NaN too, (values,)."""
    column: Names = np.empty(len(values), dtype=object)
    column[:] = [None if value is None or value != value else str(value) for value in values]
    return column
