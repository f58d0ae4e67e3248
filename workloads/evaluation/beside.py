"""What an evaluation says beside its own numbers, so that these can be believed.

    evaluation.json          which published split it is; what of the data set was left out; what the model was trained
                             on of what it is asked
    measurements.parquet     the floors of the data set, and every number without the queries that were trained on

It is kept beside the embeddings, so that a model can be measured again without its data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Indices, Mask
from workloads.data.prepared.dataset import DatasetFacts, PreparedDataset
from workloads.data.prepared.official import official_split
from workloads.evaluation.embedded import Embedded
from workloads.evaluation.floors import FLOORS, floor_answers, stored_floors
from workloads.evaluation.stored import queries_of
from workloads.evaluation.trained_on import TrainedOn, are_among, of_beginning, of_training, read_trained_on
from workloads.models.loaded import LoadedModel
from workloads.predictions import Answers
from workloads.record import RunFolder
from workloads.spec import Modality
from workloads.storage import Folder

SCHEMA = 2
_FOLDER, _BESIDE = "embeddings", "beside.json"


@dataclass(frozen=True, slots=True)
class Beside:
    """What is known of a data set and of a model's training."""

    about: Mapping[str, Any] = field(default_factory=lambda: {"schema": SCHEMA})
    """For evaluation.json."""
    floors: pa.Table | None = None
    """As `floors.stored_floors` has them."""
    trained: frozenset[str] = frozenset()
    """Queries that a model has seen in training on other data, by their ids; without them it is measured once more."""

    def floor_answers(self, answers: Sequence[Answers], specimens: pa.Table) -> list[Answers]:
        """The floors of the retrievals among all keys that were asked."""
        if self.floors is None or not len(self.floors):
            return []
        asked = {(one.place.partition, one.place.query, one.place.key) for one in answers if one.place.keys == "all"}
        partitions = pa.array(sorted({partition for partition, _, _ in asked}), pa.string())
        kept = self.floors.filter(pc.is_in(self.floors["partition"], value_set=partitions))
        floors = floor_answers(kept, specimens)
        return [one for one in floors if (one.place.partition, one.place.query, one.place.key) in asked]

    def write(self, folder: Folder) -> None:
        """Keep it with the embeddings of an evaluation."""
        inside = folder / _FOLDER
        if self.floors is not None:
            inside.write_table(FLOORS, self.floors)
        inside.write_json(_BESIDE, {"about": dict(self.about), "trained": sorted(self.trained)})


NOTHING = Beside()


def read_beside(folder: Folder) -> Beside:
    """What was kept with the embeddings of an evaluation; nothing by earlier versions."""
    inside = folder / _FOLDER
    if not inside.has(_BESIDE):
        return Beside()
    kept = inside.read_json(_BESIDE)
    floors = inside.read_table(FLOORS) if inside.has(FLOORS) else None
    return Beside(kept["about"], floors, frozenset(kept["trained"]))


def beside_of(
    dataset: PreparedDataset,
    parts: Mapping[str, Embedded],
    trained: TrainedOn,
    left_out: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Beside:
    """What there is to say of an evaluation.

    Args:
        dataset: that is evaluated on.
        parts: its keys and queries.
        trained: what the model has seen before.
        left_out: modalities that could not be used, and why.
        more: what evaluation.json says beside.
    """
    queries = queries_of(parts)
    splits = sorted({split for asking in queries.values() for split in asking.split})
    texts = dataset.load(splits, ["specimen_id", "barcode"])
    seen = {part: _seen(asking, texts, trained) for part, asking in queries.items()}
    of_others = trained.data_sets != {dataset.facts.fingerprint}
    ids = [asking.ids[seen[part][0]] for part, asking in queries.items() if of_others]
    unknown = [f"What {run} was trained on was not kept, so more may have been seen" for run in trained.unknown]
    about = {
        "schema": SCHEMA,
        "official_split": official_split(dataset.facts),
        "left_out": dict(left_out or {}),
        "contamination": {part: counts for part, (_, counts) in seen.items()},
        "declared": sorted(trained.declared) + sorted(unknown),
        **(more or {}),
    }
    return Beside(about, stored_floors(dataset), frozenset(np.concatenate(ids).tolist() if ids else ()))


def _seen(queries: Embedded, texts: pa.Table, trained: TrainedOn) -> tuple[Mask, dict[str, int]]:
    """Of which queries of a partition anything was trained on, (queries,); and how many, for evaluation.json."""
    rows: Indices = pc.index_in(pa.array(queries.ids, pa.string()), value_set=texts["specimen_id"]).to_numpy()
    own, species, unseen = texts.take(pa.array(rows)), queries.labels["species"], queries.subset == "unseen"
    named = {name for name in species[unseen] if name is not None}
    known = named & trained.species  # which should be none
    specimens = are_among(own["specimen_id"], trained.specimens)
    barcodes = are_among(own["barcode"], trained.barcodes)
    counts = {
        "unseen_species": len(known),
        "num_unseen_species": len(named),
        "specimens": int(specimens.sum()),
        "barcodes": int(barcodes.sum()),
        "num_queries": len(specimens),
    }
    return specimens | barcodes | (unseen & np.array([name in known for name in species], dtype=bool)), counts


def beside_run(
    run: RunFolder,
    experiment: LoadedModel,
    dataset: PreparedDataset,
    parts: Mapping[str, Embedded],
    untrained: bool = False,
) -> Beside:
    """What there is to say of the evaluation of a run on any data set.

    Args:
        run: finished, or with `trained_on.parquet` already.
        experiment: its model, or, `untrained`, the model that it began with.
        dataset: that is evaluated on.
        parts: its keys and queries.
        untrained: whether the towers are as they were.
    """
    trained = _trained(run, experiment, dataset, untrained)
    _, left_out = usable_modalities(experiment, dataset.facts)
    frame = None
    if "dna" in experiment.spec.modalities and experiment.spec.dna.kind == "barcodebert":
        frame = "run" if experiment.frame else "data_set"
    return beside_of(dataset, parts, trained, left_out, {"frame": frame})


def _trained(run: RunFolder, experiment: LoadedModel, dataset: PreparedDataset, untrained: bool) -> TrainedOn:
    began_with = experiment.began_with or [RunFolder(Folder(kept["address"])) for kept in run.weights().values()]
    if untrained:
        return of_beginning(experiment.spec, began_with)
    trained = read_trained_on(run)
    if trained.unknown == {run.id} and experiment.spec.data_fingerprint == dataset.facts.fingerprint:
        return of_training(experiment.spec, dataset, began_with)  # a run of an earlier version, on its own data
    return trained


def usable_modalities(experiment: LoadedModel, facts: DatasetFacts) -> tuple[list[Modality], dict[str, str]]:
    """The modalities of a run that a data set can be embedded in, and why not in the others."""
    why = {name: _misfit(name, experiment, facts) for name in experiment.spec.modalities}
    return [name for name, reason in why.items() if reason is None], {
        name: reason for name, reason in why.items() if reason is not None
    }


def _misfit(modality: Modality, experiment: LoadedModel, facts: DatasetFacts) -> str | None:
    """Why a tower cannot take what the data set has; None where it can."""
    if modality not in facts.modalities:
        return f"{facts.name} has none"
    towers = experiment.inputs
    if modality == "image":
        return _other_kind(towers.image_feature_size, facts.image_feature_size, "pixels")
    if modality == "dna" and experiment.spec.dna.kind == "features":
        return _other_kind(towers.dna_feature_size, facts.dna_feature_size, "barcodes alone")
    if modality == "dna" and not facts.barcodes:
        return f"the run's tower takes barcodes, and {facts.name} has features instead"
    return None


def _other_kind(takes: int | None, has: int | None, otherwise: str) -> str | None:
    if takes == has:
        return None
    wanted, there = (otherwise if size is None else f"features of {size} numbers" for size in (takes, has))
    return f"the run's tower takes {wanted}, and the data set has {there}"
