"""What a notebook may hand to our functions, in the authors' own raw forms: it is refused or counted rightly."""

import numpy as np
import pytest
import torch

from workloads.data.specimens.barcode import authors_token_ids, token_ids
from workloads.data.specimens.partition import partition
from workloads.errors import EmbeddingsError, UsageError
from workloads.evaluation.accuracy import coded_answers, label_codes
from workloads.evaluation.retrieval import nearest_keys
from workloads.models.towers import PixelValues
from workloads.predictions import MISSING, Place
from workloads.spec import RANKS
from workloads.training.loss import contrastive_loss

RAW = ["not_classified", "", None, float("nan"), "A b"]


def test_words_for_no_name_are_no_species() -> None:
    names = ["not_classified"] * 12 + [""] * 12 + ["A b"] * 12 + ["C d"] * 12
    assert set(partition(names)[:24].to_pylist()) == {"no_split"}
    raw = {rank: np.array(RAW, dtype=object) for rank in RANKS}
    assert label_codes(raw, raw)["species"][0].tolist() == [MISSING] * 4 + [0]


def test_no_key_is_the_last_one_and_a_subset_is_one_of_two() -> None:
    raw = {rank: np.array(["A b"] * 2, dtype=object) for rank in RANKS}
    codes, where = label_codes(raw, raw), Place("val", "image", "dna")
    with pytest.raises(UsageError, match="nearest goes from -1"):
        coded_answers(codes, np.array([0, -1]), np.array(["seen", "seen"], dtype=object), where)
    with pytest.raises(UsageError, match="'other'"):
        coded_answers(codes, np.array([0, 1]), np.array(["seen", "other"], dtype=object), where)


def test_shapes_types_and_lengths_are_looked_at() -> None:
    row = torch.nn.functional.normalize(torch.ones(5, 3), dim=1)
    for wrong in ({"image": row[:4], "dna": row}, {"image": row}):
        with pytest.raises(UsageError, match="embedded"):
            contrastive_loss(wrong, torch.tensor(1.0))
    for length in (3.0, 0.5, float("nan")):
        with pytest.raises(UsageError, match=f"rows of dna of length {length:.3g}; normalise them"):
            contrastive_loss({"image": row, "dna": length * row}, torch.tensor(1.0))
    with pytest.raises(UsageError, match="uint8"):
        PixelValues("unit", (0.5,) * 3, (0.5,) * 3)(torch.ones(1, 3, 2, 2))
    with pytest.raises(EmbeddingsError, match="length 2"):
        nearest_keys(np.array([[2, 0]], np.float32), np.array([[1, 0]], np.float32))
    for read in (token_ids, authors_token_ids):
        with pytest.raises(UsageError, match="list of texts"):
            read("ACGT")
