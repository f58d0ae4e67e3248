"""The losses against their definitions in loops, and on two workers against one."""

import json
import math
import runpy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.processes import run_together
from workloads.training.loss import classification_loss, contrastive_loss, two_view_loss

PROGRAM = Path(__file__).with_name("some_workers.py")
NAMES = ("image", "dna", "text")
TILES = [1, 2, 3, 7, 1024, None]
"""Of 7 specimens: one for each similarity, several with a smaller last one, exactly one, one larger than all; and none,
but the whole matrix."""


def pair_loss(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    return contrastive_loss({"a": a, "b": b}, scale)


def by_definition(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """Equation 1 of the paper, one logit at a time; differentiable."""
    n, total = len(a), torch.zeros((), dtype=a.dtype)
    for x, y in ((a, b), (b, a)):
        for i in range(n):
            logits = [scale * (x[i] * y[j]).sum() for j in range(n)]
            total = total - (logits[i] - torch.stack(logits).logsumexp(0))
    return total / (2 * n)


def views_by_definition(one: Tensor, other: Tensor, scale: Tensor) -> Tensor:
    """SimCLR's equation 1, one logit at a time; differentiable."""
    views = [*one, *other]
    total = torch.zeros((), dtype=one.dtype)
    for i, row in enumerate(views):
        logits = {j: scale * (row * column).sum() for j, column in enumerate(views) if j != i}
        positive = (i + len(one)) % len(views)
        total = total - (logits[positive] - torch.stack(list(logits.values())).logsumexp(0))
    return total / len(views)


def in_plain_python(a: list[list[float]], b: list[list[float]], scale: float) -> float:
    n, total = len(a), 0.0
    for x, y in ((a, b), (b, a)):
        for i in range(n):
            logits = [scale * sum(p * q for p, q in zip(x[i], y[j], strict=True)) for j in range(n)]
            top = max(logits)
            total -= logits[i] - top - math.log(sum(math.exp(value - top) for value in logits))
    return total / (2 * n)


def unit_rows(count: int, seed: int, size: int = 5) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, size, dtype=torch.float64, generator=random), dim=1)


def of_scale(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def embeddings(count: int, names: tuple[str, ...] = NAMES) -> dict[str, Tensor]:
    return {name: unit_rows(count, seed) for seed, name in enumerate(names)}


def value_and_gradients(loss: Callable[..., Tensor], *values: Tensor) -> list[Tensor]:
    """The loss and its gradients with respect to all of its arguments."""
    variables = [value.detach().clone().requires_grad_() for value in values]
    found = loss(*variables)
    return [found.detach(), *torch.autograd.grad(found, variables)]


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    """To the rounding of float64."""
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("scale", [0.5, 1 / 0.07, 1 / 0.01])
def test_the_pair_loss_is_its_definition(batch: int, scale: float) -> None:
    a, b = unit_rows(batch, 0), unit_rows(batch, 1)
    found = pair_loss(a, b, of_scale(scale))
    assert found.item() == pytest.approx(in_plain_python(a.tolist(), b.tolist(), scale), abs=1e-12)


def test_identical_rows_share_the_probability() -> None:
    same = unit_rows(1, 0).expand(4, -1)
    assert pair_loss(same, same, torch.tensor(3.0)).item() == pytest.approx(math.log(4), abs=1e-12)


@pytest.mark.parametrize("tile", TILES)
def test_the_gradient_of_the_pair_loss_is_that_of_its_definition_in_tiles_of_any_size(tile: int | None) -> None:
    rows = (unit_rows(7, 0), unit_rows(7, 1), of_scale(4.0))
    found = value_and_gradients(lambda a, b, scale: contrastive_loss({"a": a, "b": b}, scale, tile=tile), *rows)
    assert_same(found, value_and_gradients(by_definition, *rows))


def test_the_gradient_agrees_with_finite_differences() -> None:
    variables = (unit_rows(3, 0), unit_rows(3, 1), of_scale(2.0))
    for variable in variables:
        variable.requires_grad_()
    for tile in (None, 2):
        for loss in (contrastive_loss, two_view_loss):
            assert torch.autograd.gradcheck(lambda a, b, s, of=loss, t=tile: of({"a": a, "b": b}, s, tile=t), variables)


def test_the_pair_loss_is_symmetric_in_its_modalities() -> None:
    a, b, scale = unit_rows(6, 0), unit_rows(6, 1), of_scale(5.0)
    assert pair_loss(a, b, scale).item() == pytest.approx(pair_loss(b, a, scale).item(), abs=1e-14)


def test_the_order_of_specimens_does_not_matter() -> None:
    a, b, scale = unit_rows(6, 0), unit_rows(6, 1), of_scale(5.0)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert pair_loss(a[order], b[order], scale).item() == pytest.approx(pair_loss(a, b, scale).item(), abs=1e-14)


@pytest.mark.parametrize(
    ("bind_to", "pairs"),
    [
        (None, (("image", "dna"), ("image", "text"), ("dna", "text"))),
        ("image", (("image", "dna"), ("image", "text"))),
        ("dna", (("image", "dna"), ("dna", "text"))),
        ("text", (("image", "text"), ("dna", "text"))),
    ],
)
@pytest.mark.parametrize("tile", [3, None])
def test_the_loss_is_the_mean_over_the_pairs_that_count(
    bind_to: str | None, pairs: tuple[tuple[str, str], ...], tile: int | None
) -> None:
    def defined(*rows: Tensor) -> Tensor:
        named = dict(zip(NAMES, rows[:3], strict=True))
        return torch.stack([by_definition(named[a], named[b], rows[3]) for a, b in pairs]).mean()

    def tiled(*rows: Tensor) -> Tensor:
        return contrastive_loss(dict(zip(NAMES, rows[:3], strict=True)), rows[3], bind_to, tile=tile)

    rows = (*embeddings(5).values(), of_scale(3.0))
    assert_same(value_and_gradients(tiled, *rows), value_and_gradients(defined, *rows))


@pytest.mark.parametrize("tile", TILES)
def test_the_loss_of_two_views_is_its_definition(tile: int | None) -> None:
    rows = (unit_rows(5, 0), unit_rows(5, 1), of_scale(1 / 0.07))
    found = value_and_gradients(lambda a, b, scale: two_view_loss({"a": a, "b": b}, scale, tile=tile), *rows)
    assert_same(found, value_and_gradients(views_by_definition, *rows))


@pytest.mark.parametrize("batch", [1, 2, 13, 33])
@pytest.mark.parametrize("tile", [4, 13])
def test_the_whole_matrix_and_tiles_give_the_same_loss_and_gradients(batch: int, tile: int) -> None:
    rows = (*embeddings(batch).values(), of_scale(1 / 0.07))

    def aligned(*rows: Tensor, tile: int | None = None) -> Tensor:
        return contrastive_loss(dict(zip(NAMES, rows[:3], strict=True)), rows[3], tile=tile)

    def views(one: Tensor, other: Tensor, scale: Tensor, tile: int | None = None) -> Tensor:
        return two_view_loss({"image": one, "image/other": other}, scale, tile=tile)

    assert_same(value_and_gradients(partial(aligned, tile=tile), *rows), value_and_gradients(aligned, *rows))
    assert_same(value_and_gradients(partial(views, tile=tile), *rows[1:]), value_and_gradients(views, *rows[1:]))


@pytest.mark.parametrize(("loss", "most"), [(contrastive_loss, 2048), (two_view_loss, 1024)])
def test_a_matrix_that_is_too_large_to_be_held_whole_is_computed_in_tiles(
    loss: Callable[..., Tensor], most: int
) -> None:
    largest = []
    for batch in (most, most + 1):
        with Sizes() as sizes:
            loss({name: unit_rows(batch, seed, size=2) for seed, name in enumerate("ab")}, of_scale(14.0))
        largest.append(sizes.largest)
    assert largest == [2**22, 2**20]  # on a CPU the side of a tile is 1,024


def test_two_views_of_one_specimen_alone_cost_nothing() -> None:
    assert two_view_loss({"a": unit_rows(1, 0), "b": unit_rows(1, 1)}, of_scale(9.0)).item() == 0


@pytest.mark.parametrize("scale", [100.0, 10_000.0])
def test_a_low_temperature_does_not_overflow_in_fp32(scale: float) -> None:
    # Opposite rows: logits from -scale to scale, far outside of what exp can take in fp32.
    a = torch.cat([unit_rows(4, 0), -unit_rows(4, 0)])
    rows = (a, a.flip(0), of_scale(scale))
    for loss in (pair_loss, lambda a, b, scale: two_view_loss({"a": a, "b": b}, scale, tile=3)):
        exact = value_and_gradients(loss, *rows)
        found = value_and_gradients(loss, *(row.float() for row in rows))
        for one, other in zip(found, exact, strict=True):
            # fp32 keeps 24 bits of a logit.
            torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=scale * 1e-6)


def test_the_loss_is_computed_in_fp32_under_autocast() -> None:
    rows = {name: values.float() for name, values in embeddings(9).items()}
    expected = contrastive_loss(rows, torch.tensor(14.0))
    with torch.autocast("cpu", torch.bfloat16):
        assert contrastive_loss(rows, torch.tensor(14.0)).equal(expected)


def test_half_precision_is_widened_and_gets_its_gradient_back_in_its_own_type() -> None:
    rows = {name: values.bfloat16().requires_grad_() for name, values in embeddings(4).items()}
    loss = contrastive_loss(rows, torch.tensor(14.0))
    loss.backward()
    assert loss.dtype == torch.float32
    assert {values.grad.dtype for values in rows.values() if values.grad is not None} == {torch.bfloat16}


class Sizes(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation makes."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.numel())
        return made


def elements(count: int, loss: Callable[..., Tensor], names: tuple[str, ...]) -> tuple[int, int]:
    """Of the largest tensor that the loss makes, and of all it keeps for its way back."""
    rows = {name: values.requires_grad_() for name, values in embeddings(count, names).items()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.detach()  # what several steps keep is there once
        return tensor

    with Sizes() as sizes, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss(rows, of_scale(14.0), tile=16).backward()
    return sizes.largest, sum(tensor.numel() for tensor in kept.values())


@pytest.mark.parametrize(("loss", "names"), [(contrastive_loss, NAMES), (two_view_loss, NAMES[:2])])
def test_memory_grows_with_the_batch_and_not_its_square(loss: Callable[..., Tensor], names: tuple[str, ...]) -> None:
    (largest, kept), (twice_largest, twice_kept) = (elements(count, loss, names) for count in (100, 200))
    assert twice_largest <= 2 * 200 * 5  # both views together; all similarities would be 40,000
    assert twice_largest == 2 * largest
    assert twice_kept < 2 * kept < 100 * 100


def plain_cross_entropy(logits: Tensor, scale: Tensor, labels: Tensor) -> Tensor:
    rows = [scale * row for row in logits]
    return sum((row.logsumexp(0) - row[label] for row, label in zip(rows, labels, strict=True)), of_scale(0)) / len(
        rows
    )


def test_the_loss_of_classes_is_the_mean_cross_entropy() -> None:
    labels = torch.tensor([0, 4, 2, 2])
    found = value_and_gradients(lambda x, s: classification_loss({"image": x}, s, labels), unit_rows(4, 0), of_scale(1))
    expected = value_and_gradients(lambda x, s: plain_cross_entropy(x, s, labels), unit_rows(4, 0), of_scale(1))
    assert_same(found, expected)


NUM_WORKERS = (2, 3, 4)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """What each of two, three and four processes found."""
    found = {}
    for count in NUM_WORKERS:
        folder = tmp_path_factory.mktemp("workers")
        outs = [folder / f"{rank}.json" for rank in range(count)]
        run_together(PROGRAM, [(rank, count, folder / "meeting", out) for rank, out in enumerate(outs)])
        found[count] = [json.loads(out.read_text()) for out in outs]
    return found


IN_PROGRAM = runpy.run_path(str(PROGRAM))
"""What the program defines, for the side of one process."""


@pytest.mark.parametrize("count", NUM_WORKERS)
@pytest.mark.parametrize("case", list(IN_PROGRAM["CASES"]))
def test_workers_with_uneven_shares_have_the_losses_and_gradients_of_one(
    case: str, count: int, workers: dict[int, list[dict[str, Any]]]
) -> None:
    """In float64 over several steps with dropout: only the order of sums differs."""
    alone = IN_PROGRAM["found_alone"](IN_PROGRAM["CASES"][case])
    assert all(any(abs(value) > 1e-4 for value in values) for values in alone["gradients"].values())
    for worker in workers[count]:
        found = worker["cases"][case]
        assert found["gradients"].keys() == alone["gradients"].keys()
        assert found["losses"] == pytest.approx(alone["losses"], rel=1e-12)
        assert found["losses"] == workers[count][0]["cases"][case]["losses"]
        for name, values in alone["gradients"].items():
            assert found["gradients"][name] == pytest.approx(values, abs=1e-12), name


def test_workers_agree_on_the_smallest_of_their_micro_batches(workers: dict[int, list[dict[str, Any]]]) -> None:
    assert [worker["micro_batch"] for worker in workers[3]] == [8, 8, 8]
