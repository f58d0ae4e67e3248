"""Names as whole numbers, by which specimens are positives of each other, and what is odd about them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workloads.arrays import Indices
from workloads.data.prepared.dataset import PreparedDataset
from workloads.errors import SpecError
from workloads.spec import RANKS, ExperimentSpec, PositivesBy

_COLUMNS: dict[PositivesBy, tuple[str, ...]] = {
    "specimen": (),
    "bin": ("bin",),
    "species": ("species",),
    "ranks": tuple(reversed(RANKS)),
}
"""What positives share, the deepest rank first."""
_REMEDIES: dict[PositivesBy, tuple[str, str]] = {
    "bin": ("BIN", "species"),
    "species": ("species", "ranks"),
    "ranks": ("name at any rank", "specimen"),
}
"""What may be missing, and what to choose then."""


def positive_codes(spec: ExperimentSpec, dataset: PreparedDataset, splits: Sequence[str]) -> Indices | None:
    """The names of specimens at the ranks that positives share, as numbers that are the same on every worker.

    Args:
        spec: who is whose positive.
        dataset: prepared.
        splits: of the specimens.

    Returns:
        int64 (specimens, ranks), from the deepest rank up, -1 where a name is missing; None where each specimen is its
        own positive alone.

    Raises:
        SpecError: no specimen has any of these names.
    """
    if not (columns := _COLUMNS[spec.positives]):
        return None
    names = dataset.load(splits, columns)
    codes = np.stack([_codes(names[column]) for column in columns], axis=1)
    if not (codes >= 0).any():
        what, choose = _REMEDIES[spec.positives]
        raise SpecError(
            f"{dataset.facts.name}: no specimen that trains has a {what}, so none is another's positive. Prepare the "
            f"data again from a source that has them, or choose others: `clibd train --set positives={choose}`"
        )
    return codes


def _codes(names: pa.ChunkedArray) -> Indices:
    """A number for each distinct name, -1 for none."""
    places = pc.index_in(names, value_set=pc.unique(names.drop_null()), skip_nulls=True)
    return np.asarray(places.fill_null(-1).to_numpy(), dtype=np.int64)


def positive_words(
    spec: ExperimentSpec, codes: Indices | None, dataset: PreparedDataset, splits: Sequence[str], rows: Indices
) -> str | None:
    """How many names decide positives, who has none, and BINs that contradict species; for the user, in a sentence.

    Args:
        spec: who is whose positive.
        codes: from `positive_codes`, or a classifier's classes, of which nothing is said.
        dataset: prepared.
        splits: of the specimens.
        rows: of them those that train.
    """
    if codes is None or spec.positives == "specimen":
        return None
    own = codes[rows]
    name, names = _REMEDIES[spec.positives][0], "BINs" if spec.positives == "bin" else "species"
    known = np.unique(own[own[:, 0] >= 0, 0])
    said = f"positives by {spec.positives}: {len(known):,} {names} among {len(own):,} specimens"
    if without := int((own < 0).all(axis=1).sum()):
        said += f"; {without:,} without a {name} have themselves alone"
    if spec.positives != "bin":
        return said
    if mixed := _mixed_bins(dataset.load(splits, ["bin", "species"]).take(pa.array(rows))):
        said += f"; BINs with records of several species, which are positives of each other all the same: {mixed:,}"
    return said


def _mixed_bins(names: pa.Table) -> int:
    """How many BINs hold specimens of several species."""
    pairs = names.select(["bin", "species"]).drop_null().group_by(["bin", "species"]).aggregate([])
    of_bins = pairs.group_by("bin").aggregate([("species", "count")])["species_count"]
    return int(pc.sum(pc.greater(of_bins, 1)).as_py() or 0)
