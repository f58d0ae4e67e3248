"""Files of ours and what reads them: one of a run or a data set is mutated, and mostly sealed as if it were whole."""

import hashlib
import io
import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from results.run import read_named
from results.runs import Runs
from tests.faults.mutations import (
    Make,
    Read,
    mutated,
    mutated_json,
    mutated_lines,
    mutated_sealed,
    mutated_table,
)
from workloads.attempts import Attempts
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.taxon_text import TextTokenizer, learn_word_pieces
from workloads.errors import RecordError
from workloads.experiments import Data, base_spec
from workloads.lease import read_lease
from workloads.predictions import Place, Predictions, prediction_table, specimen_table
from workloads.record import Measurement, RunFolder, measurements_to_table, provenance, read_evaluation
from workloads.seals import MADE, MANIFEST, STATUS, with_seal
from workloads.shown import MAP, MAP_SCHEMA, SHOWN, SHOWN_SCHEMA, read_map, read_shown
from workloads.spec import RANKS
from workloads.storage import Folder
from workloads.verify import things_in

_DATA = Data(name="insects", fingerprint="0123abcd-256", synthetic=True, modalities=("image", "dna", "text"))
_ID = "a-run"
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
_SHOWN = [
    {"specimen_id": "a", "thumbnail": b"RIFF\x04\0\0\0WEBP", "barcode": "ACGT"},
    {"specimen_id": "c", "thumbnail": None, "barcode": None},
]
_POINTS = [
    {"specimen_id": name, "partition": part, "kind": kind, "modality": "dna", "x": 0.5, "y": -1.0}
    for name, part, kind in (("a", "val", "query"), ("c", None, "key"))
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


@cache
def _whole_run() -> dict[str, bytes]:
    """Files of a finished run without weights, written and sealed as any run is."""
    ids = np.array(["a", "b", "c"], dtype=object)
    names = {rank: np.array([f"{rank} x", f"{rank} y", None], dtype=object) for rank in RANKS}
    keys, cosines = np.array([["c", "b"], ["c", None]], dtype=object), np.array([[0.9, 0.1], [0.5, np.nan]])
    place = Place("val", "dna", "dna")
    shares = [
        Measurement(
            partition="val", average=average, level=level, query="dna", key="dna", species="all", value=0.5, count=9
        )
        for average in ("micro", "macro")
        for level in RANKS
    ]
    with TemporaryDirectory() as made:
        run = RunFolder(Folder(made))
        run.begin(base_spec("paper", _DATA), _POINT, provenance(["clibd", "train"]))
        run.folder.write("events.jsonl", b"\n".join(map(_plain, _EVENTS)))
        run.folder.write_json("evaluation.json", _EVALUATION)
        run.folder.write_table("measurements.parquet", measurements_to_table(shares))
        asked = prediction_table(place, ids[:2], np.array(["seen", "unseen"], dtype=object), keys, cosines)
        Predictions(asked, specimen_table(ids, ids, names)).write(run.folder)
        run.folder.write_table(SHOWN, pa.Table.from_pylist(_SHOWN, SHOWN_SCHEMA))
        run.folder.write_table(MAP, pa.Table.from_pylist(_POINTS, MAP_SCHEMA))
        run.finish("finished", num_parameters=5)
        return {path.name: path.read_bytes() for path in Path(made).iterdir()}


def _sealed_as_if_whole(files: dict[str, bytes], name: str) -> None:
    """Put the digest that a file has now into the manifest, as a manifest has it that is the file's own."""
    digest = hashlib.sha256(files[name]).hexdigest()
    manifest, status = json.loads(files[MANIFEST]), json.loads(files[STATUS])
    manifest["files"][name] = digest
    if name == "provenance.json":
        status[MADE] = digest
    for written, said in ((MANIFEST, manifest), (STATUS, status)):
        files[written] = _plain(with_seal({key: value for key, value in said.items() if key != "seal"}))


def _in_run(name: str, mutate: Callable[[bytes, random.Random], bytes] = mutated_json) -> Make:
    def make(chance: random.Random) -> dict[str, bytes]:
        files = {**_whole_run(), name: mutate(_whole_run()[name], chance)}
        if name not in (STATUS, MANIFEST) and chance.random() > 0.15:
            _sealed_as_if_whole(files, name)
        return {f"amp/{_ID}/{file}": content for file, content in files.items()} | {"amp/points.json": _plain([_POINT])}

    return make


def _any_in_run(chance: random.Random) -> dict[str, bytes]:
    """A run of which any file is mutated; JSON that seals itself is sealed again."""
    name = chance.choice(sorted(_whole_run()))
    return _in_run(name, mutated_sealed if name in (STATUS, MANIFEST) else mutated)(chance)


def _rewritten(content: bytes, chance: random.Random) -> bytes:
    """A table of ours in which something else stands, or one of other bytes."""
    if chance.random() < 0.25:
        return mutated(content, chance)
    table = mutated_table(pq.read_table(io.BytesIO(content)), chance)
    pq.write_table(table, buffer := io.BytesIO(), write_page_checksum=True)
    return buffer.getvalue()


def _points(chance: random.Random) -> dict[str, bytes]:
    return {
        **_in_run("point.json", lambda content, _: content)(chance),
        "amp/points.json": mutated_json(_plain([_POINT]), chance),
    }


def _dataset(chance: random.Random) -> dict[str, bytes]:
    whole = with_seal({**_FACTS, "files": {"tokenizer.json": hashlib.sha256(_word_pieces()).hexdigest()}})
    return {"dataset.json": mutated_sealed(_plain(whole), chance), "tokenizer.json": _word_pieces()}


@cache
def _word_pieces() -> bytes:
    return learn_word_pieces([f"Diptera Zoridae Zoro Zoro bus{letter}" for letter in "abcdefgh"]).encode()


# --- What reads them ----------------------------------------------------------------------------------------------


def _read_results(folder: Path) -> None:
    """As tables and `compare` read runs, where what is damaged is a run with a problem, or a sentence."""
    runs = Runs(Folder(folder))
    ids = [asked.id for asked in runs.asked if asked.id]
    found = [*runs.read(ids).values(), *runs.read([_ID]).values(), *read_named(Folder(folder) / "amp" / _ID)]
    for run in found:
        if problem := run.problem or run.log_problem:
            raise RecordError(problem)
        run.statistic("hours_per_epoch")
    for problem in runs.damaged.values():
        raise RecordError(problem)


def _read_run(read: Callable[[RunFolder], object]) -> Read:
    return lambda folder: _no(read(RunFolder(Folder(folder) / "amp" / _ID)))


def _read_predictions(run: RunFolder) -> None:
    found = Predictions.read(run.folder)
    for place in found.places:
        found.answers(place)


def _read_facts(folder: Path) -> None:
    dataset = PreparedDataset(Folder(folder))
    facts = dataset.facts
    _ = facts.num_training, facts.data, facts.official_split, facts.num_having("dna")
    TextTokenizer.from_json(dataset.tokenizer_json())


def _verify(folder: Path) -> None:
    for _, check in things_in(Folder(folder)):
        for problem in check(lambda done, total: None).problems:
            raise RecordError(f"{problem.file}: {problem.reason}. {problem.remedy}")


def _read_lease(folder: Path) -> None:
    found = read_lease(Folder(folder))
    if found is None or found.holder.host == "unknown":
        raise RecordError("it says nothing of its holder")
    _ = found.is_free("a"), found.silence(1.0), found.holder.who


def _read_tokenizer(folder: Path) -> None:
    tokenizer = TextTokenizer.from_json((folder / "tokenizer.json").read_bytes(), str(folder / "tokenizer.json"))
    tokenizer.ids(["Diptera Zoridae Zoro"], 20, False)


def _no(_: object) -> None:
    """What was read is not looked at."""


_OF_RUN = {"spec.json": RunFolder.spec, "point.json": RunFolder.point, "provenance.json": RunFolder.source}
_SELF_SEALED = {STATUS: RunFolder.status, MANIFEST: RunFolder.manifest}
_TABLES = {
    "measurements.parquet": RunFolder.measurements,
    "predictions.parquet": _read_predictions,
    "specimens.parquet": _read_predictions,
    SHOWN: lambda run: read_shown(run.folder),
    MAP: lambda run: read_map(run.folder),
}
_IN_TABLES = ("spec.json", "point.json", "provenance.json", "evaluation.json")

OWN: dict[str, tuple[int, Make, Read]] = {
    **{name: (200, _in_run(name), _read_run(read)) for name, read in _OF_RUN.items()},
    **{name: (200, _in_run(name, mutated_sealed), _read_run(read)) for name, read in _SELF_SEALED.items()},
    **{name: (200, _in_run(name, _rewritten), _read_run(read)) for name, read in _TABLES.items()},
    **{f"{name}, in a table": (100, _in_run(name), _read_results) for name in _IN_TABLES},
    "evaluation.json": (150, _in_run("evaluation.json"), _read_run(lambda run: read_evaluation(run.folder))),
    "status.json, in a table": (150, _in_run(STATUS, mutated_sealed), _read_results),
    "measurements.parquet, in a table": (100, _in_run("measurements.parquet", _rewritten), _read_results),
    "events.jsonl": (250, _in_run("events.jsonl", mutated_lines), _read_results),
    "points.json": (150, _points, _read_results),
    "run, verified": (250, _any_in_run, _verify),
    "manifest.json, verified": (100, _in_run(MANIFEST, mutated_sealed), _verify),
    "dataset.json": (250, _dataset, _read_facts),
    "dataset.json, verified": (100, _dataset, _verify),
    "tokenizer.json of ours": (300, lambda c: {"tokenizer.json": mutated_json(_word_pieces(), c)}, _read_tokenizer),
    "lease.json": (150, lambda c: {"lease.json": mutated_json(_plain(_LEASE), c)}, _read_lease),
    "attempts": (
        150,
        lambda c: {"attempts/001.json": mutated_json(_plain(_ATTEMPT), c)},
        lambda folder: _no(Attempts(Folder(folder)).all()),
    ),
}
"""As `FOREIGN` has them."""
