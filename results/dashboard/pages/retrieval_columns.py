"""What an exported retrieval page chooses from in the browser: answers, names, pictures and barcodes as columns.

Cosines are whole ten thousandths, as fine as any page writes them; five keys and their cosines take some 27 bytes so.
"""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.dashboard.catalog import Catalog
from results.dashboard.columns import column_file
from results.dashboard.numbers import Answered, Retrieval, answered
from results.dashboard.page import Asked, File, Kind, NotThereError
from results.dashboard.portraits import Portraits, portraits
from workloads.arrays import Codes
from workloads.shown import MOST_SHOWN
from workloads.spec import RANKS

ROWS, SPECIMENS, PORTRAITS = "retrieval-rows", "retrieval-specimens", "retrieval-portraits"
"""Kinds of files, each of which a page asks for by `name_of`."""
_ONE, _NONE = 10_000, -32_768
"""A cosine of 1, and one that there is not."""
_MOST_BYTES = 11_500_000
"""Of pictures and barcodes in an export: evaluations share it out."""
_BYTES_A_SPECIMEN = 1_800


def name_of(kind: str, evaluation: Answered, one: Retrieval | None = None) -> str:
    """By which name a page's script asks for columns."""
    return " ".join([kind, evaluation.name, *([one.place.partition, one.words] if one else [])])


def _rows(catalog: Catalog, asked: Asked) -> File:
    """The answers: `query`, rows or, where these follow one another, the first one; `keys` and `cosines`."""
    evaluation = answered(catalog, asked.of)
    one = evaluation.retrieval(asked.option("partition"), asked.option("pair"))
    cosines = np.where(np.isnan(one.cosines), _NONE, np.rint(np.clip(one.cosines, -1, 1) * _ONE)).astype(np.int16)
    columns: dict[str, NDArray[Any] | Sequence[str | None]]
    columns = {"query": _shortened(one.queries), "keys": one.keys.ravel(), "cosines": cosines}
    return column_file(name_of(ROWS, evaluation, one), columns)


def _shortened(queries: Codes) -> Codes:
    follow = len(queries) > 1 and bool((np.diff(queries) == 1).all())
    return queries[:1] if follow else queries


def _specimens(catalog: Catalog, asked: Asked) -> File:
    """Ids, names by rank, and whether they have asked as unseen species."""
    evaluation = answered(catalog, asked.of)
    unseen = np.zeros(len(evaluation.ids), dtype=np.int8)
    for one in evaluation.retrievals:
        unseen[one.queries] |= one.unseen
    columns: dict[str, NDArray[Any] | Sequence[str | None]] = {"id": evaluation.ids.to_pylist(), "unseen": unseen}
    for rank in RANKS:
        names = [*evaluation.names[rank].tolist(), None]  # a missing name, -1, is the last one
        columns[rank] = [names[code] for code in evaluation.codes[rank].tolist()]
    return column_file(name_of(SPECIMENS, evaluation), columns)


def _portraits(catalog: Catalog, asked: Asked) -> File:
    """Specimens by their rows, pictures as addresses of data, barcodes in one frame."""
    evaluation = answered(catalog, asked.of)
    shown = portraits(catalog, evaluation)
    rows = _shown_rows(catalog, evaluation, shown)
    ids = [evaluation.id(row) for row in rows]
    splits = [evaluation.split(row) for row in rows]
    pictures = [shown.thumbnail(*each) for each in zip(ids, splits, strict=True)]
    return column_file(
        name_of(PORTRAITS, evaluation),
        {
            "row": np.array(rows, dtype=np.int32),
            "picture": [None if each is None else f"data:image/webp;base64,{_text(each)}" for each in pictures],
            "barcode": [shown.barcode(*each) for each in zip(ids, splits, strict=True)],
        },
    )


def _text(content: bytes) -> str:
    return b64encode(content).decode()


def _shown_rows(catalog: Catalog, evaluation: Answered, shown: Portraits) -> list[int]:
    """Rows of the specimens that are shown, as many as there is room for; without kept ones the first that asked."""
    num = max(1, sum(len(catalog.evaluations(run)) for run in catalog.finished()))
    room = min(MOST_SHOWN, _MOST_BYTES // _BYTES_A_SPECIMEN // num)
    if shown.shown is not None:
        return [int(row) for row in evaluation.rows(shown.shown.ids[:room])]
    if shown.shelves is None or not evaluation.retrievals:
        raise NotThereError(shown.lacking or f"'{evaluation.name}' has kept no pictures.")
    first = evaluation.retrievals[0]
    pairs = np.stack([first.queries, first.nearest], axis=1).ravel()
    return list(dict.fromkeys(pairs[pairs >= 0][: 2 * room].tolist()))[:room]


KINDS = (
    Kind(name=ROWS, make=_rows, options={"partition": "val", "pair": "image-dna"}, suffix=".js"),
    Kind(name=SPECIMENS, make=_specimens, suffix=".js"),
    Kind(name=PORTRAITS, make=_portraits, suffix=".js"),
)
