"""Features that cannot be learned from are refused with what is wrong and what to do."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from workloads.bzsl.task import ZeroShotTask
from workloads.errors import ZeroShotError

Problem = Callable[..., ZeroShotTask]


def with_nan(rows: np.ndarray, row: int) -> np.ndarray:
    rows = rows.copy()
    rows[row, -1] = np.nan
    return rows


BAD: list[tuple[Callable[[ZeroShotTask], dict[str, Any]], str]] = [
    (lambda f: {"side": f.side[:, :0]}, "12 species, but side information"),
    (lambda f: {"images": with_nan(f.images, 7)}, "1 row.* image features .* row 7"),
    (lambda f: {"side": with_nan(f.side, 2)}, "1 row.* side information .* row 2"),
]


@pytest.mark.parametrize(("change", "reason"), BAD)
def test_arrays_that_cannot_be_learned_from_are_refused(
    problem: Problem, change: Callable[[ZeroShotTask], dict[str, Any]], reason: str
) -> None:
    features = problem()
    with pytest.raises(ZeroShotError, match=reason):
        replace(features, **change(features))


BAD_PARTITIONS: list[tuple[Callable[[ZeroShotTask], dict[str, Any]], str]] = [
    (lambda f: {"train": f.test.train[:0]}, "test: .* 'train'"),
    (lambda f: {"seen": f.test.seen[:0]}, "test: .* 'seen'"),
    (lambda f: {"unseen": f.test.unseen[:0]}, "test: .* 'unseen'"),
    (lambda f: {"train": np.append(f.test.train, f.tuning.unseen[0])}, "species9 "),
]


@pytest.mark.parametrize(("change", "reason"), BAD_PARTITIONS)
def test_partitions_that_cannot_be_are_refused(
    problem: Problem, change: Callable[[ZeroShotTask], dict[str, Any]], reason: str
) -> None:
    features = problem()
    with pytest.raises(ZeroShotError, match=reason):
        replace(features, test=replace(features.test, **change(features)))
