"""What the files of a run folder have to hold for whoever reads them, and the readers that say which one does not.

Anybody may have edited, cut or mixed up a folder. So each file is read against its form before it is used, and what
does not fit is a `DamagedError` that names file and field: one missing number, and never the end of a table.

Only what readers rely on stands in the forms; files of earlier versions lack some of it, and later ones say more.
"""

from collections.abc import Collection
from typing import Any, Required, TypedDict

import pyarrow as pa

from workloads.errors import DamagedError
from workloads.masked_facts import MaskedFacts
from workloads.plain_values import misfit, parsed
from workloads.storage import Folder, read_file

POINTS = "points.json"
LONGEST_LINE = 2**20
"""Bytes of a line of a log; those that are written have some 400."""


class Point(TypedDict, total=False):
    """point.json, and an entry of a sweep's points.json: which row of which table a run stands for."""

    row: dict[str, str | int | float | bool | list[str] | None] | None
    label: str
    scale: str
    sweep: str
    id: str | None
    kind: str | None
    needs: list[str]
    impossible: str | None
    recipe: str
    dataset: str
    data_fingerprint: str
    synthetic: bool
    seed: int | None
    converted: bool


class Continued(TypedDict):
    """One time that a run went on under other circumstances: each by its name, what it was and what it is."""

    step: int
    changed: dict[str, list[Any]]


class Provenance(TypedDict, total=False):
    """provenance.json: where and with what a run was made."""

    argv: list[str]
    started: str
    commit: str | None
    weights: dict[str, dict[str, str]]
    continued: list[Continued]


class Status(TypedDict, total=False):
    """status.json: how a run ended."""

    state: Required[str]
    reason: str
    traceback: str
    training_seconds: float
    loss_of_alike: float


class ShownCount(TypedDict):
    """How many specimens an evaluation shows, of how many that it asked and searched."""

    specimens: int
    of: int


class MapFacts(TypedDict):
    """How the points of an evaluation were laid out, and how many of how many."""

    method: str
    points: int
    of: int


class Constant(TypedDict):
    """How a constant for keys of seen species was found, and what it reaches on validation."""

    value: float | None
    seen: float
    unseen: float
    harmonic_mean: float
    num_tried: int


class FusionFacts(TypedDict):
    """How image and DNA were fused, and of how many specimens of each part both were there, or one alone."""

    kind: str
    specimens: dict[str, dict[str, int]]


class Evaluation(TypedDict, total=False):
    """evaluation.json: of what and by which rules a folder was measured."""

    dataset: Required[str]
    data_fingerprint: Required[str]
    synthetic: Required[bool]
    recipe: Required[str]
    missing_rank: Required[str]
    model: str
    run: str
    aligned: list[str]
    untrained: bool
    official_split: str | None
    left_out: dict[str, str]
    contamination: dict[str, dict[str, int]]
    declared: list[str]
    num_without_name: dict[str, dict[str, int]]
    num_lacking: dict[str, dict[str, int]]
    constants: dict[str, Constant]
    fusion: FusionFacts
    shown: ShownCount
    map: MapFacts
    masked: dict[str, MaskedFacts]


class Threshold(TypedDict):
    """How open-set recognition found the one of a method."""

    value: float | None
    rule: str
    num_tried: int
    harmonic_mean: float


class OpenSet(TypedDict, total=False):
    """open_set.json."""

    recipe: str
    dataset: str
    synthetic: bool
    missing_rank: str
    thresholds: dict[str, Threshold]


class Asked(TypedDict, total=False):
    """Which features `clibd bzsl` was given."""

    source: Required[str]
    dna: str | None
    recipe: str


class ZeroShot(TypedDict, total=False):
    """bzsl.json."""

    asked: Required[Asked]
    synthetic: bool


class Event(TypedDict, total=False):
    """A line of events.jsonl."""

    event: Required[str]
    epoch: Required[int]
    step: Required[int]
    loss: float
    temperature: float
    specimens_per_second: float
    seconds: float
    papers_memory_gb: float
    score: float | None


def read_object(folder: Folder, name: str, form: Any) -> dict[str, Any]:
    """A JSON object of a form.

    Raises:
        DamagedError: the file is gone, is not JSON, or does not hold what it should.
    """
    try:
        content = folder.read_json(name)
    except FileNotFoundError as error:
        raise DamagedError(f"{folder}/{name}", "it is gone") from error
    return checked(content, form, f"{folder}/{name}")


def object_there(folder: Folder, name: str, form: Any) -> dict[str, Any]:
    """`read_object`; empty where the file is not there."""
    return read_object(folder, name, form) if folder.has(name) else {}


def read_points(sweep: Folder) -> list[dict[str, Any]]:
    """What a sweep has noted that it asked for; nothing where it has noted none.

    Raises:
        DamagedError: the file is not what was written.
    """
    path, stored = f"{sweep}/{POINTS}", sweep.read_json(POINTS) if sweep.has(POINTS) else []
    if not isinstance(stored, list):
        raise DamagedError(path, "it is no list")
    return [checked(entry, Point, path) for entry in stored]


def checked(content: Any, form: Any, path: str) -> dict[str, Any]:
    """An object that was read from a path.

    Raises:
        DamagedError: it is not of the form.
    """
    if reason := misfit(content, form):
        raise DamagedError(path, reason)
    found: dict[str, Any] = content
    return found


def read_events(folder: Folder, name: str = "events.jsonl", known: int = 0) -> list[dict[str, Any]]:
    """A training's log, oldest first; empty where there is none.

    Args:
        folder: that it lies in.
        name: of the file.
        known: lines at its beginning that were read before, and are left out.

    Raises:
        DamagedError: a line is not what is logged; it says which one.
    """
    if not folder.has(name):
        return []
    events = []
    for number, line in enumerate(read_file(folder, name).splitlines()[known:], known + 1):
        path = f"{folder}/{name}, line {number}"
        if len(line) > LONGEST_LINE:
            raise DamagedError(path, f"it has {len(line):,} bytes, and no line of a log has")
        try:
            content = parsed(line)
        except ValueError as error:
            raise DamagedError(path, f"not JSON ({error})") from error
        events.append(checked(content, Event, path))
    return events


def read_rows(
    folder: Folder,
    name: str,
    schema: pa.Schema,
    *,
    optional: Collection[str] = (),
    nullable: Collection[str] = (),
    least: int = 1,
) -> pa.Table:
    """The columns of a table that are known, in their order; what a later version may have added is left out.

    Its metadata is kept.

    Args:
        folder: that it lies in.
        name: of the Parquet file.
        schema: columns and their types.
        optional: of these, those that earlier versions lack.
        nullable: of these, those that may be null.
        least: rows that there must be.

    Raises:
        DamagedError: there are too few rows, a column is missing or of another type, or a value is null that cannot be.
    """
    path, table = f"{folder}/{name}", folder.read_table(name)
    if missing := [each.name for each in schema if each.name not in {*table.column_names, *optional}]:
        raise DamagedError(path, f"there is no column {', '.join(missing)}")
    if len(table) < least:
        raise DamagedError(path, "there is no row in it")
    known = [each for each in schema if each.name in table.column_names]
    for each in known:
        if table.column_names.count(each.name) > 1:
            raise DamagedError(path, f"the column {each.name} is there twice")
        column = table.schema.field(table.column_names.index(each.name)).type
        if column != each.type and not (pa.types.is_null(column) and each.name in nullable):
            raise DamagedError(path, f"the column {each.name} is of {column}, and not of {each.type}")
        if table[each.name].null_count and each.name not in nullable:
            raise DamagedError(path, f"the column {each.name} has no value in a row")
    return table.select([each.name for each in known]).cast(pa.schema(known, table.schema.metadata))
