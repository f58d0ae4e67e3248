"""What a run leaves: the run folder and the long form of every number.

    runs/<sweep>/<run id>/
        spec.json             the full experiment spec
        point.json            which row of which table the run stands for, and at which scale
        provenance.json       versions, machine, commit, digest of the code, and command
        events.jsonl          one line per logged step and per epoch
        checkpoints/          the newest two, and the best epoch's weights, until the run is finished
        attempts/             each group of workers that Ray started for it: hosts, end, what they printed
        tokenizer.json        word pieces of the text tower, and in inputs.json what else its model is built from
        trained_on.parquet    digests of the specimens it was trained on, and of those that the runs it began with were
        model.safetensors     the trained weights
        embeddings/           keys, and the queries of each partition; embeddings.json says what they are of
        predictions.parquet   nearest keys of every query; of a classifier classifier.parquet, its species
        specimens.parquet     the names of every query and key
        measurements.parquet  every accuracy with its interval, in long form
        evaluation.json       by which rules they were measured
        manifest.json         the SHA-256 of every file above but checkpoints, sealed again by later measurements
        status.json           written last: its `finished` means that all of the above is whole

Imports neither torch nor Ray: a copied folder is read on any laptop.
"""

import os
import platform
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from importlib import metadata
from typing import Any, Literal, get_type_hints

import pyarrow as pa

from workloads.errors import ClibdError, DamagedError, MissingPathError, NewerVersionError, SpecError
from workloads.run_errors import StoppedError
from workloads.run_files import (
    Evaluation,
    Point,
    Provenance,
    Status,
    checked,
    object_there,
    read_events,
    read_object,
    read_rows,
)
from workloads.source_tree import code_digest, commit
from workloads.spec import ExperimentSpec, spec_from_dict, spec_to_dict
from workloads.storage import Folder, masked

State = Literal["finished", "failed", "missing"]

SCHEMA = 2
"""Schema of a run folder. Folders of the first have no manifest and say no number."""
STATUS, MANIFEST, LEASE = "status.json", "manifest.json", "lease.json"
MEASUREMENTS = "measurements.parquet"
_PASSING = ("checkpoints", "attempts", "wandb")
"""Folders in a run that others keep, and that no manifest lists."""
_MADE_BY_TRAINING = ("spec.json", "inputs.json", "tokenizer.json", "dna_tokenizer.json", "model.safetensors")
"""What no later measurement rewrites: it is sealed once, so that damage is not sealed in."""


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
    queries: str = "all"
    """Which queries were counted: `all`, or only those that are `untrained`: neither specimen nor barcode was trained
    on, nor, of an unseen species, the species."""


_ARROW: Mapping[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), float | None: pa.float64()}
MEASUREMENT_SCHEMA = pa.schema([(name, _ARROW[kind]) for name, kind in get_type_hints(Measurement).items()])
_NOT_IN_ALL = tuple(each.name for each in fields(Measurement) if each.default is not MISSING)
"""What earlier versions did not write."""


def measurements_to_table(rows: Iterable[Measurement]) -> pa.Table:
    """Measurements as a Parquet-ready table."""
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=MEASUREMENT_SCHEMA)


def provenance(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Where and with what a run is made: versions, machine, commit, digest of the code, and command."""
    return {
        "clibd": _version("clibd-ray"),
        "python": platform.python_version(),
        "packages": versions(),
        "platform": platform.platform(),
        "num_cpus": os.cpu_count(),
        "commit": commit(),
        "code": code_digest(),
        "argv": [masked(word) for word in (sys.argv if argv is None else argv)],
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def versions() -> dict[str, str | None]:
    """Of the packages that numbers may depend on; None of what is not installed: a bare machine needs no Ray."""
    names = ("ray", "torch", "timm", "open_clip_torch", "transformers", "peft", "faiss-cpu", "pyarrow", "numpy")
    return {name: _version(name) for name in names}


def command_line() -> list[str]:
    """The command as the user gave it, without the path of its program."""
    return [os.path.basename(sys.argv[0]), *map(masked, sys.argv[1:])]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


class RunFolder:
    """Reads and writes one run's folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    @property
    def id(self) -> str:
        """The run's id, which is the folder's name."""
        return self.folder.name

    def begin(self, spec: ExperimentSpec | None, point: Mapping[str, Any], source: Mapping[str, Any]) -> None:
        """Write what is known before training, or before a measurement, which has no spec of its own.

        How an earlier attempt ended is no longer true.
        """
        for name in (STATUS, MANIFEST):
            self.folder.remove(name)
        before = {"weights": kept} if (kept := self.weights()) else {}
        if spec is not None:
            self.folder.write_json("spec.json", spec_to_dict(spec))
        self.folder.write_json("point.json", dict(point))
        self.folder.write_json("provenance.json", {**source, **before})

    def finish(self, state: State, **details: Any) -> None:
        """Write the status, last of all files; of a finished run the manifest before it."""
        if state == "finished":
            self.folder.remove(MANIFEST)  # whatever was sealed before is of an earlier training
            self.seal()
        self.folder.write_json(STATUS, {"schema": SCHEMA, "state": state, **details})

    @contextmanager
    def ending(self, failures: type[Exception] = ClibdError, *, writes: bool = True) -> Iterator[dict[str, Any]]:
        """Run a training or a measurement to an end that the status tells; gives what it shall say once it is finished.

        Checkpoints go then. Of a failure it says why, and the error goes on. What is stopped has no status.

        Args:
            failures: errors that would come again; others interrupt.
            writes: whether this process, of several, writes the status.
        """
        details: dict[str, Any] = {}
        try:
            yield details
        except StoppedError:
            raise
        except failures as error:
            if writes and isinstance(error, ClibdError):
                self.finish("failed", reason=str(error))
            elif writes:
                reason = f"{type(error).__name__}: {error}"
                self.finish("failed", reason=reason, traceback=traceback.format_exc())
            raise
        if writes:
            self.finish("finished", **details)
            self.folder.remove_folder("checkpoints")

    def seal(self) -> None:
        """Write the manifest, or bring it up to date after later measurements wrote into the finished run."""
        known = {name: digest for name, digest in self.manifest().items() if name in _MADE_BY_TRAINING}
        names = [
            name for name in self.folder.walk(_PASSING) if name.rpartition("/")[2] not in (STATUS, MANIFEST, LEASE)
        ]
        files = {name: known.get(name) or self.folder.digest(name) for name in names if not name.endswith(".tmp")}
        self.folder.write_json(MANIFEST, {"schema": SCHEMA, "files": files})

    def manifest(self) -> dict[str, str]:
        """SHA-256 of the files by name; empty for a folder of an earlier version, and before the run is finished."""
        if not self.folder.has(MANIFEST):
            return {}
        content = self._readable(MANIFEST)
        if not isinstance(files := content.get("files"), dict):
            raise DamagedError(f"{self.folder}/{MANIFEST}", "no files in it")
        return files

    def weights(self) -> dict[str, dict[str, str]]:
        """Name, digest and address of the weights that each tower began with, where they were not published ones."""
        weights: dict[str, dict[str, str]] = self.source().get("weights", {})
        return weights

    def keep_weights(self, weights: Mapping[str, Mapping[str, str]]) -> None:
        """Add them to the provenance."""
        if weights:
            self.folder.write_json("provenance.json", {**self.source(), "weights": dict(weights)})

    def _readable(self, name: str) -> dict[str, Any]:
        """A file with a schema number, of a version that is known.

        Raises:
            DamagedError: it is no object.
            NewerVersionError: it is of a newer version.
        """
        content = self.folder.read_json(name)
        if not isinstance(content, dict) or not isinstance(schema := content.get("schema", 1), int):
            raise DamagedError(f"{self.folder}/{name}", "not what a run folder has under this name")
        if schema > SCHEMA:
            raise NewerVersionError(f"{self.folder}/{name}", schema, SCHEMA)
        return content

    def state(self) -> State:
        """`finished`, `failed`, or `missing` when the run never ended."""
        if not self.folder.has(STATUS):
            return "missing"
        state: State = self.status()["state"]
        return state

    def status(self) -> dict[str, Any]:
        """The content of status.json."""
        content = self._readable(STATUS)
        if content.get("state") not in ("finished", "failed"):
            raise DamagedError(f"{self.folder}/{STATUS}", "no state in it")
        return checked(content, Status, f"{self.folder}/{STATUS}")

    def is_finished(self) -> bool:
        """Whether it is; where the folder does not say so, or no longer, it counts as not."""
        try:
            return self.state() == "finished"
        except (DamagedError, NewerVersionError):
            return False

    def spec(self) -> ExperimentSpec:
        """The spec the run was made from."""
        content = read_object(self.folder, "spec.json", dict[str, Any])
        try:
            return spec_from_dict(content)
        except SpecError as error:
            raise DamagedError(f"{self.folder}/spec.json", str(error)) from error

    def point(self) -> dict[str, Any]:
        """Which row of which table the run stands for; empty where no sweep or measurement made it."""
        return object_there(self.folder, "point.json", Point)

    def source(self) -> dict[str, Any]:
        """The content of provenance.json; empty where there is none."""
        return object_there(self.folder, "provenance.json", Provenance)

    def measurement_table(self, name: str = MEASUREMENTS) -> pa.Table:
        """Every accuracy of the run, as they lie in the file."""
        return read_rows(self.folder, name, MEASUREMENT_SCHEMA, optional=_NOT_IN_ALL, nullable=("low", "high"))

    def measurements(self) -> list[Measurement]:
        """Every accuracy of the run."""
        return [Measurement(**row) for row in self.measurement_table().to_pylist()]

    def events(self) -> list[dict[str, Any]]:
        """The training log, oldest first; empty when training has not begun."""
        return read_events(self.folder)


def run_of(folder: Folder) -> Folder:
    """The run that a folder is, or that it lies in as an evaluation does; else the folder itself."""
    return next((run for run in (folder, folder.parent) if run.has("spec.json") or run.has("point.json")), folder)


def seal_run(folder: Folder) -> None:
    """Bring a finished run's manifest up to date where something was measured: in its folder, or in one inside it."""
    run = RunFolder(run_of(folder))
    if run.folder.has(STATUS) and run.folder.has(MANIFEST):
        run.seal()


EVALUATION = "evaluation.json"


def read_evaluation(folder: Folder) -> dict[str, Any]:
    """By which rules a folder was evaluated: a run's own, an evaluation in one, or that of another model.

    Raises:
        MissingPathError: nothing was evaluated there, measuring was interrupted, or the run is not finished.
        DamagedError: the file does not say what it should.
    """
    if not folder.has(EVALUATION):
        inside = [name for name in folder.folders() if (folder / name).has(EVALUATION)]
        there = f"There is one in {', '.join(f'{folder}/{name}' for name in inside)}." if inside else ""
        remedy = there or "Make one with `clibd evaluate RUN --data DIR`."
        raise MissingPathError(str(folder), f"evaluation ({EVALUATION})", remedy)
    if folder.has("spec.json") and RunFolder(folder).state() != "finished":
        raise MissingPathError(str(folder), "finished run", "Start its training again: it goes on where it stopped.")
    return read_object(folder, EVALUATION, Evaluation)


def find_runs(runs: Folder, sweep: str) -> list[RunFolder]:
    """The run folders of a sweep, by id."""
    folders = [RunFolder(runs / sweep / name) for name in (runs / sweep).folders()]
    return [run for run in folders if run.folder.has("spec.json")]


def find_run(runs: Folder, run_id: str) -> RunFolder | None:
    """The folder of a run or a measurement, RUNS/*/ID, under whichever sweep's name; a finished one before others."""
    folders = [RunFolder(runs / sweep / run_id) for sweep in runs.folders()]
    begun = [run for run in folders if run.folder.has("spec.json") or run.folder.has("point.json")]
    return next((run for run in begun if run.is_finished()), begun[0] if begun else None)
