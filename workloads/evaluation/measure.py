"""Measures a trained model by its objective, and puts what comes out into a run folder."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workloads.data.prepared.dataset import DatasetFacts, PreparedDataset
from workloads.evaluation.accuracy import KS
from workloads.evaluation.beside import NOTHING, Beside, beside_run
from workloads.evaluation.classification import evaluate_classifier
from workloads.evaluation.embed import embed_parts
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.evaluate import Questions, Tell, evaluate_embedded
from workloads.evaluation.stored import KEYS, EmbeddingFacts, queries_of, write_embedded
from workloads.models.clibd import Classifier
from workloads.models.loaded import LoadedModel
from workloads.models.stored_weights import MODEL
from workloads.placement import Placement
from workloads.predictions import MISSING_RANK
from workloads.recipes import evaluation_precision
from workloads.record import EVALUATION, Measurement, RunFolder, measurements_to_table
from workloads.spec import RANKS, Modality
from workloads.storage import Folder


def measure(experiment: LoadedModel, dataset: PreparedDataset, placement: Placement, run: RunFolder) -> None:
    """Measure a run on its own data set; the first worker writes, with the weights already in the folder.

    Args:
        experiment: with the trained model, on `placement.device`.
        dataset: with query splits.
        placement: this worker's.
        run: where embeddings, predictions and measurements go.

    Raises:
        MissingPathError: the data set has no queries to measure with.
    """
    spec, of_classifier = experiment.spec, list[Measurement]()
    if isinstance(experiment.model, Classifier):
        of_classifier = measure_classifier(experiment, dataset, placement, run.folder)
        # Of a data set for zero-shot learning (INSECT), features are what an encoder is fine-tuned for.
        if not any("unseen" in split for split in dataset.facts.splits.unused):
            return
    parts = embed_parts(experiment, dataset, placement)
    if placement.rank != 0:
        return
    facts = embedding_facts(run, experiment, dataset.facts, spec.modalities)
    write_embedded(run.folder, facts, parts)
    beside, said = beside_run(run, experiment, dataset, parts), about(facts, dataset.facts.synthetic)
    if of_classifier:
        write_evaluation(run.folder, {**said, **beside.about, "recipe": spec.recipe}, of_classifier)
    else:
        measure_embedded(run.folder, parts, Questions(recipe=spec.recipe), said, beside=beside)


def measure_classifier(
    experiment: LoadedModel, dataset: PreparedDataset, placement: Placement, folder: Folder
) -> list[Measurement]:
    """Measure a classifier over its species; the first worker writes."""
    measurements, predictions = evaluate_classifier(experiment, dataset, placement)
    if placement.rank == 0:
        folder.write_table("classifier.parquet", predictions)
        folder.write_table("measurements.parquet", measurements_to_table(measurements))
    return measurements


def measure_embedded(
    folder: Folder,
    parts: Mapping[str, Embedded],
    questions: Questions,
    model: Mapping[str, Any],
    tell: Tell | None = None,
    beside: Beside = NOTHING,
) -> list[Measurement]:
    """Measure embeddings and write predictions, measurements and evaluation.json.

    Args:
        folder: of the evaluation.
        parts: `keys`, and the queries by partition.
        questions: what is asked.
        model: what evaluation.json says of the model and its data beside.
        tell: told how many searches of how many are done.
        beside: what is said of the data set and of the model's training.
    """
    queries = queries_of(parts)
    found = evaluate_embedded(parts[KEYS], queries, questions, tell, beside)
    folder.remove(EVALUATION)  # written last, so that it stands for files that belong together
    found.predictions.write(folder)
    folder.write_table("measurements.parquet", measurements_to_table(found.measurements))
    beside.write(folder)
    asked = {
        "recipe": questions.recipe,
        "missing_rank": questions.missing,
        "keys": list(questions.keys),
        "ks": list(KS),
        "num_specimens": {part: len(embedded) for part, embedded in parts.items()},
        "num_without_name": {part: _without_name(embedded) for part, embedded in queries.items()},
    }
    folder.write_json(EVALUATION, {**model, **beside.about, **asked})
    return found.measurements


def embedding_facts(
    run: RunFolder,
    experiment: LoadedModel,
    facts: DatasetFacts,
    modalities: Sequence[Modality],
    untrained: bool = False,
) -> EmbeddingFacts:
    """What the embeddings of a run are of; of an untrained one there are no stored weights."""
    weights = "untrained" if untrained else hashlib.sha256(run.folder.read(MODEL)).hexdigest()
    return EmbeddingFacts(
        model=run.id,
        weights=weights,
        dataset=facts.name,
        data_fingerprint=facts.fingerprint,
        data_content=facts.content,
        modalities=tuple(modalities),
        precision=evaluation_precision(experiment.spec),
    )


def about(facts: EmbeddingFacts, synthetic: bool, untrained: bool = False) -> dict[str, Any]:
    """What evaluation.json says of a CLIBD model."""
    return {
        "model": "CLIBD",
        "run": facts.model,
        "weights_digest": facts.weights,
        "aligned": list(facts.modalities),
        "untrained": untrained,
        "precision": facts.precision,
        **about_data(facts, synthetic),
    }


def about_data(facts: EmbeddingFacts, synthetic: bool) -> dict[str, Any]:
    """What evaluation.json says of the specimens."""
    return {"dataset": facts.dataset, "data_fingerprint": facts.data_fingerprint, "synthetic": synthetic}


def _without_name(embedded: Embedded) -> dict[str, int]:
    """Queries without a name, by rank."""
    return {rank: int(np.count_nonzero([name is None for name in embedded.labels[rank]])) for rank in RANKS}


def write_evaluation(target: Folder, about: Mapping[str, Any], measured: Sequence[Measurement]) -> None:
    """The two files that make a folder an evaluated one; `about` says dataset, data_fingerprint, synthetic, recipe."""
    target.remove(EVALUATION)
    target.write_table("measurements.parquet", measurements_to_table(measured))
    target.write_json(EVALUATION, {**about, "missing_rank": MISSING_RANK[about["recipe"]]})
