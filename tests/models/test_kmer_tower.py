"""The tower over counts of k-mers: its formula in plain words, what it knows no difference of, and odd barcodes."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from workloads.data.inputs.barcode_inputs import dna_input
from workloads.data.inputs.tower_inputs import AS_THEY_ARE
from workloads.data.specimens.coi_consensus import CONSENSUS
from workloads.data.specimens.coi_region import reverse_complement
from workloads.data.specimens.kmers import kmer_counts
from workloads.errors import SpecError, WeightsError
from workloads.models.build import TowerInputs, build_model, build_tower
from workloads.models.clibd import Clibd
from workloads.models.kmer_tower import Hellinger
from workloads.spec import ExperimentSpec
from workloads.tower_specs import DnaTower, ImageTower

FRAMELESS = DnaTower(
    kind="kmers", kmers=(3, 4), strand="both", counts="hellinger", hidden="residual", width=12, depth=3, dropout=0.2
)
BARCODES = ["".join(np.random.default_rng(seed).choice(list("ACGT"), 300)) for seed in range(6)]


def built(spec: DnaTower = FRAMELESS, size: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return build_tower(spec, TowerInputs(), size)


def counts_of(spec: DnaTower, barcodes: Sequence[str]) -> Tensor:
    return torch.from_numpy(kmer_counts(barcodes, spec.kmers, spec.strand))


def roots_in_loops(spec: DnaTower, barcode: str) -> list[float]:
    roots: list[float] = []
    for size in spec.kmers:
        counts = kmer_counts([barcode], (size,), spec.strand)[0].tolist()
        roots += [(count / max(1, sum(counts)) * len(counts)) ** 0.5 for count in counts]
    return roots


def test_hellinger_is_the_root_of_shares_less_that_of_the_consensus() -> None:
    centre = np.mean([roots_in_loops(FRAMELESS, bases) for bases in CONSENSUS.values()], axis=0)
    wanted = np.array([roots_in_loops(FRAMELESS, barcode) for barcode in BARCODES]) - centre
    found = Hellinger(FRAMELESS)(counts_of(FRAMELESS, BARCODES))
    np.testing.assert_allclose(found, wanted, atol=2e-5)  # of fp32, of values up to 6


def test_a_residual_tower_is_one_layer_over_hidden_states_and_what_they_are_made_of() -> None:
    tower = built().eval()
    inputs = Hellinger(FRAMELESS)(counts_of(FRAMELESS, BARCODES))
    (first, norm1, second, norm2) = (
        part for part in tower.trunk.modules() if isinstance(part, nn.Linear | nn.LayerNorm)
    )
    hidden = nn.functional.gelu(norm1(first(inputs)))
    hidden = nn.functional.gelu(norm2(second(hidden)))
    wanted = torch.cat([hidden, inputs], dim=1) @ tower.head.weight.T + tower.head.bias
    torch.testing.assert_close(tower(counts_of(FRAMELESS, BARCODES)), wanted)


KEPT = replace(FRAMELESS, kmers=(3,), kept=0.75)


def aligned(size: int = 40) -> Clibd:
    spec = ExperimentSpec(
        dataset="odd",
        data_fingerprint="0",
        modalities=("image", "dna"),
        image=ImageTower(kind="features", hidden="residual", width=12, depth=2),
        dna=KEPT,
        embedding_size=size,
    )
    return build_model(spec, TowerInputs(image_feature_size=10)).eval()


def test_what_is_kept_of_counts_stands_behind_what_is_learned_and_no_image_meets_it() -> None:
    model, counts = aligned(), counts_of(KEPT, BARCODES)
    embedded = model.embed({"image": torch.randn(6, 10), "dna": counts})
    image, dna = embedded["image"], embedded["dna"]
    kept = nn.functional.normalize(Hellinger(KEPT)(counts), dim=1)
    torch.testing.assert_close(dna[:, 8:], 0.75**0.5 * kept)  # 32 3-mers on both strands
    torch.testing.assert_close(dna[:, :8].norm(dim=1), torch.full((6,), 0.5))
    assert not image[:, 8:].any()
    torch.testing.assert_close(image.norm(dim=1), torch.ones(6))
    nothing = model.embed({"dna": counts_of(KEPT, ["ACGN"])})["dna"]
    torch.testing.assert_close(nothing.norm(dim=1), torch.ones(1))


def test_a_space_needs_room_beside_what_is_kept() -> None:
    with pytest.raises(SpecError, match=r"32 counts of k-mers are kept.*embedding_size to 33 or more"):
        aligned(32)


def test_gradients_reach_every_parameter() -> None:
    tower = built()
    tower(counts_of(FRAMELESS, BARCODES)).square().sum().backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in tower.parameters())


def test_what_else_is_in_a_batch_and_the_strand_change_nothing() -> None:
    tower = built().train()
    for part in tower.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    together = tower(counts_of(FRAMELESS, BARCODES))
    torch.testing.assert_close(tower(counts_of(FRAMELESS, BARCODES[:1])), together[:1])
    turned = [reverse_complement(barcode) for barcode in BARCODES]
    assert torch.equal(tower(counts_of(FRAMELESS, turned)), together)


def test_it_needs_a_hidden_layer_and_begins_from_scratch_or_from_a_run(
    run_of: Callable[[DnaTower, nn.Module], str],
) -> None:
    with pytest.raises(SpecError, match="two linear layers at least, got a depth of 1"):
        built(replace(FRAMELESS, depth=1))
    with pytest.raises(WeightsError, match="from scratch"):
        built(replace(FRAMELESS, weights="someone/counts"))
    tower = built()
    again = built(replace(FRAMELESS, weights=run_of(FRAMELESS, tower)))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in tower.state_dict().items())


def test_runs_of_earlier_versions_have_the_tensors_that_they_had() -> None:
    tower = built(DnaTower(kind="kmers", width=12, depth=2))
    stats = ("running_mean", "running_var", "num_batches_tracked")
    layers = ("trunk.1.weight", "trunk.1.bias", "head.weight", "head.bias")
    assert list(tower.state_dict()) == [*(f"trunk.0.{name}" for name in stats), *layers]


ODD = {
    "shorter than a token": "ACG",
    "only N": "N" * 400,
    "of another gene": "GGGCGGGCCC" * 60,
    "100,000 bases": "ACGTTGCATA" * 10_000,
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize(
    "spec",
    [
        FRAMELESS,
        DnaTower(kind="kmers", width=8, depth=2),
        DnaTower(kind="cnn"),
        DnaTower(width=12, depth=1, num_heads=2, hidden_width=16),
    ],
    ids=["frameless", "kmers", "cnn", "barcodebert"],
)
def test_every_tower_gives_odd_barcodes_a_finite_embedding_and_leaves_their_neighbours_alone(
    spec: DnaTower, name: str
) -> None:
    tower = build_tower(spec, TowerInputs(), 8).eval()
    whole = ExperimentSpec(dataset="insects", data_fingerprint="0", dna=spec)
    embedded = []
    for barcodes in ([*BARCODES[:2], ODD[name]], BARCODES[:2]):
        column = dna_input(pa.table({"barcode": pa.chunked_array([barcodes])}), whole, None, BARCODES[0])
        embedded.append(tower(column.take(np.arange(len(barcodes)), AS_THEY_ARE)))
    assert embedded[0].isfinite().all()
    torch.testing.assert_close(embedded[0][:2], embedded[1])
