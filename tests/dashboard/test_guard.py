"""Who may ask: other names of this machine, other sites, other methods and whoever has no token are refused."""

from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest

from results.dashboard.site.guard import Guard, UnsafeHostError
from tests.dashboard.serving import Desk, served
from workloads.storage import Folder

TOKEN = "a token of 16 and more ü"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with served(Folder(tmp_path_factory.mktemp("runs"))) as desk:
        yield desk


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with served(Folder(tmp_path_factory.mktemp("runs")), TOKEN) as desk:
        yield desk


def test_every_reply_forbids_what_pages_do_not_need(desk: Desk) -> None:
    for got in (desk.ask("/"), desk.ask("/nonsense"), desk.ask("/static/style.css"), desk.ask("/", Origin="null")):
        policy = got.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["referrer-policy"] == "no-referrer"
        assert got.headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in got.headers


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_it_answers_to_names_of_this_machine(name: str, desk: Desk) -> None:
    assert desk.ask("/", Host=f"{name}:{desk.port}").status == 200


@pytest.mark.parametrize(
    "host", ["evil.example:{}", "127.0.0.1", "localhost:1", "127.0.0.1.evil.example:{}", "a@localhost:{}", "0.0.0.0:{}"]
)
def test_it_answers_to_no_other_name(host: str, desk: Desk) -> None:
    got = desk.ask("/", Host=host.format(desk.port))
    assert (got.status, "runs" in got.text) == (421, False)


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "http://localhost:1", "file://localhost:{}"])
def test_other_sites_may_not_ask(origin: str, desk: Desk) -> None:
    assert desk.ask("/", Origin=origin.format(desk.port)).status == 403


def test_its_own_pages_may_ask(desk: Desk) -> None:
    assert desk.ask("/", Origin=f"http://localhost:{desk.port}", Sec_Fetch_Site="same-origin").status == 200


def test_other_sites_may_link_to_a_page_and_show_nothing_of_it(desk: Desk) -> None:
    """A script with columns in another site's page would give it the numbers."""
    there = {"Sec_Fetch_Site": "cross-site"}
    assert desk.ask("/", **there, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document").status == 200
    assert desk.ask("/", **there, Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe").status == 403
    assert desk.ask("/", **there, Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="script").status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE"])
@pytest.mark.parametrize("path", ["/", "/login", "/static/style.css", "/live"])
def test_it_only_reads(method: str, path: str, desk: Desk) -> None:
    assert desk.ask(path, method).status == 405


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "head.cluster"])
@pytest.mark.parametrize("token", [None, "short"])
def test_a_host_that_others_reach_needs_a_token(host: str, token: str | None) -> None:
    with pytest.raises(UnsafeHostError, match="CLIBD_DASHBOARD_TOKEN"):
        Guard(host, 8300, token)
    Guard(host, 8300, TOKEN)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "::1"])
def test_loopback_needs_none(host: str) -> None:
    Guard(host, 8300)


def test_without_the_token_there_is_a_form_and_nothing_else(closed: Desk) -> None:
    for path in ("/", "/run/x", "/live", "/nonsense", f"/?token={quote(TOKEN)}"):
        got = closed.ask(path)
        assert (got.status, 'type="password"' in got.text) == (401, True), path
    assert closed.ask("/static/style.css").status == 200
    assert closed.ask("/", Authorization="Bearer wrong").status == 401
    assert closed.ask("/", Cookie="clibd-1=x; ;;=").status == 401


def test_the_token_in_a_header_opens(closed: Desk) -> None:
    assert closed.ask("/", Authorization=f"Bearer {TOKEN}").status == 200


def test_the_form_gives_a_cookie_and_the_page_that_was_asked_for(closed: Desk) -> None:
    form = urlencode({"token": TOKEN, "to": "/run/a%2Fb?rank=genus"})
    for browser in ({"Origin": f"http://127.0.0.1:{closed.port}"}, {"Origin": "null", "Sec_Fetch_Site": "same-origin"}):
        got = closed.ask("/login", "POST", form, **browser)
        assert got.status == 303
    assert closed.ask("/login", "POST", form, Origin="null", Sec_Fetch_Site="cross-site").status == 403
    assert got.headers["location"] == "/run/a%2Fb?rank=genus"
    cookie = got.headers["set-cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    assert "token" not in cookie
    assert closed.ask("/", Cookie=cookie.partition(";")[0]).status == 200
    assert closed.ask("/login", Cookie=cookie.partition(";")[0]).status == 404


@pytest.mark.parametrize("to", ["//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nX: y", ""])
def test_the_form_leads_nowhere_else(to: str, closed: Desk) -> None:
    assert closed.ask("/login", "POST", urlencode({"token": TOKEN, "to": to})).headers["location"] == "/"


@pytest.mark.parametrize("form", ["token=wrong&to=/", "", "token=" + "x" * 10_000, "&" * 1000, "a=1&b=2&c=3&d=4&e=5"])
def test_another_token_is_asked_for_again(form: str, closed: Desk) -> None:
    got = closed.ask("/login", "POST", form)
    assert got.status == 401
    assert "set-cookie" not in got.headers


def test_the_form_shows_a_hostile_address_as_text(closed: Desk) -> None:
    got = closed.ask('/x?"><script>alert(1)</script>'.replace(" ", "%20"))
    assert got.status == 401
    assert "<script>alert" not in got.text
