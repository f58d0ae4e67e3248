"""A run: its state, curves, accuracies, where its errors are, and all that its folder says of how it was made."""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from results.dashboard.accuracies import accuracies, classified
from results.dashboard.catalog import Catalog
from results.dashboard.charts import SCRIPTS
from results.dashboard.columns import column_file
from results.dashboard.names import feature_name
from results.dashboard.page import Asked, File, Kind, NotThereError, Page
from results.dashboard.summaries import attempts_of, is_synthetic, spent
from results.dashboard.training_log import curves, training_log
from results.differing import flat_fields
from results.run import UNREADABLE, Run
from results.sweep_status import LIVE, Standing
from workloads.attempts import Attempts
from workloads.continued import told
from workloads.predictions import PREDICTIONS
from workloads.spec import RANKS, spec_to_dict

_TAIL = 40
"""Lines of what a worker printed that are shown."""


def _run(catalog: Catalog, asked: Asked) -> Page:
    standing = catalog.standing(asked.of)
    if standing is not None and standing.folder is None:
        raise NotThereError(f"'{asked.of}' has not begun. `clibd-sweep {standing.sweep}` goes on with its sweep.")
    run, place = catalog.run(asked.of), catalog.place(asked.of)
    standing = standing or Standing(sweep=place.partition("/")[0], label=asked.of, run=asked.of, folder=place)
    state = "damaged" if run.is_damaged else standing.state
    log = training_log(catalog, asked.of)
    attempts, problem = attempts_of(catalog.folder / place)
    measured = [] if run.problem else [accuracies(catalog, name) for name in catalog.evaluations(asked.of)]
    is_classifier = f"{place}/classifier.parquet" in catalog.now.modified
    values: dict[str, Any] = {
        "run": run,
        "standing": standing,
        "state": state,
        "live": standing.state in LIVE,
        "label": _label(run, standing),
        "facts": [*_facts(run, standing, len(log)), ("Folder", f"{catalog.address}/{place}")],
        "folder": f"{catalog.address}/{place}",
        "begun": run.source.get("started"),
        "cost": spent(run, attempts),
        "measured": measured or (classified(run) if is_classifier else []),
        "is_classifier": is_classifier,
        "answered": [one.evaluation for one in measured if _has_answers(catalog, place, one.evaluation)],
        "ranks": RANKS,
        "curves": curves({"": log}, asked.of if standing.state in LIVE else None),
        "log_problem": log.problem,
        "attempts": attempts,
        "attempts_problem": problem,
        "printed": _printed(catalog, asked.of, attempts[-1].number if attempts else None),
        "checkpoints": _checkpoints(catalog, place),
        "command": shlex.join(map(str, run.source.get("argv", []))) or standing.command,
        "spec": flat_fields(spec_to_dict(run.spec)) if run.spec else {},
        "source": flat_fields({name: value for name, value in run.source.items() if name != "argv"}),
        "status": flat_fields(run.status),
    }
    return Page(
        title=asked.of,
        template="run.html.j2",
        told=values,
        scripts=SCRIPTS,
        trail=((f"Sweep {standing.sweep}", Asked("sweep", standing.sweep)),),
        synthetic=is_synthetic(run),
    )


def _has_answers(catalog: Catalog, place: str, evaluation: str) -> bool:
    """Whether an evaluation has kept what every query was answered."""
    name = evaluation.partition("/")[2]
    return "/".join(filter(None, (place, name, PREDICTIONS))) in catalog.now.modified


def _label(run: Run, standing: Standing) -> str:
    seed = f", seed {run.spec.seed}" if run.spec else ""
    return f"{standing.label}{seed}"


def _facts(run: Run, standing: Standing, num_logged: int) -> list[tuple[str, str]]:
    """What a reader asks first."""
    spec, status, source = run.spec, run.status, run.source
    facts: Mapping[str, object] = {
        "Kind": run.point.get("kind", "train"),
        "Data set": f"{spec.dataset}, version {spec.data_fingerprint}" if spec else run.facts.get("dataset"),
        "Aligned": feature_name(", ".join(spec.modalities)) if spec and spec.objective == "align" else None,
        "Recipe": run.recipe,
        "Scale": run.point.get("scale"),
        "Epochs": f"{spec.epochs:,} asked for" if spec else None,
        "Batch": f"{spec.batch_size:,} specimens" if spec else None,
        "Selected epoch": status["selected_epoch"] + 1 if isinstance(status.get("selected_epoch"), int) else None,
        "Device": status.get("device"),
        "Workers": status.get("num_workers"),
        "Parameters": _parameters(status),
        "Made with": f"commit {source['commit']}" if source.get("commit") else None,
        "Went on": told(source) or None,
        "Restarts": standing.restarts or None,
        "Logged": f"{num_logged:,} lines" if num_logged else None,
    }
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "")]


def _parameters(status: Mapping[str, Any]) -> str | None:
    counts = status.get("num_parameters"), status.get("num_trained_parameters")
    both = [f"{count:,}" for count in counts if isinstance(count, int)]
    return f"{both[0]}, of which {both[1]} trained" if len(both) == 2 else None


def _printed(catalog: Catalog, run: str, attempt: int | None) -> list[tuple[int, str]]:
    """The last lines of each worker of the last attempt, by its number."""
    if attempt is None:
        return []
    place = catalog.place(run)
    key = ("printed", place, catalog.now.version(place, passing=True))
    return catalog.kept(key, lambda: _tails(Attempts(catalog.folder / place), attempt))


def _tails(attempts: Attempts, number: int) -> list[tuple[int, str]]:
    try:
        logs = attempts.logs(number)
    except UNREADABLE as error:
        return [(0, f"It cannot be read: {error}")]
    return [(worker, "\n".join(text.rstrip().splitlines()[-_TAIL:])) for worker, text in sorted(logs.items())]


def _checkpoints(catalog: Catalog, place: str) -> list[tuple[str, bool, float]]:
    """Checkpoints that are there: name, whether it is whole, and when it was last written."""
    files = [
        (name.split("/")[3:], when) for name, when in catalog.now.by_place.get(place, ()) if "/checkpoints/" in name
    ]
    found: dict[str, tuple[bool, float]] = {}
    for parts, when in files:
        if len(parts) == 2:
            whole, latest = found.get(parts[0], (False, 0.0))
            found[parts[0]] = whole or parts[1] == "manifest.json", max(latest, when)
    return [(name, *found[name]) for name in sorted(found)]


def _listed(catalog: Catalog) -> Iterable[Asked]:
    return [Asked("run", run) for run in dict.fromkeys(one.run for one in catalog.standings if one.folder) if run]


def _log_columns(catalog: Catalog, asked: Asked) -> File:
    after = asked.number("after", 0)
    columns, start, mark = training_log(catalog, asked.of).since(after, asked.option("mark"))
    return column_file(f"run-log-{asked.of}-{after}", {**columns, "from": np.array([start]), "mark": [mark]})


KINDS = (
    Kind(name="run", make=_run, listed=_listed),
    Kind(name="run-log", make=_log_columns, options={"after": "", "mark": ""}, suffix=".js"),
)
