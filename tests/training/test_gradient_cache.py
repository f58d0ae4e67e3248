"""Gradients by chunks against the whole graph at once: equal with dropout, frozen towers and a trained temperature.

Two workers against one: test_loss.py.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from workloads.shares import Shares
from workloads.training.gradient_cache import Chunks, LossFunction, accumulate_gradients, embed_at_once
from workloads.training.loss import classification_loss, contrastive_loss, two_view_loss

WIDTH, SIZE = 6, 5
Change = Callable[["Towers"], None]


class Towers(nn.Module):
    """Three towers of two layers with dropout; counts the specimens of every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.towers = nn.ModuleDict({name: _tower() for name in ("image", "dna", "text")}).double()
        self.log_scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
        self.seen: dict[str, list[int]] = {name: [] for name in self.towers}

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        embedded = {}
        for name, rows in inputs.items():
            modality = name.split("/")[0]
            self.seen[modality].append(len(rows))
            embedded[name] = nn.functional.normalize(self.towers[modality](rows), dim=1)
        return embedded, self.log_scale.exp()


def _tower() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.Dropout(0.3), nn.GELU(), nn.Linear(8, SIZE), nn.Dropout(0.1))


def inputs_of(count: int, names: tuple[str, ...] = ("image", "dna", "text")) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {name: torch.randn(count, WIDTH, dtype=torch.float64, generator=random) for name in names}


def chunks_of(count: int, micro_batch: int) -> Chunks:
    """As few as there can be of this size, each with a seed of its own."""
    sizes = Shares(batch_size=count, num_chunks=-(-count // micro_batch)).chunk_sizes(0)
    return Chunks(sizes, lambda number: torch.manual_seed(7 + number))


def by_one_graph(model: nn.Module, inputs: Mapping[str, Tensor], loss: LossFunction, micro_batch: int) -> Tensor:
    """The definition: chunks embedded with their graphs, the loss on all of them, one backward pass."""
    parts, count = [], -(-len(next(iter(inputs.values()))) // micro_batch)
    for number in range(count):
        torch.manual_seed(7 + number)
        embedded, scale = model({name: rows.tensor_split(count)[number] for name, rows in inputs.items()})
        parts.append(embedded)
    value = loss({name: torch.cat([part[name] for part in parts]) for name in inputs}, scale)
    value.backward()
    return value.detach()


def cached(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    loss: LossFunction,
    micro_batch: int,
    kernels: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Tensor:
    chunks = chunks_of(len(next(iter(inputs.values()))), micro_batch)
    return accumulate_gradients(model, inputs, loss, chunks, kernels)


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_cached_is_whole(
    model: Towers, inputs: Mapping[str, Tensor], loss: LossFunction, micro_batch: int
) -> dict[str, Tensor]:
    """Loss and gradients of all ways; returns the gradients."""
    whole, kept = copy.deepcopy(model), copy.deepcopy(model)
    expected = by_one_graph(whole, inputs, loss, micro_batch)
    found = cached(model, inputs, loss, micro_batch)
    at_once = loss(*embed_at_once(kept, inputs, chunks_of(len(next(iter(inputs.values()))), micro_batch), nullcontext))
    at_once.backward()
    assert not found.requires_grad
    wanted = gradients_of(whole)
    for way, value in ((model, found), (kept, at_once)):
        assert value.item() == pytest.approx(expected.item(), abs=1e-12)
        assert gradients_of(way).keys() == wanted.keys()
        for name, gradient in wanted.items():
            torch.testing.assert_close(gradients_of(way)[name], gradient, rtol=0, atol=1e-12, msg=name)
            assert gradient.abs().max() > 1e-4, name
    return gradients_of(model)


def all_trained(model: Towers) -> None:
    pass


def fixed_temperature(model: Towers) -> None:
    value = model.log_scale.detach()
    del model.log_scale
    model.register_buffer("log_scale", value)


def frozen_in_the_middle(model: Towers) -> None:
    model.towers["dna"].requires_grad_(False)


def frozen_and_at_rest(model: Towers) -> None:
    model.towers["dna"].requires_grad_(False).eval()


def only_heads(model: Towers) -> None:
    """As with adapters: most of a tower's parameters are frozen, but not all."""
    for tower in model.towers.values():
        next(iter(tower.children())).requires_grad_(False)


def only_the_temperature(model: Towers) -> None:
    model.towers.requires_grad_(False)


CHANGES: list[Change] = [
    all_trained,
    fixed_temperature,
    frozen_in_the_middle,
    frozen_and_at_rest,
    only_heads,
    only_the_temperature,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("micro_batch", [1, 3, 4, 7])  # 3: chunks of 3, 3 and 2; 7: of 4 and 4
def test_the_gradients_are_those_of_the_whole_graph(change: Change, micro_batch: int) -> None:
    model = Towers()
    change(model)
    gradients = assert_cached_is_whole(model, inputs_of(8), contrastive_loss, micro_batch)
    assert ("log_scale" in gradients) == isinstance(model.log_scale, nn.Parameter)


def test_the_gradients_of_other_losses_are_those_of_the_whole_graph() -> None:
    assert_cached_is_whole(Towers(), inputs_of(8), partial(contrastive_loss, bind_to="dna", tile=3), 3)
    model = Towers()
    model.towers["dna"].requires_grad_(False)
    assert_cached_is_whole(model, inputs_of(8, ("image", "image/other")), two_view_loss, 3)
    labels = torch.arange(8) % SIZE
    assert_cached_is_whole(Towers(), inputs_of(8, ("image",)), partial(classification_loss, labels=labels), 3)


def test_gradients_add_to_those_that_are_there() -> None:
    once, twice = Towers().eval(), Towers().eval()
    for model, times in ((once, 1), (twice, 2)):
        for _ in range(times):
            cached(model, inputs_of(8), contrastive_loss, 3)
    for name, gradient in gradients_of(twice).items():
        torch.testing.assert_close(gradient, 2 * gradients_of(once)[name], rtol=0, atol=1e-12)


def test_no_more_than_a_micro_batch_is_embedded_at_a_time_and_all_but_the_last_twice() -> None:
    model = Towers()
    cached(model, inputs_of(8), contrastive_loss, 3)
    assert all(seen == [3, 3, 2, 3, 3] for seen in model.seen.values())


def test_a_frozen_tower_is_embedded_twice_only_if_it_draws_random_numbers() -> None:
    for change, expected in ((frozen_and_at_rest, [3, 3, 2]), (frozen_in_the_middle, [3, 3, 2, 3, 3])):
        model = Towers()
        change(model)
        cached(model, inputs_of(8), contrastive_loss, 3)
        assert model.seen["dna"] == expected
        assert model.seen["text"] == [3, 3, 2, 3, 3]


def test_only_one_chunk_has_activations_at_a_time() -> None:
    model, alive, most = Towers(), 0, 0

    class Activation:
        """Lives as long as the graph keeps it."""

        def __init__(self, tensor: Tensor) -> None:
            nonlocal alive, most
            self.tensor = tensor.detach()
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def peak(count: int, micro_batch: int) -> int:
        nonlocal most
        most = 0
        with torch.autograd.graph.saved_tensors_hooks(Activation, lambda kept: kept.tensor):
            if micro_batch < count:
                cached(model, inputs_of(count), contrastive_loss, micro_batch)
            else:
                contrastive_loss(*model(inputs_of(count))).backward()
        assert alive == 0
        return most

    assert peak(32, 4) <= peak(8, 4) < 2 * peak(4, 4)


def test_running_statistics_are_updated_once_for_every_chunk() -> None:
    model = Towers()
    model.towers["image"] = nn.Sequential(nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, SIZE)).double()
    plain = copy.deepcopy(model)
    for number in range(3):
        plain({name: rows.tensor_split(3)[number] for name, rows in inputs_of(8).items()})
    assert_cached_is_whole(model, inputs_of(8), contrastive_loss, 3)
    expected, found = dict(plain.named_buffers()), dict(model.named_buffers())
    assert expected["towers.image.0.num_batches_tracked"].item() == 3
    assert all(found[name].equal(values) for name, values in expected.items())


def test_kernels_surround_every_forward_pass_and_nothing_else() -> None:
    inside = 0

    @contextmanager
    def kernels() -> Iterator[None]:
        nonlocal inside
        inside += 1
        try:
            yield
        finally:
            inside -= 1

    class Watched(Towers):
        def forward(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
            assert inside == 1
            return super().forward(inputs)

    def watched(embedded: Mapping[str, Tensor], scale: Tensor) -> Tensor:
        assert inside == 0
        return contrastive_loss(embedded, scale)

    cached(Watched(), inputs_of(8), watched, 3, kernels)


@pytest.mark.parametrize("around", [nullcontext(), torch.autocast("cpu", enabled=False)])
def test_autocast_towers_give_the_same_gradients_by_chunks(around: AbstractContextManager[object]) -> None:
    def kernels() -> AbstractContextManager[None]:
        return torch.autocast("cpu", torch.bfloat16)

    whole, model = Towers().float().eval(), Towers().float().eval()
    inputs = {name: rows.float() for name, rows in inputs_of(8).items()}
    with around:  # as in the training loop; autocast then keeps its bf16 weights from one chunk to the next
        with kernels():
            embedded, scale = whole(inputs)
        contrastive_loss(embedded, scale).backward()
        loss = cached(model, inputs, contrastive_loss, 3, kernels)
    assert loss.dtype == torch.float32
    found = [gradients_of(whole), gradients_of(model)]
    for name, gradient in found[0].items():
        # bf16 keeps 8 bits, and the gradient of a weight is rounded once for every chunk.
        torch.testing.assert_close(found[1][name], gradient, rtol=0.02, atol=2e-3)
