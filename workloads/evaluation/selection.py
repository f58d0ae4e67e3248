"""How good a model is on validation, by the rules of `ExperimentSpec.selection`. Test is never looked at.

Both rules search all keys, those of seen and of unseen species together, as every evaluation does.
"""

from collections.abc import Iterable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from workloads.arrays import Doubles, Indices
from workloads.averages import SAMPLES
from workloads.data.prepared.dataset import DatasetFacts, PreparedDataset
from workloads.errors import SpecError
from workloads.evaluation.accuracy import accuracies_of, coded_answers, label_codes
from workloads.evaluation.embed import embed_all, rows_of_all_workers
from workloads.evaluation.embedded import (
    PAIRS,
    Embedded,
    has_feature,
    key_features,
    query_features,
    query_specimens,
    with_feature,
)
from workloads.evaluation.retrieval import nearest_keys
from workloads.models.loaded import LoadedModel
from workloads.placement import Placement
from workloads.predictions import Place
from workloads.spec import RANKS, ExperimentSpec

Rule = Literal["image_to_dna", "mean_of_336"]

PARTITION = "val"
_INSTEAD = "choose selection 'last', which the recipe 'corrected' has"


def check_selection(spec: ExperimentSpec, facts: DatasetFacts) -> None:
    """Refuse at the start what could not be selected at the end of the first epoch.

    Raises:
        SpecError: the rule needs validation queries of seen and of unseen species, or of another objective.
    """
    if spec.selection == "last":
        return
    if spec.objective != "align":
        raise SpecError(f"'{spec.objective}' has no retrieval to select an epoch by; {_INSTEAD}")
    splits = facts.splits.queries.get(PARTITION, {})
    _check_subsets(name for name in SAMPLES if facts.num_specimens.get(splits.get(name, ""), 0))


def validation_score(experiment: LoadedModel, dataset: PreparedDataset, placement: Placement) -> float:
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
    asking = list(splits.queries.get(PARTITION, {}).values())
    direct = rule == "image_to_dna"
    keys = experiment.specimens(dataset, splits.keys, ["dna"] if direct else None)
    queries = experiment.specimens(dataset, asking, ["image"] if direct else None)
    answering, embedded = (embed_all(experiment, specimens, placement) for specimens in (keys, queries))
    return selection_score(rule, answering, embedded, placement)


def selection_score(rule: Rule, keys: Embedded, queries: Embedded, placement: Placement | None = None) -> float:
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
        keys: all of them.
        queries: those of validation.
        placement: of this worker, to share the work of `mean_of_336`; every worker has all embeddings.

    Returns:
        In [0, 1]; more is better.

    Raises:
        SpecError: there are no queries of seen or of unseen species.
    """
    _check_subsets(queries.subset.tolist())
    if rule == "mean_of_336":
        return float(all_accuracies(keys, queries, placement or Placement()).mean())
    queries, keys = with_feature(queries, "image"), with_feature(keys, "dna")
    _check_subsets(queries.subset.tolist())
    nearest, _ = nearest_keys(queries.rows["image"], keys.rows["dna"], 1)
    codes = label_codes(queries.labels, keys.labels)
    answers = coded_answers(codes, nearest, queries.subset, Place(PARTITION, "image", "dna"))
    for row in accuracies_of(answers, "left_out", (1,)):
        if (row.level, row.average, row.species) == ("species", "macro", "harmonic_mean"):
            return row.value
    raise SpecError(f"no validation query has a species to select an epoch by; {_INSTEAD}")


def all_accuracies(keys: Embedded, queries: Embedded, placement: Placement) -> Doubles:
    """The numbers that `mean_of_336` is the mean of, (pairs, 16); arguments as for `selection_score`."""
    codes, subset = label_codes(queries.labels, keys.labels), queries.subset
    asked = {query: query_specimens(queries, query) for query, _ in PAIRS if has_feature(queries, query)}
    whole = {query for query, own in asked.items() if {*subset[own]} >= {*SAMPLES}}
    pairs = [(query, key) for query, key in PAIRS if query in whole and has_feature(keys, key)]
    if not pairs:
        _check_subsets(())

    def run(some: Indices) -> Tensor:
        rows = []
        for query, key in (pairs[number] for number in some):
            offered, specimen = key_features(keys, key)
            nearest, _ = nearest_keys(query_features(queries, query), offered, 1)
            own = asked[query]
            of_own = {rank: (truth[own], answering) for rank, (truth, answering) in codes.items()}
            answers = coded_answers(of_own, specimen[nearest], subset[own], Place(PARTITION, query, key))
            value = {
                (row.level, row.species, row.average): row.value for row in accuracies_of(answers, "a_class", (1,))
            }
            rows.append([value[rank, kind, mean] for rank in RANKS for kind in SAMPLES for mean in ("micro", "macro")])
        return torch.tensor(rows, dtype=torch.float64)

    return rows_of_all_workers(partial(map, run), len(pairs), placement, 1)


def _check_subsets(there: Iterable[str]) -> None:
    if missing := set(SAMPLES) - set(there):
        which = " and ".join(sorted(missing))
        remedy = f"{_INSTEAD}, or prepare more specimens"
        raise SpecError(f"no validation queries of {which} species to select an epoch by; {remedy}")
