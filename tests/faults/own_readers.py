"""Files of ours in JSON, and what reads them: one file of a run or a data set that is mutated, beside whole ones."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from results.run import read_named
from results.runs import Runs
from tests.faults.foreign_readers import Make, Read
from tests.faults.mutations import mutated_json, mutated_lines
from workloads.attempts import Attempts
from workloads.data.prepared.dataset import PreparedDataset
from workloads.experiments import Data, base_spec
from workloads.lease import read_lease
from workloads.record import Measurement, RunFolder, measurements_to_table, read_evaluation
from workloads.spec import spec_to_dict
from workloads.storage import Folder

_DATA = Data(name="insects", fingerprint="0123abcd-256", synthetic=True, modalities=("image", "dna", "text"))
_ID = "a-run"
_SPEC = spec_to_dict(base_spec("paper", _DATA))
_EVALUATION = {
    **{"dataset": "insects", "data_fingerprint": "0123abcd-256", "synthetic": True, "recipe": "corrected"},
    **{"missing_rank": "left_out", "num_keys": 10, "thresholds": {"val": 0.5}},
}
_POINT = {
    **{"id": _ID, "sweep": "amp", "row": {"amp": True}, "label": "yes", "kind": "train", "needs": [], "scale": "paper"},
    **{"recipe": "corrected", "seed": 42, "dataset": "insects", "data_fingerprint": "0123abcd-256", "synthetic": True},
    **{"impossible": None},
}
_EVENTS = [
    {
        **{
            "event": event,
            "epoch": number // 3,
            "step": number,
            "loss": 3.0,
            "temperature": 0.07,
            "learning_rate": 1e-3,
        },
        **{"gradient_norm": 1.0, "specimens_per_second": 100.0, "seconds": 2.0, "waited": 0.1, "score": None},
        **{"allocated_gb": 0.0, "reserved_gb": 0.0, "papers_memory_gb": 0.0},
    }
    for number, event in enumerate(("step", "step", "epoch") * 2)
]
_LEASE = {
    **{"owner": "a", "token": "b", "host": "h", "pid": 1, "machine": "m", "command": "c", "began": 1.0, "beat": 2},
    **{"beaten": 3.0, "facts": {"state": "training"}},
}
_ATTEMPT = {"number": 1, "began": 1.0, "ended": 2.0, "hosts": ["h"], "workers": 1, "outcome": "failed", "reason": "r"}
_FACTS = {
    **{
        "schema_version": 3,
        "name": "t",
        "fingerprint": "f",
        "content": "c",
        "synthetic": True,
        "source": "s",
        "seed": 7,
    },
    **{"protocol": "clibd", "partition": "p", "modalities": ["dna", "text"], "image_size": 64, "jpeg_quality": 90},
    **{"text_tokenizer": "w", "barcodes": True, "frame": "ACGT", "image_feature_size": None, "dna_feature_size": None},
    **{"num_specimens": {"train_seen": 5}, "num_labelled": {"train_seen": {"order": 5}}, "num_rejects": 0},
    **{"reject_reasons": {}, "views": False, "num_lost_views": 0, "complete": False, "having": {}},
}


def _plain(value: object) -> bytes:
    return json.dumps(value).encode()


def _run() -> dict[str, bytes]:
    """A finished run without weights, in a folder of runs."""
    files = {
        "spec.json": _plain(_SPEC),
        "point.json": _plain(_POINT),
        "provenance.json": _plain({"packages": {}, "argv": []}),
        "evaluation.json": _plain(_EVALUATION),
        "events.jsonl": b"\n".join(map(_plain, _EVENTS)),
        "status.json": _plain({"schema": 2, "state": "finished", "num_parameters": 5}),
        "manifest.json": _plain({"schema": 2, "files": {}}),
    }
    return {f"amp/{_ID}/{name}": content for name, content in files.items()} | {"amp/points.json": _plain([_POINT])}


_RUN = _run()
_MEASURED = measurements_to_table(
    [
        Measurement(
            partition="val", average="micro", level="species", query="dna", key="dna", species="all", value=0.5, count=9
        )
    ]
)


def _in_run(name: str, mutate: Callable[[bytes, random.Random], bytes] = mutated_json) -> Make:
    place = next(place for place in _RUN if place.endswith(name))
    return lambda chance: {**_RUN, place: mutate(_RUN[place], chance)}


def _named_run(folder: Path) -> RunFolder:
    run = Folder(folder) / "amp" / _ID
    run.write_table("measurements.parquet", _MEASURED)
    return RunFolder(run)


def _read_results(folder: Path) -> None:
    """As tables and `compare` read a run: what is damaged is a run with a problem, or a sentence."""
    run = _named_run(folder)
    runs = Runs(Folder(folder))
    for asked in runs.asked:
        runs.read([asked.id])
    for one in (*runs.read([_ID]).values(), *read_named(run.folder)):
        _ = one.epochs if one.problem is None else None
        _ = one.statistic("hours_per_epoch") if one.problem is None else None


def _read_run(read: Callable[[RunFolder], object]) -> Read:
    def reader(folder: Path) -> None:
        read(_named_run(folder))

    return reader


def _read_attempts(folder: Path) -> None:
    Attempts(Folder(folder)).all()


def _read_facts(folder: Path) -> None:
    facts = PreparedDataset(Folder(folder)).facts
    _ = facts.num_training, facts.data, facts.splits


OWN: dict[str, tuple[int, Make, Read]] = {
    "spec.json": (250, _in_run("spec.json"), _read_run(RunFolder.spec)),
    "status.json": (150, _in_run("status.json"), _read_run(RunFolder.status)),
    "manifest.json": (150, _in_run("manifest.json"), _read_run(RunFolder.manifest)),
    "evaluation.json": (150, _in_run("evaluation.json"), _read_run(lambda run: read_evaluation(run.folder))),
    "events.jsonl": (250, _in_run("events.jsonl", mutated_lines), _read_results),
    "point.json": (150, _in_run("point.json"), _read_results),
    "points.json": (200, _in_run("points.json"), _read_results),
    "status.json, in a table": (150, _in_run("status.json"), _read_results),
    "spec.json, in a table": (150, _in_run("spec.json"), _read_results),
    "evaluation.json, in a table": (150, _in_run("evaluation.json"), _read_results),
    "dataset.json": (250, lambda c: {"dataset.json": mutated_json(_plain(_FACTS), c)}, _read_facts),
    "lease.json": (
        150,
        lambda c: {"lease.json": mutated_json(_plain(_LEASE), c)},
        lambda f: _no(read_lease(Folder(f))),
    ),
    "attempts": (150, lambda c: {"attempts/001.json": mutated_json(_plain(_ATTEMPT), c)}, _read_attempts),
}
"""As `FOREIGN` has them."""


def _no(_: object) -> None:
    """What was read is not looked at."""
