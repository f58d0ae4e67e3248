"""The features that queries and keys are made of, against loops, and embeddings that are refused."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from workloads.errors import EmbeddingsError
from workloads.evaluation.embedded import (
    KEY_FEATURES,
    PAIRS,
    QUERY_FEATURES,
    SPECIES_TEXT_PAIRS,
    Embedded,
    has_feature,
    key_features,
    key_specimens,
    query_features,
    unit,
)
from workloads.spec import RANKS

Rows = npt.NDArray[np.float32]

SPECIES = ("b", None, "a", "b", "a", "c", None)
SPLITS = ("seen_keys", "single_species", "test_unseen", "seen_keys", "unseen_keys", "val_seen", "val_unseen_keys")


def objects(values: Sequence[str | None]) -> npt.NDArray[np.object_]:
    return np.array([*values, None], dtype=object)[:-1]  # None keeps numpy from making strings of its own


def embedded(
    rows: Mapping[str, Rows] | None = None, species: Sequence[str | None] = SPECIES, **columns: object
) -> Embedded:
    random = np.random.default_rng(0)
    if rows is None:
        rows = {name: random.standard_normal((7, 5)).astype(np.float32) for name in ("image", "dna", "text")}
    own: dict[str, object] = {
        "ids": objects([f"specimen {row}" for row in range(7)]),
        "split": objects(SPLITS),
        "labels": {rank: objects(species) for rank in RANKS},
        "rows": rows,
    }
    return Embedded(**{**own, **columns})  # type: ignore[arg-type]  # some are wrong on purpose


def of_length_one(row: Sequence[float]) -> list[float]:
    length = sum(value * value for value in row) ** 0.5
    return [value / length for value in row]


def by_definition(whole: Embedded, name: str) -> list[list[float]]:
    """A query feature of every specimen, one number at a time."""
    found = []
    for row in range(len(whole)):
        image, dna = whole.rows["image"][row].tolist(), whole.rows["dna"][row].tolist()
        if name == "averaged":
            found.append(of_length_one([(a + b) / 2 for a, b in zip(image, dna, strict=True)]))
        elif name == "concatenated":
            found.append(of_length_one([*image, *dna]))
        else:
            found.append(of_length_one(whole.rows[name][row].tolist()))
    return found


def close(rows: Rows, expected: Sequence[Sequence[float]]) -> None:
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected, rtol=0, atol=3e-7)  # two roundings to fp32 of numbers up to 1


@pytest.mark.parametrize("name", QUERY_FEATURES)
def test_features_of_queries_are_their_definition(name: str) -> None:
    close(query_features(embedded(), name), by_definition(embedded(), name))


@pytest.mark.parametrize("name", QUERY_FEATURES)
def test_each_specimen_is_a_key_with_the_features_of_a_query(name: str) -> None:
    rows, specimen = key_features(embedded(), name)
    assert np.array_equal(rows, query_features(embedded(), name))
    assert specimen.tolist() == list(range(7))


def test_all_keys_are_image_dna_and_text_one_below_the_other() -> None:
    rows, specimen = key_features(embedded(), "all")
    close(rows, [row for name in ("image", "dna", "text") for row in by_definition(embedded(), name)])
    assert specimen.tolist() == key_specimens(embedded(), "all").tolist() == [*range(7)] * 3


def test_a_species_has_the_text_of_its_first_specimen() -> None:
    rows, specimen = key_features(embedded(), "species_text")
    assert specimen.tolist() == key_specimens(embedded(), "species_text").tolist() == [0, 2, 5]
    close(rows, [by_definition(embedded(), "text")[row] for row in (0, 2, 5)])


def test_without_a_species_there_is_no_text_of_one() -> None:
    nameless = embedded(species=[None] * 7)
    assert not has_feature(nameless, "species_text")
    with pytest.raises(EmbeddingsError, match="no 'species_text'"):
        key_features(nameless, "species_text")


@pytest.mark.parametrize(
    ("modalities", "queries", "keys"),
    [
        (("image", "dna"), {"image", "dna", "averaged", "concatenated"}, {"image", "dna", "averaged", "concatenated"}),
        (("image", "text"), {"image", "text"}, {"image", "text", "species_text"}),
        (("dna",), {"dna"}, {"dna"}),
        ((), set(), set()),
    ],
)
def test_a_feature_needs_all_it_is_made_of(modalities: tuple[str, ...], queries: set[str], keys: set[str]) -> None:
    whole = embedded({name: np.ones((7, 3), np.float32) for name in modalities})
    assert {name for name in QUERY_FEATURES if has_feature(whole, name)} == queries
    assert {name for name in KEY_FEATURES if has_feature(whole, name)} == keys
    for name in set(KEY_FEATURES) - keys:
        with pytest.raises(EmbeddingsError, match=f"no '{name}'.*{', '.join(modalities) or 'none'}"):
            key_features(whole, name)


def test_the_authors_21_pairs() -> None:
    expected = [(query, key) for query in ("image", "dna", "text", "averaged") for key in ("image", "dna", "text")]
    expected += [(query, key) for query in ("image", "dna", "text", "averaged") for key in ("averaged", "all")]
    assert set(PAIRS) == {*expected, ("concatenated", "concatenated")}
    assert len(PAIRS) == 21
    assert {key for _, key in SPECIES_TEXT_PAIRS} == {"species_text"}


def test_the_split_says_whether_a_species_is_seen() -> None:
    assert embedded().subset.tolist() == ["seen", "seen", "unseen", "seen", "unseen", "seen", "unseen"]


@pytest.mark.parametrize("chosen", [[5, 0], [True, False, False, False, False, True, False]])
def test_some_specimens_keep_what_is_theirs(chosen: list[int]) -> None:
    rows = np.arange(7)[np.array(chosen)]
    some, whole = embedded().take(np.array(chosen)), embedded()
    assert some.ids.tolist() == [f"specimen {row}" for row in rows]
    assert some.split.tolist() == [SPLITS[row] for row in rows]
    assert all(some.labels[rank].tolist() == [SPECIES[row] for row in rows] for rank in RANKS)
    assert all(np.array_equal(some.rows[name], whole.rows[name][rows]) for name in whole.rows)


def test_unit_length_and_zero() -> None:
    rows = np.array([[3, 4], [0, 0], [-0.5, 0]], dtype=np.float32)
    assert unit(rows).tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 0], [-1, 0]]
    assert unit(np.empty((0, 4), np.float32)).shape == (0, 4)


def nan_in_row_three() -> Rows:
    rows = np.ones((7, 5), np.float32)
    rows[3, 2] = np.nan
    rows[6, 0] = np.inf
    return rows


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "not a number": ({"rows": {"dna": nan_in_row_three()}}, "'dna' is not finite for 2 specimen.*specimen 3"),
    "sizes": (
        {"rows": {"dna": np.ones((7, 5), np.float32), "image": np.ones((7, 4), np.float32)}},
        "'dna': 5, 'image': 4.*share no space",
    ),
    "rows out of step": ({"rows": {"dna": np.ones((6, 5), np.float32)}}, "7 specimens have 6 rows of 'dna'"),
    "labels out of step": ({"labels": {rank: objects(["a"] * 8) for rank in RANKS}}, "8 rows of 'order'"),
    "splits out of step": ({"split": objects(SPLITS[:3])}, "7 specimens have 3 rows of 'split'"),
    "a rank is missing": ({"labels": {"species": objects(SPECIES)}}, "no labels of family, genus, order"),
    "nobody": (
        {"ids": objects([]), "split": objects([]), "labels": {rank: objects([]) for rank in RANKS}, "rows": {}},
        "not one specimen",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_embeddings_that_cannot_be_any_are_refused(case: str) -> None:
    columns, sentence = REFUSED[case]
    with pytest.raises(EmbeddingsError, match=sentence):
        embedded(**columns)  # type: ignore[arg-type]  # by the names of its columns
