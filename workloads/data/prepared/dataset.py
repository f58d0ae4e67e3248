"""A prepared data set: Parquet shards under `split=…/` folders and one dataset.json, written last.

DATA/
    dataset.json                  what it holds; its presence means that the rest is whole
    specimens.parquet             the specimen table it was made from, sorted by split
    tokenizer.json                of its labels, for text towers trained from scratch
    rejects.tsv                   specimens kept out, with reasons
    split=train_seen/part-00000.parquet
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from workloads.data.prepared.local_copy import mapped
from workloads.data.specimens.schema import PROTOCOLS, Protocol
from workloads.data.specimens.specimen_table import SpecimenTable
from workloads.errors import DamagedError, MissingPathError
from workloads.experiments import Data
from workloads.spec import RANKS, Modality
from workloads.storage import Folder

SCHEMA_VERSION = 3
SPECIMENS = "specimens.parquet"


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
    """Of the synthetic insects; None for real specimens."""
    protocol: str
    """Which splits train, answer and ask: a name in workloads.data.specimens.schema.PROTOCOLS."""
    partition: str
    """What gave the splits: the source, lists, or the recipe and seed that drew them."""
    modalities: tuple[Modality, ...]
    image_size: int
    """Shorter side of stored images, pixels, at most."""
    jpeg_quality: int
    """Of images that had to be encoded again; those that fitted are as they were."""
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

    @property
    def splits(self) -> Protocol:
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

    @property
    def num_training(self) -> int:
        """Specimens that train."""
        return sum(self.num_specimens.get(split, 0) for split in self.splits.training)


class PreparedDataset:
    """Reads a prepared data set."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    @cached_property
    def facts(self) -> DatasetFacts:
        """What the data set holds.

        Raises:
            MissingPathError: there is no prepared data set.
            DamagedError: dataset.json is of another version.
        """
        if not self.folder.has("dataset.json"):
            remedy = "Make one with `clibd data prepare`."
            raise MissingPathError(str(self.folder), "prepared data set (dataset.json)", remedy)
        content = self.folder.read_json("dataset.json")
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise DamagedError(f"{self.folder}/dataset.json", f"schema version {version}, not {SCHEMA_VERSION}")
        try:
            return DatasetFacts(**{**content, "modalities": tuple(content["modalities"])})
        except (TypeError, KeyError) as error:
            raise DamagedError(f"{self.folder}/dataset.json", f"not the fields of this version ({error})") from error

    def without(self, partitions: Sequence[str]) -> "PreparedDataset":
        """The same data set with no queries of some partitions, which thereby nobody looks at."""
        if not partitions:
            return self
        hidden = {split for part in partitions for split in self.facts.splits.queries.get(part, {}).values()}
        counts = {split: 0 if split in hidden else count for split, count in self.facts.num_specimens.items()}
        view = PreparedDataset(self.folder)
        view.facts = replace(self.facts, num_specimens=counts)
        return view

    def tokenizer_json(self) -> str:
        """The data set's own word pieces, as the `tokenizers` library stores them."""
        return self.folder.read("tokenizer.json").decode()

    def specimens(self) -> SpecimenTable:
        """The specimen table that it was made from, with those that were refused."""
        return SpecimenTable(self.folder, SPECIMENS)

    def open(self, splits: Sequence[str]) -> pa.Table:
        """What towers take of the specimens of some splits, mapped from this machine's disk, in the order of `load`.

        Raises:
            MissingPathError: the data set has none in these splits.
            DamagedError: shards are lost.
        """
        tables = []
        for split in self._filled(splits):
            tables.append(mapped(self.folder, f"{self.facts.fingerprint}-{self.facts.content}", split))
            self._check(split, len(tables[-1]))
        return pa.concat_tables(tables)

    def sample(self, splits: Sequence[str], columns: Sequence[str], at_most: int) -> pa.Table:
        """Some columns of evenly spaced specimens, of all of them where there are no more than asked for.

        Raises:
            MissingPathError: the data set has none in these splits.
        """
        filled = self._filled(splits)
        every, row = math.ceil(sum(self.facts.num_specimens[split] for split in filled) / at_most), 0
        kept = []
        for split in filled:
            for batch in self._batches(split, columns):
                kept.append(batch.take(pa.array(range(-row % every, len(batch), every), pa.int64())))
                row += len(batch)
        return pa.Table.from_batches(kept)

    def load(self, splits: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """The specimens of some splits, with a column `split`, in the order of `splits` and of their shards.

        Raises:
            MissingPathError: the data set has none in these splits.
            DamagedError: shards are lost.
        """
        tables = []
        for split in self._filled(splits):
            table = pa.Table.from_batches(self._batches(split, columns))
            tables.append(table.append_column("split", pa.array([split] * len(table), pa.string())))
        return pa.concat_tables(tables)

    def find(self, splits: Sequence[str], columns: Sequence[str], ids: Collection[str]) -> pa.Table:
        """Some columns of the specimens of these ids, as far as they are in the splits; shards are read in pieces.

        Raises:
            MissingPathError: the data set has none in these splits.
            DamagedError: shards are lost.
        """
        wanted = pa.array(sorted(ids), pa.string())
        batches = (batch for split in self._filled(splits) for batch in self._batches(split, ["specimen_id", *columns]))
        return pa.Table.from_batches(
            batch.filter(pc.is_in(batch["specimen_id"], value_set=wanted)) for batch in batches
        )

    def _filled(self, splits: Sequence[str]) -> list[str]:
        """Those of the splits that have specimens."""
        filled = [split for split in splits if self.facts.num_specimens.get(split)]
        if not filled:
            raise MissingPathError(str(self.folder), f"specimens of {', '.join(splits)}", "Prepare more specimens.")
        return filled

    def _batches(self, split: str, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """All rows of a split.

        Raises:
            DamagedError: at the end, where shards are lost.
        """
        folder, num_rows = self.folder / f"split={split}", 0
        for name in folder.files():
            if name.endswith(".parquet"):
                with folder.open_parquet(name) as file:
                    for batch in file.iter_batches(columns=list(columns or file.schema_arrow.names), batch_size=4096):
                        num_rows += len(batch)
                        yield batch
        self._check(split, num_rows)

    def _check(self, split: str, num_rows: int) -> None:
        """Refuse a split of which shards are lost, or that was changed."""
        wanted = self.facts.num_specimens[split]
        if num_rows != wanted:
            raise DamagedError(f"{self.folder}/split={split}", f"{num_rows:,} specimens instead of {wanted:,}")


def labels_of(table: pa.Table) -> dict[str, npt.NDArray[np.object_]]:
    """The names at every rank, None where missing."""
    return {rank: np.array(table[rank].to_pylist(), dtype=object) for rank in RANKS}


def write_facts(folder: Folder, facts: DatasetFacts, rejects: Iterable[tuple[str, str]]) -> None:
    """Finish a prepared data set: the reject list, then dataset.json."""
    write_rejects(folder, rejects)
    folder.write_json("dataset.json", asdict(facts))


def write_rejects(folder: Folder, rejects: Iterable[tuple[str, str]]) -> None:
    """The list of refused specimens, one a line with its reason."""
    with folder.line_writer("rejects.tsv") as write:
        write(REJECTS_HEADER)
        for identifier, reason in rejects:
            write(reject_line(identifier, reason))


REJECTS_HEADER = "specimen_id\treason"


def reject_line(identifier: str, reason: str) -> str:
    """A refused specimen as a line of a list."""
    return "\t".join(" ".join(part.split()) for part in (identifier, reason))
