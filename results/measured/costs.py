"""Costs of towers as a sheet, beside Appendix D.4's as printed, with what these can mean (CLIBD, ICLR 2025)."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from results.sheet import Cell, Sheet, Unit

QUANTITIES: Mapping[str, tuple[str, Unit]] = {
    "tokens": ("tokens a sample", "count"),
    "parameters": ("parameters", "count"),
    "forward_flops": ("operations (FLOP) forward, a sample", "count"),
    "step_flops": ("operations (FLOP) forward and backward, a sample", "count"),
    "macs_per_500": ("multiply-adds (MAC) forward, 500 samples", "count"),
    "seconds_per_500": ("seconds to embed 500 samples", "seconds"),
    "seconds_per_batch": ("seconds to embed a batch", "seconds"),
    "bytes_per_sample": ("bytes a sample, 8 bits a letter", "bytes"),
    "bytes_per_sample_2bit": ("bytes a sample, 2 bits a base", "bytes"),
    "bytes_of_labelled": ("bytes of 84,450 samples, 8 bits a letter", "bytes"),
    "bytes_of_labelled_2bit": ("bytes of 84,450 samples, 2 bits a base", "bytes"),
}
"""What a quantity is called, and its unit."""
_MAC = "One multiply-add (MAC) is two operations (FLOP). Ours are counted on shapes; times are medians, waited for."


@cache
def published_costs() -> Mapping[tuple[str, str], tuple[float, str | None]]:
    """What D.4 prints, by modality and quantity, with why it cannot be right or what it must mean."""
    text = resources.files("results.measured").joinpath("published_costs.json").read_text(encoding="utf-8")
    return {(cost["modality"], cost["quantity"]): (cost["value"], cost.get("note")) for cost in json.loads(text)}


def costs_sheet(costs: Sequence[Mapping[str, Any]]) -> Sheet:
    """Costs in the order given.

    Args:
        costs: modality, quantity, value and how, as `costs.json` has them.
    """
    cells = tuple(_cell(**cost) for cost in costs)
    return Sheet(title="Costs of the towers (CLIBD, Appendix D.4)", cells=cells, notes=(_MAC,))


def _cell(modality: str, quantity: str, value: float | None, how: str) -> Cell:
    name, unit = QUANTITIES[quantity]
    printed, note = published_costs().get((modality, quantity), (None, None))
    return Cell(
        table="D.4",
        row={"modality": modality, "quantity": f"{name}{f' ({how})' if how and value is not None else ''}"},
        column="Cost",
        unit=unit,
        published=printed,
        published_note=note,
        ours=value,
        reason=how if value is None else None,
    )
