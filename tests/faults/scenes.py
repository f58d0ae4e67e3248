"""What a command begins with, its words, and what it must leave: of an undisturbed one, to the byte."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.faults.counts import LEDGER
from tests.faults.stage import DiedError, Stage

ERRORS = ("ENOSPC", "EIO", "EROFS", "EDQUOT")
_OF_ITS_TIME = ("provenance.json", "manifest.json", "status.json", "events.jsonl", "lease.json")
"""What no two runs share: dates, seconds, and digests of these."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A command in a folder."""

    name: str
    before: Path
    """A folder that holds what it begins with; it is copied for each fault."""
    words: tuple[str, ...]
    seconds: float = 60.0

    def run(self, stage: Stage, folder: Path, **fault: Any) -> dict[str, Any]:
        """Run it in a folder; what hangs is counted."""
        try:
            return stage.ask(do="run", words=list(self.words), folder=str(folder), patience=180, **fault)
        except DiedError as error:
            LEDGER.keep("hangs", False, f"{self.name} {fault}: {error}")
            raise

    def set_up(self, folder: Path) -> Path:
        """A fresh copy of what it begins with."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.before, folder)
        return folder


def content(folder: Path) -> dict[str, str]:
    """Digests of the files below a folder, but of those that no two runs share; of the log the losses."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "events.jsonl":
            events = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = str([(event["event"], event["step"], event["loss"]) for event in events])
        elif path.name == "floors.parquet":  # kept with the data set: read from there, it is divided otherwise
            found[name] = str(pq.read_table(path).to_pylist())
        elif path.is_file() and path.name not in _OF_ITS_TIME:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def judge(scene: Scene, stage: Stage, folder: Path, wanted: dict[str, str], met: dict[str, Any], fault: str) -> None:
    """What a fault led to is a sentence; the same command again gives what an undisturbed one does; nothing is left."""
    which = f"{scene.name}, {fault}"
    LEDGER.keep("tracebacks", "Traceback" not in met["said"], f"{which}: {met['said'][-3000:]}")
    LEDGER.keep("leaks", not met["left"], f"{which}: {met['left']}")
    if met["code"] > 0:
        named = "error:" in met["said"] and str(folder) in met["said"]
        LEDGER.keep("tracebacks", named, f"{which}: no sentence that names the file, but {met['said'][-2000:]}")
    again = scene.run(stage, folder)
    LEDGER.keep("tracebacks", "Traceback" not in again["said"], f"{which}, again: {again['said'][-3000:]}")
    LEDGER.keep("leaks", not again["left"], f"{which}, again: {again['left']}")
    LEDGER.keep("altered results", again["code"] == 0, f"{which}, again: {again['code']}, {again['said'][-1500:]}")
    found = content(folder)
    left = [name for name in found if name.endswith(".tmp") or "/sorting-" in name]
    differ = sorted(name for name in {*found, *wanted} - {*left} if found.get(name) != wanted.get(name))
    LEDGER.keep("altered results", not differ, f"{which}: {differ} (again: {again['code']}, {again['said'][-1500:]})")
    LEDGER.keep("leaks", not left, f"{which}: {left}")


# --- Those of the tests -------------------------------------------------------------------------------------------

_CSV = "processid,order,family,genus,species,nuc\n" + "".join(
    f"S{number},Diptera,Zoridae,Zoro,Zoro bus{'abcd'[number % 4]},{'ACGTTGCA' * 40}{'ACGT'[number % 4] * 20}\n"
    for number in range(60)
)


WORDS = {
    "import": "clibd data import insects.csv --to specimens.parquet",
    "partition": "clibd data partition specimens.parquet --to drawn.parquet --recipe small",
    "prepare": "prepare drawn.parquet data",
    "train": "clibd train simclr-dna --data data --runs runs --scale small --cpu --epochs 2 --batch-size 16 --seed 3",
    "evaluate": "clibd evaluate RUN --data data --cpu --out measured",
}
"""One after another."""


def made_in(root: Path, stage: Stage) -> dict[str, Scene]:
    """Each command with what it begins with, which those before it have made; and data with pictures, to train on."""
    now = root / "now"
    now.mkdir()
    (now / "insects.csv").write_text(_CSV)
    made = dict[str, Scene]()
    for name, words in WORDS.items():
        run = next((str(path.relative_to(now)) for path in now.glob("runs/train/*")), "")
        scene = Scene(name, shutil.copytree(now, root / name), tuple(words.replace("RUN", run).split()))
        made[name] = scene
        done = scene.run(stage, now)
        assert done["code"] == 0, done["said"]
    return made
