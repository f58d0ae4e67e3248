"""Measures a trained model by its objective, and puts what comes out into a run folder.

A classifier is asked how well it tells the species apart that it was trained on (CLIBD, section B.2). The supervised
rows of Tables 3, 15 and 16 begin with these predictions. Queries of unseen species are predicted too, as the
probabilities of their best classes decide how they are routed; only those of seen species can be right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import softmax

from workloads.arrays import Doubles, Indices, Labels
from workloads.calibration import Pair, areas_of, constants_told, with_calibrated
from workloads.circumstances import circumstances
from workloads.command_line import Counting, Tell, unseen
from workloads.data.inputs.batches import Specimens
from workloads.data.prepared.dataset import DatasetFacts, PreparedDataset, labels_of
from workloads.data.specimens.schema import subset_of
from workloads.errors import MissingPathError, SpecError
from workloads.evaluation.accuracy import KS, accuracies_of, coded_answers, label_codes, lineages_of
from workloads.evaluation.embed import can_be_searched, embed, embed_parts
from workloads.evaluation.embedded import KEYS, Embedded, has_feature, queries_of
from workloads.evaluation.evaluate import Questions, find_answers, measure_predictions
from workloads.evaluation.fusion import fusing_of, fusion_told
from workloads.evaluation.looking import LOOKING_FILES, Portraits, look_at, portraits_of
from workloads.evaluation.masked import masked_facts
from workloads.evaluation.stored import EmbeddingFacts, lacking_of, write_embedded
from workloads.evaluation.trained_on import BESIDE_FILES, Beside, beside_run
from workloads.intervals import with_intervals
from workloads.models.clibd import Classifier, MaskedModel
from workloads.models.loaded import LoadedModel
from workloads.placement import Placement
from workloads.predictions import FUSED, MISSING_RANK, PREDICTIONS, SPECIMENS, MissingRank, Place
from workloads.recipes import evaluation_precision
from workloads.record import EVALUATION, Measurement, RunFolder, measurements_to_table
from workloads.seals import sealed_folder, unseal_run
from workloads.spec import RANKS, Modality
from workloads.storage import Folder
from workloads.threshold import Threshold
from workloads.weight_files import MODEL

_NUM_PREDICTED = 5


def measure(
    experiment: LoadedModel,
    dataset: PreparedDataset,
    placement: Placement,
    run: RunFolder,
    counting: Counting = unseen,
) -> None:
    """Measure a run on its own data set; the first worker writes, with the weights already in the folder.

    Args:
        experiment: with the trained model, on `placement.device`.
        dataset: with query splits.
        placement: this worker's.
        run: where embeddings, predictions and measurements go.
        counting: shows how far it is.

    Raises:
        MissingPathError: the data set has no queries to measure with; what is pre-trained needs none.
    """
    spec, of_classifier = experiment.spec, list[Measurement]()
    if isinstance(experiment.model, Classifier):
        of_classifier = measure_classifier(experiment, dataset, placement, run.folder)
        # Of a data set for zero-shot learning (INSECT), features are what an encoder is fine-tuned for.
        if not any(subset_of(split) == "unseen" for split in dataset.facts.splits.unused):
            return
    masked: dict[str, Any] = {}
    if isinstance(experiment.model, MaskedModel):
        masked = {"masked": masked_facts(experiment, dataset, placement)}
        if not can_be_searched(dataset):  # barcodes without names, of which nothing is to be found
            said = {**about_data(dataset.facts), "model": "CLIBD", "run": run.id, "recipe": spec.recipe}
            if placement.rank == 0:
                write_evaluation(run.folder, said | masked, [])
            return
    parts = embed_parts(experiment, dataset, placement, counting)
    if placement.rank != 0:
        return
    facts = embedding_facts(run, experiment, dataset.facts, spec.modalities)
    write_embedded(run.folder, facts, parts)
    beside, said = beside_run(run, experiment, dataset, parts), about(facts, dataset.facts.synthetic) | masked
    if of_classifier:
        write_evaluation(run.folder, {**said, **beside.about, "recipe": spec.recipe}, of_classifier)
    else:
        tell = counting("searching", "searches")
        questions = Questions(recipe=spec.recipe, fusing=fusing_of(run, spec.fusion) if spec.fusion else None)
        measure_embedded(run.folder, parts, questions, said, beside, tell, portraits_of(dataset))


def measure_classifier(
    experiment: LoadedModel, dataset: PreparedDataset, placement: Placement, folder: Folder
) -> list[Measurement]:
    """Measure a classifier on the query splits that the data set has; called on every worker of a group alike.

    The first worker writes the measurements, and `classifier.parquet` with a row for every query: `specimen_id`,
    `partition`, `subset` (seen or unseen), and the five most probable species, `predicted`, with their softmax
    `probability`.

    Args:
        experiment: with the trained classifier, on `placement.device`, and its classes.
        dataset: with query splits, and the training splits that the ranks above the species are learned from.
        placement: this worker's.
        folder: of the evaluation.

    Returns:
        Accuracies over queries of seen species: `classifier_top1` at every rank, `classifier_top5` at the species.

    Raises:
        MissingPathError: the data set has no queries of seen species.
    """
    facts, missing = dataset.facts, MISSING_RANK[experiment.spec.recipe]
    asking = {
        split: (part, subset)
        for part, splits in facts.splits.queries.items()
        for subset, split in splits.items()
        if facts.num_specimens.get(split)  # a small data set may lack some
    }
    seen_in = [part for part, subset in asking.values() if subset == "seen"]
    if not seen_in:
        raise MissingPathError(str(dataset.folder), "queries of seen species", "Prepare more specimens of each.")
    queries = experiment.specimens(dataset, list(asking))
    best, probability = _predict(experiment, queries, placement)
    there = queries.there(queries.modalities[0])
    asked = np.arange(len(queries)) if there is None else np.flatnonzero(there)  # those that the tower can be shown
    best, probability, ids = best[asked], probability[asked], queries.ids[asked]
    partition, subset = np.array([asking[split] for split in queries.split[asked]], dtype=object).reshape(-1, 2).T
    lineages = lineages_of(labels_of(dataset.load(facts.splits.training, RANKS)), experiment.classes)
    measurements: list[Measurement] = []
    for part in seen_in:
        rows = np.flatnonzero((partition == part) & (subset == "seen"))
        labels = {rank: names[asked[rows]] for rank, names in queries.labels.items()}
        where = Place(part, queries.modalities[0], "classes")
        measurements += class_accuracies(labels, lineages, best[rows], where, missing)
    predicted = np.array(experiment.classes, dtype=object)[best]
    columns = {
        "specimen_id": pa.array(ids, pa.string()),
        "partition": pa.array(partition, pa.string()),
        "subset": pa.array(subset, pa.string()),
        "predicted": pa.array(predicted.tolist(), pa.list_(pa.string())),
        "probability": pa.array(probability.tolist(), pa.list_(pa.float64())),
    }
    if placement.rank == 0:
        unseal_run(folder, "classifier.parquet", "measurements.parquet")
        folder.write_table("classifier.parquet", pa.table(columns))
        folder.write_table("measurements.parquet", measurements_to_table(measurements))
    return measurements


def class_accuracies(
    query_labels: Labels, lineages: Labels, best: Indices, where: Place, missing: MissingRank
) -> list[Measurement]:
    """Accuracies of predicted classes, as if these were the nearest keys, with their 95 % intervals.

    Args:
        query_labels: by rank, (queries,), None where missing.
        lineages: by rank, (classes,), None where missing.
        best: the most probable classes of each query, the first the most, (queries, predicted).
        where: partition, query and key of the measurements.
        missing: what a query without a name at a rank does there.
    """
    ks, seen = (1, _NUM_PREDICTED), np.full(len(best), "seen", dtype=object)
    answers = coded_answers(label_codes(query_labels, lineages), best, seen, where)
    rows = with_intervals(accuracies_of(answers, missing, ks), [answers], missing, ks)
    kept = [row for row in rows if row.species == "seen" and (row.metric == "top1" or row.level == "species")]
    return [replace(row, metric=f"classifier_{row.metric}") for row in sorted(kept, key=lambda row: row.metric)]


def _predict(experiment: LoadedModel, queries: Specimens, placement: Placement) -> tuple[Indices, Doubles]:
    """The most probable classes of each query and their probabilities, both (queries, predicted)."""
    logits = embed(experiment.model, queries, queries.modalities[0], placement, of="logits").astype(np.float64)
    if logits.shape[1] != len(experiment.classes):
        raise SpecError(f"the classifier has {logits.shape[1]} outputs for {len(experiment.classes)} species")
    best = np.argsort(-logits, axis=1, kind="stable")[:, :_NUM_PREDICTED]  # ties to the lowest class
    return best, np.take_along_axis(softmax(logits, axis=1), best, axis=1)


def measure_embedded(
    folder: Folder,
    parts: Mapping[str, Embedded],
    questions: Questions,
    model: Mapping[str, Any],
    beside: Beside,
    tell: Tell = lambda done, total: None,
    portraits: Portraits | None = None,
) -> list[Measurement]:
    """Measure embeddings and write predictions, measurements, what is left for looking at, and evaluation.json.

    Args:
        folder: of the evaluation.
        parts: `keys`, and the queries by partition.
        questions: what is asked.
        model: what evaluation.json says of the model and its data beside.
        beside: what is said of the data set and of the model's training.
        tell: told how many searches of how many are done.
        portraits: gives images and barcodes of some specimens; None where there are none to be had.
    """
    queries = queries_of(parts)
    predictions, missing = find_answers(parts[KEYS], queries, questions, tell), MISSING_RANK[questions.recipe]
    constants: dict[Pair, Threshold] = {}
    if "calibrated" in questions.keys:
        predictions, constants = with_calibrated(predictions, missing)
    measurements = measure_predictions(predictions, parts[KEYS], queries, missing, beside)
    if constants:
        measurements += areas_of(predictions, missing)
    looking = look_at(parts, predictions, portraits)
    unseal_run(folder, EVALUATION, PREDICTIONS, SPECIMENS, "measurements.parquet", *BESIDE_FILES, *LOOKING_FILES)
    folder.remove(EVALUATION)  # written last, so that it stands for files that belong together
    predictions.write(folder)
    beside.write(folder)
    looking.write(folder)
    without_name = {
        part: {rank: int(np.count_nonzero([name is None for name in embedded.labels[rank]])) for rank in RANKS}
        for part, embedded in queries.items()
    }
    asked = {
        "recipe": questions.recipe,
        "keys": list(questions.keys),
        "ks": list(KS),
        "num_specimens": {part: len(embedded) for part, embedded in parts.items()},
        "num_without_name": without_name,
        "num_lacking": lacking_of(parts),
        **({"constants": constants_told(constants)} if constants else {}),
    }
    if questions.fusing:
        asked["fusion"] = fusion_told(parts, questions.fusing)
        if not any(has_feature(embedded, FUSED) for embedded in (parts[KEYS], *queries.values())):
            reason = "no key and no query has both an image and a barcode, so nothing is fused"
            asked["left_out"] = {**beside.about.get("left_out", {}), FUSED: reason}
    write_evaluation(folder, {**model, **beside.about, **asked, **looking.about}, measurements)
    return measurements


def embedding_facts(
    run: RunFolder,
    experiment: LoadedModel,
    facts: DatasetFacts,
    modalities: Sequence[Modality],
    untrained: bool = False,
) -> EmbeddingFacts:
    """What the embeddings of a run are of; of an untrained one there are no stored weights."""
    return EmbeddingFacts(
        model=run.id,
        weights="untrained" if untrained else sealed_folder(run.folder).digest(MODEL),
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
        "dataset": facts.dataset,
        "data_fingerprint": facts.data_fingerprint,
        "synthetic": synthetic,
    }


def about_data(facts: DatasetFacts) -> dict[str, Any]:
    """What evaluation.json says of the specimens."""
    return {"dataset": facts.name, "data_fingerprint": facts.fingerprint, "synthetic": facts.synthetic}


def write_evaluation(target: Folder, about: Mapping[str, Any], measured: Sequence[Measurement]) -> None:
    """The two files that make a folder an evaluated one; `about` says dataset, data_fingerprint, synthetic, recipe."""
    unseal_run(target, EVALUATION, "measurements.parquet")
    target.remove(EVALUATION)
    target.write_table("measurements.parquet", measurements_to_table(measured))
    how = {"missing_rank": MISSING_RANK[about["recipe"]], "circumstances": circumstances(Placement())}
    target.write_json(EVALUATION, {**about, **how})
