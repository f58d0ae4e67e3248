"""The specimen table: one row a specimen, and the names of the splits.

A missing rank is null, never a word such as `not_classified`.
"""

import hashlib
from collections.abc import Mapping

import pyarrow as pa

from workloads.errors import RecordError
from workloads.spec import RANKS, Modality

SPECIMEN_SCHEMA = pa.schema(
    [
        ("specimen_id", pa.string()),
        ("image", pa.string()),  # file relative to the source folder, or a synthetic reference
        ("image_features", pa.list_(pa.float32())),
        ("barcode", pa.string()),
        *[(rank, pa.string()) for rank in RANKS],
        ("bin", pa.string()),
        ("split", pa.string()),
    ]
)

TRAINING_SPLITS = ("no_split", "train_seen")
"""Records without species, and the training share of the seen species (paper, Appendix A)."""
KEY_SPLITS = ("seen_keys", "val_unseen_keys", "test_unseen_keys")
"""All keys are searched for every query, seen and unseen together (paper, section 4.2)."""
QUERY_SPLITS = {
    "val": {"seen": "val_seen", "unseen": "val_unseen"},
    "test": {"seen": "test_seen", "unseen": "test_unseen"},
}
UNUSED_SPLITS = ("single_species",)
"""Species of a single record can be neither query nor key."""
SPLITS = (*TRAINING_SPLITS, *KEY_SPLITS, "val_seen", "val_unseen", "test_seen", "test_unseen", *UNUSED_SPLITS)

_MISSING_WORDS = {"", "not_classified", "not classified", "na", "nan", "none", "null", "unknown", "unclassified", "[]"}


def clean_name(value: str | None) -> str | None:
    """A taxon's name with single blanks, or None for the words that stand for a missing one.

    Raises:
        RecordError: the name holds control characters.
    """
    if value is None:
        return None
    name = " ".join(value.split())
    if name.lower() in _MISSING_WORDS:
        return None
    if not name.isprintable():
        raise RecordError(f"a taxon's name holds control characters: {name!r}")
    return name


def lineage_text(lineage: Mapping[str, str | None]) -> str:
    """The label as the text tower reads it: the ranks that are known, from order down (paper, section 3).

    The species is the full binomial, so its genus is not said twice.
    """
    known = [name for rank in RANKS if (name := lineage[rank]) is not None]
    if lineage["species"] is not None and lineage["genus"] is not None:
        known.remove(lineage["genus"])
    return " ".join(known)


def modalities_of(table: pa.Table) -> tuple[Modality, ...]:
    """The modalities that a specimen table offers; a label at any rank is text."""
    present = {name: table[name].null_count < len(table) for name in table.column_names}
    found: list[Modality] = []
    if present["image"] or present["image_features"]:
        found.append("image")
    if present["barcode"]:
        found.append("dna")
    if any(present[rank] for rank in RANKS):
        found.append("text")
    return tuple(found)


def table_fingerprint(table: pa.Table) -> str:
    """Eight hexadecimal digits over the rows of a specimen table and their order."""
    digest = hashlib.sha256()
    for batch in table.select(SPECIMEN_SCHEMA.names).combine_chunks().to_batches(max_chunksize=65536):
        # IPC of a freshly taken batch has no offsets or padding left from the table it was cut from.
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch.take(pa.array(range(len(batch)))))
        digest.update(sink.getvalue())
    return digest.hexdigest()[:8]
