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

from workloads.training.gradient_cache import LossFunction, accumulate_gradients
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


def chunks_of(inputs: Mapping[str, Tensor], micro_batch: int) -> Iterator[dict[str, Tensor]]:
    count = -(-len(next(iter(inputs.values()))) // micro_batch)
    for number in range(count):
        yield {name: rows.tensor_split(count)[number] for name, rows in inputs.items()}


def by_one_graph(model: nn.Module, inputs: Mapping[str, Tensor], loss: LossFunction, micro_batch: int) -> Tensor:
    """The definition: chunks embedded with their graphs, the loss on all of them, one backward pass."""
    parts = []
    for chunk in chunks_of(inputs, micro_batch):
        embedded, scale = model(chunk)
        parts.append(embedded)
    value = loss({name: torch.cat([part[name] for part in parts]) for name in inputs}, scale)
    value.backward()
    return value.detach()


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_cached_is_whole(
    model: Towers, inputs: Mapping[str, Tensor], loss: LossFunction, micro_batch: int
) -> dict[str, Tensor]:
    """Loss, gradients and random state of both ways; returns the gradients."""
    whole = copy.deepcopy(model)
    torch.manual_seed(7)
    expected = by_one_graph(whole, inputs, loss, micro_batch)
    after = torch.get_rng_state()
    torch.manual_seed(7)
    found = accumulate_gradients(model, inputs, loss, micro_batch=micro_batch, kernels=nullcontext)
    assert torch.get_rng_state().equal(after)
    assert not found.requires_grad
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)
    gradients, wanted = gradients_of(model), gradients_of(whole)
    assert gradients.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=1e-12, msg=name)
        assert gradient.abs().max() > 1e-4, name
    return gradients


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
            accumulate_gradients(model, inputs_of(8), contrastive_loss, micro_batch=3, kernels=nullcontext)
    for name, gradient in gradients_of(twice).items():
        torch.testing.assert_close(gradient, 2 * gradients_of(once)[name], rtol=0, atol=1e-12)


def test_no_more_than_a_micro_batch_is_embedded_at_a_time_and_all_but_the_last_twice() -> None:
    model = Towers()
    accumulate_gradients(model, inputs_of(8), contrastive_loss, micro_batch=3, kernels=nullcontext)
    assert all(seen == [3, 3, 2, 3, 3] for seen in model.seen.values())


def test_a_frozen_tower_is_embedded_twice_only_if_it_draws_random_numbers() -> None:
    for change, expected in ((frozen_and_at_rest, [3, 3, 2]), (frozen_in_the_middle, [3, 3, 2, 3, 3])):
        model = Towers()
        change(model)
        accumulate_gradients(model, inputs_of(8), contrastive_loss, micro_batch=3, kernels=nullcontext)
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
                accumulate_gradients(
                    model, inputs_of(count), contrastive_loss, micro_batch=micro_batch, kernels=nullcontext
                )
            else:
                contrastive_loss(*model(inputs_of(count))).backward()
        assert alive == 0
        return most

    assert peak(32, 4) <= peak(8, 4) < 2 * peak(4, 4)


def test_running_statistics_are_updated_once_for_every_chunk() -> None:
    model = Towers()
    model.towers["image"] = nn.Sequential(nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, SIZE)).double()
    plain = copy.deepcopy(model)
    for chunk in chunks_of(inputs_of(8), 3):
        plain(chunk)
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

    accumulate_gradients(Watched(), inputs_of(8), watched, micro_batch=3, kernels=kernels)


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
        loss = accumulate_gradients(model, inputs, contrastive_loss, micro_batch=3, kernels=kernels)
    assert loss.dtype == torch.float32
    found = [gradients_of(whole), gradients_of(model)]
    for name, gradient in found[0].items():
        # bf16 keeps 8 bits, and the gradient of a weight is rounded once for every chunk.
        torch.testing.assert_close(found[1][name], gradient, rtol=0.02, atol=2e-3)
