"""Measures a trained model by its objective, and puts what comes out into a run folder."""

from collections.abc import Sequence

from workloads.data.prepared import PreparedDataset
from workloads.evaluation.classification import evaluate_classifier
from workloads.evaluation.evaluate import evaluate, write_evaluation
from workloads.experiment import Experiment
from workloads.models.clibd import Classifier
from workloads.record import Measurement, RunFolder, measurements_to_table
from workloads.spec import Modality
from workloads.training.placement import Placement


def measure(
    experiment: Experiment,
    dataset: PreparedDataset,
    placement: Placement,
    target: RunFolder,
    modalities: Sequence[Modality] | None = None,
) -> list[Measurement]:
    """Accuracies of a classifier over its species, or of retrieval for any other model.

    Args:
        experiment: with the trained model, on `placement.device`.
        dataset: with query splits.
        placement: this worker's; the first one writes.
        target: where predictions and measurements go.
        modalities: which to embed; None for all of the spec.

    Raises:
        MissingPathError: the data set has no queries to measure with.
    """
    if isinstance(experiment.model, Classifier):
        measurements, predictions = evaluate_classifier(experiment, dataset, placement)
        if placement.rank == 0:
            target.folder.write_table("classifier.parquet", predictions)
            target.folder.write_table("measurements.parquet", measurements_to_table(measurements))
        return measurements
    found = evaluate(experiment, dataset, placement, modalities)
    if placement.rank == 0:
        write_evaluation(target, found)
    return found.measurements
