"""Lists of experiments, one file per question of the paper."""

from sweeps import amp, batch_size, encoders, lora, temperature
from sweeps.point import Sweep

SWEEPS: dict[str, Sweep] = {
    module.SWEEP.name: module.SWEEP for module in (batch_size, amp, lora, temperature, encoders)
}
"""Every sweep by its name on the command line."""
