"""Lists of experiments, one file per question of the paper, each with the tables that it fills."""

from sweeps import (
    amp,
    batch_size,
    binding,
    costs,
    dna_pooling,
    encoders,
    insect,
    lora,
    modalities,
    open_set,
    seeds,
    simclr_start,
    temperature,
)
from sweeps.point import Sweep

SWEEPS: dict[str, Sweep] = {
    module.SWEEP.name: module.SWEEP
    for module in (
        costs,
        modalities,
        open_set,
        simclr_start,
        binding,
        temperature,
        amp,
        lora,
        batch_size,
        encoders,
        insect,
        dna_pooling,
        seeds,
    )
}
"""Every sweep by its name on the command line. In this order all are run together: first what takes seconds, then what
most tables are made of, and last what no printed table is."""
