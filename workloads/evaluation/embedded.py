"""Embedded specimens with their names: the features that queries and keys are made of, and how they are kept.

Neither torch nor a model is needed here: embeddings may come from a run, from a stored evaluation or from elsewhere.
They are kept with what they are of, so that they are computed once:

    embeddings/keys.parquet, val.parquet, test.parquet   specimen_id, split, names by rank, a column a modality
    embeddings/rest.parquet                              where asked for: named specimens that train (`clibd bzsl`)
    embeddings/embeddings.json                           written last: model, data set, precision, and what is in them
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Doubles, Floats, Indices, Labels, Mask, Names
from workloads.data.specimens.schema import subsets_of
from workloads.errors import DamagedError, EmbeddingsError
from workloads.predictions import specimen_table
from workloads.spec import MODALITIES, RANKS
from workloads.storage import Folder


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
    """Whether some specimen has the modalities that a feature is made of, and for `species_text` a species."""
    return _made_of(name) <= embedded.rows.keys() and len(key_specimens(embedded, name)) > 0


def _made_of(name: str) -> set[str]:
    return set(_MADE_OF.get(name, (name,)))


def with_feature(embedded: Embedded, name: str) -> Embedded:
    """Those specimens that a feature of queries can be made of."""
    own = query_specimens(embedded, name)
    return embedded.take(own) if len(own) < len(embedded) else embedded


def query_specimens(embedded: Embedded, name: str) -> Indices:
    """Which specimens ask with a feature: those that have all modalities that it is made of, (queries,)."""
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


# --- On a disk ----------------------------------------------------------------------------------------------------

KEYS, REST = "keys", "rest"
PARTS = (KEYS, "val", "test", REST)
"""Keys, queries by partition, and named specimens that neither answer nor ask."""
_FOLDER, _FACTS = "embeddings", "embeddings.json"
_DERIVED = ("evaluation.json", "open_set.json", "attention-val.json", "attention-test.json", "bzsl/bzsl.json")
"""Files that say what was made of the embeddings; without it nobody takes what lies beside for whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingFacts:
    """What stored embeddings are of; equal facts mean equal embeddings."""

    model: str
    """Id of the run, or name of the model."""
    weights: str
    """SHA-256 of its weights."""
    dataset: str
    data_fingerprint: str
    data_content: str
    """Digest over the ids and images of the prepared data set."""
    modalities: tuple[str, ...]
    precision: str
    """`fp32`, or `bf16` where the towers ran under autocast."""


def write_embedded(folder: Folder, facts: EmbeddingFacts, parts: Mapping[str, Embedded]) -> None:
    """Keep embeddings; the facts come last, so that they stand for whole files.

    What was measured of other embeddings in the folder no longer counts.

    Args:
        folder: of the evaluation.
        facts: what they are of.
        parts: by `keys`, `val` and `test`.
    """
    inside = folder / _FOLDER
    before = None
    with suppress(DamagedError):
        before = stored_facts(folder)
    if before != facts:
        for name in _DERIVED:
            folder.remove(name)
    inside.remove(_FACTS)
    for name in set(PARTS) - set(parts):
        inside.remove(f"{name}.parquet")
    for name, embedded in parts.items():
        table = specimen_table(embedded.ids, embedded.split, embedded.labels)
        for modality, rows in embedded.rows.items():
            flat = pa.array(np.ascontiguousarray(rows).ravel())
            mask = pa.array(embedded.lacking[modality]) if modality in embedded.lacking else None
            table = table.append_column(modality, pa.FixedSizeListArray.from_arrays(flat, rows.shape[1], mask=mask))
        inside.write_table(f"{name}.parquet", table)
    counted = {"rows": {name: len(embedded) for name, embedded in parts.items()}, "lacking": lacking_of(parts)}
    inside.write_json(_FACTS, {**asdict(facts), **{name: counts for name, counts in counted.items() if counts}})


def lacking_of(parts: Mapping[str, Embedded]) -> dict[str, dict[str, int]]:
    """How many specimens of each part lack a modality; only parts in which some do."""
    counts = {
        part: {name: int(np.count_nonzero(mask)) for name, mask in embedded.lacking.items()}
        for part, embedded in parts.items()
    }
    return {part: own for part, own in counts.items() if own}


def stored_facts(folder: Folder) -> EmbeddingFacts | None:
    """What the stored embeddings are of; None where there are none, or not whole ones."""
    inside = folder / _FOLDER
    return _content(inside)[0] if inside.has(_FACTS) else None


def _content(inside: Folder) -> tuple[EmbeddingFacts, dict[str, int], dict[str, dict[str, int]]]:
    """What the embeddings are of, how many specimens each part has, and how many of them lack a modality."""
    content = inside.read_json(_FACTS)
    try:
        rows = {str(part): int(count) for part, count in content.pop("rows").items()}
        lacking = {str(part): dict(counts) for part, counts in content.pop("lacking", {}).items()}
        return EmbeddingFacts(**{**content, "modalities": tuple(content["modalities"])}), rows, lacking
    except (AttributeError, TypeError, KeyError) as error:
        raise DamagedError(f"{inside}/{_FACTS}", f"not the fields of this version ({error})") from error


def stored_parts(folder: Folder) -> list[str]:
    """Which parts there are."""
    return [part for part in PARTS if (folder / _FOLDER).has(f"{part}.parquet")]


def read_parts(folder: Folder) -> dict[str, Embedded]:
    """Every part that there is; raises as `read_embedded`."""
    return {part: read_embedded(folder, part) for part in stored_parts(folder)}


def queries_of(parts: Mapping[str, Embedded]) -> dict[str, Embedded]:
    """The parts that ask, by partition."""
    return {part: embedded for part, embedded in parts.items() if part not in (KEYS, REST)}


def read_embedded(folder: Folder, part: str) -> Embedded:
    """The embeddings of one part.

    Raises:
        EmbeddingsError: they are not there, not whole, not finite, or out of step with their labels.
        DamagedError: the file is not what was written.
    """
    inside, where = folder / _FOLDER, f"{folder}/{_FOLDER}/{part}.parquet"
    if not inside.has(_FACTS) or not inside.has(f"{part}.parquet"):
        raise EmbeddingsError("there are none, or not whole ones", where)
    table = inside.read_table(f"{part}.parquet")
    facts, rows, lacking = _content(inside)
    if len(table) != rows.get(part, 0):
        raise EmbeddingsError(f"{len(table):,} specimens instead of {rows.get(part, 0):,}", where)
    columns = ("specimen_id", "split", *RANKS, *facts.modalities)
    if missing := [name for name in columns if name not in table.column_names]:
        raise DamagedError(where, f"there is no column {', '.join(missing)}")
    try:
        embedded = {str(name): table[name] for name in MODALITIES if name in table.column_names}
        counts = lacking.get(part, {})
        own = {name: _rows(column, counts.get(name, 0)) for name, column in embedded.items()}
        return embedded_of(table, own, {name: ~np.asarray(embedded[name].is_valid()) for name in counts})
    except EmbeddingsError as error:
        raise EmbeddingsError(error.args[0], where) from error


def _rows(column: pa.ChunkedArray, num_lacking: int) -> Floats:
    """One column, (specimens, size), zeros for who lacks it; chunk by chunk, so that no second copy is held."""
    if column.null_count != num_lacking:
        raise EmbeddingsError(f"{column.null_count:,} specimens have none")
    lengths = pc.list_value_length(column).drop_null()
    size = column.type.list_size if pa.types.is_fixed_size_list(column.type) else lengths[0].as_py()
    if (lengths.to_numpy() != size).any():
        raise EmbeddingsError("its specimens have embeddings of different sizes")
    rows = np.zeros((len(column), size), dtype=np.float32)
    start = 0
    for chunk in column.chunks:
        own = chunk.drop_null()
        values = own.flatten().to_numpy(zero_copy_only=False)  # an empty number among them becomes NaN
        rows[start : start + len(chunk)][np.asarray(chunk.is_valid())] = values.reshape(len(own), size)
        start += len(chunk)
    return rows
