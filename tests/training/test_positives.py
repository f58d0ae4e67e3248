"""The contrastive loss with more positives than oneself, against its definition in loops."""

from collections.abc import Callable, Mapping
from itertools import combinations

import pytest
import torch
from torch import Tensor

from tests.training.test_loss import (
    IN_PROGRAM,
    NAMES,
    TILES,
    Sizes,
    assert_same,
    elements,
    embeddings,
    of_scale,
    unit_rows,
    value_and_gradients,
)
from tests.training.test_masked_loss import MASKED
from workloads.training.loss import contrastive_loss
from workloads.training.positives import Positives

SPECIES = [[0], [1], [0], [-1], [1], [-1], [0]]
RANKS = [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [-1, 0, 0, 0], [2, 1, 1, 0], [-1, -1, -1, -1], [-1, -1, 1, 0]]
"""From species up: one genus of two species, unnamed species, a specimen of which nothing is known, a gap of a rank."""
WHO: dict[str, tuple[list[list[int]], tuple[float, ...]]] = {
    "species": (SPECIES, (1.0,)),
    "ranks": (RANKS, (1.0, 0.2, 0.05, 0.02)),
    "some ranks weigh nothing": (RANKS, (0.7, 0.7, 0.0, 0.0)),
    "names that are not nested": ([[0, 0], [0, 1], [1, 0], [1, 1], [-1, 1], [0, -1], [2, 2]], (0.9, 0.3)),
}
"""Names of seven specimens, and the weights of their ranks."""


def positives_of(case: str) -> Positives:
    codes, weights = WHO[case]
    return Positives(torch.tensor(codes), weights)


def weight(codes: list[list[int]], weights: tuple[float, ...], i: int, j: int, rows: list[int]) -> float:
    """How much of what draws specimen i is specimen j, among some rows: rank by rank."""

    def are_one(rank: int, other: int) -> bool:
        return i == other or codes[i][rank] == codes[other][rank] >= 0

    found = (w * are_one(r, j) / sum(are_one(r, other) for other in rows) for r, w in enumerate(weights))
    return sum(found) / sum(weights)


def by_definition(
    embedded: Mapping[str, Tensor],
    scale: Tensor,
    codes: list[list[int]],
    weights: tuple[float, ...],
    bind_to: str | None = None,
    there: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Supervised contrastive learning at each rank, one logit at a time; differentiable."""
    of_pairs = []
    for a, b in combinations(embedded, 2):
        if bind_to is not None and bind_to not in (a, b):
            continue
        known = [mask for name, mask in (there or {}).items() if name in (a, b)]
        rows = [i for i in range(len(embedded[a])) if all(bool(mask[i]) for mask in known)]
        total = 0 * scale
        for x, y in ((embedded[a], embedded[b]), (embedded[b], embedded[a])):
            for i in rows:
                logits = {k: scale * (x[i] * y[k]).sum() for k in rows}
                every = torch.stack(list(logits.values())).logsumexp(0)
                for j in rows:
                    total = total - weight(codes, weights, i, j, rows) * (logits[j] - every)
        of_pairs.append(total / (2 * max(1, len(rows))))
    return torch.stack(of_pairs).mean()


def with_all(loss: Callable[..., Tensor]) -> list[Tensor]:
    """The loss of seven specimens in three modalities and its gradients, 0 where it does not know an embedding."""

    def named(*rows: Tensor) -> Tensor:
        touched = sum((0 * row.sum() for row in rows), of_scale(0))
        return loss(dict(zip(NAMES, rows[:3], strict=True)), rows[3]) + touched

    return value_and_gradients(named, *embeddings(7).values(), of_scale(6.0))


@pytest.mark.parametrize("bind_to", [None, "dna"])
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("case", list(WHO))
def test_loss_and_gradients_are_those_of_the_definition(case: str, tile: int | None, bind_to: str | None) -> None:
    own = positives_of(case)
    found = with_all(lambda rows, scale: contrastive_loss(rows, scale, bind_to, tile=tile, positives=own))
    assert_same(found, with_all(lambda rows, scale: by_definition(rows, scale, *WHO[case], bind_to)))


@pytest.mark.parametrize("tile", [2, None])
@pytest.mark.parametrize("masks", list(MASKED))
@pytest.mark.parametrize("case", ["species", "ranks"])
def test_positives_are_among_those_that_have_both_modalities(case: str, masks: str, tile: int | None) -> None:
    own, there = positives_of(case), MASKED[masks]
    found = with_all(lambda rows, scale: contrastive_loss(rows, scale, tile=tile, there=there, positives=own))
    assert_same(found, with_all(lambda rows, scale: by_definition(rows, scale, *WHO[case], there=there)))
    assert all(value.isfinite().all() for value in found)


@pytest.mark.parametrize("tile", [3, None])
def test_who_shares_no_name_has_the_loss_of_the_specimen_alone(tile: int | None) -> None:
    rows, nothing = (*embeddings(7).values(), of_scale(6.0)), Positives(torch.full((7, 1), -1), (1.0,))
    found = with_all(lambda rows, scale: contrastive_loss(rows, scale, tile=tile, positives=nothing))
    assert_same(found, with_all(lambda rows, scale: contrastive_loss(rows, scale, tile=tile)))
    assert len(rows) == len(found) - 1


@pytest.mark.parametrize("tile", [4, None])
def test_one_species_and_equal_embeddings_cost_the_logarithm_of_the_batch(tile: int | None) -> None:
    same = dict.fromkeys(("image", "dna"), unit_rows(1, 0).expand(7, -1))
    one = Positives(torch.zeros(7, 1, dtype=torch.int64), (1.0,))
    assert contrastive_loss(same, of_scale(9.0), tile=tile, positives=one).item() == pytest.approx(1.9459101490553132)


def test_records_of_a_species_are_drawn_to_each_other_where_they_would_be_pushed_apart() -> None:
    image, dna = torch.eye(7, dtype=torch.float64), torch.eye(7, dtype=torch.float64).requires_grad_()
    for positives, drawn in ((positives_of("species"), True), (None, False)):
        loss = contrastive_loss({"image": image, "dna": dna}, of_scale(0.1), positives=positives)
        (gradient,) = torch.autograd.grad(loss, dna)
        assert (gradient[2, 0] < 0) == drawn  # the barcode of one record, along the image of another of its species
        assert gradient[2, 1] > 0


@pytest.mark.parametrize("scale", [100.0, 10_000.0])
def test_a_low_temperature_does_not_overflow_in_fp32(scale: float) -> None:
    rows, own = (unit_rows(7, 0), unit_rows(7, 1), of_scale(scale)), positives_of("ranks")
    for tile in (3, None):

        def loss(a: Tensor, b: Tensor, scale: Tensor, tile: int | None = tile) -> Tensor:
            return contrastive_loss({"a": a, "b": b}, scale, tile=tile, positives=own)

        exact = value_and_gradients(loss, *rows)
        for one, other in zip(value_and_gradients(loss, *(row.float() for row in rows)), exact, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=scale * 1e-6)


def test_memory_grows_with_the_batch_and_not_its_square() -> None:
    def of_genera(embedded: Mapping[str, Tensor], scale: Tensor, tile: int) -> Tensor:
        count = len(embedded["image"])
        codes = torch.arange(count)[:, None] // torch.tensor([2, 4, 8, 16])
        return contrastive_loss(embedded, scale, tile=tile, positives=Positives(codes, (1.0, 0.2, 0.05, 0.02)))

    (largest, kept), (twice_largest, twice_kept) = (elements(count, of_genera, NAMES) for count in (100, 200))
    assert twice_largest <= 200 * 5  # codes and embeddings; all similarities would be 40,000
    assert twice_largest == 2 * largest
    assert twice_kept <= 2.1 * kept < 100 * 100


def test_a_matrix_that_is_too_large_to_be_held_whole_is_computed_in_tiles() -> None:
    rows = {name: unit_rows(2049, seed, size=2) for seed, name in enumerate("ab")}
    with Sizes() as sizes:
        contrastive_loss(rows, of_scale(14.0), positives=Positives(torch.arange(2049)[:, None] // 3, (1.0,)))
    assert sizes.largest == 2**20


def test_the_loss_that_workers_are_compared_with_is_the_definition() -> None:
    """Of the names that several processes share out (`some_workers.py`, run by test_loss.py)."""
    codes, weights = IN_PROGRAM["CODES"], IN_PROGRAM["WEIGHTS"]
    rows = embeddings(IN_PROGRAM["BATCH"])
    found = contrastive_loss(rows, of_scale(3.0), positives=Positives(codes, weights))
    assert found.item() == pytest.approx(by_definition(rows, of_scale(3.0), codes.tolist(), weights).item(), abs=1e-12)
