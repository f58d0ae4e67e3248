"""A prepared data set: Parquet shards under `split=…/` folders and one dataset.json, written last.

DATA/
    dataset.json                  what it holds; its presence means that the rest is whole
    specimens.parquet             the specimen table it was made from, sorted by split
    tokenizer.json                of its labels, for text towers trained from scratch
    rejects.tsv                   specimens kept out, with reasons
    split=train_seen/part-00000.parquet
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Names
from workloads.data.prepared.local_copy import mapped
from workloads.data.specimens.schema import PROTOCOLS, SplitProtocol, evenly_spaced
from workloads.errors import DamagedError, MissingPathError, UsageError
from workloads.experiments import Data
from workloads.run_files import checked
from workloads.seals import DATASET, SealedFolder, read_sealed
from workloads.spec import RANKS, Modality
from workloads.storage import Folder, read_file

SCHEMA_VERSION = 3
SPECIMEN_TABLE = "specimens.parquet"
MADE_LATER = ("floors.parquet",)
"""What is made of a data set by those who read it, and made anew where it is damaged."""
SPECIES = "species"
"""What a specimen with a name at that rank has beside its modalities, in `DatasetFacts.having`."""

OfficialSplit = Literal["bioscan_1m", "insect"]


BIOSCAN_1M_SPLITS: Mapping[str, tuple[int, int]] = {
    "no_split": (1_043_863, 0),
    "train_seen": (36_279, 916),
    "seen_keys": (6_350, 916),
    "val_unseen_keys": (7_645, 1_771),
    "test_unseen_keys": (7_123, 1_772),
    "val_seen": (4_878, 916),
    "val_unseen": (6_952, 1_771),
    "test_seen": (4_878, 916),
    "test_unseen": (6_448, 1_772),
    "single_species": (3_897, 3_897),
}
"""Records and species of each split of the official lists of BIOSCAN-1M (Figure 2)."""

_OFFICIAL: Mapping[OfficialSplit, tuple[str, Mapping[tuple[str, ...], int]]] = {
    "bioscan_1m": ("clibd", {(split,): records for split, (records, _) in BIOSCAN_1M_SPLITS.items()}),
    # 21,212 specimens; train and val share out trainval (Badirli et al. 2021).
    "insect": (
        "insect",
        {("train_seen", "val_classes"): 15_262, ("test_seen",): 3_525, ("test_unseen",): 2_425, ("no_split",): 0},
    ),
}
"""The protocol of each published split, and how many records its splits have, some of them together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFacts:
    """The content of dataset.json."""

    schema_version: int
    name: str
    fingerprint: str
    """Over the specimens, their splits, the image size, and the tokeniser where it is not our own."""
    content: str
    """Digest over the ids and images of what was prepared; empty before."""
    synthetic: bool
    source: str
    seed: int | None
    """Seed of the synthetic insects; None for real specimens."""
    protocol: str
    """Which splits train, answer and ask: a name in workloads.data.specimens.schema.PROTOCOLS."""
    partition: str
    """What gave the splits: the source, lists, or the recipe and seed that drew them."""
    modalities: tuple[Modality, ...]
    image_size: int
    """Shorter side of stored images, pixels, at most."""
    jpeg_quality: int
    """Quality of images that had to be encoded again; those that fitted are as they were."""
    text_tokenizer: str
    """What tokenizer.json is."""
    barcodes: bool
    """Whether specimens have barcodes; without them their DNA is features alone."""
    frame: str
    """Consensus of the barcodes, which gives all of them one frame; empty without barcodes."""
    image_feature_size: int | None
    """Length of precomputed image features; None where the images are pixels."""
    dna_feature_size: int | None
    """Length of precomputed DNA features; None where there are none."""
    num_specimens: Mapping[str, int]
    """By split."""
    num_labelled: Mapping[str, Mapping[str, int]]
    """Specimens with a name, by split and rank."""
    num_rejects: int
    reject_reasons: Mapping[str, int]
    """The commonest reasons; rejects.tsv has each one."""
    views: bool = False
    """Whether some specimens have several images, one of which is drawn for each epoch."""
    num_lost_views: int = 0
    """Images that cannot be read beside another one of their specimen; lost_views.tsv has each."""
    complete: bool = False
    """Whether specimens without one of the modalities were left out."""
    having: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Where some specimens lack a modality: by split how many have what, such as `image+dna`, or `image+text+species`
    for one with an image and a name at that rank; empty where all have all."""

    @property
    def splits(self) -> SplitProtocol:
        """Which of its splits train, answer and ask."""
        return PROTOCOLS[self.protocol]

    @property
    def data(self) -> Data:
        """What an experiment has to know of it."""
        return Data(
            name=self.name,
            fingerprint=self.fingerprint,
            synthetic=self.synthetic,
            modalities=self.modalities,
            image_features=self.image_feature_size is not None,
            dna_features=self.dna_feature_size is not None and not self.barcodes,
        )

    def num_having(self, modality: Modality, splits: Collection[str] | None = None) -> int:
        """Specimens of some splits, or of all, that have a modality."""
        chosen = self.num_specimens if splits is None else splits
        if not self.having:
            return sum(self.num_specimens.get(split, 0) for split in chosen) if modality in self.modalities else 0
        counts = (item for split in chosen for item in self.having.get(split, {}).items())
        return sum(count for what, count in counts if modality in what.split("+"))

    @property
    def num_training(self) -> int:
        """Specimens that train."""
        return sum(self.num_specimens.get(split, 0) for split in self.splits.training)

    @property
    def official_split(self) -> OfficialSplit | None:
        """The published split that it has; specimens that were refused, which are very few, count as there."""
        for name, (protocol, groups) in _OFFICIAL.items():
            lacking = [
                count - sum(self.num_specimens.get(split, 0) for split in splits) for splits, count in groups.items()
            ]
            could_be = self.protocol == protocol and not self.synthetic
            if could_be and min(lacking) >= 0 and sum(lacking) <= self.num_rejects:
                return name
        return None


class PreparedDataset:
    """Reads a prepared data set."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    @cached_property
    def facts(self) -> DatasetFacts:
        """What the data set holds.

        Raises:
            MissingPathError: there is no prepared data set.
            DamagedError: dataset.json is of another version, or does not say what it should.
        """
        if not self.folder.has(DATASET):
            remedy = "Make one with `clibd data prepare`."
            raise MissingPathError(str(self.folder), "prepared data set (dataset.json)", remedy)
        path, (content, _) = f"{self.folder}/{DATASET}", read_sealed(self.folder, DATASET)
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise DamagedError(path, f"schema version {version}, not {SCHEMA_VERSION}")
        checked(content, DatasetFacts, path)
        facts = DatasetFacts(**{**content, "modalities": tuple(content["modalities"])})
        if facts.protocol not in PROTOCOLS:
            raise DamagedError(path, f"protocol is {facts.protocol!r}, and not {' or '.join(map(repr, PROTOCOLS))}")
        if unknown := {*facts.num_specimens} - {*facts.splits.splits}:  # they are names of folders
            raise DamagedError(path, f"no split of {facts.protocol} is called {min(unknown)!r}")
        return facts

    @cached_property
    def files(self) -> Mapping[str, str]:
        """SHA-256 of its files by name; empty for a data set of an earlier version."""
        return read_sealed(self.folder, DATASET)[1] if self.folder.has(DATASET) else {}

    def without(self, partitions: Sequence[str]) -> "PreparedDataset":
        """The same data set with no queries of some partitions, which thereby nobody looks at."""
        if not partitions:
            return self
        hidden = {split for part in partitions for split in self.facts.splits.asking(part)}
        counts = {split: 0 if split in hidden else count for split, count in self.facts.num_specimens.items()}
        view = PreparedDataset(self.folder)
        view.facts = replace(self.facts, num_specimens=counts)
        return view

    def tokenizer_json(self) -> bytes:
        """The data set's own word pieces, as the `tokenizers` library stores them.

        Raises:
            AlteredError: they are not what was written.
        """
        return read_file(SealedFolder(self.folder, self.files), "tokenizer.json")

    def open(self, splits: Sequence[str]) -> pa.Table:
        """What towers take of the specimens of some splits, mapped from this machine's disk, in the order of `load`.

        Raises:
            MissingPathError: the data set has none in these splits.
            DamagedError: shards are lost.
        """
        tables = []
        for split in self._filled(splits):
            whole = SealedFolder(self.folder, self.files)
            tables.append(mapped(whole, f"{self.facts.fingerprint}-{self.facts.content}", split))
            self._check(split, len(tables[-1]))
        return pa.concat_tables(tables)

    def sample(self, splits: Sequence[str], columns: Sequence[str], at_most: int) -> pa.Table:
        """Some columns of evenly spaced specimens, of all of them where there are no more than asked for.

        Raises:
            MissingPathError: the data set has none in these splits.
        """
        num_rows = sum(self.facts.num_specimens.get(split, 0) for split in splits)
        return pa.Table.from_batches(evenly_spaced(self.batches(splits, columns), num_rows, at_most))

    def load(self, splits: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """The specimens of some splits, with a column `split`, in the order of `splits` and of their shards.

        Raises:
            MissingPathError: the data set has none in these splits.
            DamagedError: shards are lost.
        """
        return pa.Table.from_batches(self.batches(splits, columns))

    def find(self, splits: Sequence[str], columns: Sequence[str], ids: Collection[str]) -> pa.Table:
        """Some columns of the specimens of these ids, as far as they are in the splits; shards are read in pieces.

        Raises:
            MissingPathError: the data set has none in these splits.
            DamagedError: shards are lost.
        """
        wanted = pa.array(sorted(ids), pa.string())
        return pa.Table.from_batches(
            batch.filter(pc.is_in(batch["specimen_id"], value_set=wanted))
            for batch in self.batches(splits, ["specimen_id", *columns])
        )

    def images(self, splits: Sequence[str], ids: Collection[str]) -> dict[str, bytes]:
        """The images of some specimens, as they are stored.

        Raises:
            MissingPathError: the data set has none in these splits.
            UsageError: one of the specimens is not there, or the data set has no images.
        """
        rows = self.find(splits, ["image"], ids)
        contents: dict[str, bytes] = dict(zip(rows["specimen_id"].to_pylist(), rows["image"].to_pylist(), strict=True))
        for specimen in sorted(ids):
            if specimen not in contents:
                raise UsageError(f"{self.folder} has no specimen {specimen}; name the data set that was evaluated")
            if contents[specimen] is None:
                raise UsageError(f"{self.folder} has no image of specimen {specimen}, only features or nothing")
        return contents

    def batches(self, splits: Sequence[str], columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """All rows of some splits, some 4,096 at a time, with a column `split`.

        Raises:
            MissingPathError: the data set has none in these splits.
            DamagedError: at the end of a split, where shards are lost.
        """
        for split in self._filled(splits):
            folder, num_rows = self.folder / f"split={split}", 0
            for name in folder.files():
                if name.endswith(".parquet"):
                    with folder.open_parquet(name) as file:
                        if lost := {*(columns or ())} - {*file.schema_arrow.names}:
                            raise DamagedError(f"{folder}/{name}", f"there is no column {min(lost)}")
                        for batch in file.iter_batches(4096, columns=list(columns or file.schema_arrow.names)):
                            num_rows += len(batch)
                            yield batch.append_column("split", pa.array([split] * len(batch), pa.string()))
            self._check(split, num_rows)

    def _filled(self, splits: Sequence[str]) -> list[str]:
        """Those of the splits that have specimens."""
        filled = [split for split in splits if self.facts.num_specimens.get(split)]
        if not filled:
            raise MissingPathError(str(self.folder), f"specimens of {', '.join(splits)}", "Prepare more specimens.")
        return filled

    def _check(self, split: str, num_rows: int) -> None:
        """Refuse a split of which shards are lost, or that was changed."""
        wanted = self.facts.num_specimens[split]
        if num_rows != wanted:
            raise DamagedError(f"{self.folder}/split={split}", f"{num_rows:,} specimens instead of {wanted:,}")


def labels_of(table: pa.Table) -> dict[str, Names]:
    """The names at every rank, None where missing."""
    return {rank: np.array(table[rank].to_pylist(), dtype=object) for rank in RANKS}
