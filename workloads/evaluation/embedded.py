"""Embedded specimens with their names: the features that queries and keys are made of.

Neither torch nor a model is needed here: embeddings may come from a run, from a stored evaluation or from elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from workloads.arrays import Doubles, Floats, Indices, Labels, Mask, Names
from workloads.data.specimens.schema import subsets_of
from workloads.errors import EmbeddingsError
from workloads.predictions import FUSED, specimen_table
from workloads.spec import RANKS


@dataclass(frozen=True, slots=True)
class Embedded:
    """Specimens of the keys, or of one partition's queries, in their embeddings."""

    ids: Names
    """(specimens,)."""
    split: Names
    """Split of each specimen; its name says whether the species is seen in training, (specimens,)."""
    labels: Labels
    """Names by rank, None where missing, (specimens,) each."""
    rows: Mapping[str, Floats]
    """Embeddings by modality (`image`, `dna`, `text`), (specimens, size) each."""
    lacking: Mapping[str, Mask] = field(default_factory=dict)
    """By modality who lacks it, (specimens,), whose rows there are zeros; a modality that is not named all have."""

    def __post_init__(self) -> None:
        if not len(self.ids):
            raise EmbeddingsError("there is not one specimen in them")
        for what, column in {"split": self.split, **self.labels, **self.rows, **self.lacking}.items():
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
            {name: own for name, mask in self.lacking.items() if (own := mask[chosen]).any()},
        )

    def having(self, modalities: Sequence[str]) -> Indices:
        """Which specimens have all of these modalities, (having,)."""
        lacks = [self.lacking[name] for name in modalities if name in self.lacking]
        return np.flatnonzero(~np.any(lacks, axis=0)) if lacks else np.arange(len(self))


def embedded_of(table: pa.Table, rows: Mapping[str, Floats], lacking: Mapping[str, Mask] | None = None) -> Embedded:
    """The specimens of a table with their ids, splits and names, in their embeddings by modality."""
    names = {name: np.array(table[name].to_pylist(), dtype=object) for name in ("specimen_id", "split", *RANKS)}
    labels = {str(rank): names[rank] for rank in RANKS}
    return Embedded(names["specimen_id"], names["split"], labels, rows, lacking or {})


def specimens_of(parts: Sequence[Embedded]) -> pa.Table:
    """`specimens.parquet` of some parts.

    Raises:
        EmbeddingsError: one id stands for two specimens.
    """
    ids = np.concatenate([part.ids for part in parts])
    names, count = np.unique(ids.astype(str), return_counts=True)
    if (count > 1).any():
        raise EmbeddingsError(f"the id {names[count.argmax()]} stands for {count.max()} specimens")
    return pa.concat_tables([specimen_table(part.ids, part.split, part.labels) for part in parts])


QUERY_FEATURES = ("image", "dna", "text", "averaged", "concatenated")
KEY_FEATURES = (*QUERY_FEATURES, "all", "species_text")

_MADE_OF = {
    "averaged": ("image", "dna"),
    "concatenated": ("image", "dna"),
    "all": ("image", "dna", "text"),
    "species_text": ("text",),
    FUSED: ("image", "dna"),
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
    """Whether some specimen has all modalities that a feature is made of, and for `species_text` a species."""
    if name == FUSED and not ({*_made_of(name)} <= embedded.rows.keys() and len(embedded.having(_MADE_OF[name]))):
        return False
    return _made_of(name) <= embedded.rows.keys() and len(key_specimens(embedded, name)) > 0


def _made_of(name: str) -> set[str]:
    return set(_MADE_OF.get(name, (name,)))


def with_feature(embedded: Embedded, name: str) -> Embedded:
    """Those specimens that a feature of queries can be made of."""
    own = query_specimens(embedded, name)
    return embedded.take(own) if len(own) < len(embedded) else embedded


def query_specimens(embedded: Embedded, name: str) -> Indices:
    """Which specimens ask with a feature, (queries,): those with all modalities of it, or for `image+dna` with one."""
    if name == FUSED:
        return np.union1d(*(embedded.having([modality]) for modality in _MADE_OF[name]))
    return embedded.having(sorted(_made_of(name)))


def query_features(embedded: Embedded, name: str) -> Floats:
    """The rows that a query feature asks with, in unit length, one for each of `query_specimens`.

    `averaged` is the mean of image and DNA, `concatenated` DNA behind image (authors' code; docs/fidelity.md).

    Raises:
        EmbeddingsError: a modality for it is missing.
    """
    _check_feature(embedded, name)
    own = query_specimens(embedded, name)
    rows = {part: _of(embedded.rows[part], own) for part in _made_of(name)}
    if name == "averaged":
        return unit((rows["image"] + rows["dna"]) / np.float32(2))
    if name == "concatenated":
        return unit(np.concatenate([rows["image"], rows["dna"]], axis=1))
    return unit(rows[name])


def key_features(embedded: Embedded, name: str) -> tuple[Floats, Indices]:
    """The keys of one kind, unit rows, (keys, size), and the specimen that each stands for (`key_specimens`), (keys,).

    Beside the features of queries there are `all`, image, DNA and text keys one below the other, so that each specimen
    is there three times, or as often as it has one; and `species_text`, one text key a species, that of its first
    specimen.

    Raises:
        EmbeddingsError: a modality for it is missing.
    """
    _check_feature(embedded, name)
    specimen = key_specimens(embedded, name)
    if name == "all":
        parts = ((embedded.rows[modality], embedded.having([modality])) for modality in _MADE_OF["all"])
        return np.concatenate([unit(_of(rows, own)) for rows, own in parts]), specimen
    if name == "species_text":
        return unit(embedded.rows["text"][specimen]), specimen
    return query_features(embedded, name), specimen


def key_specimens(embedded: Embedded, name: str) -> Indices:
    """Which specimen each key of one kind stands for, (keys,)."""
    if name == "species_text":
        species = embedded.labels["species"]
        known = np.array([row for row in embedded.having(["text"]) if species[row] is not None], dtype=np.int64)
        first = np.unique(species[known].astype(str), return_index=True)[1]
        return np.sort(known[first]).astype(np.int64)
    if name == "all":
        return np.concatenate([embedded.having([modality]) for modality in _MADE_OF["all"]])
    return query_specimens(embedded, name)


def _of(rows: Floats, own: Indices) -> Floats:
    """Some rows; all of them are not copied."""
    return rows if len(own) == len(rows) else rows[own]


def _check_feature(embedded: Embedded, name: str) -> None:
    if not has_feature(embedded, name):
        have = ", ".join(embedded.rows) or "none"
        raise EmbeddingsError(f"there is no '{name}' among them, which have {have}")


def unit(rows: Floats | Doubles) -> Floats:
    """Rows in unit length, in fp32; a row of zeros stays one."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    shortened: Floats = (rows / lengths).astype(np.float32, copy=False)
    return shortened


KEYS, REST = "keys", "rest"
PARTS = (KEYS, "val", "test", REST)
"""Keys, queries by partition, and named specimens that neither answer nor ask."""


def queries_of(parts: Mapping[str, Embedded]) -> dict[str, Embedded]:
    """The parts that ask, by partition."""
    return {part: embedded for part, embedded in parts.items() if part not in (KEYS, REST)}
