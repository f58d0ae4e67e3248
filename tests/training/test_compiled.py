"""Compiled towers: how many graphs torch builds, and that they give the same numbers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.training import begun
from workloads.data.inputs.batches import EpochBatches
from workloads.data.prepared.dataset import PreparedDataset
from workloads.evaluation.embed import embed
from workloads.execution import Execution
from workloads.models.clibd import Clibd
from workloads.placement import Placement
from workloads.spec import ExperimentSpec


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """All that are built from now on; symbols of varying sizes are refused."""
    torch._dynamo.reset()
    built, compile_whole = list[torch.fx.GraphModule](), nn.Module.compile

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        assert all(isinstance(given, Tensor) for given in inputs), "a graph of varying sizes"
        built.append(graph)
        return graph.forward

    def compiled(module: nn.Module, **how: Any) -> None:
        compile_whole(module, **{**how, "backend": backend})

    monkeypatch.setattr(nn.Module, "compile", compiled)
    return built


def test_every_tower_is_compiled_once_a_mode_whatever_the_sizes(
    graphs: list[torch.fx.GraphModule], tiny_spec: ExperimentSpec, tiny_dataset: PreparedDataset
) -> None:
    dna = replace(tiny_spec.dna, dropout=0.0, token_dropout=0.0)
    spec = replace(tiny_spec, dna=dna, modalities=("image", "dna"))
    found = []
    for compiled in (False, True):
        # Chunks of 6, 5 and 5, all but the last embedded without gradient first.
        training, specimens, experiment = begun(spec, tiny_dataset, Execution(micro_batch=6, compile=compiled))
        training.cut(specimens)
        batches, embedded = EpochBatches(specimens, spec, 0), list[Tensor]()
        for step in range(2):
            training.take_step(batches[step])
            # Fewer rows than a batch, and unlike numbers of them.
            embedded += [torch.from_numpy(embed(experiment.model, specimens, m, Placement())) for m in spec.modalities]
            training.model.train()
        found.append((training.tally.losses, embedded))
    (losses, embedded), (compiled_losses, compiled_embedded) = found
    # In training with and without gradient, and in evaluation.
    assert len(graphs) == 3 * len(spec.modalities)
    assert not torch._dynamo.utils.counters["graph_break"]
    assert compiled_losses == pytest.approx(losses, rel=1e-5)
    # AdamW's first steps are of the size of the learning rate, whatever the gradient's rounding.
    assert all(torch.allclose(a, b, atol=1e-2) for a, b in zip(embedded, compiled_embedded, strict=True))


class Normed(nn.Module):
    """A tower with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, rows: Tensor) -> Tensor:
        normed: Tensor = self.norm(rows)
        return normed


def test_a_batch_with_statistics_is_not_filled_up(graphs: list[torch.fx.GraphModule]) -> None:
    tower = Normed()
    model = Clibd({"image": tower}, 0.1, False)
    model.compile_towers(8, 8)
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    model({"image": rows})
    assert tower.norm.running_mean is not None
    assert tower.norm.running_mean.allclose(0.1 * rows.mean(0), atol=1e-6)
    assert len(model.eval()({"image": rows})[0]["image"]) == 5
    assert len(graphs) == 2
