"""Barcodes that vary in training as laboratories make them vary: what may happen to one, and who decides it."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from workloads.barcode_views import BarcodeViews
from workloads.data.inputs.barcode_views import view_of_barcode
from workloads.data.inputs.batches import EpochBatches, Specimens, View
from workloads.data.prepared.dataset import PreparedDataset
from workloads.data.prepared.taxon_text import TextTokenizer
from workloads.data.specimens.barcode import placed, token_ids
from workloads.data.specimens.coi_region import reverse_complement
from workloads.spec import ExperimentSpec
from workloads.tower_specs import DnaTower

BARCODE = "".join(np.random.default_rng(0).choice(list("ACGT"), 658))
EVERYTHING = BarcodeViews(shortest=100, shift=4, substituted=0.05, indels=3, unknown=0.1, turned=0.5)


def views_of(views: BarcodeViews, count: int = 200, barcode: str = BARCODE) -> list[str]:
    return [view_of_barcode(barcode, views, np.random.default_rng(seed)) for seed in range(count)]


def test_by_themselves_barcodes_do_not_vary() -> None:
    assert set(views_of(BarcodeViews())) == {BARCODE}
    assert not BarcodeViews().vary
    assert not BarcodeViews(share=0.0, turned=1.0).vary
    assert set(views_of(BarcodeViews(share=0.0, turned=1.0))) == {BARCODE}


def test_a_crop_is_any_part_from_the_shortest_to_all_of_it() -> None:
    crops = views_of(BarcodeViews(shortest=100), 2000)
    lengths, starts = np.array([len(crop) for crop in crops]), np.array([BARCODE.index(crop) for crop in crops])
    assert (lengths.min(), lengths.max()) == (100, 658)
    assert abs(lengths.mean() - 379) < 4 * 161.4 / 2000**0.5  # evenly from 100 to 658
    assert abs((starts / np.maximum(658 - lengths, 1))[lengths < 650].mean() - 0.5) < 4 * 0.29 / 2000**0.5
    assert set(views_of(BarcodeViews(shortest=100), 20, "ACGTA" * 20)) == {"ACGTA" * 20}


def test_a_shift_loses_bases_in_front_or_puts_others_there() -> None:
    shifted = views_of(BarcodeViews(shift=2), 400)
    moves = Counter(len(view) - len(BARCODE) for view in shifted)
    assert set(moves) == {-2, -1, 0, 1, 2}
    assert all(view.endswith(BARCODE[2:]) for view in shifted)
    assert set(views_of(BarcodeViews(shift=9), 40, "A")) >= {"A"}


@pytest.mark.parametrize(
    ("views", "letters"), [(BarcodeViews(substituted=0.2), "ACGT"), (BarcodeViews(unknown=0.2), "N")]
)
def test_bases_are_replaced_at_rates_up_to_the_most(views: BarcodeViews, letters: str) -> None:
    rates = []
    for view in views_of(views, 400):
        changed = [new for new, old in zip(view, BARCODE, strict=True) if new != old]
        assert set(changed) <= set(letters)
        rates.append(len(changed) / len(BARCODE))
    assert max(rates) < 0.2 + 4 * (0.2 * 0.8 / 658) ** 0.5
    assert abs(np.mean(rates) - 0.1) < 4 * 0.06 / 400**0.5


def test_what_is_no_known_base_is_not_replaced() -> None:
    assert set(views_of(BarcodeViews(substituted=1.0), 20, "NRN")) == {"NRN"}


def test_up_to_so_many_bases_are_inserted_or_deleted() -> None:
    lengths = Counter(len(view) for view in views_of(BarcodeViews(indels=2), 600))
    assert set(lengths) == {656, 657, 658, 659, 660}
    assert set(map(len, views_of(BarcodeViews(indels=5), 60, "A"))) >= {1, 2}


def test_a_share_of_them_is_turned_and_a_share_varies() -> None:
    turned = Counter(views_of(BarcodeViews(turned=0.25, share=0.8), 1000))
    assert set(turned) == {BARCODE, reverse_complement(BARCODE)}
    assert abs(turned[BARCODE] - 800) < 4 * (1000 * 0.2 * 0.8) ** 0.5


@pytest.mark.parametrize("barcode", ["", "A", "N", "ACG", "N" * 700, "ACGTT" * 20_000])
def test_no_barcode_is_too_odd_to_vary(barcode: str) -> None:
    for view in views_of(EVERYTHING, 20, barcode):
        assert bool(view) == bool(barcode)
        assert set(view) <= set("ACGTN")


# --- Every tower --------------------------------------------------------------------------------------------------

KINDS = ("barcodebert", "cnn", "dnabert2", "kmers")


def opened(
    kind: str, dataset: PreparedDataset, spec: ExperimentSpec, byte_pairs: TextTokenizer, views: BarcodeViews
) -> tuple[Specimens, ExperimentSpec]:
    dna = DnaTower(kind=kind, views=views)  # type: ignore[arg-type]  # any of the four
    spec = replace(spec, dna=dna, modalities=("image", "dna"))
    return Specimens(dataset, dataset.facts.splits.training, spec, None, None, byte_pairs), spec


@pytest.mark.parametrize("kind", KINDS)
def test_every_tower_is_shown_views_in_training_and_whole_barcodes_else(
    kind: str, tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, byte_pairs: TextTokenizer
) -> None:
    (plain, _), (varied, _) = (
        opened(kind, tiny_dataset, tiny_spec, byte_pairs, views) for views in (BarcodeViews(), EVERYTHING)
    )
    rows = np.arange(8)
    assert torch.equal(plain.inputs("dna", rows, View()), varied.inputs("dna", rows, View()))
    assert torch.equal(plain.inputs("dna", rows, View(1, 1)), plain.inputs("dna", rows, View()))
    shown = varied.inputs("dna", rows, View(1, 1))
    assert torch.equal(shown, varied.inputs("dna", rows, View(1, 1)))
    for other in (View(), View(1, 2), View(2, 1), View(1, 1, 1)):
        assert shown.tolist() != varied.inputs("dna", rows, other).tolist()


@pytest.mark.parametrize("kind", ["barcodebert", "kmers"])
def test_workers_make_the_views_that_one_makes(
    kind: str, tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, byte_pairs: TextTokenizer
) -> None:
    specimens, spec = opened(kind, tiny_dataset, tiny_spec, byte_pairs, EVERYTHING)
    whole = EpochBatches(specimens, spec, 1)[1]["dna"]
    shares = [EpochBatches(specimens, spec, 1, share)[1]["dna"] for share in (slice(0, 5), slice(5, 16))]
    assert torch.equal(torch.cat(shares), whole)


def test_views_are_laid_into_the_frame_as_any_barcode_is(
    tiny_dataset: PreparedDataset, tiny_spec: ExperimentSpec, byte_pairs: TextTokenizer
) -> None:
    views = BarcodeViews(shortest=300)
    specimens, _ = opened("barcodebert", tiny_dataset, tiny_spec, byte_pairs, views)
    barcodes = tiny_dataset.load(tiny_dataset.facts.splits.training, ["barcode"])["barcode"].to_pylist()
    shown = [view_of_barcode(barcodes[row], views, View(0, 3).random(row, 1)) for row in range(6)]
    wanted = token_ids(placed(shown, tiny_dataset.facts.frame))
    assert specimens.inputs("dna", np.arange(6), View(0, 3)).tolist() == wanted.tolist()
