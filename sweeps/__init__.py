"""Lists of experiments, one file per question of the paper, each with the tables that it fills."""

from importlib import import_module

from sweeps.point import Sweep

_MODULES = (
    "costs",
    "modalities",
    "open_set",
    "simclr_start",
    "binding",
    "temperature",
    "amp",
    "lora",
    "batch_size",
    "encoders",
    "insect",
    "dna_pooling",
    "improvements",
    "seeds",
)
SWEEPS: dict[str, Sweep] = {
    sweep.name: sweep for sweep in (import_module(f"sweeps.{module}").SWEEP for module in _MODULES)
}
"""Every sweep by its name on the command line. In this order all are run together: first what takes seconds, then what
most tables are made of, and last what no printed table is."""
