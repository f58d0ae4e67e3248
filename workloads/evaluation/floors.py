"""What simple methods without training reach on the same split: the floors that a run must beat.

Both are kept as answers to every query, so that they are measured on whichever queries a run is.

- DNA to DNA: nearest neighbour by cosine of 5-mer counts.
- Image to DNA: linear canonical correlation analysis (CCA) between image features and 5-mer counts, fitted on the
  training specimens. Pixels take the place of features where the data set has no features.
"""

import io
import json
import sys
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import scipy.linalg
from PIL import Image

from workloads.arrays import Floats
from workloads.data.inputs.tower_inputs import Rows
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.barcode import kmer_counts
from workloads.errors import DamagedError, MissingPathError
from workloads.evaluation.embed import parts_of
from workloads.evaluation.retrieval import NUM_NEIGHBOURS, nearest_keys
from workloads.evaluation.stored import KEYS
from workloads.predictions import Answers, Place, Predictions, prediction_table
from workloads.storage import Folder, cache_folder

FLOORS = "floors.parquet"
_KMERS, _CCA = METHODS = ("kmer_nearest_neighbour", "linear_cca")
_Search = tuple[str, str, str]
"""Partition, query and method."""
_NOTHING = pa.table({"method": pa.array([], pa.string())})
_KEYS_AT_ONCE = 20_000
"""Their 5-mer counts take 160 MB."""

CCA_COMPONENTS = 256
CCA_RIDGE = 1e-3
"""Ridge of both covariances, relative to their mean variance."""
MOST_FITTED = 50_000
"""Training specimens that CCA is fitted on, evenly spaced; a million would take 15 GB and change little."""
_PIXEL_SIDE = 16

Matrix = npt.NDArray[np.float64]


class LinearCca:
    """Regularised linear CCA between two sets of features."""

    def __init__(self, a: Matrix, b: Matrix, num_components: int = CCA_COMPONENTS, ridge: float = CCA_RIDGE) -> None:
        """Fit on paired rows: a is (n, p), b is (n, q)."""
        self._mean_a, self._mean_b = a.mean(0), b.mean(0)
        a, b = a - self._mean_a, b - self._mean_b
        whiten_a, whiten_b = _whitening(a, ridge), _whitening(b, ridge)
        left, correlations, right = scipy.linalg.svd(
            whiten_a @ (a.T @ b / len(a)) @ whiten_b, full_matrices=False, lapack_driver="gesdd"
        )
        self.correlations = correlations[:num_components]
        self._project_a = whiten_a @ left[:, :num_components]
        self._project_b = whiten_b @ right.T[:, :num_components]

    def project_a(self, a: Matrix) -> Matrix:
        """Canonical variates of the first set, (n, components)."""
        return np.asarray((a - self._mean_a) @ self._project_a)

    def project_b(self, b: Matrix) -> Matrix:
        """Canonical variates of the second set, (n, components)."""
        return np.asarray((b - self._mean_b) @ self._project_b)


def _whitening(centred: Matrix, ridge: float) -> Matrix:
    """Inverse square root of the regularised covariance."""
    covariance = centred.T @ centred / len(centred)
    covariance += ridge * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    values, vectors = scipy.linalg.eigh(covariance)
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T)


def floor_answers(table: pa.Table, specimens: pa.Table) -> list[Answers]:
    """What the floors answered, one retrieval after another.

    Args:
        table: of `stored_floors`.
        specimens: `specimens.parquet` of an evaluation on the data set, or its like.
    """
    answers: list[Answers] = []
    for method in METHODS:
        found = Predictions(table.filter(pc.equal(table["method"], method)), specimens, FLOORS)
        answers += [replace(one, place=replace(one.place, method=method)) for one in map(found.answers, found.places)]
    return answers


def stored_floors(dataset: PreparedDataset) -> pa.Table:
    """What the floors answer to every query, as `workloads.predictions` keeps answers, and a column `method`.

    Found out once a data set and kept with it; where its folder cannot be written, in this machine's cache.
    """
    facts = dataset.facts
    of = {"fingerprint": facts.fingerprint, "content": facts.content}
    cached, name = Folder(cache_folder() / "floors"), f"{facts.fingerprint}-{facts.content}.parquet"
    for folder, file in ((dataset.folder, FLOORS), (cached, name)):
        if (kept := _read(folder, file, of)) is not None:
            return kept
    table = _answered(dataset).replace_schema_metadata({"floors": json.dumps(of)})
    try:
        dataset.folder.write_table(FLOORS, table)
    except OSError as error:
        print(f"The floors are kept in {cached}: {dataset.folder} cannot be written ({error})", file=sys.stderr)
        cached.write_table(name, table)
    return table


def _read(folder: Folder, name: str, of: Mapping[str, str]) -> pa.Table | None:
    """Those of this data set; another's, and what is damaged, count as none and are made anew."""
    try:
        table = folder.read_table(name) if folder.has(name) else None
        said = json.loads((table.schema.metadata or {})[b"floors"]) if table is not None else None
    except (DamagedError, KeyError, ValueError):
        return None
    return table if said == of else None


def _answered(dataset: PreparedDataset) -> pa.Table:
    """Every floor's nearest keys, found among some keys at a time, so that a million of them do not fill the memory."""
    if not dataset.facts.barcodes:
        return _NOTHING
    try:
        parts, training = parts_of(dataset), dataset.facts.splits.training
        keys = dataset.load(parts[KEYS], ["specimen_id", "barcode"])
        fitted = dataset.sample(training, ["barcode", *_image_columns(dataset)], MOST_FITTED)
    except MissingPathError:
        return _NOTHING
    cca = LinearCca(_image_features(fitted), _counts(fitted)) if _image_columns(dataset) else None
    del fitted
    asking = {
        part: dataset.load(parts[part], ["specimen_id", "barcode", *_image_columns(dataset)])
        for part in dataset.facts.splits.queries
        if part in parts
    }
    asked = {(part, "dna", _KMERS): _unit(_counts(table)) for part, table in asking.items()}
    if cca is not None:
        asked |= {(p, "image", _CCA): _unit(cca.project_a(_image_features(t))) for p, t in asking.items()}
    found = _Nearest(asked)
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        counts = _counts(keys.slice(start, _KEYS_AT_ONCE))
        offered = {_KMERS: _unit(counts)} | ({_CCA: _unit(cca.project_b(counts))} if cca is not None else {})
        found.look_among(offered, start)
    key_ids = np.array(keys["specimen_id"].to_pylist(), dtype=object)
    tables = []
    for (part, query, method), (indices, cosines) in found.nearest.items():
        ids = np.array(asking[part]["specimen_id"].to_pylist(), dtype=object)
        subset = np.array([split.split("_")[1] for split in asking[part]["split"].to_pylist()], dtype=object)
        table = prediction_table(Place(part, query, "dna"), ids, subset, key_ids[indices], cosines)
        tables.append(table.append_column("method", pa.array([method] * len(ids))))
    return pa.concat_tables(tables)


class _Nearest:
    """The nearest of keys that come a block at a time; ties go to the first, as among all at once."""

    def __init__(self, asked: Mapping[_Search, Floats]) -> None:
        self._asked = asked
        self.nearest: dict[_Search, tuple[npt.NDArray[np.int64], Floats]] = {}

    def look_among(self, offered: Mapping[str, Floats], start: int) -> None:
        """Search another block, which begins with key `start`; its rows by method."""
        for search, rows in self._asked.items():
            indices, cosines = nearest_keys(rows, offered[search[-1]])
            indices += start
            if search in self.nearest:
                before = self.nearest[search]
                indices, cosines = np.hstack([before[0], indices]), np.hstack([before[1], cosines])
                order = np.argsort(-cosines, axis=1, kind="stable")[:, :NUM_NEIGHBOURS]
                indices, cosines = np.take_along_axis(indices, order, 1), np.take_along_axis(cosines, order, 1)
            self.nearest[search] = indices, cosines


def _image_columns(dataset: PreparedDataset) -> list[str]:
    if "image" not in dataset.facts.modalities:
        return []
    return ["image" if dataset.facts.image_feature_size is None else "image_features"]


def _counts(table: pa.Table) -> Matrix:
    return kmer_counts(table["barcode"].to_pylist()).astype(np.float64)


def _unit(rows: Matrix) -> npt.NDArray[np.float32]:
    unit: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    return unit.astype(np.float32)


def _image_features(table: pa.Table) -> Matrix:
    """Precomputed features, or the picture reduced to 16 x 16 pixels."""
    if "image_features" in table.column_names:
        return Rows(table["image_features"]).take(np.arange(len(table))).astype(np.float64)
    return np.stack([_small(content.as_py()) for content in table["image"]])


def _small(content: bytes) -> Matrix:
    picture = Image.open(io.BytesIO(content)).convert("RGB").resize((_PIXEL_SIDE, _PIXEL_SIDE), Image.Resampling.BOX)
    return np.asarray(picture, dtype=np.float64).ravel() / 255
