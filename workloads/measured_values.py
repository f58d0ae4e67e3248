"""What tables of numbers must be, whoever wrote them: every number in its range, and every place once."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.errors import DamagedError

_ENDS = ("low", "high")
_LISTS = {"key_ids": pa.types.is_string, "cosines": pa.types.is_floating}
_ROUNDING = 1e-3
"""By which a cosine of embeddings in single precision, some of them normalised in half, may miss its range."""
_MOST_ROWS = 2**62
"""That can be numbered: places in each column, multiplied."""
_LARGEST = 4.0
"""No similarity is larger that was made of cosines by taking something off."""
_SLACK = 1e-9
"""By which a mean of many shares may miss their range."""


def check_measured(table: pa.Table, path: str) -> None:
    """Refuse measurements that nothing can have measured.

    All that is measured are shares: accuracies, rates, and the area under a curve.

    Args:
        table: of measurements; earlier versions lacked its last columns.
        path: where from.

    Raises:
        DamagedError: a number is outside of its range, or a place is twice.
    """
    ends = [name for name in _ENDS if name in table.column_names]
    for name in ("value", *ends):
        inside = pc.and_(pc.greater_equal(table[name], -_SLACK), pc.less_equal(table[name], 1 + _SLACK))
        if not pc.all(inside, min_count=0).as_py():  # not a number is not inside either
            raise DamagedError(path, f"a {name} is outside of 0 to 1")
    if (pc.min(table["count"]).as_py() or 0) < 0:
        raise DamagedError(path, "a count is negative")
    if len(ends) == 2 and not pc.all(pc.less_equal(table["low"], table["high"]), min_count=0).as_py():
        raise DamagedError(path, "an interval ends before it begins")
    places = [name for name in table.column_names if name not in ("value", "count", *ends)]
    if _is_any_twice(table.select(places)):
        raise DamagedError(path, "a number is there twice")


def check_answers(table: pa.Table, specimens: pa.ChunkedArray, path: str, corrected: Collection[str] = ()) -> None:
    """Refuse answers that no retrieval can have given.

    Args:
        table: of `workloads.predictions`, with all of its columns.
        specimens: ids of every query and key.
        path: where from.
        corrected: `keys` of rows whose similarities are no cosines.

    Raises:
        DamagedError: a query has not its nearest keys with a cosine each, the nearest first; it is there twice; or
            somebody asked or answered who is none of the specimens.
    """
    texts = [name for name in table.column_names if name not in _LISTS]
    lists = all(pa.types.is_list(table[name].type) and of(table[name].type.value_type) for name, of in _LISTS.items())
    if not lists or not all(pa.types.is_string(table[name].type) and not table[name].null_count for name in texts):
        raise DamagedError(path, "a column is of another type, or has gaps")
    keys, cosines = (pc.list_value_length(table[name]) for name in _LISTS)
    if keys.null_count or not keys.equals(cosines) or not pc.all(pc.greater(keys, 0), min_count=0).as_py():
        raise DamagedError(path, "a query has no keys, or not a similarity for each")
    flat, parents = pc.list_flatten(table["cosines"]), pc.list_parent_indices(table["cosines"])
    most = pa.scalar(1 + _ROUNDING)
    if corrected:
        free = pc.is_in(table["keys"], value_set=pa.array(corrected, pa.string()))
        most = pc.if_else(free, _LARGEST, most).take(parents)
    if not pc.all(pc.less_equal(pc.abs(flat), most), min_count=0).as_py() or flat.null_count:
        raise DamagedError(path, "a similarity is none of -1 to 1")
    values, rows = np.asarray(flat), np.asarray(parents)
    if np.any((values[1:] > values[:-1]) & (rows[1:] == rows[:-1])):
        raise DamagedError(path, "the keys of a query do not stand in their order")
    asked = [name for name in texts if name != "subset"]
    if _is_any_twice(table.select(asked)):
        raise DamagedError(path, "a query is there twice")
    known, kinds = specimens.combine_chunks(), pa.array(["seen", "unseen"])
    for column, allowed in (
        (table["specimen_id"], known),
        (pc.list_flatten(table["key_ids"]), known),
        (table["subset"], kinds),
    ):
        if not pc.all(pc.is_in(column, value_set=allowed), min_count=0).as_py():
            raise DamagedError(path, "it names a specimen, or a subset, that there is not")


def _is_any_twice(table: pa.Table) -> bool:
    """Whether two rows of words are the same. Their numbers are compared: rows of words take many times the memory."""
    rows, num_rows = np.zeros(len(table), dtype=np.int64), 1
    for column in table.columns:
        words = column.combine_chunks().dictionary_encode()
        if num_rows * (len(words.dictionary) + 1) >= _MOST_ROWS:
            different, rows = np.unique(rows, return_inverse=True)
            num_rows = len(different)
        rows = rows * (len(words.dictionary) + 1) + words.indices.fill_null(len(words.dictionary)).to_numpy()
        num_rows *= len(words.dictionary) + 1
    rows.sort()
    return bool(np.any(rows[1:] == rows[:-1]))
