"""What training says of itself: steps and epochs, to whoever listens."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

Event = dict[str, Any]
WandbMode = Literal["off", "offline", "online"]
"""Where Weights & Biases keeps what it is told."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """One logged step."""

    epoch: int
    step: int
    """Counted from the beginning of the run."""
    loss: float
    temperature: float
    learning_rate: float
    gradient_norm: float
    specimens_per_second: float
    """Of all workers together, since the last logged step."""

    def event(self) -> Event:
        """The report as a line of events.jsonl."""
        return {"event": "step", **asdict(self)}


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch came to."""

    epoch: int
    step: int
    """The epoch's last, counted from the beginning of the run."""
    loss: float
    """Mean over the epoch's steps."""
    learning_rate: float
    """Of the last step."""
    temperature: float
    gradient_norm: float
    """Of the last step."""
    seconds: float
    specimens_per_second: float
    """Of all workers together."""
    waited: float
    """Share of the time that was spent waiting for batches."""
    allocated_gb: float
    """torch.cuda.max_memory_allocated, GB; 0 without a GPU."""
    reserved_gb: float
    """torch.cuda.max_memory_reserved, GB; 0 without a GPU."""
    papers_memory_gb: float
    """memory_allocated + memory_reserved as the epoch is reported, GB: what the paper calls CUDA memory, though the
    second holds the first already."""
    score: float | None
    """By the spec's rule of selection, on validation; None where it is not looked at."""

    def event(self) -> Event:
        """The report as a line of events.jsonl."""
        return {"event": "epoch", **asdict(self)}


class Listener(Protocol):
    """Hears of every logged step and every epoch, on each worker alike."""

    def on_step(self, report: StepReport) -> None:
        """A step was logged."""

    def on_epoch(self, report: EpochReport) -> None:
        """An epoch ended; its checkpoint is being written."""
