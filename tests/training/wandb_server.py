"""A server that speaks as much of Weights & Biases as its library needs, and fails as it is told."""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Mode = Literal["ok", "error", "limited", "refused", "slow", "hang", "garbage"]
_STATUS = {"error": 500, "limited": 429, "refused": 401}
_ENTITY = "somebody"


class _Kept:
    """One run as the server has it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.files: dict[str, dict[int, str]] = {}
        self.sent: list[dict[str, Any]] = []
        """Every point in the order of its coming, those that came again too."""
        self.config = self.summary = "{}"
        self.complete: bool | None = None

    def lines(self, file: str) -> list[str]:
        kept = self.files.get(file, {})
        return [kept[number] for number in sorted(kept)]

    @property
    def points(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines("wandb-history.jsonl")]


class WandbServer(ThreadingHTTPServer):
    """Keeps runs, as long as its mode is `ok`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mode: Mode = "ok"
        self.runs: dict[str, _Kept] = {}
        self.keys: set[str] = set()
        self.asked = 0
        self.paths = []
        self.slow = 30.0
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A client that was ended is no matter."""

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """To a question in GraphQL."""
        query, given = body.get("query", ""), body.get("variables", {})
        if "viewer" in query or "Viewer" in query:
            who = {"id": "1", "entity": _ENTITY, "username": _ENTITY, "flags": "{}", "name": _ENTITY, "email": "a@b.c"}
            return {"viewer": {**who, "teams": {"edges": []}, "apiKeys": {"edges": []}}}
        if "upsertBucket" in query:
            run = self.runs.setdefault(given["name"], _Kept(given["name"]))
            run.config = given.get("config") or run.config
            return {"upsertBucket": {"bucket": self._bucket(run, given.get("project")), "inserted": True}}
        if "RunResumeStatus" in query:
            run = self.runs.get(given["name"])
            project = {"id": "1", "name": given["project"], "entity": {"id": "1", "name": _ENTITY}}
            return {"model": {**project, "bucket": run and self._bucket(run, given["project"])}}
        if "historyKeys" in query:
            run = self.runs.get(given["name"])
            steps = [point["_step"] for point in run.points] if run else []
            known = {
                "historyKeys": {"lastStep": max(steps, default=-1), "keys": {}},
                "state": "finished",
                "projectId": "1",
            }
            return {"project": {"run": run and {**self._bucket(run, given["project"]), **known}}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.address}/upload/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}
        return {}

    def _bucket(self, run: _Kept, project: Any) -> dict[str, Any]:
        counts = {f"{what}LineCount": len(run.lines(file)) for what, file in _FILES.items()}
        tails = {f"{what}Tail": json.dumps(run.lines(file)[-1:]) for what, file in _FILES.items()}
        named = {"id": run.name, "name": run.name, "displayName": run.name, "summaryMetrics": run.summary}
        project = {"id": "1", "name": project, "entity": {"id": "1", "name": _ENTITY}}
        return {
            **named,
            **counts,
            **tails,
            "config": run.config,
            "tags": [],
            "project": project,
            "wandbConfig": '{"t": 1}',
        }

    def stream(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Lines of a run's files, each at its place."""
        run = self.runs[name]
        for file, part in (body.get("files") or {}).items():
            lines = run.files.setdefault(file, {})
            lines |= {part["offset"] + number: line for number, line in enumerate(part["content"])}
            if file == "wandb-history.jsonl":
                run.sent += map(json.loads, part["content"])
            if file == "wandb-summary.json":
                run.summary = part["content"][-1]
        run.complete = body.get("complete", run.complete)
        return {"exitcode": None, "limits": {}}


_FILES = {"log": "output.log", "history": "wandb-history.jsonl", "events": "wandb-events.jsonl"}


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        data = self._body()
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        self.server.asked += 1
        self.server.paths.append(self.path)
        mode = self.server.mode
        if self.path.startswith("/mode/"):
            self.server.mode = self.path.split("/")[-1]  # type: ignore[assignment]
            return self._say(200, b"{}")
        if mode in ("slow", "hang"):
            self.server.over.wait(self.server.slow if mode == "slow" else 3600)
        if mode in _STATUS:
            return self._say(_STATUS[mode], b'{"error": "no"}')
        if mode == "garbage":
            return self._say(200, b"\x00<html>nothing of the kind")
        if self.path.startswith("/graphql"):
            return self._say(200, json.dumps({"data": self.server.answer(json.loads(data))}).encode())
        if self.path.endswith("/file_stream"):
            name = self.path.split("/")[-2]
            return self._say(200, json.dumps(self.server.stream(name, json.loads(data))).encode())
        self._say(200, b"{}")

    do_PUT = do_GET = do_POST  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """One that runs in a thread of this process."""
    server = WandbServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
        time.sleep(0)
