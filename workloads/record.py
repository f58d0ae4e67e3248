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
        shown.parquet         for looking at: pictures and barcodes of some queries and keys
        map.parquet           their embeddings in a plane
        evaluation.json       by which rules they were measured
        manifest.json         the SHA-256 of every file above but checkpoints, sealed again by later measurements
        status.json           written last: its `finished` means that all of the above is whole

Imports neither torch nor Ray: a copied folder is read on any laptop.
"""

import os
import platform
import re
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
from workloads.measured_values import check_measured
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
from workloads.seals import (
    MADE,
    MANIFEST,
    SCHEMA,
    STATUS,
    read_manifest,
    read_versioned,
    seal,
    sealed_folder,
    with_seal,
)
from workloads.source_tree import code_digest, commit
from workloads.spec import ExperimentSpec, spec_from_dict, spec_to_dict
from workloads.storage import Folder, masked

State = Literal["finished", "failed", "missing"]

MEASUREMENTS = "measurements.parquet"
_KEPT = ("weights", "circumstances", "continued")
"""Of the provenance: what a run that goes on needs to know of how it began."""


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
        kept = self.folder.read_json("provenance.json") if self.folder.has("provenance.json") else {}
        before = {name: kept[name] for name in _KEPT if name in kept}
        if spec is not None:
            self.folder.write_json("spec.json", spec_to_dict(spec))
        self.folder.write_json("point.json", dict(point))
        self.folder.write_json("provenance.json", {**source, **before})

    def finish(self, state: State, **details: Any) -> None:
        """Write the status, last of all files; of a finished run the manifest before it."""
        about: dict[str, Any] = {"schema": SCHEMA, "state": state, **details}
        if state == "finished":
            self.folder.remove(MANIFEST)  # whatever was sealed before is of an earlier training
            about[MADE] = seal(self.folder).get("provenance.json")
        self.folder.write_json(STATUS, with_seal(about))

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

    def manifest(self) -> dict[str, str]:
        """SHA-256 of the files by name; empty for a folder of an earlier version, and before the run is finished."""
        return read_manifest(self.folder)

    def sealed(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            AlteredError: it is not the one that the manifest lists.
        """
        return sealed_folder(self.folder).read(name)

    def weights(self) -> dict[str, dict[str, str]]:
        """Name, digest and address of the weights that each tower began with, where they were not published ones."""
        weights: dict[str, dict[str, str]] = self.source().get("weights", {})
        return weights

    def keep_weights(self, weights: Mapping[str, Mapping[str, str]]) -> None:
        """Add them to the provenance."""
        if weights:
            self.folder.write_json("provenance.json", {**self.source(), "weights": dict(weights)})

    def state(self) -> State:
        """`finished`, `failed`, or `missing` when the run never ended."""
        if not self.folder.has(STATUS):
            return "missing"
        state: State = self.status()["state"]
        return state

    def status(self) -> dict[str, Any]:
        """The content of status.json."""
        content = read_versioned(self.folder, STATUS)
        if content.get("state") not in ("finished", "failed"):
            raise DamagedError(f"{self.folder}/{STATUS}", "no state in it")
        told = {name: value for name, value in content.items() if name != MADE}
        return checked(told, Status, f"{self.folder}/{STATUS}")

    def is_finished(self) -> bool:
        """Whether it is; where the folder does not say so, no longer, or not to this user, it counts as not."""
        try:
            return self.state() == "finished"
        except (DamagedError, NewerVersionError, PermissionError):
            return False

    def spec(self) -> ExperimentSpec:
        """The spec the run was made from."""
        content = read_object(sealed_folder(self.folder), "spec.json", dict[str, Any])
        try:
            return spec_from_dict(content)
        except SpecError as error:
            raise DamagedError(f"{self.folder}/spec.json", str(error)) from error

    def point(self) -> dict[str, Any]:
        """Which row of which table the run stands for; empty where no sweep or measurement made it."""
        return object_there(sealed_folder(self.folder), "point.json", Point)

    def source(self) -> dict[str, Any]:
        """The content of provenance.json; empty where there is none."""
        return object_there(sealed_folder(self.folder), "provenance.json", Provenance)

    def measurement_table(self, name: str = MEASUREMENTS) -> pa.Table:
        """Every accuracy of the run as they lie in the file, each in its range and once.

        Raises:
            DamagedError: they are not, or not what was written.
        """
        folder = sealed_folder(self.folder)
        table = read_rows(folder, name, MEASUREMENT_SCHEMA, optional=_NOT_IN_ALL, nullable=("low", "high"), least=0)
        check_measured(table, f"{folder}/{name}")
        return table

    def measurements(self) -> list[Measurement]:
        """Every accuracy of the run."""
        return [Measurement(**row) for row in self.measurement_table().to_pylist()]

    def events(self) -> list[dict[str, Any]]:
        """The training log, oldest first; empty when training has not begun."""
        return read_events(sealed_folder(self.folder))


_AN_ID = re.compile(r"-[0-9a-f]{8}$")
"""How the id of a run ends."""


def check_names(name: str, point: Mapping[str, Any], spec: ExperimentSpec | None) -> None:
    """Refuse the folder of a run that says to be another's, as where folders or files of two have changed places.

    Args:
        name: of the folder.
        point: point.json.
        spec: spec.json.

    Raises:
        DamagedError: the point, or of a training the spec, has another id; a folder that its user has named has none.
    """
    if (own := point.get("id")) not in (None, name):
        raise DamagedError(f"{name}/point.json", f"it is of {own}")
    trained = point.get("kind", "train") == "train" and not point.get("converted")
    if trained and spec is not None and spec.id != name and _AN_ID.search(name):
        raise DamagedError(f"{name}/spec.json", f"it is of {spec.id}")


EVALUATION = "evaluation.json"
_ABOUT = ("spec.json", "point.json", "provenance.json")
"""What no two runs have in common."""


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
    sealed = sealed_folder(folder)
    if sealed.has("spec.json"):
        if RunFolder(folder).state() != "finished":
            remedy = "Start its training again: it goes on where it stopped."
            raise MissingPathError(str(folder), "finished run", remedy)
        for name in filter(sealed.has, _ABOUT):
            sealed.read(name)  # it is not what was sealed where another run's file came with that run's seals
    return read_object(sealed, EVALUATION, Evaluation)


def find_runs(runs: Folder, sweep: str) -> list[RunFolder]:
    """The run folders of a sweep, by id."""
    folders = [RunFolder(runs / sweep / name) for name in (runs / sweep).folders()]
    return [run for run in folders if run.folder.has("spec.json")]


def find_run(runs: Folder, run_id: str) -> RunFolder | None:
    """The folder of a run or a measurement, RUNS/*/ID, under whichever sweep's name; a finished one before others."""
    folders = [RunFolder(runs / sweep / run_id) for sweep in runs.folders()]
    begun = [run for run in folders if run.folder.has("spec.json") or run.folder.has("point.json")]
    return next((run for run in begun if run.is_finished()), begun[0] if begun else None)
