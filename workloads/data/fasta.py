"""FASTA files of barcodes, plain or gzipped, read with dnaio.

The header is `>id` or `>id|Phylum;Class;Order;Family;Genus;Species`, as BarcodeBERT and BOLD exports write it.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import dnaio

from workloads.errors import SourceError

_LINEAGE = ("phylum", "class", "order", "family", "genus", "species")


def read_fasta(path: Path) -> Iterator[dict[str, str | None]]:
    """One mapping a record: specimen_id, barcode, and the ranks that its header names.

    Raises:
        SourceError: not FASTA; the message names the line.
    """
    try:
        with (
            gzip.open(path) if path.name.lower().endswith(".gz") else open(path, "rb") as file,
            dnaio.open(file, fileformat="fasta") as records,
        ):
            for record in records:
                identifier, _, taxa = record.name.partition("|")
                row: dict[str, str | None] = {"specimen_id": identifier.split()[0] if identifier.strip() else ""}
                row["barcode"] = record.sequence
                names = [name.replace("_", " ") for name in taxa.split(";")] if taxa else []
                if len(names) == len(_LINEAGE):
                    row.update(zip(_LINEAGE, names, strict=True))
                yield row
    except (dnaio.FileFormatError, OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise SourceError(str(path), "", f"not readable as FASTA ({error})") from error
