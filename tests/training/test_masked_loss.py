"""The contrastive loss where specimens lack modalities, against its definition in loops."""

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.test_loss import IN_PROGRAM, NAMES, assert_same, embeddings, of_scale, value_and_gradients
from workloads.training.loss import contrastive_loss, loss_of_alike

BATCH = 7
MASKS: dict[str, dict[str, list[int]]] = {
    "some of each": {"image": [0, 1, 1, 1, 0, 1, 1], "dna": [1, 0, 1, 1, 1, 1, 0], "text": [1, 1, 0, 1, 1, 0, 1]},
    "one modality": {"dna": [1, 0, 0, 1, 1, 0, 1]},
    "one row of a pair": {"image": [1, 1, 1, 0, 0, 0, 0], "dna": [0, 0, 1, 1, 1, 1, 1]},
    "no row of a pair": {"image": [1, 1, 1, 0, 0, 0, 0], "text": [0, 0, 0, 1, 1, 1, 1]},
    "no row of any": {"image": [1, 0, 0, 0, 0, 0, 0], "dna": [0, 1, 0, 0, 0, 0, 0], "text": [0] * 7},
    "all rows": {"image": [1] * 7, "text": [1] * 7},
}
MASKED = {case: {name: torch.tensor(mask).bool() for name, mask in masks.items()} for case, masks in MASKS.items()}


def by_definition(
    embedded: Mapping[str, Tensor], there: Mapping[str, Tensor], scale: Tensor, bind_to: str | None = None
) -> Tensor:
    """One logit at a time: of each pair the specimens that have both, each against all of these; differentiable."""
    of_pairs = []
    for a, b in combinations(embedded, 2):
        if bind_to is not None and bind_to not in (a, b):
            continue
        rows = [i for i in range(len(embedded[a])) if all(n not in there or bool(there[n][i]) for n in (a, b))]
        total = 0 * scale
        for x, y in ((embedded[a], embedded[b]), (embedded[b], embedded[a])):
            for i in rows:
                logits = torch.stack([scale * (x[i] * y[j]).sum() for j in rows])
                total = total - (logits[rows.index(i)] - logits.logsumexp(0))
        of_pairs.append(total / (2 * max(1, len(rows))))
    return torch.stack(of_pairs).mean()


def of_rows(loss: Callable[..., Tensor], there: Mapping[str, Tensor], **how: Any) -> list[Tensor]:
    """The loss of seven specimens and its gradients, 0 where it does not know an embedding."""

    def named(*rows: Tensor) -> Tensor:
        touched = sum((0 * row.sum() for row in rows), of_scale(0))
        return loss(dict(zip(NAMES, rows[:3], strict=True)), there, rows[3], **how) + touched

    return value_and_gradients(named, *embeddings(BATCH).values(), of_scale(4.0))


def masked(embedded: Mapping[str, Tensor], there: Mapping[str, Tensor], scale: Tensor, **how: Any) -> Tensor:
    return contrastive_loss(embedded, scale, there=there, **how)


@pytest.mark.parametrize("bind_to", [None, "dna"])
@pytest.mark.parametrize("tile", [1, 2, 3, 7, None])
@pytest.mark.parametrize("case", list(MASKED))
def test_a_pair_is_compared_over_those_that_have_both(case: str, tile: int | None, bind_to: str | None) -> None:
    found = of_rows(masked, MASKED[case], tile=tile, bind_to=bind_to)
    assert_same(found, of_rows(by_definition, MASKED[case], bind_to=bind_to))
    assert all(value.isfinite().all() for value in found)


@pytest.mark.parametrize("tile", [2, None])
@pytest.mark.parametrize("case", list(MASKED))
def test_what_stands_in_for_a_missing_embedding_is_in_no_loss_and_has_no_gradient(case: str, tile: int | None) -> None:
    rows = {name: values.requires_grad_() for name, values in embeddings(BATCH).items()}
    plain = contrastive_loss(rows, of_scale(4.0), tile=tile, there=MASKED[case])
    strange = {
        name: values if (mask := MASKED[case].get(name)) is None else values.where(mask[:, None], torch.nan)
        for name, values in rows.items()
    }
    found = contrastive_loss(strange, of_scale(4.0), tile=tile, there=MASKED[case])
    assert found.equal(plain)
    gradients = dict(zip(rows, torch.autograd.grad(plain, list(rows.values())), strict=True))
    for name, mask in MASKED[case].items():
        assert not gradients[name][~mask].any()


@pytest.mark.parametrize("share", [1.0, 0.6, 0.2])
def test_the_loss_of_equal_embeddings_is_known_from_how_many_a_pair_compares(share: float) -> None:
    random = torch.Generator().manual_seed(0)
    found = []
    for _ in range(1500):
        there = {"dna": torch.rand(40, generator=random) < share}
        same = dict.fromkeys(("image", "dna"), torch.ones(40, 1))
        found.append(contrastive_loss(same, torch.tensor(2.0), there=there).item())
    assert loss_of_alike(40, [share]) == pytest.approx(sum(found) / len(found), rel=0.02)
    assert loss_of_alike(40, [share, 0.0]) == loss_of_alike(40, [share]) / 2


def test_with_all_there_the_bits_are_those_of_a_loss_without_masks() -> None:
    rows = {name: values.float() for name, values in embeddings(BATCH).items()}
    for tile in (3, None):
        plain = contrastive_loss(rows, torch.tensor(14.0), tile=tile)
        assert contrastive_loss(rows, torch.tensor(14.0), tile=tile, there=MASKED["all rows"]).equal(plain)


def test_the_order_of_specimens_does_not_matter() -> None:
    order, there = torch.tensor([3, 1, 5, 0, 2, 4, 6]), MASKED["some of each"]
    rows = embeddings(BATCH)
    turned = contrastive_loss(
        {name: own[order] for name, own in rows.items()},
        of_scale(5.0),
        there={name: mask[order] for name, mask in there.items()},
    )
    assert turned.item() == pytest.approx(contrastive_loss(rows, of_scale(5.0), there=there).item(), abs=1e-14)


def test_the_loss_that_workers_are_compared_with_is_the_definition() -> None:
    """Of the masks that several processes share out (`some_workers.py`, run by test_loss.py)."""
    there = IN_PROGRAM["THERE"]
    rows = embeddings(IN_PROGRAM["BATCH"])
    found = contrastive_loss(rows, of_scale(3.0), there=there)
    assert found.item() == pytest.approx(by_definition(rows, there, of_scale(3.0)).item(), abs=1e-12)
    assert not any((there["image"] & there["dna"])[: len(there["image"]) // 2]), "the first of two has no row of a pair"
