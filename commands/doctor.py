"""`clibd doctor`: what is wrong with which host, and what mends it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from workloads.printed_text import say

if TYPE_CHECKING:
    from orchestrator.doctor import HostReport, Needs

_NO_FACTS = "it told nothing"


def doctor(
    data: Annotated[str | None, typer.Option(help="Prepared data set that every host has to read.")] = None,
    runs: Annotated[str | None, typer.Option(help="Folder of runs that every host has to write to.")] = None,
    sweep: Annotated[
        str | None, typer.Option(help="Sweep whose published weights every host has to have, at the paper's scale.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to look at: `auto` on its head node. Default: this machine.")
    ] = None,
    form: Annotated[Literal["text", "json"], typer.Option("--format", help="For people or for programs.")] = "text",
) -> None:
    """Look at every host of a cluster, or at this machine: is it fit for runs, and if not, what mends it.

    Code and package versions, Ray's token, shared folders, disks, weights, GPUs, network, clocks. A line for each host,
    and below it what is wrong. The exit code is 0 where all are fit, else 1. Sweeps look by themselves when they start.
    """
    from orchestrator.doctor import examine_cluster, examine_here
    from orchestrator.session import ray_session

    needs = _needs(data, runs, sweep)
    if address is None:
        reports = [examine_here(needs)]
    else:
        with ray_session(address):
            reports = examine_cluster(needs)
    say(json.dumps(_plain(reports), indent=1) if form == "json" else "\n".join(_lines(reports)))
    if not all(report.is_fit for report in reports):
        raise typer.Exit(1)


def _needs(data: str | None, runs: str | None, sweep: str | None) -> "Needs":
    """What the hosts have to see and to have."""
    from orchestrator.doctor import Needs
    from workloads.shared_places import data_place, runs_place

    places = [data_place(data)] if data else []
    places += [runs_place(runs)] if runs else []
    if sweep is None:
        return Needs(places=places)
    from commands.sweep import sweeps_of
    from orchestrator.weights_at_hand import wanted_by

    return Needs(places=places, weights=wanted_by(sweeps_of(sweep)))


def _plain(reports: Sequence["HostReport"]) -> dict[str, Any]:
    """As JSON has it."""
    hosts = [
        {
            "name": report.name,
            "node": report.node or None,
            "fit": report.is_fit,
            "problems": [asdict(problem) for problem in report.problems],
            "facts": asdict(report.facts) if report.facts else None,
        }
        for report in reports
    ]
    return {"fit": all(report.is_fit for report in reports), "hosts": hosts}


def _lines(reports: Sequence["HostReport"]) -> Iterator[str]:
    """As a person reads it."""
    from orchestrator.host_checks import fact_words

    width = max(len(report.name) for report in reports)
    for report in reports:
        state = "fit    " if report.is_fit else "NOT FIT"
        yield f"{state}  {report.name:<{width}}  {fact_words(report.facts) if report.facts else _NO_FACTS}"
        for problem in report.problems:
            yield f"         {problem.check}: {problem.reason}"
            yield f"             {problem.remedy}"
