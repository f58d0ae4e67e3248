"""Compares what lies in folders of ours with what was written: data sets, databases, runs, weights, specimen tables.

Only digests, checksums and JSON are looked at, so that neither torch nor Ray is needed, and nothing is changed.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from workloads.continued import told
from workloads.errors import ClibdError, MissingPathError, first_line
from workloads.lease import ABANDONED, read_lease
from workloads.record import RunFolder, check_names
from workloads.seals import (
    DATABASE,
    DATASET,
    MADE,
    MANIFEST,
    STATUS,
    read_manifest,
    read_sealed,
    read_versioned,
    run_of,
    sealable,
)
from workloads.shown import MAP, SHOWN
from workloads.spec import spec_from_dict
from workloads.storage import Folder
from workloads.weight_store import MANIFEST as OF_WEIGHTS

State = Literal["whole", "without digests", "damaged", "unfinished", "being written"]
Tell = Callable[[int, int | None], None]
Remedy = Callable[[str], str]
"""What to do about a file, by its name."""
_UNREADABLE = (ClibdError, OSError, ValueError, KeyError, TypeError, AttributeError)
"""What reading a file can raise that is not what was written."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that is not what was written."""

    file: str
    """Its name in the folder."""
    reason: str
    remedy: str


@dataclass(kw_only=True, slots=True)
class Verdict:
    """What was found of one thing: a data set, a database, a run, weights, or a specimen table."""

    address: str
    kind: str
    state: State = "whole"
    num_files: int = 0
    """Files that were compared."""
    problems: list[Problem] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    """Files that nobody has sealed: put there by somebody else, or by a measurement that was interrupted."""
    note: str = ""
    """What else is to be said."""


Check = Callable[[Tell], Verdict]


def things_in(folder: Folder) -> list[tuple[str, Check]]:
    """What there is to verify at an address, each with the function that does.

    Args:
        folder: a prepared data set, a database, a specimen table's folder, a run or an evaluation in it, a folder of
            runs, RUNS or RUNS/SWEEP, published weights, or a store of them.

    Raises:
        MissingPathError: nothing of ours is there.
    """
    found = list(_things(folder, depth=3))
    if not found:
        remedy = "Name a data set, a database, a run, a folder of runs, weights, or a folder with a specimen table."
        raise MissingPathError(str(folder), "data set, database, run, weights or specimen table", remedy)
    return found


def _things(folder: Folder, depth: int) -> Iterator[tuple[str, Check]]:
    names = set(folder.files())
    if DATASET in names or "source.json" in names:
        yield str(folder), partial(_dataset, folder)
    elif DATABASE in names:
        yield str(folder), partial(_database, folder)
    elif {"spec.json", "point.json"} & names:
        yield str(folder), partial(_run, folder)
    elif (run := run_of(folder)) is not folder:
        yield str(run), partial(_run, run)
    elif OF_WEIGHTS in names:
        yield str(folder), partial(_weights, folder)
    elif {"evaluation.json", "bzsl.json"} & names:
        yield str(folder), partial(_evaluation, folder)
    elif names and any(name.endswith(".parquet") for name in names) and depth == 3:
        yield str(folder), partial(_tables, folder)
    elif depth:
        for name in folder.folders():
            yield from _things(folder / name, depth - 1)


# --- One thing each -----------------------------------------------------------------------------------------------


def _compared(
    found: Verdict, folder: Folder, files: Mapping[str, str], remedy: Callable[[str], str], tell: Tell
) -> None:
    """Compare every file with its digest."""
    for done, (name, stated) in enumerate(sorted(files.items()), start=1):
        try:
            if not folder.has(name):
                found.problems.append(Problem(name, "it is gone", remedy(name)))
            elif folder.digest(name) != stated:
                found.problems.append(Problem(name, "it is not what was written", remedy(name)))
        except OSError as error:
            found.problems.append(Problem(name, f"it cannot be read ({first_line(error)})", remedy(name)))
        tell(done, len(files))
    found.num_files += len(files)


def _ended(found: Verdict) -> Verdict:
    if found.problems:
        found.state = "damaged"
    return found


def _dataset(folder: Folder, tell: Tell) -> Verdict:
    found = Verdict(address=str(folder), kind="prepared data set")
    if not folder.has(DATASET):
        found.state, found.note = "unfinished", "its preparation has not ended; start the same command again"
        return found
    whole = f"Remove {folder}/{DATASET}, and prepare again into this folder as the first time: {_AGAIN}"
    try:
        _, files = read_sealed(folder, DATASET)
    except _UNREADABLE as error:
        found.problems.append(Problem(DATASET, _reason(error), whole))
        return _ended(found)
    if not files:
        found.state, found.note = "without digests", f"an earlier version prepared it. To have them: {whole}"
        _read_tables(found, folder, folder.walk(), lambda name: _of_data(folder, name), tell)
        return _ended(found)
    _compared(found, folder, files, lambda name: _of_data(folder, name), tell)
    found.strangers = [name for name in folder.walk() if name not in files and name not in (DATASET, *_MADE_ANEW)]
    return _ended(found)


_AGAIN = "`clibd data prepare TABLE --to DIR` with the same table and options keeps what is whole."
_MADE_ANEW = ("floors.parquet",)


def _of_data(folder: Folder, name: str) -> str:
    if name == "source.json":
        return f"Move {folder} away, and prepare it anew: `clibd data prepare TABLE --to DIR`."
    return f"Remove {folder}/{name} and {folder}/{DATASET}, and prepare again into this folder: {_AGAIN}"


def _database(folder: Folder, tell: Tell) -> Verdict:
    found = Verdict(address=str(folder), kind="database")
    anew = (
        f"Copy it again from where it came, or build it again: `clibd db build --data SOURCE --to {folder} --replace`."
    )
    try:
        _, files = read_sealed(folder, DATABASE)
    except _UNREADABLE as error:
        found.problems.append(Problem(DATABASE, _reason(error), anew))
        return _ended(found)
    _compared(found, folder, files, lambda _: anew, tell)
    found.strangers = [name for name in folder.walk() if name not in files and name != DATABASE]
    return _ended(found)


def _run(folder: Folder, tell: Tell) -> Verdict:
    found = Verdict(address=str(folder), kind="run")
    _checkpoints(found, folder, tell)
    held = _holder(folder)
    if held:
        found.state, found.note = "being written", f"{held} writes into it; verify it when that has ended"
        return found
    if not folder.has(STATUS):
        found.state, found.note = "unfinished", "it goes on where it stopped when its command is started again"
        return _ended(found)
    anew = f"Move {folder} away, and train or measure it again: start the command that made it."
    try:
        status, files = read_versioned(folder, STATUS), read_manifest(folder)
    except _UNREADABLE as error:
        name = MANIFEST if MANIFEST in str(error) else STATUS
        found.problems.append(Problem(name, _reason(error), anew))
        return _ended(found)
    if status.get("state") != "finished":
        found.state, found.note = "unfinished", f"it failed: {status.get('reason', 'it does not say why')}"
        return _ended(found)
    if status.get(MADE) and not folder.has(MANIFEST):
        found.problems.append(Problem(MANIFEST, "it is gone", anew))
        return _ended(found)
    _compared(found, folder, files, lambda name: _of_run(folder, name, anew), tell)
    if status.get(MADE) not in (None, files.get("provenance.json")):
        found.problems.append(Problem(STATUS, "it is of another run", anew))
    if not files:
        found.state, found.note = "without digests", "an earlier version made it, so that only its tables can be read"
        _read_tables(found, folder, sealable(folder), lambda name: _of_run(folder, name, anew), tell)
    found.strangers = [name for name in sealable(folder) if name not in files] if files else []
    _content(found, folder, anew)
    return _ended(found)


def _of_run(run: Folder, name: str, anew: str) -> str:
    """What to do about a file of a finished run: measurements are made anew in their place, training is not."""
    place, _, file = name.rpartition("/")
    measured = f"{run}/{place}" if place else str(run)
    command = next((command for start, command in _COMMANDS.items() if file.startswith(start)), "")
    if command:
        return f"Measure again: `{command.format(run=run, measured=measured, above=measured.removesuffix('/bzsl'))}`."
    if place.startswith(("evaluation-", "untrained-")):
        how = "--again --untrained" if place.startswith("untrained-") else "--again"
        return f"Measure again: `clibd evaluate {run} --data DIR {how}`."
    if name == SHOWN:  # pictures are of the data set
        return f"Measure again with its data set: `clibd evaluate {run} --data DIR`."
    return f"Measure its own embeddings again: `clibd evaluate {run}`." if name in _MEASURED else anew


_COMMANDS = {
    "open_set": "clibd open-set {measured}",
    "bzsl": "clibd bzsl {above}",
    "attention-": "clibd attention {run} --data DIR",
}
"""Which command makes the files of a finished run whose names begin so."""
_MEASURED = (
    *("measurements.parquet", "predictions.parquet", "specimens.parquet", "evaluation.json"),
    MAP,
)


def _content(found: Verdict, folder: Folder, anew: str) -> None:
    """What digests do not tell: whose the folder is, and whether its numbers can be."""
    try:
        spec = spec_from_dict(folder.read_json("spec.json")) if folder.has("spec.json") else None
        point = folder.read_json("point.json") if folder.has("point.json") else {}
        check_names(folder.name, point, spec)
        if folder.has("measurements.parquet"):
            RunFolder(folder).measurement_table()
        found.note = "; ".join(filter(None, [found.note, told(RunFolder(folder).source())]))
    except _UNREADABLE as error:
        file = str(error.args[0]).rpartition("/")[2] if isinstance(error, ClibdError) else "spec.json"
        if not any(problem.file == file for problem in found.problems):
            found.problems.append(Problem(file, _reason(error), anew))


def _checkpoints(found: Verdict, folder: Folder, tell: Tell) -> None:
    """Checkpoints have manifests of their own; a damaged one is skipped by the training, which an older one serves."""
    inside = folder / "checkpoints"
    for name in inside.folders():
        place = inside / name
        if not place.has(MANIFEST):
            continue
        try:
            stated: dict[str, Any] = place.read_json(MANIFEST)
            files = {f"checkpoints/{name}/{file}": facts["sha256"] for file, facts in stated.items()}
        except _UNREADABLE as error:
            found.problems.append(Problem(f"checkpoints/{name}/{MANIFEST}", _reason(error), _OF_CHECKPOINTS))
            continue
        _compared(found, folder, files, lambda _: _OF_CHECKPOINTS, tell)


_OF_CHECKPOINTS = "Start the run's command again: it goes on from an older checkpoint, and this one is left."


def _holder(folder: Folder) -> str:
    """Who writes into a run now, in words."""
    held = read_lease(folder)
    beats = held is not None and held.silence(time.time()) < ABANDONED and not held.holder.is_gone()
    return held.holder.who if held is not None and beats else ""


def _evaluation(folder: Folder, tell: Tell) -> Verdict:
    found = Verdict(address=str(folder), kind="evaluation")
    anew = f"Remove {folder}, and measure again: start the command that made it."
    try:
        files = read_manifest(folder)
    except _UNREADABLE as error:
        found.problems.append(Problem(MANIFEST, _reason(error), anew))
        return _ended(found)
    _compared(found, folder, files, lambda _: anew, tell)
    if not files:
        found.state = "without digests"
        _read_tables(found, folder, folder.walk(), lambda _: anew, tell)
    return _ended(found)


def _weights(folder: Folder, tell: Tell) -> Verdict:
    found = Verdict(address=str(folder), kind="weights")
    anew = (
        f"Remove {folder}, and fetch them again: `clibd weights fetch STORE`; in a store, push them again: "
        "`clibd weights push STORE`."
    )
    try:
        files = dict(folder.read_json(OF_WEIGHTS)["files"])
    except _UNREADABLE as error:
        found.problems.append(Problem(OF_WEIGHTS, _reason(error), anew))
        return _ended(found)
    _compared(found, folder, files, lambda _: anew, tell)
    found.strangers = [name for name in folder.files() if name not in files and name != OF_WEIGHTS]
    return _ended(found)


def _tables(folder: Folder, tell: Tell) -> Verdict:
    found = Verdict(address=str(folder), kind="specimen table")
    _read_tables(
        found, folder, folder.files(), lambda _: "Import it again: `clibd data import SOURCE --to FILE`.", tell
    )
    return _ended(found)


def _read_tables(found: Verdict, folder: Folder, names: list[str], remedy: Remedy, tell: Tell) -> None:
    """Read every page of every table, as their checksums vouch for them."""
    tables = [name for name in names if name.endswith(".parquet")]
    for done, name in enumerate(tables, start=1):
        try:
            with folder.open_parquet(name) as file:
                for _ in file.iter_batches(4096):
                    pass
        except _UNREADABLE as error:
            found.problems.append(Problem(name, _reason(error), remedy(name)))
        tell(done, len(tables))
    found.num_files += len(tables)


def _reason(error: BaseException) -> str:
    """What is wrong, without a remedy that is meant for a reader."""
    return str(error.args[1]) if isinstance(error, ClibdError) and len(error.args) > 1 else first_line(error)
