"""A request's body, within its limits and in memory: what is asked, and the files that came with it.

What is too large is read to its end and forgotten, so that the sentence about it arrives: whoever still sends does not
listen.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from clibd.serving.uploads import MOST_BYTES, MOST_SPECIMENS, PASTED, Upload

CONFIDENCE, NEIGHBOURS, MOST_NEIGHBOURS = 0.95, 5, 20
_MOST_FORGOTTEN = 2**30
_TO_SEND = 120.0
"""Seconds in which a request has to have arrived."""
_FIELDS = 8
_Read = TypeVar("_Read")
_Model = TypeVar("_Model", bound=BaseModel)


class RefusedError(Exception):
    """A request that is not answered, and the status by which HTTP says so."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Barcode(BaseModel):
    """A specimen's barcode."""

    id: str | None = Field(None, max_length=200, description="The sender's; numbered where it is not said.")
    barcode: str = Field(description="Nucleotides; cleaned, and turned where it is the reverse complement.")


class Question(BaseModel):
    """What is asked in JSON."""

    barcodes: list[Barcode] | str = Field(description="Barcodes, or a text in FASTA.")
    confidence: float = Field(CONFIDENCE, gt=0, lt=1, description="Least confidence of a name that is given.")
    neighbours: int = Field(
        NEIGHBOURS, ge=1, le=MOST_NEIGHBOURS, description="How many of the nearest keys are listed."
    )


@dataclass(frozen=True, slots=True)
class Sent:
    """What was asked."""

    uploads: tuple[Upload, ...]
    records: tuple[Mapping[str, Any], ...] = ()
    """Barcodes that came without a file, under the names of a specimen table."""
    confidence: float = CONFIDENCE
    neighbours: int = NEIGHBOURS
    form: str = ""
    """In which the answers are wanted, from the page without scripts; empty for the page."""


async def read_sent(request: Request) -> Sent:
    """What a request asks.

    Raises:
        RefusedError: it is too large, takes too long, or cannot be understood.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _arrived(_of_form(request))
    body = await read_body(request)
    if kind == "application/json":
        return _of_question(understood(Question, body))
    if kind in ("text/plain", "text/x-fasta", "application/octet-stream"):
        return Sent((Upload(PASTED, body),))
    raise RefusedError(
        415, "Send multipart/form-data with files, application/json with barcodes, or FASTA as text/plain."
    )


async def read_body(request: Request) -> bytes:
    """All of a body.

    Raises:
        RefusedError: it is too large, or takes too long.
    """

    async def whole() -> bytes:
        return b"".join([piece async for piece in _bounded(request)])

    return await _arrived(whole())


async def _arrived(reading: Awaitable[_Read]) -> _Read:
    try:
        with anyio.fail_after(_TO_SEND):
            return await reading
    except TimeoutError as error:
        raise RefusedError(408, f"The request has not arrived within {_TO_SEND:.0f} seconds.") from error
    except ClientDisconnect as error:
        raise RefusedError(400, "The request broke off.") from error


def understood(form: type[_Model], content: bytes | Mapping[str, Any]) -> _Model:
    """A body as what it has to be.

    Raises:
        RefusedError: it is something else.
    """
    try:
        return form.model_validate(json.loads(content) if isinstance(content, bytes) else content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise RefusedError(422, f"{where}: {first['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"The body is no JSON: {error}") from error


async def _bounded(request: Request) -> AsyncGenerator[bytes, None]:
    """The body, piece by piece.

    Raises:
        RefusedError: there is more of it than is taken.
    """
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size <= MOST_BYTES:
            yield piece
        elif size > _MOST_FORGOTTEN:
            break
    if size > MOST_BYTES:
        most = f"{MOST_BYTES // 2**20} MB"
        raise RefusedError(
            413, f"One request has at most {most}, and this has more: send it in parts, or smaller images."
        )


class _InMemory(MultiPartParser):
    """Starlette's, which would write what is larger than a megabyte to a disk."""

    spool_max_size = MOST_BYTES + 1


async def _of_form(request: Request) -> Sent:
    most = {"max_files": MOST_SPECIMENS, "max_fields": _FIELDS, "max_part_size": MOST_BYTES}
    try:
        form = await _InMemory(request.headers, _bounded(request), **most).parse()
    except MultiPartException as error:
        raise RefusedError(400, f"The form cannot be read: {error.message}") from error
    try:
        files = [one for one in form.getlist("files") if isinstance(one, UploadFile) and one.filename]
        uploads = [Upload(file.filename or "", await file.read()) for file in files]
    finally:
        await form.close()
    if pasted := _text(form, "barcodes").strip():
        uploads.append(Upload(PASTED, pasted.encode("utf-8", "replace")))
    if not uploads:
        raise RefusedError(422, "There is nothing to name: send photographs as `files`, or FASTA as `barcodes`.")
    given = {name: text for name in ("confidence", "neighbours") if (text := _text(form, name).strip())}
    asked = understood(Question, {"barcodes": [], **given})
    return Sent(tuple(uploads), (), asked.confidence, asked.neighbours, _text(form, "format"))


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def _of_question(asked: Question) -> Sent:
    if isinstance(asked.barcodes, str):
        return Sent(
            (Upload(PASTED, asked.barcodes.encode("utf-8", "replace")),), (), asked.confidence, asked.neighbours
        )
    if not asked.barcodes:
        raise RefusedError(422, "There is nothing to name: `barcodes` is empty.")
    numbered = enumerate(asked.barcodes, start=1)
    records = [
        {"specimen_id": one.id or f"barcode-{number}", "barcode": _ascii(one.barcode)} for number, one in numbered
    ]
    return Sent((), tuple(records), asked.confidence, asked.neighbours)


def _ascii(barcode: str) -> str:
    """As readers of FASTA give it: what is no ASCII is no nucleotide either."""
    return barcode.encode("ascii", "replace").decode()
