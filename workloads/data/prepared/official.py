"""Which published split a data set is, by the numbers of specimens in its splits."""

from collections.abc import Mapping
from typing import Literal

from workloads.data.prepared.dataset import DatasetFacts

Official = Literal["bioscan_1m", "insect"]

BIOSCAN_1M_SPLITS: Mapping[str, tuple[int, int]] = {
    "no_split": (1_043_863, 0),
    "train_seen": (36_279, 916),
    "seen_keys": (6_350, 916),
    "val_unseen_keys": (7_645, 1_771),
    "test_unseen_keys": (7_123, 1_772),
    "val_seen": (4_878, 916),
    "val_unseen": (6_952, 1_771),
    "test_seen": (4_878, 916),
    "test_unseen": (6_448, 1_772),
    "single_species": (3_897, 3_897),
}
"""Records and species of each split of the official lists of BIOSCAN-1M (Figure 2)."""

_GROUPS: Mapping[Official, Mapping[tuple[str, ...], int]] = {
    "bioscan_1m": {(split,): records for split, (records, _) in BIOSCAN_1M_SPLITS.items()},
    # 21,212 specimens; train and val share out trainval (Badirli et al. 2021).
    "insect": {("train_seen", "val_classes"): 15_262, ("test_seen",): 3_525, ("test_unseen",): 2_425, ("no_split",): 0},
}
_PROTOCOLS: Mapping[Official, str] = {"bioscan_1m": "clibd", "insect": "insect"}


def official_split(facts: DatasetFacts) -> Official | None:
    """The published split that a data set has; specimens that were refused, which are very few, count as there."""
    for name, groups in _GROUPS.items():
        if facts.protocol != _PROTOCOLS[name] or facts.synthetic:
            continue
        lacking = [
            count - sum(facts.num_specimens.get(split, 0) for split in splits) for splits, count in groups.items()
        ]
        if min(lacking) >= 0 and sum(lacking) <= facts.num_rejects:
            return name
    return None
