"""A prepared data set: Parquet shards under `split=…/` folders and one dataset.json, written last.

DATA/
    dataset.json                  what it holds; its presence means that the rest is whole
    tokenizer.json                word pieces of its labels, for text towers trained from scratch
    rejects.tsv                   specimens kept out, with reasons
    split=train_seen/part-00000.parquet
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workloads.data.schema import TRAINING_SPLITS
from workloads.data.shards import ShardReport
from workloads.errors import DamagedError, MissingPathError
from workloads.spec import RANKS, Modality
from workloads.storage import Folder

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFacts:
    """The content of dataset.json."""

    schema_version: int
    name: str
    fingerprint: str
    """Over the specimens, their splits and the image size."""
    synthetic: bool
    source: str
    seed: int | None
    """Of the synthetic insects; None for real specimens."""
    modalities: tuple[Modality, ...]
    image_size: int
    """Shorter side of stored images, pixels, at most."""
    frame: str
    """Consensus of the barcodes, which gives all of them one frame; empty without barcodes."""
    feature_size: int | None
    """Length of precomputed image features; None where the images are pixels."""
    num_specimens: dict[str, int]
    """By split."""
    num_rejects: int

    @property
    def num_training(self) -> int:
        """Specimens that train."""
        return sum(self.num_specimens.get(split, 0) for split in TRAINING_SPLITS)


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
            raise MissingPathError(
                str(self.folder), "prepared data set (dataset.json)", "Make one with `clibd data prepare`."
            )
        content = self.folder.read_json("dataset.json")
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise DamagedError(f"{self.folder}/dataset.json", f"schema version {version}, not {SCHEMA_VERSION}")
        try:
            return DatasetFacts(**{**content, "modalities": tuple(content["modalities"])})
        except (TypeError, KeyError) as error:
            raise DamagedError(f"{self.folder}/dataset.json", f"not the fields of this version ({error})") from error

    def tokenizer_json(self) -> str:
        """The data set's own word pieces, as the `tokenizers` library stores them."""
        return self.folder.read("tokenizer.json").decode()

    def load(self, splits: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """The specimens of some splits, with a column `split`, in the order of `splits` and of their shards."""
        tables = []
        for split in splits:
            folder = self.folder / f"split={split}"
            for name in folder.files():
                if name.endswith(".parquet"):
                    table = folder.read_table(name, list(columns) if columns else None)
                    tables.append(table.append_column("split", pa.array([split] * len(table), pa.string())))
        if not tables:
            raise MissingPathError(str(self.folder), f"specimens of {', '.join(splits)}", "Prepare more specimens.")
        return pa.concat_tables(tables)


def labels_of(table: pa.Table) -> dict[str, npt.NDArray[np.object_]]:
    """The names at every rank, None where missing."""
    return {rank: np.array(table[rank].to_pylist(), dtype=object) for rank in RANKS}


def write_facts(folder: Folder, facts: DatasetFacts, rejects: Iterable[tuple[str, str]]) -> None:
    """Finish a prepared data set: the reject list, then dataset.json."""
    lines = ["\t".join(" ".join(part.split()) for part in reject) + "\n" for reject in rejects]
    folder.write("rejects.tsv", "".join(["specimen_id\treason\n", *lines]).encode())
    folder.write_json("dataset.json", asdict(facts))


def count_specimens(reports: Iterable[ShardReport]) -> dict[str, int]:
    """Specimens kept, by split."""
    counts: Counter[str] = Counter()
    for report in reports:
        counts[report.split] += report.num_rows
    return dict(counts)
