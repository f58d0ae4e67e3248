"""What a model that was never evaluated answers to images: the nearest image among the keys."""

import numpy as np
import numpy.typing as npt

from workloads.data.prepared import PreparedDataset
from workloads.evaluation.embed import embed
from workloads.evaluation.retrieval import nearest_keys
from workloads.experiment import Experiment
from workloads.predictions import Place, Predictions, prediction_table, specimen_table
from workloads.recipes import evaluation_precision
from workloads.spec import RANKS
from workloads.training.placement import Placement


def image_predictions(
    experiment: Experiment, dataset: PreparedDataset, partition: str, placement: Placement
) -> Predictions:
    """Embed a partition's query images and all key images, and search.

    Args:
        experiment: with a model on `placement.device`.
        dataset: with pixels as images.
        partition: `val` or `test`.
        placement: this process.

    Raises:
        MissingPathError: the data set has no keys, or no queries in the partition.
    """
    splits = dataset.facts.splits
    queries = experiment.specimens(dataset, list(splits.queries.get(partition, {}).values()), ["image"])
    keys = experiment.specimens(dataset, splits.keys, ["image"])
    precision = evaluation_precision(experiment.spec)
    asking, answering = (
        embed(experiment.model, specimens, "image", placement, precision) for specimens in (queries, keys)
    )
    nearest, cosines = nearest_keys(asking, answering, 1)
    subset = np.array(["unseen" if "unseen" in split else "seen" for split in queries.split], dtype=object)
    place = Place(partition, "image", "image")
    # No split of queries answers, so no specimen is listed twice.
    labels: dict[str, npt.NDArray[np.object_]] = {}
    labels |= {rank: np.concatenate([queries.labels[rank], keys.labels[rank]]) for rank in RANKS}
    ids, split = np.concatenate([queries.ids, keys.ids]), np.concatenate([queries.split, keys.split])
    table = prediction_table(place, queries.ids, subset, keys.ids[nearest], cosines)
    return Predictions(table, specimen_table(ids, split, labels))
