"""The surrogate-species model (Badirli et al. 2021, section 4; CLIBD, B.2): every setting at once, exactly.

A query belongs to the seen or unseen species under which it is most likely; species have equal priors. Of equally
likely ones an unseen species goes before a seen one, then the one that comes first among the classes.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from workloads.arrays import Floats, Indices
from workloads.bzsl.features import Features, Partition
from workloads.bzsl.plan import Best, Plan
from workloads.bzsl.settings import Form, Setting
from workloads.bzsl.species import Species, fit
from workloads.bzsl.student import Queries
from workloads.bzsl.surrogates import surrogates

Tell = Callable[[int, int], None]
"""Takes how many of how many queries are done."""

_BYTES_AT_ONCE = 64 << 20
"""Of the queries' products with all rows of scatter. INSECT has 14,182 of them, so 512 queries at a time."""
_KEPT_BYTES = 1 << 30
"""Of such products that are kept from one search step to the next."""


class Model:
    """A model fitted to one partition, for any setting of the hyperparameters."""

    def __init__(self, features: Features, partition: Partition, num_components: int, form: Form) -> None:
        """Fit what no hyperparameter decides.

        Args:
            features: all of them.
            partition: of which `train` is fitted.
            num_components: principal components; all if the features have fewer.
            form: published or corrected.

        Raises:
            ZeroShotError: the mean covariance is singular.
        """
        self.form = form
        self.species = fit(features.images[partition.train], features.labels[partition.train], num_components)
        self._unseen = partition.unseen_classes
        self._unseen_side, self._seen_side = features.side[self._unseen], features.side[self.species.numbers]
        self._surrogates: dict[int, Indices] = {}

    @property
    def candidates(self) -> Indices:
        """Numbers of the species that can be chosen: the unseen ones, then the seen ones."""
        return np.concatenate([self._unseen, self.species.numbers])

    def surrogates(self, count: int) -> Indices:
        """Surrogates of each unseen species, as places among the seen ones, (unseen, count)."""
        if count not in self._surrogates:
            self._surrogates[count] = surrogates(self._unseen_side, self._seen_side, count)
        return self._surrogates[count]

    def batches(self, images: Floats, keep: bool = False) -> "Batches":
        """Queries made ready, a batch at a time.

        Args:
            images: features of the queries, (queries, size).
            keep: for further passes, if all of them take no more than a gigabyte.
        """
        return Batches(self.species, images, keep)

    def predict(self, queries: "Batches", settings: Sequence[Setting], tell: Tell | None = None) -> Indices:
        """The species of every query under every setting.

        Returns:
            Numbers among all classes, (settings, queries).

        Raises:
            ZeroShotError: more surrogates than seen species, or too few degrees of freedom.
        """
        plan = Plan(self.species, self.form, self.surrogates, settings)
        seen, unseen = Best(len(plan.seen_settings), len(queries)), Best(len(settings), len(queries))
        for number, evaluate in enumerate(plan.passes()):
            for start, batch in queries:
                end = start + len(batch.square)
                evaluate(batch, seen.taking(start, end), unseen.taking(start, end))
                if tell is not None:
                    tell(number * len(queries) + end, plan.num_passes * len(queries))
        place = len(self._unseen) + seen.place[plan.seen_of]
        first = unseen.value >= seen.value[plan.seen_of]
        found: Indices = self.candidates[np.where(first, unseen.place, place)]
        return found


class Batches:
    """Queries in batches; projected anew in every pass, or once where that is asked for and they fit."""

    def __init__(self, species: Species, images: Floats, keep: bool) -> None:
        self._species, self._images = species, images
        bytes_each = 8 * (len(species.rows) + len(species.counts))
        self._size = int(np.clip(_BYTES_AT_ONCE // bytes_each, 32, 512))
        self._keeps = keep and bytes_each * len(images) <= _KEPT_BYTES
        self._kept: list[tuple[int, Queries]] = []

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[tuple[int, Queries]]:
        if self._kept:
            yield from self._kept
            return
        made = []
        for start in range(0, len(self._images), self._size):
            batch = start, Queries.of(self._species, self._species.whitened(self._images[start : start + self._size]))
            if self._keeps:
                made.append(batch)
            yield batch
        self._kept = made
