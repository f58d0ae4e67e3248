"""Corrections of hubness against plain loops over every query and key."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from tests.evaluation.open_set_cases import specimens
from workloads.evaluation.embedded import unit
from workloads.evaluation.evaluate import Questions, find_answers
from workloads.evaluation.hubness import Correction, corrected_rows
from workloads.evaluation.retrieval import largest_products
from workloads.predictions import Place, Predictions
from workloads.storage import Folder

Rows = npt.NDArray[np.float32]


def by_hand(correction: Correction, queries: Rows, keys: Rows) -> list[list[float]]:
    """The similarity of every query and key by its definition."""
    cosines = [[sum(float(a) * float(b) for a, b in zip(q, k, strict=True)) for k in keys] for q in queries]
    similarities = []
    for row in cosines:
        of_query = []
        for number, cosine in enumerate(row):
            others = [other[number] for other in cosines]
            if correction == "csls":
                nearest = sorted(others, reverse=True)[:10]
                of_query.append(2 * cosine - sum(nearest) / len(nearest))
            else:
                of_query.append(math.log(math.exp(30 * cosine) / sum(math.exp(30 * one) for one in others)) / 30)
        similarities.append(of_query)
    return similarities


@pytest.mark.parametrize("correction", ["csls", "inverted_softmax"])
@pytest.mark.parametrize("num_queries", [3, 37])
def test_similarities_are_those_of_the_definition(correction: Correction, num_queries: int) -> None:
    random = np.random.default_rng(num_queries)
    queries, keys = (unit(random.normal(size=(count, 6)).astype(np.float32)) for count in (num_queries, 23))
    expected = np.array(by_hand(correction, queries, keys))
    found, similarities = largest_products(*corrected_rows(correction, queries, keys))
    nearest = np.argsort(-expected, axis=1, kind="stable")[:, :5]
    assert found.tolist() == nearest.tolist()
    # r(k) and the products are rounded to fp32.
    assert similarities == pytest.approx(np.take_along_axis(expected, nearest, axis=1), abs=1e-6)


def test_a_key_that_is_near_everybody_no_longer_answers_everybody() -> None:
    queries = unit(np.array([[1, 0.1], [1, -0.1], [1, 0.3], [1, -0.3]], dtype=np.float32))
    keys = unit(np.array([[1, 0], [1, 0.9], [1, -0.9]], dtype=np.float32))
    assert largest_products(queries, keys, 1)[0].ravel().tolist() == [0, 0, 0, 0]
    for correction in ("csls", "inverted_softmax"):
        answers = largest_products(*corrected_rows(correction, queries, keys), 1)[0].ravel()
        assert answers[2:].tolist() == [1, 2]


def test_corrected_answers_are_kept_beside_those_by_the_cosine(tmp_path: object) -> None:
    queries, keys = {"val": specimens("val", 1)}, specimens("key", 2)
    questions = Questions(keys=("all", "csls", "inverted_softmax"), pairs=[("image", "dna")])
    found, alone = find_answers(keys, queries, questions), find_answers(keys, queries, Questions(pairs=questions.pairs))
    folder = Folder(str(tmp_path))
    found.write(folder)
    again = Predictions.read(folder)
    place = Place("val", "image", "dna")
    assert again.answers(place).key_ids.tolist() == alone.answers(place).key_ids.tolist()
    similar = by_hand("csls", unit(queries["val"].rows["image"]), unit(keys.rows["dna"]))
    best = again.answers(Place("val", "image", "dna", keys="csls")).cosines[:, 0]
    assert best == pytest.approx([max(row) for row in similar], abs=1e-6)
