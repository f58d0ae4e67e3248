"""The server: addresses to replies, for several people at once; what it is sent is in memory until it is answered."""

import json
import mimetypes
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse

from clibd.serving import pages
from clibd.serving.described import ASKED, DESCRIPTION, FILES, LINES, PROBLEMS, WANTED
from clibd.serving.sent import RefusedError, Sent, read_body, understood
from clibd.serving.serving import Lines, Serving
from clibd.serving.shown import shown
from clibd.serving.uploads import Specimen
from clibd.serving.validated import FORMS, Download, file_name, judged_row, written
from results.dashboard.site.guard import Guard, Guarded
from results.dashboard.site.rendering import DASHBOARD, static_file
from workloads.errors import ClibdError, UsageError
from workloads.identification.formats import Format
from workloads.identification.identifying import Identifier
from workloads.printed_text import remark
from workloads.spec import Rank

TOKEN = "CLIBD_SERVE_TOKEN"
GUARDED = Guarded("server", TOKEN, "Names are given", frozenset({"/", "/identify", "/shown", "/download"}))
_THREADS = 16
_MOST_TAXA = 100


def server(identifier: Identifier, guard: Guard) -> FastAPI:
    """The application that names what it is sent.

    Args:
        identifier: of a database.
        guard: who may ask.
    """
    serving = Serving(identifier)

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        yield

    app = FastAPI(
        title="CLIBD identification",
        description=DESCRIPTION,
        version=serving.facts.made_with or "0",
        docs_url=None,
        redoc_url=None,
        lifespan=running,
        redirect_slashes=False,
    )
    app.add_middleware(guard.middleware)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    _add_questions(app, serving)
    _add_reference(app, serving)
    _add_pages(app, serving)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    headers = {"retry-after": "60"} if error.status == 503 else {}
    return JSONResponse({"detail": error.sentence}, error.status, headers)


async def _misunderstood(request: Request, error: Exception) -> Response:
    """In one sentence, not in a list of what a library thinks of it."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return JSONResponse({"detail": f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}."}, 422)


def _add_questions(app: FastAPI, serving: Serving) -> None:
    """What is sent, and answered in lines or as a file."""

    @app.post("/identify", summary="Name specimens.", openapi_extra=ASKED, responses={200: LINES, **PROBLEMS})
    async def identify(request: Request) -> Response:
        """Answers come as they are made, an object a line, in the order of what was sent. A line with only `error` says
        why no further one comes."""
        sent, specimens, leave = await serving.taken(request)
        return Lines(_safely(json.dumps(line) for _, line in serving.named(sent, specimens)), leave)

    @app.post("/shown", include_in_schema=False)
    async def shown_lines(request: Request) -> Response:
        sent, specimens, leave = await serving.taken(request)
        named = enumerate(serving.named(sent, specimens), start=1)
        fragments = (pages.specimen_html(shown(one, line, number, drawn=False)) for number, (one, line) in named)
        of = json.dumps({"specimens": len(specimens)})
        return Lines(_safely((json.dumps({"html": html}) for html in fragments), of), leave)

    @app.post(
        "/download",
        summary="Write answers, some of them confirmed or corrected by hand, as a file.",
        openapi_extra=WANTED,
        responses={200: FILES, **PROBLEMS},
        response_class=Response,
    )
    async def download(request: Request) -> Response:
        """The flag `ValidatedByHuman` is on those that a person judged; in Darwin Core it is their
        `identificationVerificationStatus`."""
        return await anyio.to_thread.run_sync(_download, await read_body(request), serving)


def _download(body: bytes, serving: Serving) -> Response:
    wanted = understood(Download, body)
    form = _form(wanted.format)
    try:
        return _file(written(form, map(judged_row, wanted.answers), serving.facts), form)
    except ValueError as error:
        raise RefusedError(422, f"A row is none of `clibd identify`: {error}.") from error


def _safely(lines: Iterator[str], first: str | None = None) -> Iterator[str]:
    """Lines with their ends; what goes wrong is a last line that says so, as the status has been sent."""
    if first is not None:
        yield f"{first}\n"
    try:
        for line in lines:
            yield f"{line}\n"
    except ClibdError as error:
        yield json.dumps({"error": str(error)}) + "\n"
    except Exception as error:  # a mistake of ours costs this request, not the server
        remark("".join(traceback.format_exception(error)).rstrip())
        yield json.dumps({"error": "Something went wrong; where the server was started it says what."}) + "\n"


def _form(name: str) -> Format:
    found = next((form for form in FORMS if form == name), None)
    if found is None:
        raise RefusedError(422, f"format {name!r}: it is one of {', '.join(FORMS)}.")
    return found


def _file(content: bytes, form: Format) -> Response:
    saved = {"content-disposition": f'attachment; filename="{file_name(form)}"', "cache-control": "no-store"}
    return Response(content, 200, saved, FORMS[form])


def _add_reference(app: FastAPI, serving: Serving) -> None:
    """What the database holds."""
    reference = serving.reference

    @app.get("/database", summary="What the database holds.")
    def database() -> Mapping[str, Any]:
        return asdict(serving.facts)

    @app.get(
        "/taxa",
        summary="Taxa of the database, those first whose names begin with the words.",
        responses={422: PROBLEMS[422], 404: {"description": "The database has no such taxon to look under."}},
    )
    def taxa(
        contains: Annotated[str, Query(max_length=200, description="Words in the name, in any case.")] = "",
        rank: Annotated[Rank | None, Query(description="Of the taxa; every rank if not said.")] = None,
        under: Annotated[str | None, Query(max_length=200, description="Only those within this taxon.")] = None,
        limit: Annotated[int, Query(ge=1, le=_MOST_TAXA, description="How many at most.")] = 20,
    ) -> list[dict[str, Any]]:
        try:
            return reference.taxa_like(contains.strip(), rank, under, limit)
        except UsageError as error:
            raise HTTPException(404, str(error)) from error

    @app.get(
        "/specimens/{specimen_id:path}/thumbnail",
        summary="The small image of a specimen.",
        responses={200: {"content": {"image/webp": {}}}, 404: {"description": "It has none."}, 422: PROBLEMS[422]},
        response_class=Response,
    )
    def thumbnail(specimen_id: str) -> Response:
        if (content := reference.thumbnail(specimen_id)) is None:
            raise HTTPException(404, "The database has no small image of such a specimen.")
        return Response(content, media_type="image/webp", headers={"cache-control": "private, max-age=3600"})

    @app.get(
        "/specimens/{specimen_id:path}",
        summary="A specimen of the database: names, BIN and barcode.",
        responses={404: {"description": "The database has no such specimen."}, 422: PROBLEMS[422]},
    )
    def specimen(specimen_id: str) -> Mapping[str, Any]:
        if (found := reference.specimen(specimen_id)) is None:
            raise HTTPException(404, "The database has no such specimen.")
        return found


def _add_pages(app: FastAPI, serving: Serving) -> None:
    """What people look at."""
    empty = pages.identify_page(serving.facts)

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return HTMLResponse(empty, headers={"cache-control": "no-cache"})

    @app.post("/", include_in_schema=False)
    async def answered(request: Request) -> Response:
        try:
            sent, specimens, leave = await serving.taken(request)
        except RefusedError as refused:
            return HTMLResponse(pages.identify_page(serving.facts, problem=refused.sentence), refused.status)
        try:
            return await anyio.to_thread.run_sync(_answered_page, serving, sent, specimens)
        finally:
            leave()

    @app.get("/interface", include_in_schema=False)
    def interface() -> Response:
        return HTMLResponse(pages.interface_page(app.openapi()), headers={"cache-control": "no-cache"})

    @app.get("/static/{name:path}", include_in_schema=False)
    def static(name: str) -> Response:
        content = next(filter(None, (static_file(name, package) for package in (pages.PACKAGE, DASHBOARD))), None)
        if content is None:
            raise HTTPException(404, "There is no such file.")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return Response(content, media_type=kind, headers={"cache-control": "private, no-cache"})

    @app.get("/{path:path}", include_in_schema=False)
    def missing(path: str) -> Response:
        return HTMLResponse(pages.missing_page("There is no such page."), 404)


def _answered_page(serving: Serving, sent: Sent, specimens: Sequence[Specimen]) -> Response:
    """The answers to a form without scripts: a page, or a file."""
    try:
        found = list(serving.named(sent, specimens))
        if sent.form:
            form = _form(sent.form)
            return _file(written(form, [named.answer for named, _ in found], serving.facts), form)
        answers = [shown(named, line, number, drawn=True) for number, (named, line) in enumerate(found, start=1)]
    except ClibdError as error:
        return HTMLResponse(pages.identify_page(serving.facts, problem=str(error)), 500)
    return HTMLResponse(pages.identify_page(serving.facts, answers), headers={"cache-control": "no-store"})
