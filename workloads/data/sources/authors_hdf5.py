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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.data.files.hdf5_files import (
    MAX_ROWS,
    dataset,
    datasets_of,
    groups_of,
    open_hdf5,
    read_slice,
    rows_at_once,
)
from workloads.data.files.image_source import hdf5_reference
from workloads.data.sources.source import RawRecord, Refused, Source
from workloads.data.sources.split_lists import UNIONS
from workloads.data.specimens.schema import clean_name
from workloads.errors import RecordError, SourceError
from workloads.spec import RANKS

if TYPE_CHECKING:
    import h5py

_ROWS = 4096


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
    unions={"no_split_and_seen_train": ("no_split", "seen_keys"), "all_keys": ("seen_keys", "unseen_keys")},
)
_TRAINING = "no_split_and_seen_train"


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
        records = _planned(path, layout, groups, wanted)
        total = sum(_num_rows(file, group, wanted) for group in (*records.whole, *records.rest))
    return Source(
        name=str(path),
        records=records,
        root=str(path.parent),
        total=None if records.rest else total,
        protocol=layout.protocol,
        has_splits=True,
        notes=records.notes,
    )


def _planned(path: Path, layout: _Layout, groups: Sequence[str], features: Mapping[str, str]) -> "_Records":
    """Which groups are read."""
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
        raise SourceError(str(path), "", f"{reason} ({', '.join(groups) or 'none at all'}), so no split can be told")
    return _Records(path, layout, whole, rest, notes, features)


@dataclass(slots=True)
class _Records:
    """Records of all groups; each iteration opens the file anew."""

    path: Path
    layout: _Layout
    whole: tuple[str, ...]
    """Groups of one split."""
    rest: Mapping[str, tuple[str, ...]]
    """Groups that repeat others, and those of the repeated ones that are missing: their rows come from here."""
    notes: list[str]
    features: Mapping[str, str]
    _known: dict[str, set[str]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[RawRecord | Refused]:
        # Ids are only held of the groups that another repeats in part, such as the seen keys of BIOSCAN-5M.
        held = {part for name in self.rest for part in self.layout.unions[name] if part in self.whole}
        self._known = {group: set() for group in held}
        with open_hdf5(self.path) as file:
            for group in self.whole:
                for record in self._group(file, group):
                    if group in held and not isinstance(record, Refused):
                        self._known[group].add(str(record["specimen_id"]))
                    yield record | {"split": self.layout.splits[group]} if isinstance(record, dict) else record
            for group, missing in self.rest.items():
                yield from self._rest(file, group, missing)

    def _rest(self, file: "h5py.File", group: str, missing: Sequence[str]) -> Iterator[RawRecord | Refused]:
        """Rows of a group that none of the groups it repeats has."""
        parts = [part for part in self.layout.unions[group] if part in self._known]
        num_repeated = 0
        for record in self._group(file, group):
            if isinstance(record, Refused):
                yield record
            elif any(str(record["specimen_id"]) in self._known[part] for part in parts):
                num_repeated += 1
            else:
                yield {**record, "split": self._split_of(record, missing)}
        self._note(f"group '{group}': the {num_repeated:,} rows that {', '.join(parts) or 'others'} have were left out")
        if len(missing) > 1:
            self._note(f"group '{group}': records with a species were taken for train_seen, those without for no_split")
        num_known = sum(len(self._known[part]) for part in parts)
        if group == _TRAINING and num_repeated < num_known:
            self._note(
                f"{num_known - num_repeated:,} specimens of {', '.join(parts)} are not in '{group}': the authors did "
                "not train on them, but this data set does"
            )

    def _split_of(self, record: RawRecord, missing: Sequence[str]) -> str:
        if len(missing) == 1:
            return self.layout.splits[missing[0]]
        try:
            return "no_split" if clean_name(record.get("species")) is None else "train_seen"
        except RecordError:
            return "train_seen"  # a name that the import refuses

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _group(self, file: "h5py.File", group: str) -> Iterator[dict[str, Any] | Refused]:
        """Rows of one group, a few thousand at a time."""
        num_rows = _num_rows(file, group, self.features)
        names = _columns(file, group, self.layout)
        columns = {ours: dataset(file, f"{group}/{theirs}") for ours, theirs in names.items()}
        has_images = "image" in datasets_of(file, group)
        mask = dataset(file, f"{group}/image_mask") if has_images else None
        width = dataset(file, f"{group}/image").shape[1] if has_images else 0
        features = {ours: dataset(file, f"{group}/{theirs}", floats=True) for ours, theirs in self.features.items()}
        step = min(rows_at_once(column, _ROWS) for column in (*columns.values(), *features.values()))
        for start in range(0, num_rows, step):
            stop = min(start + step, num_rows)
            values = {name: read_slice(column, start, stop).tolist() for name, column in columns.items()}
            own = {name: read_slice(column, start, stop).astype(np.float32) for name, column in features.items()}
            sizes = [0] * (stop - start) if mask is None else read_slice(mask, start, stop).tolist()
            for place, (size, *texts) in enumerate(zip(sizes, *values.values(), strict=True)):
                row = start + place
                if not 0 <= size <= width:
                    yield Refused(f"{group} row {row}", f"a row of {width:,} bytes cannot hold an image of {size:,}")
                    continue
                # The authors' script leaves a length of 0 where it did not find the image.
                image = hdf5_reference(self.path.name, f"{group}/image", row) if size else None
                features_of_row = {name: rows[place] for name, rows in own.items()}
                yield _record(f"{group} row {row}", dict(zip(values, texts, strict=True)), image, features_of_row)


def _record(
    where: str, texts: Mapping[str, object], image: str | None, features: Mapping[str, Any]
) -> dict[str, Any] | Refused:
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
    if shared and {"processid", "image_file"} <= set(datasets_of(file, shared[0])) and _num_rows(file, shared[0]):
        process, image = (read_slice(dataset(file, f"{shared[0]}/{n}"), 0, 1)[0] for n in ("processid", "image_file"))
        return _BIOSCAN_5M if bytes(image).startswith(bytes(process)) else _CLIBD
    return _CLIBD


def _columns(file: "h5py.File", group: str, layout: _Layout) -> dict[str, str]:
    """Datasets of text by the names of the specimen table."""
    there = datasets_of(file, group)
    wanted = {"specimen_id": layout.identifier, "barcode": "barcode", "bin": "dna_bin"}
    wanted.update(zip(RANKS, RANKS, strict=True))
    if layout.identifier not in there:
        raise SourceError(file.filename, group, f"it has no dataset '{layout.identifier}' of specimen ids")
    return {ours: theirs for ours, theirs in wanted.items() if theirs in there}


def _num_rows(file: "h5py.File", group: str, features: Mapping[str, str] | None = None) -> int:
    """Rows of a group, in all of whose datasets that are read they are equally many."""
    there = datasets_of(file, group)
    texts = [name for name in ("sampleid", "processid", "barcode", "dna_bin", *RANKS) if name in there]
    images = ["image", "image_mask"] if "image" in there else []
    numbers = sorted((features or {}).values())
    found = {name: dataset(file, f"{group}/{name}", floats=name in numbers) for name in (*texts, *images, *numbers)}
    if odd := [name for name in numbers if found[name].dtype.kind not in "fiu"]:
        raise SourceError(file.filename, f"{group}/{odd[0]}", "its values are no numbers")
    if any(values.ndim != (2 if name in ("image", *numbers) else 1) for name, values in found.items()):
        raise SourceError(file.filename, group, "its datasets do not have the authors' shapes")
    lengths: set[int] = {len(values) for values in found.values()}
    if len(lengths) != 1:
        raise SourceError(file.filename, group, "its datasets do not have equally many rows")
    num_rows = lengths.pop()
    if num_rows > MAX_ROWS:
        raise SourceError(file.filename, group, f"it claims {num_rows:,} rows; {MAX_ROWS:,} are allowed")
    kinds = "".join(found[name].dtype.str for name in images)  # such as |u1<i8
    if images and (not kinds.startswith("|u1") or "S" in kinds or "O" in kinds):
        raise SourceError(file.filename, group, "its images are not bytes with their lengths")
    return num_rows
