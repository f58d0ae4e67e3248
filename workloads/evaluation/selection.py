"""How good a model is on validation, by the rules of `ExperimentSpec.selection`. Test is never looked at.

Both rules search all keys, those of seen and of unseen species together, as every evaluation does.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

from workloads.data.prepared import DatasetFacts, PreparedDataset
from workloads.errors import SpecError
from workloads.evaluation.accuracy import Labels, Place, accuracies
from workloads.evaluation.embed import embed
from workloads.evaluation.retrieval import nearest_keys
from workloads.experiment import Experiment
from workloads.spec import RANKS, ExperimentSpec, Modality
from workloads.training.placement import Placement

Rule = Literal["image_to_dna", "mean_of_336"]
Floats = npt.NDArray[np.float32]
Embeddings = Mapping[Modality, Floats]
Features = dict[str, Floats]
Names = npt.NDArray[np.object_]
Codes = npt.NDArray[np.int64]

PARTITION = "val"
SUBSETS = ("seen", "unseen")

_QUERIES = ("image", "dna", "text", "averaged", "concatenated")
_KEYS = (*_QUERIES, "all")
PAIRS = tuple((q, k) for q in _QUERIES for k in _KEYS if (q == "concatenated") == (k == "concatenated"))
"""The authors' 21 pairs of query and key features; concatenated ones, twice as long, are only searched among such."""


def check_selection(spec: ExperimentSpec, facts: DatasetFacts) -> None:
    """Refuse at the start what could not be selected at the end of the first epoch.

    Raises:
        SpecError: the rule needs validation queries of seen and of unseen species, or of another objective.
    """
    if spec.selection == "last":
        return
    if spec.objective != "align":
        raise SpecError(
            f"'{spec.objective}' has no retrieval to select an epoch by; "
            "choose selection 'last', which the recipe 'corrected' has"
        )
    splits = facts.splits.queries.get(PARTITION, {})
    _check_subsets(name for name in SUBSETS if facts.num_specimens.get(splits.get(name, ""), 0))


def validation_score(experiment: Experiment, dataset: PreparedDataset, placement: Placement) -> float:
    """Score of a model by its spec's rule; called on every worker of a group alike, and the same on each.

    Only keys and validation queries are read. Embeds as the final evaluation does, and leaves the model in evaluation
    mode.

    Raises:
        SpecError: the rule is `last`, which asks for no score, or the queries are not of both kinds.
        MissingPathError: the data set has no keys or no validation queries.
    """
    rule = experiment.spec.selection
    if rule == "last":
        raise SpecError("the selection 'last' has no score")
    splits = dataset.facts.splits
    kinds = {split: kind for kind, split in splits.queries.get(PARTITION, {}).items()}
    direct = rule == "image_to_dna"
    keys = experiment.specimens(dataset, splits.keys, ["dna"] if direct else None)
    queries = experiment.specimens(dataset, list(kinds), ["image"] if direct else None)
    key_embeddings, query_embeddings = (
        {name: embed(experiment.model, specimens, name, placement) for name in specimens.modalities}
        for specimens in (keys, queries)
    )
    subset = np.array([kinds[split] for split in queries.split], dtype=object)
    return selection_score(rule, key_embeddings, query_embeddings, keys.labels, queries.labels, subset, placement)


def selection_score(
    rule: Rule,
    keys: Embeddings,
    queries: Embeddings,
    key_labels: Labels,
    query_labels: Labels,
    subset: Names,
    placement: Placement | None = None,
) -> float:
    """Score of embeddings.

    `image_to_dna` is the harmonic mean of seen and unseen species' macro top-1 of image queries among DNA keys.

    `mean_of_336` is the rule of the authors' `train_cl.py`: the mean over 21 pairs of features x seen and unseen x
    micro and macro x 4 ranks. Beside the modalities there are `averaged` features (the mean of image and DNA),
    `concatenated` ones (DNA behind image), and among the keys `all` (image, DNA and text keys, one below the other).
    All are brought to unit length. A missing rank is a class of its own, `not_classified`, and counts as right when the
    key has none either. A model of two modalities has fewer pairs, 10 for image and DNA and 4 for the others, and the
    mean is over these. Of equally near keys ours is the one of the lowest index; the authors take what faiss lists
    first.

    Args:
        rule: which.
        keys: unit embeddings by modality, (keys, size).
        queries: unit embeddings by modality, (queries, size).
        key_labels: by rank, (keys,), None where missing.
        query_labels: by rank, (queries,), None where missing.
        subset: `seen` or `unseen` for each query, (queries,).
        placement: of this worker, to share the work of `mean_of_336`; every worker has all embeddings.

    Returns:
        In [0, 1]; more is better.

    Raises:
        SpecError: there are no queries of seen or of unseen species.
    """
    _check_subsets(subset.tolist())
    if rule == "mean_of_336":
        return float(all_accuracies(keys, queries, key_labels, query_labels, subset, placement or Placement()).mean())
    nearest, _ = nearest_keys(queries["image"], keys["dna"], 1)
    rows = accuracies(query_labels, key_labels, nearest[:, 0], subset, Place(PARTITION, "image", "dna"))
    wanted = ("species", "macro", "harmonic_mean")
    found = [row.value for row in rows if (row.level, row.average, row.species) == wanted]
    if not found:
        raise SpecError(
            "no validation query has a species to select an epoch by; "
            "choose selection 'last', which the recipe 'corrected' has"
        )
    return found[0]


def all_accuracies(
    keys: Embeddings,
    queries: Embeddings,
    key_labels: Labels,
    query_labels: Labels,
    subset: Names,
    placement: Placement,
) -> npt.NDArray[np.float64]:
    """The numbers that `mean_of_336` is the mean of, (pairs, 16); arguments as for `selection_score`."""
    asked, answering = _features(queries), _features(keys)
    if {"image", "dna", "text"} <= keys.keys():
        answering["all"] = np.concatenate([answering[name] for name in ("image", "dna", "text")])
    pairs = [(query, key) for query, key in PAIRS if query in asked and key in answering]
    codes = [_codes(key_labels[rank], query_labels[rank]) for rank in RANKS]
    found = np.zeros((len(pairs), len(RANKS) * len(SUBSETS) * 2))
    for row in range(placement.rank, len(pairs), placement.num_workers):
        query, key = pairs[row]
        nearest, _ = nearest_keys(asked[query], answering[key], 1)
        # Each key record stands among `all` once a modality, one modality below the other.
        found[row] = _accuracies(nearest[:, 0] % len(key_labels["species"]), codes, subset)
    return _of_all_workers(found, placement)


def _check_subsets(found: Iterable[str]) -> None:
    if missing := set(SUBSETS) - set(found):
        raise SpecError(
            f"no validation queries of {' and '.join(sorted(missing))} species to select an epoch by; "
            "choose selection 'last', which the recipe 'corrected' has, or prepare more specimens"
        )


def _features(embeddings: Embeddings) -> Features:
    """The modalities, and what can be made of image and DNA, in unit length."""
    found: Features = {str(name): rows for name, rows in embeddings.items()}
    if "image" in found and "dna" in found:
        found["averaged"] = (found["image"] + found["dna"]) / np.float32(2)
        found["concatenated"] = np.concatenate([found["image"], found["dna"]], axis=1)
    return {name: _unit(rows) for name, rows in found.items()}


def _unit(rows: Floats) -> Floats:
    lengths: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return rows / lengths


def _codes(key_names: Names, query_names: Names) -> tuple[Codes, Codes]:
    """Numbers for the names at one rank, those of keys and of queries; a missing name has a number too."""
    every = np.array([name or "not_classified" for name in (*key_names, *query_names)])
    _, codes = np.unique(every, return_inverse=True)
    return codes[: len(key_names)], codes[len(key_names) :]


def _accuracies(nearest: Codes, codes: Sequence[tuple[Codes, Codes]], subset: Names) -> list[float]:
    """Micro and macro top-1 of seen and of unseen queries at every rank."""
    found = []
    for key_codes, query_codes in codes:
        for kind in SUBSETS:
            truth = query_codes[subset == kind]
            hits = key_codes[nearest[subset == kind]] == truth
            _, group = np.unique(truth, return_inverse=True)
            found += [float(hits.mean()), float((np.bincount(group, weights=hits) / np.bincount(group)).mean())]
    return found


def _of_all_workers(rows: npt.NDArray[np.float64], placement: Placement) -> npt.NDArray[np.float64]:
    """Rows of which each worker has some, and zeros in place of the others: adding changes no bit."""
    if placement.num_workers == 1:
        return rows
    summed = torch.from_numpy(rows).to(placement.device)
    dist.all_reduce(summed)
    return summed.cpu().numpy()
