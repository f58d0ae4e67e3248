"""Embedded specimens with their names, and the features that queries and keys are made of.

Neither torch nor a model is needed here: embeddings may come from a run, from a stored evaluation or from elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from workloads.arrays import Floats, Indices, Labels, Mask, Names
from workloads.data.specimens.schema import subsets_of
from workloads.errors import EmbeddingsError
from workloads.spec import RANKS


@dataclass(frozen=True, slots=True)
class Embedded:
    """Specimens of the keys, or of one partition's queries, in their embeddings."""

    ids: Names
    """(specimens,)."""
    split: Names
    """Of the partition; its name says whether the species is seen in training, (specimens,)."""
    labels: Labels
    """Names by rank, None where missing, (specimens,) each."""
    rows: Mapping[str, Floats]
    """Embeddings by modality (`image`, `dna`, `text`), (specimens, size) each."""

    def __post_init__(self) -> None:
        if not len(self.ids):
            raise EmbeddingsError("there is not one specimen in them")
        for what, column in {"split": self.split, **self.labels, **self.rows}.items():
            if len(column) != len(self.ids):
                rows = f"{len(column):,} rows of '{what}'"
                raise EmbeddingsError(f"{len(self.ids):,} specimens have {rows}, so labels are out of step")
        if missing := set(RANKS) - set(self.labels):
            raise EmbeddingsError(f"there are no labels of {', '.join(sorted(missing))}")
        for name, own in self.rows.items():
            if len(bad := self.ids[~np.isfinite(own).all(axis=1)]):
                which = f"{len(bad):,} specimen(s), the first of them {bad[0]}"
                raise EmbeddingsError(f"'{name}' is not finite for {which}")
        sizes = {name: own.shape[1] for name, own in self.rows.items()}
        if len(set(sizes.values())) > 1:
            raise EmbeddingsError(f"the modalities have different sizes ({sizes}), so they share no space")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def subset(self) -> Names:
        """Whether the species is `seen` in training or `unseen`, (specimens,)."""
        return subsets_of(self.split)

    def take(self, chosen: Mask | Indices) -> "Embedded":
        """Some of the specimens."""
        return Embedded(
            self.ids[chosen],
            self.split[chosen],
            {rank: names[chosen] for rank, names in self.labels.items()},
            {name: rows[chosen] for name, rows in self.rows.items()},
        )


@dataclass(frozen=True, slots=True)
class Keys:
    """What one kind of key offers to a search."""

    rows: Floats
    """Unit length, (keys, size)."""
    specimen: Indices
    """Which specimen of the `Embedded` each key stands for, (keys,)."""


QUERY_FEATURES = ("image", "dna", "text", "averaged", "concatenated")
KEY_FEATURES = (*QUERY_FEATURES, "all", "species_text")

_MADE_OF = {
    "averaged": ("image", "dna"),
    "concatenated": ("image", "dna"),
    "all": ("image", "dna", "text"),
    "species_text": ("text",),
}

PAIRS = tuple(
    (query, key)
    for query in QUERY_FEATURES
    for key in KEY_FEATURES
    if (query == "concatenated") == (key == "concatenated") and key != "species_text"
)
"""The authors' 21 pairs of query and key features; concatenated ones, twice as long, are only searched among such."""

SPECIES_TEXT_PAIRS = (("image", "species_text"), ("dna", "species_text"), ("averaged", "species_text"))
"""Text keys as one string a species, for whoever asks which species a picture or a barcode is of."""


def has_feature(embedded: Embedded, name: str) -> bool:
    """Whether the modalities that a feature is made of are there, and for `species_text` a species."""
    if name == "species_text" and all(species is None for species in embedded.labels["species"]):
        return False
    return set(_MADE_OF.get(name, (name,))) <= embedded.rows.keys()


def query_features(embedded: Embedded, name: str) -> Floats:
    """The rows that a query feature asks with, in unit length.

    `averaged` is the mean of image and DNA, `concatenated` DNA behind image (authors' code; docs/fidelity.md).

    Raises:
        EmbeddingsError: a modality for it is missing.
    """
    _check_feature(embedded, name)
    rows = embedded.rows
    if name == "averaged":
        return unit((rows["image"] + rows["dna"]) / np.float32(2))
    if name == "concatenated":
        return unit(np.concatenate([rows["image"], rows["dna"]], axis=1))
    return unit(rows[name])


def key_features(embedded: Embedded, name: str) -> Keys:
    """The keys of one kind.

    Beside the features of queries there are `all`, image, DNA and text keys one below the other, so that each specimen
    is there three times; and `species_text`, one text key a species, that of its first specimen.

    Raises:
        EmbeddingsError: a modality for it is missing.
    """
    _check_feature(embedded, name)
    specimen = key_specimens(embedded, name)
    if name == "all":
        return Keys(np.concatenate([unit(embedded.rows[modality]) for modality in _MADE_OF["all"]]), specimen)
    if name == "species_text":
        return Keys(unit(embedded.rows["text"][specimen]), specimen)
    return Keys(query_features(embedded, name), specimen)


def key_specimens(embedded: Embedded, name: str) -> Indices:
    """Which specimen each key of one kind stands for, (keys,)."""
    if name == "species_text":
        return _first_of_each(embedded.labels["species"])
    return np.tile(np.arange(len(embedded)), 3 if name == "all" else 1)


def _check_feature(embedded: Embedded, name: str) -> None:
    if not has_feature(embedded, name):
        have = ", ".join(embedded.rows) or "none"
        raise EmbeddingsError(f"there is no '{name}' among them, which have {have}")


def unit(rows: Floats) -> Floats:
    """Rows in unit length; a row of zeros stays one."""
    lengths: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    found: Floats = (rows / lengths).astype(np.float32, copy=False)
    return found


def _first_of_each(names: Names) -> Indices:
    known = np.flatnonzero([name is not None for name in names])
    _, first = np.unique(names[known].astype(str), return_index=True)
    return np.sort(known[first]).astype(np.int64)
