"""Which network embeds DNA, and the MLP over features."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from workloads.errors import WeightsError
from workloads.models.barcode_cnn import BarcodeCnn
from workloads.models.barcodebert import BarcodeBert
from workloads.models.dna_tower import build_dna_tower
from workloads.models.dnabert2 import DnaBert2
from workloads.models.feature_tower import FeatureTower
from workloads.spec import DnaTower, ExperimentSpec, spec_to_dict

TINY = DnaTower(width=12, depth=1, num_heads=2, hidden_width=16)
FEATURES = replace(TINY, kind="features", depth=3, dropout=0.5)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (TINY, BarcodeBert),
        (replace(TINY, kind="dnabert2"), DnaBert2),
        (replace(TINY, kind="cnn"), BarcodeCnn),
        (FEATURES, FeatureTower),
    ],
    ids=lambda value: value.kind if isinstance(value, DnaTower) else "",
)
def test_the_spec_names_the_network(spec: DnaTower, kind: type[nn.Module]) -> None:
    tower = build_dna_tower(spec, 7, 5)
    assert type(tower) is kind
    assert isinstance(tower.head, nn.Linear)
    assert tower.head.out_features == 5


def test_gradients_reach_every_parameter_of_a_tower_over_features() -> None:
    tower = build_dna_tower(FEATURES, 7, 5)
    assert [layer.out_features for layer in tower.modules() if isinstance(layer, nn.Linear)] == [12, 12, 5]
    embedded = tower(torch.randn(8, 7, generator=torch.Generator().manual_seed(0)))
    embedded.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tower.parameters())


def test_a_tower_over_features_refuses_barcodes_and_published_weights() -> None:
    with pytest.raises(WeightsError, match="holds barcodes, not DNA features"):
        build_dna_tower(FEATURES, None, 5)
    with pytest.raises(WeightsError, match="from scratch or from a finished run"):
        build_dna_tower(replace(FEATURES, weights="someone/features"), 7, 5)


def test_a_tower_over_features_begins_where_a_run_ended(tmp_path: Path) -> None:
    tower = build_dna_tower(FEATURES, 7, 5)
    save_file({f"towers.dna.{name}": v for name, v in tower.state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "status.json").write_text(json.dumps({"state": "finished"}))
    spec = ExperimentSpec(dataset="insects", data_fingerprint="0", dna=FEATURES)
    (tmp_path / "spec.json").write_text(json.dumps(spec_to_dict(spec)))
    again = build_dna_tower(replace(FEATURES, weights=str(tmp_path)), 7, 5)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in tower.state_dict().items())
