"""The processes that torchrun started: they meet, and they end and stop together."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from workloads.command_line import tell_end
from workloads.memory import let_segments_grow
from workloads.placement import Placement, join_group, loaders_beside
from workloads.stopping import Stop, leave, stop_by_signals

_PATIENCE = timedelta(minutes=30)
"""For the slowest process, which may be copying the data set to its disk."""
_ENDED, _ASKED = "ended", "asked to stop"
"""Keys under which the worker that ends before the others says which it is, and the one that heard a signal why."""


@contextmanager
def process_group(cpu_only: bool) -> Iterator[Placement]:
    """This process's place; joins the others where torchrun started several."""
    gpu = torch.cuda.is_available() and not cpu_only
    device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if gpu else "cpu")
    if gpu:
        let_segments_grow()
        torch.cuda.set_device(device)
    loaders = loaders_beside(device, torch.cuda.device_count() or 1)
    if "RANK" not in os.environ:
        yield Placement(device, loader_processes=loaders)
        return
    join_group(device, _PATIENCE)
    try:
        yield Placement.here(device, loaders)
    except BaseException as end:  # the others may stand in a collective that this one will not come to
        if isinstance(end, RuntimeError) and _another_ended():  # whose end has been said, and broke a collective here
            leave(1)
        with suppress(dist.DistError):  # whoever kept the store has ended
            _store().set(_ENDED, str(dist.get_rank()))
        code = tell_end(end)
        sys.stdout.flush()
        sys.stderr.flush()
        leave(code if isinstance(code, int) else 1)
    dist.destroy_process_group()


def _store() -> Any:
    """What the workers of the group share beside their tensors."""
    return dist.distributed_c10d._get_default_store()


def _another_ended() -> bool:
    """Whether another worker of the group has ended, after the checkpoint if there was one to write."""
    if not dist.is_initialized():
        return False
    try:
        return bool(_store().check([_ENDED])) and int(_store().get(_ENDED)) != dist.get_rank()
    except dist.DistError:  # whoever kept the store has ended
        return True


@contextmanager
def stopping_together(placement: Placement) -> Iterator[Stop]:
    """A signal to any worker asks all of them: the first one stops for it."""
    if placement.num_workers == 1:
        with stop_by_signals() as stop:
            yield stop
        return
    store = _store()

    def tell(reason: str) -> None:
        with suppress(dist.DistError):  # whoever kept the store has ended, and so does this worker
            store.set(_ASKED, reason)

    with stop_by_signals(_another_ended, hears=tell):
        yield lambda: str(store.get(_ASKED), "ascii") if store.check([_ASKED]) else None
