"""Embeddings on a disk, with what they are of, so that they are computed once.

embeddings/keys.parquet, val.parquet, test.parquet   specimen_id, split, names by rank, a column a modality
embeddings/rest.parquet                              where asked for: named specimens that train (`clibd bzsl`)
embeddings/embeddings.json                           written last: model, data set, precision, and what is in them
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Floats
from workloads.errors import DamagedError, EmbeddingsError
from workloads.evaluation.embedded import PARTS, Embedded, embedded_of
from workloads.predictions import specimen_table
from workloads.seals import sealed_folder, unseal_run
from workloads.spec import MODALITIES, RANKS
from workloads.storage import Folder

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
    unseal_run(folder, _FOLDER, *(_DERIVED if before != facts else ()))
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
    inside = sealed_folder(folder) / _FOLDER
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


def read_embedded(folder: Folder, part: str) -> Embedded:
    """The embeddings of one part.

    Raises:
        EmbeddingsError: they are not there, not whole, not finite, or out of step with their labels.
        DamagedError: the file is not what was written.
    """
    inside, where = sealed_folder(folder) / _FOLDER, f"{folder}/{_FOLDER}/{part}.parquet"
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
