"""Logs a run to Weights & Biases, when asked. The log of record stays events.jsonl."""

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

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._run.finish(exit_code=0 if error is None else 1)

    def on_step(self, report: StepReport | EpochReport) -> None:
        """Log the step, or the epoch, this one under the step that ended it."""
        event = report.event()
        kind = {"step": "train", "epoch": "epoch"}[event["event"]]
        values = {f"{kind}/{name}": value for name, value in event.items() if isinstance(value, float)}
        self._run.log(values, report.step)

    on_epoch = on_step
