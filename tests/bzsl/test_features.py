"""Features that do not fit together are refused with what is wrong and what to do."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from workloads.bzsl.features import Features
from workloads.errors import ZeroShotError

Problem = Callable[..., Features]


def with_nan(rows: np.ndarray, row: int) -> np.ndarray:
    rows = rows.copy()
    rows[row, -1] = np.nan
    return rows


BAD: list[tuple[Callable[[Features], dict[str, Any]], str]] = [
    (lambda f: {"images": f.images[1:]}, "labels, but image features of shape"),
    (lambda f: {"images": f.images[:, 0]}, "labels, but image features of shape"),
    (lambda f: {"ids": f.ids[1:]}, "specimens"),
    (lambda f: {"side": f.side[1:]}, "12 species, but side information of shape"),
    (lambda f: {"side": f.side[:, :0]}, "12 species, but side information of shape"),
    (lambda f: {"classes": (f.classes[0], *f.classes[:-1])}, "stands among the classes twice"),
    (lambda f: {"labels": np.where(np.arange(len(f.labels)) == 4, 12, f.labels)}, "label 12 is none of 12 species"),
    (lambda f: {"labels": np.where(np.arange(len(f.labels)) == 4, -1, f.labels)}, "label -1 is none of 12 species"),
    (lambda f: {"images": with_nan(f.images, 7)}, "1 row.* of the image features are not finite, .* row 7"),
    (lambda f: {"side": with_nan(f.side, 2)}, "1 row.* of the side information are not finite, .* row 2"),
    (lambda f: {"lineages": {"genus": f.ids[:3]}}, "names of rank 'genus'"),
    (lambda f: {"lineages": {"phylum": f.ids[:12]}}, "names of rank 'phylum'"),
]


@pytest.mark.parametrize(("change", "reason"), BAD)
def test_arrays_that_do_not_fit_are_refused(
    problem: Problem, change: Callable[[Features], dict[str, Any]], reason: str
) -> None:
    features = problem()
    with pytest.raises(ZeroShotError, match=reason):
        replace(features, **change(features))


BAD_PARTITIONS: list[tuple[Callable[[Features], dict[str, Any]], str]] = [
    (lambda f: {"train": f.test.train[:0]}, "test: there is no specimen in 'train'"),
    (lambda f: {"seen": f.test.seen[:0]}, "test: there is no specimen in 'seen'"),
    (lambda f: {"unseen": f.test.unseen[:0]}, "test: there is no specimen in 'unseen'"),
    (lambda f: {"seen": np.array([len(f.labels)])}, "'seen' names specimens that are not there"),
    (lambda f: {"seen": np.array([-1])}, "'seen' names specimens that are not there"),
    (lambda f: {"seen": f.test.train[:2]}, "a specimen is in it twice"),
    (lambda f: {"train": np.append(f.test.train, f.tuning.unseen[0])}, "species9 is to be unseen, but is among the tr"),
    (lambda f: {"unseen_classes": np.array([9, 12])}, "an unseen species is none of 12"),
    (lambda f: {"unseen_classes": np.array([9, 10])}, "species11 is asked for as unseen, but cannot be chosen"),
]


@pytest.mark.parametrize(("change", "reason"), BAD_PARTITIONS)
def test_partitions_that_cannot_be_are_refused(
    problem: Problem, change: Callable[[Features], dict[str, Any]], reason: str
) -> None:
    features = problem()
    with pytest.raises(ZeroShotError, match=reason):
        replace(features, test=replace(features.test, **change(features)))


def test_names_are_known_for_species_and_for_the_ranks_that_are_given(problem: Problem) -> None:
    features = problem()
    assert features.names("species").tolist() == list(features.classes)
    assert features.names("genus").tolist()[:5] == ["Genus0", "Genus1", "Genus2", "Genus3", "Genus0"]
    assert features.names("order").tolist() == [None] * 12
