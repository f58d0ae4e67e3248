"""What `clibd-sweep --plan` shows: what is finished, to run or cannot be and why, and what it takes."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from orchestrator.demo import OwnData
from orchestrator.estimate import ASSUMED, Effort, Rate, effort_of, rate_here
from orchestrator.progress import clock
from orchestrator.request import Asked, SweepRequest, asked_of, plan_of
from orchestrator.resources import Resources
from orchestrator.weights_at_hand import missing_weights
from sweeps.point import Impossible, Point
from workloads.data.prepared.dataset import PreparedDataset

State = Literal["finished", "to run", "cannot run"]


@dataclass(frozen=True, slots=True)
class Line:
    """A point as the plan has it."""

    point: Point | Impossible
    state: State
    reason: str | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    """Published weights that are not on this machine, and how they get there."""
    effort: Effort | None = None
    """Of what is not finished and could be run, with these weights if need be."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A whole plan."""

    request: SweepRequest
    asked: Asked
    resources: Resources
    rate: Rate
    price: float | None
    lines: Sequence[Line]
    words: Sequence[str]
    """Of the command line that are the same for each sweep."""


def print_plan(
    request: SweepRequest,
    own: Mapping[str, OwnData],
    resources: Resources,
    rate: float | None,
    price: float | None,
    form: Literal["md", "json"],
    words: Sequence[str],
) -> None:
    """Look, reckon and print."""
    facts = own["data"].facts() if "data" in own else PreparedDataset(request.data).facts
    asked = asked_of(request, facts, own["insect"].facts() if "insect" in own else None)
    lines, used = _lines(request, asked, resources, rate)
    shown = Shown(request, asked, resources, used, price, lines, words)
    print(json.dumps(_as_json(shown), indent=1) if form == "json" else _as_text(shown))


def _lines(request: SweepRequest, asked: Asked, resources: Resources, given: float | None) -> tuple[list[Line], Rate]:
    """Every point once, by a row of its own rather than as what others need; and the rate that it is reckoned with."""
    hopeless, _ = plan_of(request, asked, replace(resources, offline=False))
    todo, _ = plan_of(request, asked, replace(resources, offline=True))  # nobody is asked for weights
    lost, reasons = (
        {blocked.point.id: blocked.reason for blocked in of.blocked if isinstance(blocked.point, Point)}
        for of in (hopeless, todo)
    )
    finished = {point.id for point in todo.finished}
    distinct: dict[str, Point | Impossible] = {}
    for point in asked.points:
        key = point.id if isinstance(point, Point) else f"{point.row}"
        if key not in distinct or distinct[key].row is None:
            distinct[key] = point
    possible = [p for p in distinct.values() if isinstance(p, Point) and p.id not in finished | lost.keys()]
    elsewhere = request.scale == "paper" and not resources.gpus_per_worker  # nobody trains these towers on a CPU
    rate = ASSUMED if elsewhere and given is None else rate_here(possible, asked, resources, given, idle=True)

    def line(p: Point | Impossible) -> Line:
        if isinstance(p, Impossible):
            return Line(p, "cannot run", p.reason)
        state: State = "finished" if p.id in finished else "cannot run" if p.id in reasons else "to run"
        if p not in possible:
            return Line(p, state, reasons.get(p.id))
        effort = effort_of(p, asked.facts_of(p.spec), resources, rate, request.scale)
        return Line(p, state, reasons.get(p.id), missing_weights(p), effort)

    return [line(p) for p in distinct.values()], rate


def _sums(shown: Shown, waiting: bool) -> dict[str, float]:
    """Of what is to run, and with `waiting` also of what waits for weights."""
    efforts = [line.effort for line in shown.lines if line.effort and (waiting or line.state == "to run")]
    hours = sum(effort.device_hours for effort in efforts)
    sums = {
        "points": len(efforts),
        "seconds": sum(effort.seconds for effort in efforts),
        "device_hours": hours,
        "memory_bytes": max((effort.memory for effort in efforts), default=0.0),
        "disk_bytes": sum(effort.disk for effort in efforts),
    }
    return sums | ({} if shown.price is None else {"cost": hours * shown.price})


def _weights(shown: Shown) -> dict[str, str]:
    return {name: remedy for line in shown.lines for name, remedy in line.weights.items()}


def _commands(shown: Shown) -> list[dict[str, Any]]:
    """From each table of the paper to the command that fills it."""
    data = shlex.quote(str(shown.request.data))
    out = shlex.quote(f"{shown.request.runs}/statistics")
    found: list[dict[str, Any]] = [
        {"table": number, "sweep": None, "command": f"clibd data stats {data} --out {out}", "points": 0}
        for number in (5, 6, 7)
    ]
    for sweep in shown.request.sweeps:
        points = shown.asked.by_sweep.get(sweep.name, [])
        command = shlex.join(["clibd-sweep", sweep.name, *shown.words])
        ids = {point.id for point in points if isinstance(point, Point)}
        found += [
            {"table": table.number, "sweep": sweep.name, "command": command, "points": len(ids)}
            for table in sweep.tables
        ]
    return sorted(found, key=lambda entry: (isinstance(entry["table"], str), entry["table"]))


def _as_json(shown: Shown) -> dict[str, Any]:
    request, facts = shown.request, shown.asked.facts
    return {
        "sweeps": [sweep.name for sweep in request.sweeps],
        "scale": request.scale,
        "recipe": request.recipe,
        "data": {"name": facts.name, "fingerprint": facts.fingerprint, "synthetic": facts.synthetic},
        "runs": str(request.runs),
        "workers": shown.resources.num_workers,
        "gpus": shown.resources.num_workers * shown.resources.gpus_per_worker,
        "rate": {"tflops": shown.rate.flops / 1e12, "source": shown.rate.source},
        "points": [_point_json(line) for line in shown.lines],
        "weights": _weights(shown),
        "to_run": _sums(shown, waiting=False),
        "with_weights": _sums(shown, waiting=True),
        "tables": _commands(shown),
    }


def _point_json(line: Line) -> dict[str, Any]:
    point, effort = line.point, line.effort
    found: dict[str, Any] = {
        "label": point.label,
        "row": dict(point.row or {}) or None,
        "state": line.state,
        "reason": line.reason,
    }
    if isinstance(point, Point):
        found |= {"id": point.id, "kind": point.kind, "needs": list(point.needs)}
    if effort is not None:
        found |= {"tflop": effort.flops / 1e12, "seconds": effort.seconds, "device_hours": effort.device_hours}
        found |= {"memory_bytes": effort.memory, "disk_bytes": effort.disk}
    return found


def _as_text(shown: Shown) -> str:
    """The plan as a person reads it."""
    request, facts = shown.request, shown.asked.facts
    kind = "synthetic specimens" if facts.synthetic else "specimens"
    title = (
        [f"{sweep.name}: {sweep.question}" for sweep in request.sweeps]
        if len(request.sweeps) == 1
        else ["paper: all sweeps, points that several ask for once"]
    )
    lines = [
        *title,
        f"data      {facts.name}: {facts.num_training:,} training {kind}, {', '.join(facts.modalities)}",
        f"scale     {request.scale}, recipe {request.recipe}",
        f"runs      {request.runs}",
        f"needs     {shown.resources.describe} a run",
        f"rate      {shown.rate.describe}",
        "",
        f"{'':<11}{'':<34}{'time':>9}{'memory':>9}{'disk':>9}  id, or why not",
        *(_row_text(line) for line in shown.lines),
        "",
        *_sums_text(shown),
    ]
    if weights := _weights(shown):
        lines += ["", "Published weights that are not on this machine; the hub was not asked:"]
        lines += [f"  {name}: {remedy}" for name, remedy in weights.items()]
    if len(request.sweeps) > 1:
        lines += ["", f"{'Table':<14}{'sweep':<14}{'points':>6}  command"]
        lines += [
            f"{entry['table']!s:<14}{entry['sweep'] or '':<14}{entry['points'] or '':>6}  {entry['command']}"
            for entry in _commands(shown)
        ]
    return "\n".join(lines)


def _row_text(line: Line) -> str:
    point, effort = line.point, line.effort
    label = point.label if point.row is not None else f"{point.label} (for others)"
    told = f"{label}, {point.kind}".replace("_", " ") if isinstance(point, Point) and point.kind != "train" else label
    took = f"{clock(effort.seconds):>9}{_size(effort.memory):>9}{_size(effort.disk):>9}" if effort else " " * 27
    reason = line.reason if not line.weights else f"without {', '.join(line.weights)}"
    return f"{line.state:<11}{told[:33]:<34}{took}  {reason or (point.id if isinstance(point, Point) else '')}"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e6:.1f} MB"


def _sums_text(shown: Shown) -> list[str]:
    known = [line for line in shown.lines if isinstance(line.point, Point)]
    found = [f"{sum(line.state == 'to run' for line in known)} of {len(known)} runs to do. Nothing was started."]
    for what, waiting in (("to run", False), ("with all weights", True)):
        sums = _sums(shown, waiting)
        if not sums["points"] or (waiting and sums["points"] == _sums(shown, False)["points"]):
            continue
        device = "GPU" if shown.rate.of_gpu else "machine"
        cost = f", {sums['cost']:,.2f} at {shown.price:g} an hour" if shown.price is not None else ""
        found.append(
            f"{what}: {sums['points']:.0f} points, {clock(sums['seconds'])} one after another, "
            f"{sums['device_hours']:,.1f} {device} hours{cost}, {_size(sums['disk_bytes'])} of disk"
        )
    return [
        *found,
        "Time is counted operations over the rate, and what runs take beside; memory is 16 bytes a parameter and "
        "what the towers keep of a worker's share of a batch, without caches and libraries; micro-batches need less.",
    ]
