"""BIOSCAN-1M and BIOSCAN-5M from their metadata tables, with images where they lie.

Layouts that are understood, below the folder that is named (the root of the `bioscan-dataset` package is one):

    BIOSCAN_Insect_Dataset_metadata.tsv              1M; here, or in bioscan1m/
    metadata/csv/BIOSCAN_5M_Insect_Dataset_metadata.csv    5M; here, or in bioscan5m/, or the file alone
    BIOSCAN_5M_Insect_Dataset_metadata_MultiTypes.zip      5M; that file as published, read in place
    images/<package>/part18/5351601.jpg              1M; here, or in bioscan1m/ or bioscan/
    images/<package>/pretrain/00/AACTA1040-20.jpg    5M; here, or in bioscan5m/
    cropped_256.zip, BIOSCAN_5M_cropped_256_*.zip    packages as published, read in place
    CLIBD_partitioning/, CLIBD_partitioning.zip      1M; the paper's split lists
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from workloads.data.files.zipped_text import ZippedText
from workloads.data.sources.bioscan_images import FoundImages, find_images, last_name, last_two_names
from workloads.data.sources.bioscan_places import LAYOUT_1M, LAYOUT_5M, find_place
from workloads.data.sources.delimited import named, read_delimited
from workloads.data.sources.source import RawRecord, ReadAnew, Refused, Source, each
from workloads.data.sources.split_lists import read_split_lists
from workloads.errors import PartitionError, SourceError
from workloads.spec import RANKS

SPLITS_5M: Mapping[str, str] = {
    "pretrain": "no_split",
    "train": "train_seen",
    "val": "val_seen",
    "validation": "val_seen",
    "test": "test_seen",
    "key_unseen": "unseen_keys",
    "val_unseen": "val_unseen",
    "test_unseen": "test_unseen",
    "other_heldout": "other_heldout",
}
"""Splits of the protocol `bioscan_5m` by BIOSCAN-5M's names."""

_NO_IMAGES = (
    "no images were found (such as cropped_256.zip, or a folder cropped_256, beside the table): their names are kept, "
    "and the specimens can be partitioned, but not prepared"
)
_OF_1M, _OF_5M = "bioscan_1m", "bioscan_5m"  # in names of archives; both data sets may lie in one folder
_MISSING_NAME = ("", "not_classified")
_PARTS = re.compile(r"part\d+")


def bioscan1m_source(path: Path) -> Source:
    """BIOSCAN-1M; a specimen's id is its sample id, which the split lists use.

    Images come from the best package that is there (`bioscan_images.PACKAGES`); a record whose image is not in it is
    refused. Without any images the table alone is read, and `image` keeps the name of the image file, so that the
    specimens can be partitioned. With `CLIBD_partitioning` beside, each record gets its published split.

    Args:
        path: the metadata table (.tsv, .tsv.gz), or a folder that holds it.

    Returns:
        A source whose records may be read more than once.

    Raises:
        MissingPathError: there is no metadata table.
        SourceError: the table lacks columns, or a package or list is not what it claims to be.
    """
    place = find_place(path, LAYOUT_1M)
    header, _ = read_delimited(place.table, "\t")
    _check_columns(place.table, header, ("sampleid", "image_file"))
    images = find_images(place.root, place.folders, _PARTS.fullmatch, last_two_names, _OF_5M)
    lists_at = place.lists()
    notes = [images.note if images else _NO_IMAGES]
    if images and "chunk_number" not in header:
        images = None
        notes = ["images were found, but the table has no column 'chunk_number' that says where each of them lies"]
    if "nucraw" not in header:
        notes.append("the table has no barcodes (column 'nucraw')")
    splits = read_split_lists(lists_at) if lists_at else None
    records = ReadAnew(lambda: _records_1m(place.table, images, splits, f"{lists_at}", notes))
    return Source(name=str(path), records=records, root=str(place.root), has_splits=lists_at is not None, notes=notes)


def bioscan5m_source(path: Path) -> Source:
    """BIOSCAN-5M with its own partition; a specimen's id is its process id, which names its image too.

    Images are found as for BIOSCAN-1M.

    Args:
        path: the metadata table (.csv, .csv.gz), the zip archive that it is published in, or a folder that holds one
            of these.

    Returns:
        A source whose records may be read more than once.

    Raises:
        MissingPathError: there is no metadata table.
        SourceError: the table lacks columns, or a package is not what it claims to be.
    """
    place = find_place(path, LAYOUT_5M)
    header, _ = read_delimited(place.table, ",")
    _check_columns(place.table, header, ("processid", "split"))
    images = find_images(place.root, place.folders, SPLITS_5M.get, last_name, _OF_1M)
    notes = [images.note if images else _NO_IMAGES]
    if "dna_barcode" not in header:
        notes.append("the table has no barcodes (column 'dna_barcode')")
    records = ReadAnew(lambda: each(named(*read_delimited(place.table, ",")), lambda row: _record_5m(row, images)))
    return Source(
        name=str(path), records=records, root=str(place.root), protocol="bioscan_5m", has_splits=True, notes=notes
    )


def _records_1m(
    table: Path | ZippedText, images: FoundImages | None, splits: Mapping[str, str] | None, lists: str, notes: list[str]
) -> Iterator[RawRecord | Refused]:
    num_listed = 0
    for row in named(*read_delimited(table, "\t")):
        if isinstance(row, Refused):
            yield row
            continue
        identifier = row["sampleid"].strip()
        record = _record(row, identifier, "nucraw", "uri")
        if "order" not in row:
            record["order"] = row.get("name")  # the column that repeats the order
        if splits is not None and identifier:
            if identifier not in splits:
                problem = f"{table}, {row['where']}: the specimen is in none of the lists of {lists}"
                raise PartitionError(problem, [identifier])
            record["split"] = splits[identifier]
            num_listed += 1
        name = row["image_file"].strip()
        folder = f"part{row.get('chunk_number', '').strip()}/"
        yield _with_image(record, images, None if name in _MISSING_NAME else name, folder)
    if splits is not None and num_listed < len(splits):
        note = f"the table has {num_listed:,} of the {len(splits):,} specimens that {lists} names"
        notes[:] = [*(known for known in notes if known != note), note]


def _record_5m(row: Mapping[str, str], images: FoundImages | None) -> RawRecord | Refused:
    identifier, split = row["processid"].strip(), row["split"].strip()
    record = _record(row, identifier, "dna_barcode", "dna_bin") | {"split": SPLITS_5M.get(split, split)}
    return _with_image(record, images, f"{identifier}.jpg")


def _record(row: Mapping[str, str], identifier: str, barcode: str, uri: str) -> dict[str, str | None]:
    return {
        "specimen_id": identifier,
        "barcode": row.get(barcode),
        "bin": row.get(uri),
        "where": row["where"],
        **{rank: row.get(rank) for rank in RANKS},
    }


def _with_image(
    record: dict[str, str | None], images: FoundImages | None, name: str | None, folder: str = ""
) -> RawRecord | Refused:
    """A record with the reference of its image; without images its file's name is kept."""
    if images is None or name is None:
        return record | {"image": name}
    reference = images.index.reference(folder + name)
    if reference is None:
        where = f"{record['where']}: {images.package} holds no image '{folder}{name}'"
        return Refused(str(record["specimen_id"]), where)
    return record | {"image": reference}


def _check_columns(table: Path | ZippedText, header: Sequence[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in header]
    if not missing and not {*RANKS, "name"} & set(header):
        missing = list(RANKS)
    if missing:
        raise SourceError(str(table), "first line", f"no column {', '.join(repr(name) for name in missing)}")
