"""Which network embeds DNA, and the MLP over features."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from workloads.errors import WeightsError
from workloads.models.bert import BertTower
from workloads.models.build import TowerInputs, build_tower
from workloads.models.dnabert2 import MosaicBert
from workloads.tower_specs import DnaTower

TINY = DnaTower(width=12, depth=1, num_heads=2, hidden_width=16)
INPUTS = TowerInputs(dna_feature_size=7)
FEATURES = replace(TINY, kind="features", depth=3, dropout=0.5)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (TINY, BertTower),
        (replace(TINY, kind="dnabert2"), MosaicBert),
        (replace(TINY, kind="cnn"), nn.Sequential),
        (FEATURES, nn.Sequential),
        (replace(TINY, kind="kmers"), nn.Sequential),
    ],
    ids=lambda value: value.kind if isinstance(value, DnaTower) else "",
)
def test_the_spec_names_the_network(spec: DnaTower, kind: type[nn.Module]) -> None:
    tower = build_tower(spec, INPUTS, 5)
    assert kind in (type(tower), type(tower.trunk))
    assert isinstance(tower.head, nn.Linear)
    assert tower.head.out_features == 5


def test_gradients_reach_every_parameter_of_a_tower_over_features() -> None:
    tower = build_tower(FEATURES, INPUTS, 5)
    assert [layer.out_features for layer in tower.modules() if isinstance(layer, nn.Linear)] == [12, 12, 5]
    embedded = tower(torch.randn(8, 7, generator=torch.Generator().manual_seed(0)))
    embedded.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tower.parameters())


def test_counts_of_5_mers_are_standardised_one_by_one() -> None:
    tower = build_tower(replace(TINY, kind="kmers", depth=1), INPUTS, 5)
    counts = torch.randint(0, 9, (40, 1024), generator=torch.Generator().manual_seed(0)).float()
    standardised = (counts - counts.mean(0)) / (counts.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(tower(counts), tower.head(standardised), atol=1e-4, rtol=0)


def test_a_tower_over_features_refuses_barcodes_and_published_weights() -> None:
    with pytest.raises(WeightsError, match="holds barcodes"):
        build_tower(FEATURES, TowerInputs(), 5)
    with pytest.raises(WeightsError, match="from scratch"):
        build_tower(replace(FEATURES, weights="someone/features"), INPUTS, 5)


def test_a_tower_over_features_begins_where_a_run_ended(run_of: Callable[[DnaTower, nn.Module], str]) -> None:
    tower = build_tower(FEATURES, INPUTS, 5)
    again = build_tower(replace(FEATURES, weights=run_of(FEATURES, tower)), INPUTS, 5)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in tower.state_dict().items())
