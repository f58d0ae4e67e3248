"""The dashboard on 200 runs with 1,000,000 predictions: how soon it answers, how fast pages are, what it takes.

    python -m benchmarks.dashboard
    python -m benchmarks.dashboard --runs 20 --predictions 50000

The command serves made-up runs in a process of its own. Twenty viewers each open a page of every kind, each of a run of
their own, and read two seconds on average before the next one; first and later views count alike. Chromium opens pages
of the export from disk.
"""

import argparse
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.dashboard_pages import one_of_each
from benchmarks.made_up_runs import make_runs
from benchmarks.made_up_training import beat, live_run
from benchmarks.measuring import publish
from results.dashboard.catalog import Catalog
from results.dashboard.page import Asked
from workloads.predictions import PREDICTIONS
from workloads.seals import LEASE
from workloads.storage import Folder

GOALS = {
    "first_answer_seconds": 3,
    "page_p95_seconds": 0.3,
    "filter_p95_seconds": 0.2,
    "server_peak_mb": 500,
    "update_seconds": 2,
    "export_seconds": 60,
    "export_mb": 80,
    "exported_page_seconds": 1,
}
NUM_VIEWERS, PAUSE = 20, 2.0
"""Viewers, and seconds that each reads a page, on average."""
NUM_UPDATES, NUM_OPENED = 5, 5
FILTERS: tuple[Mapping[str, object], ...] = (
    *({"outcome": outcome, "rank": rank} for outcome in ("right", "wrong") for rank in ("species", "genus", "order")),
    *({"outcome": depth} for depth in ("genus", "family", "none")),
    *({"subset": subset, "least": least} for subset in ("seen", "unseen") for least in (0.5, 0.9)),
    *({"taxon": letter} for letter in "ABCDEFG"),
    *({"page": number} for number in (2, 1000)),
)
"""Of a list of queries; no two alike, so that none is kept from before."""


_READY = {
    "overview": ("index.html", "<h1", "main", "h1"),
    "table": ("table/*.html", "<table", "main", "table"),
    "run": ("run/*.html", "data-chart", "[data-chart]", "svg.main-svg"),
    "retrieval": ("retrieval/*.html", "answers", "main", "#example"),
    "embedding": ("embedding/*.html", 'class="field"', "main", "canvas"),
    "compare": ("compare/*.html", "data-sides", "main", "[data-sides] table"),
}
"""Where exported pages of a kind lie, what marks one that has something to draw, to where a reader scrolls, and what is
there once it is drawn."""


@dataclass(frozen=True, slots=True)
class Server:
    """The command, serving."""

    process: subprocess.Popen[str]
    port: int
    first_answer_seconds: float
    """From its start on."""

    def get(self, path: str) -> float:
        """Seconds until all of a page is there."""
        began = time.perf_counter()
        self.read(path)
        return time.perf_counter() - began

    def read(self, path: str) -> str:
        """A page."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        if reply.status != 200:
            raise SystemExit(f"{path}: {reply.status}")
        return (gzip.decompress(content) if reply.headers["Content-Encoding"] == "gzip" else content).decode()

    @property
    def processor_seconds(self) -> float:
        """What it has computed so far: other work on the machine, which makes pages late, changes it little."""
        spent = psutil.Process(self.process.pid).cpu_times()
        return float(spent.user + spent.system)

    @property
    def peak_mb(self) -> float:
        """The most memory that it has had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def serving(runs: Path) -> Iterator[Server]:
    """The command in a process of its own."""
    began = time.perf_counter()
    words = [*_command(), str(runs), "--port", "0", "--no-open"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = re.search(r":(\d+)/", process.stdout.readline() if process.stdout else "")
            server = Server(process, int(port[1]) if port else 0, 0.0)
            server.get("/")
            yield Server(process, server.port, time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait(20)


def _command() -> list[str]:
    return [sys.executable, "-c", "from commands.dashboard import main; main()"]


# --- What is measured ---------------------------------------------------------------------------------------------


def looked_at(server: Server, catalog: Catalog) -> dict[str, Any]:
    """Seconds of pages by kind, from viewers side by side."""
    plain = one_of_each(catalog)
    runs = [*_answers(catalog)]
    took: dict[str, list[float]] = defaultdict(list)

    def view(number: int) -> None:
        chance = np.random.default_rng(number)
        own = {name: _of(asked, plain["run"].of, runs[number % len(runs)]) for name, asked in plain.items()}
        for name in chance.permutation(list(own)).tolist():
            time.sleep(chance.exponential(PAUSE))
            took[name].append(server.get(own[name].path))

    with ThreadPoolExecutor(NUM_VIEWERS) as viewers:
        list(viewers.map(view, range(NUM_VIEWERS)))
    every = [seconds for own in took.values() for seconds in own]
    return {"all": _summary(every), **{name: _summary(own) for name, own in sorted(took.items())}}


def _answers(catalog: Catalog) -> dict[str, Path]:
    """The files of what was answered, by the runs that have them."""
    files = {run: Path(catalog.folder.address) / catalog.place(run) / PREDICTIONS for run in catalog.finished()}
    return {run: file for run, file in files.items() if _num_rows(file)}


def _num_rows(file: Path) -> int:
    """Of a table; 0 of one that is not there, or damaged, as some are made to be."""
    try:
        return int(pq.read_metadata(file).num_rows)
    except (FileNotFoundError, pa.ArrowInvalid):
        return 0


def _of(asked: Asked, run: str, other: str) -> Asked:
    """The same page of another run; of a species of that run the list, as names differ."""
    return Asked.to(asked.page, other, {**dict(asked.options), "name": None}) if asked.of == run else asked


def filtered(server: Server, catalog: Catalog) -> dict[str, Any]:
    """Seconds of choosing among the queries of the evaluation that has most."""
    files = _answers(catalog)
    largest = max(files, key=lambda run: files[run].stat().st_size)
    server.get(Asked("retrieval", largest).path)  # the evaluation is read once
    return _summary([server.get(Asked.to("retrieval", largest, chosen).path) for chosen in FILTERS])


def updated(server: Server, runs: Folder) -> dict[str, Any]:
    """Seconds from the end of an epoch until a viewer is told, and has a page of the run that says so."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", "/live")
    stream = connection.getresponse()
    took = []
    for _ in range(NUM_UPDATES):
        time.sleep(1.3)  # at another moment between two looks each time
        place = live_run(runs)
        began, run = time.perf_counter(), place.address.rpartition("/")[2]
        says, shown = f"epoch {place.read_json(LEASE)['facts']['epoch']} of", ""
        while says not in shown:  # what is told may still be of the beat before
            if run in _changed(stream.readline()):
                shown = server.read(Asked("run", run).path)
        took.append(time.perf_counter() - began)
    connection.close()
    return _summary(took)


def _changed(line: bytes) -> list[str]:
    told = json.loads(line.removeprefix(b"data: ")) if line.startswith(b"data: ") else {}
    return list(told.get("changed", ()))


def exported(runs: Path, out: Path) -> dict[str, Any]:
    """Seconds and bytes of an export."""
    began = time.perf_counter()
    subprocess.run([*_command(), "export", str(runs), "--out", str(out)], check=True, capture_output=True)
    seconds = time.perf_counter() - began
    sizes = {file.relative_to(out): file.stat().st_size / 1e6 for file in out.rglob("*") if file.is_file()}
    by_kind: dict[str, float] = defaultdict(float)
    for file, size in sizes.items():
        by_kind[file.parts[0]] += size
    pages = json.loads((out / "export.json").read_text())["pages"]
    return {"seconds": seconds, "mb": sum(sizes.values()), "mb_by_kind": by_kind, "pages": pages}


def opened(out: Path) -> dict[str, Any]:
    """Seconds until Chromium has drawn the largest exported page of some kinds."""
    from playwright.sync_api import sync_playwright

    took: dict[str, list[float]] = defaultdict(list)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CLIBD_CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader"],
        )
        for kind, (where, mark, place, what) in _READY.items():
            pages = [page for page in out.glob(where) if mark in page.read_text()]
            page = max(pages, key=lambda each: each.stat().st_size, default=None)
            if page is None:
                continue
            for _ in range(NUM_OPENED):
                tab = browser.new_context(offline=True).new_page()
                began = time.perf_counter()
                tab.goto(page.as_uri(), wait_until="domcontentloaded")
                tab.locator(place).first.scroll_into_view_if_needed()
                tab.locator(what).first.wait_for(state="visible")
                took[kind].append(time.perf_counter() - began)
                tab.context.close()
        browser.close()
    return {kind: _summary(own) for kind, own in took.items()}


def _size_of(catalog: Catalog) -> dict[str, int]:
    """How many runs there are, finished ones with answers, and answers."""
    files = _answers(catalog)
    answers = sum(map(_num_rows, files.values()))
    return {"runs": len(catalog.now.places), "answered": len(files), "predictions": answers}


def _summary(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "n": len(seconds),
        "median": round(float(np.median(seconds)), 4),
        "p95": round(float(np.quantile(seconds, 0.95)), 4),
        "most": round(max(seconds), 4),
    }


def main() -> None:
    """Measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(description="Measures the dashboard on made-up runs.")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--predictions", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, metavar="RUNS", help="made-up runs, of which a copy is taken instead")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs, out = Path(scratch) / "runs", Path(scratch) / "site"
        if asked.folder is None:
            make_runs(Folder(runs), asked.runs, asked.predictions)
        else:
            shutil.copytree(asked.folder, runs)
        figures: dict[str, Any] = {"data": "synthetic", "goals": GOALS, "data_of": _size_of(Catalog(Folder(runs)))}
        with serving(runs) as server:
            catalog = Catalog(Folder(runs))
            figures["first_answer_seconds"] = server.first_answer_seconds
            figures["processor_seconds"] = {"first_answer": server.processor_seconds}
            figures["viewers"] = {"n": NUM_VIEWERS, "seconds_a_page": PAUSE}
            before = server.processor_seconds
            figures["page_seconds"] = looked_at(server, catalog)
            figures["processor_seconds"]["all_pages"] = server.processor_seconds - before
            publish("dashboard", figures, show=False)
            figures["filter_seconds"] = filtered(server, catalog)
            beat(Folder(runs))
            figures["update_seconds"] = updated(server, Folder(runs))
            figures["server_peak_mb"] = server.peak_mb
        publish("dashboard", figures, show=False)
        figures["export"] = exported(runs, out)
        figures["exported_page_seconds"] = opened(out)
    publish("dashboard", figures)


if __name__ == "__main__":
    main()
