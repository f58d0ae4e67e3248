"""BIOSCAN-1M and BIOSCAN-5M from their metadata tables, with images where they lie; and a fifth of the latter.

Layouts that are understood, below the folder that is named (the root of the `bioscan-dataset` package is one):

    BIOSCAN_Insect_Dataset_metadata.tsv              1M; here, or in bioscan1m/
    metadata/csv/BIOSCAN_5M_Insect_Dataset_metadata.csv    5M; here, or in bioscan5m/, or the file alone
    BIOSCAN_5M_Insect_Dataset_metadata_MultiTypes.zip      5M; that file as published, read in place
    images/<package>/part18/5351601.jpg              1M; here, or in bioscan1m/ or bioscan/
    images/<package>/pretrain/00/AACTA1040-20.jpg    5M; here, or in bioscan5m/
    cropped_256.zip, BIOSCAN_5M_cropped_256_*.zip    packages as published, read in place
    CLIBD_partitioning/, CLIBD_partitioning.zip      1M; the paper's split lists
"""

import random
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

from workloads.data.sources.bioscan_files import LAYOUT_1M, LAYOUT_5M, SPLITS_5M, Bioscan, BioscanImages, find_bioscan
from workloads.data.sources.delimited import TableRow, read_delimited
from workloads.data.sources.source import RawRecord, ReadAnew, Refused, Source, cleaned_species, each, note_once
from workloads.data.sources.split_lists import LISTS_NAME, read_split_lists
from workloads.data.specimens.schema import PROTOCOLS
from workloads.errors import PartitionError, SourceError
from workloads.spec import RANKS

NUM_TRAINING_1M = 1_080_142
"""Training records of BIOSCAN-1M (paper, Fig. 2): no_split 1,043,863 and train_seen 36,279."""
_NO_IMAGES = (
    "no images were found (such as cropped_256.zip, or a folder cropped_256, beside the table): their names are kept, "
    "and the specimens can be partitioned, but not prepared"
)
_MISSING_NAME = ("", "not_classified")


def bioscan1m_source(path: Path) -> Source:
    """BIOSCAN-1M; a specimen's id is its sample id, which the split lists use.

    Images come from the best package that is there (`bioscan_files.IMAGE_PACKAGES`); a record whose image is not in it
    is refused. Without any images the table alone is read, and `image` keeps the name of the image file, so that the
    specimens can be partitioned. With `CLIBD_partitioning` beside, each record gets its published split.

    Args:
        path: the metadata table (.tsv, .tsv.gz), or a folder that holds it.

    Returns:
        A source whose records may be read more than once.

    Raises:
        MissingPathError: there is no metadata table.
        SourceError: the table lacks columns, or a package or list is not what it claims to be.
    """
    files = find_bioscan(path, LAYOUT_1M)
    header, images, notes = _opened(files)
    if images and "chunk_number" not in header:
        images = None
        notes[0] = "images were found, but the table has no column 'chunk_number' that says where each of them lies"
    places = (folder / name for folder in files.folders for name in (LISTS_NAME, f"{LISTS_NAME}.zip"))
    lists_at = next((place for place in places if place.exists()), None)
    splits = read_split_lists(lists_at) if lists_at else None
    records = ReadAnew(lambda: _records_1m(files, images, splits, f"{lists_at}", notes))
    return Source(
        name=str(path),
        records=records,
        root=str(files.root),
        has_splits=lists_at is not None,
        published=True,
        notes=notes,
    )


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
    files = find_bioscan(path, LAYOUT_5M)
    _, images, notes = _opened(files)
    records = ReadAnew(
        lambda: each(read_delimited(files.table, LAYOUT_5M.delimiter).rows, lambda row: _record_5m(row, images))
    )
    return Source(
        name=str(path),
        records=records,
        root=str(files.root),
        protocol="bioscan_5m",
        has_splits=True,
        published=True,
        notes=notes,
    )


def _opened(files: Bioscan) -> tuple[list[str], BioscanImages | None, list[str]]:
    """The columns of the table, the images, and remarks, that on the images first."""
    header = read_delimited(files.table, files.layout.delimiter).header
    missing = [name for name in files.layout.needed if name not in header]
    if not missing and not {*RANKS, "name"} & set(header):
        missing = list(RANKS)
    if missing:
        raise SourceError(files.table, "first line", f"no column {', '.join(repr(name) for name in missing)}")
    images = files.images()
    notes = [images.note if images else _NO_IMAGES]
    if (barcode := files.layout.columns["barcode"]) not in header:
        notes.append(f"the table has no barcodes (column '{barcode}')")
    return header, images, notes


def _records_1m(
    files: Bioscan, images: BioscanImages | None, splits: Mapping[str, str] | None, lists: str, notes: list[str]
) -> Iterator[RawRecord | Refused]:
    num_listed = 0
    for item in read_delimited(files.table, LAYOUT_1M.delimiter).rows:
        if isinstance(item, Refused):
            yield item
            continue
        where, row = item
        record = _record(item, LAYOUT_1M.columns)
        if "order" not in row:
            record["order"] = row.get("name")  # the column that repeats the order
        if splits is not None and (identifier := record["specimen_id"]):
            if identifier not in splits:
                problem = f"{files.table}, {where}: the specimen is in none of the lists of {lists}"
                raise PartitionError(problem, [identifier])
            record["split"] = splits[identifier]
            num_listed += 1
        name = row["image_file"].strip()
        folder = f"part{row.get('chunk_number', '').strip()}/"
        yield _with_image(record, images, None if name in _MISSING_NAME else name, folder)
    if splits is not None and num_listed < len(splits):
        note_once(notes, f"the table has {num_listed:,} of the {len(splits):,} specimens that {lists} names")


def _record_5m(row: TableRow, images: BioscanImages | None) -> RawRecord | Refused:
    record, split = _record(row, LAYOUT_5M.columns), row[1]["split"].strip()
    return _with_image(record | {"split": SPLITS_5M.get(split, split)}, images, f"{record['specimen_id']}.jpg")


def _record(row: TableRow, columns: Mapping[str, str]) -> dict[str, str | None]:
    where, values = row
    record = {ours: values.get(name) for ours, name in columns.items()} | {rank: values.get(rank) for rank in RANKS}
    return record | {"specimen_id": values[columns["specimen_id"]].strip(), "where": where}


def _with_image(
    record: dict[str, str | None], images: BioscanImages | None, name: str | None, folder: str = ""
) -> RawRecord | Refused:
    """A record with the reference of its image; without images its file's name is kept."""
    if images is None or name is None:
        return record | {"image": name}
    reference = images.index.reference(folder + name)
    if reference is None:
        where = f"{record['where']}: {images.package} holds no image '{folder}{name}'"
        return Refused(str(record["specimen_id"]), where)
    return record | {"image": reference}


def one_fifth(source: Source, *, num_wanted: int = NUM_TRAINING_1M, seed: int = 42) -> Source:
    """Thin the training records of a source to about a number; keys and queries stay as they are.

    What is known, from the authors' script: the ratio r is the training records of BIOSCAN-1M over those of BIOSCAN-5M
    (1,080,142 / 4,966,959). The unlabelled records are drawn first, then the species one after another, in the order in
    which they first appear among the training records; of n records, round(r n) are drawn, half to even, but at least
    one. The numbers are drawn by Python's `random.sample`, seeded once with 42.

    What is a choice here: the draws go by the order of the source. On the published table this is the authors' order,
    but they left out records whose image they did not have, and we do not know which. Records that the import refuses
    later have been counted. Kept records stay in the order of the source.

    The source is read twice; its species and 4 bytes a training record are held.

    Args:
        source: with splits, and with records that can be read more than once, as those of `bioscan5m_source`.
        num_wanted: training records to keep, roughly: rounding moves it by less than one a species.
        seed: of the draws.

    Returns:
        The thinned source; its notes say how many records were kept.

    Raises:
        SourceError: while reading, where there are fewer training records than wanted.
    """
    if iter(source.records) is source.records or not source.has_splits:
        raise SourceError(source.name, "", "a fifth is only drawn from records with splits that can be read twice")
    return replace(source, records=ReadAnew(lambda: _thinned(source, num_wanted, seed)))


def _thinned(source: Source, num_wanted: int, seed: int) -> Iterator[RawRecord | Refused]:
    training = PROTOCOLS[source.protocol].training
    kept = _draw(source.name, (record for record in source.records if _is_in(record, training)), num_wanted, seed)
    numbers = iter(kept)
    for record in source.records:
        if not _is_in(record, training) or next(numbers):
            yield record
    note_once(source.notes, f"{sum(kept):,} of {len(kept):,} training records were drawn (seed {seed})")


def _is_in(record: RawRecord | Refused, splits: Sequence[str]) -> TypeGuard[RawRecord]:
    return not isinstance(record, Refused) and record.get("split") in splits


def _draw(name: str, training: Iterable[RawRecord], num_wanted: int, seed: int) -> bytearray:
    """One byte for each training record: whether it is kept."""
    rows: dict[str | None, array[int]] = {None: array("I")}
    total = 0
    for record in training:
        rows.setdefault(cleaned_species(record), array("I")).append(total)
        total += 1
    if total < num_wanted:
        raise SourceError(name, "", f"{total:,} training records, fewer than the {num_wanted:,} to be drawn")
    ratio = num_wanted / max(total, 1)
    kept, draws = bytearray(total), random.Random(seed)
    for numbers in filter(None, rows.values()):
        share = len(numbers) * ratio
        for place in draws.sample(range(len(numbers)), 1 if share < 1 else round(share)):
            kept[numbers[place]] = 1
    return kept
