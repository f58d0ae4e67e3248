"""The server: addresses to replies, for many readers at once. It reads; nothing that it is sent changes anything.

All that reads files or makes pages runs in threads; the event loop only passes on what they have made.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked
from results.dashboard.site.guard import Guard
from results.dashboard.site.replies import RENEWS, Reply, reply_to, static_reply
from results.dashboard.site.watcher import Watcher

_AT_ONCE = 12
"""Pages that are made side by side; more would only make all of them late."""
_READING = ("GET", "HEAD")
Next = Callable[[Request], Awaitable[Response]]


def dashboard(catalog: Catalog, guard: Guard, watcher: Watcher) -> FastAPI:
    """The application that serves a folder of runs.

    Args:
        catalog: of the runs.
        guard: who may ask.
        watcher: of the same catalogue.
    """

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _AT_ONCE
        yield

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=running, redirect_slashes=False)
    app.add_middleware(guard.middleware)

    @app.api_route("/live", methods=list(_READING))
    async def live(request: Request) -> Response:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        if request.method == "HEAD":
            return Response(media_type="text/event-stream", headers=headers)
        return StreamingResponse(watcher.told(), media_type="text/event-stream", headers=headers)

    @app.api_route("/static/{name:path}", methods=list(_READING))
    def static(request: Request, name: str) -> Response:
        reply = static_reply(name)
        return Response("There is no such file.", 404) if reply is None else _sent(request, reply)

    @app.api_route("/", methods=list(_READING))
    @app.api_route("/{page}", methods=list(_READING))
    @app.api_route("/{page}/{of:path}", methods=list(_READING))
    def shown(request: Request) -> Response:
        return _sent(request, reply_to(catalog, asked_for(request), RENEWS in request.headers))

    return app


def asked_for(request: Request) -> Asked:
    """The address that a request is for; of an option that is there twice the last."""
    told = request.path_params
    return Asked.to(told.get("page", "overview"), told.get("of", ""), dict(request.query_params))


def _sent(request: Request, reply: Reply) -> Response:
    asked = request.headers
    if reply.status == 200 and reply.headers["etag"] in asked.get("if-none-match", ""):
        kept = {name: reply.headers[name] for name in ("etag", "cache-control", "vary")}
        return Response(status_code=304, headers=kept)
    if reply.packed is not None and "gzip" in asked.get("accept-encoding", ""):
        return Response(reply.packed, reply.status, {**reply.headers, "content-encoding": "gzip"})
    return Response(reply.content, reply.status, dict(reply.headers))
