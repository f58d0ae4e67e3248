"""Who may ask, and what a browser may do with the answers.

A page elsewhere can make a reader's browser ask this server: by a name that leads to this machine (so the `Host` has to
be ours), by a script or a picture of ours in it (so what other sites ask for is refused), or by a form (so nothing is
sent but the token, and to a server that answers questions what is asked, by its own page).
"""

import hashlib
import hmac
import ipaddress
import re
import socket
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

import anyio
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from results.dashboard.page import Asked, Page
from results.dashboard.site.rendering import rendered
from workloads.errors import UsageError

LEAST_TOKEN = 16
ANY_HOST = ("0.0.0.0", "::", "")
"""At which a server listens at all addresses of its machine."""
_LOGIN = "/login"
_MOST_SENT = 4096
_AFTER_A_WRONG_TOKEN = 0.5
"""Seconds until the next may be tried on the same connection."""
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class Guarded:
    """What a guard stands before."""

    name: str
    """As readers are told, such as `dashboard`."""
    variable: str
    """Of the environment, with the token."""
    shown: str
    """What its pages do for those who have the token."""
    takes: frozenset[str] = frozenset()
    """Paths that something may be sent to; all others are only read."""


DASHBOARD = Guarded("dashboard", "CLIBD_DASHBOARD_TOKEN", "These results are shown")


class UnsafeHostError(UsageError):
    """A server that others can reach, without a token."""

    sentence = (
        "{0} is reached from other machines, so it needs a token of at least {1} characters: set {2} "
        "or give --token. `python3 -c 'import secrets; print(secrets.token_urlsafe())'` makes one. "
        "Without --host only this machine is served."
    )

    def __init__(self, host: str, least: int, variable: str, /) -> None: ...


class Guard:
    """Decides about each request before anything else sees it."""

    def __init__(self, host: str, port: int, token: str | None = None, guarded: Guarded = DASHBOARD) -> None:
        """What it lets in.

        Args:
            host: that the server listens at.
            port: as readers give it.
            token: without which nobody reads; None for none.
            guarded: what it stands before.

        Raises:
            UnsafeHostError: others reach the host, and there is no token, or a short one.
        """
        if (token is None and not is_loopback(host)) or (token is not None and len(token) < LEAST_TOKEN):
            raise UnsafeHostError(host, LEAST_TOKEN, guarded.variable)
        self._guarded, self._any_host = guarded, host in ANY_HOST
        ours = {*_LOOPBACK, f"[{host}]" if ":" in host else host}
        if self._any_host:
            ours |= {socket.gethostname(), socket.getfqdn()}
        self._hosts, self._port, self._token = {name.lower() for name in ours}, port, token
        self._cookie = f"clibd-{port}"

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """The application behind it."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send) if scope["type"] == "lifespan" else await _closed(send)
                return

            async def sent(message: Message) -> None:
                if message["type"] == "http.response.start":
                    extra = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                    message = {**message, "headers": [*message["headers"], *extra]}
                await send(message)

            reply = await self._instead(scope, receive)
            await (app if reply is None else reply)(scope, receive, sent)

        return guarded

    async def _instead(self, scope: Scope, receive: Receive) -> Response | None:
        """What is answered in place of the application; None where the request is let in."""
        headers = Headers(scope=scope)
        if len(headers.getlist("host")) != 1 or not self._is_ours(headers["host"]):
            why = f"This address is not the {self._guarded.name}'s. Ask for it as the command that serves it says."
            return _refused(421, why)
        if not self._is_own(headers):
            return _refused(403, "Other sites may not ask here.")
        if not _is_from_here(headers):
            return _refused(403, "Other sites may not ask here.")
        if self._token is not None and scope["path"] == _LOGIN and scope["method"] == "POST":
            return await self._logged_in(receive)
        takes = scope["method"] == "POST" and scope["path"] in self._guarded.takes
        if scope["method"] not in ("GET", "HEAD") and not takes:
            return _refused(405, f"This part of the {self._guarded.name} is read only.", {"allow": "GET, HEAD"})
        if self._token is None or scope["path"].startswith("/static/") or self._knows(headers):
            return None
        return self._login(Asked("overview").path if scope["path"] == _LOGIN or takes else _address(scope))

    def _is_ours(self, host: str) -> bool:
        """Whether a Host, with its port, is one of this server's."""
        found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:@/?#\s]+)(?::(\d{1,5}))?", host)
        if found is None or int(found[2] or 80) != self._port:
            return False
        # A name may be made to lead here by whoever owns it; an address in digits may not.
        return found[1].lower() in self._hosts or (self._any_host and _is_address(found[1].strip("[]")))

    def _is_own(self, headers: Headers) -> bool:
        """Whether a page of ours asks, where a page does; of our form browsers say `null`: it sends no referrer."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        scheme, _, host = (origin or "").partition("://")
        if origin is None or (origin == "null" and site == "same-origin"):
            return True
        return scheme in ("http", "https") and self._is_ours(host)

    # --- The token ------------------------------------------------------------------------------------------------

    def _knows(self, headers: Headers) -> bool:
        """Whether the token is in a header, or what stands for it in a cookie."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(given.strip()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self._in_cookie().encode())

    def _is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())

    def _in_cookie(self) -> str:
        """Other servers of this machine get its cookies too, so the token is not in it."""
        return hmac.new((self._token or "").encode(), b"clibd-dashboard", hashlib.sha256).hexdigest()

    async def _logged_in(self, receive: Receive) -> Response:
        """The reply to the form: a cookie and the page that was asked for."""
        form = await _form(receive)
        to = form.get("to", "/")
        if not self._is_token(form.get("token", "")):
            await anyio.sleep(_AFTER_A_WRONG_TOKEN)
            return self._login(to, "This is not the token.")
        reply = RedirectResponse(to if re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", to) else "/", 303)
        reply.set_cookie(self._cookie, self._in_cookie(), httponly=True, samesite="strict", path="/")
        return reply

    def _login(self, to: str, wrong: str = "") -> Response:
        told = {"to": to, "wrong": wrong, "action": _LOGIN, "of": self._guarded}
        page = Page(title="Who reads", template="login.html.j2", told=told)
        html = rendered(page, Asked("login"), lambda asked: None, "/static/", served=False)
        headers = {"cache-control": "no-store", "www-authenticate": "Bearer"}
        return Response(html, 401, headers, "text/html; charset=utf-8")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_from_here(headers: Headers) -> bool:
    """Whether a reader follows a link, or a page of ours asks; browsers say which, and other programs nothing."""
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return True
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _address(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return str(scope["raw_path"].decode("latin-1")) + (f"?{query}" if query else "")


def _refused(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    return Response(f"{why}\n", status, {"cache-control": "no-store", **(headers or {})}, "text/plain")


async def _form(receive: Receive) -> dict[str, str]:
    """The fields of the form; none of one that is too long, or of another."""
    body = b""
    while len(body) <= _MOST_SENT:
        message: Any = await receive()
        body += message.get("body", b"")
        if not message.get("more_body") or message["type"] != "http.request":
            break
    try:
        fields = parse_qsl(body.decode("utf-8", "replace"), max_num_fields=2) if len(body) <= _MOST_SENT else []
    except ValueError:  # more fields than the form has
        return {}
    return dict(fields)


async def _closed(send: Send) -> None:
    await send({"type": "websocket.close", "code": 1008})
