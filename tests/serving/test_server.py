"""The interface over HTTP: lines of answers, limits with their sentences, lookups, files, and who may ask."""

import csv
import io
import json
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx import Response
from starlette.testclient import TestClient

from clibd.serving import sent, serving
from tests.serving.small_server import asked, barcode, made_database, picture
from workloads.identification.answers import ANSWERS
from workloads.identification.database import Database

TOKEN = "a token of 16 and more"
ONE = barcode(0, 1)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return made_database(tmp_path_factory.mktemp("database") / "db")


@pytest.fixture(scope="module")
def client(database: Database) -> Iterator[TestClient]:
    with asked(database) as client:  # one event loop for all requests, as a server has
        yield client


def lines(client: TestClient, **body: Any) -> list[dict[str, Any]]:
    reply = client.post("/identify", **body)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-ndjson"), reply.text
    return [json.loads(line) for line in reply.text.splitlines()]


def form(client: TestClient, **fields: str) -> Response:
    """What the page without scripts sends: all fields, and no file."""
    return client.post("/", data=fields, files=[("files", ("", b""))])


def bomb() -> bytes:
    """A PNG of some bytes whose header says 50,000 by 50,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))

    header = struct.pack(">LLBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def test_a_barcode_is_named_with_its_ranks_and_neighbours(client: TestClient) -> None:
    (line,) = lines(client, json={"barcodes": [{"id": "mine", "barcode": ONE}], "neighbours": 3})
    assert (line["specimen_id"], line["barcode"]) == ("mine", ONE)
    assert (line["answer"]["species"], line["answer"]["rank"]) == ("Eristalis tenax", "species")
    assert [row["rank"] for row in line["ranks"]] == ["order", "family", "genus", "species"]
    assert {*line["answer"]} <= {*ANSWERS.names, "alignment"}
    near = line["neighbours"]
    assert (len(near), near[0]["nearest_id"], near[0]["similarity"]) == (3, "S0/1", pytest.approx(1, abs=1e-5))
    assert (near[0]["barcode"], near[0]["thumbnail"], near[0]["identity"]) == (ONE, True, 1)
    assert near[0]["trained"] is True


def test_ids_that_stand_twice_have_their_own_answers_in_order(client: TestClient) -> None:
    both = [{"id": "x", "barcode": barcode(3)}, {"id": "x", "barcode": barcode(5)}]
    found = lines(client, json={"barcodes": both * 40})
    assert [line["answer"]["genus"] for line in found] == ["Apis", "Carabus"] * 40


def test_files_of_all_kinds_are_named_in_one_request(client: TestClient) -> None:
    files = [("a.png", picture(2)), ("b.fasta", f">b\n{ONE}".encode()), ("bad.jpg", b"no image"), ("bomb.png", bomb())]
    found = lines(client, files=[("files", each) for each in files], data={"barcodes": f">pasted\n{barcode(4)}"})
    assert [line["specimen_id"] for line in found] == ["a.png", "b", "bad.jpg", "bomb.png", "pasted"]
    assert [line["answer"]["evidence"] for line in found] == ["image", "dna", None, None, "dna"]
    assert found[0]["answer"]["species"] == "Musca domestica"
    assert "does not decode" in found[2]["answer"]["error"]
    assert "pixels" in found[3]["answer"]["error"]
    assert (found[2]["ranks"], found[2]["neighbours"]) == ([], [])


@pytest.mark.parametrize(
    ("bases", "why"),
    [("ACGT" * 25_000, "long"), ("ACGT" * 25_001, "longer than any barcode"), ("", "neither"), ("J", "nucleotide")],
)
def test_a_barcode_that_is_none_has_its_sentence(bases: str, why: str, client: TestClient) -> None:
    (line,) = lines(client, content=f">odd\n{bases}\n", headers={"content-type": "text/plain"})
    assert why in line["answer"]["error"]
    assert line["answer"]["species"] is None


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({"json": {"barcodes": []}}, 422, "nothing to name"),
        ({"json": {"barcodes": ONE, "confidence": 1}}, 422, "confidence"),
        ({"json": [1]}, 422, "the body"),
        ({"content": "{", "headers": {"content-type": "application/json"}}, 400, "no JSON"),
        ({"content": "[" * 100_000, "headers": {"content-type": "application/json"}}, 400, "no JSON"),
        ({"content": "x", "headers": {"content-type": "image/png"}}, 415, "multipart/form-data"),
        ({"content": "x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
        ({"content": "x", "headers": {"content-type": "multipart/form-data; boundary=y"}}, 400, "cannot be read"),
        ({"data": {"neighbours": "many"}, "files": [("files", ("a.png", b"x"))]}, 422, "neighbours"),
        ({"files": [("other", ("a.png", b"x"))]}, 422, "nothing to name"),
        ({"json": {"barcodes": [{"barcode": "ACGTACGT"}] * 2_001}}, 413, "at most 2,000 specimens"),
    ],
)
def test_what_is_not_understood_is_a_sentence(body: dict[str, Any], status: int, why: str, client: TestClient) -> None:
    reply = client.post("/identify", **body)
    assert (reply.status_code, [*reply.json()]) == (status, ["detail"])
    assert why in reply.json()["detail"]


def test_an_upload_of_100_megabytes_is_refused_with_a_sentence_and_nothing_is_held(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    monkeypatch.setattr(sent, "Upload", lambda name, content: held.append(len(content)))
    for headers in ({"content-type": "text/plain"}, {"content-type": "multipart/form-data; boundary=y"}):
        reply = client.post("/identify", content=(bytes(2**20) for _ in range(100)), headers=headers)
        assert (reply.status_code, held) == (413, [])
        assert "64 MB" in reply.json()["detail"]


def test_uploads_touch_no_disk(client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    monkeypatch.setattr("tempfile.TemporaryFile", None)
    large = f">a\n{ONE}\n".encode() + b";".ljust(1000, b"x").join([b"\n"] * 3000) + f">b\n{ONE}".encode()
    found = lines(client, files=[("files", ("large.fasta", large))])
    assert [line["answer"]["species"] for line in found] == ["Eristalis tenax"] * 2


def test_those_who_ask_at_once_all_have_their_own_answers(client: TestClient) -> None:
    found: dict[int, list[str]] = {}

    def ask(species: int) -> None:
        barcodes = [{"id": f"{species}-{number}", "barcode": barcode(species)} for number in range(150)]
        found[species] = [line["answer"]["genus"] for line in lines(client, json={"barcodes": barcodes})]

    threads = [threading.Thread(target=ask, args=(species,)) for species in (2, 3, 4, 5, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {
        number: [name] * 150 for number, name in ((2, "Musca"), (3, "Apis"), (4, "Bombus"), (5, "Carabus"))
    }


def test_a_place_is_free_again_after_every_request(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_TO_WAIT", 2.0)
    for _ in range(2 * serving._AT_ONCE):
        assert client.post("/identify", content="x", headers={"content-type": "a/b"}).status_code == 415
        assert form(client, barcodes="J").status_code == 200
        assert len(lines(client, json={"barcodes": ONE})) == 1


def test_what_goes_wrong_in_the_middle_is_a_last_line(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving, "line_of", lambda named, reference: 1 / 0)
    assert "Something went wrong" in lines(client, json={"barcodes": ONE})[0]["error"]
    assert "ZeroDivisionError" in capsys.readouterr().err


# --- Lookups and files --------------------------------------------------------------------------------------------


def test_specimens_and_their_small_images_are_found_by_id(client: TestClient) -> None:
    found = client.get("/specimens/S0%2F1").json()
    assert (found["species"], found["barcode"], found["bin"]) == ("Eristalis tenax", ONE, "BOLD:AAA0000")
    reply = client.get("/specimens/S0%2F1/thumbnail")
    assert (reply.headers["content-type"], reply.content[:4]) == ("image/webp", b"RIFF")
    assert client.get("/specimens/nobody").status_code == client.get("/specimens/nobody/thumbnail").status_code == 404
    assert client.get("/specimens/..%2f..%2fdatabase.json").status_code == 404


def test_taxa_are_found_by_words_in_their_names(client: TestClient) -> None:
    found = client.get("/taxa", params={"contains": "ERIST"}).json()
    assert [(one["rank"], one["name"]) for one in found] == [
        ("genus", "Eristalis"),
        ("species", "Eristalis arbustorum"),
        ("species", "Eristalis tenax"),
    ]
    assert (found[2]["family"], found[2]["specimens"]) == ("Syrphidae", 4)
    under = client.get("/taxa", params={"under": "Apidae", "rank": "species", "limit": 1}).json()
    assert [one["name"] for one in under] == ["Apis mellifera"]
    assert "no taxon" in client.get("/taxa", params={"under": "Nobody"}).json()["detail"]
    assert "limit" in client.get("/taxa", params={"limit": 0}).json()["detail"]


@pytest.mark.parametrize("form", ["csv", "json", "dwc"])
def test_downloads_say_what_a_person_judged(form: str, client: TestClient) -> None:
    rows = [line["answer"] for line in lines(client, json={"barcodes": f"{ONE}\n{ONE}\n{ONE}"})]
    taxon = {
        "rank": "species",
        "order": "Diptera",
        "family": "Muscidae",
        "genus": "Musca",
        "species": "=Musca domestica",
    }
    answers = [{"row": rows[0]}, {"row": rows[1], "right": True}, {"row": rows[2], "taxon": taxon}]
    reply = client.post("/download", json={"format": form, "answers": answers})
    assert "attachment" in reply.headers["content-disposition"]
    text = reply.content.decode()
    if form == "json":
        first, second, third = json.loads(text)
        assert ("ValidatedByHuman" in first["flags"], "score" in second, "score" in third) == (False, True, False)
        assert (third["species_epithet"], third["rank"]) == ("domestica", "species")
        return
    first, second, third = csv.DictReader(io.StringIO(text), delimiter="," if form == "csv" else "\t")
    column = "identificationVerificationStatus" if form == "dwc" else "flags"
    assert ["ValidatedByHuman" in row[column] for row in (first, second, third)] == [False, True, True]
    name = third["scientificName" if form == "dwc" else "species"]
    assert name.endswith("Musca domestica")
    assert not name.startswith("=")  # no formula of a spreadsheet


@pytest.mark.parametrize(
    "body",
    [{"format": "exe", "answers": []}, {"answers": [{"row": {"flags": 3}}]}, {"answers": [{"row": {"score": "x"}}]}],
)
def test_nonsense_is_no_download(body: dict[str, Any], client: TestClient) -> None:
    reply = client.post("/download", json=body)
    assert reply.status_code == 422
    assert isinstance(reply.json()["detail"], str)


def test_the_description_is_openapi_and_a_plain_page(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert {*described["paths"]} >= {"/identify", "/taxa", "/download", "/specimens/{specimen_id}/thumbnail"}
    asked_as = described["paths"]["/identify"]["post"]["requestBody"]["content"]
    assert {*asked_as} == {"multipart/form-data", "application/json", "text/plain"}
    page = client.get("/interface").text
    assert all(path in page for path in described["paths"])
    assert not re.search(r"(src|href)=.(https?:)?//", page)
    assert "$ref" not in json.dumps(asked_as)


# --- The page without scripts, and who may ask --------------------------------------------------------------------


def test_the_form_is_answered_without_scripts(client: TestClient) -> None:
    reply = form(client, barcodes=f">mine\n{ONE}")
    assert "Eristalis tenax" in reply.text
    assert reply.text.count('class="barcode"') == 6  # of the query and five neighbours
    assert "1 specimen<" in reply.text
    assert "There is nothing to name" in form(client, barcodes=" ").text
    assert "PredictedByMachine" in form(client, barcodes=ONE, format="dwc").text


def test_names_of_files_are_text(client: TestClient) -> None:
    hostile = "<img src=x onerror=alert(1)>.png"
    page = client.post("/", files=[("files", (hostile, b"x"))]).text
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


def test_only_what_takes_something_may_be_sent_to(client: TestClient) -> None:
    assert [client.post(path).status_code for path in ("/taxa", "/interface", "/login", "/nonsense")] == [405] * 4
    for method in ("PUT", "DELETE", "PATCH"):
        assert client.request(method, "/identify").status_code == 405


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"origin": "null"}, {"host": "evil.example:8400"}]
)
def test_other_sites_may_not_ask(headers: dict[str, str], client: TestClient) -> None:
    reply = client.post("/identify", json={"barcodes": ONE}, headers=headers)
    assert reply.status_code in (403, 421)
    assert "species" not in reply.text


def test_every_reply_forbids_what_the_page_does_not_need(client: TestClient) -> None:
    for path in ("/", "/nonsense", "/static/identify.js", "/static/style.css", "/specimens/nobody"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_without_the_token_nothing_is_named(database: Database) -> None:
    closed = asked(database, TOKEN)
    assert closed.post("/identify", json={"barcodes": ONE}).status_code == 401
    assert (
        closed.get("/taxa").status_code == closed.get("/").status_code == closed.get("/openapi.json").status_code == 401
    )
    assert "whoever started the server" in closed.get("/").text
    assert len(lines(closed, json={"barcodes": ONE}, headers={"authorization": f"Bearer {TOKEN}"})) == 1
    reply = closed.post("/login", data={"token": TOKEN, "to": "/"})
    assert reply.status_code == 303
    assert closed.get("/", headers={"cookie": reply.headers["set-cookie"].partition(";")[0]}).status_code == 200
