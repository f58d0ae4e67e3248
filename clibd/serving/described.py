"""What OpenAPI cannot see in the code: bodies that are read piece by piece, and answers that come as lines."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pydantic import BaseModel

from clibd.serving.sent import CONFIDENCE, MOST_NEIGHBOURS, NEIGHBOURS, Question
from clibd.serving.uploads import MOST_BYTES, MOST_SPECIMENS
from clibd.serving.validated import FORMS, Download
from workloads.identification.answers import ANSWERS

DESCRIPTION = (
    f"Names for specimens, from photographs, COI barcodes or both, each at the deepest rank at which the confidence "
    f"holds. One request has at most {MOST_BYTES // 2**20} MB and {MOST_SPECIMENS:,} specimens. Nothing that is sent "
    "is kept. Where the server has a token, send `Authorization: Bearer TOKEN`."
)
_TYPES: tuple[tuple[pa.DataType, Mapping[str, Any]], ...] = (
    (pa.string(), {"type": ["string", "null"]}),
    (pa.float64(), {"type": ["number", "null"]}),
    (pa.int64(), {"type": ["integer", "null"]}),
    (pa.bool_(), {"type": ["boolean", "null"]}),
    (pa.list_(pa.string()), {"type": "array", "items": {"type": "string"}}),
)


def _row(**more: Any) -> dict[str, Any]:
    """A row of answers, as its columns are."""
    known = {field.name: dict(kind) for field in ANSWERS for of, kind in _TYPES if field.type == of}
    return {"type": "object", "properties": {**known, **more}}


_NEIGHBOUR = _row(
    barcode={
        "type": ["string", "null"],
        "description": "Of the specimen, laid into the frame of the barcode asked about.",
    },
    trained={"type": ["boolean", "null"]},
    thumbnail={"type": "boolean", "description": "Whether /specimens/{id}/thumbnail is there."},
)
_LINE = {
    "type": "object",
    "properties": {
        "specimen_id": {"type": "string"},
        "file_name": {"type": "string"},
        "barcode": {"type": ["string", "null"], "description": "As it was compared: cleaned, and turned if need be."},
        "answer": {**_row(), "description": "The deepest rank that holds; `error` says why there is none."},
        "ranks": {"type": "array", "items": _row(), "description": "Every rank with its confidence."},
        "neighbours": {"type": "array", "items": _NEIGHBOUR, "description": "The nearest keys, nearest first."},
    },
}
LINES: dict[str, Any] = {
    "description": "An object a line for each specimen.",
    "content": {"application/x-ndjson": {"schema": _LINE}},
}
_FORM = {
    "type": "object",
    "properties": {
        "files": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": "Photographs, FASTA, FASTQ, or tables with barcodes; packed with gzip or not. A photograph "
            "S1.jpg and a record S1 are one specimen.",
        },
        "barcodes": {"type": "string", "description": "FASTA, or bare barcodes with a blank line between them."},
        "confidence": {"type": "number", "default": CONFIDENCE, "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "neighbours": {"type": "integer", "default": NEIGHBOURS, "minimum": 1, "maximum": MOST_NEIGHBOURS},
    },
}


def _inlined(told: Any, known: Mapping[str, Any]) -> Any:
    """A schema without references: those of pydantic would lead out of the place where it stands."""
    if isinstance(told, list):
        return [_inlined(each, known) for each in told]
    if not isinstance(told, dict):
        return told
    if "$ref" in told:
        return _inlined(known[told["$ref"].rpartition("/")[2]], known)
    return {name: _inlined(value, known) for name, value in told.items() if name != "$defs"}


def _schema(form: type[BaseModel]) -> Any:
    schema = form.model_json_schema()
    return _inlined(schema, schema.get("$defs", {}))


ASKED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            "application/json": {"schema": _schema(Question)},
            "text/plain": {"schema": {"type": "string", "description": "FASTA."}},
        },
    }
}
WANTED: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": _schema(Download)}}}
}
FILES: dict[str, Any] = {
    "description": "The file.",
    "content": {kind: {"schema": {"type": "string"}} for kind in dict.fromkeys(FORMS.values())},
}
_WHY = {
    "application/json": {"schema": {"type": "object", "properties": {"detail": {"type": "string"}}}},
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    413: {"description": "More than one request may bring.", "content": _WHY},
    415: {"description": "Sent as something else.", "content": _WHY},
    422: {"description": "Not understood; `detail` says what.", "content": _WHY},
    503: {"description": "Others are being answered; ask again.", "content": _WHY},
}
