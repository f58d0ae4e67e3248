"""What `clibd-sweep --plan` shows: what is finished, to run or cannot be and why, and what it takes."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.estimate import Rate, estimate
from orchestrator.fleet import Resources
from orchestrator.request import SweepPoints, plan_of
from orchestrator.weights_at_hand import missing_weights
from sweeps.point import Impossible, Point
from workloads.command_line import clock
from workloads.printed_text import say

if TYPE_CHECKING:
    from commands.sweep import SweepOptions

_Plain = dict[str, Any]
"""As JSON has it."""


def print_plan(points: SweepPoints, resources: Resources, at_once: int, options: "SweepOptions") -> None:
    """Look, reckon and print.

    Args:
        points: what is asked.
        resources: of a run.
        at_once: runs side by side.
        options: among them the form of the plan, the price of a GPU hour, and the rate of a GPU.
    """
    request, facts = points.request, points.request.data.facts
    entries, weights, rate = _points(points, resources, options.rate)
    shown: _Plain = {
        "sweeps": [sweep.name for sweep in request.sweeps],
        "scale": request.scale,
        "recipe": request.recipe,
        "data": {"name": facts.name, "fingerprint": facts.fingerprint, "synthetic": facts.synthetic},
        "runs": str(request.runs),
        "workers": resources.num_workers,
        "least_workers": resources.least_workers,
        "cpus_per_worker": resources.cpus_per_worker,
        "loader_processes": resources.loader_processes,
        "threads": resources.threads,
        "gpus": resources.num_workers * resources.gpus_per_worker,
        "gpu_kind": resources.gpu_kind,
        "one_node": resources.one_node,
        "at_once": at_once,
        "rate": {"tflops": rate.flops / 1e12, "source": rate.source},
        "points": entries,
        "weights": weights,
        "to_run": _sums([entry for entry in entries if entry["state"] == "to run"], options.price),
        "with_weights": _sums(entries, options.price),
        "tables": _tables(points, options),
    }
    text = _as_text(shown, points, resources, rate, options.price)
    say(json.dumps(shown, indent=1) if options.form == "json" else text)


def _points(
    points: SweepPoints, resources: Resources, given: float | None
) -> tuple[list[_Plain], dict[str, str], Rate]:
    """Every point once, by a row of its own rather than as what others need; the published weights that are not on this
    machine, with how they get there; and the rate that all is reckoned with."""
    hopeless, _ = plan_of(points, replace(resources, offline=False))
    todo, _ = plan_of(points, replace(resources, offline=True))  # nobody is asked for weights
    distinct: dict[str, Point | Impossible] = {}
    for point in points.all:
        key = point.id if isinstance(point, Point) else f"{point.row}"
        if key not in distinct or distinct[key].row is None:
            distinct[key] = point
    finished = {point.id for point in todo.finished}
    known = [point for point in distinct.values() if isinstance(point, Point)]
    possible = [point for point in known if point.id not in finished | hopeless.lost.keys()]
    rate, efforts = estimate(possible, points, resources, given, planning=True)
    entries, weights = [], dict[str, str]()
    for point in distinct.values():
        entry: _Plain = {"label": point.label, "row": dict(point.row or {}) or None, "state": "cannot run"}
        entries.append(entry)
        if isinstance(point, Impossible):
            entry["reason"] = point.reason
            continue
        entry["reason"] = todo.lost.get(point.id)
        entry |= {"id": point.id, "kind": point.kind, "needs": list(point.needs)}
        if point.id not in todo.lost:
            entry["state"] = "finished" if point.id in finished else "to run"
        if effort := efforts.get(point.id):
            missing = missing_weights(point)
            weights |= missing
            entry |= {"tflop": effort.flops / 1e12, "seconds": effort.seconds, "device_hours": effort.device_hours}
            entry |= {"selecting_seconds": effort.selecting}
            entry |= {"memory_bytes": effort.memory, "disk_bytes": effort.disk, "weights": list(missing)}
    return entries, weights, rate


def _sums(entries: Sequence[_Plain], price: float | None) -> dict[str, float]:
    """What all takes that is not finished and can be run, with the weights that it waits for if need be."""
    efforts = [entry for entry in entries if "seconds" in entry]
    sums: dict[str, float] = {"points": len(efforts)}
    sums |= {name: sum(effort[name] for effort in efforts) for name in ("seconds", "selecting_seconds", "device_hours")}
    sums["memory_bytes"] = max((effort["memory_bytes"] for effort in efforts), default=0.0)
    sums["disk_bytes"] = sum(effort["disk_bytes"] for effort in efforts)
    return sums | ({} if price is None else {"cost": sums["device_hours"] * price})


def _tables(points: SweepPoints, options: "SweepOptions") -> list[_Plain]:
    """From each table of the paper to the command that fills it."""
    request = points.request
    words = (
        ["--data", options.data, "--scale", request.scale, "--recipe", request.recipe] if options.data else ["--demo"]
    )
    words += [*(["--insect", options.insect] if options.insect else []), "--runs", options.runs]
    data, out = (shlex.quote(str(place)) for place in (request.data.folder, request.runs / "statistics"))
    tables: list[_Plain] = [
        {"table": number, "sweep": None, "command": f"clibd data stats {data} --out {out}", "points": 0}
        for number in (5, 6, 7)
    ]
    for sweep in request.sweeps:
        command = shlex.join(["clibd-sweep", sweep.name, *words])
        ids = {point.id for point in points.by_sweep.get(sweep.name, []) if isinstance(point, Point)}
        tables += [
            {"table": table.number, "sweep": sweep.name, "command": command, "points": len(ids)}
            for table in sweep.tables
        ]
    return sorted(tables, key=lambda entry: (isinstance(entry["table"], str), entry["table"]))


def _as_text(shown: _Plain, points: SweepPoints, resources: Resources, rate: Rate, price: float | None) -> str:
    """The plan as a person reads it."""
    sweeps, facts = points.request.sweeps, points.request.data.facts
    kind = "synthetic specimens" if facts.synthetic else "specimens"
    lines = [
        f"{sweeps[0].name}: {sweeps[0].question}"
        if len(sweeps) == 1
        else "paper: all sweeps, points that several ask for once",
        f"data      {facts.name}: {facts.num_training:,} training {kind}, {', '.join(facts.modalities)}",
        f"scale     {shown['scale']}, recipe {shown['recipe']}",
        f"runs      {shown['runs']}",
        f"needs     {resources.describe} a run, each with {resources.each}; {shown['at_once']} at once",
        f"rate      {rate.describe}",
        "",
        f"{'':<11}{'':<34}{'time':>9}{'memory':>9}{'disk':>9}  id, or why not",
        *(_line(entry) for entry in shown["points"]),
        "",
        *_sums_text(shown, "GPU" if rate.of_gpu else "machine", price),
    ]
    if shown["weights"]:
        lines += ["", "Published weights that are not on this machine; the hub was not asked:"]
        lines += [f"  {name}: {remedy}" for name, remedy in shown["weights"].items()]
    if len(sweeps) > 1:
        lines += ["", f"{'Table':<14}{'sweep':<14}{'points':>6}  command"]
        lines += [
            f"{entry['table']!s:<14}{entry['sweep'] or '':<14}{entry['points'] or '':>6}  {entry['command']}"
            for entry in shown["tables"]
        ]
    return "\n".join(lines)


def _line(entry: _Plain) -> str:
    label = entry["label"] if entry["row"] else f"{entry['label']} (for others)"
    kind = entry.get("kind", "train").replace("_", " ")
    told = label if kind == "train" else f"{label}, {kind}"
    took, reason = " " * 27, entry["reason"] or entry.get("id", "")
    if "seconds" in entry:
        sizes = (_size(entry[name]) for name in ("memory_bytes", "disk_bytes"))
        took = "".join(f"{text:>9}" for text in (clock(entry["seconds"]), *sizes))
        reason = f"without {', '.join(entry['weights'])}" if entry["weights"] else reason
    return f"{entry['state']:<11}{told[:33]:<34}{took}  {reason}"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else f"{count / 1e6:.1f} MB"


def _sums_text(shown: _Plain, device: str, price: float | None) -> list[str]:
    known = [entry for entry in shown["points"] if "id" in entry]
    lines = [f"{sum(entry['state'] == 'to run' for entry in known)} of {len(known)} runs to do. Nothing was started."]
    todo, whole = shown["to_run"], shown["with_weights"]
    more = [("with all weights", whole)] if whole["points"] > todo["points"] else []
    for what, sums in (("to run", todo), *more):
        if sums["points"]:
            cost = f", {sums['cost']:,.2f} at {price:g} an hour" if price is not None else ""
            lines.append(
                f"{what}: {sums['points']:.0f} points, {clock(sums['seconds'])} one after another, "
                f"{sums['device_hours']:,.1f} {device} hours{cost}, {_size(sums['disk_bytes'])} of disk"
            )
    if whole["selecting_seconds"]:
        lines.append(
            f"Of this {clock(whole['selecting_seconds'])} go into embedding keys and validation queries behind each "
            "epoch that may be selected; recipes paper and authors do so in fp32. --set evaluation_precision=tf32 "
            "takes a GPU about a quarter of it, and is another run: last digits differ."
        )
    return [
        *lines,
        "Time is counted operations over the rate, and what runs take beside; memory is 16 bytes a parameter and "
        "what the towers keep of a worker's share of a batch, without caches and libraries; micro-batches need less.",
    ]
