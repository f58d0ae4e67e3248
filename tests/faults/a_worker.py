"""`python -m workloads.training` under torchrun, where the last worker meets a fault as it is in a step.

FAULT=EIO PATIENCE=5 torchrun --nproc-per-node 2 -m tests.faults.a_worker EXPERIMENT --data DIR

FAULT is the name of an error of the disk, or SIGSTOP; PATIENCE, seconds in which a step that stands still is noticed.
"""

import errno
import os
import signal

from workloads.command_line import run_program
from workloads.training import run
from workloads.training.__main__ import app
from workloads.training.watch import Watch

_STEP = 3
"""In which it happens; by then the longest step is known."""


class _Faulty(Watch):
    """A worker's watch, which is told of every step."""

    def __init__(self, worker: str) -> None:
        super().__init__(worker, patience=float(os.environ["PATIENCE"]))

    def begins(self, step: int) -> None:
        super().begins(step)
        fault, is_last = os.environ["FAULT"], int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1
        if step == _STEP and is_last and fault == "SIGSTOP":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif step == _STEP and is_last:
            number = getattr(errno, fault)
            raise OSError(number, os.strerror(number), "data/train-00000.parquet")


if __name__ == "__main__":
    vars(run)["Watch"] = _Faulty
    run_program(app)
