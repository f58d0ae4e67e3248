"""How a worker is to work. Of the numbers it decides rounding, and which specimen gets which dropout.

Imports neither torch nor Ray.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """How a worker fits its share of a batch into the machine; the batch itself is the spec's."""

    micro_batch: int | None = None
    """Specimens embedded at a time, at most; None: as many as fit."""
    most_workers: int = 1
    """Workers that the run may grow to, where they are more than it begins with: its batches have a chunk for each."""
    checkpoint_blocks: bool = False
    """Keep only what enters each block of a tower, and compute its inside again for the gradient."""
    compile: bool = False
    """Let torch compile the towers: minutes at the start, and faster on some GPUs."""
    checkpoint_seconds: float = 600.0
    """Longest time of training between two checkpoints; each epoch ends with one too."""
