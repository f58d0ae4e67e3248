"""From a trained model to its measurements: embed, retrieve, compare labels.

Every query is searched among all keys, those of seen and of unseen species together (paper, section 4.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workloads.data.batches import Specimens
from workloads.data.prepared import PreparedDataset
from workloads.errors import MissingPathError
from workloads.evaluation.accuracy import Place, accuracies, random_key_accuracies
from workloads.evaluation.embed import embed
from workloads.evaluation.retrieval import nearest_keys
from workloads.experiment import Experiment
from workloads.models.clibd import Classifier, Clibd
from workloads.record import Measurement, RunFolder, measurements_to_table
from workloads.spec import Modality
from workloads.training.placement import Placement

RETRIEVALS: tuple[tuple[Modality, Modality], ...] = (
    ("dna", "dna"),
    ("image", "image"),
    ("image", "dna"),
    ("image", "text"),
)
"""Query and key modalities of the paper's retrieval tables. Text never asks: it holds the answer."""

Embeddings = dict[Modality, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation leaves."""

    measurements: list[Measurement]
    predictions: pa.Table
    """One row per query, partition and retrieval: ids and cosines of the nearest keys."""
    embeddings: dict[str, pa.Table]
    """By `keys`, `val` and `test`."""


def evaluate(
    experiment: Experiment,
    dataset: PreparedDataset,
    placement: Placement,
    modalities: Sequence[Modality] | None = None,
) -> Evaluation:
    """Measure a model on the query splits that the data set has; called on every worker of a group alike.

    Args:
        experiment: with the trained model, on `placement.device`.
        dataset: with key and query splits.
        placement: this worker's.
        modalities: which to embed; None for all of the spec.

    Raises:
        MissingPathError: the data set has no keys, or no queries in either partition.
    """
    keys = experiment.specimens(dataset, dataset.facts.splits.keys, modalities)
    embedded_keys = _embed_all(experiment.model, keys, placement)
    found = Evaluation([], pa.table({}), {"keys": _embedding_table(keys, embedded_keys)})
    predictions = []
    for part, splits in dataset.facts.splits.queries.items():
        try:
            queries = experiment.specimens(dataset, list(splits.values()), modalities)
        except MissingPathError:
            continue  # a small data set may have no queries in one of the two partitions
        embedded = _embed_all(experiment.model, queries, placement)
        found.embeddings[part] = _embedding_table(queries, embedded)
        predictions += _retrieve(part, queries, embedded, keys, embedded_keys, found.measurements)
    if not predictions:
        raise MissingPathError(str(dataset.folder), "queries", "Prepare more specimens of each species.")
    return Evaluation(found.measurements, pa.concat_tables(predictions), found.embeddings)


def _embed_all(model: Clibd | Classifier, specimens: Specimens, placement: Placement) -> Embeddings:
    return {name: embed(model, specimens, name, placement) for name in specimens.modalities}


def _retrieve(
    part: str,
    queries: Specimens,
    query_embeddings: Embeddings,
    keys: Specimens,
    key_embeddings: Embeddings,
    measurements: list[Measurement],
) -> list[pa.Table]:
    """Every retrieval of one partition; adds to the measurements."""
    subset = np.array([name.split("_")[1] for name in queries.split], dtype=object)
    tables = []
    for query, key in RETRIEVALS:
        if query not in query_embeddings or key not in key_embeddings:
            continue
        indices, cosines = nearest_keys(query_embeddings[query], key_embeddings[key])
        where = Place(part, query, key)
        measurements += accuracies(queries.labels, keys.labels, indices[:, 0], subset, where)
        measurements += random_key_accuracies(queries.labels, keys.labels, subset, where)
        tables.append(_prediction_table(queries, subset, keys.ids[indices], cosines, where))
    return tables


def _prediction_table(
    queries: Specimens,
    subset: npt.NDArray[np.object_],
    key_ids: npt.NDArray[np.object_],
    cosines: npt.NDArray[np.float32],
    where: Place,
) -> pa.Table:
    constant = {
        name: pa.array([value] * len(queries), pa.string())
        for name, value in (("partition", where.partition), ("query", where.query), ("key", where.key))
    }
    return pa.table(
        {
            "specimen_id": pa.array(queries.ids.tolist(), pa.string()),
            "species": pa.array(subset.tolist(), pa.string()),
            **constant,
            "key_ids": pa.array(key_ids.tolist(), pa.list_(pa.string())),
            "cosines": pa.array(list(cosines), pa.list_(pa.float32())),
        }
    )


def _embedding_table(specimens: Specimens, embedded: Embeddings) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for name, rows in embedded.items():
        columns[name] = pa.array(list(rows), pa.list_(pa.float32()))
    ids = pa.array(specimens.ids.tolist(), pa.string())
    splits = pa.array(specimens.split.tolist(), pa.string())
    return pa.table({"specimen_id": ids, "split": splits, **columns})


def write_evaluation(run: RunFolder, evaluation: Evaluation) -> None:
    """Put an evaluation into a run folder."""
    for name, table in evaluation.embeddings.items():
        (run.folder / "embeddings").write_table(f"{name}.parquet", table)
    run.folder.write_table("predictions.parquet", evaluation.predictions)
    run.folder.write_table("measurements.parquet", measurements_to_table(evaluation.measurements))
