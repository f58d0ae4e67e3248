"""Which specimens of a data set train under a spec, how many they are, and what cannot be trained."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow.compute as pc

from workloads.arrays import Mask
from workloads.data.prepared.dataset import SPECIES, DatasetFacts, PreparedDataset
from workloads.errors import SpecError, TooFewSpecimensError, UsageError
from workloads.spec import ExperimentSpec, Modality, Rank


def check_offered(modalities: Sequence[Modality], spec: ExperimentSpec, facts: DatasetFacts) -> None:
    """Refuse a data set of which no specimen has what a tower takes.

    Raises:
        SpecError: as it says.
    """
    image, dna = facts.image_feature_size is not None, facts.dna_feature_size is not None
    needs: dict[Modality, tuple[bool, str]] = {
        "image": (image, "image features")
        if spec.image.kind == "features"
        else ("image" in facts.modalities and not image, "images"),
        "dna": (dna, "DNA features") if spec.dna.kind == "features" else (facts.barcodes, "barcodes"),
        "text": (True, ""),
    }
    for offered, what in (needs[name] for name in modalities):
        if not offered:
            raise SpecError(f"{facts.name} has no {what}, which the tower takes")


def class_rank(spec: ExperimentSpec) -> Rank | None:
    """The rank whose names are told apart: of a classifier, and of a masked model that tells genera; else None."""
    if spec.objective == "classify":
        return "species"
    return "genus" if spec.objective == "masked" and spec.genus_weight else None


def training_classes(spec: ExperimentSpec, dataset: PreparedDataset) -> tuple[str, ...]:
    """The names that a model tells apart: those of the training splits, in alphabetical order; none of most models.

    Raises:
        SpecError: no training specimen has one, or all have the same genus.
    """
    if (rank := class_rank(spec)) is None:
        return ()
    names = dataset.load(dataset.facts.splits.training, [rank])[rank]
    classes = tuple(sorted(pc.unique(names).drop_null().to_pylist()))
    if rank == "genus" and len(classes) < 2:
        found = f"all named training specimens are of {classes[0]}" if classes else "no training specimen has a genus"
        raise SpecError(f"{dataset.facts.name}: {found}, so that genera cannot be told apart: set genus_weight=0")
    if not classes:
        raise SpecError(f"{dataset.facts.name}: no training specimen has a species, so there is nothing to classify")
    return classes


def any_named(facts: DatasetFacts) -> bool:
    """Whether a specimen of the training splits has a name at any rank."""
    return any(sum(facts.num_labelled.get(split, {}).values()) for split in facts.splits.training)


def num_trained(spec: ExperimentSpec, facts: DatasetFacts) -> int:
    """Specimens that train: those of the training splits with two modalities that are aligned, or the one of the spec.

    For a classifier only those with a species.
    """
    if facts.having:
        whose = [item for split in facts.splits.training for item in facts.having.get(split, {}).items()]
        of_spec = [set(what.split("+")) for what, _ in whose]
        have: dict[str, Mask] = {
            str(name): np.array([name in own for own in of_spec], dtype=bool) for name in spec.modalities
        }
        counted = trains(spec, have)
        if spec.objective == "classify":
            counted = counted & np.array([SPECIES in own for own in of_spec], dtype=bool)
        return sum(count for (_, count), counts in zip(whose, counted, strict=True) if counts)
    if spec.objective == "classify":
        return sum(facts.num_labelled.get(split, {}).get("species", 0) for split in facts.splits.training)
    return facts.num_training


def trains(spec: ExperimentSpec, have: Mapping[str, Mask]) -> Mask:
    """Which specimens train, by the modalities that they have, (specimens,)."""
    if spec.objective != "align":
        return have[spec.modalities[0]]
    enough: Mask = np.sum([have[name] for name in spec.modalities], axis=0) >= 2
    return enough & have[spec.bind_to] if spec.bind_to else enough


def check_batch(spec: ExperimentSpec, num_specimens: int, num_workers: int) -> None:
    """Refuse what cannot be trained.

    Args:
        spec: the experiment.
        num_specimens: those that train, from `num_trained` or `Specimens.trained`.
        num_workers: among whom each batch is shared.

    Raises:
        TooFewSpecimensError: no whole batch.
        UsageError: more workers than specimens in a batch.
    """
    if num_specimens < spec.batch_size:
        raise TooFewSpecimensError(spec.dataset, num_specimens, spec.batch_size)
    if spec.batch_size < num_workers:
        raise UsageError(
            f"a batch of {spec.batch_size} cannot be shared among {num_workers} workers, a specimen each at least. "
            f"Start {spec.batch_size} or fewer (--workers {spec.batch_size}), or take a larger batch."
        )
