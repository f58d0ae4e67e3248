"""What a run leaves: the run folder and the long form of every number.

    runs/<sweep>/<run id>/
        spec.json             the full experiment spec
        point.json            which row of which table the run stands for, and at which scale
        provenance.json       versions, machine, commit and command
        events.jsonl          one line per logged step and per epoch
        checkpoints/          the newest two, and the best epoch's weights, until the run is finished
        tokenizer.json        word pieces of the text tower, and in inputs.json what else its model is built from
        model.safetensors     the trained weights
        embeddings/           keys, and the queries of each partition; embeddings.json says what they are of
        predictions.parquet   nearest keys of every query; of a classifier classifier.parquet, its species
        specimens.parquet     the names of every query and key
        measurements.parquet  every accuracy with its interval, in long form
        evaluation.json       by which rules they were measured
        status.json           written last: its `finished` means that all of the above is whole

Imports neither torch nor Ray: a copied folder is read on any laptop.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Literal

import pyarrow as pa

from workloads.errors import DamagedError, MissingPathError
from workloads.spec import ExperimentSpec, spec_from_dict, spec_to_dict
from workloads.storage import Folder

State = Literal["finished", "failed", "missing"]

MEASUREMENT_SCHEMA = pa.schema(
    [
        ("method", pa.string()),
        ("partition", pa.string()),
        ("average", pa.string()),
        ("level", pa.string()),
        ("query", pa.string()),
        ("key", pa.string()),
        ("species", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("count", pa.int64()),
        ("keys", pa.string()),
        ("low", pa.float64()),
        ("high", pa.float64()),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One number, with everything needed to find its place in a table."""

    method: str = "clibd"
    """`clibd`, or the floor it came from: `kmer_nearest_neighbour`, `linear_cca`, `random_key`, `majority`."""
    partition: str
    """`val` or `test`."""
    average: str
    """`micro` (over queries) or `macro` (over classes present among the queries)."""
    level: str
    query: str
    key: str
    species: str
    """`seen`, `unseen`, `harmonic_mean` of the two, or `all` queries together."""
    metric: str = "top1"
    """`top1`, `top3`, `top5`, or by its own name."""
    value: float
    """In [0, 1]."""
    count: int
    """Queries (micro) or classes (macro) behind the value; for the harmonic mean the smaller of its two."""
    keys: str = "all"
    """Which keys were searched: `all`, those of `seen` or `unseen` species, or each query's `own` kind of the two."""
    low: float | None = None
    """Lower end of the 95 % interval; None where none was computed."""
    high: float | None = None
    """Upper end."""


def measurements_to_table(rows: Iterable[Measurement]) -> pa.Table:
    """Measurements as a Parquet-ready table."""
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=MEASUREMENT_SCHEMA)


def measurements_from_table(table: pa.Table) -> list[Measurement]:
    """What `measurements_to_table` wrote."""
    return [Measurement(**row) for row in table.to_pylist()]


def provenance(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Where and with what a run is made: versions, machine, commit and command."""
    packages = ("ray", "torch", "timm", "open_clip_torch", "transformers", "peft", "faiss-cpu", "pyarrow", "numpy")
    return {
        "clibd": _version("clibd-ray"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "platform": platform.platform(),
        "num_cpus": os.cpu_count(),
        "commit": _commit(),
        "argv": list(sys.argv if argv is None else argv),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _version(package: str) -> str | None:
    """None where it is not installed: training on a bare machine needs no Ray."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The source's commit, with `+` when the tree had changes; None outside a checkout."""
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        name = subprocess.run(
            ["git", "-C", here, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(["git", "-C", here, "diff", "--quiet", "HEAD"], check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{name}+" if changed else name


class RunFolder:
    """Reads and writes one run's folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    @property
    def id(self) -> str:
        """The run's id, which is the folder's name."""
        return self.folder.address.rsplit("/", 1)[-1]

    def begin(self, spec: ExperimentSpec, point: Mapping[str, Any], source: Mapping[str, Any]) -> None:
        """Write what is known before training."""
        self.folder.write_json("spec.json", spec_to_dict(spec))
        self.folder.write_json("point.json", dict(point))
        self.folder.write_json("provenance.json", dict(source))

    def finish(self, state: State, **details: Any) -> None:
        """Write the status, last of all files."""
        self.folder.write_json("status.json", {"state": state, **details})

    def state(self) -> State:
        """`finished`, `failed`, or `missing` when the run never ended."""
        if not self.folder.has("status.json"):
            return "missing"
        state: State = self.status()["state"]
        return state

    def status(self) -> dict[str, Any]:
        """The content of status.json."""
        content = self.folder.read_json("status.json")
        if not isinstance(content, dict) or content.get("state") not in ("finished", "failed"):
            raise DamagedError(f"{self.folder}/status.json", "no state in it")
        return content

    def spec(self) -> ExperimentSpec:
        """The spec the run was made from."""
        return spec_from_dict(self.folder.read_json("spec.json"))

    def point(self) -> dict[str, Any]:
        """Which row of which table the run stands for."""
        content: dict[str, Any] = self.folder.read_json("point.json")
        return content

    def measurements(self) -> list[Measurement]:
        """Every accuracy of the run."""
        return measurements_from_table(self.folder.read_table("measurements.parquet"))

    def events(self) -> list[dict[str, Any]]:
        """The training log, oldest first; empty when training has not begun."""
        if not self.folder.has("events.jsonl"):
            return []
        return [json.loads(line) for line in self.folder.read("events.jsonl").splitlines()]


class EventLog:
    """events.jsonl, written whole each time, and before the checkpoint that it has to agree with."""

    def __init__(self, run: RunFolder, first_step: int) -> None:
        self._run = run
        # A resumed run repeats the steps since its checkpoint: what those had logged is dropped.
        self._lines = [event for event in run.events() if event["step"] < first_step]

    def add(self, event: Mapping[str, Any]) -> None:
        """Remember one event; it has a `step`."""
        self._lines.append(dict(event))

    def flush(self) -> None:
        """Write all events."""
        self._run.folder.write("events.jsonl", "".join(f"{json.dumps(e)}\n" for e in self._lines).encode())


EVALUATION = "evaluation.json"
_RULES = {"dataset": str, "data_fingerprint": str, "synthetic": bool, "recipe": str, "missing_rank": str}
"""What every evaluation says, and as what; of its model and questions it says more."""


def read_evaluation(folder: Folder) -> dict[str, Any]:
    """By which rules a folder was evaluated: a run's own, an evaluation in one, or that of another model.

    Raises:
        MissingPathError: nothing was evaluated there, measuring was interrupted, or the run is not finished.
        DamagedError: the file does not say what it should.
    """
    if not folder.has(EVALUATION):
        inside = [name for name in folder.folders() if (folder / name).has(EVALUATION)]
        remedy = f"There is one in {', '.join(f'{folder}/{name}' for name in inside)}." if inside else _EVALUATE
        raise MissingPathError(str(folder), f"evaluation ({EVALUATION})", remedy)
    if folder.has("spec.json") and RunFolder(folder).state() != "finished":
        raise MissingPathError(str(folder), "finished run", "Start its training again: it goes on where it stopped.")
    facts = folder.read_json(EVALUATION)
    wrong = [] if isinstance(facts, dict) else list(_RULES)
    wrong = wrong or [name for name, kind in _RULES.items() if not isinstance(facts.get(name), kind)]
    if wrong:
        raise DamagedError(f"{folder}/{EVALUATION}", f"it does not say {', '.join(wrong)}")
    found: dict[str, Any] = facts
    return found


_EVALUATE = "Make one with `clibd evaluate RUN --data DIR`."


def find_runs(runs: Folder, sweep: str) -> list[RunFolder]:
    """The run folders of a sweep, by id."""
    found = [RunFolder(runs / sweep / name) for name in (runs / sweep).folders()]
    return [run for run in found if run.folder.has("spec.json")]
