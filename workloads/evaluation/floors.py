"""What simple methods without training reach on the same split: the floors that a run must beat.

- DNA to DNA: nearest neighbour by cosine of 5-mer counts.
- Image to DNA: linear canonical correlation analysis (CCA) between image features and 5-mer counts, fitted on the
  training specimens. Pixels take the place of features where the data set has no features.
"""

import io

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.linalg
from PIL import Image

from workloads.data.barcode import kmer_counts
from workloads.data.prepared import PreparedDataset, labels_of
from workloads.errors import MissingPathError
from workloads.evaluation.accuracy import Place, accuracies
from workloads.evaluation.baselines import random_key_accuracies
from workloads.evaluation.retrieval import nearest_keys
from workloads.record import Measurement
from workloads.spec import RANKS

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


def compute_floors(dataset: PreparedDataset) -> list[Measurement]:
    """The floors and the chance of a prepared data set, for validation and test.

    Data sets without barcodes have no floors; without query splits there is nothing to measure either.
    """
    if not dataset.facts.barcodes:
        return []
    splits = dataset.facts.splits
    try:
        keys = dataset.load(splits.keys, ["barcode", *RANKS])
        training = dataset.sample(splits.training, ["barcode", *_image_columns(dataset)], MOST_FITTED)
    except MissingPathError:
        return []
    key_counts = _counts(keys)
    cca = None
    if "image" in dataset.facts.modalities:
        cca = LinearCca(_image_features(training), _counts(training))
        projected_keys = _unit(cca.project_b(key_counts))
    rows: list[Measurement] = []
    for part, asking in splits.queries.items():
        try:
            queries = dataset.load(list(asking.values()), ["barcode", *_image_columns(dataset), *RANKS])
        except MissingPathError:
            continue
        subset = np.array([name.split("_")[1] for name in queries["split"].to_pylist()], dtype=object)
        labels = labels_of(queries), labels_of(keys)
        nearest, _ = nearest_keys(_unit(_counts(queries)), _unit(key_counts), 1)
        where = Place(part, "dna", "dna", "kmer_nearest_neighbour")
        rows += accuracies(*labels, nearest[:, 0], subset, where)
        rows += random_key_accuracies(*labels, subset, where)
        if cca is not None:
            nearest, _ = nearest_keys(_unit(cca.project_a(_image_features(queries))), projected_keys, 1)
            where = Place(part, "image", "dna", "linear_cca")
            rows += accuracies(*labels, nearest[:, 0], subset, where)
    return rows


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
        return np.array(table["image_features"].to_pylist(), dtype=np.float64)
    return np.stack([_small(content.as_py()) for content in table["image"]])


def _small(content: bytes) -> Matrix:
    picture = Image.open(io.BytesIO(content)).convert("RGB").resize((_PIXEL_SIDE, _PIXEL_SIDE), Image.Resampling.BOX)
    return np.asarray(picture, dtype=np.float64).ravel() / 255
