"""How a global batch is shared among workers: cut into chunks, of which each worker takes consecutive ones.

Chunks are consecutive slices of the batch, of equal size up to one specimen, and workers have equally many up to one;
the longer ones come first, as by `Tensor.tensor_split`. A batch is embedded chunk by chunk, each with random numbers of
its own; so the same chunks among other workers are the same step.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """Who embeds which specimens of every global batch."""

    batch_size: int
    num_chunks: int
    """At least one a worker, and no more than specimens."""
    num_workers: int = 1

    def chunks(self, rank: int) -> range:
        """The numbers of a worker's chunks."""
        return range(*(_start(self.num_chunks, self.num_workers, number) for number in (rank, rank + 1)))

    def chunk_sizes(self, rank: int) -> list[int]:
        """Specimens of each of them."""
        return [self._row(chunk + 1) - self._row(chunk) for chunk in self.chunks(rank)]

    def rows(self, rank: int) -> slice:
        """A worker's share of the batch."""
        chunks = self.chunks(rank)
        return slice(self._row(chunks.start), self._row(chunks.stop))

    @property
    def sizes(self) -> list[int]:
        """Specimens of every worker's share."""
        return [sum(self.chunk_sizes(rank)) for rank in range(self.num_workers)]

    def _row(self, chunk: int) -> int:
        return _start(self.batch_size, self.num_chunks, chunk)


def _start(total: int, num_parts: int, number: int) -> int:
    """Where a part begins, of which the first ones are longer by one."""
    return number * (total // num_parts) + min(number, total % num_parts)


def fewest_chunks(batch_size: int, most_workers: int, at_a_time: int) -> int:
    """The fewest chunks, the same number for each of the most workers, of no more than so many specimens."""
    share = -(-batch_size // most_workers)
    return min(batch_size, most_workers * -(-share // at_a_time))
