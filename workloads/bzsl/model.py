"""The surrogate-species model (Badirli et al. 2021, section 4; CLIBD, B.2): every setting at once, exactly.

A query belongs to the seen or unseen species under which it is most likely; species have equal priors. Of equally
likely ones an unseen species goes before a seen one, then the one that comes first among the classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from scipy.spatial.distance import cdist

from workloads.arrays import Floats, Indices
from workloads.bzsl.likelihoods import Candidates, QueryBatch, matrix_bytes
from workloads.bzsl.settings import ScaleForm, Setting
from workloads.bzsl.species import fit_species
from workloads.bzsl.task import Partition, ZeroShotTask
from workloads.command_line import Tell
from workloads.errors import ZeroShotError

_BYTES_AT_ONCE = 64 << 20
"""Room for the queries' products with all rows of scatter. INSECT has 14,182 of them, so 512 queries at a time."""
_KEPT_BYTES = 1 << 30
"""Room for such products that are kept from one search step to the next."""
_MATRIX_BYTES = 512 << 20
"""Room for the unseen species' matrices in one pass. INSECT's take 3 MB with up to three surrogates."""


class SurrogateModel:
    """A model fitted to one partition and asked for its queries, under any setting of the hyperparameters."""

    def __init__(
        self, task: ZeroShotTask, partition: Partition, num_components: int, form: ScaleForm, keep: bool = False
    ) -> None:
        """Fit what no hyperparameter decides.

        Args:
            task: features of all specimens.
            partition: of which `train` is fitted.
            num_components: principal components; all if the features have fewer. 0: the features as they are.
            form: published or corrected.
            keep: the queries' products with what was fitted, if all of them take no more than a gigabyte.

        Raises:
            ZeroShotError: the mean covariance is singular.
        """
        self.species = fit_species(task.images[partition.train], task.labels[partition.train], num_components)
        self.queries: Floats = task.images[np.concatenate([partition.seen, partition.unseen])]
        """Image features of the seen queries followed by the unseen ones."""
        self.candidates = np.concatenate([partition.unseen_classes, self.species.numbers])
        """Numbers of the species that can be chosen: the unseen ones, then the seen ones."""
        self._form: ScaleForm = form
        self._side = task.side[self.candidates]
        self._num_unseen = len(partition.unseen_classes)
        self._surrogates: dict[int, Indices] = {}
        self._bytes_each = 8 * (len(self.species.rows) + len(self.species.directions))
        few = self._bytes_each * len(self.queries) <= _KEPT_BYTES
        self._kept = list(self.batches()) if keep and few else []

    def surrogates(self, count: int) -> Indices:
        """Surrogates of each unseen species, as places among the seen ones, (unseen, count)."""
        if count not in self._surrogates:
            unseen, seen = np.split(self._side, [self._num_unseen])
            self._surrogates[count] = nearest_surrogates(unseen, seen, count)
        return self._surrogates[count]

    def batches(self) -> Iterator[tuple[slice, QueryBatch]]:
        """Queries made ready, a batch at a time, and which they are."""
        size = int(np.clip(_BYTES_AT_ONCE // self._bytes_each, 32, 512))
        for start in range(0, len(self.queries), size):
            which = slice(start, min(start + size, len(self.queries)))
            yield which, QueryBatch.of(self.species, self.queries[which])

    def passes(self, settings: Sequence[Setting]) -> Iterator[tuple[int, list[Candidates]]]:
        """All candidates under all settings, in as many passes of the queries as their size demands.

        What settings share is done once: the seen species do not depend on the number of surrogates. The unseen ones
        need a square matrix each, whose side is the number of their surrogates' images; where all of these would take
        too much room, each pass has some of them.

        Yields:
            How many passes there are, and what is to be done with every batch of queries in this one; the candidates
            of each setting come in their order.

        Raises:
            ZeroShotError: more surrogates than seen species, or too few degrees of freedom.
        """
        seen: dict[Setting, list[int]] = {}
        unseen: dict[int, dict[Setting, list[int]]] = {}
        for number, setting in enumerate(settings):
            seen.setdefault(replace(setting, num_surrogates=1), []).append(number)
            unseen.setdefault(setting.num_surrogates, {}).setdefault(setting, []).append(number)
        sizes = np.array([matrix_bytes(self.species, self.surrogates(count)) for count in unseen])
        shares = ((sizes.cumsum() - sizes.ravel()) // _MATRIX_BYTES).reshape(sizes.shape)
        themselves = np.arange(len(self.species.numbers))[:, None]
        *others, last = np.unique(shares).tolist()
        for number in (*others, last):
            candidates = []
            for (count, own), share in zip(unseen.items(), shares, strict=True):
                if len(places := np.flatnonzero(share == number)):
                    candidates.append(Candidates(self.species, self.surrogates(count)[places], own, int(places[0])))
            if number == last:
                candidates.append(Candidates(self.species, themselves, seen, self._num_unseen, self._form))
            yield len(others) + 1, candidates

    def predict(self, settings: Sequence[Setting], tell: Tell | None = None) -> Indices:
        """The species of every query under every setting.

        Args:
            settings: any number.
            tell: takes how many of how many queries are done.

        Returns:
            Numbers among all classes, (settings, queries).

        Raises:
            ZeroShotError: more surrogates than seen species, or too few degrees of freedom.
        """
        shape = len(settings), len(self.queries)
        best, place = np.full(shape, -np.inf), np.zeros(shape, dtype=np.int64)
        for done, (num_passes, candidates) in enumerate(self.passes(settings)):
            for which, batch in self._kept or self.batches():
                for numbers, first, values in chain.from_iterable(some.log_likelihoods(batch) for some in candidates):
                    row = values.argmax(axis=0)
                    value, row = values[row, np.arange(len(row))], row + first
                    top = best[numbers, which]
                    better = value > top  # of equals the first stays
                    best[numbers, which] = np.where(better, value, top)
                    place[numbers, which] = np.where(better, row, place[numbers, which])
                if tell is not None:
                    tell(done * shape[1] + which.stop, num_passes * shape[1])
        predicted: Indices = self.candidates[place]
        return predicted


def nearest_surrogates(unseen: Floats, seen: Floats, count: int) -> Indices:
    """The seen species nearest to each unseen one, no two unseen species having the same set of them.

    Two unseen species with the same surrogates could not be told apart. So the later of them, in the order of rows,
    gives its farthest surrogate up for the next nearest species that makes its set a new one (the published rule).
    Where none does, which needs more unseen species than sets, it keeps its nearest.

    Args:
        unseen: side information, (unseen classes, side size).
        seen: the same of the seen classes, (seen classes, side size).
        count: surrogates of each.

    Returns:
        Numbers of seen classes, nearest first and the lowest first among equals, (unseen classes, count).

    Raises:
        ZeroShotError: there are fewer seen species than surrogates are wanted.
    """
    if len(seen) < count:
        reason = f"{count} surrogates are wanted of {len(seen)} seen species"
        raise ZeroShotError(reason, "Ask for fewer, or train on more species.")
    nearest = np.argsort(cdist(unseen.astype(np.float64), seen.astype(np.float64)), axis=1, kind="stable")
    taken: set[frozenset[int]] = set()
    chosen = nearest[:, :count].copy()
    for row, order in enumerate(nearest):
        first = order[: count - 1].tolist()
        for last in order[count - 1 :].tolist():
            members = frozenset((*first, last))
            if members not in taken:
                taken.add(members)
                chosen[row, -1] = last
                break
    return chosen.astype(np.int64)
