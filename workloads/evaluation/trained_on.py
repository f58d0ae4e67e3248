"""What a model was trained on, kept in its run, and what an evaluation so says beside its own numbers.

    trained_on.parquet       what, digest, name: a row for each specimen id, each barcode and each species that trained,
                             of the runs that it began with too; digests of 64 bits for the first two, the name of a
                             species. A million specimens take some 16 MB and a few seconds. Two different texts have
                             one digest with a probability of 10^-7 for a million of each
    evaluation.json          which published split it is; what of the data set was left out; what the model was trained
                             on of what it is asked
    measurements.parquet     the floors of the data set, and every number without the queries that were trained on

The latter two are kept beside the embeddings, so that a model can be measured again without its data.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Digests, Indices, Mask
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.schema import text_digests
from workloads.errors import DamagedError, first_line
from workloads.evaluation.embed import usable_modalities
from workloads.evaluation.embedded import Embedded, queries_of
from workloads.evaluation.floors import FLOORS, floor_answers, stored_floors
from workloads.models.loaded import LoadedModel
from workloads.plain_values import parsed
from workloads.predictions import Answers
from workloads.record import RunFolder
from workloads.run_files import read_object
from workloads.seals import sealed_folder
from workloads.spec import ExperimentSpec
from workloads.storage import Folder

TRAINED_ON = "trained_on.parquet"

_ABOUT = ("data_sets", "unknown", "declared")
_DECLARED: Mapping[str, str] = {
    "bioclip-2": "BioCLIP 2 was trained on TreeOfLife-200M, which contains images of BIOSCAN-5M (its data set card)",
    "bioclip": "BioCLIP was trained on TreeOfLife-10M, which contains BIOSCAN-1M (Stevens et al. 2024; CLIBD, Table 2)",
    "barcodebert-5mer": "BarcodeBERT's 5-mer weights were trained on barcodes of Canadian invertebrates "
    "(Millan Arias et al. 2023), which may be of the species here",
    "clibd bioscan_5m": "CLIBD's releases with 5m in their name were trained on BIOSCAN-5M, which contains BIOSCAN-1M",
    "clibd bioscan_1m": "CLIBD's releases were trained on the training split of BIOSCAN-1M (CLIBD, section 4.1)",
}
"""What published weights are known to have seen, by the first part of their name that is one of these."""

_NONE: Digests = np.empty(0, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """Specimens that a model has seen in training, sorted digests each."""

    specimens: Digests = field(default_factory=lambda: _NONE)
    """Digests of ids."""
    barcodes: Digests = field(default_factory=lambda: _NONE)
    """Digests of barcodes as they are stored, before any frame; none for a run without a DNA tower."""
    species: frozenset[str] = frozenset()
    data_sets: frozenset[str] = frozenset()
    """Fingerprints of the data sets that they are of."""
    unknown: frozenset[str] = frozenset()
    """Runs among those that the model began with of which nothing is known."""
    declared: frozenset[str] = frozenset()
    """Sentences on what published weights among them are known to have seen."""

    def __or__(self, other: "TrainedOn") -> "TrainedOn":
        sets = {name: getattr(self, name) | getattr(other, name) for name in ("species", *_ABOUT)}
        specimens, barcodes = np.union1d(self.specimens, other.specimens), np.union1d(self.barcodes, other.barcodes)
        return TrainedOn(specimens, barcodes, **sets)

    def write(self, run: RunFolder) -> None:
        """Keep it in a run."""
        ids, species = [self.specimens, self.barcodes], sorted(self.species)
        counts = {"specimen": len(self.specimens), "barcode": len(self.barcodes), "species": len(species)}
        num_ids = sum(map(len, ids))
        table = pa.table(
            {
                "what": pa.array(np.repeat(list(counts), list(counts.values())), pa.string()).dictionary_encode(),
                "digest": pa.concat_arrays([pa.array(np.concatenate(ids)), pa.nulls(len(species), pa.uint64())]),
                "name": pa.concat_arrays([pa.nulls(num_ids, pa.string()), pa.array(species, pa.string())]),
            }
        )
        about = {name: sorted(getattr(self, name)) for name in _ABOUT}
        run.folder.write_table(TRAINED_ON, table.replace_schema_metadata({"trained_on": json.dumps(about)}))


def read_trained_on(run: RunFolder) -> TrainedOn:
    """What a finished run has seen; of one that did not keep it, that nothing is known, or what is declared of it.

    Raises:
        DamagedError: the file is not what was written.
    """
    folder = sealed_folder(run.folder)
    if not folder.has(TRAINED_ON):
        converted = folder.has("point.json") and run.point().get("converted")
        published = declared([f"clibd {run.spec().dataset}" if converted else run.id])
        return TrainedOn(declared=published) if published else TrainedOn(unknown=frozenset({run.id}))
    table = folder.read_table(TRAINED_ON)
    try:
        about = parsed((table.schema.metadata or {})[b"trained_on"])
        specimens, barcodes, species = (
            table.filter(pc.equal(table["what"], what)) for what in ("specimen", "barcode", "species")
        )
        return TrainedOn(
            _known(specimens["digest"]),
            _known(barcodes["digest"]),
            frozenset(species["name"].cast(pa.string()).to_pylist()),
            **{name: frozenset(about[name]) for name in _ABOUT},
        )
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise DamagedError(f"{run.folder}/{TRAINED_ON}", f"not what a run keeps ({first_line(error)})") from error


def _known(column: pa.ChunkedArray) -> Digests:
    if column.null_count:
        raise ValueError("a digest is missing")
    return np.asarray(column.cast(pa.uint64()).to_numpy())


def declared(names: Iterable[str | None]) -> frozenset[str]:
    """What is known of published weights by their names."""
    said = (next((what for part, what in _DECLARED.items() if part in (name or "").lower()), None) for name in names)
    return frozenset(filter(None, said))


def _of_beginning(spec: ExperimentSpec, began_with: Iterable[RunFolder]) -> TrainedOn:
    """What the towers of a spec have seen before they are trained: published ones, and those of other runs."""
    published = TrainedOn(declared=declared(spec.tower(name).weights for name in spec.modalities))
    return reduce(TrainedOn.__or__, map(read_trained_on, began_with), published)


def of_training(
    spec: ExperimentSpec,
    dataset: PreparedDataset,
    began_with: Iterable[RunFolder] = (),
    rows: Indices | None = None,
) -> TrainedOn:
    """What a run of a spec sees on a data set, and what the runs have seen that it begins with.

    Args:
        spec: the experiment.
        dataset: it trains on.
        began_with: other runs.
        rows: those of the training splits that train (`Specimens.trained`); None: all, for a classifier all with a
            species.
    """
    splits = dataset.facts.splits.training
    named = dataset.load(splits, ["specimen_id", "species"])
    trains = named["species"].is_valid() if spec.objective == "classify" else pa.array(np.full(len(named), True))
    if rows is not None:
        trains = pa.array(np.isin(np.arange(len(named)), rows))
    barcodes = pa.chunked_array([], pa.string())
    if "dna" in spec.modalities:
        barcodes = dataset.open(splits)["barcode"].filter(trains)
    own = TrainedOn(
        digests(named["specimen_id"].filter(trains)),
        digests(barcodes),
        frozenset(pc.unique(named["species"].filter(trains)).drop_null().to_pylist()),
        frozenset({dataset.facts.fingerprint}),
    )
    return own | _of_beginning(spec, began_with)


def digests(texts: pa.ChunkedArray) -> Digests:
    """Sorted digests of the texts that there are, each once."""
    return np.unique(_digests(texts))


def _digests(texts: pa.ChunkedArray) -> Digests:
    return text_digests(text for chunk in texts.chunks for text in chunk.drop_null().to_pylist())


def _are_among(texts: pa.ChunkedArray, trained: Digests) -> Mask:
    """Which texts were trained on, (texts,); a missing one was not."""
    were: Mask = texts.is_valid().to_numpy()
    were[were] = np.isin(_digests(texts), trained)
    return were


# --- What an evaluation says beside its numbers ----------------------------------------------------------------

_SCHEMA = 2
_FOLDER, _BESIDE = "embeddings", "beside.json"
BESIDE_FILES = (f"{_FOLDER}/{_BESIDE}", f"{_FOLDER}/{FLOORS}")
"""What `Beside.write` writes."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What is known of a data set and of a model's training."""

    about: Mapping[str, Any] = field(default_factory=lambda: {"schema": _SCHEMA})
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


class _Kept(TypedDict):
    about: dict[str, Any]
    trained: list[str]


def read_beside(folder: Folder) -> Beside:
    """What was kept with the embeddings of an evaluation; nothing by earlier versions."""
    inside = sealed_folder(folder) / _FOLDER
    if not inside.has(_BESIDE):
        return Beside()
    kept = read_object(inside, _BESIDE, _Kept)
    floors = inside.read_table(FLOORS) if inside.has(FLOORS) else None
    return Beside(kept["about"], floors, frozenset(kept["trained"]))


def beside_of(dataset: PreparedDataset, parts: Mapping[str, Embedded], trained: TrainedOn, **more: object) -> Beside:
    """What there is to say of an evaluation.

    Args:
        dataset: that is evaluated on.
        parts: its keys and queries.
        trained: what the model has seen before.
        more: what else evaluation.json says, such as the modalities that were `left_out`, and why.
    """
    queries = queries_of(parts)
    splits = sorted({split for asking in queries.values() for split in asking.split})
    texts = dataset.load(splits, ["specimen_id", "barcode"])
    seen = {part: _seen(asking, texts, trained) for part, asking in queries.items()}
    ids: set[str] = set()
    if trained.data_sets != {dataset.facts.fingerprint}:
        ids.update(*(asking.ids[seen[part][0]] for part, asking in queries.items()))
    unknown = [f"What {run} was trained on was not kept, so more may have been seen" for run in trained.unknown]
    about = {
        "schema": _SCHEMA,
        "official_split": dataset.facts.official_split,
        "left_out": {},
        "contamination": {part: counts for part, (_, counts) in seen.items()},
        "declared": sorted(trained.declared) + sorted(unknown),
        **more,
    }
    return Beside(about, stored_floors(dataset), frozenset(ids))


def _seen(queries: Embedded, texts: pa.Table, trained: TrainedOn) -> tuple[Mask, dict[str, int]]:
    """Which queries of a partition have anything that was trained on, (queries,); and how many, for evaluation.json."""
    rows: Indices = pc.index_in(pa.array(queries.ids, pa.string()), value_set=texts["specimen_id"]).to_numpy()
    own, species, unseen = texts.take(pa.array(rows)), queries.labels["species"], queries.subset == "unseen"
    named = {name for name in species[unseen] if name is not None}
    known = named & trained.species  # which should be none
    specimens = _are_among(own["specimen_id"], trained.specimens)
    barcodes = _are_among(own["barcode"], trained.barcodes)
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
    return beside_of(dataset, parts, trained, left_out=left_out, frame=frame)


def _trained(run: RunFolder, experiment: LoadedModel, dataset: PreparedDataset, untrained: bool) -> TrainedOn:
    began_with = experiment.began_with or [RunFolder(Folder(kept["address"])) for kept in run.weights().values()]
    if untrained:
        return _of_beginning(experiment.spec, began_with)
    trained = read_trained_on(run)
    if trained.unknown == {run.id} and experiment.spec.data_fingerprint == dataset.facts.fingerprint:
        return of_training(experiment.spec, dataset, began_with)  # a run of an earlier version, on its own data
    return trained
