"""INSECT (Badirli et al. 2021), a zero-shot data set: the authors' MATLAB files, or the CSV and HDF5 made from them.

Order, family and genus come from a table of names such as NCBI's; impossible ones are left out. The published table
(`specie_to_other_labels.json`) took the first hit of a name search, so that some beetles and wasps were given the ranks
of a diatom, a bivalve and a snail.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from workloads.arrays import Floats
from workloads.data.files.matlab import texts, zero_based
from workloads.data.sources.delimited import read_delimited
from workloads.data.sources.insect_files import (
    LINEAGE_FILES,
    LISTS,
    ImageFinder,
    open_specimens,
    variables,
)
from workloads.data.sources.source import RawRecord, Records, Refused, Source
from workloads.data.specimens.name_words import INSECT_ORDERS
from workloads.data.specimens.schema import clean_name
from workloads.errors import MissingPathError, RecordError, SourceError, some_of
from workloads.plain_values import parsed

_SPLIT_OF: dict[frozenset[str], str] = {
    frozenset({"trainval", "train"}): "train_seen",
    frozenset({"trainval", "val"}): "val_classes",
    frozenset({"test_seen"}): "test_seen",
    frozenset({"test_seen", "train"}): "test_seen",
    frozenset({"test_seen", "val"}): "test_seen",
    frozenset({"test_unseen"}): "test_unseen",
    frozenset(): "no_split",
}
"""Our split of a specimen by the published lists that it is on.

Train and val share out trainval by class. Other zero-shot data sets (Xian et al. 2017) share out the test_seen
specimens of these classes too; such a specimen stays a test query.
"""


_RANKS_ABOVE = ("order", "family", "genus")
_SPECIES_COLUMNS = ("species", "scientific_name", "name")
_LARGEST_TABLE = 64 << 20  # that of the 1,213 species has 70 kB
_NUM_EXAMPLES = 5
_Ranks = Mapping[str, str | None]  # name at each rank above species, or None


def insect_source(path: Path, taxonomy: Path | None, features_only: bool = False) -> Source:
    """INSECT's specimens with their published splits.

    Args:
        path: folder with `res101.mat` and `att_splits.mat`, or with `INSECT_metadata.csv`; or one of these files.
        taxonomy: table of lineages (see `read_lineages`). Default: the one that lies in the folder, if any.
        features_only: whether the published image features are wanted in place of images.

    Raises:
        MissingPathError: none of these files is there.
        SourceError: a file that is not what its name says, or lists that contradict one another.
    """
    folder = path if path.is_dir() else path.parent
    specimens, find_image, seed = open_specimens(path, features_only)
    table = taxonomy or next((folder / name for name in LINEAGE_FILES if (folder / name).is_file()), None)
    lineages = read_lineages(table, are_real=seed is None) if table else Lineages({}, "no table")
    notes: list[str] = []
    return Source(
        name=str(path),
        records=_records(specimens, find_image, lineages, str(folder), notes),
        root=str(folder),
        total=len(specimens) if isinstance(specimens, list) else None,
        protocol="insect",
        has_splits=True,
        published=True,
        synthetic_seed=seed,
        notes=notes,
    )


def class_embeddings(path: Path) -> tuple[tuple[str, ...], Floats]:
    """The classes of INSECT in the order of their labels, and what their barcodes say of them.

    Args:
        path: folder with `res101.mat` and `att_splits.mat`.

    Returns:
        Species of each class, and its embedding by a network trained on barcodes (`att`), (num_classes, 500).

    Raises:
        MissingPathError: one of the files is not there.
        SourceError: a file that is not what its name says, or a class without specimens.
    """
    values = variables(path, ("labels", "species", "att"))
    embeddings = values["att"]
    if embeddings.ndim != 2 or embeddings.dtype.kind != "f" or not np.isfinite(embeddings).all():
        raise SourceError(path, "att", f"{embeddings.dtype} of shape {embeddings.shape}, not finite columns")
    num_classes = embeddings.shape[1]
    labels = zero_based(path, "labels", values["labels"], num_classes)
    species = texts(path, "species", values["species"])
    names = dict(zip(labels.tolist(), species, strict=True)) if len(labels) == len(species) else {}
    ordered = [names.get(label) for label in range(num_classes)]
    if None in ordered:
        raise SourceError(path, "labels", f"class {ordered.index(None) + 1} has no specimen with a species")
    return tuple(str(name) for name in ordered), np.ascontiguousarray(embeddings.T, dtype=np.float32)


def _records(
    specimens: Records, find_image: ImageFinder | None, lineages: "Lineages", source: str, notes: list[str]
) -> Iterator[RawRecord | Refused]:
    """The specimens with their ranks, images and splits; the remarks on all of them at the end."""
    kept: list[RawRecord] = []
    for specimen in specimens:
        if isinstance(specimen, Refused):
            yield specimen
            continue
        identifier, where = specimen["specimen_id"], specimen["where"]
        try:
            species = clean_name(specimen["species"])
        except RecordError as error:
            yield Refused(identifier or where, f"{where}: {error}")
            continue
        ranks = {"species": species, **(lineages.of(species) if species else {})}
        image = find_image(specimen["species"] or "", identifier) if find_image else None
        kept.append({**specimen, **ranks, "image": image, "split": _split(source, specimen)})
        yield kept[-1]
    notes += [*lineages.notes(), *_remarks(source, kept, find_image is not None)]


def _split(source: str, specimen: RawRecord) -> str:
    if (split := _SPLIT_OF.get(frozenset(specimen["lists"]))) is None:
        on = ", ".join(name for name in LISTS if name in specimen["lists"])
        reason = f"it is on the lists {on}, but trainval is train and val together, and apart from the tests"
        raise SourceError(source, specimen["where"], reason)
    return split


def _remarks(source: str, records: Sequence[RawRecord], has_images: bool) -> list[str]:
    """What the lists and labels of all specimens together say.

    Raises:
        SourceError: a species of test_unseen is seen in training.
    """
    of_split, labels = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for record in records:
        if record["species"] is not None:
            of_split[record["split"]].add(record["species"])
            labels[record["species"]].add(record["label"])
    train, val = of_split["train_seen"], of_split["val_classes"]
    if known := sorted(of_split["test_unseen"] & (train | val | of_split["test_seen"])):
        raise SourceError(source, "", f"{known[0]} and {len(known) - 1} more of test_unseen are on other lists too")
    relabelled = [species for species, own in labels.items() if len(own) > 1]
    num_shared = sum("test_seen" in record["lists"] and len(record["lists"]) > 1 for record in records)
    remarks = [
        (has_images and sum(record["image"] is None for record in records), "specimens have no image file"),
        (num_shared, "test_seen specimens are on train_loc or val_loc too; they are only tested"),
        (len(train & val), "species are in train and in val; val is not unseen"),
        (len(of_split["test_seen"] - train), "species of test_seen have no specimen in train, only in val"),
        (len(relabelled), f"species have several labels, such as {min(relabelled, default='')}"),
    ]
    return [f"{count:,} {remark}" for count, remark in remarks if count]


class Lineages:
    """Ranks above species, by species; remembers what it was asked, so that remarks are about those species only."""

    def __init__(self, table: Mapping[str, _Ranks], source: str, are_real: bool = True) -> None:
        self._table, self._source, self._asked = table, source, set[str]()
        orders = {species: ranks["order"] for species, ranks in table.items() if are_real and ranks["order"]}
        self._impossible = {species: order for species, order in orders.items() if order not in INSECT_ORDERS}

    def of(self, species: str) -> dict[str, str | None]:
        """Order, family and genus of a species; None where they are not known or cannot be."""
        self._asked.add(species)
        known = self._table.get(species, {})
        if species in self._impossible:
            genus = known.get("genus")
            return {"order": None, "family": None, "genus": genus if genus == species.split()[0] else None}
        return {rank: known.get(rank) for rank in _RANKS_ABOVE}

    def notes(self) -> list[str]:
        """Remarks about the species that were asked for."""
        asked = sorted(self._asked)
        if not self._table:
            return [f"without a table of lineages, nothing above species is known of {len(asked)} species"]
        absent = [name for name in asked if not any(self._table.get(name, {}).values())]
        impossible = [f"{name} ({self._impossible[name]})" for name in asked if name in self._impossible]
        moved = [
            f"{name} ({genus})" for name in asked if (genus := self.of(name)["genus"]) not in (None, name.split()[0])
        ]
        left_out = f"their ranks above species are left out: {', '.join(impossible)}"
        kept = f"its genus is kept: {some_of(moved, _NUM_EXAMPLES)}"
        remarks = [
            (impossible, f"gives {len(impossible)} species an order that is none of the insects'; {left_out}"),
            (moved, f"puts {len(moved)} species into a genus that is not the first word of their name; {kept}"),
            (absent, f"has no lineage of {len(absent)} species: {some_of(absent, _NUM_EXAMPLES)}"),
        ]
        return [f"{self._source} {remark}" for names, remark in remarks if names]


def read_lineages(path: Path, are_real: bool = True) -> "Lineages":
    """Lineages from `specie_to_other_labels.json`, or from a table (.tsv, .csv) of order, family, genus and species.

    Args:
        path: the file.
        are_real: whether an order that is none of the insects' is an error; synthetic insects have orders of their own.

    Raises:
        MissingPathError: no such file.
        SourceError: not such a table, or two different lineages of one species.
    """
    if not path.is_file():
        raise MissingPathError(path, "table of lineages", "Name a .tsv, .csv or .json file with INSECT's species.")
    if path.stat().st_size > _LARGEST_TABLE:
        raise SourceError(path, "", "larger than a table of species can be")
    table: dict[str, _Ranks] = {}
    for where, species, ranks in _json_rows(path) if path.suffix.lower() == ".json" else _table_rows(path):
        try:
            name = clean_name(species)
            lineage = {rank: clean_name(ranks.get(rank)) for rank in _RANKS_ABOVE}
        except RecordError as error:
            raise SourceError(path, where, str(error)) from error
        if name is None:
            raise SourceError(path, where, "no species")
        if table.setdefault(name, lineage) != lineage:
            raise SourceError(path, where, f"a second, different lineage of {name}")
    if not table:
        raise SourceError(path, "", "it is empty")
    return Lineages(table, path.name, are_real)


def _json_rows(path: Path) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Where each row stands, the species, and what the table says of its ranks."""
    try:
        content = parsed(path.read_bytes())
    except ValueError as error:
        raise SourceError(path, "", f"not JSON ({error})") from error
    if not isinstance(content, dict):
        raise SourceError(path, "", "not an object of species")
    for species, ranks in content.items():
        if not isinstance(ranks, dict) or not all(isinstance(name, str | None) for name in ranks.values()):
            raise SourceError(path, f"species {species!r}", "not an object of names")
        yield f"species {species!r}", species, ranks


def _table_rows(path: Path) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    header, rows, _ = read_delimited(path, "," if path.suffix.lower() == ".csv" else "\t")
    names = [name.lower() for name in header]
    column = next((name for name in _SPECIES_COLUMNS if name in names), None)
    if column is None or not set(names) & set(_RANKS_ABOVE) or len(set(names)) < len(names):
        raise SourceError(path, "first line", "needs the columns species and order, family or genus, each once")
    for row in rows:
        if isinstance(row, Refused):
            raise SourceError(path, row.identifier, row.reason)
        values = dict(zip(names, row[1].values(), strict=True))
        yield row[0], values[column], values
