"""Costs of towers beside Appendix D.4's, as Markdown, CSV or JSON."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from results.published_costs import published_cost
from results.render import grid

Format = Literal["md", "csv", "json"]

QUANTITIES: Mapping[str, tuple[str, float, str]] = {
    "tokens": ("tokens a sample", 1.0, ""),
    "parameters": ("parameters", 1e6, "M"),
    "forward_flops": ("operations forward, a sample", 1e9, "GFLOP"),
    "step_flops": ("operations forward and backward, a sample", 1e9, "GFLOP"),
    "macs_per_500": ("multiply-adds forward, 500 samples", 1e12, "TMAC"),
    "seconds_per_500": ("time to embed 500 samples", 1e-3, "ms"),
    "seconds_per_batch": ("time to embed a batch", 1e-3, "ms"),
    "bytes_per_sample": ("storage a sample, 8 bits a letter", 1.0, "B"),
    "bytes_per_sample_2bit": ("storage a sample, 2 bits a base", 1.0, "B"),
    "bytes_of_labelled": ("storage of 84,450 samples, 8 bits a letter", 2.0**20, "MiB"),
    "bytes_of_labelled_2bit": ("storage of 84,450 samples, 2 bits a base", 2.0**20, "MiB"),
}
"""What a quantity is called, and the unit it is printed in; everywhere else it is plain counts, bytes and seconds."""
_NO_VALUE = "–"


@dataclass(frozen=True, slots=True)
class OwnCost:
    """One of our numbers, in plain counts, operations, bytes or seconds."""

    modality: str
    quantity: str
    """In `QUANTITIES`."""
    value: float | None
    """None: not measured, and `how` says why."""
    how: str = ""
    """How it came about, where that is no counting: device, precision and batch of a time."""


def render_costs(costs: Sequence[OwnCost], form: Format) -> str:
    """The costs in the order given, published beside ours, as text that ends without a line break."""
    if form == "md":
        return _markdown(costs)
    records = [_record(cost) for cost in costs]
    if form == "json":
        return json.dumps(records, indent=1, ensure_ascii=False)
    sink = io.StringIO()
    writer = csv.DictWriter(sink, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return sink.getvalue().rstrip("\n")


def _record(cost: OwnCost) -> dict[str, str | float | None]:
    published = published_cost(cost.modality, cost.quantity)
    note = published.note if published else ""
    return {**asdict(cost), "published": published.value if published else None, "published_note": note}


def _markdown(costs: Sequence[OwnCost]) -> str:
    notes: list[str] = []
    body = []
    for cost in costs:
        name, scale, unit = QUANTITIES[cost.quantity]
        published = published_cost(cost.modality, cost.quantity)
        printed = _NO_VALUE
        if published:
            printed = _number(published.value / scale)
            if published.note:
                notes += [published.note] if published.note not in notes else []
                printed += f" [{notes.index(published.note) + 1}]"
        ours = _NO_VALUE if cost.value is None else _number(cost.value / scale)
        body.append([cost.modality, f"{name}{f' ({cost.how})' if cost.how else ''}", unit, printed, ours])
    parts = [
        "# Costs of the towers (CLIBD, Appendix D.4)",
        grid(["Modality", "Quantity", "Unit", "Published", "Ours"], body),
        "One multiply-add (MAC) is two operations (FLOP). Ours are counted on shapes; times are medians, waited for.",
        *(f"[{number}] {note}." for number, note in enumerate(notes, 1)),
    ]
    return "\n\n".join(parts)


def _number(value: float) -> str:
    """Whole numbers whole, others with four significant digits."""
    return f"{value:,.0f}" if value == round(value) or value >= 10_000 else f"{value:.4g}"
