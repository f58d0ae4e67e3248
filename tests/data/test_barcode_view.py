"""Views of barcodes: a window of at least half of the 5-mers, of which 15 % are hidden, and nothing else changed."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.data.inputs.barcode_inputs import view_of_base_codes, view_of_text, view_of_token_ids
from workloads.data.specimens.barcode import (
    NO_BASE,
    PAD_ID,
    START_ID,
    UNKNOWN_ID,
    authors_token_ids,
    base_codes,
    token_ids,
)

LETTERS = np.array(list("ACGT"))


def barcode(length: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(LETTERS, length))


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def shown_kmers(num_kmers: int, random: np.random.Generator) -> np.ndarray:
    """Which 5-mers of a barcode a view shows, (num_kmers,)."""
    codes = np.full(660, NO_BASE, dtype=np.uint8)
    codes[: 5 * num_kmers] = 0
    return np.asarray(view_of_base_codes(codes, random)[: 5 * num_kmers : 5] == 0)


@settings(deadline=None)
@given(num_kmers=st.integers(0, 132), seed=st.integers(0, 2**32))
def test_what_is_shown_lies_within_a_window_and_the_generator_decides_it(num_kmers: int, seed: int) -> None:
    shown = shown_kmers(num_kmers, random(seed))
    assert shown.shape == (num_kmers,)
    assert np.array_equal(shown, shown_kmers(num_kmers, random(seed)))


def test_windows_hold_half_to_all_of_the_kmers_anywhere_and_hide_15_percent() -> None:
    views = np.array([shown_kmers(132, random(seed)) for seed in range(3000)])
    spans = np.array([view.nonzero()[0][[0, -1]] for view in views])
    lengths = spans[:, 1] - spans[:, 0] + 1  # short of the window's by the 5-mers that are hidden at its ends
    assert lengths.max() == 132
    assert lengths.min() >= 66 - 8
    # A window has (66 + 132) / 2 = 99 on average, uniformly from 67 lengths; 15 % of it is hidden.
    assert abs(views.sum(axis=1).mean() - 0.85 * 99) < 4 * 0.85 * 19.4 / math.sqrt(3000) + 0.1
    assert spans[:, 0].min() == 0
    assert spans[:, 1].max() == 131
    assert abs(views.mean(axis=0)[::-1] - views.mean(axis=0)).max() < 0.06  # no end is shown more often
    inside = [view[first : last + 1] for view, (first, last) in zip(views, spans, strict=True)]
    # The ends are shown by their choice; 15 % of the 97 others are hidden.
    hidden = sum((~window[1:-1]).sum() for window in inside) / sum(len(window) - 2 for window in inside)
    assert abs(hidden - 0.15) < 0.005


@pytest.mark.parametrize("length", [3, 5, 12, 400, 658, 700])
@pytest.mark.parametrize("tokenise", [token_ids, authors_token_ids])
def test_hidden_kmers_become_unknown_and_all_else_stays(length: int, tokenise: object) -> None:
    ids = tokenise([barcode(length)])[0]  # type: ignore[operator]  # either tokenisation
    num_kmers = int((ids[1:] > UNKNOWN_ID).sum())
    for seed in range(20):
        view = view_of_token_ids(ids, random(seed))
        changed = view != ids
        assert not changed[0]
        assert (view[changed] == UNKNOWN_ID).all()
        assert (ids[changed] > UNKNOWN_ID).all()
        assert np.array_equal(view[1 : num_kmers + 1] == ids[1 : num_kmers + 1], shown_kmers(num_kmers, random(seed)))
    assert np.array_equal(ids, tokenise([barcode(length)])[0])  # type: ignore[operator]


def test_padding_and_the_first_id_are_never_masked() -> None:
    ids = token_ids([barcode(300)])[0]
    for seed in range(50):
        view = view_of_token_ids(ids, random(seed))
        assert view[0] == START_ID
        assert (view[61:] == PAD_ID).all()


def test_bases_are_hidden_in_whole_kmers_at_the_same_places_as_ids() -> None:
    text = barcode(655)
    ids, codes = token_ids([text])[0], base_codes([text])[0]
    for seed in range(30):
        shown = view_of_token_ids(ids, random(seed))[1:132] != UNKNOWN_ID
        view = view_of_base_codes(codes, random(seed))
        assert np.array_equal(view[:655] == codes[:655], np.repeat(shown, 5))
        assert set(view[:655][~np.repeat(shown, 5)]) <= {4}
        assert (view[655:] == 5).all()


@pytest.mark.parametrize("length", [1, 4, 11, 658])
def test_text_shows_the_window_in_letters(length: int) -> None:
    text = barcode(length)
    for seed in range(20):
        view = view_of_text(text, random(seed))
        shown = np.repeat(shown_kmers(-(-length // 5), random(seed)), 5)[:length]
        assert view == "".join(a if b else "N" for a, b in zip(text, shown, strict=True)).strip("N")


def test_nothing_known_is_left_as_it_is() -> None:
    ids = authors_token_ids(["N" * 40])[0]
    assert np.array_equal(view_of_token_ids(ids, random(0)), ids)
    codes = base_codes(["N" * 40])[0]
    assert np.array_equal(view_of_base_codes(codes, random(0)), codes)
