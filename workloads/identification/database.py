"""A database of named specimens: one folder that is read where it lies (docs/decisions/0023).

database.json         what it holds, written last: its presence means that the rest is whole
specimens.parquet     a row for each specimen (`SPECIMENS`)
keys-image.npy        distinct keys, mapped and never read whole; `image_key` and `dna_key` are rows of them
keys-dna.npy          the same; of a database without a model counts of 5-mers
calibration.parquet   what every calibrating query was named (`workloads.identification.calibration`)
thumbnails.parquet    small images of specimens, where they were asked for
calibrating/          a database in itself, of the specimens that calibrate and are no keys; only where there are such
run/                  the run whose towers embed, as it was sealed; not there without a model
left_out.tsv, other_names.tsv     specimens that were not taken, and those whose barcode another species has as well
README.md, croissant.json         for people, and for those who collect data sets
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from workloads.arrays import Indices, Labels
from workloads.data.prepared.dataset import labels_of
from workloads.errors import AlteredError, DamagedError, MissingPathError, NewerVersionError, UsageError
from workloads.identification.keys import StoredRows
from workloads.identification.sharing import fetched
from workloads.record import RunFolder
from workloads.run_files import checked
from workloads.seals import DATABASE, SealedFolder, read_sealed, with_seal
from workloads.spec import RANKS
from workloads.storage import Folder
from workloads.weight_files import MODEL
from workloads.weight_store import HUB_PREFIX

VERSION = 1
FACTS, SPECIMENS_FILE, CALIBRATION, THUMBNAILS = (
    DATABASE,
    "specimens.parquet",
    "calibration.parquet",
    "thumbnails.parquet",
)
RUN, CALIBRATING = "run", "calibrating"
KeyKind = Literal["image", "dna"]
KEY_KINDS: tuple[KeyKind, ...] = ("image", "dna")
KEY_WORDS: Mapping[str, str] = {"image": "images", "dna": "barcodes"}
SPECIMENS = pa.schema(
    [
        ("specimen_id", pa.string()),
        *[(rank, pa.string()) for rank in RANKS],
        ("bin", pa.string()),
        ("barcode", pa.string()),
        ("trained", pa.bool_()),  # whether the run learned from specimens of its species; null without a run
        ("image_key", pa.int64()),
        ("dna_key", pa.int64()),
        ("source", pa.string()),
    ]
)
"""Columns of `specimens.parquet`; all but the id may be null."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseFacts:
    """The content of database.json, without the digests."""

    version: int = VERSION
    name: str
    model: str | None
    """Id of the run whose towers embed; None: barcodes are compared by their 5-mers."""
    weights: str | None
    """SHA-256 of the run's weights."""
    modalities: tuple[KeyKind, ...]
    """Of which there are keys."""
    num_specimens: int
    num_keys: Mapping[str, int]
    """Distinct keys by modality."""
    num_taxa: Mapping[str, int]
    """Names by rank."""
    num_without_name: Mapping[str, int] = field(default_factory=dict)
    """Specimens without a name, by rank."""
    calibrated: tuple[str, ...] = ()
    """By what specimens can be identified with a confidence: `image`, `dna`, `both`."""
    synthetic: bool = False
    """Whether the specimens were drawn; every answer says so."""
    sources: tuple[str, ...] = ()
    """Data sets and files that the specimens came from."""
    made_with: str = ""
    """Version of this package."""
    made: str = ""
    """Date, YYYY-MM-DD."""
    license: str = "unknown"
    """Of the specimens, as Hugging Face abbreviates it: `cc-by-4.0`."""
    cite: str = ""
    """What those who use it are asked to cite."""
    num_left_out: int = 0
    """Specimens that were not taken (left_out.tsv)."""
    num_other_names: int = 0
    """Specimens whose barcode another species has as well (other_names.tsv)."""
    stale: str = ""
    """Why there is no calibration although there was one: its keys have changed since."""


class Database:
    """Reads a database."""

    def __init__(self, address: str | Path) -> None:
        """Open it; nothing is read yet.

        Args:
            address: a folder on a disk of this machine, or `hf-hub:OWNER/NAME`, which is fetched into the hub's cache.

        Raises:
            UsageError: it is in a bucket; or the hub has no such database, or cannot be reached.
        """
        self.folder = Folder(fetched(str(address)))
        self.is_fetched = str(address).startswith(HUB_PREFIX)
        if not self.folder.is_local:
            raise UsageError(
                f"{self.folder} is in a bucket, and keys are mapped from a disk; copy it: "
                f"`gcloud storage cp -r` or `aws s3 cp --recursive`"
            )

    @cached_property
    def _content(self) -> tuple[DatabaseFacts, Mapping[str, str]]:
        if not self.folder.has(FACTS):
            remedy = "Make one with `clibd db build`; one that was broken off is made anew."
            raise MissingPathError(str(self.folder), f"database ({FACTS})", remedy)
        path = f"{self.folder}/{FACTS}"
        try:
            plain, files = read_sealed(self.folder, FACTS)
        except DamagedError as error:
            raise AlteredError(path, error.args[1], str(self.folder)) from error
        if (version := plain.get("version")) != VERSION:
            if isinstance(version, int) and version > VERSION:
                raise NewerVersionError(path, version, VERSION)
            made_anew = "make it anew with `clibd db build --replace`"
            raise UsageError(f"{path}: version {version!r}, not {VERSION}; {made_anew}")
        checked(plain, DatabaseFacts, path)
        lists: dict[str, Any] = {name: tuple(plain[name]) for name in ("modalities", "calibrated", "sources")}
        return DatabaseFacts(**{**plain, **lists}), files

    @property
    def facts(self) -> DatabaseFacts:
        """What it holds.

        Raises:
            MissingPathError: there is no database, or not a whole one.
            AlteredError: database.json is not what was written.
            UsageError, NewerVersionError: it is of another version.
        """
        return self._content[0]

    @property
    def sealed(self) -> SealedFolder:
        """The folder, whose files are compared with their digests as they are read."""
        return SealedFolder(self.folder, self._content[1])

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[list[dict[str, Any]]]:
        """The specimens, some thousand at a time, of which no more are held."""
        with self.sealed.open_parquet(SPECIMENS_FILE) as file:
            for batch in file.iter_batches(4096, columns=None if columns is None else list(columns)):
                yield batch.to_pylist()

    @cached_property
    def specimens(self) -> pa.Table:
        """A row for each specimen, with the columns of `SPECIMENS`.

        Raises:
            AlteredError: it is not what was written.
        """
        table = self.sealed.read_table(SPECIMENS_FILE)
        where = f"{self.folder}/{SPECIMENS_FILE}"
        if len(table) != self.facts.num_specimens:
            reason = f"{len(table):,} specimens instead of {self.facts.num_specimens:,}"
            raise AlteredError(where, reason, str(self.folder))
        if not table.schema.equals(SPECIMENS):
            raise AlteredError(where, "its columns are not those of this version", str(self.folder))
        return table

    @cached_property
    def labels(self) -> Labels:
        """Names by rank, None where missing, (specimens,) each."""
        return labels_of(self.specimens)

    def keys(self, kind: KeyKind) -> StoredRows:
        """The distinct keys of a modality, mapped; their digest is compared by `verify` alone, as they are large.

        Raises:
            UsageError: the database has none.
            AlteredError: they are not what was written.
        """
        if kind not in self.facts.modalities:
            have = " and ".join(self.facts.modalities)
            raise UsageError(
                f"{self.folder} has no keys of {KEY_WORDS[kind]}, only of {have}; build it of specimens that have"
            )
        path = Path(self.folder.address) / f"keys-{kind}.npy"
        rows = StoredRows(path)
        if len(rows) != self.facts.num_keys[kind]:
            reason = f"{len(rows):,} keys instead of {self.facts.num_keys[kind]:,}"
            raise AlteredError(str(path), reason, str(self.folder))
        return rows

    def members(self, kind: KeyKind) -> tuple[Indices, Indices]:
        """Numbers of specimens, sorted by key, (having,), and where those of each key begin, (keys + 1,)."""
        column = self.specimens[f"{kind}_key"].combine_chunks()
        key = column.fill_null(-1).to_numpy()
        order = np.argsort(key, kind="stable")[int(np.count_nonzero(key < 0)) :]
        return order.astype(np.int64), np.searchsorted(key[order], np.arange(self.facts.num_keys[kind] + 1))

    @property
    def run(self) -> RunFolder | None:
        """The run whose towers embed; None for a database without a model.

        Raises:
            AlteredError: the run that lies in it is another one than embedded its keys.
        """
        if self.facts.model is None:
            return None
        run = RunFolder(self.folder / RUN)
        if (there := run.manifest().get(MODEL)) != self.facts.weights:
            reason = f"its weights have SHA-256 {there}, and the keys were embedded by those of {self.facts.weights}"
            raise AlteredError(str(run.folder), reason, str(self.folder))
        return run

    @property
    def calibrating(self) -> "Database | None":
        """The specimens that calibrate and are no keys; None where keys themselves have to."""
        inner = self.folder / CALIBRATING
        return Database(inner.address) if inner.has(FACTS) else None

    def verify(self) -> None:
        """Compare every file with its digest.

        Raises:
            AlteredError: one is gone, or not what was written.
        """
        for name in self._content[1]:
            self.sealed.digest(name)


def write_facts(folder: Folder, facts: DatabaseFacts) -> None:
    """Seal a database whose other files are all there; written last."""
    files = {name: folder.digest(name) for name in folder.walk() if name != FACTS and not name.endswith(".tmp")}
    folder.write_json(FACTS, with_seal({**asdict(facts), "files": files}))
