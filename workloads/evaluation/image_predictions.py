"""What a model that was never evaluated answers to images: the nearest image among the keys."""

from workloads.data.prepared.dataset import PreparedDataset
from workloads.evaluation.embed import embed_all
from workloads.evaluation.evaluate import Questions, find_answers
from workloads.models.loaded import LoadedModel
from workloads.placement import Placement
from workloads.predictions import Predictions


def image_predictions(
    experiment: LoadedModel, dataset: PreparedDataset, partition: str, placement: Placement
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
    asking = experiment.specimens(dataset, list(splits.queries.get(partition, {}).values()), ["image"])
    answering = experiment.specimens(dataset, splits.keys, ["image"])
    queries, keys = (embed_all(experiment, specimens, placement) for specimens in (asking, answering))
    return find_answers(keys, {partition: queries}, Questions(pairs=[("image", "image")]))
