"""Logs a run to Weights & Biases, when asked. The log of record stays events.jsonl."""

from types import TracebackType
from typing import Literal

from workloads.record import RunFolder
from workloads.spec import ExperimentSpec, spec_to_dict
from workloads.training.report import EpochReport, StepReport


class WandbLog:
    """One W&B run for one of ours, with its spec as the configuration; a listener of the training loop.

    The key is taken from the environment or from `wandb login`, never from a command line.
    """

    def __init__(self, spec: ExperimentSpec, run: RunFolder, mode: Literal["offline", "online"]) -> None:
        import wandb

        folder = run.folder.path if run.folder.is_local else None
        self._run = wandb.init(
            project="clibd",
            name=run.id,
            id=run.id[-64:],
            config=spec_to_dict(spec),
            mode=mode,
            dir=folder,
            resume="allow",
        )

    def __enter__(self) -> "WandbLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run.finish(exit_code=0 if error is None else 1)

    def on_step(self, report: StepReport) -> None:
        """Log the step."""
        values = report.event()
        self._run.log(
            {f"train/{name}": value for name, value in values.items() if isinstance(value, float)}, report.step
        )

    def on_epoch(self, report: EpochReport) -> None:
        """Log the epoch, under the step that ended it."""
        values = {f"epoch/{name}": value for name, value in report.event().items() if isinstance(value, float)}
        self._run.log(values, report.step)
