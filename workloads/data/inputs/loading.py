"""Batches made ahead of their use: in pieces, by other processes, and put together by this one.

    processes   make pieces of batches, each two ahead of what is taken
    a thread    puts the pieces of the next batch together in one buffer, pinned where it goes to a GPU
    the caller  has the batch on its device

A process that made whole batches would hold several of them, and the first one would be long in coming.
"""

import errno
import os
import sys
from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, tee

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from workloads.data.inputs.batches import Asked, Batch, Specimens
from workloads.disk_errors import named
from workloads.errors import ClibdError
from workloads.sockets import sockets_fit
from workloads.stopping import serve_until_the_end

PIECE = 128
"""Specimens that a process makes at a time, at most: 19 MB with pictures of 224 pixels, in a quarter of a second."""
_BESIDE = 2**30
"""Bytes of the largest batch in use beside which another is put together."""


def loaded(
    specimens: Specimens, batches: Iterable[Asked], device: torch.device, processes: int = 0
) -> Generator[Batch]:
    """Batches on a device, in order, and the same to the bit whoever makes them.

    Beside one batch the memory of this machine holds at most, in all processes together and however large it is,

    - a piece that is copied and two for each process: 0.33 GB with eight of them and pictures of 224 pixels;
    - the next batch, if they have no more than 1 GB. The next of larger ones is begun when the last one has left its
      buffer, that is when a GPU has copied it, or else when it is used no more.

    A GPU's buffer is pinned, and torch rounds it up to a power of two. Pieces lie in memory without a name, which the
    size of /dev/shm does not limit. The processes start with the first batch and end with the generator, that is at
    once, but for a piece that is being made, where it is closed.

    Args:
        specimens: where processes are not forked, they open them again.
        batches: read a few pieces ahead.
        device: where batches go.
        processes: that make pieces beside this one; 0: this one makes each batch when it is asked for.

    Yields:
        A batch, which is emptied when the next one is asked for, as its room is needed.

    Raises:
        OSError: a process is gone, or the disk cannot be read.
    """
    if not processes:
        for asked in batches:
            yield _moved(specimens.made(asked), device)
        return
    on_gpu = device.type == "cuda"
    # Threads begin at the first GPU, which may be another worker's.
    stand = partial(torch.cuda.set_device, torch.cuda.current_device()) if on_gpu else None
    with ThreadPoolExecutor(1, "batches", stand) as thread:
        # Begun in the main thread, torch would raise in that one, wherever it is, when a process dies.
        pieces = thread.submit(_Pieces, specimens, batches, processes, pinned=on_gpu).result()
        try:
            yield from _ahead(pieces, thread, device)
        finally:
            pieces.give_up()
            thread.submit(pieces.end)


def _ahead(pieces: "_Pieces", thread: ThreadPoolExecutor, device: torch.device) -> Generator[Batch]:
    """Each batch, while the thread puts the next one together."""
    on_gpu = device.type == "cuda"
    coming = thread.submit(pieces.put_together)
    while made := coming.result():
        beside = on_gpu or sum(values.nbytes for values in made.values()) <= _BESIDE
        batch = _moved(made, device)
        if beside:
            copied = torch.cuda.current_stream().record_event() if on_gpu else None
            coming = thread.submit(pieces.put_together, copied)
        yield batch
        batch.clear()
        if not beside:
            coming = thread.submit(pieces.put_together)


def _moved(made: Batch, device: torch.device) -> Batch:
    """A batch on the device; the given one is emptied, so that a buffer in it is free once it is copied."""
    moved = {name: values.to(device, non_blocking=True) for name, values in made.items()}
    made.clear()
    return moved


class _Pieces:
    """Pieces that other processes make, which start at once, and the batches that they are of."""

    def __init__(self, specimens: Specimens, batches: Iterable[Asked], processes: int, pinned: bool) -> None:
        self._specimens, self._pinned, self._given_up = specimens, pinned, False
        sent, self._due = tee(asked.pieces(PIECE) for asked in batches)
        sockets_fit()
        loader = DataLoader(
            Made(specimens),
            batch_size=None,
            sampler=chain.from_iterable(sent),
            num_workers=processes,
            worker_init_fn=serve_until_the_end,
            generator=torch.Generator(),  # else it draws from the one of the towers
        )
        self._made = iter(loader)

    def give_up(self) -> None:
        """Give up a batch that is being put together."""
        self._given_up = True

    def end(self) -> None:
        """End the processes: an error that one of them has met would hold them for as long as itself is held."""
        self._made._shutdown_workers()  # type: ignore[attr-defined]  # there is no public one

    def put_together(self, copied: torch.cuda.Event | None = None) -> Batch:
        """The next batch; an empty one after the last, or where it is given up.

        Args:
            copied: by which the buffer of the last batch has been read.
        """
        if copied:
            copied.synchronize()
        parts = next(self._due, [])
        if len(parts) == 1 and not self._pinned:
            return self._piece()
        whole, uneven, start, piece = dict[str, Tensor](), defaultdict[str, list[Tensor]](list), 0, Batch()
        for part in parts:
            if self._given_up:
                return {}
            piece = self._piece()
            for name, values in piece.items():
                if self._specimens.padding(name) is not None:
                    uneven[name].append(values.clone())
                    continue
                if name not in whole:
                    whole[name] = _room(values, sum(map(len, parts)), self._pinned)
                whole[name].numpy()[start : start + len(part)] = values.numpy()  # in this thread alone
            start += len(part)
        for name, several in uneven.items():
            filled = _filled(several, self._specimens.padding(name))
            whole[name] = filled.pin_memory() if self._pinned else filled
        return {name: whole[name] for name in piece}

    def _piece(self) -> Batch:
        """The next one; that a process is gone shows in several ways, by what it was about."""
        try:
            made: Batch | ClibdError = next(self._made)
            if isinstance(made, ClibdError):
                raise made
            return made
        except (RuntimeError, ConnectionError, EOFError) as error:
            if isinstance(error, RuntimeError) and "exited unexpectedly" not in str(error):
                raise
            reason = "a process that prepares batches exited unexpectedly; most often it was killed for want of memory"
            raise named(ChildProcessError(errno.ECHILD, reason), "batches") from error


def _room(piece: Tensor, rows: int, pinned: bool) -> Tensor:
    """For so many rows, which lie as those of a piece do."""
    return torch.empty_strided((rows, *piece.shape[1:]), piece.stride(), dtype=piece.dtype, pin_memory=pinned)


def _filled(pieces: Sequence[Tensor], padding: int | None) -> Tensor:
    """Rows of unlike width as if they had been made together."""
    width = max(piece.shape[1] for piece in pieces)
    return torch.cat([F.pad(piece, (0, width - piece.shape[1]), value=padding) for piece in pieces])


class Made(Dataset[Batch | ClibdError]):
    """What a process makes of what it is asked; an error of ours as it is, as torch would make another one of it."""

    def __init__(self, specimens: Specimens) -> None:
        self._specimens = specimens

    def __getitem__(self, asked: Asked) -> Batch | ClibdError:
        try:
            return {name: _without_a_name(values) for name, values in self._specimens.made(asked).items()}
        except ClibdError as error:
            return error


def _without_a_name(values: Tensor) -> Tensor:
    """The same in memory that other processes can map and that is no file in /dev/shm: containers have 64 MB there."""
    if sys.platform != "linux":
        return values
    size = values.untyped_storage().nbytes()
    file = os.memfd_create("piece")
    try:
        os.ftruncate(file, size)
        storage = torch.UntypedStorage._new_shared_fd_cpu(file, size)  # type: ignore[attr-defined]  # torch's own way
    finally:
        os.close(file)
    shared = torch.empty(0, dtype=values.dtype).set_(storage, 0, values.shape, values.stride())
    return shared.copy_(values)
