"""The specimen table: one row a specimen, the names of the splits, and which splits train, answer and ask.

A missing rank is null, never a word such as `not_classified`.
"""

import hashlib
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from workloads.arrays import Digests, Names
from workloads.data.specimens.barcode import NUM_TOKENS
from workloads.errors import RecordError
from workloads.spec import RANKS, Modality

SPECIMEN_SCHEMA = pa.schema(
    [
        ("specimen_id", pa.string()),
        ("image", pa.string()),  # a reference that workloads.data.files.image_source reads; further views a line each
        ("image_features", pa.list_(pa.float32())),
        ("barcode", pa.string()),
        ("barcode_as_given", pa.string()),  # where cleaning changed it: the authors' code takes it so
        ("dna_features", pa.list_(pa.float32())),
        *[(rank, pa.string()) for rank in RANKS],
        ("bin", pa.string()),
        ("split", pa.string()),
    ]
)

DNA_IDS = pa.list_(pa.int16(), NUM_TOKENS)
PREPARED_SCHEMA = pa.schema(
    [
        ("specimen_id", pa.string()),
        ("image", pa.binary()),  # JPEG
        ("image_features", pa.list_(pa.float32())),
        ("barcode", pa.string()),
        ("dna_ids", DNA_IDS),
        ("authors_dna_ids", DNA_IDS),
        ("dna_features", pa.list_(pa.float32())),
        ("text", pa.string()),
        *[(rank, pa.string()) for rank in RANKS],
        ("bin", pa.string()),
    ]
)
"""What the shards of a prepared data set hold of a specimen."""
VIEWS = pa.field("views", pa.list_(pa.binary()))
"""Further images of a specimen, JPEG; a column of those data sets alone in which some specimen has any."""


def with_view(image: str | None, view: str) -> str:
    """The references of a specimen's images with one more; the first is the one that it is evaluated by."""
    return view if image is None else image if view in image.split("\n") else f"{image}\n{view}"


FEATURES: Mapping[str, str] = {"image_features": "image features", "dna_features": "DNA features"}
"""Columns of what other models made of an image or a barcode, and what messages call it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitProtocol:
    """Which splits train, which answer and which ask."""

    training: tuple[str, ...]
    keys: tuple[str, ...]
    """All keys are searched for every query, seen and unseen together (paper, section 4.2)."""
    queries: Mapping[str, Mapping[str, str]]
    """Split of each partition (val, test) and species subset (seen, unseen)."""
    unused: tuple[str, ...] = ()
    """Splits that neither train nor are searched, such as species of a single record."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Every split, each once: training, keys, queries, unused."""
        return tuple(dict.fromkeys((*self.training, *self.keys, *self.asking(), *self.unused)))

    def splits_of(self, subset: str) -> tuple[str, ...]:
        """Those of the splits that hold `seen` or `unseen` species."""
        return tuple(split for split in self.splits if subset_of(split) == subset)

    def asking(self, part: str | None = None, subset: str | None = None) -> tuple[str, ...]:
        """The splits that ask: in one partition, val or test, or in both; for seen or unseen species, or for all."""
        return tuple(
            split
            for of_part, splits in self.queries.items()
            for of_subset, split in splits.items()
            if part in (None, of_part) and subset in (None, of_subset)
        )

    def answering(self, part: str, subset: str) -> tuple[str, ...]:
        """The splits of the keys of the seen or the unseen species of a partition, val or test.

        Keys of the seen species serve both partitions; keys of unseen species one of them if their split is named after
        it, such as `val_unseen_keys`, and else both, as in BIOSCAN-5M.
        """
        parts = ("val", "test", None) if subset == "seen" else (part, None)
        return tuple(split for split in self.keys if subset_of(split) == subset and part_of(split) in parts)


def subset_of(split: str) -> Literal["seen", "unseen"]:
    """Whether the species of a split are seen in training or unseen, by its name."""
    return "unseen" if "unseen" in split else "seen"


def subsets_of(splits: Iterable[str]) -> Names:
    """The same for each specimen, (specimens,)."""
    return np.array([subset_of(split) for split in splits], dtype=object)


def part_of(split: str) -> str | None:
    """The partition, val or test, that a split is named after; None for one that trains, or serves both."""
    return next((part for part in ("val", "test") if split.startswith(f"{part}_")), None)


_VAL_AND_TEST = {part: {subset: f"{part}_{subset}" for subset in ("seen", "unseen")} for part in ("val", "test")}

PROTOCOLS: Mapping[str, SplitProtocol] = {
    # Paper, Appendix A: keys of the seen species are apart from training.
    "clibd": SplitProtocol(
        training=("no_split", "train_seen"),
        keys=("seen_keys", "val_unseen_keys", "test_unseen_keys"),
        queries=_VAL_AND_TEST,
        unused=("single_species",),
    ),
    # BIOSCAN-5M's own partition: the labelled training records are the keys of the seen species, and the keys of the
    # unseen species serve validation and test alike.
    "bioscan_5m": SplitProtocol(
        training=("no_split", "train_seen"),
        keys=("train_seen", "unseen_keys"),
        queries=_VAL_AND_TEST,
        unused=("single_species", "other_heldout"),
    ),
    # INSECT (Badirli et al. 2021) is a zero-shot split: its unseen species have no images among the keys, only barcodes
    # as side information, so that only its seen species can be retrieved. Some of these are among the classes that the
    # authors keep for validation; with the training records they are `trainval`, the keys here.
    "insect": SplitProtocol(
        training=("train_seen",),
        keys=("train_seen", "val_classes"),
        queries={"test": {"seen": "test_seen"}},
        unused=("test_unseen", "no_split"),
    ),
}
"""The partitions we know, by name; `dataset.json` says which one a data set follows."""

_MISSING_WORDS = frozenset(
    {"", "not_classified", "not classified", "unknown", "unclassified", "unspecified", "missing", "not available"}
    | {
        "na",
        "n/a",
        "n.a.",
        "nan",
        "none",
        "null",
        "nil",
        "nat",
        "<na>",
        "(null)",
        "[]",
        "-",
        "--",
        "---",
        ".",
        "?",
        "??",
    }
    | {"\\n", "#n/a", "#na", "#n/a n/a", "#null!", "#name?", "#ref!", "#value!", "#div/0!"}  # of databases and sheets
)
_LONGEST_WORD = 40  # with blanks around it; barcodes need not be looked at
_LONGEST_NAME = 200  # the longest binomials with authors' interim tags have some 80 characters


def clean_name(value: str | None) -> str | None:
    """A taxon's name in Unicode NFC with single blanks, or None for the words that stand for a missing one.

    Raises:
        RecordError: the name holds control or direction marks, or is longer than 200 characters.
    """
    if value is None:
        return None
    name = unicodedata.normalize("NFC", " ".join(value.split()))
    if stands_for_nothing(name):
        return None
    if not name.isprintable():
        raise RecordError(f"a taxon's name holds control characters: {name[:80]!r}")
    if len(name) > _LONGEST_NAME:
        raise RecordError(f"a taxon's name of {len(name)} characters: {name[:40]!r}...")
    return name


def stands_for_nothing(value: str) -> bool:
    """Whether a value is one of the words that stand for a missing one, in the field of a name, an id or a file."""
    return len(value) <= _LONGEST_WORD and value.strip().lower() in _MISSING_WORDS


def lineage_text(lineage: Mapping[str, str | None]) -> str:
    """The label as the text tower reads it: the ranks that are known, from order down (paper, section 3).

    The species is the full binomial, so its genus is not said twice.
    """
    known = [name for rank in RANKS if (name := lineage[rank]) is not None]
    if lineage["species"] is not None and lineage["genus"] is not None:
        known.remove(lineage["genus"])
    return " ".join(known)


def filled_columns(batch: pa.RecordBatch) -> set[str]:
    """Names of the columns in which some row has a value."""
    return {name for name in batch.schema.names if batch[name].null_count < len(batch)}


def offered(filled: Iterable[str]) -> tuple[Modality, ...]:
    """The modalities of a table in which these columns are filled for some specimen; a label at any rank is text."""
    columns: dict[Modality, set[str]] = {
        "image": {"image", "image_features"},
        "dna": {"barcode", "dna_features"},
        "text": set(RANKS),
    }
    return tuple(modality for modality, own in columns.items() if own & set(filled))


def text_digests(texts: Iterable[str]) -> Digests:
    """64 bits of the BLAKE2b of each text, little-endian, (texts,)."""
    taken = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(taken, dtype="<u8").astype(np.uint64)


def table_fingerprint(batches: Iterable[pa.RecordBatch]) -> str:
    """Eight hexadecimal digits over the rows of a specimen table and their order, however they are cut into batches.

    A table without DNA features has the fingerprint that it had before there was a column for them.
    """
    digest = hashlib.sha256()
    for batch in even_batches(batches, 8192):
        # IPC of a freshly taken batch has no offsets or padding left from the table it was cut from.
        sink = pa.BufferOutputStream()
        schema = SPECIMEN_SCHEMA
        if batch["dna_features"].null_count == len(batch):
            schema = schema.remove(schema.get_field_index("dna_features"))
        fresh = batch.select(schema.names).take(pa.array(range(len(batch))))
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(fresh.replace_schema_metadata(None))
        digest.update(sink.getvalue())
    return digest.hexdigest()[:8]


def even_batches(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of one size, the last one shorter."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) < size:
            continue
        table = pa.Table.from_batches(waiting)
        whole = len(table) - len(table) % size
        for start in range(0, whole, size):
            yield table.slice(start, size).combine_chunks().to_batches()[0]
        waiting = table.slice(whole).to_batches()
    if any(map(len, waiting)):
        yield pa.Table.from_batches(waiting).combine_chunks().to_batches()[0]


def evenly_spaced(batches: Iterable[pa.RecordBatch], num_rows: int, at_most: int) -> Iterator[pa.RecordBatch]:
    """Rows that stand evenly apart, all of them where there are no more than asked for."""
    every, row = math.ceil(num_rows / at_most), 0
    for batch in batches:
        yield batch.take(pa.array(range(-row % every, len(batch), every), pa.int64()))
        row += len(batch)
