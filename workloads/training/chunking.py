"""How a run's batches are embedded: in which chunks, whether all of a worker's at once, and what fewer would be."""

from collections.abc import Callable, Mapping
from typing import Any

from workloads.execution import Execution
from workloads.placement import Placement
from workloads.run_errors import OutOfMemoryError
from workloads.shares import Shares, fewest_chunks


class Chunking:
    """The same on all workers, as long as all are told the same."""

    def __init__(self, batch_size: int, placement: Placement, execution: Execution) -> None:
        self.batch_size, self.placement = batch_size, placement
        self.shares: Shares | None = None
        """Of every batch; None until it is cut."""
        self.at_once = True
        """Whether all activations of a share fit into memory."""
        self.at_most = execution.micro_batch
        """Specimens embedded at a time at most: as asked, or fewer since memory ran out; None: what fits."""
        self._most_workers = min(max(placement.num_workers, execution.most_workers), batch_size)
        """For which there is a chunk each."""

    def cut(self, room: Callable[[int], int]) -> None:
        """Cut the batches into chunks, unless the run has done so: as few as fit into memory, one at least a worker.

        Args:
            room: finds how many specimens of a share fit at a time; asked unless that is known.
        """
        workers, most = self.placement.num_workers, self._most_workers
        if self.shares is None:
            largest = min(self.batch_size, -(-most // workers) * -(-self.batch_size // most))
            fit = self.at_most or room(largest)
            self.shares = self._shares(fewest_chunks(self.batch_size, most, fit))
        elif self.shares.num_chunks > workers:
            fit = self.at_most or room(max(self.shares.sizes))
        else:
            fit = self.batch_size
        self.at_once = self._all_fit(self.shares, fit)

    def keep(self, progress: Mapping[str, Any], step: int, warn: Callable[[str], None]) -> None:
        """Keep the chunks that the run began with, if they can be kept: they decide which dropout a specimen gets.

        A checkpoint of an earlier version has the most specimens of a share that were embedded at a time instead.

        Args:
            progress: a checkpoint's.
            step: that follows it.
            warn: told why they cannot be kept.
        """
        batch, workers, most = self.batch_size, self.placement.num_workers, self.at_most
        num_chunks = progress.get("num_chunks") or fewest_chunks(batch, workers, progress.get("micro_batch") or batch)
        if num_chunks >= workers and (most is None or batch <= most * num_chunks):
            self.shares = self._shares(num_chunks)
            return
        why = f"too few for {workers} workers" if num_chunks < workers else f"too large to embed {most} at a time"
        warn(
            f"the batch was cut into {num_chunks} chunk(s), {why}: it is cut anew, and dropout is drawn otherwise from "
            f"step {step} on. A run that may grow to N workers keeps its chunks if it begins with --workers 1-N."
        )

    @property
    def at_a_time(self) -> int:
        """Specimens that some worker embeds at a time."""
        return max(self._cut.sizes) if self.at_once else self.chunk

    def fewer(self, step: int, where: str) -> int:
        """How many specimens to embed at a time where memory has run out: a chunk, or half of one.

        Raises:
            OutOfMemoryError: it ran out with one.
        """
        fewer = self.chunk if self.chunk < self.at_a_time else self.chunk // 2
        if not fewer:
            raise OutOfMemoryError(step, where)
        return fewer

    def embed_fewer(self, at_most: int) -> tuple[Shares, Shares]:
        """Go on with so many at a time; where a chunk is larger the batch is cut anew.

        Returns:
            How the batch was shared, and how it is now.
        """
        before, self.at_most = self._cut, at_most
        if self.chunk > at_most:
            self.shares = self._shares(fewest_chunks(self.batch_size, self._most_workers, at_most))
        self.at_once = self._all_fit(self._cut, at_most)
        return before, self._cut

    @property
    def _cut(self) -> Shares:
        assert self.shares is not None, "the batch is not cut yet"
        return self.shares

    @property
    def chunk(self) -> int:
        """Specimens of the largest chunk, which is the first."""
        return self._cut.chunk_sizes(0)[0]

    def _all_fit(self, shares: Shares, room: int) -> bool:
        return room >= max(shares.sizes) or shares.num_chunks <= self.placement.num_workers

    def _shares(self, num_chunks: int) -> Shares:
        return Shares(batch_size=self.batch_size, num_chunks=num_chunks, num_workers=self.placement.num_workers)
