"""Every command that README and docs show is run as it stands there, on a few drawn insects.

Where a command would take hours it gets words that make it small (`SMALLER`); a sweep is planned, not run, and tests of
its own run it. What needs a published file says where to put it, as there is no network here.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import commands.clibd
import commands.dashboard
import commands.results
import commands.sweep
from orchestrator.session import ray_session
from workloads.command_line import run_command
from workloads.data.sources.synthetic_insect import write_synthetic_insect

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[1]
PROGRAMS = {
    "clibd": commands.clibd.app,
    "clibd-sweep": commands.sweep.app,
    "clibd-results": commands.results.app,
    "clibd-dashboard": commands.dashboard.app,
}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALLER = (
    (("clibd", "train"), ("--epochs=1", "--scale=small", "--cpu", "--runs=runs")),
    (("clibd", "data", "import"), ("--specimens=200", "--again")),  # pages show one import more than once
    (("clibd", "data", "prepare"), ("--to=prepared",)),
    (("clibd", "evaluate", "RUN", "--data", "DIR", "--workers"), ("--workers=2",)),
    (("clibd", "db", "build", "--data"), ("--replace", "--specimens=500")),  # enough to be calibrated
    (("clibd", "db", "build"), ("--replace", "--cpu")),
    (("clibd", "db", "add"), ("--specimens=20", "--cpu")),
    (("clibd", "serve"), ("--help",)),  # it would serve until somebody ends it, and so would the dashboard below
    (("clibd", "bzsl", "INSECT", "--dna"), ("--pca=10", "--trials=2")),
    (("clibd", "bzsl"), ("--pca=10",)),
    (("clibd", "attention"), ("--number=1",)),
    (("clibd-sweep", "batch-size", "--data", "DIR", "--search"), ("--scale=small", "--trials=1", "--set=epochs=1")),
    (("clibd-sweep", "list"), ()),
    (("clibd-sweep", "new"), ()),
    (("clibd-sweep", "status"), ()),
    (("clibd-sweep", "logs"), ()),
    (("clibd-sweep",), ("--plan",)),
    (("clibd-dashboard", "export"), ()),
    (("clibd-dashboard",), ("--help",)),
)
"""How commands begin, and what makes them small: the first that fits, in place of their own options of these names."""
REFUSED = {
    "hf-hub:imageomics/bioclip": (1, "hub"),
    "barcodebert-5mer": (1, "hub"),
    "clibd-image-dna-text": (1, "hub"),
    "best.pth": (2, "best.pth"),
}
"""Words that name what is not here; the exit code then, and what the answer names."""


def shown() -> Iterator[str]:
    """Every line that is set as code and begins with one of our programs, comments left out; each once."""
    start = "|".join((*PROGRAMS, "make", "torchrun", "python"))
    for page in PAGES:
        for line in re.findall(rf"^ {{4}}((?:{start}) .*)$", page.read_text(), re.MULTILINE):
            command = line.split("  #")[0].strip()
            choices = next((word for word in command.split() if word.count("|") > 1), "")
            yield from (command.replace(choices, choice) for choice in choices.split("|"))


def smaller(words: list[str]) -> list[str]:
    """The words of a command with those that keep it small."""
    more = next((more for start, more in SMALLER if tuple(words[: len(start)]) == start), ())
    ours = {word.split("=")[0] for word in more if "=" in word} - {"--set"}
    kept = [word for before, word in pairwise(["", *words]) if not {word, before} & ours]
    return [*kept, *(word for word in more if word not in kept)]


def call(*words: str) -> int | str:
    """Runs a program; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", list(words))
        with pytest.raises(SystemExit) as end:
            run_command(PROGRAMS[words[0]])
    return end.value.code or 0


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the words in capitals stand for, made by the commands themselves in a folder of their own."""
    folder = tmp_path_factory.mktemp("desk")
    write_synthetic_insect(folder / "insect", 15, seed=5)
    with ray_session(None), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        assert call("clibd", "data", "import", "synthetic", "--specimens=600", "--to=drawn.parquet") == 0
        assert call("clibd", "data", "partition", "drawn.parquet") == 0
        assert call("clibd", "data", "prepare", "drawn.parquet", "--to=data", "--image-size=64") == 0
        runs = {}
        for name, words in (("RUN", ()), ("OTHER", ("--seed=7",)), ("CLASSIFIER_RUN", ("classify",))):
            assert call(*smaller(["clibd", "train", *words, "--data", "data"])) == 0
            [runs[name]] = {str(path) for path in Path("runs/train").iterdir()} - {*runs.values()}
        assert call("clibd", "data", "import", "insect", "--to=insect.parquet") == 0
        assert call("clibd", "data", "prepare", "insect.parquet", "--to=insect-data", "--image-size=64") == 0
        for data in ("data", "insect-data"):
            words = (f"--data={data}", "--training", f"--out={runs['RUN']}/evaluation-{data}")
            assert call("clibd", "evaluate", runs["RUN"], *words) == 0
        assert call("clibd", "db", "build", "--data=synthetic", "--specimens=500", "--to=db") == 0
        drawn = ("--data=synthetic", "--specimens=20", "--seed=8")
        assert call("clibd", "db", "build", runs["RUN"], "--cpu", *drawn, "--to=other-db") == 0
        assert call("clibd", "data", "import", "synthetic", "--specimens=60", "--seed=9", "--to=mine.parquet") == 0
        databases = {"DB": "db", "OTHER_DB": "other-db", "BOTH": "both", **one_of(Path("db"))}
        strangers = dict.fromkeys(("FILES", "MY_SPECIMENS"), "mine.parquet")
        evaluated = dict.fromkeys(("FOLDER", "RUN/evaluation-NAME"), f"{runs['RUN']}/evaluation-data")
        yield {**runs, **evaluated, **databases, **strangers, "DIR": "data", "SOURCE": "synthetic", "INSECT": "insect"}


def one_of(database: Path) -> dict[str, str]:
    """A taxon and a specimen of a database."""
    specimens = pq.read_table(database / "specimens.parquet", columns=["genus", "specimen_id"])
    return {"TAXON": specimens["genus"].drop_null()[0].as_py(), "SPECIMEN": specimens["specimen_id"][0].as_py()}


@pytest.mark.parametrize("line", dict.fromkeys(shown()))
def test_a_command_of_the_documents_works(line: str, desk: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [desk.get(word, word) for word in smaller(shlex.split(line))]
    if "--dna" in words:  # a run that was evaluated on the same species
        words[words.index("--dna") + 1] += "/evaluation-insect-data"
    if words[0] == "make":
        subprocess.run(["make", "--dry-run", words[1]], cwd=ROOT, check=True, capture_output=True)
        return
    if words[:2] == ["python", "-m"]:  # benchmarks, which have tests of their own
        subprocess.run([sys.executable, "-m", words[2], "--help"], cwd=ROOT, check=True, capture_output=True)
        return
    code = call(*words)
    said = "".join(capsys.readouterr())
    expected, named = next((REFUSED[word] for word in words if word in REFUSED), (0, ""))
    assert code == expected, said
    assert named in said


def fields_in(file: Path) -> set[str]:
    """The names at the top of a file of ours: columns, or fields of an object, a line or an entry."""
    if file.suffix == ".parquet":
        return set(pq.read_schema(file).names)
    if file.suffix not in (".json", ".jsonl") or file.name.startswith(
        ("tokenizer", "spec", "part-", "manifest", "croissant")
    ):
        return set()
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    contents = [json.loads(line) for line in lines]
    objects = [entry for content in contents for entry in (content if isinstance(content, list) else [content])]
    return {name for entry in objects for name in entry}


@pytest.mark.parametrize("folder", ["DIR", "RUN", "OTHER", "CLASSIFIER_RUN", "RUN/evaluation-NAME", "DB"])
def test_every_field_that_commands_leave_is_described(folder: str, desk: dict[str, str]) -> None:
    described = set(re.findall(r"`([^`]+)`", (ROOT / "docs" / "files.md").read_text()))
    files = [path for path in Path(desk[folder]).rglob("*") if path.is_file() and "checkpoints" not in path.parts]
    assert len(files) > 5
    assert {file.name: names for file in files if (names := fields_in(file) - described)} == {}
