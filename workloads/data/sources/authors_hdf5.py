"""The HDF5 files that the paper's authors made of BIOSCAN-1M and BIOSCAN-5M, read in slices.

A file has one group a split, with a row a specimen in each of its datasets: `image` (JPEG bytes, zero-padded to the
longest), `image_mask` (their lengths), `barcode`, the four ranks, `sampleid`, `image_file` and, in 5M, `processid`.
Tokens lie there as well and are not read. Features of the authors' towers (`image_features`, `dna_features`) are read
where they are asked for: a data set with image features takes them in place of the images.

Two groups repeat others. `all_keys` holds the keys, and `no_split_and_seen_train` holds what is trained on; the latter
is the only place of the unlabelled records of BIOSCAN-5M, and the only group of the authors' fifth of it. A group that
repeats others is left out where those are there, and otherwise gives the rows that they do not have.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.data.files.hdf5_files import MAX_ROWS, dataset, datasets_of, groups_of, open_hdf5, slices
from workloads.data.files.hdf5_texts import check_texts
from workloads.data.files.image_source import hdf5_reference
from workloads.data.sources.source import RawRecord, ReadAnew, Refused, Source, cleaned_species, note_once
from workloads.data.sources.split_lists import UNIONS
from workloads.errors import SourceError
from workloads.spec import RANKS

if TYPE_CHECKING:
    import h5py

_TRAINING = "no_split_and_seen_train"


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which groups a file of one data set has."""

    protocol: str
    identifier: str
    """The dataset that holds specimen ids."""
    splits: Mapping[str, str]
    """Split of each group that repeats no other."""
    unions: Mapping[str, tuple[str, ...]]
    """Groups that repeat others, with these; the training group first."""


_GROUPS_1M = (
    *("no_split", "train_seen", "seen_keys", "val_seen", "val_unseen", "val_unseen_keys"),
    *("test_seen", "test_unseen", "test_unseen_keys", "single_species"),
)
_OF_5M = ("val_seen", "test_seen", "val_unseen", "test_unseen", "unseen_keys", "other_heldout")
_CLIBD = _Layout(
    protocol="clibd", identifier="sampleid", splits=dict(zip(_GROUPS_1M, _GROUPS_1M, strict=True)), unions=UNIONS
)
_BIOSCAN_5M = _Layout(
    protocol="bioscan_5m",
    identifier="processid",
    splits={
        "no_split": "no_split",
        "seen_keys": "train_seen",  # the labelled training records are the keys of the seen species
        **dict(zip(_OF_5M, _OF_5M, strict=True)),
    },
    unions={_TRAINING: ("no_split", "seen_keys"), "all_keys": ("seen_keys", "unseen_keys")},
)


def authors_hdf5_source(path: Path, features: Mapping[str, str] | None = None) -> Source:
    """The specimens of one of the authors' HDF5 files, with their published splits.

    A file is taken for BIOSCAN-5M if it has a group that only 5M has (`unseen_keys`, `other_heldout`), or, where all of
    its groups are in both, if its images are named by process ids. The specimen id is the process id there, and the
    sample id in BIOSCAN-1M.

    Args:
        path: an HDF5 file.
        features: field of a specimen, `image_features` or `dna_features`, and the dataset of every group that holds it.

    Returns:
        A source whose records may be read more than once.

    Raises:
        MissingPathError: there is no such file.
        SourceError: not HDF5, no group of the authors' layout, only groups whose splits cannot be told apart, or, at
            once or while reading, a dataset that `workloads.data.files.hdf5_files` refuses or that does not fit the
            others.
    """
    with open_hdf5(path) as file:
        groups = groups_of(file)
        layout = _layout_of(file, groups)
        wanted = {field: name for field, name in (features or {}).items() if name}
        whole, rest, notes = _planned(path, layout, groups)
        total = sum(_checked(file, group, wanted)[1] for group in (*whole, *rest))
    return Source(
        name=str(path),
        records=ReadAnew(lambda: _records(path, layout, whole, rest, wanted, notes)),
        root=str(path.parent),
        total=None if rest else total,
        protocol=layout.protocol,
        has_splits=True,
        published=True,
        notes=notes,
    )


_Rest = Mapping[str, tuple[str, ...]]
"""Groups that repeat others, and those of the repeated ones that are missing: their rows come from here."""


def _planned(path: Path, layout: _Layout, groups: Sequence[str]) -> tuple[tuple[str, ...], _Rest, list[str]]:
    """Which groups are read: those of one split, those that repeat others; and remarks."""
    whole = tuple(name for name in layout.splits if name in groups)
    rest: dict[str, tuple[str, ...]] = {}
    notes = [f"group '{name}' is not known and not read" for name in groups if name not in (*whole, *layout.unions)]
    for name, parts in layout.unions.items():
        missing = tuple(part for part in parts if part not in whole)
        if name not in groups or not missing:
            continue
        if name == _TRAINING or len(missing) == 1:
            rest[name] = missing
        else:
            notes.append(f"group '{name}' is not read: it repeats {', '.join(missing)}, which are not there")
    if not whole and not rest:
        reason = "only groups that repeat others" if set(groups) & set(layout.unions) else "no group of a split"
        raise SourceError(path, "", f"{reason} ({', '.join(groups) or 'none at all'}), so no split can be told")
    return whole, rest, notes


def _records(
    path: Path, layout: _Layout, whole: Sequence[str], rest: _Rest, features: Mapping[str, str], notes: list[str]
) -> Iterator[RawRecord | Refused]:
    # Ids are only held of the groups that another repeats in part, such as the seen keys of BIOSCAN-5M.
    known: dict[str, set[str]] = {part: set() for name in rest for part in layout.unions[name] if part in whole}
    with open_hdf5(path) as file:
        for group in whole:
            for record in _rows(file, group, layout, features):
                if group in known and not isinstance(record, Refused):
                    known[group].add(record["specimen_id"])
                yield record if isinstance(record, Refused) else {**record, "split": layout.splits[group]}
        for group, missing in rest.items():
            parts = {part: known[part] for part in layout.unions[group] if part in known}
            splits = [layout.splits[part] for part in missing]
            yield from _without(_rows(file, group, layout, features), group, parts, splits, notes)


def _without(
    rows: Iterator[RawRecord | Refused],
    group: str,
    parts: Mapping[str, set[str]],
    splits: Sequence[str],
    notes: list[str],
) -> Iterator[RawRecord | Refused]:
    """Rows of a group that none of the groups it repeats has; they are of one split, or of those with and without name.

    Args:
        rows: of the group.
        group: its name.
        parts: ids of the groups that it repeats and that are read.
        splits: of those that are missing.
        notes: for remarks.
    """
    num_repeated = 0
    for record in rows:
        if isinstance(record, Refused):
            yield record
        elif any(record["specimen_id"] in ids for ids in parts.values()):
            num_repeated += 1
        else:
            split = splits[0] if len(splits) == 1 else "train_seen" if cleaned_species(record) else "no_split"
            yield {**record, "split": split}
    names = ", ".join(parts)
    note_once(notes, f"group '{group}': the {num_repeated:,} rows that {names or 'others'} have were left out")
    if len(splits) > 1:
        note_once(
            notes, f"group '{group}': records with a species were taken for train_seen, those without for no_split"
        )
    num_absent = sum(map(len, parts.values())) - num_repeated
    if group == _TRAINING and num_absent > 0:
        remark = "the authors did not train on them, but this data set does"
        note_once(notes, f"{num_absent:,} specimens of {names} are not in '{group}': {remark}")


def _rows(file: "h5py.File", group: str, layout: _Layout, features: Mapping[str, str]) -> Iterator[RawRecord | Refused]:
    """Rows of one group, a few thousand at a time."""
    there, num_rows = _checked(file, group, features)
    if layout.identifier not in there:
        raise SourceError(file.filename, group, f"it has no dataset '{layout.identifier}' of specimen ids")
    texts = {"specimen_id": layout.identifier, "barcode": "barcode", "bin": "dna_bin"}
    texts.update(zip(RANKS, RANKS, strict=True))
    columns = {ours: there[theirs] for ours, theirs in {**texts, **features}.items() if theirs in there}
    width = 0
    if "image" in there:
        width, columns["sizes"] = there["image"].shape[1], there["image_mask"]
    for start, rows in slices(columns, num_rows):
        own = {name: rows.pop(name).astype(np.float32) for name in features}
        sizes = rows.pop("sizes").tolist() if "sizes" in rows else [0] * len(rows["specimen_id"])
        lists = [values.tolist() for values in rows.values()]
        for place, (size, *values) in enumerate(zip(sizes, *lists, strict=True)):
            row = start + place
            if not 0 <= size <= width:
                yield Refused(f"{group} row {row}", f"a row of {width:,} bytes cannot hold an image of {size:,}")
                continue
            # The authors' script leaves a length of 0 where it did not find the image.
            image = hdf5_reference(Path(file.filename).name, f"{group}/image", row) if size else None
            features_of_row = {name: values_of_all[place] for name, values_of_all in own.items()}
            yield _record(f"{group} row {row}", dict(zip(rows, values, strict=True)), image, features_of_row)


def _record(
    where: str, texts: Mapping[str, object], image: str | None, features: Mapping[str, Any]
) -> RawRecord | Refused:
    record: dict[str, Any] = {"where": where, "image": image, **features}
    try:
        for name, value in texts.items():
            record[name] = value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        return Refused(where, f"the value of '{name}' is not UTF-8")
    return record


def _layout_of(file: "h5py.File", groups: Sequence[str]) -> _Layout:
    for layout, other in ((_BIOSCAN_5M, _CLIBD), (_CLIBD, _BIOSCAN_5M)):
        if (set(layout.splits) - set(other.splits)) & set(groups):
            return layout
    shared = [name for name in (*_CLIBD.splits, *_CLIBD.unions) if name in groups]
    names = ("processid", "image_file")
    if shared and set(names) <= set(datasets_of(file, shared[0])) and _checked(file, shared[0], {})[1]:
        _, rows = next(slices({name: dataset(file, f"{shared[0]}/{name}") for name in names}, 1))
        process, image = (bytes(rows[name][0]) for name in names)
        return _BIOSCAN_5M if image.startswith(process) else _CLIBD
    return _CLIBD


def _checked(file: "h5py.File", group: str, features: Mapping[str, str]) -> "tuple[dict[str, h5py.Dataset], int]":
    """The datasets of a group that may be read, by their names there, and how many rows each of them has."""
    there = datasets_of(file, group)
    texts = [name for name in ("sampleid", "processid", "barcode", "dna_bin", *RANKS) if name in there]
    images = ["image", "image_mask"] if "image" in there else []
    numbers = sorted(features.values())
    datasets = {name: dataset(file, f"{group}/{name}", floats=name in numbers) for name in (*texts, *images, *numbers)}
    if odd := [name for name in numbers if datasets[name].dtype.kind not in "fiu"]:
        raise SourceError(file.filename, f"{group}/{odd[0]}", "its values are no numbers")
    if any(values.ndim != (2 if name in ("image", *numbers) else 1) for name, values in datasets.items()):
        raise SourceError(file.filename, group, "its datasets do not have the authors' shapes")
    lengths: set[int] = {len(values) for values in datasets.values()}
    if len(lengths) != 1:
        raise SourceError(file.filename, group, "its datasets do not have equally many rows")
    num_rows = lengths.pop()
    if num_rows > MAX_ROWS:
        raise SourceError(file.filename, group, f"it claims {num_rows:,} rows; {MAX_ROWS:,} are allowed")
    kinds = "".join(datasets[name].dtype.str for name in images)  # such as |u1<i8
    if images and (not kinds.startswith("|u1") or "S" in kinds or "O" in kinds):
        raise SourceError(file.filename, group, "its images are not bytes with their lengths")
    if any(values.dtype.kind == "O" for values in datasets.values()):
        check_texts(file.filename)
    return datasets, num_rows
