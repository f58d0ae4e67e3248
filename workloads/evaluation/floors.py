"""What a run must beat: methods that have learned nothing, and simple ones that need no training of a model.

- Keys at random, and the commonest name among the keys. Both depend on the labels of queries and keys alone, so they
  are exact, not drawn. (Table 7 of the paper counts other things: `workloads.data.specimens.statistics`.)
- DNA to DNA: nearest neighbour by cosine of 5-mer counts.
- Image to DNA: linear canonical correlation analysis (CCA) between image features and 5-mer counts, fitted on the
  training specimens. Pixels take the place of features where the data set has no features.

The latter two, the floors of a data set, are kept as answers to every query, so that they are measured on whichever
queries a run is.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.linalg
from PIL import Image
from scipy.stats import hypergeom

from workloads.arrays import Codes, Doubles, Floats, Indices, Labels
from workloads.data.inputs.tower_inputs import Rows
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.specimens.kmers import kmer_counts
from workloads.data.specimens.schema import subsets_of
from workloads.errors import DamagedError, MissingPathError
from workloads.evaluation.accuracy import KS, averages, label_codes
from workloads.evaluation.embed import parts_of
from workloads.evaluation.embedded import KEYS, unit
from workloads.evaluation.retrieval import nearest_keys, nearest_of
from workloads.naming import slug
from workloads.plain_values import parsed
from workloads.predictions import MISSING, Answers, MissingRank, Place, Predictions, prediction_table
from workloads.printed_text import remark
from workloads.record import Measurement
from workloads.spec import RANKS, Rank
from workloads.storage import Folder, cache_folder

BASELINES = (*(("random_key", f"top{k}") for k in KS), ("majority", "top1"))
"""Method and metric of each column of `baseline_scores`."""

FLOORS = "floors.parquet"
_KMERS, _CCA = _METHODS = ("kmer_nearest_neighbour", "linear_cca")
_COLUMNS = {"partition", "query", "key", "keys", "specimen_id", "subset", "key_ids", "cosines", "method"}
_NOTHING = pa.table({"method": pa.array([], pa.string())})
_KEYS_AT_ONCE = 20_000
"""Their 5-mer counts take 160 MB."""
_MOST_FITTED = 50_000
"""Training specimens that CCA is fitted on, evenly spaced; a million would take 15 GB and change little."""
_PIXEL_SIDE = 16


def baseline_scores(query_labels: Labels, key_labels: Labels, missing: MissingRank) -> dict[Rank, Doubles]:
    """What each query scores, in the order of `BASELINES`, (queries, baselines) by rank.

    Args:
        query_labels: by rank, (queries,), None where missing.
        key_labels: by rank, of the keys that are searched, (keys,).
        missing: whether a missing key label is the right answer to a query without one.
    """
    scores = {}
    for rank, (truth, keys) in label_codes(query_labels, key_labels).items():
        columns = [random_key_chance(truth, keys, k) for k in KS]
        scores[rank] = np.stack([*columns, _majority(truth, keys, missing)], axis=1)
    return scores


def random_key_chance(truth: Codes, keys: Codes, k: int) -> Doubles:
    """The probability that one of k different keys, drawn at random, has a query's label, (queries,).

    Of N keys m have it, so that none of k has with the probability C(N-m, k) / C(N, k).
    """
    size = max(truth.max(initial=MISSING), keys.max(initial=MISSING)) - MISSING + 1
    right = np.bincount(keys - MISSING, minlength=size)[truth - MISSING]
    counts, which = np.unique(right, return_inverse=True)  # few differ, and each takes scipy long
    chance: Doubles = hypergeom.sf(0, len(keys), counts, min(k, len(keys)))[which]
    return chance


def _majority(truth: Codes, keys: Codes, missing: MissingRank) -> Doubles:
    """Whether a query has the label that most keys have.

    Of equally common ones it is the first in the alphabet, and a missing one, where it counts, before all.
    """
    named = keys if missing == "a_class" else keys[keys != MISSING]
    if not len(named):
        return np.zeros(len(truth))
    commonest = np.bincount(named - MISSING).argmax() + MISSING
    hits: Doubles = (truth == commonest).astype(np.float64)
    return hits


def baselines_of(place: Place) -> list[tuple[Place, str]]:
    """Place and metric of each column of `baseline_scores`, for a retrieval."""
    return [(replace(place, method=method), metric) for method, metric in BASELINES]


def baseline_measurements(queries: Answers, scores: Mapping[Rank, Doubles], missing: MissingRank) -> list[Measurement]:
    """The averages of `baseline_scores`, in the place of any retrieval of these queries."""
    numbers = baselines_of(queries.place)
    return [row for rank in RANKS for row in averages(queries, rank, missing, scores[rank], numbers)]


# --- The floors of a data set -------------------------------------------------------------------------------------


_Project = Callable[[Doubles], Doubles]
"""From features of one set, (n, size), to their canonical variates, (n, components)."""


def linear_cca(
    a: Doubles, b: Doubles, num_components: int = 256, ridge: float = 1e-3
) -> tuple[Doubles, _Project, _Project]:
    """Regularised linear CCA between two sets of features.

    Args:
        a: (n, p).
        b: (n, q), paired with these.
        num_components: how many canonical variates are kept, at most.
        ridge: of both covariances, relative to their mean variance.

    Returns:
        The canonical correlations, falling, and the projection of either set.
    """
    mean_a, mean_b = a.mean(0), b.mean(0)
    a, b = a - mean_a, b - mean_b
    whiten_a, whiten_b = _whitening(a, ridge), _whitening(b, ridge)
    left, correlations, right = scipy.linalg.svd(
        whiten_a @ (a.T @ b / len(a)) @ whiten_b, full_matrices=False, lapack_driver="gesdd"
    )
    to_a, to_b = whiten_a @ left[:, :num_components], whiten_b @ right.T[:, :num_components]
    return correlations[:num_components], lambda rows: (rows - mean_a) @ to_a, lambda rows: (rows - mean_b) @ to_b


def _whitening(centred: Doubles, ridge: float) -> Doubles:
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
    for method in _METHODS:
        floor = Predictions(table.filter(pc.equal(table["method"], method)), specimens, FLOORS)
        answers += [replace(one, place=replace(one.place, method=method)) for one in map(floor.answers, floor.places)]
    return answers


def stored_floors(dataset: PreparedDataset) -> pa.Table:
    """What the floors answer to every query, as `workloads.predictions` keeps answers, and a column `method`.

    Found out once a data set and kept with it; where its folder cannot be written, in this machine's cache.
    """
    facts = dataset.facts
    of = {"fingerprint": facts.fingerprint, "content": facts.content}
    cached, name = Folder(cache_folder() / "floors"), f"{slug(f'{facts.fingerprint}-{facts.content}')}.parquet"
    for folder, file in ((dataset.folder, FLOORS), (cached, name)):
        if (kept := _read(folder, file, of)) is not None:
            return kept
    table = _answered(dataset).replace_schema_metadata({"floors": json.dumps(of)})
    try:
        dataset.folder.write_table(FLOORS, table)
    except OSError as error:
        remark(f"The floors are kept in {cached}: {dataset.folder} cannot be written ({error})")
        cached.write_table(name, table)
    return table


def _read(folder: Folder, name: str, of: Mapping[str, str]) -> pa.Table | None:
    """Those of this data set; another's, and what is damaged, count as none and are made anew."""
    try:
        table = folder.read_table(name) if folder.has(name) else None
        said = parsed((table.schema.metadata or {})[b"floors"]) if table is not None else None
    except (DamagedError, KeyError, ValueError):
        return None
    known = table is not None and {*table.column_names} in (_COLUMNS, {*_NOTHING.column_names})
    return table if said == of and known else None


def _answered(dataset: PreparedDataset) -> pa.Table:
    """Every floor's nearest keys, found among some keys at a time, so that a million of them do not fill the memory."""
    if not dataset.facts.barcodes:
        return _NOTHING
    pictures = _image_columns(dataset)
    try:
        parts, training = parts_of(dataset), dataset.facts.splits.training
        keys = _having(dataset.load(parts[KEYS], ["specimen_id", "barcode"]), "barcode")
        fitted = _having(dataset.sample(training, ["barcode", *pictures], _MOST_FITTED), "barcode", *pictures)
    except MissingPathError:
        return _NOTHING
    if not len(keys):
        return _NOTHING
    cca = linear_cca(_image_features(fitted), _counts(fitted))[1:] if pictures and len(fitted) > 1 else None
    del fitted
    asking = {
        part: dataset.load(parts[part], ["specimen_id", "barcode", *pictures])
        for part in dataset.facts.splits.queries
        if part in parts
    }
    who = {(part, "dna", _KMERS): _having(table, "barcode") for part, table in asking.items()}
    if cca is not None:
        who |= {(part, "image", _CCA): _having(table, *pictures) for part, table in asking.items()}
    who = {search: table for search, table in who.items() if len(table)}
    asked = {
        search: unit(_counts(table) if search[-1] == _KMERS or cca is None else cca[0](_image_features(table)))
        for search, table in who.items()
    }
    nearest: dict[tuple[str, str, str], tuple[Indices, Floats]] = {}
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        counts = _counts(keys.slice(start, _KEYS_AT_ONCE))
        offered = {_KMERS: unit(counts)} | ({_CCA: unit(cca[1](counts))} if cca is not None else {})
        for search, rows in asked.items():
            indices, cosines = nearest_keys(rows, offered[search[-1]])
            before = nearest.get(search, (indices[:, :0], cosines[:, :0]))
            nearest[search] = nearest_of(np.hstack([before[0], indices + start]), np.hstack([before[1], cosines]))
    key_ids = np.array(keys["specimen_id"].to_pylist(), dtype=object)
    tables = []
    for (part, query, method), (indices, cosines) in nearest.items():
        own = who[part, query, method]
        ids = np.array(own["specimen_id"].to_pylist(), dtype=object)
        subset = subsets_of(own["split"].to_pylist())
        table = prediction_table(Place(part, query, "dna"), ids, subset, key_ids[indices], cosines)
        tables.append(table.append_column("method", pa.array([method] * len(ids))))
    return pa.concat_tables(tables) if tables else _NOTHING


def _having(table: pa.Table, *columns: str) -> pa.Table:
    """The specimens that have all of these."""
    there = reduce(pc.and_, [table[name].is_valid() for name in columns])
    return table if pc.all(there).as_py() else table.filter(there)


def _image_columns(dataset: PreparedDataset) -> list[str]:
    if "image" not in dataset.facts.modalities:
        return []
    return ["image" if dataset.facts.image_feature_size is None else "image_features"]


def _counts(table: pa.Table) -> Doubles:
    return kmer_counts(table["barcode"].to_pylist()).astype(np.float64)


def _image_features(table: pa.Table) -> Doubles:
    """Precomputed features, or the picture reduced to 16 x 16 pixels."""
    if "image_features" in table.column_names:
        return Rows(table["image_features"]).take(np.arange(len(table))).astype(np.float64)
    return np.stack([_small(content.as_py()) for content in table["image"]])


def _small(content: bytes) -> Doubles:
    picture = Image.open(io.BytesIO(content)).convert("RGB").resize((_PIXEL_SIDE, _PIXEL_SIDE), Image.Resampling.BOX)
    return np.asarray(picture, dtype=np.float64).ravel() / 255
